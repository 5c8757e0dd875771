"""Sessions at rest: encrypted, shared by processes, and renewed by one of them at a time."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy.exc import IntegrityError

from intacct_dagster.state.encryption_key import KEY_VARIABLE, TokenKeyWrong
from intacct_dagster.state.errors import StateError
from intacct_dagster.state.store import METADATA

#: A renewal takes a second or two; a process that died in one is not waited for any longer.
LEASE_SECONDS = 60.0
WAIT_SECONDS = 90.0

_tokens = sa.Table(
    "tokens",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("stored_at", sa.Float, nullable=False),
)

_leases = sa.Table(
    "leases",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
)


class TokenLockTimeout(StateError):
    """Another process kept the right to renew a session for longer than a renewal takes."""


class EncryptedTokenStore:
    """Sessions by name in the state store, encrypted with Fernet.

    `lock` is a lease: one holder at a time over all processes and hosts that share the store, lost
    after LEASE_SECONDS so that a dead process cannot block the others for ever. The clock of leases
    is one that all of them share and nobody sets: that of the database server, or that of the
    machine since it started. `now` takes its place.
    """

    def __init__(
        self,
        engine: sa.Engine,
        key: bytes,
        *,
        now: Callable[[], float] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._engine = engine
        self._fernet = Fernet(key)
        self._now = now if now is not None else _lease_clock(engine)
        self._sleep = sleep

    def get(self, name: str) -> bytes | None:
        """The session stored under `name`. Raises TokenKeyWrong."""
        with self._engine.connect() as connection:
            value = connection.scalar(sa.select(_tokens.c.value).where(_tokens.c.name == name))
        if value is None:
            return None
        try:
            return self._fernet.decrypt(value)
        except InvalidToken:
            raise TokenKeyWrong(
                f"The stored session of {name} was encrypted with another key. Restore "
                f"{KEY_VARIABLE} (or the OS keyring's key, or token.key) as it was; nothing was "
                "changed. If that key is gone, `intacct-dagster sessions key --new` forgets the "
                "sessions, which are then opened again."
            ) from None

    def put(self, name: str, value: bytes) -> None:
        """Stores a session; it is on disk when this returns."""
        row = {"value": self._fernet.encrypt(value), "stored_at": time.time()}
        with self._engine.begin() as connection:
            updated = connection.execute(
                sa.update(_tokens).where(_tokens.c.name == name).values(row)
            )
            if updated.rowcount == 0:
                connection.execute(sa.insert(_tokens).values(name=name, **row))

    def names(self) -> list[str]:
        """The names of the stored sessions."""
        with self._engine.connect() as connection:
            return list(connection.scalars(sa.select(_tokens.c.name).order_by(_tokens.c.name)))

    def delete(self, name: str) -> None:
        """Forget a session here, without ending it at Intacct."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(_tokens).where(_tokens.c.name == name))

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """The sole right to renew the session `name`. Raises TokenLockTimeout."""
        owner = uuid.uuid4().hex
        self._wait_for(name, owner)
        try:
            yield
        finally:
            self._give_back(name, owner)

    @contextmanager
    def try_lock(self, name: str) -> Iterator[bool]:
        """The same right without a wait; False in the block if somebody else has it."""
        owner = uuid.uuid4().hex
        taken = self._take(name, owner, None)
        try:
            yield taken
        finally:
            if taken:
                self._give_back(name, owner)

    def _wait_for(self, name: str, owner: str) -> None:
        began = self._now()
        seen, seen_since = self._lease(name), began
        while True:
            # A lease that nobody has touched for its whole life is over, whatever it says: the
            # machine may have been started again, and its clock with it.
            now = self._now()
            stuck = seen if now - seen_since > LEASE_SECONDS else None
            if self._take(name, owner, stuck):
                return
            if now - began >= WAIT_SECONDS:
                raise TokenLockTimeout(
                    f"Another process has been renewing the session of {name} for "
                    f"{WAIT_SECONDS:.0f} s. Try again; if it stays, look for a stuck run."
                )
            self._sleep(random.uniform(0.05, 0.15))  # noqa: S311 - jitter, not a secret
            found = self._lease(name)
            if found != seen:
                seen, seen_since = found, self._now()

    def _lease(self, name: str) -> tuple[str, float] | None:
        with self._engine.connect() as connection:
            query = sa.select(_leases.c.owner, _leases.c.until).where(_leases.c.name == name)
            row = connection.execute(query).first()
        return None if row is None else (row.owner, row.until)

    def _give_back(self, name: str, owner: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(
                sa.delete(_leases).where(_leases.c.name == name, _leases.c.owner == owner)
            )

    def _take(self, name: str, owner: str, stuck: tuple[str, float] | None) -> bool:
        """Take the lease if it is free, over, or `stuck`."""
        now = self._now()
        lease = {"owner": owner, "until": now + LEASE_SECONDS}
        over = _leases.c.until < now
        if stuck is not None:
            over = over | sa.and_(_leases.c.owner == stuck[0], _leases.c.until == stuck[1])
        try:
            with self._engine.begin() as connection:
                taken = connection.execute(
                    sa.update(_leases).where(_leases.c.name == name, over).values(lease)
                )
                if taken.rowcount == 1:
                    return True
                held = connection.scalar(sa.select(_leases.c.owner).where(_leases.c.name == name))
                if held is None:
                    connection.execute(sa.insert(_leases).values(name=name, **lease))
                    return True
        except IntegrityError:  # another process inserted first
            return False
        return False


def _lease_clock(engine: sa.Engine) -> Callable[[], float]:
    """Return a clock in seconds that all who share the store read alike."""
    if engine.dialect.name == "sqlite":
        return time.monotonic  # one machine, on which all processes read the same

    def now() -> float:
        with engine.connect() as connection:
            query = sa.text("SELECT extract(epoch FROM clock_timestamp())")
            return float(connection.scalar(query))

    return now
