"""The sandbox's time: it begins on the company's last day and runs on from there."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

LAST_DAY = date(2026, 10, 13)
"""The last of the days that the generated company has books for."""

DAYS = 60
"""Number of days the generated company has books for, `LAST_DAY` included."""

FIRST_DAY = LAST_DAY - timedelta(days=DAYS - 1)
"""The first of these days."""

OPENING = datetime(2026, 10, 13, 18, 0, 0, tzinfo=UTC)
"""What the clock of a fresh sandbox shows when it starts."""


class Clock:
    """Aware UTC times that never go back.

    `since` is the time shown at first; `elapsed` gives the seconds gone by since then and may be
    replaced by a test. `advance_to` moves the clock forward, `advance` by a span.
    """

    def __init__(self, since: datetime = OPENING, elapsed: Callable[[], float] | None = None):
        begun = time.monotonic()
        self._since = since
        self._elapsed: Callable[[], float] = elapsed or (lambda: time.monotonic() - begun)

    @classmethod
    def stopped(cls, at: datetime = OPENING) -> Clock:
        """A clock that only moves when told to."""
        return cls(at, elapsed=lambda: 0.0)

    def now(self) -> datetime:
        """The present moment."""
        return self._since + timedelta(seconds=self._elapsed())

    def advance(self, span: timedelta) -> None:
        """Move forward; raises `ValueError` for a span into the past."""
        if span < timedelta(0):
            raise ValueError("the sandbox's clock does not go back")
        self._since += span

    def advance_to(self, moment: datetime) -> None:
        """Move forward to `moment`, if that is not already past."""
        self.advance(max(moment - self.now(), timedelta(0)))


def wire_time(moment: datetime) -> str:
    """`2026-10-13T18:00:00Z`: UTC, whole seconds, as recorded from the live API in 2026-03."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
