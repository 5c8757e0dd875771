"""Simple expressions of DuckDB SQL over a line of a feed: checked before anything runs.

An expression may only compute: no subquery, no aggregate, no table, nothing that depends on the
moment or the session. So the same line always gives the same value, and a payload the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

import duckdb

from intacct_dagster.warehouse.sql import identifier, literal

_CLASSES = frozenset(
    {
        "COLUMN_REF",
        "CONSTANT",
        "FUNCTION",
        "OPERATOR",
        "COMPARISON",
        "CONJUNCTION",
        "CASE",
        "CAST",
        "BETWEEN",
        "COLLATE",
    }
)
_NOT_OF_THE_LINE = frozenset({"current_setting", "getvariable", "getenv", "version"})
# DuckDB defines these by macros; others of its macros hide aggregates, or read the session.
_MACROS = frozenset(
    {"nullif", "split_part", "round_even", "days_in_month", "array_to_string", "list_value"}
)


class ExpressionRefused(ValueError):
    """The text is no expression that a feed may use; the message says why."""


def expression_type(expression: str, columns: Mapping[str, str]) -> str:
    """Return the DuckDB type of an expression over `columns`, given with their DuckDB types.

    Raises ExpressionRefused for a syntax error, an unknown column, and all that is not a scalar
    expression over the columns.
    """
    return _type_of(expression, tuple(columns.items()))


@lru_cache(maxsize=1_000)  # every asset of a feed asks for the same ones
def _type_of(expression: str, named: tuple[tuple[str, str], ...]) -> str:
    columns = dict(named)
    connection = duckdb.connect(":memory:")
    try:
        node = _parse(connection, expression)
        _check(node, {column.lower() for column in columns}, _functions(), columns)
        spelled = ", ".join(f"{identifier(name)} {held}" for name, held in columns.items())
        connection.execute(f"CREATE TABLE feed_line ({spelled})")
        try:
            rows = connection.execute(f"DESCRIBE {_select(expression)}").fetchall()
        except duckdb.Error as error:
            raise ExpressionRefused(_reason(error)) from None
        return str(rows[0][1])
    finally:
        connection.close()


@lru_cache(maxsize=1_000)  # every asset of a feed asks about the same text
def is_query(sql: str) -> str | None:
    """Why a text is not one query (SELECT …) of DuckDB SQL; None if it is."""
    with duckdb.connect(":memory:") as connection:
        tree = _tree(connection, sql)
    if tree.get("error"):
        return _parse_error(tree)
    return None if len(tree["statements"]) == 1 else "it is more than one statement"


def tables_of(query: str) -> list[tuple[str, str, str]]:
    """(catalog, schema, name) of every table that a query names; "" where it says none."""
    with duckdb.connect(":memory:") as connection:
        tree = _tree(connection, query)
    return [
        (node["catalog_name"], node["schema_name"], node["table_name"])
        for node in _nodes(tree)
        if node.get("type") == "BASE_TABLE"
    ]


def _select(expression: str) -> str:
    # The line end closes a comment that the expression may end with.
    return f"SELECT ({expression}\n) AS value FROM feed_line"


def _tree(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    text = connection.execute(f"SELECT json_serialize_sql({literal(sql)})").fetchall()[0][0]
    tree: dict[str, Any] = json.loads(text)
    return tree


def _parse(connection: duckdb.DuckDBPyConnection, expression: str) -> dict[str, Any]:
    """Return the expression's syntax tree, if it is one expression and nothing besides."""
    if not expression.strip():
        raise ExpressionRefused("it is empty")
    try:
        tree = _tree(connection, _select(expression))
    except duckdb.Error as error:
        raise ExpressionRefused(_reason(error)) from None
    if tree.get("error"):
        raise ExpressionRefused(_parse_error(tree))
    frame = _tree(connection, _select("NULL"))
    [value], _ = _taken_out(tree), _taken_out(frame)
    # What a closing bracket or a comma smuggles in changes the statement around the expression.
    if value is None or _without_places(tree) != _without_places(frame):
        raise ExpressionRefused("it is not one expression")
    return value


def _taken_out(tree: dict[str, Any]) -> list[dict[str, Any] | None]:
    """Take the selected values out of a statement's tree; [None] where it is not just one."""
    found: list[dict[str, Any]] = []
    for statement in tree["statements"]:
        found += statement["node"].pop("select_list", [])
    return [found[0]] if len(found) == 1 and found[0].get("alias") == "value" else [None]


def _without_places(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {
            name: _without_places(value) for name, value in tree.items() if name != "query_location"
        }
    return [_without_places(value) for value in tree] if isinstance(tree, list) else tree


def _check(
    node: dict[str, Any], known: set[str], functions: frozenset[str], columns: Mapping[str, str]
) -> None:
    for part in _parts(node):
        match part["class"]:
            case "COLUMN_REF":
                name = ".".join(part["column_names"])
                if len(part["column_names"]) > 1 or name.lower() not in known:
                    raise ExpressionRefused(
                        f"there is no column {name}; the feed names {', '.join(columns)}"
                    )
            case "FUNCTION" if not part["is_operator"]:
                name = part["function_name"].lower()
                if part["schema"] or part["catalog"] or name not in functions:
                    raise ExpressionRefused(
                        f"{name}() cannot stand in it: it does not compute a value from the line"
                    )
                if part["filter"] or part["distinct"] or part["order_bys"]["orders"]:
                    raise ExpressionRefused(f"{name}() stands in it as an aggregate does")
            case other if other not in _CLASSES:
                what = {"SUBQUERY": "a subquery", "WINDOW": "a window function", "STAR": "a star"}
                raise ExpressionRefused(
                    f"{what.get(other, other.lower())} cannot stand in it: it computes a value "
                    "from one line"
                )


def _parts(node: Any) -> Iterator[dict[str, Any]]:
    return (part for part in _nodes(node) if "class" in part)


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _nodes(value)
    elif isinstance(node, list):
        for value in node:
            yield from _nodes(value)


@cache
def _functions() -> frozenset[str]:
    """Return the names of DuckDB's functions whose value depends on their arguments alone."""
    with duckdb.connect(":memory:") as connection:
        rows = connection.execute(
            "SELECT function_name FROM duckdb_functions() GROUP BY function_name"
            " HAVING bool_and(function_type = 'scalar' AND stability = 'CONSISTENT')"
        ).fetchall()
    return frozenset({name for (name,) in rows} - _NOT_OF_THE_LINE | _MACROS)


def _parse_error(tree: Mapping[str, Any]) -> str:
    if tree.get("error_type") == "not implemented":
        return "it is not a query"
    return str(tree.get("error_message", "it is not SQL"))


def _reason(error: Exception) -> str:
    """Return the first line of DuckDB's words, without the kind of error."""
    first = str(error).splitlines()[0]
    kind, _, rest = first.partition(": ")
    return rest if kind.endswith("Error") and rest else first
