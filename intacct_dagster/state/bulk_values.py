"""Many rows in one piece, into a statement and out of it, on SQLite and PostgreSQL.

Row by row, each of them would be an execution of its own, and Python's other threads would be let
in between any two.
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


def given_rows(
    connection: sa.Connection, rows: Sequence[Sequence[Value]], types: Sequence[type[Any]]
) -> tuple[Column, ...]:
    """The columns of a table that holds these rows, for a SELECT or an INSERT from one.

    `types` are SQLAlchemy's, of the columns; a LargeBinary is given as text, and holds its UTF-8.
    """
    text = msgspec.json.encode(rows).decode()
    row: Column
    if connection.dialect.name == "sqlite":
        row = sa.func.json_each(text).table_valued("value").c.value
    else:
        array = sa.func.jsonb_array_elements(sa.cast(sa.literal(text), JSONB))
        row = array.table_valued(sa.column("value", JSONB)).c.value
    return tuple(
        _typed(connection, _GivenAt(row, sa.literal(place)), type_)
        for place, type_ in enumerate(types)
    )


def given_at(place: Column, values: Sequence[str | None]) -> Column:
    """The value at a place, from 0; null where there is none."""
    return _GivenAt(sa.literal(msgspec.json.encode(values).decode()), place)


def told(*columns: Column) -> Column:
    """A row as one text, the JSON array of its columns, which need not become objects here."""
    return _Told(*columns)


def _typed(connection: sa.Connection, value: Column, type_: type[Any]) -> Column:
    if type_ is sa.LargeBinary and connection.dialect.name == "postgresql":
        return sa.func.convert_to(value, "UTF8")
    return value if type_ is sa.Text else sa.cast(value, type_)


class _GivenAt(FunctionElement[Any]):
    """The element of a JSON array at a place."""

    type = sa.Text()
    inherit_cache = True


@compiles(_GivenAt, "sqlite")
def _in_sqlite(element: _GivenAt, compiler: SQLCompiler, **kw: Any) -> str:
    array, place = (compiler.process(each, **kw) for each in element.clauses)
    return f"json_extract({array}, '$[' || {place} || ']')"


@compiles(_GivenAt, "postgresql")
def _in_postgresql(element: _GivenAt, compiler: SQLCompiler, **kw: Any) -> str:
    array, place = (compiler.process(each, **kw) for each in element.clauses)
    return f"(CAST({array} AS jsonb) ->> CAST({place} AS integer))"


class _Told(FunctionElement[Any]):
    """A JSON array of its arguments, as text."""

    type = sa.Text()
    inherit_cache = True


@compiles(_Told, "sqlite")
def _told_by_sqlite(element: _Told, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_array({compiler.process(element.clauses, **kw)})"


@compiles(_Told, "postgresql")
def _told_by_postgresql(element: _Told, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST(json_build_array({compiler.process(element.clauses, **kw)}) AS text)"
