"""A SQLite history for Dagster that writes events in batches. The package guards it.

A run of a year of five objects has 3,650 events of partitions: one for each that it is going to
make, and one for each that it made. Dagster hands them to its storage many at once; its own SQLite
storage (1.13) still opens two files, writes, and closes them again for every single one, and keeps
each as the asset's last besides. Whatever it opens, it has SQLAlchemy compile all statements again,
and reads all of its migrations to know that none is due. Its PostgreSQL storage does neither, and
is not touched.
"""

import fcntl
import inspect
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from itertools import groupby
from typing import Self

import sqlalchemy as sa
from dagster import AssetKey, EventLogEntry
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    INDEX_SHARD_NAME,
    SqliteEventLogStorage,
)
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS, create_db_conn_string
from dagster._core.storage.sqlite_storage import (
    DagsterSqliteStorage,
    SqliteStorageConfig,
    _event_logs_directory,
    _runs_directory,
    _schedule_directory,
)
from dagster._serdes import ConfigurableClassData
from dagster._utils.concurrency import ConcurrencyClaimStatus
from sqlalchemy import Connection, Engine
from sqlalchemy.pool import NullPool

# Dagster hands events over one by one unless this sets how many at once. Every process that opens
# this history does: the daemon, which writes what a run is going to make, and the run itself.
os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")

#: Engines of so many runs are kept: a webserver and a daemon look at many.
_ENGINES = 16


def _engine(conn_string: str) -> Engine:
    """An engine that keeps no connection, and what SQLAlchemy made of each statement.

    Dagster makes one for each connection, and with it each statement again.
    """
    return sa.create_engine(
        conn_string, poolclass=NullPool, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}
    )


def _is_made(engine: Engine, table: str) -> bool:
    """Whether a file has its tables, `table` among them, and says of which version.

    Dagster asks the same of Alembic, which reads all of Dagster's migrations for it: a twelfth of a
    second of the processor for each file that a process opens.
    """
    try:
        with engine.connect() as connection:
            connection.execute(sa.text(f"SELECT 1 FROM {table} LIMIT 1"))
            return connection.execute(sa.text("SELECT 1 FROM alembic_version")).first() is not None
    except sa.exc.OperationalError:
        return False


