"""Tombstones: records that Intacct no longer has. No query shows a delete; a delete scan does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse import types
from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.errors import NotMaterialized
from intacct_dagster.warehouse.raw.names import CHANGED, KEY, META, RAW, table_name
from intacct_dagster.warehouse.sql import identifier, literal, statement
from intacct_dagster.warehouse.tables import (
    TIME,
    TableColumn,
    ensure_table,
    existing_columns,
    stage_records,
)

TOMBSTONES = "tombstones"
TOMBSTONE_COLUMNS = (
    TableColumn("object", "VARCHAR", "The REST object, e.g. accounts-receivable/invoice"),
    TableColumn("entity", "VARCHAR", "The entity whose session no longer sees the record"),
    TableColumn("key", "VARCHAR", "Intacct's key of the record"),
    TableColumn(
        "found_at", TIME, "When the delete scan began that missed it; later reads count again"
    ),
    TableColumn("run_id", "VARCHAR", "The run of that delete scan"),
    TableColumn("revived_at", TIME, "When a delete scan saw the key again; null while it is gone"),
)


@dataclass(frozen=True, slots=True)
class KeyComparison:
    """Our keys against those that a delete scan saw: `missing` it did not see; `known` we have.

    `returned` have a tombstone, and were seen.
    """

    known: int
    missing: tuple[str, ...]
    returned: tuple[str, ...]


def ensure_tombstones(connection: DuckDBPyConnection) -> None:
    """Make `meta.tombstones` where it is missing. Meant for a transaction that is open."""
    ensure_table(
        connection,
        CATALOG,
        META,
        TOMBSTONES,
        TOMBSTONE_COLUMNS,
        "One row per record, and entity that saw it, which Intacct no longer has",
    )


def compare_keys(
    file: Warehouse, object: str, entity: str, pages: Sequence[Path], since: datetime | None
) -> KeyComparison:
    """Compare our keys of an entity with those in the pages of a delete scan since `since`.

    Only records whose latest change we know of is at or after `since` (None: all) can be missed.
    Raises NotMaterialized when nothing was loaded yet.
    """
    table = table_name(object)
    scanned = (
        f"read_json([{', '.join(literal(str(page)) for page in pages)}], format = 'array',"
        " records = true, columns = {key: 'VARCHAR'})"
        if pages
        else "(SELECT CAST(NULL AS VARCHAR) AS key WHERE false)"
    )
    with file.staging() as staging:
        connection = staging.connection
        connection.execute(
            f"CREATE TABLE memory.main.scanned AS SELECT DISTINCT key FROM {scanned}"
        )
        with staging.attached(read_only=True):
            columns = {c.name for c in existing_columns(connection, CATALOG, RAW, table)}
            if not columns:
                raise NotMaterialized(
                    f"There is no raw.{table} yet.\n"
                    f"Materialize {object} for an entity and a day first."
                )
            changed = types.column_name(CHANGED)
            sql = statement(
                __name__,
                "delete_scan",
                raw=identifier(CATALOG, RAW, table),
                key=identifier(types.column_name(KEY)),
                changed=identifier(changed) if changed in columns else "CAST(NULL AS TIMESTAMPTZ)",
                tombstones=_alive_tombstones(connection),
            )
            values = {"object": object, "entity": entity, "since": since}
            rows = connection.execute(sql, values).fetchall()
            known = connection.execute(
                f"SELECT count(DISTINCT {identifier(types.column_name(KEY))})"
                f" FROM {identifier(CATALOG, RAW, table)} WHERE _entity = ?",
                [entity],
            ).fetchall()[0][0]
    return KeyComparison(
        known=known,
        missing=tuple(key for key, seen in rows if not seen),
        returned=tuple(key for key, seen in rows if seen),
    )


def _alive_tombstones(connection: DuckDBPyConnection) -> str:
    held = existing_columns(connection, CATALOG, META, TOMBSTONES)
    if held:
        return "(SELECT * FROM warehouse.meta.tombstones WHERE revived_at IS NULL)"
    nulls = ", ".join(f"CAST(NULL AS {c.type}) AS {c.name}" for c in TOMBSTONE_COLUMNS)
    return f"(SELECT {nulls} WHERE false)"


@dataclass(frozen=True, slots=True)
class DeleteScan:
    """What a delete scan of an object and entity found out, as it is stored.

    Keys that are gone, those that are back, and when it began (aware).
    """

    object: str
    entity: str
    deleted: tuple[str, ...]
    returned: tuple[str, ...]
    found_at: datetime
    run_id: str


def store_delete_scan(file: Warehouse, scan: DeleteScan) -> None:
    """Write tombstones for deleted keys and end those of keys that returned, in one go.

    The same scan may be stored again: what it found is there once.
    """
    found_at = scan.found_at.isoformat()
    records = [(scan.object, scan.entity, key, found_at, scan.run_id, None) for key in scan.deleted]
    with file.staging() as staging:
        stage_records(staging.connection, "buried", TOMBSTONE_COLUMNS, records, staging.scratch)
        with staging.transaction() as connection:
            ensure_tombstones(connection)
            connection.execute(
                "UPDATE warehouse.meta.tombstones SET revived_at = $at"
                " WHERE object = $object AND entity = $entity AND revived_at IS NULL"
                " AND found_at < $at"
                " AND key IN (SELECT unnest($keys::VARCHAR[]))",
                {
                    "at": scan.found_at,
                    "object": scan.object,
                    "entity": scan.entity,
                    "keys": list(scan.returned),
                },
            )
            connection.execute(
                "INSERT INTO warehouse.meta.tombstones BY NAME SELECT * FROM memory.main.buried b"
                " WHERE NOT EXISTS (FROM warehouse.meta.tombstones t WHERE t.object = b.object"
                " AND t.entity = b.entity AND t.key = b.key AND t.found_at = b.found_at)"
            )


def tombstones(file: Warehouse) -> Mapping[tuple[str, str], int]:
    """Return how many records are gone, by (object, entity), as all delete scans found."""
    with file.connect(read_only=True) as connection:
        if not existing_columns(connection, CATALOG, META, TOMBSTONES):
            return {}
        rows = connection.execute(
            "SELECT object, entity, count(*) FROM meta.tombstones WHERE revived_at IS NULL"
            " GROUP BY ALL"
        ).fetchall()
    return {(name, entity): count for name, entity, count in rows}
