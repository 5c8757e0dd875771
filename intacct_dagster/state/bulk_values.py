"""Many rows in one value, into a statement and out of it, on SQLite and PostgreSQL.

An `executemany` runs a statement for each row, and Python's other threads may run between any two.
Here the rows travel as one JSON array, so that the statement runs once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

Value = str | int | None
Column = sa.ColumnElement[Any]


def bulk_columns(
    connection: sa.Connection, rows: Sequence[Sequence[Value]], types: Sequence[type[Any]]
) -> tuple[Column, ...]:
    """Return the columns of a table that holds `rows`, for a SELECT or an INSERT from one.

    Args:
        connection: Says for which database the columns are.
        rows: The rows, each as long as `types`.
        types: SQLAlchemy's types of the columns. The value of a `LargeBinary` column is passed as
            text and stored as its UTF-8 bytes.

    Returns:
        One SQL expression for each type, in order.
    """
    text = msgspec.json.encode(rows).decode()
    row: Column
    if connection.dialect.name == "sqlite":
        row = sa.func.json_each(text).table_valued("value").c.value
    else:
        array = sa.func.jsonb_array_elements(sa.cast(sa.literal(text), JSONB))
        row = array.table_valued(sa.column("value", JSONB)).c.value
    return tuple(
        _typed(connection, _JsonElement(row, sa.literal(place)), type_)
        for place, type_ in enumerate(types)
    )


def bulk_value_at(place: Column, values: Sequence[str | None]) -> Column:
    """Return the SQL expression of the value at `place`, from 0; null where there is none."""
    return _JsonElement(sa.literal(msgspec.json.encode(values).decode()), place)


def json_row(*columns: Column) -> Column:
    """Return the SQL expression of a row as one text, the JSON array of its columns.

    For rows that leave as text: none of their values becomes a Python object.
    """
    return _JsonRow(*columns)


def _typed(connection: sa.Connection, value: Column, type_: type[Any]) -> Column:
    if type_ is sa.LargeBinary and connection.dialect.name == "postgresql":
        return sa.func.convert_to(value, "UTF8")
    return value if type_ is sa.Text else sa.cast(value, type_)


class _JsonElement(FunctionElement[Any]):
    """The element of a JSON array at a place, as text."""

    type = sa.Text()
    inherit_cache = True


@compiles(_JsonElement, "sqlite")
def _element_in_sqlite(element: _JsonElement, compiler: SQLCompiler, **kw: Any) -> str:
    array, place = (compiler.process(each, **kw) for each in element.clauses)
    return f"json_extract({array}, '$[' || {place} || ']')"


@compiles(_JsonElement, "postgresql")
def _element_in_postgresql(element: _JsonElement, compiler: SQLCompiler, **kw: Any) -> str:
    array, place = (compiler.process(each, **kw) for each in element.clauses)
    return f"(CAST({array} AS jsonb) ->> CAST({place} AS integer))"


class _JsonRow(FunctionElement[Any]):
    """A JSON array of its arguments, as text."""

    type = sa.Text()
    inherit_cache = True


@compiles(_JsonRow, "sqlite")
def _row_in_sqlite(element: _JsonRow, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_array({compiler.process(element.clauses, **kw)})"


@compiles(_JsonRow, "postgresql")
def _row_in_postgresql(element: _JsonRow, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST(json_build_array({compiler.process(element.clauses, **kw)}) AS text)"
