"""Answers kept under an `Idempotency-Key`, to be given again.

The first answer, good or bad, is given again with its status for 48 hours; the key with another
request, or after the 48 hours and within 60 days, gets 409 (fact: Sage's bulk-requests guide).
Of two that come at the same time the first wins (same guide). Keys belong to a user (fact: Sage's
error guide), unless the behaviour says otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from intacct_sandbox.errors import rejections
from intacct_sandbox.objects.catalogue import Json

ANSWER_LIFE = timedelta(hours=48)
"""How long an answer is given again."""

KEY_LIFE = timedelta(days=60)
"""How long a key is taken."""

LONGEST_KEY = 256


@dataclass(frozen=True)
class StoredResponse:
    """An answer and the request it belongs to, the latter as a hash."""

    owner: str
    key: str
    request: str
    status: int
    body: str
    at: datetime

    def kept(self) -> dict[str, Json]:
        """For the journal."""
        return {
            "owner": self.owner,
            "key": self.key,
            "request": self.request,
            "status": self.status,
            "body": self.body,
            "at": self.at.isoformat(),
        }

    @classmethod
    def from_kept(cls, kept: dict[str, Any]) -> StoredResponse:
        """From the journal."""
        return cls(**{**kept, "at": datetime.fromisoformat(kept["at"])})


def request_hash(method: str, path: str, entity: str | None, body: bytes) -> str:
    """Return what makes two requests the same request."""
    head = f"{method} {path} {entity or ''}\n".encode()
    return hashlib.sha256(head + body).hexdigest()


def owner_of(scope: str, user: str, entity: str | None) -> str:
    """Return whose a key is; `scope` is the value of the behaviour `idempotency_scope`."""
    return {"user": user, "client": "*", "entity": f"{user}|{entity or ''}"}[scope]


class StoredResponses:
    """The kept answers of one sandbox, and the keys whose first request is under way."""

    def __init__(self, kept: Mapping[tuple[str, str], StoredResponse] | None = None) -> None:
        self._kept = dict(kept or {})
        self._under_way: set[tuple[str, str]] = set()

    def copy(self) -> StoredResponses:
        """Return the same answers, and no request under way."""
        return StoredResponses(self._kept)

    @contextmanager
    def under_way(self, owner: str, key: str) -> Iterator[None]:
        """Hold a key for the length of the block; raises `Rejection` (409) if another holds it."""
        held = (owner, key)
        if held in self._under_way:
            raise rejections.idempotency_conflict(
                "A request with this Idempotency-Key is being processed"
            )
        self._under_way.add(held)
        try:
            yield
        finally:
            self._under_way.discard(held)

    def keep(self, answer: StoredResponse) -> None:
        """Keep an answer under its owner and key."""
        self._kept[answer.owner, answer.key] = answer

    def lose(self, owner: str, key: str, how: str) -> None:
        """Treat a response that did not reach anyone: `forgotten` forgets it, `conflict` keeps the
        key taken and never gives the answer."""
        kept = self._kept.get((owner, key))
        if kept is None:
            return
        if how == "forgotten":
            del self._kept[owner, key]
        else:
            self._kept[owner, key] = replace(kept, request="")

    def find(self, owner: str, key: str, request: str, now: datetime) -> StoredResponse | None:
        """Return the answer to give again; None when the key is free. Raises `Rejection` (409)."""
        kept = self._kept.get((owner, key))
        if kept is None or now - kept.at > KEY_LIFE:
            return None
        if kept.request != request:
            raise rejections.idempotency_conflict(
                "The Idempotency-Key was already used with another request"
                if kept.request
                else "The outcome of the first request with this Idempotency-Key is not known"
            )
        if now - kept.at > ANSWER_LIFE:
            raise rejections.idempotency_conflict(
                "The Idempotency-Key was already used more than 48 hours ago"
            )
        return kept
