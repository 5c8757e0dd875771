"""Slots: a number of locks of which a holder takes any that is free."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from intacct_dagster.locks.errors import LockTimeout

#: Seconds that a request for a slot waits by default. A slow batch may hold one for minutes.
SLOT_WAIT_SECONDS: Final = 600.0

# Seconds between two attempts at a slot, which is held for the length of a request: the first pause
# and the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02

# Seconds for which we let another process go first. It takes a fraction of that to take a slot; one
# that is stopped, or that waits for a disk, must not keep the others from slots that are free.
_POLITE_SECONDS = 2.0


class Slots:
    """A number of locks of which a holder takes any that is free. Thread-safe.

    The threads of this process get theirs in the order in which they asked. Processes take turns
    in no fixed order, but one that gives a slot back cannot take it again before one that waits:
    whoever finds no slot takes the *gate*, a lock that everybody passes on the way to a slot.
    """

    def __init__(self, locks: SlotLocks, name: str, number: int, *, wait_seconds: float) -> None:
        self.number = number
        self._locks = locks
        self._name = name
        self._wait_seconds = wait_seconds
        self._line: deque[object] = deque()
        self._mine: set[int] = set()
        self._changed = threading.Condition()

    @contextmanager
    def slot(self, wait_seconds: float | None = None) -> Iterator[None]:
        """Hold a slot for the length of the block.

        Args:
            wait_seconds: How long one is waited for; None is what the slots were made with.

        Raises:
            LockTimeout: No slot became free within that time.
            LocksUnusable: The locks cannot be reached.
        """
        number = self._take(self._wait_seconds if wait_seconds is None else wait_seconds)
        try:
            yield
        finally:
            self._locks.release(number)
            with self._changed:
                self._mine.discard(number)
                self._changed.notify_all()

    def close(self) -> None:
        """Close the connection to the database that keeps the locks, if one does."""
        self._locks.close()

    def _take(self, wait_seconds: float) -> int:
        asked = time.monotonic()
        deadline = asked + wait_seconds
        ticket = object()
        with self._changed:
            self._line.append(ticket)
        try:
            with self._changed:
                first = self._changed.wait_for(lambda: self._line[0] is ticket, wait_seconds)
            number = self._look_until(deadline) if first else None
            if number is None:
                raise self._timeout(time.monotonic() - asked)
            return number
        finally:
            with self._changed:
                self._line.remove(ticket)
                self._changed.notify_all()

    def _look_until(self, deadline: float) -> int | None:
        polite_until = time.monotonic() + _POLITE_SECONDS
        pause = _FIRST_PAUSE
        try:
            while True:
                now = time.monotonic()
                with self._changed:
                    among = [each for each in range(self.number) if each not in self._mine]
                number = self._locks.attempt(among, politely=now < polite_until)
                if number is not None:
                    with self._changed:
                        self._mine.add(number)
                    return number
                if now >= deadline:
                    return None
                with self._changed:  # a slot that this process gives back ends the pause
                    self._changed.wait(random.uniform(0.5, 1) * pause)  # noqa: S311 - jitter
                pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self._locks.leave_gate()

    def _timeout(self, waited: float) -> LockTimeout:
        holder = self._locks.holder(range(self.number))
        return LockTimeout(
            f"None of the {self.number} slots for {self._name} became free within {waited:.0f} s: "
            f"they are held by {holder}.",
            "End what hangs there, or run fewer things at once, and start this one again.",
            holder=holder,
            waited=waited,
        )


class SlotLocks(Protocol):
    """The locks behind slots. One thread at a time calls `attempt` and `leave_gate`."""

    def attempt(self, among: Sequence[int], *, politely: bool) -> int | None:
        """Take one of the slots `among` and return its number, or None if none could be taken.

        Afterwards the gate is held if no slot was free and nobody else has it. `politely` takes no
        slot while somebody else has the gate.
        """
        ...

    def leave_gate(self) -> None:
        """Let others pass; nothing if the gate is not held."""
        ...

    def release(self, number: int) -> None:
        """Give a slot back."""
        ...

    def holder(self, numbers: Sequence[int]) -> str:
        """Return who holds these slots, for an error message."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


def gate_name(name: str) -> str:
    return f"{name}, gate"


def slot_name(name: str, number: int) -> str:
    return f"{name}, slot {number + 1}"
