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
    after LEASE_SECONDS so that a dead process cannot block the others for ever.
    """

    def __init__(
        self,
        engine: sa.Engine,
        key: bytes,
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._engine = engine
        self._fernet = Fernet(key)
        self._now = now
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
        row = {"value": self._fernet.encrypt(value), "stored_at": self._now()}
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
        deadline = self._now() + WAIT_SECONDS
        while not self._take(name, owner):
            if self._now() >= deadline:
                raise TokenLockTimeout(
                    f"Another process has been renewing the session of {name} for "
                    f"{WAIT_SECONDS:.0f} s. Try again; if it stays, look for a stuck run."
                )
            self._sleep(random.uniform(0.05, 0.15))  # noqa: S311 - jitter, not a secret
        try:
            yield
        finally:
            with self._engine.begin() as connection:
                connection.execute(
                    sa.delete(_leases).where(_leases.c.name == name, _leases.c.owner == owner)
                )

    def _take(self, name: str, owner: str) -> bool:
        now = self._now()
        lease = {"owner": owner, "until": now + LEASE_SECONDS}
        try:
            with self._engine.begin() as connection:
                taken = connection.execute(
                    sa.update(_leases)
                    .where(_leases.c.name == name, _leases.c.until < now)
                    .values(lease)
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
