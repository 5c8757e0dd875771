"""The filters of a query: operators, and what a value may look like for a kind of field.

Operators and their spelling: fact, Sage OpenAPI core-query. `$ge`, `$le`, `$like`, `$isNull` do not
exist. What the documents leave open is decided here: a comparison with an empty value is false
(as in SQL), except for `$eq` and `$ne` with null; decimals and record numbers compare as numbers,
though they are sent as texts; `$has` holds when the text contains every text given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

from .catalogue import Json, Kind
from .filter_expression import Mask

Value: TypeAlias = Any  # str, Decimal, int, bool or datetime: of one kind within a column
Test: TypeAlias = Callable[[Value], bool]

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOST_VALUES = 10_000


class FilterMistake(ValueError):
    """A filter that cannot be; the message says which field and why."""


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


def comparable(kind: Kind, *, fold: bool) -> Callable[[Json], Value]:
    """Turns a stored value of this kind into one that compares; None stays None.

    `fold`: texts compare without regard to case.
    """
    if kind == "decimal":
        return lambda value: None if value is None else Decimal(str(value))
    if kind == "key":
        return lambda value: None if value is None else int(str(value))
    if kind == "date-time":
        return lambda value: None if value is None else datetime.fromisoformat(str(value))
    if kind in ("string", "enum") and fold:
        return lambda value: None if value is None else str(value).casefold()
    return lambda value: value


def read_value(kind: Kind, given: Json, path: str, *, fold: bool) -> Value:
    """A value of a filter as it compares with a field of this kind; raises `FilterMistake`."""
    try:
        return _READ[kind](given, fold)
    except (ValueError, ArithmeticError, TypeError) as error:
        shown = str(given)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        raise FilterMistake(f"The value '{shown}' of {path} is not a valid {kind}") from error


def _text(given: Json, fold: bool) -> str:
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise TypeError("not a text")
    return str(given).casefold() if fold else str(given)


def _number(given: Json, fold: bool) -> Decimal:
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise TypeError("not a number")
    try:
        number = Decimal(str(given))
    except InvalidOperation as error:
        raise ValueError("not a number") from error
    if not number.is_finite():
        raise ValueError("not a number")
    return number


def _day(given: Json, fold: bool) -> str:
    if not isinstance(given, str) or not _DAY.fullmatch(given):
        raise ValueError("not a date")
    return date.fromisoformat(given).isoformat()


def _moment(given: Json, fold: bool) -> datetime:
    if not isinstance(given, str):
        raise TypeError("not a time")
    moment = datetime.fromisoformat(given)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _flag(given: Json, fold: bool) -> bool:
    if given is True or given == "true":
        return True
    if given is False or given == "false":
        return False
    raise ValueError("neither true nor false")


_READ: dict[Kind, Callable[[Json, bool], Value]] = {
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


def read_filter(operator: str, kind: Kind, given: Json, path: str, *, fold: bool) -> Test:
    """The test that one filter makes of a comparable value; raises `FilterMistake`.

    The test is never given None, except by `$eq` and `$ne` with null.
    """
    if operator not in OPERATORS:
        raise FilterMistake(f"{operator} is not a valid operator")
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
        test = _TEXT[operator](_text(given, fold))
        of_text: Test = (lambda value: test(str(value))) if kind == "key" else test
        return _present(of_text)
    if kind == "boolean" and operator not in ("$eq", "$ne"):
        raise FilterMistake(f"{operator} cannot be used on {path}, which is a {kind}")
    return _present(_SINGLE[operator](read_value(kind, given, path, fold=fold)))


def _read_list_filter(operator: str, kind: Kind, given: Json, path: str, *, fold: bool) -> Test:
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
    """Which of the values pass."""
    return [test(value) for value in values]
