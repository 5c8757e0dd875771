"""Dagster's history on a laptop: SQLite files, into which events are written many at a time.

A run of a year of five objects has 3,650 events of partitions: one for each that it is going to
make, and one for each that it made. Dagster hands them to its storage many at once; its own SQLite
storage (1.13) still opens two files, writes, and closes them again for every single one, and keeps
each as the asset's last besides. Its PostgreSQL storage knows better, and is not touched.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from dagster import AssetKey, EventLogEntry
from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    INDEX_SHARD_NAME,
    SqliteEventLogStorage,
)
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage, SqliteStorageConfig
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection

# Dagster hands events over one by one unless it is told how many at once. Every process that opens
# this history is: the daemon, which writes what a run is going to make, and the run itself.
os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")


class BatchedEvents(SqliteEventLogStorage):
    """Dagster's SQLite event log, of which a batch is one transaction of each file.

    If it fails, nothing of the batch is written, and Dagster hands its events over one by one.
    """

    _tables = frozenset[str]()

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._of_thread = threading.local()
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
                    super().store_event_batch(events)
                    for event, number in self._of_thread.batch.last.values():
                        super()._store_asset_event(index, event, number)
            finally:
                del self._of_thread.batch

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        batch: _Batch | None = getattr(self._of_thread, "batch", None)
        if batch is None:
            with super()._connect(shard) as connection:
                yield connection
            return
        if shard not in batch.connections:
            batch.connections[shard] = batch.files.enter_context(super()._connect(shard))
        yield batch.connections[shard]

    def _store_asset_event(self, conn: Connection, event: EventLogEntry, event_id: int) -> None:
        """Keeps what happened to the asset last: of a batch, the last event of each type."""
        batch: _Batch | None = getattr(self._of_thread, "batch", None)
        if batch is None:
            super()._store_asset_event(conn, event, event_id)
        else:
            told = event.get_dagster_event()
            batch.last[told.asset_key, told.event_type_value] = event, event_id

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table; one that is there stays."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables |= {table_name}
        return table_name in self._tables


class _Batch:
    """The connections that a batch has open until it is over, and what happened to assets last."""

    def __init__(self, files: ExitStack) -> None:
        self.files = files
        self.connections: dict[str, Connection] = {}
        self.last: dict[tuple[AssetKey | None, str], tuple[EventLogEntry, int]] = {}


class BatchedHistory(DagsterSqliteStorage):
    """`storage: custom` of dagster.yaml; its files are those of `storage: sqlite` in `base_dir`."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = BatchedEvents(
            os.path.dirname(self._event_log_storage.path_for_shard(INDEX_SHARD_NAME))
        )

    @classmethod
    def from_config_value(  # type: ignore[override]
        cls, inst_data: ConfigurableClassData, config_value: SqliteStorageConfig
    ) -> "BatchedHistory":
        """What Dagster calls with the configuration."""
        return cls.from_local(inst_data=inst_data, **config_value)
