"""What was asked of the sandbox, counted.

A transaction is what Sage bills: each record created, updated or deleted counts one, a query page
counts one; lines count with their document (fact: Sage's transaction tiers, as told by resellers).
"""

from __future__ import annotations

import threading
from collections import Counter

from .catalogue import Json


class Usage:
    """Counters of one sandbox since it started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()
        self._transactions = 0
        self._rows = 0

    def count(self, route: str, status: int) -> None:
        """One request, by kind of route (`query`, `model`, `objects POST`, `token`, …)."""
        with self._lock:
            self._requests[route] += 1
            self._statuses[str(status)] += 1

    def bill(self, transactions: int, *, rows: int = 0) -> None:
        """Transactions that a request costs, and the rows it answered."""
        with self._lock:
            self._transactions += transactions
            self._rows += rows

    def shown(self) -> dict[str, Json]:
        """As the control API tells it."""
        with self._lock:
            return {
                "requests": dict(sorted(self._requests.items())),
                "total": sum(self._requests.values()),
                "statuses": dict(sorted(self._statuses.items())),
                "rows": self._rows,
                "transactions": self._transactions,
            }
