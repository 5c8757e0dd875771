"""Tombstones: records that Intacct no longer has. No query shows a delete; a sweep finds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse import types as wire
from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.errors import NotMaterialized
from intacct_dagster.warehouse.raw.load import (
    CHANGED,
    KEY,
    META,
    RAW,
    table_name,
)
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
    TableColumn("found_at", TIME, "When the sweep began that missed it; later reads count again"),
    TableColumn("run_id", "VARCHAR", "The run of that sweep"),
    TableColumn("revived_at", TIME, "When a sweep saw the key again; null while it is gone"),
)


@dataclass(frozen=True, slots=True)
class SweepFindings:
    """What a sweep's keys say of ours: `missing` we have and it did not see; `known` we have.

    `returned` have a tombstone, and were seen.
    """

    known: int
    missing: tuple[str, ...]
    returned: tuple[str, ...]


def ensure_tombstones(connection: DuckDBPyConnection) -> None:
    """Makes `meta.tombstones` where it is missing. Meant for a transaction that is open."""
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
) -> SweepFindings:
    """Our keys of an entity against those in the pages of a sweep of what changed since `since`.

    Only records whose latest change we know of is at or after `since` (None: all) can be missed.
    Raises NotMaterialized when nothing was loaded yet.
    """
    table = table_name(object)
    swept = (
        f"read_json([{', '.join(literal(str(page)) for page in pages)}], format = 'array',"
        " records = true, columns = {key: 'VARCHAR'})"
        if pages
        else "(SELECT CAST(NULL AS VARCHAR) AS key WHERE false)"
    )
    with file.workbench() as bench:
        connection = bench.connection
        connection.execute(f"CREATE TABLE memory.main.swept AS SELECT DISTINCT key FROM {swept}")
        with bench.attached(read_only=True):
            columns = {c.name for c in existing_columns(connection, CATALOG, RAW, table)}
            if not columns:
                raise NotMaterialized(
                    f"There is no raw.{table} yet.\n"
                    f"Materialize {object} for an entity and a day first."
                )
            changed = wire.column_name(CHANGED)
            sql = statement(
                __name__,
                "delete_scan",
                raw=identifier(CATALOG, RAW, table),
                key=identifier(wire.column_name(KEY)),
                changed=identifier(changed) if changed in columns else "CAST(NULL AS TIMESTAMPTZ)",
                tombstones=_alive_tombstones(connection),
            )
            values = {"object": object, "entity": entity, "since": since}
            rows = connection.execute(sql, values).fetchall()
            known = connection.execute(
                f"SELECT count(DISTINCT {identifier(wire.column_name(KEY))})"
                f" FROM {identifier(CATALOG, RAW, table)} WHERE _entity = ?",
                [entity],
            ).fetchall()[0][0]
    return SweepFindings(
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
class Sweep:
    """What a sweep of an object and entity found out, as it is stored.

    Keys that are gone, those that are back, and when it began (aware).
    """

    object: str
    entity: str
    deleted: tuple[str, ...]
    returned: tuple[str, ...]
    found_at: datetime
    run_id: str


def store_sweep(file: Warehouse, sweep: Sweep) -> None:
    """Writes tombstones for deleted keys and ends those of keys that returned, in one go.

    The same sweep may be stored again: what it found is there once.
    """
    found_at = sweep.found_at.isoformat()
    records = [
        (sweep.object, sweep.entity, key, found_at, sweep.run_id, None) for key in sweep.deleted
    ]
    with file.workbench() as bench:
        stage_records(bench.connection, "buried", TOMBSTONE_COLUMNS, records, bench.scratch)
        with bench.transaction() as connection:
            ensure_tombstones(connection)
            connection.execute(
                "UPDATE warehouse.meta.tombstones SET revived_at = $at"
                " WHERE object = $object AND entity = $entity AND revived_at IS NULL"
                " AND found_at < $at"
                " AND key IN (SELECT unnest($keys::VARCHAR[]))",
                {
                    "at": sweep.found_at,
                    "object": sweep.object,
                    "entity": sweep.entity,
                    "keys": list(sweep.returned),
                },
            )
            connection.execute(
                "INSERT INTO warehouse.meta.tombstones BY NAME SELECT * FROM memory.main.buried b"
                " WHERE NOT EXISTS (FROM warehouse.meta.tombstones t WHERE t.object = b.object"
                " AND t.entity = b.entity AND t.key = b.key AND t.found_at = b.found_at)"
            )


def tombstones(file: Warehouse) -> Mapping[tuple[str, str], int]:
    """How many records are gone, by (object, entity), as all sweeps so far found."""
    with file.connect(read_only=True) as connection:
        if not existing_columns(connection, CATALOG, META, TOMBSTONES):
            return {}
        rows = connection.execute(
            "SELECT object, entity, count(*) FROM meta.tombstones WHERE revived_at IS NULL"
            " GROUP BY ALL"
        ).fetchall()
    return {(name, entity): count for name, entity, count in rows}
