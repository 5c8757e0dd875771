"""Raw pages kept for a while, so that raw tables can be made again without asking Intacct.

One folder for each load, `<object>/<entity>/<first day>_<last day>/<when>-<run>`: the pages as they
came, compressed with zstd, and `load.json` with everything else that the load was given: columns,
days, proof. It appears when the load is in the warehouse, whole or not at all.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from intacct_dagster.pages import PAGE
from intacct_dagster.warehouse.duckdb_file import DuckDBFile
from intacct_dagster.warehouse.errors import KeptPagesUnreadable
from intacct_dagster.warehouse.raw import LoadResult, RawLoad, load_raw, table_name

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_MANIFEST: Final = "load.json"
_UNFINISHED: Final = ".unfinished"
#: A folder of a process that ended before its load did.
_UNFINISHED_KEPT: Final = timedelta(days=2)


class _Manifest(msgspec.Struct):
    kept_at: datetime
    #: nanoseconds of the clock when it was kept: the order in which loads are done again
    order: int
    #: `files` are names in the folder, without ".zst"
    load: RawLoad


@dataclass(frozen=True, slots=True)
class KeptLoad:
    """A load whose pages are kept in `folder`; its `files` have to be unpacked first."""

    folder: Path
    kept_at: datetime
    order: int
    load: RawLoad


class KeptPages:
    """The kept pages below `root`, each folder for as long as `keep` says. `now` is aware."""

    def __init__(
        self, root: Path, keep: timedelta, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.root = root
        self._keep = keep
        self._now = now

    @contextmanager
    def keeping(self, load: RawLoad) -> Iterator[None]:
        """Keeps the pages of a load that is done in this block, if it ends well."""
        order = time.time_ns()
        where = self.root / _below(load)
        where.mkdir(parents=True, exist_ok=True)
        folder = where / f"{self._now():%Y%m%dT%H%M%S}-{order}-{quote(load.run_id, safe='')}"
        unfinished = folder.with_name(folder.name + _UNFINISHED)
        unfinished.mkdir()
        try:
            names = [_pack(file, unfinished, n) for n, file in enumerate(load.files, start=1)]
            kept = replace(load, files=[Path(name) for name in names])
            if load.parents is not None:
                documents = Path(_pack(load.parents.file, unfinished, len(names) + 1))
                kept = replace(kept, parents=replace(load.parents, file=documents))
            manifest = _Manifest(self._now(), order, kept)
            (unfinished / _MANIFEST).write_bytes(
                msgspec.json.format(msgspec.json.encode(manifest, enc_hook=_path_as_text))
            )
            yield
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        unfinished.rename(folder)

    def prune(self) -> int:
        """Deletes what was kept long enough, and what was never finished. Gives how many went."""
        gone = 0
        for each in kept_loads(self.root):
            if each.kept_at + self._keep <= self._now():
                shutil.rmtree(each.folder, ignore_errors=True)
                gone += 1
        for folder in self.root.glob(f"*/*/*/*{_UNFINISHED}"):
            if _left_alone(folder):
                shutil.rmtree(folder, ignore_errors=True)
        for folder in self.root.glob("*/*/*"):
            if _left_alone(folder):
                with suppress(OSError):  # it is not empty
                    folder.rmdir()
        return gone


def kept_loads(root: Path) -> list[KeptLoad]:
    """What is kept below `root`, in the order in which it was loaded.

    Raises KeptPagesUnreadable for a folder that cannot be understood.
    """
    found = []
    for file in root.glob(f"*/*/*/*/{_MANIFEST}"):
        if file.parent.name.endswith(_UNFINISHED):
            continue
        try:
            manifest = msgspec.json.decode(
                file.read_bytes(), type=_Manifest, dec_hook=_text_as_path
            )
        except FileNotFoundError:  # another process has just deleted it
            continue
        except (OSError, msgspec.DecodeError, ValueError) as error:
            raise KeptPagesUnreadable(file, str(error)) from None
        found.append(KeptLoad(file.parent, manifest.kept_at, manifest.order, manifest.load))
    return sorted(found, key=lambda each: each.order)


def rebuild(
    file: DuckDBFile,
    root: Path,
    *,
    objects: Collection[str] = (),
    entities: Collection[str] = (),
    done: Callable[[RawLoad, LoadResult], None] = lambda _load, _result: None,
) -> int:
    """Does every kept load again, in order, with all its proofs; gives how many.

    Partitions whose pages are kept are replaced, others stay. Without `objects` or `entities` it
    is all of them. `done` hears of each. Raises KeptPagesUnreadable, LoadRefused, WarehouseLocked.
    """
    wanted = [
        each
        for each in kept_loads(root)
        if (not objects or each.load.object in objects)
        and (not entities or each.load.entity in entities)
    ]
    for each in wanted:
        with tempfile.TemporaryDirectory(prefix="intacct_dagster_") as scratch:
            into, load = Path(scratch), each.load
            load = replace(load, files=[_unpack(each.folder, f.name, into) for f in load.files])
            if load.parents is not None:
                documents = _unpack(each.folder, load.parents.file.name, into)
                load = replace(load, parents=replace(load.parents, file=documents))
            done(load, load_raw(file, load, again=True))
    return len(wanted)


def _left_alone(folder: Path) -> bool:
    """Whether nothing was put there for so long that nobody is about to."""
    with suppress(OSError):
        changed = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
        return datetime.now(UTC) - changed > _UNFINISHED_KEPT  # the clock of the disk
    return False


def _below(load: RawLoad) -> Path:
    days = f"{min(load.days)}_{max(load.days)}"
    return Path(table_name(load.object), quote(load.entity, safe="").replace(".", "%2E"), days)


def _pack(file: Path, folder: Path, number: int) -> str:
    name = f"{number:06}.json"
    packed = folder / f"{name}.zst"
    if file.name.endswith(PAGE):
        shutil.copyfile(file, packed)
        return name
    with file.open("rb") as page, zstd.open(packed, "wb") as into:
        shutil.copyfileobj(page, into)
    return name


def _unpack(folder: Path, name: str, into: Path) -> Path:
    packed = folder / f"{name}.zst"
    try:
        with zstd.open(packed, "rb") as content, (into / name).open("wb") as page:
            shutil.copyfileobj(content, page)
    except (OSError, EOFError, zstd.ZstdError) as error:
        raise KeptPagesUnreadable(packed, str(error)) from None
    return into / name


def _path_as_text(value: object) -> object:
    if isinstance(value, Path):
        return value.name
    raise TypeError(f"{value!r} cannot be written")


def _text_as_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str) and value == Path(value).name:
        return Path(value)
    raise ValueError(f"{value!r} is not the name of a page")
