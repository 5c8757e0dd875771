"""Schemas: which fields each object had when it was read last, and what became of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.raw.names import META
from intacct_dagster.warehouse.tables import (
    TIME,
    TableColumn,
    ensure_table,
    existing_columns,
    stage_records,
)

_TABLE = "catalogue"
_COLUMNS = (
    TableColumn("object", "VARCHAR", "The REST object, e.g. accounts-receivable/invoice"),
    TableColumn("path", "VARCHAR", "The field's dotted path in Intacct"),
    TableColumn("column_name", "VARCHAR", "Its column in the raw table"),
    TableColumn("column_type", "VARCHAR", "The DuckDB type of that column"),
    TableColumn("description", "VARCHAR", "What the model says of it, and the values it may have"),
    TableColumn("selectable", "BOOLEAN", "Whether a query may ask for it; learnt by asking"),
    TableColumn("first_seen_at", TIME, "When the model named it first"),
    TableColumn("asked_at", TIME, "When a query was asked for it last, to learn whether it may be"),
    TableColumn("vanished_at", TIME, "Since when the model no longer names it; its column stays"),
)


@dataclass(frozen=True, slots=True)
class SchemaField:
    """A field of an object as the warehouse keeps it; see the columns of `meta.catalogue`."""

    path: str
    column_name: str
    column_type: str
    description: str | None
    selectable: bool
    first_seen_at: datetime
    vanished_at: datetime | None = None
    asked_at: datetime | None = None


def read_schemas(file: Warehouse) -> dict[str, dict[str, SchemaField]]:
    """Return the fields that are known, by object and path; empty before anything was read."""
    if not file.path.exists():
        return {}
    with file.connect(read_only=True) as connection:
        if not existing_columns(connection, CATALOG, META, _TABLE):
            return {}
        there = {each.name for each in existing_columns(connection, CATALOG, META, _TABLE)}
        asked_at = "asked_at" if "asked_at" in there else "NULL"
        rows = connection.execute(
            "SELECT object, path, column_name, column_type, description, selectable,"
            f" first_seen_at, vanished_at, {asked_at} FROM meta.catalogue"
        ).fetchall()
    found: dict[str, dict[str, SchemaField]] = {}
    for name, *values in rows:
        field = SchemaField(*values)
        found.setdefault(name, {})[field.path] = field
    return found


def store_schemas(file: Warehouse, objects: Mapping[str, Sequence[SchemaField]]) -> None:
    """Replace what is known of the fields of these objects."""
    if not objects:
        return
    records = [
        (
            name,
            each.path,
            each.column_name,
            each.column_type,
            each.description,
            each.selectable,
            each.first_seen_at.isoformat(),
            each.asked_at.isoformat() if each.asked_at is not None else None,
            each.vanished_at.isoformat() if each.vanished_at is not None else None,
        )
        for name, fields in objects.items()
        for each in fields
    ]
    with file.staging() as staging:
        stage_records(staging.connection, "fields", _COLUMNS, records, staging.scratch)
        with staging.transaction() as connection:
            ensure_table(
                connection,
                CATALOG,
                META,
                _TABLE,
                _COLUMNS,
                "One row per field of an object, as Intacct's model named it when it was read last",
            )
            connection.execute(
                "DELETE FROM warehouse.meta.catalogue"
                " WHERE object IN (SELECT unnest(?::VARCHAR[]))",
                [list(objects)],
            )
            connection.execute(
                "INSERT INTO warehouse.meta.catalogue BY NAME SELECT * FROM memory.main.fields"
            )
