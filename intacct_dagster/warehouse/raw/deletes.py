"""Tombstones: records that Intacct no longer has. No query shows a delete; a delete scan does.

A tombstone is of one entity, whose session no longer sees the record, or of all of them. Versions
that were read before it do not count any more; those that are read after it do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.errors import NotMaterialized
from intacct_dagster.warehouse.raw.names import KEY, META
from intacct_dagster.warehouse.sql import identifier, literal
from intacct_dagster.warehouse.tables import TIME, TableColumn, ensure_table, existing_columns
from intacct_dagster.warehouse.types import column_name

TOMBSTONES: Final = "tombstones"
TOMBSTONE_COLUMNS: Final = (
    TableColumn("object", "VARCHAR", "The REST object, e.g. accounts-receivable/invoice"),
    TableColumn("entity", "VARCHAR", "The entity whose session no longer sees the record"),
    TableColumn("key", "VARCHAR", "Intacct's key of the record"),
    TableColumn("found_at", TIME, "When it was missed, by Intacct's clock: later reads count"),
    TableColumn("run_id", "VARCHAR", "The run that found it"),
    TableColumn("revived_at", TIME, "When version 0.2.0 or older saw the key again; else null"),
    TableColumn("load_id", "BIGINT", "The load that missed it: see meta.loads"),
    TableColumn("everywhere", "BOOLEAN", "Whether no entity that has seen the record still does"),
)
_KEY = column_name(KEY)


def ensure_tombstones(connection: DuckDBPyConnection) -> None:
    """Make `meta.tombstones` where it is missing. Meant for a transaction that is open."""
    held = existing_columns(connection, CATALOG, META, TOMBSTONES)
    if len(held) == len(TOMBSTONE_COLUMNS):
        return
    ensure_table(
        connection,
        CATALOG,
        META,
        TOMBSTONES,
        TOMBSTONE_COLUMNS,
        "One row per record that an entity no longer sees, or that Intacct no longer has",
    )
    connection.execute(
        "UPDATE warehouse.meta.tombstones SET load_id = coalesce(load_id, -1000000000),"
        " everywhere = coalesce(everywhere, false)"
    )


@dataclass(frozen=True, slots=True)
class KeyComparison:
    """Our records of an entity against those that a delete scan saw.

    Attributes:
        known: How many we have.
        missing: Keys that we have and the scan did not see.
        lacking: Keys that it saw and we have not, or hold to be deleted.
        went_back: Keys that have an earlier change time than we know of.
        compared: How many keys have a change time on both sides.
    """

    known: int
    missing: tuple[str, ...]
    lacking: tuple[str, ...]
    went_back: tuple[str, ...]
    compared: int


@dataclass(frozen=True, slots=True)
class DeleteScan:
    """What a delete scan of an object and entity found out, as it is stored.

    Attributes:
        deleted: Keys that no entity sees which has seen them.
        out_of_sight: Keys that this entity no longer sees, and others do, or may.
        found_at: When its first answer was given, by Intacct's clock.
        since: Where it covers only what changed since then.
    """

    object: str
    entity: str
    deleted: tuple[str, ...]
    found_at: datetime
    run_id: str
    out_of_sight: tuple[str, ...] = ()
    since: datetime | None = None
    seen: int = 0


def scanned_keys(pages: Sequence[Path], changed: str | None, unit: str) -> str:
    """Return the rows of a delete scan's pages as a relation of `key`, `changed` and `unit`."""
    if not pages:
        return (
            "(SELECT CAST(NULL AS VARCHAR) AS key, CAST(NULL AS VARCHAR) AS unit,"
            " CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS changed WHERE false)"
        )
    listed = ", ".join(literal(str(page)) for page in pages)
    paths = dict.fromkeys((KEY, unit, *([changed] if changed is not None else [])))
    columns = ", ".join(f"{literal(path)}: 'VARCHAR'" for path in paths)
    when = identifier(changed) if changed is not None else "NULL"
    return (
        f"(SELECT key, any_value({identifier(unit)}) AS unit,"
        f" max(CAST({when} AS TIMESTAMP WITH TIME ZONE)) AS changed"
        f" FROM read_json([{listed}], format = 'array', records = true,"
        f" columns = {{{columns}}}) GROUP BY key)"
    )


def not_materialized(object: str) -> NotMaterialized:
    """Return the error for an object of which nothing was loaded yet."""
    return NotMaterialized(
        f"Nothing of {object} was loaded yet.\nMaterialize {object} for an entity and a day first."
    )


def tombstones(file: Warehouse) -> Mapping[tuple[str, str], int]:
    """Return how many records are gone, by (object, entity), as all delete scans found."""
    with file.connect(read_only=True) as connection:
        if not existing_columns(connection, CATALOG, META, TOMBSTONES):
            return {}
        rows = connection.execute(
            "SELECT object, entity, count(DISTINCT key) FROM meta.tombstones"
            " WHERE revived_at IS NULL GROUP BY ALL"
        ).fetchall()
    return {(name, entity): count for name, entity, count in rows}
