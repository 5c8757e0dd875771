"""A token, and where tokens are kept so that several processes can share one session."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from typing import Final, Protocol

import msgspec

from intacct_dagster.client.http.responses import UNREADABLE

#: A token is renewed this long before it ends, so that no request meets one that has just ended.
RENEWAL_MARGIN = timedelta(minutes=5)

#: The longest that a renewal has the right to renew in hand, in seconds.
RENEWAL_SECONDS: Final = 45.0


class TokenStore(Protocol):
    """Keeps tokens by name. The bytes are JSON and secret: a store encrypts them at rest."""

    def get(self, name: str) -> bytes | None:
        """Return what was last put under `name`, or None."""

    def put(self, name: str, value: bytes) -> None:
        """Keep `value`; it must be durable when this returns."""

    def names(self) -> list[str]:
        """Return the names under which something is kept."""

    def delete(self, name: str) -> None:
        """Forget what is kept under `name`, if anything is."""

    def lock(self, name: str) -> AbstractContextManager[None]:
        """The sole right to renew `name`, over all threads and processes that use the store.

        A lease has to live for at least a minute: what is done with it in hand is bounded by
        RENEWAL_SECONDS.
        """

    def try_lock(self, name: str) -> AbstractContextManager[bool]:
        """The same right without a wait; False in the block if somebody else has it."""


class MemoryTokenStore:
    """Tokens of one process, gone with it."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def get(self, name: str) -> bytes | None:
        """Return what was last put under `name`, or None."""
        with self._guard:
            return self._values.get(name)

    def put(self, name: str, value: bytes) -> None:
        """Keep `value` until this process ends."""
        with self._guard:
            self._values[name] = value

    def names(self) -> list[str]:
        """Return the names under which something is kept."""
        with self._guard:
            return sorted(self._values)

    def delete(self, name: str) -> None:
        """Forget what is kept under `name`, if anything is."""
        with self._guard:
            self._values.pop(name, None)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """The sole right to renew `name` in this process."""
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            yield

    @contextmanager
    def try_lock(self, name: str) -> Iterator[bool]:
        """The same right without a wait; False in the block if somebody else has it."""
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        taken = lock.acquire(blocking=False)
        try:
            yield taken
        finally:
            if taken:
                lock.release()


class Token(msgspec.Struct, frozen=True):
    """An access token and, for authorization_code, the refresh token that replaces it.

    Times are aware UTC. `expires_at` is counted from before the request was sent. `ended` is what
    Intacct said when it refused the refresh token: the session is over until a person consents
    again, and no process asks with that token any more. `consented_at` is when the user did, and
    `unanswered_at` when the refresh token was sent and no answer came: both say why it may end.
    """

    access_token: str
    issued_at: datetime
    expires_at: datetime
    refresh_token: str | None = None
    ended: str | None = None
    consented_at: datetime | None = None
    unanswered_at: datetime | None = None

    def __repr__(self) -> str:
        return f"Token(expires_at={self.expires_at.isoformat()})"

    def is_fresh(self, now: datetime, jitter: timedelta) -> bool:
        """Return whether it may be used: it does not end within the margin and `jitter`.

        A token that lives for less than half an hour is used for five sixths of its life.
        """
        margin = min(RENEWAL_MARGIN + jitter, (self.expires_at - self.issued_at) / 6)
        return self.ended is None and now < self.expires_at - margin

    def to_json(self) -> bytes:
        """Return the bytes that a store keeps. They are secret."""
        return msgspec.json.encode(self)


def token_from_json(value: bytes | None) -> Token | None:
    """Return the token that a store kept; None if there is none or it cannot be read any more."""
    if value is None:
        return None
    try:
        return msgspec.json.decode(value, type=Token)
    except UNREADABLE:
        return None
