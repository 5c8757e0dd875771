"""The query service: `POST /services/core/query`.

Rows are flat, dotted paths stay as keys, missing values are null; `totalCount` counts every match
and not the page (recorded live 2026-03). Size 1 to 4,000, start from 1; `count:`, `avg:`, `sum:`,
`min:` and `max:` before a field make the other fields what is grouped by (facts: Sage OpenAPI).
How an aggregate is written in the answer is not documented: here under the name it was asked by,
sums and averages as texts with two decimals, counts as numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, cast

from . import refusals
from .books import Books
from .catalogue import Catalogue, Json, Kind, ObjectType
from .filter_expression import Expression, ExpressionMistake, Mask, read_expression
from .filters import (
    Comparison,
    FilterMistake,
    Test,
    UnknownOperator,
    comparable,
    mask,
    read_filter,
)
from .reading import Reader
from .tables import Row

LARGEST_PAGE = 4000
MOST_OBJECTS = 20
"""How many queries one request may hold; the sandbox's own limit."""

_AGGREGATES = ("count", "avg", "sum", "min", "max")
_NUMBERS: tuple[Kind, ...] = ("decimal", "number", "integer")
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
_DIFFER_FROM_NULL: Mapping[str, frozenset[str]] = {
    "false": frozenset(),
    "true": frozenset(("$ne", "$notIn")),
    "ne_only": frozenset(("$ne",)),
}
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
class Aggregate:
    """`sum:totalTxnAmount`: a field of the answer that is worked out over a group of records."""

    function: str
    path: str
    kind: Kind


@dataclass(frozen=True)
class Query:
    """A query that makes sense for its object."""

    object: str
    fields: Mapping[str, Aggregate | None]
    """By the name it was asked by; None for a field of the records themselves."""
    filters: tuple[Filter, ...]
    expression: Expression | None
    order_by: tuple[tuple[str, bool], ...]
    """Names, each with whether it descends."""
    start: int
    size: int
    include_private: bool
    fold: str

    @property
    def is_grouped(self) -> bool:
        """Whether the rows of the answer are groups of records."""
        return any(self.fields.values())


def read_query(payload: Json, books: Books) -> Query:
    """A query from its payload; raises `Refusal` for the first thing that is wrong."""
    catalogue, behaviours = books.catalogue, books.behaviours
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
    as_of = parameters.get("asOfDate")
    exact = parameters.get("caseSensitiveComparison", True) is True
    how = Comparison(
        as_of=date.fromisoformat(as_of) if isinstance(as_of, str) else books.today(),
        fold="" if exact else behaviours["case_folding"],
        null_differs=_DIFFER_FROM_NULL[behaviours["not_equal_null"]],
    )
    filters = _filters(books, type_, payload.get("filters"), how)
    fields = _fields(catalogue, type_, payload.get("fields"))
    clamps = behaviours["page_size_limit"] == "clamped"
    start = _whole_number(payload, "start", 1, 1, None)
    cap = behaviours["row_cap"]
    if cap != "none" and start > int(cap):
        raise refusals.query_invalid(f"start must be from 1 to {cap}, not {start}", "/start")
    return Query(
        object=name,
        fields=fields,
        filters=filters,
        expression=_expression(books, payload.get("filterExpression"), len(filters)),
        order_by=_order_by(catalogue, type_, fields, payload.get("orderBy")),
        start=start,
        size=_whole_number(payload, "size", 100, 1, LARGEST_PAGE, clamps=clamps),
        include_private=parameters.get("includePrivate", False) is True,
        fold=how.fold,
    )


def _whole_number(
    payload: Mapping[str, Json],
    key: str,
    default: int,
    least: int,
    most: int | None,
    *,
    clamps: bool = False,
) -> int:
    given = payload.get(key)
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, int):
        raise refusals.query_invalid(f"{key} must be a whole number", f"/{key}")
    if clamps and most is not None:
        return min(max(given, least), most)
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


def _fields(catalogue: Catalogue, type_: ObjectType, given: Json) -> dict[str, Aggregate | None]:
    if not isinstance(given, list) or not given:
        raise refusals.query_invalid("The fields to query are required", "/fields")
    fields: dict[str, Aggregate | None] = {}
    for number, name in enumerate(given):
        if not isinstance(name, str):
            raise refusals.query_invalid("A field is named by a text", f"/fields/{number}")
        function, colon, path = name.partition(":")
        if not colon or function not in _AGGREGATES:
            _queryable(catalogue, type_, name)
            fields[name] = None
            continue
        kind = _queryable(catalogue, type_, path)
        if function in ("avg", "sum") and kind not in _NUMBERS:
            raise refusals.query_invalid(
                f"{function} cannot be used on {path}, which is a {kind}", f"/fields/{number}"
            )
        fields[name] = Aggregate(function, path, kind)
    return fields


