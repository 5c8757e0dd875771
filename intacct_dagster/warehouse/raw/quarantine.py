"""Values that could not be converted as they are, with their original text.

In their column they are null, or rounded where the digits that it keeps are certain. A value that
is read again as it was is the same row: it is of the versions from `first_load_id` to `load_id`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse import types
from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.raw.log import ObjectLog
from intacct_dagster.warehouse.raw.names import INTACCT, KEY, RAW, table_name
from intacct_dagster.warehouse.raw.raw_load import RawLoad
from intacct_dagster.warehouse.sql import identifier, literal, statement
from intacct_dagster.warehouse.tables import TIME, TableColumn, ensure_table, existing_columns
from intacct_dagster.warehouse.types import Column, column_name

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
    TableColumn("load_id", "BIGINT", "The load that brought it last: see meta.loads"),
    TableColumn("first_load_id", "BIGINT", "The load that brought it first, the same since then"),
    TableColumn("run_id", "VARCHAR"),
    TableColumn("extracted_at", TIME, "When reading began that brought it last"),
)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """How many values of a column are null, or rounded, because they could not be converted.

    Only of the versions that count. `key` and `value` are an example: a record, and what Intacct
    sent. `reason` is None if an older version stored them.
    """

    object: str
    path: str
    column_type: str
    values: int
    key: str
    value: str
    reason: str | None = None


def store_quarantined(
    connection: DuckDBPyConnection, log: ObjectLog, load: RawLoad, load_id: int
) -> None:
    """Store what of the versions of a load could not be converted, in its transaction."""
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
    changed = next((each for each in load.columns if each.name == log.changed), None)
    places = {
        "raw": log.raw,
        "key": load.column(KEY),
        "changed": load.column(changed.path) if changed is not None else "NULL",
        "load": str(load_id),
    }
    connection.execute(
        statement(
            __name__,
            "quarantine_values",
            found=", ".join(found),
            sent_key=identifier(KEY),
            sent_changed=types.lenient(changed) if changed is not None else "NULL",
            pages=load.pages(exact=True),
            **places,
        )
    )
    values = {
        "object": load.object,
        "entity": load.entity,
        "load_id": load_id,
        "run_id": load.run_id,
        "extracted_at": load.extracted_at,
    }
    connection.execute(statement(__name__, "quarantine_known", **places), values)
    connection.execute(statement(__name__, "quarantine_new"), values)
    connection.execute("DROP TABLE temp.main.flawed")


def _as_sent(column: Column) -> str:
    """Return an expression for the text that Intacct sent; of a JSON number, its digits."""
    sent = f"CAST({identifier(column.path)} AS VARCHAR)"
    if types.read_as(column) != "JSON":
        return sent
    return f"CASE WHEN {sent} LIKE '\"%' THEN json_extract_string({sent}, '$') ELSE {sent} END"


def _only_rounded(column: Column) -> str | None:
    flaw, rounded = types.flaw(column), types.rounded(column)
    return None if rounded is None else f"(NOT coalesce({flaw or 'false'}, false) AND {rounded})"


def quarantined(file: Warehouse, objects: Collection[str]) -> list[Quarantined]:
    """Return what of the versions that count is in quarantine, most values first."""
    if not file.path.exists():
        return []
    with file.connect(read_only=True) as connection:
        found = [each for name in objects for each in quarantined_of(connection, name)]
    return sorted(found, key=lambda each: (-each.values, each.object, each.path))


def quarantined_of(connection: DuckDBPyConnection, object: str) -> list[Quarantined]:
    """Return what of the versions of an object that count is in quarantine, by field and reason."""
    held = {each.name for each in existing_columns(connection, CATALOG, RAW, _TABLE)}
    current = existing_columns(connection, CATALOG, INTACCT, table_name(object))
    if not held or "_load_id" not in {each.name for each in current}:
        return []
    first_load = "coalesce(quarantine.first_load_id, quarantine.load_id)"
    rows = connection.execute(
        statement(
            __name__,
            "quarantine_current",
            current=identifier(INTACCT, table_name(object)),
            key=identifier(column_name(KEY)),
            # an older version of this program stored neither
            first_load=first_load if "first_load_id" in held else "quarantine.load_id",
            reason="quarantine.reason" if "reason" in held else "CAST(NULL AS VARCHAR)",
        ),
        {"object": object},
    ).fetchall()
    return [Quarantined(object, *row) for row in rows]
