"""Objects without change times, read whole: only what differs from the last reading is kept."""

from __future__ import annotations

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.raw.deletes import ensure_tombstones
from intacct_dagster.warehouse.raw.log import ObjectLog
from intacct_dagster.warehouse.raw.raw_load import RawLoad
from intacct_dagster.warehouse.sql import identifier, literal, statement


def store_snapshot(
    connection: DuckDBPyConnection, log: ObjectLog, load: RawLoad, load_id: int
) -> int:
    """Append those rows of `temp.main.fresh` that differ from what its entity had read before.

    A record that the entity had and has no more gets a tombstone of that entity. A reading that is
    older than the last one is committed too late to say anything: nothing of it is kept.

    Returns:
        How many rows were appended.
    """
    ensure_tombstones(connection)
    read_at = min(load.read_times, default=load.extracted_at)
    (overtaken,) = connection.execute(
        "SELECT count(*) FROM warehouse.meta.loads WHERE object = ? AND entity = ?"
        " AND kind = 'snapshot' AND read_from > ? AND withdrawn_at IS NULL",
        [load.object, load.entity, read_at],
    ).fetchall()[0]
    if overtaken:
        return 0
    columns = [identifier(column.name) for column in load.columns]
    key = identifier(log.unit)
    sql = statement(
        __name__,
        "snapshot_known",
        raw=log.raw,
        key=key,
        object=literal(load.object),
        entity=literal(load.entity),
    )
    connection.execute(sql)
    connection.execute(
        statement(__name__, "snapshot_gone", key=key),
        {
            "object": load.object,
            "entity": load.entity,
            "found_at": read_at,
            "run_id": load.run_id,
            "load_id": load_id,
            "kept": list(load.kept),
        },
    )
    rows = connection.execute(
        statement(
            __name__,
            "snapshot_changed",
            raw=log.raw,
            key=key,
            alike=" AND ".join(
                f"known.{each} IS NOT DISTINCT FROM fresh.{each}" for each in columns
            ),
        )
    ).fetchall()[0][0]
    connection.execute("DROP TABLE temp.main.known")
    return int(rows)
