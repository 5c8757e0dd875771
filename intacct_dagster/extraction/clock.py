"""The clock of this machine, held against that of Intacct, whose change times count."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

#: How far they may be apart before a day is no longer taken for over by our clock alone.
MOST_CLOCK_SKEW = timedelta(minutes=2)


class ComparedClock:
    """Takes the earlier of two clocks where they are far apart.

    By a clock that is ahead, a day would be taken for over that is not, and what is changed later
    on that day would never be read.
    """

    def __init__(self, server_time: Callable[[], datetime | None]) -> None:
        self._server_time = server_time
        #: by how much our clock was ahead when they were found to be far apart
        self.skew: timedelta | None = None

    def earlier(self, now: datetime) -> datetime:
        """Return `now`, or Intacct's time where that is much earlier."""
        theirs = self._server_time()
        if theirs is None or abs(now - theirs) <= MOST_CLOCK_SKEW:
            return now
        self.skew = now - theirs
        return min(now, theirs)

    def describe(self) -> str:
        """Say how far the clock of this machine is off, and what to do; empty if it is not."""
        if self.skew is None:
            return ""
        side = "ahead of" if self.skew > timedelta() else "behind"
        return (
            f"The clock of this machine is {abs(self.skew).total_seconds():,.0f} s {side} that of "
            "Intacct, so no day counts as read whole that is not over by both: set the clock (NTP)."
        )
