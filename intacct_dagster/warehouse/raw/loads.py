"""What loads are recorded as, and how far that shows an object of an entity to be known."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.raw.names import META
from intacct_dagster.warehouse.raw.raw_load import RawLoad
from intacct_dagster.warehouse.sql import statement
from intacct_dagster.warehouse.tables import existing_columns


def record_load(connection: DuckDBPyConnection, load: RawLoad, load_id: int, rows: int) -> None:
    """Record a load that added `rows` versions, in its transaction: it is there from then on."""
    times = load.read_times or [load.extracted_at]
    connection.execute(
        statement(__name__, "loads_load"),
        {
            "load_id": load_id,
            "object": load.object,
            "entity": load.entity,
            "kind": load.kind_of_load,
            "run_id": load.run_id,
            "extracted_at": load.extracted_at,
            "read_from": min(times),
            "read_to": max(times),
            "first_day": min(load.days, default=None),
            "last_day": max(load.days, default=None),
            "read_until": load.read_until,
            "rows": rows,
            "distinct_keys": load.proof.distinct_keys,
            "total_count": load.proof.total_count,
            "requests": load.proof.requests,
        },
    )


def record_days(
    connection: DuckDBPyConnection, load: RawLoad, load_id: int, rows_by_day: Mapping[date, int]
) -> None:
    """Record that a load read its days: whole, unless reading ended before the last one did."""
    days = sorted(load.days)
    connection.execute(
        "DELETE FROM warehouse.meta.raw_loads"
        " WHERE object = $object AND entity = $entity AND day IN (SELECT unnest($days::DATE[]))",
        {"object": load.object, "entity": load.entity, "days": days},
    )
    connection.execute(
        statement(__name__, "load_loads"),
        {
            "object": load.object,
            "entity": load.entity,
            "run_id": load.run_id,
            "extracted_at": load.extracted_at,
            "takes_older": load.takes_older,
            "read_until": load.read_until,
            "snapshot": load.snapshot,
            "dated_by": None if load.snapshot else load.dated_by,
            "first_day": days[0],
            "days": days,
            "rows": [rows_by_day.get(day, 0) for day in days],
            "walk_days": len(days),
            "distinct_keys": load.proof.distinct_keys,
            "total_count": load.proof.total_count,
            "requests": load.proof.requests,
            "load_id": load_id,
            "read_to": max(load.read_times, default=load.extracted_at),
        },
    )


def rows_of_load(connection: DuckDBPyConnection, load: RawLoad, load_id: int) -> dict[date, int]:
    """Return the rows of each day of a load that is recorded, as far as no later one read it."""
    rows = connection.execute(
        "SELECT day, rows FROM warehouse.meta.raw_loads"
        " WHERE object = ? AND entity = ? AND load_id = ?",
        [load.object, load.entity, load_id],
    ).fetchall()
    return dict.fromkeys(sorted(load.days), 0) | dict(rows)


def set_as_of(connection: DuckDBPyConnection, object: str, entity: str) -> None:
    """Record as of when an object of an entity is known, in the transaction that makes it so."""
    names = {"object": object, "entity": entity}
    connection.execute(
        "DELETE FROM warehouse.meta.as_of WHERE object = $object AND entity = $entity", names
    )
    connection.execute(statement(__name__, "loads_as_of"), names)


@dataclass(frozen=True, slots=True)
class EarlierLoads:
    """What runs loaded of an object of an entity, and no other has loaded since."""

    rows_by_day: Mapping[date, int]
    distinct_keys: int
    read_until: datetime | None


def loaded_by_runs(
    file: Warehouse, object: str, entity: str, runs: Collection[str]
) -> EarlierLoads:
    """Return what these runs loaded, day by day. `distinct_keys` is of their largest load."""
    with file.connect(read_only=True) as connection:
        if not existing_columns(connection, CATALOG, META, "raw_loads"):
            return EarlierLoads({}, 0, None)
        rows = connection.execute(
            "SELECT day, rows, distinct_keys, read_until FROM meta.raw_loads"
            " WHERE object = ? AND entity = ? AND list_contains(?, run_id)",
            [object, entity, list(runs)],
        ).fetchall()
    return EarlierLoads(
        {day: count for day, count, _, _ in rows},
        max((keys for _, _, keys, _ in rows), default=0),
        min((until for *_, until in rows if until is not None), default=None),
    )


def known_until(file: Warehouse, object: str, entity: str) -> datetime | None:
    """Up to when the changes of an object of an entity are known here; None if it was never loaded.

    The end of its last day, or where reading stopped on a day that was not over.
    """
    with file.connect(read_only=True) as connection:
        if not existing_columns(connection, CATALOG, META, "raw_loads"):
            return None
        until: datetime | None
        [(until,)] = connection.execute(
            "SELECT coalesce(min(read_until), CAST(max(day) + 1 AS TIMESTAMP WITH TIME ZONE))"
            " FROM meta.raw_loads WHERE object = ? AND entity = ?",
            [object, entity],
        ).fetchall()
    return until
