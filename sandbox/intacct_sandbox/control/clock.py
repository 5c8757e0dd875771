"""The sandbox's time: it begins on the company's last day and runs on from there.

Nothing in the sandbox looks at any other clock, so that whoever holds this one can let twelve
hours, sixty days or a month end pass in a moment.
"""

from __future__ import annotations

import asyncio
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

_TURNS = 8  # of the event loop, in which other requests may come in before stopped time jumps


class Clock:
    """Aware UTC times.

    `since` is the time shown at first; `elapsed` gives the seconds gone by since then and may be
    replaced by a test. `advance_to` moves the clock forward, `advance` by a span; only `restart`
    sets it back, together with the books.
    """

    def __init__(self, since: datetime = OPENING, elapsed: Callable[[], float] | None = None):
        begun = time.monotonic()
        self._elapsed: Callable[[], float] = elapsed or (lambda: time.monotonic() - begun)
        self._since = since
        self._held: float | None = None
        self._appointments: list[datetime] = []

    @classmethod
    def stopped(cls, at: datetime = OPENING) -> Clock:
        """Return a clock that moves only when it is moved."""
        clock = cls(at)
        clock.stop()
        clock.restart(at)
        return clock

    @property
    def is_running(self) -> bool:
        """Whether time goes by of itself."""
        return self._held is None

    def now(self) -> datetime:
        """Return the present moment."""
        gone = self._elapsed() if self._held is None else self._held
        return self._since + timedelta(seconds=gone)

    def advance(self, span: timedelta) -> None:
        """Move forward; raises `ValueError` for a span into the past."""
        if span < timedelta(0):
            raise ValueError("the sandbox's clock does not go back")
        self._since += span

    def advance_to(self, moment: datetime) -> None:
        """Move forward to `moment`, if that is not already past."""
        self.advance(max(moment - self.now(), timedelta(0)))

    def restart(self, at: datetime) -> None:
        """Show `at` and go on as before, running or stopped."""
        self._since += at - self.now()

    def stop(self) -> None:
        """Stand still until `run`."""
        if self._held is None:
            self._held = self._elapsed()

    def run(self) -> None:
        """Let time go by again, from the moment shown."""
        at, self._held = self.now(), None
        self.restart(at)

    async def wait(self, seconds: float) -> None:
        """Let that much of this clock's time go by.

        A running clock takes as long in real time. With a stopped one nobody waits: time jumps
        from appointment to appointment, the earliest first, as in a simulation.
        """
        if seconds <= 0:
            return
        if self.is_running:
            await asyncio.sleep(seconds)
            return
        until = self.now() + timedelta(seconds=seconds)
        self._appointments.append(until)
        try:
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            while min(self._appointments) < until:  # bounded: the earliest one always moves on
                await asyncio.sleep(0)
            self.advance_to(until)
        finally:
            self._appointments.remove(until)


def wire_time(moment: datetime, precision: str = "seconds") -> str:
    """`2026-10-13T18:00:00Z`: UTC, whole seconds, as recorded from the live API in 2026-03;
    with three decimals if `precision` is `milliseconds`."""
    moment = moment.astimezone(UTC)
    if precision == "milliseconds":
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
