"""What the API was asked for, and what that will cost."""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Usage:
    """Counters since a client was made; subtract two to get what lies between them.

    `requests` counts every request sent, also repeated ones and those for tokens. `transactions` is
    what Sage counts against the monthly allowance: a query page is 1, and so is each record
    created; the lines of a record are not (Sage's partners state it so). Nobody says what a request
    for records by key counts: it is taken for 1.
    """

    requests: int = 0
    pages: int = 0
    rows: int = 0
    retries: int = 0
    seconds_waited: float = 0.0
    transactions: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __sub__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))


class Meter:
    """Adds up usage, from any thread; what is added also counts in `total`, if there is one."""

    def __init__(self, total: Meter | None = None) -> None:
        self._total = total
        self._usage = Usage()
        self._lock = threading.Lock()

    def add(self, usage: Usage) -> None:
        """Counts `usage` here and in the total."""
        with self._lock:
            self._usage += usage
        if self._total is not None:
            self._total.add(usage)

    @property
    def usage(self) -> Usage:
        """What was counted so far."""
        with self._lock:
            return self._usage
