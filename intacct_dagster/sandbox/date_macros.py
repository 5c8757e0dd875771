"""Dates by name in filters: `today`, `priorMonth` and the like (fact: Sage's query guide).

Weeks begin on Monday, quarters in January, April, July and October: the settings of the sandbox's
company.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

_DAY = timedelta(days=1)


def _month(of: date, ahead: int = 0) -> date:
    months = of.year * 12 + of.month - 1 + ahead
    return date(months // 12, months % 12 + 1, 1)


def _quarter(of: date, ahead: int = 0) -> date:
    return _month(date(of.year, (of.month - 1) // 3 * 3 + 1, 1), 3 * ahead)


def _week(of: date) -> date:
    return of - _DAY * of.weekday()


_SPANS: dict[str, Callable[[date], tuple[date, date]]] = {
    "today": lambda day: (day, day + _DAY),
    "yesterday": lambda day: (day - _DAY, day),
    "currentWeek": lambda day: (_week(day), _week(day) + 7 * _DAY),
    "lastWeek": lambda day: (_week(day) - 7 * _DAY, _week(day)),
    "currentMonth": lambda day: (_month(day), _month(day, 1)),
    "priorMonth": lambda day: (_month(day, -1), _month(day)),
    "currentQuarter": lambda day: (_quarter(day), _quarter(day, 1)),
    "priorQuarter": lambda day: (_quarter(day, -1), _quarter(day)),
    "currentYear": lambda day: (date(day.year, 1, 1), date(day.year + 1, 1, 1)),
    "priorYear": lambda day: (date(day.year - 1, 1, 1), date(day.year, 1, 1)),
}


def span(name: str, as_of: date) -> tuple[date, date] | None:
    """First day of the named span and the first day after it; None when there is no such name."""
    found = _SPANS.get(name)
    return None if found is None else found(as_of)
