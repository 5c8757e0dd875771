"""The database of the state store: opening it, and transactions that read or write.

SQLite in WAL mode by default. It is used through SQLAlchemy Core, so that a URL can put PostgreSQL
in its place.
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

#: The tables of the state store; each module of the package adds its own.
METADATA = sa.MetaData()

#: What the tables mean. It goes up when a program that does not know the change could post or
#: settle wrongly; a column that an older program may ignore does not raise it.
#:
#: - 1: 0.1.0 and 0.2.0, which stored no version.
#: - 2: documents are known by their party as well, where numbers are each party's own.
SCHEMA_VERSION = 2

#: The one row is the newest version of the program that wrote here.
_VERSION = sa.Table(
    "state_version",
    METADATA,
    sa.Column("only", sa.Integer, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)

# Execution option of a connection that only reads.
_READS = "intacct_reads"

# Threads of one process wait for each other here: SQLite would let each of them sleep for up to a
# tenth of a second at a time, until it happens to find the database free.
_writers: weakref.WeakKeyDictionary[sa.Engine, threading.Lock] = weakref.WeakKeyDictionary()

#: How long a writer waits for the transaction of another process; transactions are short.
BUSY_TIMEOUT_SECONDS = 30


class StateStoreUnusable(StateError):
    """The state store cannot be opened or written. Nothing was changed."""


def open_state(url: str) -> sa.Engine:
    """Open the state store and create what is missing of it. Several processes may do so at once.

    A new SQLite file is readable by its owner only. Tables of an older version get the columns that
    they lack.

    Args:
        url: SQLAlchemy's URL of the database: `sqlite:///…` or `postgresql+psycopg://…`.

    Returns:
        The engine; dispose of it to close its connections.

    Raises:
        StateStoreUnusable: The database cannot be created, opened or written, or a newer version of
            the program has written to it.

    Example:
        >>> engine = open_state("sqlite:///state.db")
        >>> ApiUsage(engine, "acme").spent(datetime.now(UTC))
        0
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        engine = sa.create_engine(parsed, pool_pre_ping=True)
    else:
        engine = _sqlite(parsed)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                # Without this lock, processes that find the tables missing at the same moment would
                # all try to create them, and all but one would fail.
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(7240118)"))
            METADATA.create_all(connection)
            _add_new_columns(connection)
            _keep_version(connection, parsed)
    except DBAPIError as error:
        raise StateStoreUnusable(
            f"The state store {parsed.render_as_string()} cannot be used: {error.orig}. "
            "Check that its folder exists and may be written to."
        ) from None
    return engine


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Run the block in a transaction: on disk when it is over, rolled back if it raises."""
    with _writers.setdefault(engine, threading.Lock()), engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give the block a connection that only reads, and does not wait for writers."""
    with engine.execution_options(**{_READS: True}).connect() as connection:
        yield connection


def _add_new_columns(connection: sa.Connection) -> None:
    """Add the columns that a table of an older version lacks; new columns are always nullable."""
    inspector = sa.inspect(connection)
    for table in METADATA.sorted_tables:
        held = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in held:
                kind = column.type.compile(connection.dialect)
                connection.exec_driver_sql(
                    f'ALTER TABLE "{table.name}" ADD COLUMN "{column.name}" {kind}'
                )


def _keep_version(connection: sa.Connection, url: sa.URL) -> None:
    """Refuse a store that a newer program wrote to; note that this one writes."""
    held = connection.scalar(sa.select(_VERSION.c.version))
    if held is None:
        connection.execute(sa.insert(_VERSION).values(only=1, version=SCHEMA_VERSION))
    elif held > SCHEMA_VERSION:
        raise StateStoreUnusable(
            f"The state store {url.render_as_string()} was written by a newer version of "
            f"intacct_dagster (its tables are of version {held}, this program knows "
            f"{SCHEMA_VERSION}). This one would not see everything that was posted: install the "
            "newer version, or put back a backup from before the upgrade."
        )
    elif held < SCHEMA_VERSION:
        connection.execute(sa.update(_VERSION).values(version=SCHEMA_VERSION))


def _sqlite(url: sa.URL) -> sa.Engine:
    if url.database and url.database != ":memory:":
        folder = Path(url.database).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Only the owner may read sessions and what was posted. SQLite creates the -wal and -shm
            # files with the mode of the database.
            with suppress(FileExistsError):
                os.close(os.open(url.database, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError as error:
            raise StateStoreUnusable(
                f"The state store {url.database} cannot be created: {error}. "
                "Check that its folder may be written to."
            ) from None
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        # SQLAlchemy begins transactions itself (below); the driver must not.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        # FULL: a commit is on the disk, not only in the operating system's cache. The ledger relies
        # on it: a chunk is on disk before its first byte is sent.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # IMMEDIATE takes the write lock at the start of the transaction. With a later lock, two
        # processes that read and then write the same partition would fail half-way.
        reads = _READS in connection.get_execution_options()
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine
