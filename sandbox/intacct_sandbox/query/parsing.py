"""Read a query from its payload, or say what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import cast

from intacct_sandbox.control.behaviours import Behaviours
from intacct_sandbox.errors import rejections
from intacct_sandbox.objects.catalogue import Json, Kind, ObjectCatalogue, ObjectType

from .definition import Aggregate, Filter, ObjectQuery
from .filter_expression import Expression, ExpressionMistake, every_filter, read_expression
from .filters import Comparison, FilterMistake, UnknownOperator, read_filter
from .source import QuerySource

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


def read_query(payload: Json, books: QuerySource) -> ObjectQuery:
    """Return a query from its payload; raises `Rejection` for the first thing that is wrong."""
    catalogue, behaviours = books.catalogue, books.behaviours
    if not isinstance(payload, dict):
        raise rejections.bad_json("a query is an object")
    for key in payload:
        if key not in _KEYS:
            raise rejections.query_key_unknown(key)
    name = payload.get("object")
    if not isinstance(name, str) or not name:
        raise rejections.query_invalid("The object to query is required", "/object")
    if name not in catalogue:
        raise rejections.no_such_object(name)
    type_ = catalogue[name]
    parameters = _parameters(payload.get("filterParameters"), type_, behaviours)
    as_of = parameters.get("asOfDate")
    exact = parameters.get("caseSensitiveComparison", True) is True
    how = Comparison(
        as_of=date.fromisoformat(as_of) if isinstance(as_of, str) else books.today(),
        fold="" if exact else behaviours["case_folding"],
        null_differs=_DIFFER_FROM_NULL[behaviours["not_equal_null"]],
    )
    filters = _filters(books, type_, payload.get("filters"), how)
    expression = _expression(books, payload.get("filterExpression"), len(filters))
    if parameters.keys() & type_.query_parameters.keys():
        # What waits for the approval of the caller: nothing does in the sandbox's company.
        nothing: Json = [{"$lt": {"key": "0"}}]
        expression, filters = every_filter(1), _filters(books, type_, nothing, how)
    fields = _fields(catalogue, type_, payload.get("fields"))
    clamps = behaviours["page_size_limit"] == "clamped"
    start = _whole_number(payload, "start", 1, 1, None)
    cap = behaviours["row_cap"]
    if cap != "none" and start > int(cap):
        raise rejections.query_invalid(f"start must be from 1 to {cap}, not {start}", "/start")
    order_by = _order_by(catalogue, type_, fields, payload.get("orderBy"))
    kinds = {one.path: one.kind for one in filters}
    for path in kinds:
        _in_question(behaviours, type_, path)
    for path in (*(path for path, one in fields.items() if one is None), *dict(order_by)):
        if path not in fields or fields[path] is None:
            _in_question(behaviours, type_, path)
            kinds[path] = _queryable(catalogue, type_, path)
    return ObjectQuery(
        object=name,
        fields=fields,
        filters=filters,
        expression=expression,
        order_by=order_by,
        start=start,
        size=_whole_number(payload, "size", 100, 1, LARGEST_PAGE, clamps=clamps),
        include_private=parameters.get("includePrivate", False) is True,
        how=how,
        kinds=kinds,
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
        raise rejections.query_invalid(f"{key} must be a whole number", f"/{key}")
    if clamps and most is not None:
        return min(max(given, least), most)
    if given < least or (most is not None and given > most):
        limit = f"from {least} to {most}" if most is not None else f"{least} or more"
        raise rejections.query_invalid(f"{key} must be {limit}, not {given}", f"/{key}")
    return given


def _parameters(given: Json, type_: ObjectType, behaviours: Behaviours) -> Mapping[str, Json]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise rejections.query_invalid("filterParameters must be an object", "/filterParameters")
    for key, value in given.items():
        target = f"/filterParameters/{key}"
        if key in type_.query_parameters:
            # Such as approvalsForUser, and what the model says it takes.
            known = type_.query_parameters[key]["parameters"]
            if not isinstance(value, dict) or not set(value) <= set(known):
                raise rejections.query_invalid(f"{key} takes {', '.join(known)}", target)
            continue
        if key not in _PARAMETERS:
            raise rejections.query_key_unknown(f"filterParameters.{key}")
        if key == "asOfDate":
            try:
                date.fromisoformat(cast(str, value))
            except (TypeError, ValueError):
                raise rejections.query_invalid("asOfDate must be a date", target) from None
        elif not isinstance(value, bool):
            raise rejections.query_invalid(f"{key} must be true or false", target)
    rejected = behaviours["hierarchy_fields"] == "rejected"
    if given.get("includeHierarchyFields") is True and rejected:
        target = "/filterParameters/includeHierarchyFields"
        raise rejections.query_invalid(
            "includeHierarchyFields has no effect on this object", target
        )
    return given


def _queryable(catalogue: ObjectCatalogue, type_: ObjectType, path: str) -> Kind:
    """Return the kind of a field that may be queried; raises `Rejection` for any other."""
    field = type_.fields.get(path)
    if field is not None:
        if field.write_only:
            raise rejections.field_not_queryable(path, type_.name)
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
        raise rejections.field_not_queryable(path, type_.name)
    reached = type_.beyond(path)
    if reached is not None and reached[0].object in catalogue:
        return _queryable(catalogue, catalogue[reached[0].object], reached[1])
    raise rejections.field_unknown(path)


def _in_question(behaviours: Behaviours, type_: ObjectType, path: str) -> None:
    """Raises `Rejection` for a field of which nobody knows whether it can be queried."""
    if behaviours["reference_reach"] == "rejected" and type_.beyond(path) is not None:
        raise rejections.field_unknown(path)
    if behaviours["line_audit"] == "absent" and type_.owner and path.startswith("audit."):
        raise rejections.field_unknown(path)


def _fields(
    catalogue: ObjectCatalogue, type_: ObjectType, given: Json
) -> dict[str, Aggregate | None]:
    if not isinstance(given, list) or not given:
        raise rejections.query_invalid("The fields to query are required", "/fields")
    fields: dict[str, Aggregate | None] = {}
    for number, name in enumerate(given):
        if not isinstance(name, str):
            raise rejections.query_invalid("A field is named by a text", f"/fields/{number}")
        function, colon, path = name.partition(":")
        if not colon or function not in _AGGREGATES:
            _queryable(catalogue, type_, name)
            fields[name] = None
            continue
        kind = _queryable(catalogue, type_, path)
        if function in ("avg", "sum") and kind not in _NUMBERS:
            raise rejections.query_invalid(
                f"{function} cannot be used on {path}, which is a {kind}", f"/fields/{number}"
            )
        fields[name] = Aggregate(function, path, kind)
    return fields


def _filters(
    books: QuerySource, type_: ObjectType, given: Json, how: Comparison
) -> tuple[Filter, ...]:
    if given is None:
        return ()
    if not isinstance(given, list):
        raise rejections.query_invalid("filters must be a list", "/filters")
    most = int(books.behaviours["most_filters"])
    if len(given) > most:
        raise rejections.query_invalid(f"At most {most} filters are taken", "/filters")
    filters = []
    for number, one in enumerate(given):
        target = f"/filters/{number}"
        if not isinstance(one, dict) or len(one) != 1:
            raise rejections.query_invalid('A filter is {"$operator": {"field": value}}', target)
        ((operator, operand),) = one.items()
        if not isinstance(operand, dict) or len(operand) != 1:
            raise rejections.query_invalid('A filter is {"$operator": {"field": value}}', target)
        ((path, value),) = operand.items()
        kind = _queryable(books.catalogue, type_, path)
        if path == "href" or path.endswith(".href"):
            raise rejections.query_invalid(f"{path} cannot be filtered", target)
        try:
            test = read_filter(operator, kind, value, path, how)
        except FilterMistake as mistake:
            unknown = isinstance(mistake, UnknownOperator)
            status = books.behaviours["unknown_operator"] if unknown else "rejected_400"
            raise rejections.query_invalid(str(mistake), f"{target}/{operator}", status) from None
        filters.append(Filter(path, kind, test, operator, value))
    return tuple(filters)


def _expression(books: QuerySource, given: Json, filters: int) -> Expression | None:
    if given is None:
        return every_filter(filters) if filters else None
    behaviours, target = books.behaviours, "/filterExpression"
    status = behaviours["bad_expression"]
    if not isinstance(given, str) or not given.strip() or len(given) > 2000:
        raise rejections.query_invalid("filterExpression must be a text", target, status)
    try:
        expression = read_expression(
            given,
            filters,
            left_to_right=behaviours["bare_precedence"] == "left_to_right",
            all_used=behaviours["unused_filter"] == "rejected",
        )
    except ExpressionMistake as mistake:
        message = f"filterExpression is not valid: {mistake}"
        raise rejections.query_invalid(message, target, status) from None
    return expression if filters else None


def _order_by(
    catalogue: ObjectCatalogue,
    type_: ObjectType,
    fields: Mapping[str, Aggregate | None],
    given: Json,
) -> tuple[tuple[str, bool], ...]:
    grouped = any(fields.values())
    if given is None:
        return ()
    if not isinstance(given, list):
        raise rejections.query_invalid("orderBy must be a list", "/orderBy")
    orders = []
    for number, one in enumerate(given):
        target = f"/orderBy/{number}"
        if not isinstance(one, dict) or len(one) != 1:
            raise rejections.query_invalid('An order is {"field": "asc" or "desc"}', target)
        ((path, direction),) = one.items()
        if not grouped:
            _queryable(catalogue, type_, path)
        elif path not in fields:
            raise rejections.query_invalid(f"{path} is not among the grouped fields", target)
        if path == "href" or path.endswith(".href"):
            raise rejections.query_invalid(f"{path} cannot be sorted by", target)
        if direction not in ("asc", "desc"):
            raise rejections.query_invalid(f"{path} is sorted 'asc' or 'desc'", target)
        orders.append((path, direction == "desc"))
    return tuple(orders)
