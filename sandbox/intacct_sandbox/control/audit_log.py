"""What was asked of the sandbox: every request recorded, without secrets, and counted.

It decides what a client under test claims: how many POSTs with this key reached that
object, what they wrote, which answer was lost on its way. Headers and bodies are not kept, but for
the `Idempotency-Key` and a hash of the body.

A transaction is what Sage bills: each record created, updated or deleted counts one, a query page
counts one; lines count with their document (fact: Sage's transaction tiers, as resellers say).
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from intacct_sandbox.objects.catalogue import Json

from .clock import wire_time

MOST_EXCHANGES = 50_000
"""How many requests are remembered; older ones are only counted."""


@dataclass
class AuditedRequest:
    """One request and what became of it."""

    number: int
    at: datetime
    route: str
    method: str
    path: str
    object: str | None = None
    user: str | None = None
    entity: str | None = None
    idempotency_key: str | None = None
    body_hash: str | None = None
    body_size: int = 0
    reached: bool = False
    """Whether the request came to the books; not if it was throttled, cut before or rejected at
    the gateway."""
    replayed: bool = False
    """Whether the answer was one kept under the `Idempotency-Key`."""
    status: int | None = None
    """Status of the answer as the client should see it; None when the connection was cut."""
    rows: int = 0
    transactions: int = 0
    faults: tuple[str, ...] = ()
    wrote: list[tuple[str, str, str]] = field(default_factory=list)
    """Operation, object and key of each record written."""

    def shown(self) -> dict[str, Json]:
        """Return it as the control API shows it."""
        return {
            "number": self.number,
            "at": wire_time(self.at, "milliseconds"),
            "route": self.route,
            "method": self.method,
            "path": self.path,
            "object": self.object,
            "user": self.user,
            "entity": self.entity,
            "idempotency_key": self.idempotency_key,
            "body_hash": self.body_hash,
            "body_size": self.body_size,
            "reached": self.reached,
            "replayed": self.replayed,
            "status": self.status,
            "rows": self.rows,
            "transactions": self.transactions,
            "faults": list(self.faults),
            "wrote": [
                {"operation": operation, "object": object_, "key": key}
                for operation, object_, key in self.wrote
            ],
        }


def body_hash(body: bytes) -> str:
    """Return the SHA-256 in hexadecimal, which is the same for the same bodies."""
    return hashlib.sha256(body).hexdigest()


class AuditLog:
    """The requests of one sandbox since it was started or reset."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: list[AuditedRequest] = []
        self.reset()

    def reset(self) -> None:
        """Forget everything and count from 1 again."""
        with self._lock:
            self._numbers = itertools.count(1)
            self._exchanges: deque[AuditedRequest] = deque(maxlen=MOST_EXCHANGES)
            self._requests: Counter[str] = Counter()
            self._statuses: Counter[str] = Counter()
            self._months: Counter[str] = Counter()
            self._transactions = 0
            self._rows = 0

    def open(self, at: datetime, route: str, method: str, path: str) -> AuditedRequest:
        """Return a request came in."""
        with self._lock:
            exchange = AuditedRequest(next(self._numbers), at, route, method, path)
            self._exchanges.append(exchange)
            return exchange

    def close(self, exchange: AuditedRequest, status: int | None) -> None:
        """Record that its answer went out; None if the connection was cut instead."""
        exchange.status = status
        with self._lock:
            self._requests[f"{exchange.route} {exchange.method}"] += 1
            self._statuses["cut" if status is None else str(status)] += 1

    @contextmanager
    def at_work(self, exchange: AuditedRequest) -> Iterator[None]:
        """Give what is billed and written in the block belongs to this request."""
        self._current.append(exchange)
        try:
            yield
        finally:
            self._current.pop()

    @property
    def current(self) -> AuditedRequest | None:
        """The request at work."""
        return self._current[-1] if self._current else None

    def bill(self, transactions: int, *, rows: int = 0) -> None:
        """Count the transactions that a request costs, and the rows it answered."""
        exchange = self.current
        with self._lock:
            self._transactions += transactions
            self._rows += rows
            if exchange is not None:
                exchange.transactions += transactions
                exchange.rows += rows
                self._months[f"{exchange.at:%Y-%m}"] += transactions

    def asked(self, wanted: Mapping[str, str]) -> list[AuditedRequest]:
        """Return the requests of which every attribute reads as wanted, oldest first.

        `wanted`: attribute -> text; `fault` names one of the faults, `wrote` a key or an object
        written. Raises `ValueError` for an attribute there is not.
        """
        strange = [name for name in wanted if name not in _ATTRIBUTES]
        if strange:
            raise ValueError(f"{strange[0]} is none of {', '.join(sorted(_ATTRIBUTES))}")
        with self._lock:
            exchanges = list(self._exchanges)
        return [
            one
            for one in exchanges
            if all(text in _texts(one, name) for name, text in wanted.items())
        ]

    def counted(self) -> dict[str, Json]:
        """Return the counters, as the control API tells them."""
        with self._lock:
            return {
                "requests": dict(sorted(self._requests.items())),
                "total": sum(self._requests.values()),
                "statuses": dict(sorted(self._statuses.items())),
                "rows": self._rows,
                "transactions": self._transactions,
                "transactions_by_month": dict(sorted(self._months.items())),
            }


_ATTRIBUTES = frozenset(
    (
        *("number", "route", "method", "path", "object", "user", "entity", "idempotency_key"),
        *("body_hash", "reached", "replayed", "status", "fault", "wrote"),
    )
)


def _texts(exchange: AuditedRequest, name: str) -> tuple[str, ...]:
    if name == "fault":
        return exchange.faults
    if name == "wrote":
        return tuple(text for _, object_, key in exchange.wrote for text in (object_, key))
    value = getattr(exchange, name)
    return (str(value).lower() if isinstance(value, bool) else "" if value is None else str(value),)
