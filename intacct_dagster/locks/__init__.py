"""Named locks over all processes that share a state store or a folder, and slots made of them.

A lock ends with its holder, however that ends: the operating system keeps the locks of a local
store (`flock` on files in a folder beside it), the database keeps those of PostgreSQL (advisory
locks, which end with their connection).
"""

from intacct_dagster.locks.errors import LockError, LockTimeout
from intacct_dagster.locks.files import FileLock, FileLocks

__all__ = [
    "FileLock",
    "FileLocks",
    "LockError",
    "LockTimeout",
]
