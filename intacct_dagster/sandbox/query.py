"""The query service: `POST /services/core/query`.

Rows are flat, dotted paths stay as keys, missing values are null; `totalCount` counts every match
and not the page (recorded live 2026-03). Size 1 to 4,000, start from 1 (fact: Sage OpenAPI).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import cast

from . import refusals
from .catalogue import Catalogue, Json, Kind, ObjectType
from .date_macros import span
from .filter_expression import Expression, ExpressionMistake, Mask, read_expression
from .filters import FilterMistake, Test, comparable, mask, read_filter
from .reading import Reader
from .tables import Row, Tables

LARGEST_PAGE = 4000
_MOST_FILTERS = 200
_AGGREGATES = ("count", "avg", "sum", "min", "max")
_KEYS = frozenset(
    (
        "object",
        "fields",
        "filters",
        "filterExpression",
        "filterParameters",
        "orderBy",
        "start",
        "size",
    )
)
_PARAMETERS = frozenset(
    ("asOfDate", "includeHierarchyFields", "caseSensitiveComparison", "includePrivate")
)


@dataclass(frozen=True)
class Filter:
    """One filter: the values at `path` that pass `test`."""

    path: str
    kind: Kind
    test: Test


@dataclass(frozen=True)
class Query:
    """A query that makes sense for its object."""

    object: str
    fields: tuple[str, ...]
    filters: tuple[Filter, ...]
    expression: Expression | None
    order_by: tuple[tuple[str, bool], ...]
    """Paths, each with whether it descends."""
    start: int
    size: int
    include_private: bool
    fold: bool


def read_query(payload: Json, catalogue: Catalogue, today: date) -> Query:
    """A query from its payload; raises `Refusal` for the first thing that is wrong."""
    if isinstance(payload, list):
        raise refusals.not_simulated("queries of several objects in one request")
    if not isinstance(payload, dict):
        raise refusals.bad_json("a query is an object")
    for key in payload:
        if key not in _KEYS:
            raise refusals.query_key_unknown(key)
    name = payload.get("object")
    if not isinstance(name, str) or not name:
        raise refusals.query_invalid("The object to query is required", "/object")
    if name not in catalogue:
        raise refusals.no_such_object(name)
    type_ = catalogue[name]
    parameters = _parameters(payload.get("filterParameters"))
    fold = parameters.get("caseSensitiveComparison", True) is False
    as_of = parameters.get("asOfDate")
    filters = _filters(
        catalogue,
        type_,
        payload.get("filters"),
        fold=fold,
        as_of=date.fromisoformat(as_of) if isinstance(as_of, str) else today,
    )
    return Query(
        object=name,
        fields=_fields(catalogue, type_, payload.get("fields")),
        filters=filters,
        expression=_expression(payload.get("filterExpression"), len(filters)),
        order_by=_order_by(catalogue, type_, payload.get("orderBy")),
        start=_whole_number(payload, "start", 1, 1, None),
        size=_whole_number(payload, "size", 100, 1, LARGEST_PAGE),
        include_private=parameters.get("includePrivate", False) is True,
        fold=fold,
    )


def _whole_number(
    payload: Mapping[str, Json], key: str, default: int, least: int, most: int | None
) -> int:
    given = payload.get(key, default)
    if isinstance(given, bool) or not isinstance(given, int):
        raise refusals.query_invalid(f"{key} must be a whole number", f"/{key}")
    if given < least or (most is not None and given > most):
        limit = f"from {least} to {most}" if most is not None else f"{least} or more"
        raise refusals.query_invalid(f"{key} must be {limit}, not {given}", f"/{key}")
    return given


def _parameters(given: Json) -> Mapping[str, Json]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise refusals.query_invalid("filterParameters must be an object", "/filterParameters")
    for key, value in given.items():
        target = f"/filterParameters/{key}"
        if key not in _PARAMETERS:
            raise refusals.query_key_unknown(f"filterParameters.{key}")
        if key == "asOfDate":
            try:
                date.fromisoformat(cast(str, value))
            except (TypeError, ValueError):
                raise refusals.query_invalid("asOfDate must be a date", target) from None
        elif not isinstance(value, bool):
            raise refusals.query_invalid(f"{key} must be true or false", target)
    if given.get("includeHierarchyFields") is True:
        raise refusals.not_simulated("includeHierarchyFields")
    return given


def _queryable(catalogue: Catalogue, type_: ObjectType, path: str) -> Kind:
    """The kind of a field that may be queried; raises `Refusal` for any other."""
    field = type_.fields.get(path)
    if field is not None:
        if field.write_only:
            raise refusals.field_not_queryable(path, type_.name)
        return field.kind
    member = type_.members.get(path)
    if member is not None:
        ref, name = member
        if name == "key":
            return "key"
        if ref.object not in catalogue:
            return "string"
        return _queryable(catalogue, catalogue[ref.object], ref.shown.get(name, name))
    if path in type_.root.lists:
        raise refusals.field_not_queryable(path, type_.name)
    raise refusals.field_unknown(path)


def _fields(catalogue: Catalogue, type_: ObjectType, given: Json) -> tuple[str, ...]:
    if not isinstance(given, list) or not given:
        raise refusals.query_invalid("The fields to query are required", "/fields")
    for number, path in enumerate(given):
        if not isinstance(path, str):
            raise refusals.query_invalid("A field is named by a text", f"/fields/{number}")
        before, colon, _ = path.partition(":")
        if colon and before in _AGGREGATES:
            raise refusals.not_simulated(f"aggregates such as {path}")
        _queryable(catalogue, type_, path)
    return tuple(dict.fromkeys(cast("list[str]", given)))


def _filters(
    catalogue: Catalogue, type_: ObjectType, given: Json, *, fold: bool, as_of: date
) -> tuple[Filter, ...]:
    if given is None:
        return ()
    if not isinstance(given, list):
        raise refusals.query_invalid("filters must be a list", "/filters")
    if len(given) > _MOST_FILTERS:
        raise refusals.query_invalid(f"At most {_MOST_FILTERS} filters are taken", "/filters")
    filters = []
    for number, one in enumerate(given):
        target = f"/filters/{number}"
        if not isinstance(one, dict) or len(one) != 1:
            raise refusals.query_invalid('A filter is {"$operator": {"field": value}}', target)
        ((operator, operand),) = one.items()
        if not isinstance(operand, dict) or len(operand) != 1:
            raise refusals.query_invalid('A filter is {"$operator": {"field": value}}', target)
        ((path, value),) = operand.items()
        kind = _queryable(catalogue, type_, path)
        if path == "href" or path.endswith(".href"):
            raise refusals.query_invalid(f"{path} cannot be filtered", target)
        try:
            test = _by_date_name(operator, kind, value, as_of) or read_filter(
                operator, kind, value, path, fold=fold
            )
        except FilterMistake as mistake:
            raise refusals.query_invalid(str(mistake), f"{target}/{operator}") from None
        filters.append(Filter(path, kind, test))
    return tuple(filters)


def _by_date_name(operator: str, kind: Kind, value: Json, as_of: date) -> Test | None:
    """The test of a date by name, such as `{"$gte": {"invoiceDate": "currentMonth"}}`."""
    if kind not in ("date", "date-time") or not isinstance(value, str):
        return None
    try:
        found = span(value, as_of)
    except (OverflowError, ValueError):
        raise FilterMistake(f"{value} lies outside the calendar") from None
    if found is None:
        return None
    first, after = (
        f"{day.isoformat()}T00:00:00Z" if kind == "date-time" else day.isoformat() for day in found
    )

    def test(name: str, limit: str) -> Test:
        return read_filter(name, kind, limit, "", fold=False)

    begun, not_over = test("$gte", first), test("$lt", after)
    match operator:
        case "$eq":
            return lambda one: begun(one) and not_over(one)
        case "$ne":
            return lambda one: one is not None and not (begun(one) and not_over(one))
        case "$gte":
            return begun
        case "$lte":
            return not_over
        case "$lt":
            return test("$lt", first)
        case "$gt":
            return test("$gte", after)
    raise FilterMistake(f"{operator} cannot be used with {value}")


def _expression(given: Json, filters: int) -> Expression | None:
    if given is None:
        return None
    if not isinstance(given, str) or not given.strip() or len(given) > 2000:
        raise refusals.query_invalid("filterExpression must be a text", "/filterExpression")
    try:
        expression = read_expression(given, filters)
    except ExpressionMistake as mistake:
        raise refusals.query_invalid(
            f"filterExpression is not valid: {mistake}", "/filterExpression"
        ) from None
    return expression if filters else None


def _order_by(catalogue: Catalogue, type_: ObjectType, given: Json) -> tuple[tuple[str, bool], ...]:
    if given is None:
        return ()
    if not isinstance(given, list):
        raise refusals.query_invalid("orderBy must be a list", "/orderBy")
    orders = []
    for number, one in enumerate(given):
        target = f"/orderBy/{number}"
        if not isinstance(one, dict) or len(one) != 1:
            raise refusals.query_invalid('An order is {"field": "asc" or "desc"}', target)
        ((path, direction),) = one.items()
        _queryable(catalogue, type_, path)
        if path == "href" or path.endswith(".href"):
            raise refusals.query_invalid(f"{path} cannot be sorted by", target)
        if direction not in ("asc", "desc"):
            raise refusals.query_invalid(f"{path} is sorted 'asc' or 'desc'", target)
        orders.append((path, direction == "desc"))
    return tuple(orders)


def answer(
    query: Query, catalogue: Catalogue, tables: Tables, entity_key: str | None, today: date
) -> dict[str, Json]:
    """The page a query asks for, with its meta. `entity_key` None is the top level."""
    table = tables[query.object]
    reader = Reader(catalogue, tables, query.object, today)
    rows = table.visible(entity_key, include_private=query.include_private)
    rows = _ordered(catalogue, query, reader, table.in_no_order(_matching(query, reader, rows)))
    page = rows[query.start - 1 : query.start - 1 + query.size]
    columns = [reader.column(path)(page) for path in query.fields]
    names: list[str] = list(query.fields)
    if table.type.unasked_column:
        # Recorded live 2026-03: one column more than asked for, numbered after the last one.
        names.insert(0, f"API_QUERY_ALIAS__{len(names) + 1}")
        # What it holds is not known: "2" for some invoices of order entry, nothing for the others.
        columns.insert(0, ["2" if row.get("documentId") else None for row in page])
    result: list[Json] = [
        dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)
    ]
    after = query.start + query.size
    return {
        "ia::result": result,
        "ia::meta": {
            "totalCount": len(rows),
            "start": query.start,
            "pageSize": query.size,
            "next": after if after <= len(rows) else None,
            "previous": max(query.start - query.size, 1) if query.start > 1 else None,
        },
    }


def _matching(query: Query, reader: Reader, rows: Sequence[Row]) -> Sequence[Row]:
    if not query.filters:
        return rows
    masks: list[Mask] = []
    for one in query.filters:
        convert = comparable(one.kind, fold=query.fold)
        values = [convert(value) for value in reader.column(one.path)(rows)]
        masks.append(mask(one.test, values))
    if query.expression is not None:
        chosen = query.expression(masks)
    else:
        chosen = [all(each) for each in zip(*masks, strict=True)]
    return [row for row, wanted in zip(rows, chosen, strict=True) if wanted]


def _ordered(catalogue: Catalogue, query: Query, reader: Reader, rows: list[Row]) -> list[Row]:
    # The last order first: each sort keeps what the ones before it did among equals. Empty values
    # come last when ascending and first when descending, as databases of Oracle's make do.
    for path, descending in reversed(query.order_by):
        kind = _queryable(catalogue, reader.type, path)
        convert = comparable("string" if kind == "date-time" else kind, fold=False)
        values = [convert(value) for value in reader.column(path)(rows)]
        ranks = [(value is None, 0 if value is None else value) for value in values]
        order = sorted(range(len(rows)), key=ranks.__getitem__, reverse=descending)
        rows = [rows[place] for place in order]
    return rows
