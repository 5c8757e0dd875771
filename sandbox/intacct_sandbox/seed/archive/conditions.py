"""Filters in SQL, where SQL says exactly what the filter's own test says; else nothing.

Bounds are rounded to what a column can hold, so that no comparison depends on how DuckDB turns one
number into another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from intacct_sandbox.objects.catalogue import Json
from intacct_sandbox.query.definition import Filter
from intacct_sandbox.query.filters import Comparison, Value, by_days, read_value

from .terms import Term, text

_SIGNS = {"$eq": "=", "$ne": "<>", "$lt": "<", "$lte": "<=", "$gt": ">", "$gte": ">="}
_TEXTS = {
    "$contains": "contains({}, {})",
    "$notContains": "NOT contains({}, {})",
    "$startsWith": "starts_with({}, {})",
    "$notStartsWith": "NOT starts_with({}, {})",
    "$endsWith": "ends_with({}, {})",
    "$notEndsWith": "NOT ends_with({}, {})",
}
_DECIMALS = {"key": 0, "integer": 0, "decimal": 2, "number": 6}
_BEYOND = 10**18 - 1
"""Larger than what a column holds, counted in its smallest unit."""


class _NotInSql(Exception):
    """SQL has no exact way to say it."""


def condition(one: Filter, term: Term, how: Comparison) -> str | None:
    """Return the filter as a condition on a term, which is NULL or false where it does not hold;
    None where its test has to be asked."""
    operator = one.operator
    if operator is None or not term.compares:
        return None
    try:
        found = _by_days(one, term, how) or _compared(operator, one.given, term, how)
    except _NotInSql:
        return None
    if operator in how.null_differs and one.given is not None:
        return f"({term.native} IS NULL OR {found})"
    return found


def _by_days(one: Filter, term: Term, how: Comparison) -> str | None:
    days = by_days(str(one.operator), term.kind, one.given, how.as_of)
    if days is None:
        return None
    every, comparisons = days
    parts = (_compared(operator, day, term, how) for operator, day in comparisons)
    return f"({(' AND ' if every else ' OR ').join(parts)})"


def _compared(operator: str, given: Json, term: Term, how: Comparison) -> str:
    if given is None:
        return f"{term.native} IS {'' if operator == '$eq' else 'NOT '}NULL"
    if term.kind in ("string", "enum") and how.fold:
        raise _NotInSql
    if operator in _TEXTS:
        native = f"{term.native}::VARCHAR" if term.kind == "key" else term.native
        return f"({_TEXTS[operator].format(native, _literal(str(given)))})"
    if isinstance(given, list):
        return _listed(operator, [_read(one, term) for one in given], term)
    return _single(operator, _read(given, term), term)


def _read(given: Json, term: Term) -> Value:
    return read_value(term.kind, given, "", fold="")


def _listed(operator: str, values: list[Value], term: Term) -> str:
    if operator == "$has":
        parts = [f"contains({term.native}, {_literal(one)})" for one in values]
        return f"({' AND '.join([f'{term.native} IS NOT NULL', *parts])})"
    if operator == "$between":
        low, high = values
        return f"({_single('$gte', low, term)} AND {_single('$lte', high, term)})"
    if operator == "$notBetween":
        low, high = values
        return f"({_single('$lt', low, term)} OR {_single('$gt', high, term)})"
    literals = [literal for one in values if (literal := _exactly(one, term)) is not None]
    if not literals:
        return "false" if operator == "$in" else f"{term.native} IS NOT NULL"
    return f"({term.native} {'IN' if operator == '$in' else 'NOT IN'} ({', '.join(literals)}))"


def _single(operator: str, value: Value, term: Term) -> str:
    if isinstance(value, Decimal):
        bound = _NEAREST[operator](value, _DECIMALS[term.kind])
        if bound is None:
            return "false" if operator == "$eq" else f"{term.native} IS NOT NULL"
        literal = _number(bound, term)
    else:
        literal = _literal(value)
    return f"({term.native} {_SIGNS[operator]} {literal})"


def _exactly(value: Value, term: Term) -> str | None:
    """Return the value as a literal; None if no column of the kind holds it."""
    if not isinstance(value, Decimal):
        return _literal(value)
    bound = _whole(value, _DECIMALS[term.kind])
    return None if bound is None else _number(bound, term)


def _number(units: int, term: Term) -> str:
    decimals = _DECIMALS[term.kind]
    return str(Decimal(units).scaleb(-decimals)) if decimals else str(units)


def _literal(value: str | bool | datetime) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return moment(value)
    if "\0" in value:
        raise _NotInSql
    return text(value)


def moment(value: datetime) -> str:
    """Return an aware time as a literal."""
    return f"TIMESTAMP '{value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=' ')}'"


def _units(value: Decimal, decimals: int) -> Fraction:
    """Return the value in units of the last decimal, or one that is as far beyond all of them."""
    if value and value.adjusted() > 20:
        return Fraction(_BEYOND if value > 0 else -_BEYOND)
    if value and value.adjusted() < -20:
        return Fraction(1 if value > 0 else -1, 10**20)
    exact = Fraction(value) * Fraction(10**decimals)
    return max(min(exact, Fraction(_BEYOND)), Fraction(-_BEYOND))


def _down(value: Decimal, decimals: int) -> int | None:
    return math.floor(_units(value, decimals))


def _up(value: Decimal, decimals: int) -> int | None:
    return math.ceil(_units(value, decimals))


def _whole(value: Decimal, decimals: int) -> int | None:
    units = _units(value, decimals)
    return int(units) if units.denominator == 1 and abs(units) < _BEYOND else None


_NEAREST: Mapping[str, Callable[[Decimal, int], int | None]] = {
    "$eq": _whole,
    "$ne": _whole,
    "$lt": _up,  # below 1.5 units is below 2 of them
    "$gte": _up,
    "$lte": _down,
    "$gt": _down,
}
