"""Raw tables: what Intacct sent, typed, by entity and day of change; a load is all or nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import duckdb
from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse import types
from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.errors import SchemaChanged
from intacct_dagster.warehouse.raw.lines import clear_documents
from intacct_dagster.warehouse.raw.load_flaws import refuse_flaws
from intacct_dagster.warehouse.raw.names import ENTITY, KEY, META, RAW, table_name
from intacct_dagster.warehouse.raw.raw_load import RawLoad
from intacct_dagster.warehouse.sql import identifier, literal, statement
from intacct_dagster.warehouse.tables import (
    TIME,
    TableColumn,
    check_types,
    ensure_table,
    existing_columns,
)

# What one load keeps in memory depends on the width of its rows and not on how many there are: each
# thread fills a group of rows. More threads than two would rather wait for the disk.
_THREADS = 2
_MEGABYTES = 56
_MEGABYTES_A_COLUMN = 4
_KEYS_AT_ONCE = 2_000_000  # compared in one go; more than fit into memory go to the disk

#: What every raw table has besides the fields of its object.
RAW_COLUMNS = (
    TableColumn("_entity", "VARCHAR", "The entity whose session read this row: half the partition"),
    TableColumn("_day", "DATE", "The UTC day of the row's last change: the partition's other half"),
    TableColumn("_run_id", "VARCHAR", "The run that loaded this row"),
    TableColumn("_extracted_at", TIME, "When reading began that brought this row"),
)
_LOADS = (
    TableColumn("object", "VARCHAR", "The REST object, e.g. accounts-receivable/invoice"),
    TableColumn("entity", "VARCHAR"),
    TableColumn("day", "DATE"),
    TableColumn("rows", "BIGINT", "Rows of this partition; 0 for a day without changes"),
    TableColumn("run_id", "VARCHAR"),
    TableColumn("extracted_at", TIME),
    TableColumn("takes_older", "BOOLEAN", "This day also holds all rows changed before it"),
    TableColumn("walk_days", "BIGINT", "How many days were read together with this one"),
    TableColumn("distinct_keys", "BIGINT", "Keys that were read, all those days together"),
    TableColumn("total_count", "BIGINT", "Rows that Intacct counted in those days"),
    TableColumn("requests", "BIGINT", "Requests that it took, all those days together"),
    TableColumn("read_until", TIME, "Changes from then on were not read: the day was not over"),
    TableColumn("snapshot", "BOOLEAN", "The object has no change times: all of it, as it was then"),
    TableColumn("dated_by", "VARCHAR", "The field whose day is the partition; null in a snapshot"),
)


def load_raw(
    file: Warehouse, load: RawLoad, *, again: bool = False
) -> tuple[dict[date, int], float]:
    """Replace the load's (entity, day) partitions with its rows, in one transaction.

    `again` says that it was done before, and that all later loads are done again after it.

    Pages go into the table by one statement, which types every value and stops at the first that
    would not arrive as it is; what has arrived is proven before it is committed. Raises
    LoadRefused, naming column and key where there is one, SchemaChanged when a column has another
    type than in the table, WarehouseLocked; then the partitions are as they were.

    Returns:
        The rows of every day that was asked for, and the seconds the file was held.
    """
    _check_request(load)
    try:
        try:
            return _load(file, load, again=again, exact=False)
        except (_Flawed, duckdb.OutOfMemoryException):
            # Values in an unusual notation, or rows wider than most: slower, and just as well
            return _load(file, load, again=again, exact=True)
    except _Flawed as flawed:
        # Out of the transaction, with the file let go: what stopped it is looked for in the pages.
        refuse_flaws(file, load)
        raise flawed.error from None


def _load(
    file: Warehouse, load: RawLoad, *, again: bool, exact: bool
) -> tuple[dict[date, int], float]:
    table = table_name(load.object)
    columns = (*(TableColumn(c.name, c.type, c.comment) for c in load.columns), *RAW_COLUMNS)
    with file.staging() as staging:
        staging.connection.execute(
            f"SET memory_limit = '{_megabytes(load, exact=exact)}MB';"
            f" SET threads = {1 if exact else _THREADS}; SET preserve_insertion_order = false"
        )
        with staging.transaction() as connection:
            started = time.perf_counter()
            try:
                check_types(connection, CATALOG, RAW, table, columns)
            except SchemaChanged as error:
                raise load.refused(error.reason, error.remedy) from error
            ensure_table(connection, CATALOG, RAW, table, columns, _about(load.object))
            ensure_table(
                connection,
                CATALOG,
                META,
                "raw_loads",
                _LOADS,
                "One row per (object, entity, day) loaded last: how much, by which run, its proof",
            )
            moved = _clear_documents(connection, load, table, again=again)
            rows_by_day = _replace(connection, load, table, exact=exact)
            _record(connection, load, rows_by_day)
            _count_again(connection, load, table, moved)
        seconds = time.perf_counter() - started
    return rows_by_day, seconds


def _megabytes(load: RawLoad, *, exact: bool) -> int:
    return (_MEGABYTES + _MEGABYTES_A_COLUMN * len(load.columns)) * (4 if exact else 1)


class _Flawed(Exception):
    """Something in the pages is not as it must be; `error` is what is known of it so far."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


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


