"""Turns: one process at a time does a thing, the others wait, and a dead one blocks nobody."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from intacct_dagster.state.errors import StateError

#: Seconds between two looks whether it is our turn.
_LOOK = (0.1, 0.3)


class TurnTimeout(StateError):
    """Somebody else kept a turn for longer than we wait."""


@contextmanager
def turn(
    engine: sa.Engine,
    name: str,
    *,
    wait_seconds: float,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """The sole right to do `name`, over all that share the state store.

    It is kept by the operating system (SQLite: a lock on a file beside the database) or by the
    database (PostgreSQL: an advisory lock), so that it ends with its holder, however that dies.
    Threads take turns too; a holder that asks again waits for itself. Raises TurnTimeout.
    """
    attempts = int(wait_seconds / _LOOK[0])
    with _file(engine, name) if engine.dialect.name == "sqlite" else _advisory(engine, name) as it:
        while not it.take():
            attempts -= 1
            if attempts < 0:
                raise TurnTimeout(
                    f"{it.holder()} has been at {name} for more than {wait_seconds / 60:.0f} min.\n"
                    "Wait for that run or end it, then start this one again; nothing was changed."
                )
            sleep(random.uniform(*_LOOK))  # noqa: S311 - jitter, not a secret
        yield


class _FileTurn:
    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def take(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._file.seek(0)
        self._file.truncate()
        self._file.write(str(os.getpid()))
        self._file.flush()
        return True

    def holder(self) -> str:
        self._file.seek(0)
        pid = self._file.read().strip()
        return f"Another run (process {pid})" if pid else "Another run"


@contextmanager
def _file(engine: sa.Engine, name: str) -> Iterator[_FileTurn]:
    database = Path(engine.url.database or "state")
    folder = database.with_name(f"{database.name}.turns")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(name.encode()).hexdigest()[:16]
    # The file stays: who deleted it could leave two holders, of the old one and of a new one.
    with path.open("a+", encoding="ascii") as file:
        yield _FileTurn(file)


class _AdvisoryTurn:
    def __init__(self, connection: sa.Connection, key: int) -> None:
        self._connection = connection
        self._key = key

    def take(self) -> bool:
        return bool(
            self._connection.scalar(
                sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": self._key}
            )
        )

    def holder(self) -> str:
        return "Another run"


@contextmanager
def _advisory(engine: sa.Engine, name: str) -> Iterator[_AdvisoryTurn]:
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        try:
            yield _AdvisoryTurn(connection, key)
        finally:
            # The connection goes back to the pool: it must not take the lock along.
            with suppress(DBAPIError):
                connection.execute(sa.text("SELECT pg_advisory_unlock_all()"))
