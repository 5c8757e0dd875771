"""What can go wrong with locks. Each message says who holds the lock and what to do next."""

from __future__ import annotations


class LockError(Exception):
    """A lock could not be taken. Nothing was changed when this is raised."""


class LockTimeout(LockError):
    """Somebody else held a lock, or all slots, for longer than we wait.

    `holder` says who, as far as that is known; `waited` is in seconds.
    """

    def __init__(self, reason: str, remedy: str, *, holder: str, waited: float) -> None:
        self.reason = reason
        self.remedy = remedy
        self.holder = holder
        self.waited = waited
        super().__init__(f"{reason}\n{remedy}")


class LocksUnusable(LockError):
    """The folder or the database that keeps the locks cannot be reached or written."""