def _about(object: str) -> str:
    return (
        f"{object} as Intacct sent it. A row is the version of a record that was read for "
        f"(_entity, _day); a record that changed later is here more than once: see "
        f"intacct.{table_name(object)} for the latest."
    )


def _check_request(load: RawLoad) -> None:
    if not load.days:
        raise ValueError("a load without days would replace nothing")
    if load.extracted_at.tzinfo is None:
        raise ValueError("extracted_at must be aware")
    paths = {column.path for column in load.columns}
    needed: tuple[str, ...] = (KEY,) if load.snapshot else (KEY, load.dated_by, ENTITY)
    if load.parents is not None:
        needed = (KEY, load.dated_by, load.parents.key)
    missing = [path for path in needed if path not in paths]
    if missing:
        raise load.refused(
            f"its columns lack {', '.join(missing)}",
            "Add them to the object's `fields:` in intacct.yaml.",
        )
    names = Counter(column.name.lower() for column in load.columns)
    names.update(column.name for column in RAW_COLUMNS)
    for name, times in names.items():
        if times > 1:
            same = ", ".join(c.path for c in load.columns if c.name.lower() == name)
            raise load.refused(
                f"several of its fields would become the column {name} ({same})",
                "Leave all but one out of the object's `fields:` in intacct.yaml.",
                column=name,
            )


def _partitions(load: RawLoad) -> str:
    """Return the condition of the load's partitions, which DuckDB is asked five times."""
    days = sorted(set(load.days))
    first, last = (f"CAST({literal(day.isoformat())} AS DATE)" for day in (days[0], days[-1]))
    # Of days without a gap, as they nearly always are, it is many times faster than a list.
    condition = f"_entity = {literal(load.entity)} AND _day BETWEEN {first} AND {last}"
    if (days[-1] - days[0]).days < len(days):
        return condition
    listed = ", ".join(literal(day.isoformat()) for day in days)
    return f"{condition} AND _day IN (SELECT unnest([{listed}]::DATE[]))"


