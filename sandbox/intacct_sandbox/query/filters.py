"""The filters of a query: operators, and what a value may look like for a kind of field.

Operators and their spelling: fact, Sage OpenAPI core-query. `$ge`, `$le`, `$like`, `$isNull` do not
exist. What the documents leave open is decided here: a comparison with an empty value is false
(as in SQL), except for `$eq` and `$ne` with null, unless the behaviours say otherwise; decimals and
record numbers compare as numbers, though they are sent as texts; `$has` holds when the text
contains every text given.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

from intacct_sandbox.objects.catalogue import Json, Kind

from .filter_expression import Mask

Value: TypeAlias = Any  # str, Decimal, int, bool or datetime: of one kind within a column
Test: TypeAlias = Callable[[Value], bool]

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOST_VALUES = 10_000


class FilterMistake(ValueError):
    """A filter that cannot be; the message says which field and why."""


class UnknownOperator(FilterMistake):
    """An operator that does not exist."""


@dataclass(frozen=True)
class Comparison:
    """How the values of one query compare."""

    as_of: date
    """The day that `today` means."""
    fold: str = ""
    """`case`: without regard to case; `accents`: nor to accents."""
    null_differs: frozenset[str] = frozenset()
    """Which of `$ne` and `$notIn` hold for an empty value."""


def _folded(text: str, fold: str) -> str:
    if not fold:
        return text
    if fold == "accents":
        parts = unicodedata.normalize("NFKD", text)
        text = "".join(one for one in parts if not unicodedata.combining(one))
    return text.casefold()


def _ordering(test: Callable[[Value, Value], bool]) -> Callable[[Value], Test]:
    return lambda wanted: lambda value: test(value, wanted)


_SINGLE: dict[str, Callable[[Value], Test]] = {
    "$eq": _ordering(lambda value, wanted: bool(value == wanted)),
    "$ne": _ordering(lambda value, wanted: bool(value != wanted)),
    "$lt": _ordering(lambda value, wanted: bool(value < wanted)),
    "$lte": _ordering(lambda value, wanted: bool(value <= wanted)),
    "$gt": _ordering(lambda value, wanted: bool(value > wanted)),
    "$gte": _ordering(lambda value, wanted: bool(value >= wanted)),
}
_TEXT: dict[str, Callable[[str], Test]] = {
    "$contains": lambda wanted: lambda value: wanted in value,
    "$notContains": lambda wanted: lambda value: wanted not in value,
    "$startsWith": lambda wanted: lambda value: bool(value.startswith(wanted)),
    "$notStartsWith": lambda wanted: lambda value: not value.startswith(wanted),
    "$endsWith": lambda wanted: lambda value: bool(value.endswith(wanted)),
    "$notEndsWith": lambda wanted: lambda value: not value.endswith(wanted),
}
_LISTS = ("$in", "$notIn", "$between", "$notBetween", "$has")

OPERATORS = frozenset((*_SINGLE, *_TEXT, *_LISTS))
"""Every operator there is."""

_ORDERED: frozenset[Kind] = frozenset(("date", "date-time", "decimal", "number", "integer", "key"))


def comparable(kind: Kind, *, fold: str) -> Callable[[Json], Value]:
    """Turns a stored value of this kind into one that compares; None stays None."""
    if kind in ("decimal", "number"):
        return lambda value: None if value is None else Decimal(str(value))
    if kind == "key":
        return lambda value: None if value is None else int(str(value))
    if kind == "date-time":
        return lambda value: None if value is None else datetime.fromisoformat(str(value))
    if kind in ("string", "enum") and fold:
        return lambda value: None if value is None else _folded(str(value), fold)
    return lambda value: value


def read_value(kind: Kind, given: Json, path: str, *, fold: str) -> Value:
    """Return a value of a filter as it compares with a field of this kind; raises
    `FilterMistake`."""
    try:
        return _READ[kind](given, fold)
    except (ValueError, ArithmeticError, TypeError) as error:
        shown = str(given)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        raise FilterMistake(f"The value '{shown}' of {path} is not a valid {kind}") from error


def _text(given: Json, fold: str) -> str:
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise TypeError("not a text")
    return _folded(str(given), fold)


def _number(given: Json, fold: str) -> Decimal:
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise TypeError("not a number")
    try:
        number = Decimal(str(given))
    except InvalidOperation as error:
        raise ValueError("not a number") from error
    if not number.is_finite():
        raise ValueError("not a number")
    return number


def _day(given: Json, fold: str) -> str:
    if not isinstance(given, str) or not _DAY.fullmatch(given):
        raise ValueError("not a date")
    return date.fromisoformat(given).isoformat()


def _moment(given: Json, fold: str) -> datetime:
    if not isinstance(given, str):
        raise TypeError("not a time")
    moment = datetime.fromisoformat(given)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _flag(given: Json, fold: str) -> bool:
    if given is True or given == "true":
        return True
    if given is False or given == "false":
        return False
    raise ValueError("neither true nor false")


_READ: dict[Kind, Callable[[Json, str], Value]] = {
    "string": _text,
    "enum": _text,
    "date": _day,
    "date-time": _moment,
    "decimal": _number,
    "number": _number,
    "integer": _number,
    "key": _number,
    "boolean": _flag,
}


def read_filter(operator: str, kind: Kind, given: Json, path: str, how: Comparison) -> Test:
    """Return the test that one filter makes of a comparable value, which may be None; raises
    `FilterMistake`."""
    test = _by_date_name(operator, kind, given, how.as_of)
    if test is None:
        test = _read_filter(operator, kind, given, path, fold=how.fold)
    if operator not in how.null_differs or given is None:
        return test
    return lambda value: value is None or test(value)


def _read_filter(operator: str, kind: Kind, given: Json, path: str, *, fold: str) -> Test:
    if operator not in OPERATORS:
        raise UnknownOperator(f"{operator} is not a valid operator")
    if operator in _LISTS:
        return _read_list_filter(operator, kind, given, path, fold=fold)
    if given is None:
        if operator == "$eq":
            return lambda value: value is None
        if operator == "$ne":
            return lambda value: value is not None
        raise FilterMistake(f"{operator} cannot be used with null on {path}")
    if operator in _TEXT:
        if kind not in ("string", "enum", "key"):
            raise FilterMistake(f"{operator} cannot be used on {path}, which is a {kind}")
        test = _TEXT[operator](read_value("string", given, path, fold=fold))
        of_text: Test = (lambda value: test(str(value))) if kind == "key" else test
        return _present(of_text)
    if kind == "boolean" and operator not in ("$eq", "$ne"):
        raise FilterMistake(f"{operator} cannot be used on {path}, which is a {kind}")
    return _present(_SINGLE[operator](read_value(kind, given, path, fold=fold)))


def _read_list_filter(operator: str, kind: Kind, given: Json, path: str, *, fold: str) -> Test:
    if not isinstance(given, list):
        raise FilterMistake(f"{operator} on {path} takes a list of values")
    if len(given) > _MOST_VALUES:
        raise FilterMistake(f"{operator} on {path} takes at most {_MOST_VALUES} values")
    if operator == "$has":
        if kind not in ("string", "enum"):
            raise FilterMistake(f"$has cannot be used on {path}, which is a {kind}")
        texts: list[str] = [read_value("string", one, path, fold=fold) for one in given]
        return _present(lambda value: all(text in value for text in texts))
    values = [read_value(kind, one, path, fold=fold) for one in given]
    if operator in ("$in", "$notIn"):
        wanted = frozenset(values)
        if operator == "$in":
            return _present(lambda value: value in wanted)
        return _present(lambda value: value not in wanted)
    if len(values) != 2 or kind not in _ORDERED | {"string", "enum"}:
        raise FilterMistake(f"{operator} on {path} takes a lower and an upper value")
    low, high = values
    if operator == "$between":
        return _present(lambda value: bool(low <= value <= high))
    return _present(lambda value: not low <= value <= high)


def _present(test: Test) -> Test:
    return lambda value: value is not None and test(value)


def mask(test: Test, values: Sequence[Value]) -> Mask:
    """Return which of the values pass."""
    return [test(value) for value in values]


# --- dates by name: `today`, `priorMonth` and the like (fact: Sage's query guide) -----------------
# Weeks begin on Monday, quarters in January, April, July and October: the settings of the company.

_ONE_DAY = timedelta(days=1)


def _month(of: date, ahead: int = 0) -> date:
    months = of.year * 12 + of.month - 1 + ahead
    return date(months // 12, months % 12 + 1, 1)


def _quarter(of: date, ahead: int = 0) -> date:
    return _month(date(of.year, (of.month - 1) // 3 * 3 + 1, 1), 3 * ahead)


def _week(of: date) -> date:
    return of - _ONE_DAY * of.weekday()


_SPANS: dict[str, Callable[[date], tuple[date, date]]] = {
    "today": lambda day: (day, day + _ONE_DAY),
    "yesterday": lambda day: (day - _ONE_DAY, day),
    "currentWeek": lambda day: (_week(day), _week(day) + 7 * _ONE_DAY),
    "lastWeek": lambda day: (_week(day) - 7 * _ONE_DAY, _week(day)),
    "currentMonth": lambda day: (_month(day), _month(day, 1)),
    "priorMonth": lambda day: (_month(day, -1), _month(day)),
    "currentQuarter": lambda day: (_quarter(day), _quarter(day, 1)),
    "priorQuarter": lambda day: (_quarter(day, -1), _quarter(day)),
    "currentYear": lambda day: (date(day.year, 1, 1), date(day.year + 1, 1, 1)),
    "priorYear": lambda day: (date(day.year - 1, 1, 1), date(day.year, 1, 1)),
}


def _span(name: str, as_of: date) -> tuple[date, date] | None:
    """Return first day of the named span and the first day after it; None when there is no such
    name."""
    found = _SPANS.get(name)
    return None if found is None else found(as_of)


Comparisons: TypeAlias = tuple[bool, tuple[tuple[str, str], ...]]
"""Operators and days, with whether every one must hold, or any."""


def by_days(operator: str, kind: Kind, value: Json, as_of: date) -> Comparisons | None:
    """Return what a filter by a date's name, such as `{"$gte": {"invoiceDate": "currentMonth"}}`,
    comes to; None for any other filter. Raises `FilterMistake`."""
    if kind not in ("date", "date-time") or not isinstance(value, str):
        return None
    try:
        found = _span(value, as_of)
    except (OverflowError, ValueError):
        raise FilterMistake(f"{value} lies outside the calendar") from None
    if found is None:
        return None
    first, after = (
        f"{day.isoformat()}T00:00:00Z" if kind == "date-time" else day.isoformat() for day in found
    )
    match operator:
        case "$eq":
            return True, (("$gte", first), ("$lt", after))
        case "$ne":
            return False, (("$lt", first), ("$gte", after))
        case "$gte":
            return True, (("$gte", first),)
        case "$lte":
            return True, (("$lt", after),)
        case "$lt":
            return True, (("$lt", first),)
        case "$gt":
            return True, (("$gte", after),)
    raise FilterMistake(f"{operator} cannot be used with {value}")


def _by_date_name(operator: str, kind: Kind, value: Json, as_of: date) -> Test | None:
    found = by_days(operator, kind, value, as_of)
    if found is None:
        return None
    joint = all if found[0] else any
    tests = [_read_filter(name, kind, day, "", fold="") for name, day in found[1]]
    return lambda one: joint(test(one) for test in tests)
