"""The clock of this machine, held against Intacct's: the `Date` of its answers.

What is posted is settled by how long ago it was sent. By a wrong clock, Intacct would be asked with
a key that it has forgotten, or not be waited for, and a document would be created twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from intacct_dagster.client.errors import ClockWrong

#: Seconds for which a comparison counts, if the clock was not set since.
FRESH: Final = 60.0

_REMEDY: Final = (
    "Set the clock of this machine (NTP), and run it again. limits.clock_skew_seconds is how far "
    "it may be off."
)


def wall_clock() -> datetime:
    """Return the time by the clock of this machine. Somebody may set it at any moment."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Reading:
    """Both clocks of this machine at one moment: the one that shows a time, and a stopwatch."""

    wall: datetime
    monotonic: float

    def moved(self, later: Reading) -> timedelta:
        """Return by how much the time was set forward from here to a later reading."""
        return later.wall - self.wall - timedelta(seconds=later.monotonic - self.monotonic)


@dataclass(frozen=True)
class DatedAnswer:
    """The `Date` of an answer, between the readings before the request and after the answer."""

    date: datetime
    sent: Reading
    received: Reading

    def skew(self) -> timedelta:
        """Return by how much this machine is ahead for certain; negative if it is behind.

        An answer may take minutes. Only what lies outside of that time is a difference.
        """
        if self.sent.wall > self.date:
            return self.sent.wall - self.date
        return min(self.received.wall - self.date, timedelta())


class MachineClock:
    """The clock of this machine, compared with the answers of one host. Thread-safe.

    Args:
        most: How far it may be off.
        wall: The clock of this machine; aware UTC times.
    """

    def __init__(self, most: timedelta, wall: Callable[[], datetime] = wall_clock) -> None:
        self.most = most
        self._wall = wall
        self._began = self.read()
        self._latest: DatedAnswer | None = None
        self._undated_at = float("-inf")

    def read(self) -> Reading:
        """Return both clocks as they are now."""
        return Reading(self._wall(), time.monotonic())

    def note(self, date: datetime, sent: Reading) -> None:
        """Take note of the date of an answer that has just come."""
        self._latest = DatedAnswer(date, sent, self.read())

    @property
    def server_time(self) -> datetime | None:
        """The time by Intacct's clock, reckoned from its latest answer that had a date."""
        latest = self._latest
        if latest is None:
            return None
        return latest.date + timedelta(seconds=time.monotonic() - latest.received.monotonic)

    def check(self, ask: Callable[[], object], about: str) -> None:
        """Raise ClockWrong if the clock is off by more than it may be.

        `ask` sends a request of which the answer has a date; it is called where the latest
        comparison is old, or the clock was set since. `about` says what does not happen.
        """
        if self._fits():
            return
        before = self.read()
        if before.monotonic - self._undated_at >= FRESH:
            ask()
        latest = self._latest
        if latest is None or latest.received.monotonic < before.monotonic:
            # Without a date to hold it against, only that it was set can be known.
            if before.monotonic - self._undated_at >= FRESH:
                self._undated_at = before.monotonic
            moved = self._began.moved(self.read())
            if abs(moved) > self.most:
                raise self._set(moved, about)
            return
        skew = latest.skew()
        if abs(skew) > self.most:
            raise self._off(skew, latest.date, about)
        if abs(latest.sent.moved(self.read())) > self.most:
            raise self._set(latest.sent.moved(self.read()), about)

    def _fits(self) -> bool:
        latest, now = self._latest, self.read()
        return (
            latest is not None
            and now.monotonic - latest.received.monotonic < FRESH
            and abs(latest.skew()) <= self.most
            and abs(latest.sent.moved(now)) <= self.most
        )

    def _off(self, skew: timedelta, date: datetime, about: str) -> ClockWrong:
        side = "ahead of" if skew > timedelta() else "behind"
        return ClockWrong(
            f"{about}: the clock of this machine is {_span(skew)} {side} that of Intacct, whose "
            f"answer is of {date:%Y-%m-%d %H:%M:%S} UTC.",
            remedy=_REMEDY,
        )

    def _set(self, moved: timedelta, about: str) -> ClockWrong:
        side = "forward" if moved > timedelta() else "back"
        return ClockWrong(
            f"{about}: the clock of this machine was set {side} by {_span(moved)} meanwhile.",
            remedy=_REMEDY,
        )


def _span(span: timedelta) -> str:
    seconds = abs(span).total_seconds()
    if seconds < 2 * 3600:
        return f"{seconds:,.0f} s"
    return f"{seconds / 3600:,.0f} hours"