def _replace(
    connection: DuckDBPyConnection, load: RawLoad, table: str, *, exact: bool
) -> dict[date, int]:
    """Put the pages' rows in place of the partitions', and prove them; the rows of each day."""
    raw, own = identifier(CATALOG, RAW, table), literal(load.entity)
    partitions = _partitions(load)
    connection.execute(statement(__name__, "load_clear", raw=raw, partitions=partitions))
    value = types.strict if exact or not load.files else types.plain
    key, entity = load.column(KEY), load.column(ENTITY)
    sql = statement(
        __name__,
        "load_insert",
        raw=raw,
        typed=", ".join(f"{value(c)} AS {identifier(c.name)}" for c in load.columns),
        pages=load.pages(exact=exact),
        columns=", ".join(identifier(column.name) for column in load.columns),
        strange=f"nullif({key}, '') IS NULL OR nullif({entity}, '') <> {own}",
        day=load.day,
        entity=own,
        run_id=literal(load.run_id),
        extracted_at=literal(load.extracted_at.isoformat()),
    )
    try:
        arrived = int(connection.execute(sql).fetchall()[0][0])
    except (duckdb.InvalidInputException, duckdb.IOException, duckdb.ConversionException) as error:
        raise _Flawed(error) from error
    # What was stored need not stay in memory beside what the proof takes.
    connection.execute(f"SET memory_limit = '{_MEGABYTES * (4 if exact else 1)}MB'")
    rows_by_day = _prove(connection, load, raw, arrived, partitions)
    connection.execute(f"SET memory_limit = '{_megabytes(load, exact=exact)}MB'")
    return rows_by_day


def _prove(
    connection: DuckDBPyConnection,
    load: RawLoad,
    raw: str,
    arrived: int,
    partitions: str,
) -> dict[date, int]:
    """Refuse what must not be stored; drop rows met twice; count the rest by day."""
    names = {
        "raw": raw,
        "partitions": partitions,
        "key": load.column(KEY),
        "changed": load.column(load.dated_by),
    }
    rows_by_day = _rows_by_day(connection, raw, partitions)
    placed = sum(rows_by_day.values())
    if placed != arrived:
        raise _Flawed(load.refused("it has rows outside the days asked for", "Read it again."))
    parts = max(1, -(-arrived // _KEYS_AT_ONCE))
    keys = sum(
        connection.execute(
            statement(__name__, "load_keys", parts=str(parts), part=str(part), **names)
        ).fetchall()[0][0]
        for part in range(parts)
    )
    if keys != placed:
        connection.execute(statement(__name__, "load_repeats", **names))
        rows_by_day = _rows_by_day(connection, raw, partitions)
    if keys != load.proof.distinct_keys:
        raise load.refused(
            f"its pages hold {keys} distinct keys, {load.proof.distinct_keys} were counted",
            "Read the object again: pages were lost or changed between reading and loading.",
        )
    return dict.fromkeys(sorted(load.days), 0) | rows_by_day


def _rows_by_day(connection: DuckDBPyConnection, raw: str, partitions: str) -> dict[date, int]:
    return dict(
        connection.execute(
            statement(__name__, "load_days", raw=raw, partitions=partitions)
        ).fetchall()
    )


def _clear_documents(
    connection: DuckDBPyConnection, load: RawLoad, table: str, *, again: bool
) -> list[date]:
    """Of lines: deletes what the table has of their documents, and gives the days it lay on."""
    if load.parents is None:
        return []
    column = load.column(load.parents.key)
    raw = identifier(CATALOG, RAW, table)
    days, later = clear_documents(
        connection, raw, column, load.parents, load.entity, load.extracted_at
    )
    if later is not None and not again:
        raise load.refused(
            f"lines of the document with key {later} were loaded by a run that began later",
            "Run it again.",
            key=later,
        )
    return days


def _count_again(
    connection: DuckDBPyConnection, load: RawLoad, table: str, days: Sequence[date]
) -> None:
    """Record the rows of days that lost lines to this load."""
    raw = identifier(CATALOG, RAW, table)
    connection.execute(
        "UPDATE warehouse.meta.raw_loads AS loads SET rows ="
        f" (SELECT count(*) FROM {raw} WHERE _entity = loads.entity AND _day = loads.day)"
        " WHERE object = $object AND entity = $entity AND day IN (SELECT unnest($days::DATE[]))",
        {"object": load.object, "entity": load.entity, "days": list(days)},
    )


def _record(connection: DuckDBPyConnection, load: RawLoad, rows_by_day: Mapping[date, int]) -> None:
    days = sorted(rows_by_day)
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
            "rows": [rows_by_day[day] for day in days],
            "walk_days": len(days),
            "distinct_keys": load.proof.distinct_keys,
            "total_count": load.proof.total_count,
            "requests": load.proof.requests,
        },
    )
