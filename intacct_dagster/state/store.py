"""The state store: what must survive a crash and be shared by processes, apart from the analysis.

It holds sessions (encrypted) and the posting ledger. SQLite in WAL mode by default, reached through
SQLAlchemy Core so that PostgreSQL can take its place by a URL.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from intacct_dagster.state.errors import StateError

METADATA = sa.MetaData()

# Execution option of a connection that only reads.
_READS = "intacct_reads"

# Threads of one process wait for each other here: SQLite would have each of them sleep, up to a
# tenth of a second at a time, until it happens to find the database free.
_writers: weakref.WeakKeyDictionary[sa.Engine, threading.Lock] = weakref.WeakKeyDictionary()

#: A writer waits this long for another process's transaction. Transactions take milliseconds.
BUSY_TIMEOUT_SECONDS = 30


class StateStoreUnusable(StateError):
    """The state store cannot be opened or written."""


def open_state(url: str) -> sa.Engine:
    """An engine on the state store at `url`, its tables created where they are missing.

    Several processes may open it at once. Raises StateStoreUnusable.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        engine = sa.create_engine(parsed, pool_pre_ping=True)
    else:
        engine = _sqlite(parsed)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                # what several processes find missing at once, one of them makes
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(7240118)"))
            METADATA.create_all(connection)
            _add_new_columns(connection)
    except DBAPIError as error:
        raise StateStoreUnusable(
            f"The state store {parsed.render_as_string()} cannot be used: {error.orig}. "
            "Check that its folder exists and may be written to."
        ) from None
    return engine


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that writes, on disk when the block is over; nothing of it if it fails."""
    with _writers.setdefault(engine, threading.Lock()), engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection that only reads, and waits for nobody who writes."""
    with engine.execution_options(**{_READS: True}).connect() as connection:
        yield connection


def _add_new_columns(connection: sa.Connection) -> None:
    """Widens tables that an older version made: new columns are always nullable."""
    inspector = sa.inspect(connection)
    for table in METADATA.sorted_tables:
        held = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in held:
                kind = column.type.compile(connection.dialect)
                connection.exec_driver_sql(
                    f'ALTER TABLE "{table.name}" ADD COLUMN "{column.name}" {kind}'
                )


def _sqlite(url: sa.URL) -> sa.Engine:
    if url.database and url.database != ":memory:":
        folder = Path(url.database).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Sessions and what was posted are nobody else's business. SQLite gives the files that
            # it lays beside the database the database's own mode.
            with suppress(FileExistsError):
                os.close(os.open(url.database, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError as error:
            raise StateStoreUnusable(
                f"The state store {url.database} cannot be made: {error}."
            ) from None
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        # SQLAlchemy begins transactions itself (below); the driver must not.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        # FULL: a commit is on the disk, not only with the operating system. The ledger's promise
        # ("on disk before the first byte is sent") is this line.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # IMMEDIATE: who reads in order to write holds the write lock from the start, so two
        # processes that plan the same partition take turns instead of failing half-way.
        reads = _READS in connection.get_execution_options()
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine
