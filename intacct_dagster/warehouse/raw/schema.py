"""Schemas: which fields each object had when it was read last, and what became of others.

Which of them a query may ask for is a matter of the user's permissions, so it is kept by entity.
Several processes may learn at the same time: what one stores takes nothing from the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.raw.names import META
from intacct_dagster.warehouse.sql import statement
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
    TableColumn("selectable", "BOOLEAN", "Whether a query of any entity's user may ask for it"),
    TableColumn("first_seen_at", TIME, "When the model named it first"),
    TableColumn("asked_at", TIME, "When a query was asked for it last, to learn whether it may be"),
    TableColumn("vanished_at", TIME, "Since when the model no longer names it; its column stays"),
)
_ASKED = "asked_fields"
_ASKED_COLUMNS = (
    TableColumn("object", "VARCHAR", "The REST object, e.g. accounts-receivable/invoice"),
    TableColumn("entity", "VARCHAR", "The entity whose session asked"),
    TableColumn("asked_at", TIME, "When it asked for all fields last"),
    TableColumn("asked", "VARCHAR[]", "The fields that it asked for"),
    TableColumn("refused", "VARCHAR[]", "Those that no query of its user may ask for"),
)


@dataclass(frozen=True, slots=True)
class AskedFields:
    """The fields of an object that a query of an entity's user asked for, and was refused."""

    object: str
    entity: str
    asked_at: datetime
    asked: frozenset[str]
    refused: frozenset[str]


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
        return _stored(connection)


def read_asked_fields(file: Warehouse) -> dict[tuple[str, str], AskedFields]:
    """Return what queries asked for and were refused, by object and entity."""
    if not file.path.exists():
        return {}
    with file.connect(read_only=True) as connection:
        if not existing_columns(connection, CATALOG, META, _ASKED):
            return {}
        rows = connection.execute(
            "SELECT object, entity, asked_at, asked, refused FROM meta.asked_fields"
        ).fetchall()
    return {
        (name, entity): AskedFields(name, entity, at, frozenset(asked), frozenset(refused))
        for name, entity, at, asked, refused in rows
    }


def store_schemas(
    file: Warehouse,
    objects: Mapping[str, Sequence[SchemaField]],
    *,
    known: Mapping[str, Mapping[str, SchemaField]] | None = None,
    asked: Sequence[AskedFields] = (),
) -> set[str]:
    """Store fields of objects, and what was `asked` for; fields that are not among them stay.

    Args:
        file: The warehouse.
        objects: The fields that were learnt, by object.
        known: What was known of all objects when they were learnt. An object of which something
            else is known by now is not stored: another process learnt it meanwhile, and may have
            given a column's name to another field.
        asked: What entities asked for; it takes the place of what the same ones asked before.

    Returns:
        The objects that were not stored: learn them again.
    """
    if not objects and not asked:
        return set()
    with file.staging() as staging:
        stage_records(
            staging.connection,
            "fields",
            _COLUMNS,
            [record for name, fields in objects.items() for record in _records(name, fields)],
            staging.scratch,
        )
        with staging.transaction() as connection:
            ensure_table(
                connection,
                CATALOG,
                META,
                _TABLE,
                _COLUMNS,
                "One row per field of an object, as Intacct's model named it when it was read last",
            )
            overtaken: set[str] = set()
            if known is not None:
                now = _stored(connection)
                overtaken = {
                    name for name in objects if now.get(name, {}) != dict(known.get(name, {}))
                }
            _merge(connection, sorted(objects.keys() - overtaken))
            _store_asked(connection, asked)
    return overtaken


def _stored(connection: DuckDBPyConnection) -> dict[str, dict[str, SchemaField]]:
    there = {each.name for each in existing_columns(connection, CATALOG, META, _TABLE)}
    if not there:
        return {}
    asked_at = "asked_at" if "asked_at" in there else "NULL"
    rows = connection.execute(
        "SELECT object, path, column_name, column_type, description, selectable,"
        f" first_seen_at, vanished_at, {asked_at} FROM warehouse.meta.catalogue"
    ).fetchall()
    found: dict[str, dict[str, SchemaField]] = {}
    for name, *values in rows:
        field = SchemaField(*values)
        found.setdefault(name, {})[field.path] = field
    return found


def _records(name: str, fields: Sequence[SchemaField]) -> Iterator[Sequence[object]]:
    for each in fields:
        yield (
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


def _merge(connection: DuckDBPyConnection, objects: Sequence[str]) -> None:
    """Put the staged fields of these objects in place of what is stored of the same fields."""
    connection.execute(statement(__name__, "schema_merged"), {"objects": list(objects)})
    connection.execute(
        "DELETE FROM warehouse.meta.catalogue AS held USING temp.main.merged AS fresh"
        " WHERE held.object = fresh.object AND held.path = fresh.path"
    )
    connection.execute("INSERT INTO warehouse.meta.catalogue BY NAME FROM temp.main.merged")
    connection.execute("DROP TABLE temp.main.merged")


def _store_asked(connection: DuckDBPyConnection, asked: Sequence[AskedFields]) -> None:
    ensure_table(
        connection,
        CATALOG,
        META,
        _ASKED,
        _ASKED_COLUMNS,
        "One row per (object, entity): the fields that its queries asked for, and were refused",
    )
    for each in asked:
        connection.execute(
            "DELETE FROM warehouse.meta.asked_fields WHERE object = ? AND entity = ?",
            [each.object, each.entity],
        )
        connection.execute(
            "INSERT INTO warehouse.meta.asked_fields (object, entity, asked_at, asked, refused)"
            " VALUES (?, ?, ?, ?, ?)",
            [each.object, each.entity, each.asked_at, sorted(each.asked), sorted(each.refused)],
        )
