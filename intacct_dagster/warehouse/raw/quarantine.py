"""Values that could not be converted as they are, with their original text.

In their column they are null, or rounded where the digits that it keeps are certain.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse import types
from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.raw.names import KEY, RAW
from intacct_dagster.warehouse.raw.raw_load import RawLoad
from intacct_dagster.warehouse.sql import identifier, literal, statement
from intacct_dagster.warehouse.tables import TIME, TableColumn, ensure_table, existing_columns
from intacct_dagster.warehouse.types import Column

_TABLE: Final = "quarantine"
QUARANTINE_COLUMNS: Final = (
    TableColumn("object", "VARCHAR", "The REST object, e.g. accounts-receivable/invoice"),
    TableColumn("entity", "VARCHAR", "The entity whose session read the record"),
    TableColumn("key", "VARCHAR", "Intacct's key of the record"),
    TableColumn("path", "VARCHAR", "The field's dotted path in Intacct"),
    TableColumn("column_name", "VARCHAR", "Its column, which is null for this record, or rounded"),
    TableColumn("column_type", "VARCHAR", "The type that the value is not exactly of"),
    TableColumn("value", "VARCHAR", "What Intacct sent"),
    TableColumn("is_rounded", "BOOLEAN", "Whether the column has it rounded, and not null"),
    TableColumn("reason", "VARCHAR", "Why it is not exactly of that type: no such date, ..."),
    TableColumn("load_id", "BIGINT", "The load that brought it: see meta.loads"),
    TableColumn("run_id", "VARCHAR"),
    TableColumn("extracted_at", TIME, "When reading began that brought it"),
)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """How many values of a column are null because they could not be converted.

    `key` and `value` are an example: a record, and what Intacct sent.
    """

    object: str
    path: str
    column_type: str
    values: int
    key: str
    value: str


def store_quarantined(connection: DuckDBPyConnection, load: RawLoad, load_id: int) -> None:
    """Store what of a load could not be converted, in its transaction."""
    ensure_table(
        connection,
        CATALOG,
        RAW,
        _TABLE,
        QUARANTINE_COLUMNS,
        "One row per value that could not be converted as it is, with the text that Intacct sent",
    )
    found = [
        f"CASE WHEN {condition} THEN {{'path': {literal(column.path)}, 'name':"
        f" {literal(column.name)}, 'type': {literal(column.type)}, 'is_rounded': {is_rounded},"
        f" 'reason': {types.reason(column)},"
        f" 'value': {_as_sent(column)}}} END"
        for column in load.columns
        for is_rounded, condition in (
            ("false", types.flaw(column)),
            ("true", _only_rounded(column)),
        )
        if condition is not None
    ]
    if not found:
        return
    connection.execute(
        statement(
            __name__,
            "quarantine_values",
            found=", ".join(found),
            key=identifier(KEY),
            pages=load.pages(exact=True),
        ),
        {
            "object": load.object,
            "entity": load.entity,
            "load_id": load_id,
            "run_id": load.run_id,
            "extracted_at": load.extracted_at,
        },
    )


def _as_sent(column: Column) -> str:
    """Return an expression for the text that Intacct sent; of a JSON number, its digits."""
    sent = f"CAST({identifier(column.path)} AS VARCHAR)"
    if types.read_as(column) != "JSON":
        return sent
    return f"CASE WHEN {sent} LIKE '\"%' THEN json_extract_string({sent}, '$') ELSE {sent} END"


def _only_rounded(column: Column) -> str | None:
    flaw, rounded = types.flaw(column), types.rounded(column)
    return None if rounded is None else f"(NOT coalesce({flaw or 'false'}, false) AND {rounded})"


def quarantined(file: Warehouse, objects: Collection[str], since: datetime) -> list[Quarantined]:
    """Return what is in quarantine of loads that began at `since` or later, most values first."""
    if not file.path.exists():
        return []
    with file.connect(read_only=True) as connection:
        if not existing_columns(connection, CATALOG, RAW, _TABLE):
            return []
        rows = connection.execute(
            "SELECT object, path, any_value(column_type), count(DISTINCT (entity, key)), max(key),"
            " arg_max(value, key) FROM raw.quarantine"
            " WHERE object IN (SELECT unnest($objects::VARCHAR[])) AND extracted_at >= $since"
            " GROUP BY object, path ORDER BY 4 DESC, object, path",
            {"objects": list(objects), "since": since},
        ).fetchall()
    return [Quarantined(*row) for row in rows]
