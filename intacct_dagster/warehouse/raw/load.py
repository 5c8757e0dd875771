"""Raw tables: what Intacct sent, typed, as versions in a log; a load is all or nothing."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

import duckdb
from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse import types
from intacct_dagster.warehouse.database import Warehouse
from intacct_dagster.warehouse.errors import SchemaChanged
from intacct_dagster.warehouse.raw.documents import store_documents
from intacct_dagster.warehouse.raw.load_flaws import refuse_flaws
from intacct_dagster.warehouse.raw.loads import (
    record_days,
    record_load,
    rows_of_load,
    set_as_of,
)
from intacct_dagster.warehouse.raw.log import (
    RAW_COLUMNS,
    ObjectLog,
    ensure_log,
    next_load_id,
    present_id,
)
from intacct_dagster.warehouse.raw.names import ENTITY, KEY
from intacct_dagster.warehouse.raw.quarantine import store_quarantined
from intacct_dagster.warehouse.raw.raw_load import RawLoad
from intacct_dagster.warehouse.raw.snapshots import store_snapshot
from intacct_dagster.warehouse.raw.versions import apply_load
from intacct_dagster.warehouse.sql import identifier, literal, statement
from intacct_dagster.warehouse.tables import TableColumn
from intacct_dagster.warehouse.types import Column, column_name

# What one load keeps in memory depends on the width of its rows and not on how many there are: each
# thread fills a group of rows. More threads than two would rather wait for the disk.
_THREADS = 2
_MEGABYTES = 56
_MEGABYTES_A_COLUMN = 4
_MEGABYTES_TO_APPLY = 128
_KEYS_AT_ONCE = 2_000_000  # compared in one go; more than fit into memory go to the disk


@dataclass(frozen=True, slots=True)
class _Values:
    """How values of pages are typed: by which expression, from which text."""

    typed: Callable[[Column], str]
    exact: bool
    in_quarantine: bool = False


_AS_USUAL = _Values(types.plain, exact=False)
_EXACTLY = _Values(types.strict, exact=True)
_IN_QUARANTINE = _Values(types.lenient, exact=True, in_quarantine=True)


def load_raw(
    file: Warehouse, load: RawLoad, *, again: bool = False
) -> tuple[dict[date, int], float]:
    """Append the load's rows as versions, and bring `intacct.<object>` up to date with them.

    All in one transaction. Nothing that was loaded before goes. `again` says that it may be in the
    warehouse already: then it is not loaded twice.

    Pages go into the table by one statement, which types every value and stops at the first that
    would not arrive as it is; what has arrived is proven before it is committed. Raises
    LoadRefused, naming column and key where there is one, SchemaChanged when a column has another
    type than in the table, WarehouseLocked; then the warehouse is as it was. A value that cannot
    be converted stops no load: it is null, and its text is in `raw.quarantine`.

    Returns:
        The rows of every day that was asked for, and the seconds the file was held.
    """
    _check_request(load)
    with tempfile.TemporaryDirectory(prefix="intacct_dagster_") as scratch:
        return _load_exactly(file, load, again=again, scratch=Path(scratch))


def _load_exactly(
    file: Warehouse, load: RawLoad, *, again: bool, scratch: Path
) -> tuple[dict[date, int], float]:
    load = load.with_exact_numbers(scratch / "usual")
    try:
        return _load(file, load, again=again, values=_AS_USUAL)
    except (_Flawed, duckdb.OutOfMemoryException):
        # Values in an unusual notation, or rows wider than most: slower, and just as well
        pass
    load = load.with_exact_numbers(scratch / "unusual", thorough=True)
    try:
        return _load(file, load, again=again, values=_EXACTLY)
    except _Flawed as flawed:
        # Out of the transaction, with the file let go: what stopped it is looked for in the pages.
        refuse_flaws(file, load)
        error = flawed.error
    try:
        return _load(file, load, again=again, values=_IN_QUARANTINE)
    except _Flawed:
        raise error from None


def _load(
    file: Warehouse, load: RawLoad, *, again: bool, values: _Values
) -> tuple[dict[date, int], float]:
    columns = [TableColumn(c.name, c.type, c.comment) for c in load.columns]
    log = _log_of(load)
    with file.staging() as staging:
        staging.connection.execute(
            f"SET memory_limit = '{_megabytes(load, exact=values.exact)}MB';"
            f" SET threads = {1 if values.exact else _THREADS};"
            " SET preserve_insertion_order = false"
        )
        with staging.transaction() as connection:
            started = time.perf_counter()
            try:
                ensure_log(connection, log, columns)
            except SchemaChanged as error:
                raise load.refused(error.reason, error.remedy) from error
            load_id = next_load_id(connection)
            # Kept pages may be of an entity that was renamed since: versions keep the id under
            # which they were read, everything that is said of entities has the present one.
            recorded = replace(load, entity=present_id(connection, load.entity))
            if again and (before := _loaded_before(connection, log, recorded)) is not None:
                load_id, rows_by_day = before
                if rows_by_day is not None:
                    return rows_by_day, time.perf_counter() - started
            arrived = _append(connection, log, load, load_id, values)
            record_load(connection, recorded, load_id, arrived.stored)
            if load.days:
                record_days(connection, recorded, load_id, arrived.rows_by_day)
            # What is compared is narrow, and of this load's keys only.
            apply_memory = _megabytes(load, exact=values.exact) + _MEGABYTES_TO_APPLY
            connection.execute(f"SET memory_limit = '{apply_memory}MB'")
            went_back = apply_load(connection, log, load_id)
            if went_back:
                connection.execute(
                    "UPDATE warehouse.meta.loads SET went_back = ? WHERE load_id = ?",
                    [went_back, load_id],
                )
            set_as_of(connection, load.object, recorded.entity)
        seconds = time.perf_counter() - started
    return {day: arrived.rows_by_day.get(day, 0) for day in sorted(load.days)}, seconds


def _log_of(load: RawLoad) -> ObjectLog:
    def name(path: str) -> str | None:
        return next((column.name for column in load.columns if column.path == path), None)

    unit = load.parents.key if load.parents is not None else KEY
    return ObjectLog(
        load.object,
        load.kind,
        name(unit) or column_name(unit),
        None if load.snapshot else name(load.dated_by),
        load.lag,
    )


def _megabytes(load: RawLoad, *, exact: bool) -> int:
    return (_MEGABYTES + _MEGABYTES_A_COLUMN * len(load.columns)) * (4 if exact else 1)


class _Flawed(Exception):
    """Something in the pages is not as it must be; `error` is what is known of it so far."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def _check_request(load: RawLoad) -> None:
    if not load.days and not load.by_key:
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