def _filters(books: Books, type_: ObjectType, given: Json, how: Comparison) -> tuple[Filter, ...]:
    if given is None:
        return ()
    if not isinstance(given, list):
        raise refusals.query_invalid("filters must be a list", "/filters")
    most = int(books.behaviours["most_filters"])
    if len(given) > most:
        raise refusals.query_invalid(f"At most {most} filters are taken", "/filters")
    filters = []
    for number, one in enumerate(given):
        target = f"/filters/{number}"
        if not isinstance(one, dict) or len(one) != 1:
            raise refusals.query_invalid('A filter is {"$operator": {"field": value}}', target)
        ((operator, operand),) = one.items()
        if not isinstance(operand, dict) or len(operand) != 1:
            raise refusals.query_invalid('A filter is {"$operator": {"field": value}}', target)
        ((path, value),) = operand.items()
        kind = _queryable(books.catalogue, type_, path)
        if path == "href" or path.endswith(".href"):
            raise refusals.query_invalid(f"{path} cannot be filtered", target)
        try:
            test = read_filter(operator, kind, value, path, how)
        except FilterMistake as mistake:
            unknown = isinstance(mistake, UnknownOperator)
            status = books.behaviours["unknown_operator"] if unknown else "refused_400"
            raise refusals.query_invalid(str(mistake), f"{target}/{operator}", status) from None
        filters.append(Filter(path, kind, test))
    return tuple(filters)


def _expression(books: Books, given: Json, filters: int) -> Expression | None:
    if given is None:
        return None
    behaviours, target = books.behaviours, "/filterExpression"
    status = behaviours["bad_expression"]
    if not isinstance(given, str) or not given.strip() or len(given) > 2000:
        raise refusals.query_invalid("filterExpression must be a text", target, status)
    try:
        expression = read_expression(
            given,
            filters,
            left_to_right=behaviours["bare_precedence"] == "left_to_right",
            all_used=behaviours["unused_filter"] == "refused",
        )
    except ExpressionMistake as mistake:
        message = f"filterExpression is not valid: {mistake}"
        raise refusals.query_invalid(message, target, status) from None
    return expression if filters else None


def _order_by(
    catalogue: Catalogue,
    type_: ObjectType,
    fields: Mapping[str, Aggregate | None],
    given: Json,
) -> tuple[tuple[str, bool], ...]:
    grouped = any(fields.values())
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
        if not grouped:
            _queryable(catalogue, type_, path)
        elif path not in fields:
            raise refusals.query_invalid(f"{path} is not among the grouped fields", target)
        if path == "href" or path.endswith(".href"):
            raise refusals.query_invalid(f"{path} cannot be sorted by", target)
        if direction not in ("asc", "desc"):
            raise refusals.query_invalid(f"{path} is sorted 'asc' or 'desc'", target)
        orders.append((path, direction == "desc"))
    return tuple(orders)


def answer(query: Query, books: Books, entity: str | None) -> dict[str, Json]:
    """The page a query asks for, with its meta. `entity` None is the top level."""
    table = books.tables[query.object]
    reader = Reader(books.catalogue, books.tables, query.object, books.today())
    rows = _found(query, books, reader, entity)
    if query.is_grouped:
        grouped = _grouped(query, reader, rows)
        total, result = len(grouped), grouped[query.start - 1 : query.start - 1 + query.size]
    else:
        rows = _ordered(query, reader, rows, first=books.behaviours["null_order"] == "first")
        total, page = len(rows), rows[query.start - 1 : query.start - 1 + query.size]
        columns = [reader.column(path)(page) for path in query.fields]
        names = list(query.fields)
        if table.type.unasked_column:
            # Recorded live 2026-03: one column more than asked for, numbered after the last one.
            names.insert(0, f"API_QUERY_ALIAS__{len(names) + 1}")
            # What it holds is not known: "2" for some invoices of order entry, nothing for others.
            columns.insert(0, ["2" if row.get("documentId") else None for row in page])
        result = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    if query.start > max(total, 1) and books.behaviours["start_beyond_end"] == "refused":
        raise refusals.query_invalid(f"start must be from 1 to {total}", "/start")
    after = query.start + query.size
    return {
        "ia::result": list[Json](result),
        "ia::meta": {
            "totalCount": total,
            "start": query.start,
            "pageSize": query.size,
            "next": after if after <= total else None,
            "previous": max(query.start - query.size, 1) if query.start > 1 else None,
        },
    }


