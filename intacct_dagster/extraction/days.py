"""UTC days, the partitions of raw tables, as ranges and moments."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day


def ranges_of_days(days: Iterable[date]) -> list[list[date]]:
    """Return the days in order, those that touch together: each inner list is read as one."""
    ranges: list[list[date]] = []
    for day in sorted(set(days)):
        if ranges and day - ranges[-1][-1] == timedelta(days=1):
            ranges[-1].append(day)
        else:
            ranges.append([day])
    return ranges


def midnight(day: date) -> datetime:
    """Return the first moment of a UTC day."""
    return datetime.combine(day, time_of_day(), tzinfo=UTC)


def earliest(moments: Iterable[datetime | None]) -> datetime | None:
    """Return the earliest of the moments that are known."""
    return min((each for each in moments if each is not None), default=None)