@dataclass(frozen=True, slots=True)
class _Arrived:
    """What a load brought: rows by the day of their change, and how many of them it added."""

    rows_by_day: Mapping[date, int]
    stored: int


def _append(
    connection: DuckDBPyConnection, log: ObjectLog, load: RawLoad, load_id: int, values: _Values
) -> _Arrived:
    """Append the pages' rows to the log, and prove them."""
    target = log.raw
    if load.snapshot:
        target = identifier("temp", "main", "fresh")
        connection.execute(f"CREATE TEMP TABLE fresh AS FROM {log.raw} LIMIT 0")
    _insert(connection, load, load_id, target, values)
    # What was stored need not stay in memory beside what the proof takes.
    connection.execute(f"SET memory_limit = '{_MEGABYTES * (4 if values.exact else 1)}MB'")
    rows_by_day = _prove(connection, load, load_id, target)
    connection.execute(f"SET memory_limit = '{_megabytes(load, exact=values.exact)}MB'")
    rows = sum(rows_by_day.values())
    if load.snapshot:
        entity = present_id(connection, load.entity)
        rows = store_snapshot(connection, log, replace(load, entity=entity), load_id)
    if values.in_quarantine:
        store_quarantined(connection, log, load, load_id)
    if load.parents is not None:
        store_documents(connection, log, load, load_id)
    return _Arrived(rows_by_day, rows)


