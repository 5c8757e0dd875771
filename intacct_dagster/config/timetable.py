"""Times of day, of the week and of the month as a person writes them, and windows of the week."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_MINUTES_A_DAY = 24 * 60
_MINUTES_A_WEEK = 7 * _MINUTES_A_DAY
_TIME = r"(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)"
_DAILY = re.compile(_TIME)
_WEEKLY = re.compile(rf"(?P<day>{'|'.join(DAYS)}) {_TIME}")
_MONTHLY = re.compile(rf"(?P<day>[1-9]|1\d|2[0-8]) {_TIME}")


def utc_day(at: datetime) -> date:
    """The UTC day of an aware moment: the day of the partition that it lies in."""
    return at.astimezone(UTC).date()


def daily(text: str) -> str:
    """ "02:00" as a cron expression. Raises ValueError with what is wanted."""
    match = _DAILY.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not a time of day such as 02:00")
    return f"{int(match['minute'])} {int(match['hour'])} * * *"


def weekly(text: str) -> str:
    """ "sun 04:00" as a cron expression. Raises ValueError with what is wanted."""
    match = _WEEKLY.fullmatch(text.lower())
    if match is None:
        raise ValueError(f"'{text}' is not a time of the week such as sun 04:00")
    # cron counts from Sunday
    day = (DAYS.index(match["day"]) + 1) % 7
    return f"{int(match['minute'])} {int(match['hour'])} * * {day}"


def monthly(text: str) -> str:
    """ "3 06:00" as a cron expression; a day that every month has. Raises ValueError."""
    match = _MONTHLY.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not a day (1 to 28) and a time such as 3 06:00")
    return f"{int(match['minute'])} {int(match['hour'])} {match['day']} * *"


@dataclass(frozen=True)
class Window:
    """A stretch of every week, from a minute of the week to another, which may lie before it."""

    text: str
    first: int
    end: int

    def holds(self, at: datetime, zone: tzinfo) -> bool:
        """Whether the aware moment lies in it, by the clocks of `zone`."""
        local = at.astimezone(zone)
        minute = local.weekday() * _MINUTES_A_DAY + local.hour * 60 + local.minute
        return (minute - self.first) % _MINUTES_A_WEEK < (self.end - self.first) % _MINUTES_A_WEEK


def window(text: str) -> Window:
    """ "sat 20:00 - sun 02:00" as a window. Raises ValueError with what is wanted."""
    ends = [_WEEKLY.fullmatch(each.strip().lower()) for each in text.split(" - ")]
    minutes = [
        DAYS.index(each["day"]) * _MINUTES_A_DAY + int(each["hour"]) * 60 + int(each["minute"])
        for each in ends
        if each is not None
    ]
    if len(ends) != 2 or len(minutes) != 2 or minutes[0] == minutes[1]:
        raise ValueError(f"'{text}' is not a window such as sat 20:00 - sun 02:00")
    return Window(text, *minutes)
