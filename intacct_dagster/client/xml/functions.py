"""The functions of the XML API that read, as they are written into a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, tzinfo
from xml.sax.saxutils import escape

from intacct_dagster.client.query import Filter, Query, Scalar
from intacct_dagster.client.xml.clock import condition_on
from intacct_dagster.client.xml.objects import FieldType, XmlObject

_OPERATORS: Mapping[str, str] = {
    "$eq": "equalto",
    "$ne": "notequalto",
    "$lt": "lessthan",
    "$lte": "lessthanorequalto",
    "$gt": "greaterthan",
    "$gte": "greaterthanorequalto",
    "$in": "in",
    "$notIn": "notin",
}


def query_function(what: XmlObject, query: Query, size: int, zone: tzinfo) -> str:
    """Return a `query` for a page of `size` rows; `zone` is the user's time zone."""
    asked = [what.by_path[path].xml for path in query.fields if path in what.by_path]
    return (
        f"<query><object>{what.xml}</object>"
        f"<select>{_each('field', asked or ['RECORDNO'])}</select>"
        f"{_filter(what, query.filters, zone)}{_order(what, query.order_by)}"
        f"{_options(query.parameters)}"
        f"<pagesize>{size}</pagesize><offset>{query.start - 1}</offset></query>"
    )


def period_function(what: XmlObject, period: str, size: int) -> str:
    """Return a `readByQuery` for the first `size` rows of a reporting period."""
    named = period.replace("\\", "\\\\").replace("'", "\\'")
    return (
        f"<readByQuery><object>{what.xml}</object><fields>*</fields>"
        f"<query>PERIOD = '{escape(named)}'</query><pagesize>{size}</pagesize></readByQuery>"
    )


def read_more_function(result: str) -> str:
    """Return a `readMore` for the rows that follow in a result."""
    return f"<readMore><resultId>{escape(result)}</resultId></readMore>"


def _filter(what: XmlObject, filters: Sequence[Filter], zone: tzinfo) -> str:
    parts = [_condition(what, each, zone) for each in filters]
    if not parts:
        return ""
    joined = "".join(parts)
    return f"<filter>{joined if len(parts) == 1 else f'<and>{joined}</and>'}</filter>"


def _condition(what: XmlObject, given: Filter, zone: tzinfo) -> str:
    ((operator, operand),) = given.items()
    ((path, value),) = operand.items()
    field = what.by_path[path]
    name = f"<field>{field.xml}</field>"
    if value is None:
        empty = {"$eq": "isnull", "$ne": "isnotnull"}[operator]
        return f"<{empty}>{name}</{empty}>"
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    texts = [_written(field.type, each) for each in values]
    if field.type == "time":
        moments = [datetime.fromisoformat(str(each)).astimezone(UTC) for each in values]
        asked = [condition_on(operator, each, zone) for each in moments]
        operator, texts = asked[0][0], [text for _, text in asked]
    written = _each("value", texts)
    return f"<{_OPERATORS[operator]}>{name}{written}</{_OPERATORS[operator]}>"


def _written(type: FieldType, value: Scalar) -> str:
    if type == "date":
        return date.fromisoformat(str(value)).strftime("%m/%d/%Y")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _each(name: str, texts: Iterable[str]) -> str:
    return "".join(f"<{name}>{escape(text)}</{name}>" for text in texts)


def _order(what: XmlObject, order: Sequence[Mapping[str, str]]) -> str:
    parts = [
        f"<order><field>{what.by_path[path].xml}</field>"
        f"<{'descending' if way == 'desc' else 'ascending'}/></order>"
        for each in order
        for path, way in each.items()
    ]
    return f"<orderby>{''.join(parts)}</orderby>" if parts else ""


def _options(parameters: Mapping[str, Scalar]) -> str:
    private = parameters.get("includePrivate") is True
    return "<options><showprivate>true</showprivate></options>" if private else ""
