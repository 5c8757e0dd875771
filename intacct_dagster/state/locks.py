"""The locks that all who use a state store share: files beside it, or PostgreSQL's advisory locks.

Advisory locks end with the connection that holds them.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from intacct_dagster.locks.base import Locks, LockSession
from intacct_dagster.locks.errors import LocksUnusable
from intacct_dagster.locks.files import FileLocks
from intacct_dagster.locks.slots import SlotLocks, gate_name, slot_name


def state_locks(engine: sa.Engine) -> Locks:
    """Return the locks that all who use this state store share."""
    if engine.dialect.name != "sqlite":
        return AdvisoryLocks(engine)
    database = Path(engine.url.database or "state")
    return FileLocks(database.with_name(f"{database.name}.locks"))


class AdvisoryLocks(Locks):
    """Advisory locks of a PostgreSQL database, held by a connection.

    They need connections of their own to the server: a pooler that gives each transaction another
    one (pgbouncer's `pool_mode = transaction`) loses them.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    @contextmanager
    def _session(self) -> Iterator[LockSession]:
        with _connected(self._engine) as connection:
            try:
                yield _AdvisorySession(connection)
            finally:
                # The connection goes back to the pool: it must not take a lock along.
                with suppress(DBAPIError):
                    connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")

    def _slot_locks(self, name: str) -> SlotLocks:
        return _AdvisorySlots(self._engine, name)


class _AdvisorySession:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def take(self, name: str) -> _AdvisoryLock | None:
        """Take a lock at once, or return None if somebody holds it."""
        statement = f"SELECT pg_try_advisory_lock({_key(name)})"
        taken = self._connection.exec_driver_sql(statement).scalar()
        return _AdvisoryLock(self._connection, name) if taken else None

    def holder(self, names: Sequence[str]) -> str:
        """Return who holds these locks, for an error message."""
        return _holder(self._connection, names)


class _AdvisoryLock:
    def __init__(self, connection: sa.Connection, name: str) -> None:
        self._connection = connection
        self._name = name

    def release(self) -> None:
        """Let the next one have it. A connection that broke has done so."""
        with suppress(DBAPIError):
            self._connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_key(self._name)})")


class _AdvisorySlots:
    """Slots of which each is an advisory lock; all that this process holds are one connection's.

    A connection that holds a lock may take it again, so `Slots` never asks for one that this
    process holds. If the connection breaks, the server gives its slots to others while the requests
    under them end: for that moment there may be more than `number` in flight.
    """

    def __init__(self, engine: sa.Engine, name: str) -> None:
        self._engine = engine
        self._name = name
        self._connection: sa.Connection | None = None
        self._at_gate = False
        self._held: dict[int, sa.Connection] = {}
        self._guard = threading.Lock()

    def attempt(self, among: Sequence[int], *, politely: bool) -> int | None:
        with self._guard:
            kept = self._connection is not None
            try:
                return self._attempt(among, politely)
            except DBAPIError as error:
                self._disconnect()
                if not kept:
                    raise self._unusable(error) from error
            try:  # the server was started again, or cut a connection that was idle for long
                return self._attempt(among, politely)
            except DBAPIError as error:
                self._disconnect()
                raise self._unusable(error) from error

    def _attempt(self, among: Sequence[int], politely: bool) -> int | None:
        if self._connection is None:
            self._connection = _connected(self._engine)
        gate = _key(gate_name(self._name))
        # CASE is what PostgreSQL evaluates in order, and no further than it must: one statement, so
        # one round trip, passes the gate, takes a slot, and leaves the gate.
        leave = f"CASE WHEN pg_advisory_unlock({gate}) THEN {{0}} ELSE {{0}} END"
        passing = self._at_gate or politely
        slots = " ".join(
            f"WHEN pg_try_advisory_lock({_key(slot_name(self._name, number))}) THEN "
            + (leave.format(number) if passing else str(number))
            for number in among
        )
        statement = f"CASE {slots} ELSE -1 END" if among else "-1"
        if not self._at_gate and politely:
            statement = f"CASE WHEN pg_try_advisory_lock({gate}) THEN {statement} ELSE -2 END"
        found = self._connection.exec_driver_sql(f"SELECT {statement}").scalar_one()
        self._at_gate = found == -1 and passing
        if found < 0:
            return None
        self._held[found] = self._connection
        return int(found)

    def leave_gate(self) -> None:
        with self._guard:
            if self._at_gate and self._connection is not None:
                self._unlock(self._connection, gate_name(self._name))
            self._at_gate = False

    def release(self, number: int) -> None:
        with self._guard:
            connection = self._held.pop(number)
            # Another connection than ours now has broken, and lost the slot when it did.
            if connection is self._connection:
                self._unlock(connection, slot_name(self._name, number))

    def _unlock(self, connection: sa.Connection, name: str) -> None:
        try:
            connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_key(name)})")
        except DBAPIError:
            self._disconnect()

    def holder(self, numbers: Sequence[int]) -> str:
        with self._guard, suppress(DBAPIError):
            if self._connection is not None:
                names = [slot_name(self._name, number) for number in numbers]
                return _holder(self._connection, names)
        return "another process"

    def close(self) -> None:
        with self._guard:
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection, self._at_gate = self._connection, None, False
        if connection is not None:
            # Not back to the pool: the end of the connection is what frees its locks for certain.
            with suppress(DBAPIError):
                connection.invalidate()
            connection.close()

    def _unusable(self, error: DBAPIError) -> LocksUnusable:
        return LocksUnusable(
            f"The locks in {self._engine.url.render_as_string()} cannot be reached: {error.orig}.\n"
            "Check that the database of the state store is up, and start this again."
        )


def _connected(engine: sa.Engine) -> sa.Connection:
    """Return a connection that says whose it is to those who wait for its locks."""
    who = f"intacct-dagster, process {os.getpid()} on {socket.gethostname()}"
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        connection.execute(
            sa.text("SELECT set_config('application_name', :who, false)"), {"who": who[:63]}
        )
    except DBAPIError:
        connection.close()
        raise
    return connection


def _holder(connection: sa.Connection, names: Sequence[str]) -> str:
    keys = ", ".join(str(_key(name)) for name in names)
    found = connection.exec_driver_sql(
        "SELECT DISTINCT activity.application_name, activity.pid FROM pg_locks AS locks"
        " JOIN pg_stat_activity AS activity ON activity.pid = locks.pid"
        " WHERE locks.locktype = 'advisory' AND locks.granted AND locks.objsubid = 1"
        " AND locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        f" AND (locks.classid::bigint << 32 | locks.objid::bigint) IN ({keys}) ORDER BY 1, 2"
    )
    known = [f"{who or 'a connection'} (PostgreSQL's process {pid})" for who, pid in found]
    return ", ".join(known) or "another process"


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
