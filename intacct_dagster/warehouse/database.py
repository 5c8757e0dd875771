"""The DuckDB file that many processes share: held shortly, waited for with a bound, always let go.

One process at a time may hold a DuckDB file for writing, and while it does no other may even
read it. So nobody keeps it: work is prepared in a `StagingSession` (an in-memory database that
locks nothing), and the file is attached for the moment in which rows move from one to the other.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import random
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.errors import WarehouseError, WarehouseLocked, WarehouseUnreadable
from intacct_dagster.warehouse.sql import identifier, literal

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

CATALOG = "warehouse"
_META = "meta"
"""The name under which every statement finds the file, wherever it lies and whatever it is."""

# Half of DuckDB's own. A thread compresses a group of rows when it has filled one, so a load of
# some 100,000 rows is stored by two threads at once instead of by one at its end (0.37 s instead of
# 0.58 for 200,000 rows of 20 columns on two cores), and rows that wait for it take half the memory.
_ROWS_IN_A_GROUP = 61_440

# What DuckDB 1.3 and later read. It has a better way to store repeating texts than the format that
# DuckDB writes by default, which every version reads: 1.95 s instead of 2.4 for 2
# million rows of 20 columns. A file of an older format is written on in this one.
_STORAGE = "v1.3.0"
_NEWER_STORAGE = "storage version of an existing database cannot be lowered"

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.5
_SETTLED_WITHIN = 3  # attempts to find the file without a write-ahead log
# What DuckDB says of a file that somebody holds, and by whom (where it can find out).
_HELD = re.compile(r"Could not set lock on file|used by another process", re.IGNORECASE)
_HELD_IN_THIS_PROCESS = "Unique file handle conflict"
_HOLDER = re.compile(r"held in (?:(?P<program>[^()]+) \()?PID (?P<pid>\d+)")


class _Turn:
    """Whose turn it is among the threads of this process.

    DuckDB's lock on the file works between processes only, and it is a POSIX lock: any other
    handle on the file that this process opens and closes drops it. So one thread at a time
    attaches the file, and nothing in this package opens it in any other way.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.owner: int | None = None


@dataclass(frozen=True, slots=True)
class _Holder:
    """Who holds the file, as far as is known."""

    pid: int | None = None
    program: str | None = None
    in_this_process: bool = False


