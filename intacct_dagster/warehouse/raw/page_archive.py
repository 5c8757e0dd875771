"""Raw pages kept for a while, so that raw tables can be made again without asking Intacct.

With them goes what a load does not say: the catalogue of its object, and what sweeps found deleted
(`<object>/<entity>/sweep/<when>-<run>/sweep.json`). A record that is in a kept page was deleted
after that page was read, so the sweep that found it is kept as long.

One folder for each load, `<object>/<entity>/<first day>_<last day>/<when>-<run>`: the pages as they
came, compressed with zstd, and `load.json` with everything else that the load was given: columns,
days, proof. It appears when the load is in the warehouse, whole or not at all.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

import msgspec

from intacct_dagster.pages import pack, unpack
from intacct_dagster.warehouse.database import Warehouse
from intacct_dagster.warehouse.errors import KeptPagesUnreadable
from intacct_dagster.warehouse.raw.deletes import Sweep, store_sweep
from intacct_dagster.warehouse.raw.load import (
    LoadResult,
    RawLoad,
    load_raw,
    table_name,
)
from intacct_dagster.warehouse.raw.schema import CatalogueField, read_catalogue, store_catalogue

T = TypeVar("T")

_MANIFEST: Final = "load.json"
_SWEEP: Final = "sweep.json"
_UNFINISHED: Final = ".unfinished"
#: A folder of a process that ended before its load did.
_UNFINISHED_KEPT: Final = timedelta(days=2)


class _Manifest(msgspec.Struct):
    kept_at: datetime
    #: nanoseconds of the clock when it was kept: the order in which loads are done again
    order: int
    #: `files` are names in the folder, without ".zst"
    load: RawLoad
    #: what was known of the object's fields; nothing in folders of an older version
    catalogue: tuple[CatalogueField, ...] = ()


class _KeptSweep(msgspec.Struct):
    kept_at: datetime
    order: int
    sweep: Sweep


@dataclass(frozen=True, slots=True)
class KeptLoad:
    """A load whose pages are kept in `folder`; its `files` have to be unpacked first."""

    folder: Path
    kept_at: datetime
    order: int
    load: RawLoad
    catalogue: tuple[CatalogueField, ...] = ()


@dataclass(frozen=True, slots=True)
class KeptSweep:
    """What a sweep found, kept in `folder`."""

    folder: Path
    kept_at: datetime
    order: int
    sweep: Sweep


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was made again: `loads` of pages, tombstones of `sweeps`, the catalogue of `objects`."""

    loads: int
    sweeps: int
    objects: tuple[str, ...]