class BatchedEvents(SqliteEventLogStorage):
    """Dagster's SQLite event log, of which a batch is one transaction of each file.

    If it fails, nothing of the batch is written, and Dagster hands its events over one by one.
    """

    _tables = frozenset[str]()

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._of_thread = threading.local()
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)
        # A batch has two files open at once, by the same thread; other threads wait.
        self._db_lock = threading.RLock()  # type: ignore[assignment]

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Stores the events, in their order."""
        with ExitStack() as files:
            self._of_thread.batch = _Batch(files)
            try:
                # Files are closed in the reverse order: what happened in a run is in its own file
                # before the index, which all others read, tells of it.
                with self._connect(INDEX_SHARD_NAME) as index:
                    for (run_id, of_assets), some in groupby(events, _kind):
                        if of_assets:
                            self._store_asset_events(index, run_id, list(some))
                        else:
                            for event in some:
                                self.store_event(event)
                    for event, number in self._of_thread.batch.last.values():
                        super()._store_asset_event(index, event, number)
            finally:
                del self._of_thread.batch

    def _store_asset_events(
        self, index: Connection, run_id: str, events: Sequence[EventLogEntry]
    ) -> None:
        """What `store_event` does with each event that happened to an asset, with one statement."""
        rows = [self._event_to_row(event) for event in events]
        insert = SqlEventLogStorageTable.insert()
        with self._connect(run_id) as run:
            run.execute(insert, rows)
        given = index.execute(insert, rows[0]).inserted_primary_key
        if given is None:
            raise RuntimeError("the history gave an event no number")
        first = int(given[0])
        if len(rows) > 1:
            index.execute(insert, rows[1:])
        # Nobody else writes between the first of them and the end of the transaction.
        numbers = range(first, first + len(rows))
        last = index.execute(sa.select(sa.func.max(SqlEventLogStorageTable.c.id))).scalar_one()
        if last != numbers[-1]:
            raise RuntimeError(f"events {first} to {numbers[-1]} were numbered up to {last}")
        self._store_asset_event_tags(index, events, numbers)
        for event, number in zip(events, numbers, strict=True):
            self._store_asset_event(index, event, number)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        batch: _Batch | None = getattr(self._of_thread, "batch", None)
        if batch is None:
            with self._connected(shard) as connection:
                yield connection
            return
        if shard not in batch.connections:
            batch.connections[shard] = batch.files.enter_context(self._connected(shard))
        yield batch.connections[shard]

    @contextmanager
    def _connected(self, shard: str) -> Iterator[Connection]:
        """As Dagster's own `_connect`, with an engine that is kept."""
        with self._db_lock:
            engine = self._engines.pop(shard, None) or _engine(self.conn_string_for_shard(shard))
            self._engines[shard] = engine
            if len(self._engines) > _ENGINES:
                self._engines.popitem(last=False)
            if shard not in self._initialized_dbs:
                if not _is_made(engine, "event_logs"):
                    self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _store_asset_event(self, conn: Connection, event: EventLogEntry, event_id: int) -> None:
        """Keeps what happened to the asset last: of a batch, the last event of each type."""
        batch: _Batch | None = getattr(self._of_thread, "batch", None)
        if batch is None:
            super()._store_asset_event(conn, event, event_id)
        else:
            dagster_event = event.get_dagster_event()
            batch.last[dagster_event.asset_key, dagster_event.event_type_value] = event, event_id

    def claim_concurrency_slot(
        self, concurrency_key: str, run_id: str, step_key: str, priority: int | None = None
    ) -> ConcurrencyClaimStatus:
        """A place in a pool, if there is one; processes ask one after the other.

        Dagster looks whether there is one, and then takes it, with a lock that SQLite does not
        know: two runs that asked at the same moment both got the only one (seen).
        """
        with open(os.path.join(self._base_dir, "pools.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # for some milliseconds; its holder's end frees it
            return super().claim_concurrency_slot(concurrency_key, run_id, step_key, priority)

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table; one that is there stays."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables |= {table_name}
        return table_name in self._tables


def _kind(event: EventLogEntry) -> tuple[str, bool]:
    """The event's run, and whether it happened to an asset and to none of its checks."""
    kind = event.dagster_event_type
    return event.run_id, kind in ASSET_EVENTS and kind not in ASSET_CHECK_EVENTS


class _Batch:
    """The connections that a batch has open until it is over, and what happened to assets last."""

    def __init__(self, files: ExitStack) -> None:
        self.files = files
        self.connections: dict[str, Connection] = {}
        self.last: dict[tuple[AssetKey | None, str], tuple[EventLogEntry, int]] = {}


class _Runs(SqliteRunStorage):
    """Dagster's runs, with an engine that is kept."""

    @classmethod
    def from_local(cls, base_dir: str, inst_data: ConfigurableClassData | None = None) -> Self:
        """What there is, or a new file."""
        found = create_db_conn_string(base_dir, "runs")
        if _is_made(_engine(found), "instance_info"):
            return cls(found, inst_data)
        return super().from_local(base_dir, inst_data)

    @cached_property
    def _engine(self) -> Engine:
        return _engine(self._conn_string)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection in a transaction."""
        with self._engine.connect() as connection, connection.begin():
            yield connection


class _Schedules(SqliteScheduleStorage):
    """Dagster's schedules and sensors."""

    @classmethod
    def from_local(
        cls, base_dir: str, inst_data: ConfigurableClassData | None = None
    ) -> SqliteScheduleStorage:
        """What there is, or a new file."""
        found = create_db_conn_string(base_dir, "schedules")
        if _is_made(_engine(found), "job_ticks"):
            return cls(found, inst_data)
        return super().from_local(base_dir, inst_data)


class BatchedHistory(DagsterSqliteStorage):
    """`storage: custom` of dagster.yaml; its files are those of `storage: sqlite` in `base_dir`."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self.base_dir = base_dir
        self._run_storage = _Runs.from_local(_runs_directory(base_dir))
        self._event_log_storage = BatchedEvents(_event_logs_directory(base_dir))
        self._schedule_storage = _Schedules.from_local(_schedule_directory(base_dir))
        self._inst_data = inst_data
        # Not that of DagsterSqliteStorage, which opens Dagster's own three.
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def from_config_value(  # type: ignore[override]
        cls, inst_data: ConfigurableClassData, config_value: SqliteStorageConfig
    ) -> "BatchedHistory":
        """What Dagster calls with the configuration."""
        return cls.from_local(inst_data=inst_data, **config_value)


#: The private methods of Dagster that are called or replaced here, and the parameters they take.
_EXPECTED: tuple[tuple[type, str, tuple[str, ...]], ...] = (
    (SqliteEventLogStorage, "_connect", ("self", "shard")),
    (SqliteEventLogStorage, "_initdb", ("self", "engine", "for_index_shard")),
    (SqliteEventLogStorage, "_event_to_row", ("self", "event")),
    (SqliteEventLogStorage, "_store_asset_event", ("self", "conn", "event", "event_id")),
    (
        SqliteEventLogStorage,
        "_store_asset_event_tags",
        ("self", "conn", "events", "event_ids"),
    ),
    (SqliteEventLogStorage, "conn_string_for_shard", ("self", "shard_name")),
    (SqliteEventLogStorage, "store_event_batch", ("self", "events")),
    (
        SqliteEventLogStorage,
        "claim_concurrency_slot",
        ("self", "concurrency_key", "run_id", "step_key", "priority"),
    ),
    (SqliteRunStorage, "from_local", ("base_dir", "inst_data")),
    (SqliteScheduleStorage, "from_local", ("base_dir", "inst_data")),
)


def check_dagster() -> None:
    """Raise ImportError if a private method of Dagster is not as it is expected to be."""
    for owner, name, expected in _EXPECTED:
        found = tuple(inspect.signature(getattr(owner, name)).parameters)
        if found != expected:
            raise ImportError(
                f"{owner.__name__}.{name} takes ({', '.join(found)}) "
                f"and not ({', '.join(expected)})"
            )
