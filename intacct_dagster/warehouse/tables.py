"""Tables that grow: created when missing, widened when a column is new, never narrowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.errors import SchemaChanged
from intacct_dagster.warehouse.sql import cast, identifier, literal

AMOUNT = "DECIMAL(38,10)"
"""The type of every amount: Intacct sends two decimals, some amounts ten."""

TIME = "TIMESTAMP WITH TIME ZONE"
"""The type of every moment, as DuckDB spells it; the session's time zone is UTC."""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table: its name, its DuckDB type as DuckDB spells it, and what it holds."""

    name: str
    type: str
    comment: str | None = None


def existing_columns(
    connection: DuckDBPyConnection, catalog: str, schema: str, table: str
) -> tuple[TableColumn, ...]:
    """Return the columns of a table or view, in order; empty when there is no such table."""
    rows = connection.execute(
        "SELECT column_name, data_type, comment FROM duckdb_columns()"
        " WHERE database_name = ? AND schema_name = ? AND table_name = ? ORDER BY column_index",
        [catalog, schema, table],
    ).fetchall()
    return tuple(TableColumn(*row) for row in rows)


def check_types(
    connection: DuckDBPyConnection,
    catalog: str,
    schema: str,
    table: str,
    columns: Sequence[TableColumn],
) -> None:
    """Raise SchemaChanged, naming each column, if the table holds one of them with another type."""
    _check_types(existing_columns(connection, catalog, schema, table), schema, table, columns)


def _check_types(
    existing: Sequence[TableColumn], schema: str, table: str, columns: Sequence[TableColumn]
) -> None:
    held = {column.name.lower(): column.type for column in existing}
    changed = [
        f"{column.name} is {held[column.name.lower()]} and would become {column.type}"
        for column in columns
        if held.get(column.name.lower(), column.type) != column.type
    ]
    if changed:
        raise SchemaChanged(
            f"columns of {schema}.{table} changed their type: {'; '.join(changed)}",
            f"If that is meant, drop the table (DROP TABLE {identifier(schema, table)}) and "
            "materialize all of its partitions again.",
        )


def ensure_table(
    connection: DuckDBPyConnection,
    catalog: str,
    schema: str,
    table: str,
    columns: Sequence[TableColumn],
    comment: str,
) -> None:
    """Make the table hold at least these columns, and say on it what it and they are.

    A column that is no longer asked for stays, and is null in new rows. Raises SchemaChanged
    before anything is altered. Meant to run inside the transaction that writes the rows.
    """
    # Asked once: it takes DuckDB some milliseconds, the more columns the whole file has.
    existing = existing_columns(connection, catalog, schema, table)
    _check_types(existing, schema, table, columns)
    name = identifier(catalog, schema, table)
    held = {column.name.lower(): column for column in existing}
    if not held:
        spelled = ", ".join(f"{identifier(column.name)} {column.type}" for column in columns)
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(catalog, schema)}")
        connection.execute(f"CREATE TABLE {name} ({spelled})")
    for column in columns:
        known = held.get(column.name.lower())
        if held and known is None:
            connection.execute(
                f"ALTER TABLE {name} ADD COLUMN {identifier(column.name)} {column.type}"
            )
        if column.comment is not None and (known is None or known.comment != column.comment):
            connection.execute(
                f"COMMENT ON COLUMN {name}.{identifier(column.name)} IS {literal(column.comment)}"
            )
    connection.execute(f"COMMENT ON TABLE {name} IS {literal(comment)}")


def stage_records(
    connection: DuckDBPyConnection,
    table: str,
    columns: Sequence[TableColumn],
    records: Iterable[Sequence[object]],
    scratch: Path,
) -> None:
    """Put Python records into a new table `memory.main.<table>`; values in the columns' order.

    They go by way of a file of JSON texts, so that decimals, dates and times arrive exactly as
    they are written, and a hundred thousand records take a second rather than a minute.
    """
    encode = msgspec.json.Encoder(decimal_format="string").encode
    arrays = (encode([_text(value) for value in record]) for record in records)
    stage_arrays(connection, table, columns, arrays, scratch)


def stage_arrays(
    connection: DuckDBPyConnection,
    table: str,
    columns: Sequence[TableColumn],
    arrays: Iterable[bytes],
    scratch: Path,
) -> None:
    """The same of records that are JSON arrays already: one, or several on lines of their own."""
    spool = scratch / f"{table}.ndjson"
    with spool.open("wb") as out:
        for array in arrays:
            out.write(array)
            out.write(b"\n")
    picked = ", ".join(
        f"{cast(f'record[{position}]', column.type)} AS {identifier(column.name)}"
        for position, column in enumerate(columns, start=1)
    )
    connection.execute(
        f"CREATE TABLE memory.main.{identifier(table)} AS SELECT {picked} FROM read_json("
        "?, format = 'newline_delimited', records = false, columns = {record: 'VARCHAR[]'})",
        [str(spool)],
    )
    spool.unlink()


def _text(value: object) -> object:
    """Everything is text or null: a JSON number might not come back as it was."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else value
