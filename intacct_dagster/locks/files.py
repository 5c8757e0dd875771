"""Locks on files (`flock`). The operating system ends them with the process that holds them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from intacct_dagster.locks.base import Locks, LockSession, take_within
from intacct_dagster.locks.errors import LocksUnusable
from intacct_dagster.locks.slots import SlotLocks, gate_name, slot_name

_REOPENINGS = 3  # of a lock file that somebody deletes while we take it
_READABLE = 60  # characters of a lock's name that its file shows


class FileLocks(Locks):
    """Locks on the files of a folder, which is made when the first is taken.

    The files stay, and are empty or hold the number of the process that took them last. Whoever
    deletes one does no harm.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def if_free(self, name: str) -> Iterator[bool]:
        """Hold the lock `name` for the length of the block, if nobody else does. Yield whether."""
        held = self.take(name)
        try:
            yield held is not None
        finally:
            if held is not None:
                held.release()

    @contextmanager
    def shared(self, name: str, *, wait_seconds: float) -> Iterator[FileLock]:
        """Hold the lock `name` together with others who share it; nobody holds it exclusively.

        What is yielded may be released before the block ends.

        Raises:
            LockTimeout: Somebody held it exclusively for longer than `wait_seconds`.
        """
        held = take_within(
            lambda: self.take(name, shared=True),
            lambda: self.holder([name]),
            name,
            wait_seconds,
            time.sleep,
        )
        try:
            yield held
        finally:
            held.release()

    def take(self, name: str, *, shared: bool = False) -> FileLock | None:
        """Take a lock at once, or return None if somebody holds it. Raises LocksUnusable."""
        path = self._path(name)
        try:
            for _ in range(_REOPENINGS):
                descriptor = _opened(path)
                held = _locked(descriptor, shared=shared)
                if held is None or _is_at(path, descriptor):
                    return held
                held.release()
        except OSError as error:
            raise LocksUnusable(
                f"The lock file {path} cannot be used: {error.strerror}.\n"
                "Check that its folder may be written to, and that the disk is not full."
            ) from error
        return None

    def holder(self, names: Sequence[str]) -> str:
        """Return who holds these locks, for an error message."""
        found = set()
        for name in names:
            with suppress(OSError):
                found.add(self._path(name).read_text(encoding="ascii").strip())
        known = sorted(each for each in found if each)
        return ", ".join(f"process {pid}" for pid in known) or "another process"

    @contextmanager
    def _session(self) -> Iterator[LockSession]:
        yield self

    def _slot_locks(self, name: str) -> SlotLocks:
        return _FileSlots(self, name)

    def _path(self, name: str) -> Path:
        readable = re.sub(r"[^A-Za-z0-9.-]+", "_", name)[:_READABLE]
        return self._folder / f"{readable}.{hashlib.sha256(name.encode()).hexdigest()[:12]}.lock"


class FileLock:
    """A lock on an open file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let the next one have it. A second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            # A process that was forked meanwhile has the open file as well: to close ours would not
            # be enough.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


def _is_at(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _locked(descriptor: int, *, shared: bool) -> FileLock | None:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        if not shared:
            os.pwrite(descriptor, f"{os.getpid():<12}".encode(), 0)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return FileLock(descriptor)


class _FileSlots:
    """Slots of which each is a file."""

    def __init__(self, files: FileLocks, name: str) -> None:
        self._files = files
        self._name = name
        self._at_gate: FileLock | None = None
        self._held: dict[int, FileLock] = {}

    def attempt(self, among: Sequence[int], *, politely: bool) -> int | None:
        if self._at_gate is None:
            self._at_gate = self._files.take(gate_name(self._name))
        if self._at_gate is None and politely:
            return None
        # In any order: the first ones would otherwise be looked at in vain most of the time.
        for number in random.sample(among, len(among)):
            held = self._files.take(slot_name(self._name, number))
            if held is not None:
                self._held[number] = held
                self.leave_gate()
                return number
        return None

    def leave_gate(self) -> None:
        gate, self._at_gate = self._at_gate, None
        if gate is not None:
            gate.release()

    def release(self, number: int) -> None:
        self._held.pop(number).release()

    def holder(self, numbers: Sequence[int]) -> str:
        return self._files.holder([slot_name(self._name, number) for number in numbers])

    def close(self) -> None:
        """Nothing is open between attempts."""