def _insert(
    connection: DuckDBPyConnection, load: RawLoad, load_id: int, target: str, values: _Values
) -> None:
    own = literal(load.entity)
    value = values.typed if load.files else types.strict
    key, entity = load.column(KEY), load.column(ENTITY)
    times = sorted(set(load.read_times))
    at_once = len(times) < 2
    sql = statement(
        __name__,
        "load_insert",
        raw=target,
        typed=", ".join(f"{value(c)} AS {identifier(c.name)}" for c in load.columns),
        pages=load.pages(exact=values.exact, file="" if at_once else "_file"),
        file="NULL" if at_once else "_file",
        columns=", ".join(identifier(column.name) for column in load.columns),
        strange=f"nullif({key}, '') IS NULL OR nullif({entity}, '') <> {own}",
        day=load.day,
        entity=own,
        run_id=literal(load.run_id),
        extracted_at=literal(load.extracted_at.isoformat()),
        read_at=_time(times[0] if times else load.extracted_at) if at_once else "answer.read_at",
        answers="" if at_once else _answers(load),
        load=str(load_id),
    )
    try:
        connection.execute(sql)
    except (duckdb.InvalidInputException, duckdb.IOException, duckdb.ConversionException) as error:
        raise _Flawed(error) from error


def _answers(load: RawLoad) -> str:
    """Return a join that brings the time of the answer to each row, by its page's file."""
    pairs = ", ".join(
        f"({literal(str(file))}, {_time(at)})"
        for file, at in zip(load.files, load.read_times, strict=True)
    )
    return f"INNER JOIN (VALUES {pairs}) AS answer(file, read_at) ON answer.file = wire._file"


def _time(moment: datetime) -> str:
    return f"CAST({literal(moment.isoformat())} AS TIMESTAMP WITH TIME ZONE)"


def _prove(
    connection: DuckDBPyConnection, load: RawLoad, load_id: int, target: str
) -> dict[date, int]:
    """Refuse what must not be stored; drop rows met twice; count the rest by day."""
    names = {
        "raw": target,
        "load": str(load_id),
        "key": load.column(KEY),
        "changed": load.column(load.dated_by),
    }
    rows_by_day = _rows_by_day(connection, names)
    if not load.by_key and not all(_within(load, day) for day in rows_by_day):
        raise _Flawed(load.refused("it has rows outside the days asked for", "Read it again."))
    arrived = sum(rows_by_day.values())
    parts = max(1, -(-arrived // _KEYS_AT_ONCE))
    keys = sum(
        connection.execute(
            statement(__name__, "load_keys", parts=str(parts), part=str(part), **names)
        ).fetchall()[0][0]
        for part in range(parts)
    )
    if keys != arrived:
        connection.execute(statement(__name__, "load_repeats", **names))
        rows_by_day = _rows_by_day(connection, names)
    if keys != load.proof.distinct_keys:
        raise load.refused(
            f"its pages hold {keys} distinct keys, {load.proof.distinct_keys} were counted",
            "Read the object again: pages were lost or changed between reading and loading.",
        )
    return dict.fromkeys(sorted(load.days), 0) | rows_by_day


def _within(load: RawLoad, day: date | None) -> bool:
    return day is not None and min(load.days) <= day <= load.last_day


def _rows_by_day(connection: DuckDBPyConnection, names: Mapping[str, str]) -> dict[date, int]:
    return dict(
        connection.execute(
            statement(__name__, "load_days", raw=names["raw"], load=names["load"])
        ).fetchall()
    )


def _loaded_before(
    connection: DuckDBPyConnection, log: ObjectLog, load: RawLoad
) -> tuple[int, dict[date, int] | None] | None:
    """Return the id of this very load and its rows by day, if it is there already.

    If it is there in part, as in a table that was dropped by hand, what is left of it is deleted:
    it is loaded again under its id, and there are no rows yet.
    """
    found = connection.execute(
        statement(__name__, "load_before", raw=log.raw),
        {
            "object": load.object,
            "entity": load.entity,
            "kind": load.kind_of_load,
            "run_id": load.run_id,
            "extracted_at": load.extracted_at,
            "first_day": min(load.days, default=None),
            "last_day": max(load.days, default=None),
        },
    ).fetchall()
    if not found:
        return None
    load_id, rows, there = found[-1]
    if rows == there:
        return load_id, rows_of_load(connection, load, load_id)
    tables = [log.raw, "warehouse.meta.loads", *([log.documents] if load.parents else [])]
    for table in tables:
        column = "load_id" if table == "warehouse.meta.loads" else "_load_id"
        connection.execute(f"DELETE FROM {table} WHERE {column} = ?", [load_id])
    return load_id, None