def everything(query: Query, books: Books, entity: str | None) -> list[dict[str, Json]]:
    """All rows that a query matches, whatever page it asks for; columns are as asked."""
    whole = answer(replace(query, start=1, size=sys.maxsize // 2), books, entity)
    rows = cast("list[dict[str, Json]]", whole["ia::result"])
    return [{name: row[name] for name in query.fields} for row in rows]


def _found(query: Query, books: Books, reader: Reader, entity: str | None) -> list[Row]:
    """The records that pass the filters, in the order they have when nobody asks for one."""
    table, behaviours = books.tables[query.object], books.behaviours
    rows = table.visible(
        books.entity_key(entity),
        include_private=query.include_private,
        shared=behaviours["shared_masters"] != "hidden",
    )
    unseen = books.unseen(query.object)
    if unseen:
        rows = [row for row in rows if row["key"] not in unseen]
    rows = _matching(query, reader, rows)
    if behaviours["default_order"] == "by_key":
        return sorted(rows, key=lambda row: int(str(row["key"])))
    asked = books.referee.current
    again = asked.number if asked and behaviours["default_order"] == "reshuffled" else 0
    return table.in_no_order(rows, again)


def _matching(query: Query, reader: Reader, rows: list[Row]) -> list[Row]:
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


def _sorted(places: list[int], values: list[Any], *, descending: bool, first: bool) -> list[int]:
    """`places` in the order of their values. Empty values come last when ascending, as databases
    of Oracle's make do, or `first`; when descending the other way round."""
    empty = (0, 0) if first else (2, 0)
    ranks = [empty if value is None else (1, value) for value in values]
    return sorted(places, key=ranks.__getitem__, reverse=descending)


def _ordered(query: Query, reader: Reader, rows: list[Row], *, first: bool) -> list[Row]:
    places = list(range(len(rows)))
    # The last order first: each sort keeps what the ones before it did among equals.
    for path, descending in reversed(query.order_by):
        kind = _queryable(reader.catalogue, reader.type, path)
        convert = comparable("string" if kind == "date-time" else kind, fold="")
        values = [convert(value) for value in reader.column(path)(rows)]
        places = _sorted(places, values, descending=descending, first=first)
    return [rows[place] for place in places]


def _grouped(query: Query, reader: Reader, rows: list[Row]) -> list[dict[str, Json]]:
    by = [name for name, aggregate in query.fields.items() if aggregate is None]
    keys = list(zip(*(reader.column(path)(rows) for path in by), strict=True)) or [()] * len(rows)
    members: dict[tuple[Json, ...], list[int]] = {} if by else {(): []}
    for place, key in enumerate(keys):
        members.setdefault(key, []).append(place)
    columns: dict[str, list[Json]] = {
        name: [key[number] for key in members] for number, name in enumerate(by)
    }
    ranks: dict[str, list[Any]] = {}
    for name, aggregate in query.fields.items():
        kind = _queryable(reader.catalogue, reader.type, aggregate.path if aggregate else name)
        convert = comparable(kind, fold="")
        if aggregate is None:
            ranks[name] = [convert(value) for value in columns[name]]
            continue
        stored = reader.column(aggregate.path)(rows)
        pairs = [(convert(value), value) for value in stored]
        found = [
            _worked_out(aggregate, [pairs[place] for place in each]) for each in members.values()
        ]
        ranks[name] = [rank for rank, _ in found]
        columns[name] = [shown for _, shown in found]
    places = list(range(len(members)))
    for name, descending in reversed(query.order_by):
        places = _sorted(places, ranks[name], descending=descending, first=False)
    return [{name: columns[name][place] for name in query.fields} for place in places]


def _worked_out(aggregate: Aggregate, pairs: Sequence[tuple[Any, Json]]) -> tuple[Any, Json]:
    """The aggregate of a group, as it compares and as it is shown. Empty values do not count."""
    filled = [pair for pair in pairs if pair[0] is not None]
    if aggregate.function == "count":
        return len(filled), len(filled)
    if not filled:
        return None, None
    if aggregate.function == "min":
        return min(filled, key=lambda pair: pair[0])
    if aggregate.function == "max":
        return max(filled, key=lambda pair: pair[0])
    total = sum((Decimal(str(value)) for value, _ in filled), Decimal(0))
    if aggregate.function == "avg":
        total /= len(filled)
    return total, str(total.quantize(Decimal("0.01"), ROUND_HALF_UP))
