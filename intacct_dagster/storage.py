"""What ails the disk, in words: full, read-only, failing, or with a damaged file.

Any write may meet it: of the state store, of the warehouse, of a page, of a temporary file. So it
is recognized in one place, at the border to Dagster and to the command line.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

_FULL = "The disk is full"
_READ_ONLY = "The disk, or the file, is read-only"
_FAILING = "The disk fails"
_DAMAGED = "A file is damaged"

_BY_NUMBER = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: _READ_ONLY,
    errno.EIO: _FAILING,
}
#: What SQLite, PostgreSQL and DuckDB say of it.
_BY_TEXT = (
    (
        re.compile(r"disk is full|No space left on device|not extend file", re.IGNORECASE),
        _FULL,
    ),
    (re.compile(r"readonly database|Read-only file system", re.IGNORECASE), _READ_ONLY),
    (re.compile(r"disk I/O error|Input/output error", re.IGNORECASE), _FAILING),
    (
        re.compile(
            r"image is malformed|is not a database|not a valid DuckDB database|corrupt|checksum",
            re.IGNORECASE,
        ),
        _DAMAGED,
    ),
)
_OF_DATABASES = ("sqlite3", "sqlalchemy", "duckdb", "_duckdb", "psycopg", "psycopg2")

_REMEDIES = {
    _FULL: "Free space on the disks of the warehouse, of the state store and of temporary files "
    "(TMPDIR), and run it again.",
    _READ_ONLY: "Make it writable, and run it again.",
    _FAILING: "Look at the system's log, and copy the state store elsewhere first "
    "(`intacct-dagster state backup`).",
    _DAMAGED: "If it is the state store, put its backup back (`intacct-dagster state restore`, "
    "then `state compare`). If it is the warehouse, put a copy back, or move it away and run "
    "`intacct-dagster state pair` and a backfill.",
}


def storage_trouble(error: BaseException) -> str | None:
    """Return what an error says of the disk, and what to do; None if it is about something else.

    Nothing is half-written when such an error is raised: what was not finished is done again by the
    next run, and what was sent to Intacct is looked for there.
    """
    for each in _chain(error):
        what = _recognized(each)
        if what is not None:
            file = getattr(each, "filename", None)
            said = str(getattr(each, "orig", None) or each).splitlines()[0][:300]
            where = f" ({file}: {said})" if file and str(file) not in said else f" ({said})"
            return (
                f"{what}{where}. What was not finished is done again by the next run. "
                f"{_REMEDIES[what]}"
            )
    return None


def _recognized(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in _BY_NUMBER:
        return _BY_NUMBER[error.errno]
    if type(error).__module__.partition(".")[0] not in _OF_DATABASES:
        return None
    text = str(error)
    return next((what for pattern, what in _BY_TEXT if pattern.search(text)), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    left: BaseException | None = error
    while left is not None and id(left) not in seen:
        seen.add(id(left))
        yield left
        left = left.__cause__ or left.__context__