def _share(descriptor: int) -> _Holder | None:
    """Take the lock that DuckDB takes to read: others may read too, and nobody may write."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return _Holder()
    return None


_turns: dict[Path, _Turn] = {}
_turns_guard = threading.Lock()


def _turn(path: Path) -> _Turn:
    with _turns_guard:
        return _turns.setdefault(path, _Turn())


_IDENTITY = identifier(CATALOG, _META, "identity")


def _identity(connection: DuckDBPyConnection) -> str | None:
    """Return the id of the attached file; None if it has none."""
    there = connection.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE database_name = ? AND schema_name = ?"
        " AND table_name = 'identity'",
        [CATALOG, _META],
    ).fetchone()
    if not there or not there[0]:
        return None
    row = connection.execute(f"SELECT id FROM {_IDENTITY}").fetchone()
    return None if row is None else str(row[0])


@dataclass(frozen=True, slots=True)
class StagingSession:
    """An in-memory database and a scratch folder: what is prepared here locks nothing.

    `attached` brings the file in as the catalog `warehouse`; the tables of the staging itself are
    in `memory.main`. Belongs to one thread.
    """

    connection: DuckDBPyConnection
    scratch: Path
    file: Warehouse

    @contextmanager
    def attached(self, *, read_only: bool = False) -> Iterator[DuckDBPyConnection]:
        """Hold the file for the length of this block, as the catalog `warehouse`."""
        with self.file.held(self.connection, read_only=read_only):
            yield self.connection

    def stage(self, view: str, query: str) -> None:
        """Keep the rows of a query in the scratch folder, and show them as `memory.main.<view>`.

        They take no memory however many they are.
        """
        path = literal(str(self.scratch / f"{view}.parquet"))
        self.connection.execute(f"COPY ({query}) TO {path} (FORMAT parquet)")
        self.connection.execute(
            f"CREATE VIEW memory.main.{identifier(view)} AS SELECT * FROM read_parquet({path})"
        )

    @contextmanager
    def transaction(self) -> Iterator[DuckDBPyConnection]:
        """Hold the file and write: afterwards all of this block is in the file, or nothing."""
        with self.attached() as connection:
            connection.execute("BEGIN TRANSACTION")
            yield connection
            connection.execute("COMMIT")


class Warehouse:
    """A DuckDB file at `path`, made when it is first written.

    `lock_timeout` is how many seconds a caller waits while somebody else holds the file.
    `memory_limit` bounds what one staging keeps in memory before it spills to disk (DuckDB's
    notation, e.g. "1GB"); None leaves DuckDB's own bound. `paired` is given the id of the file
    (None: it has none) before it is written, returns the one that it is to have, and raises if it
    belongs to another state store. `clock` and `sleep` are seconds of a
    monotonic clock and the pause; tests pass their own.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        lock_timeout: float = 60.0,
        memory_limit: str | None = None,
        paired: Callable[[str | None], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.path = Path(path).resolve()
        self.lock_timeout = lock_timeout
        self._memory_limit = memory_limit
        self._paired = paired
        self._clock = clock
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    @contextmanager
    def staging(self) -> Iterator[StagingSession]:
        """A fresh in-memory database (time zone UTC) and scratch folder, both gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="intacct_dagster_") as scratch:
            connection = duckdb.connect(":memory:")
            try:
                connection.execute("SET TimeZone = 'UTC'")
                # It would be among what a command prints, whenever a statement takes two seconds.
                connection.execute("SET enable_progress_bar = false")
                connection.execute(f"SET temp_directory = {literal(scratch + '/spill')}")
                if self._memory_limit is not None:
                    connection.execute(f"SET memory_limit = {literal(self._memory_limit)}")
                yield StagingSession(connection, Path(scratch), self)
            finally:
                # Without this the file would stay locked for as long as a traceback lives that
                # refers to the connection.
                connection.close()

    @contextmanager
    def connect(self, *, read_only: bool = False) -> Iterator[DuckDBPyConnection]:
        """A connection on which the file is the default catalog, held until the block ends.

        Several threads may call this: they take turns. Several processes may: they wait for each
        other, unless all of them read only. Raises WarehouseLocked after `lock_timeout` seconds,
        WarehouseUnreadable when there is no file to read or it is no DuckDB file.
        """
        with self.staging() as staging, staging.attached(read_only=read_only) as connection:
            connection.execute(f"USE {CATALOG}")
            yield connection

    def frame(self, sql: str, params: Sequence[object] = ()) -> pd.DataFrame:
        """Return the answer to a query as a data frame: amounts `Decimal`, moments aware and UTC.

        Raises WarehouseError without pandas, which is an extra of the package.
        """
        if importlib.util.find_spec("pandas") is None:
            raise WarehouseError(
                "A data frame needs pandas, which is not installed.\n"
                "Install it: pip install 'intacct_dagster[pandas]'"
            )
        with self.connect(read_only=True) as connection:
            try:
                columns = connection.execute(f"DESCRIBE {sql}", list(params)).fetchall()
            except duckdb.ParserException:  # SHOW, PRAGMA, or a mistake that is reported next
                return connection.execute(sql, list(params)).df()
            amounts = [str(row[0]) for row in columns if str(row[1]).startswith("DECIMAL")]
            if not amounts:
                return connection.execute(sql, list(params)).df()
            # pandas would get floats for DECIMAL columns: the texts are exact.
            texts = ", ".join(
                f"CAST({identifier(name)} AS VARCHAR) AS {identifier(name)}" for name in amounts
            )
            frame = connection.execute(
                f"SELECT * REPLACE ({texts}) FROM ({sql.strip().rstrip(';')}\n)", list(params)
            ).df()
        for name in amounts:
            frame[name] = [Decimal(text) if isinstance(text, str) else None for text in frame[name]]
        return frame

    def row_counts(self, tables: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """How many rows these tables have, (schema, table) each; one that is not there has 0."""
        with self.connect(read_only=True) as connection:
            there = set(
                connection.execute(
                    "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ?",
                    [CATALOG],
                ).fetchall()
            )
            counts = dict.fromkeys(tables, 0)
            for schema, table in counts.keys() & there:
                name = identifier(CATALOG, schema, table)
                ((counts[schema, table],),) = connection.execute(
                    f"SELECT count(*) FROM {name}"
                ).fetchall()
        return counts

    @contextmanager
    def held(self, connection: DuckDBPyConnection, *, read_only: bool) -> Iterator[None]:
        """Attach the file to a connection as `warehouse` for the length of this block.

        What is not committed when the block ends, by an error or otherwise, is rolled back.
        """
        with self._my_turn():
            self._attach(connection, read_only=read_only)
            try:
                if not read_only:
                    self._pair(connection)
                yield
            finally:
                self._detach(connection)

    def identity(self) -> str | None:
        """Return the id of the file; None if it has none or there is no file yet."""
        if not self.path.exists():
            return None
        with self.connect(read_only=True) as connection:
            return _identity(connection)

    def _pair(self, connection: DuckDBPyConnection) -> None:
        if self._paired is None:
            return
        found = _identity(connection)
        wanted = self._paired(found)
        if wanted != found:
            connection.execute("BEGIN TRANSACTION")
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(CATALOG, _META)}")
            connection.execute(
                f"CREATE OR REPLACE TABLE {_IDENTITY} AS SELECT CAST(? AS VARCHAR) AS id", [wanted]
            )
            connection.execute("COMMIT")
            self._paired(wanted)

    @contextmanager
    def still(self) -> Iterator[int]:
        """A descriptor of the file as it was last committed; nobody writes until the block ends.

        Others may read meanwhile. Nothing else may open the file in the block: it would let go the
        lock. Raises WarehouseLocked, and WarehouseUnreadable where there is no file.
        """
        log = self.path.with_name(f"{self.path.name}.wal")
        with self._my_turn():
            for _ in range(_SETTLED_WITHIN):
                try:
                    descriptor = os.open(self.path, os.O_RDONLY)
                except OSError as error:
                    raise self._unreadable(error, read_only=True) from error
                try:
                    self._when_free(lambda held=descriptor: _share(held))  # type: ignore[misc]
                    if not log.exists() or log.stat().st_size == 0:
                        yield descriptor
                        return
                finally:
                    os.close(descriptor)
                self._settle()
        raise WarehouseError(
            f"{log} comes back each time it was written into the warehouse.\n"
            "See what else opens that file and dies; nothing was changed."
        )

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        turn = _turn(self.path)
        if turn.owner == threading.get_ident():
            raise WarehouseError(
                f"This thread already holds the warehouse {self.path}, and would wait for itself.\n"
                "End the first `with warehouse.connect()` block before the next call."
            )
        if not turn.lock.acquire(timeout=self.lock_timeout):
            raise WarehouseLocked(self.path, self.lock_timeout, in_this_process=True)
        turn.owner = threading.get_ident()
        try:
            yield
        finally:
            turn.owner = None
            turn.lock.release()

    def _attach(self, connection: DuckDBPyConnection, *, read_only: bool) -> None:
        if not read_only:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise self._unreadable(error, read_only=False) from error
        attach = f"ATTACH {literal(str(self.path))} AS {CATALOG}"
        writing = f"ROW_GROUP_SIZE {_ROWS_IN_A_GROUP}"

        def take() -> _Holder | None:
            try:
                if read_only:
                    connection.execute(f"{attach} (READ_ONLY)")
                    return None
                try:
                    connection.execute(f"{attach} ({writing}, STORAGE_VERSION '{_STORAGE}')")
                except duckdb.Error as error:
                    if _NEWER_STORAGE not in str(error):
                        raise
                    connection.execute(f"{attach} ({writing})")
            except duckdb.Error as error:  # its class differs between DuckDB 1 and 2
                message = str(error)
                in_this_process = _HELD_IN_THIS_PROCESS in message
                if not in_this_process and not _HELD.search(message):
                    raise self._unreadable(error, read_only=read_only) from error
                found = _HOLDER.search(message)
                program = found["program"] if found else None
                return _Holder(
                    int(found["pid"]) if found else None,
                    Path(program).name if program else None,
                    in_this_process,
                )
            return None

        self._when_free(take)

    def _when_free(self, take: Callable[[], _Holder | None]) -> None:
        """Call `take` until it says that nobody holds the file. Raises WarehouseLocked."""
        started = self._clock()
        pause = _FIRST_PAUSE
        while (holder := take()) is not None:
            waited = self._clock() - started
            if waited >= self.lock_timeout:
                raise WarehouseLocked(
                    self.path,
                    waited,
                    pid=holder.pid,
                    program=holder.program,
                    in_this_process=holder.in_this_process,
                ) from None
            # Jitter, so that processes that began to wait together do not ask together.
            self._sleep(min(pause * random.uniform(0.5, 1.5), self.lock_timeout - waited))  # noqa: S311
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _settle(self) -> None:
        """Bring into the file what a process that died left in the write-ahead log beside it."""
        connection = duckdb.connect(":memory:")
        try:
            self._attach(connection, read_only=False)
            connection.execute(f"CHECKPOINT {CATALOG}")
            self._detach(connection)
        finally:
            connection.close()

    def _detach(self, connection: DuckDBPyConnection) -> None:
        with suppress(duckdb.TransactionException):  # committed, or never begun
            connection.execute("ROLLBACK")
        connection.execute("USE memory")
        connection.execute(f"DETACH {CATALOG}")

    def _unreadable(self, error: Exception, *, read_only: bool) -> WarehouseUnreadable:
        if read_only and not self.path.exists():
            return WarehouseUnreadable(
                f"There is no warehouse at {self.path} yet.\n"
                "Materialize an asset first, or correct `warehouse:` in intacct.yaml."
            )
        message = str(error).splitlines()[0]
        return WarehouseUnreadable(
            f"The warehouse {self.path} cannot be opened: {message}\n"
            "Correct `warehouse:` in intacct.yaml, or move that file away and materialize again."
        )
