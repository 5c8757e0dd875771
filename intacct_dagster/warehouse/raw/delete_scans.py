"""Delete scans: what we have of an entity held against what Intacct has, and what comes of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import Warehouse
from intacct_dagster.warehouse.raw.deletes import (
    TOMBSTONE_COLUMNS,
    DeleteScan,
    KeyComparison,
    not_materialized,
    scanned_keys,
)
from intacct_dagster.warehouse.raw.loads import set_as_of
from intacct_dagster.warehouse.raw.log import (
    ObjectLog,
    ensure_meta,
    next_load_id,
    present_id,
    read_log,
)
from intacct_dagster.warehouse.raw.names import KEY
from intacct_dagster.warehouse.raw.versions import recompute
from intacct_dagster.warehouse.sql import identifier, literal, statement
from intacct_dagster.warehouse.tables import stage_records
from intacct_dagster.warehouse.types import column_name

_KEY = identifier(column_name(KEY))


@dataclass(frozen=True, slots=True)
class ScannedPages:
    """The pages of a delete scan of an entity.

    Attributes:
        since: The scan covers only changes from then on; None: all.
        changed: The path of the change time on the pages, if they have it.
        unit: The path of what versions are of: the key, or of lines the key of the document.
        wanted_since: Records whose last change is older are not read on purpose; None: all are.
    """

    object: str
    entity: str
    files: Sequence[Path]
    since: datetime | None
    changed: str | None
    unit: str = KEY
    wanted_since: datetime | None = None


def compare_keys(file: Warehouse, scan: ScannedPages) -> KeyComparison:
    """Compare our records of an entity with those on the pages of a delete scan.

    Only records whose latest change we know of is within the scan can be missed. Raises
    NotMaterialized when nothing was loaded yet.
    """
    with file.staging() as staging:
        connection = staging.connection
        scanned = scanned_keys(scan.files, scan.changed, scan.unit)
        connection.execute(f"CREATE TABLE memory.main.scanned AS FROM {scanned}")
        with staging.attached(read_only=True):
            log = read_log(connection, scan.object)
            if log is None:
                raise not_materialized(scan.object)
            places = _places(log, scan.object, scan.entity)
            connection.execute(statement(__name__, "delete_scan_known", **places))
            covered = (
                statement(
                    __name__,
                    "delete_scan_covered",
                    documents=log.documents,
                    entity=places["entity"],
                )
                if log.kind == "lines"
                else "(SELECT CAST(NULL AS VARCHAR) AS key WHERE false)"
            )
            found = connection.execute(
                statement(
                    __name__,
                    "delete_scan_compared",
                    covered=covered,
                    is_line="true" if log.kind == "lines" else "false",
                ),
                {"since": scan.since, "wanted_since": scan.wanted_since},
            ).fetchall()
            known = connection.execute("SELECT count(*) FROM memory.main.known").fetchall()[0][0]
    return KeyComparison(
        known,
        missing=tuple(key for key, what in found if what == "missing"),
        lacking=tuple(key for key, what in found if what == "lacking"),
        went_back=tuple(key for key, what in found if what == "went_back"),
        compared=sum(what in ("went_back", "same") for _, what in found),
    )


def seen_by(file: Warehouse, object: str, keys: Collection[str]) -> Mapping[str, list[str]]:
    """Return of each of these keys the entities, as they are called now, that have read it.

    Not those of which it was found since that they see it no more.
    """
    with file.staging() as staging, staging.attached(read_only=True) as connection:
        log = read_log(connection, object)
        if log is None:
            raise not_materialized(object)
        # Spelled out, so that DuckDB reads only the groups of rows that may have one of them.
        sql = statement(
            __name__,
            "delete_scan_readers",
            raw=log.raw,
            key=_KEY,
            object=literal(object),
            keys=", ".join(map(literal, sorted(keys))) or "NULL",
        )
        rows = connection.execute(sql).fetchall()
    found: dict[str, list[str]] = {}
    for key, entity in rows:
        found.setdefault(key, []).append(entity)
    return found


def readers_of(file: Warehouse, object: str) -> set[str]:
    """Return the entities, as they are called now, of whose sessions an object was read."""
    with file.connect(read_only=True) as connection:
        rows = connection.execute(
            "SELECT entity FROM meta.as_of WHERE object = ?", [object]
        ).fetchall()
    return {entity for (entity,) in rows}


def store_delete_scan(file: Warehouse, scan: DeleteScan, *, again: bool = False) -> None:
    """Write the tombstones of a delete scan, and take what is gone out of `intacct.<object>`.

    `again` says that it may be stored already: then what it found is there once.
    """
    found_at = scan.found_at.isoformat()
    records = [
        (scan.object, scan.entity, key, found_at, scan.run_id, None, None, everywhere)
        for keys, everywhere in ((scan.deleted, True), (scan.out_of_sight, False))
        for key in keys
    ]
    with file.staging() as staging:
        stage_records(staging.connection, "buried", TOMBSTONE_COLUMNS, records, staging.scratch)
        with staging.transaction() as connection:
            _store(connection, scan, again=again)


def _store(connection: DuckDBPyConnection, scan: DeleteScan, *, again: bool) -> None:
    ensure_meta(connection)
    log = read_log(connection, scan.object)
    if log is None:
        raise not_materialized(scan.object)
    # It may have been kept under the id that the entity had before it was renamed.
    entity = present_id(connection, scan.entity)
    names = {"object": scan.object, "entity": entity, "found_at": scan.found_at}
    gone = len(scan.deleted) + len(scan.out_of_sight)
    before = []
    if again:
        before = connection.execute(statement(__name__, "delete_scan_before"), names).fetchall()
    if before and before[0][1] == gone:
        return
    if before:  # tombstones were deleted by hand
        load_id = before[0][0]
        connection.execute("DELETE FROM warehouse.meta.tombstones WHERE load_id = ?", [load_id])
    else:
        load_id = next_load_id(connection)
        connection.execute(
            statement(__name__, "delete_scan_load"),
            {
                **names,
                "load_id": load_id,
                "run_id": scan.run_id,
                "since": scan.since,
                "seen": scan.seen,
                "gone": gone,
            },
        )
    connection.execute(
        "INSERT INTO warehouse.meta.tombstones BY NAME"
        f" SELECT * REPLACE ({load_id} AS load_id, $entity AS entity) FROM memory.main.buried",
        {"entity": entity},
    )
    _take_out(connection, log)
    set_as_of(connection, scan.object, entity)


def _take_out(connection: DuckDBPyConnection, log: ObjectLog) -> None:
    units = "(SELECT DISTINCT key FROM memory.main.buried)"
    if log.kind == "lines":
        units = (
            f"(SELECT DISTINCT {identifier(log.unit)} AS key FROM {log.raw}"
            f" WHERE {_KEY} IN (SELECT key FROM memory.main.buried))"
        )
    recompute(connection, log, units)


def _places(log: ObjectLog, object: str, entity: str) -> dict[str, str]:
    changed = f"read.{identifier(log.changed)}" if log.changed is not None else None
    return {
        "raw": log.raw,
        "key": _KEY,
        "object": literal(object),
        "entity": literal(entity),
        "changed": changed or "CAST(NULL AS TIMESTAMP WITH TIME ZONE)",
    }
