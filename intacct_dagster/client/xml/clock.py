"""Change times of the XML gateway, which it writes by the clock of the Sage user's time zone.

At the end of daylight saving time an hour comes twice by that clock, and nothing in an answer says
which of the two a time is of. So all times of both hours are taken for the first moment of them:
their order stays that of Intacct, whether it orders moments or what clocks show, and a window has
either all of them or none. For two hours a year change times are early by up to two hours, and no
row is lost. The hour that is left out when daylight saving begins shows no times; one that does
says that the user has another time zone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final

#: A time as the gateway writes and reads it.
TIME_FORMAT: Final = "%m/%d/%Y %H:%M:%S"

_SECOND: Final = timedelta(seconds=1)


class NoSuchTime(ValueError):
    """The clocks of the time zone never show this time."""


@dataclass(frozen=True)
class ShownTwice:
    """The moments, UTC, from `first` to before `end`, whose times a clock shows twice."""

    first: datetime
    end: datetime


def moment_of(text: str, zone: tzinfo) -> datetime:
    """Return the moment, UTC, of a time as the gateway writes it.

    Raises:
        NoSuchTime: It is in the hour that is left out when daylight saving begins.
        ValueError: It is written otherwise.
    """
    shown = datetime.strptime(text, TIME_FORMAT)  # noqa: DTZ007 - the zone follows
    moment = shown.replace(tzinfo=zone).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) != shown:
        raise NoSuchTime(text)
    twice = shown_twice(moment, zone)
    return moment if twice is None else twice.first


def condition_on(operator: str, moment: datetime, zone: tzinfo) -> tuple[str, str]:
    """Return the operator and the time to ask for, so that the answer is as `moment_of` has it.

    A time that clocks show twice is never asked for: which of the two the gateway would take is not
    documented.
    """
    twice = shown_twice(moment, zone)
    if twice is None:
        return operator, _shown(moment, zone)
    before, after = _shown(twice.first - _SECOND, zone), _shown(twice.end, zone)
    is_first = moment <= twice.first
    match operator:
        case "$gte" if is_first:
            return "$gt", before
        case "$lt" if is_first:
            return "$lte", before
        case "$gte" | "$gt":
            return "$gte", after
        case "$lt" | "$lte":
            return "$lt", after
    raise ValueError(f"{operator} cannot be asked of {moment}: clocks show that time twice")


def shown_twice(moment: datetime, zone: tzinfo) -> ShownTwice | None:
    """Return the moments around this one whose times clocks show twice, if it is one of them."""
    shown = moment.astimezone(zone).replace(tzinfo=None, fold=0)
    return _shown_twice(shown, zone)


@lru_cache(maxsize=4096)
def _shown_twice(shown: datetime, zone: tzinfo) -> ShownTwice | None:
    earlier = shown.replace(tzinfo=zone, fold=0).astimezone(UTC)
    later = shown.replace(tzinfo=zone, fold=1).astimezone(UTC)
    if earlier >= later:
        return None
    shift = later - earlier
    offset = earlier.astimezone(zone).utcoffset()
    before, after = earlier, later  # the clock is set back between them
    while after - before > _SECOND:
        middle = before + timedelta(seconds=(after - before) // _SECOND // 2)
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return ShownTwice(after - shift, after + shift)


def _shown(moment: datetime, zone: tzinfo) -> str:
    return moment.astimezone(zone).strftime(TIME_FORMAT)
