"""Folders for pages that are read and not loaded yet; they outlive an interruption."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from intacct_dagster.client import AnswerNotUnderstood, PaginationIncomplete, WrongEntity
from intacct_dagster.locks import FileLocks
from intacct_dagster.warehouse import LoadRefused

_KEPT: Final = timedelta(days=2)


@contextmanager
def spool(warehouse: Path, *names: str) -> Iterator[Path]:
    """Yield a folder for pages, which outlives an interruption: the same names find it again.

    It lies beside the warehouse: the same disk, which is known to have room for the data. It is
    emptied when the block ends well, or with rows that cannot be used.
    """
    spools = warehouse.parent / ".spool"
    spools.mkdir(parents=True, exist_ok=True)
    _delete_old(spools)
    name = hashlib.sha256("\0".join(names).encode()).hexdigest()[:24]
    folder = spools / name
    with FileLocks(spools).if_free(name) as ours:
        if not ours:  # another process reads the very same: do not touch its pages
            folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=spools))
        folder.mkdir(exist_ok=True)
        try:
            yield folder
        except (LoadRefused, WrongEntity, PaginationIncomplete, AnswerNotUnderstood):
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def began(folder: Path, now: Callable[[], datetime]) -> datetime:
    """Return when reading into this folder began, also if that was before an interruption."""
    return remembered(folder, "began", now())


def remembered(folder: Path, name: str, moment: datetime) -> datetime:
    """Return the moment that this folder remembers by `name`; at first that is `moment`."""
    file = folder / name
    with suppress(OSError, ValueError):
        return datetime.fromisoformat(file.read_text(encoding="utf-8"))
    file.write_text(moment.isoformat(), encoding="utf-8")
    return moment


def _delete_old(spools: Path) -> None:
    """Delete what was interrupted so long ago that nobody will go on with it."""
    now = datetime.now(UTC)  # the clock of the disk, whatever the extractor's is
    for folder in spools.iterdir():
        with suppress(OSError):
            age = now - datetime.fromtimestamp(folder.stat().st_mtime, UTC)
            if age > _KEPT:
                shutil.rmtree(folder, ignore_errors=True)
                folder.unlink(missing_ok=True)