class KeptPages:
    """The kept pages below `root`, each folder for as long as `keep` says. `now` is aware."""

    def __init__(
        self, root: Path, keep: timedelta, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.root = root
        self._keep = keep
        self._now = now

    @contextmanager
    def keeping(self, load: RawLoad, catalogue: Sequence[CatalogueField] = ()) -> Iterator[None]:
        """Keeps the pages of a load that is done in this block, if it ends well, and what is known
        of the fields of its object."""
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
            manifest = _Manifest(self._now(), order, kept, tuple(catalogue))
            (unfinished / _MANIFEST).write_bytes(_encoded(manifest))
            yield
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        unfinished.rename(folder)

    def keep_sweep(self, sweep: Sweep) -> None:
        """Keeps what a sweep found, for as long as pages."""
        order = time.time_ns()
        where = self.root / table_name(sweep.object) / _quoted(sweep.entity) / "sweep"
        folder = where / f"{self._now():%Y%m%dT%H%M%S}-{order}-{quote(sweep.run_id, safe='')}"
        unfinished = folder.with_name(folder.name + _UNFINISHED)
        unfinished.mkdir(parents=True)
        kept = _KeptSweep(self._now(), order, sweep)
        (unfinished / _SWEEP).write_bytes(_encoded(kept))
        unfinished.rename(folder)

    def prune(self) -> int:
        """Deletes what was kept long enough, and what was never finished. Gives how many went."""
        gone = 0
        kept: list[KeptLoad | KeptSweep] = [*kept_loads(self.root), *kept_sweeps(self.root)]
        for each in kept:
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
    found = [
        KeptLoad(file.parent, kept.kept_at, kept.order, kept.load, kept.catalogue)
        for file, kept in _kept(root, _MANIFEST, _Manifest)
    ]
    return sorted(found, key=lambda each: each.order)


def kept_sweeps(root: Path) -> list[KeptSweep]:
    """The sweeps that are kept below `root`, in their order. Raises KeptPagesUnreadable."""
    found = [
        KeptSweep(file.parent, kept.kept_at, kept.order, kept.sweep)
        for file, kept in _kept(root, _SWEEP, _KeptSweep)
    ]
    return sorted(found, key=lambda each: each.order)


def _kept(root: Path, name: str, kind: type[T]) -> Iterator[tuple[Path, T]]:
    for file in root.glob(f"*/*/*/*/{name}"):
        if file.parent.name.endswith(_UNFINISHED):
            continue
        try:
            yield file, msgspec.json.decode(file.read_bytes(), type=kind, dec_hook=_text_as_path)
        except FileNotFoundError:  # another process has just deleted it
            continue
        except (OSError, msgspec.DecodeError, ValueError) as error:
            raise KeptPagesUnreadable(file, str(error)) from None


def rebuild(
    file: Warehouse,
    root: Path,
    *,
    objects: Collection[str] = (),
    entities: Collection[str] = (),
    done: Callable[[RawLoad, LoadResult], None] = lambda _load, _result: None,
) -> Rebuilt:
    """Does every kept load and sweep again, in order, with all its proofs.

    Partitions whose pages are kept are replaced, others stay; so do tombstones. An object that
    `meta.catalogue` does not know gets the newest catalogue that is kept of it. Without `objects`
    or `entities` it is all of them. `done` hears of each load. Raises KeptPagesUnreadable,
    LoadRefused, WarehouseLocked.
    """

    def wanted(what: RawLoad | Sweep) -> bool:
        return (not objects or what.object in objects) and (not entities or what.entity in entities)

    loads = [each for each in kept_loads(root) if wanted(each.load)]
    sweeps = [each for each in kept_sweeps(root) if wanted(each.sweep)]
    both: list[KeptLoad | KeptSweep] = [*loads, *sweeps]
    for each in sorted(both, key=lambda kept: kept.order):
        if isinstance(each, KeptSweep):
            store_sweep(file, each.sweep)
            continue
        with tempfile.TemporaryDirectory(prefix="intacct_dagster_") as scratch:
            into, load = Path(scratch), each.load
            load = replace(load, files=[_unpack(each.folder, f.name, into) for f in load.files])
            if load.parents is not None:
                documents = _unpack(each.folder, load.parents.file.name, into)
                load = replace(load, parents=replace(load.parents, file=documents))
            done(load, load_raw(file, load, again=True))
    known = read_catalogue(file)
    fields = {kept.load.object: kept.catalogue for kept in loads if kept.catalogue}
    lost = {name: kept for name, kept in fields.items() if name not in known}
    store_catalogue(file, lost)
    return Rebuilt(len(loads), len(sweeps), tuple(sorted(lost)))


def _left_alone(folder: Path) -> bool:
    """Whether nothing was put there for so long that nobody is about to."""
    with suppress(OSError):
        changed = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
        return datetime.now(UTC) - changed > _UNFINISHED_KEPT  # the clock of the disk
    return False


def _below(load: RawLoad) -> Path:
    days = f"{min(load.days)}_{max(load.days)}"
    return Path(table_name(load.object), _quoted(load.entity), days)


def _quoted(entity: str) -> str:
    return quote(entity, safe="").replace(".", "%2E")


def _encoded(kept: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(kept, enc_hook=_path_as_text))


def _pack(file: Path, folder: Path, number: int) -> str:
    name = f"{number:06}.json"
    pack(file, folder / f"{name}.zst")
    return name


def _unpack(folder: Path, name: str, into: Path) -> Path:
    packed = folder / f"{name}.zst"
    try:
        unpack(packed, into / name)
    except (OSError, ValueError) as error:
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
