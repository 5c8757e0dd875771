"""Named locks: what is common to locks on files and locks of a database."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeVar

from intacct_dagster.locks.errors import LockTimeout
from intacct_dagster.locks.slots import SLOT_WAIT_SECONDS, SlotLocks, Slots

# Seconds between two attempts at a lock that is held for seconds or minutes.
_PAUSE = (0.1, 0.3)


class HeldLock(Protocol):
    """A lock that this process holds."""

    def release(self) -> None:
        """Let the next one have it."""
        ...


HeldT = TypeVar("HeldT", bound=HeldLock)


class LockSession(Protocol):
    """What takes locks, and knows who else holds one."""

    def take(self, name: str) -> HeldLock | None:
        """Take a lock at once, or return None if somebody holds it."""
        ...

    def holder(self, names: Sequence[str]) -> str:
        """Return who holds these locks, for an error message."""
        ...


class Locks(ABC):
    """The named locks of one place. Thread-safe; threads exclude each other like processes."""

    @contextmanager
    def exclusive(
        self, name: str, *, wait_seconds: float, sleep: Callable[[float], None] = time.sleep
    ) -> Iterator[None]:
        """Hold the lock `name` for the length of the block.

        Whoever holds it and asks for it again waits for itself.

        Args:
            name: What is done under it, e.g. "posting to accounts-payable/bill of E110".
            wait_seconds: How long another holder is waited for, in seconds.
            sleep: The pause; tests pass their own.

        Raises:
            LockTimeout: Another holder kept it for longer than that.
        """
        with self._session() as session:
            held = take_within(
                lambda: session.take(name),
                lambda: session.holder([name]),
                name,
                wait_seconds,
                sleep,
            )
            try:
                yield
            finally:
                held.release()

    def slots(self, name: str, number: int, *, wait_seconds: float = SLOT_WAIT_SECONDS) -> Slots:
        """Return `number` slots of one name, shared with all who ask for slots of that name.

        Those who ask for fewer share the first of them, so that `number` holds for each.
        """
        return Slots(self._slot_locks(name), name, number, wait_seconds=wait_seconds)

    @abstractmethod
    def _session(self) -> AbstractContextManager[LockSession]: ...

    @abstractmethod
    def _slot_locks(self, name: str) -> SlotLocks: ...


def take_within(
    take: Callable[[], HeldT | None],
    who: Callable[[], str],
    name: str,
    wait_seconds: float,
    sleep: Callable[[float], None],
) -> HeldT:
    waited = 0.0
    while (held := take()) is None:
        if waited >= wait_seconds:
            holder = who()
            raise LockTimeout(
                f"The lock for {name} is held by {holder}; waited {waited:.0f} s for it.",
                "Wait until that run has ended, or end it, and start this one again. Nothing was "
                "changed.",
                holder=holder,
                waited=waited,
            )
        pause = random.uniform(*_PAUSE)  # noqa: S311 - jitter, not a secret
        sleep(pause)
        waited += pause
    return held
