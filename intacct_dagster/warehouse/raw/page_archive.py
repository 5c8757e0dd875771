"""The page archive: raw pages kept for a while, so that raw tables can be rebuilt without Intacct.

With them goes what a load does not say: the schema of its object, and what delete scans found
(`<object>/<entity>/sweep/<when>-<run>/sweep.json`). A record that is in a kept page was deleted
after that page was read, so the delete scan that found it is kept as long.

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
from intacct_dagster.warehouse.errors import PageArchiveUnreadable
from intacct_dagster.warehouse.raw.delete_scans import store_delete_scan
from intacct_dagster.warehouse.raw.deletes import DeleteScan
from intacct_dagster.warehouse.raw.entities import former_ids
from intacct_dagster.warehouse.raw.load import load_raw
from intacct_dagster.warehouse.raw.names import table_name
from intacct_dagster.warehouse.raw.raw_load import RawLoad
from intacct_dagster.warehouse.raw.schema import SchemaField, read_schemas, store_schemas

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
    schema: tuple[SchemaField, ...] = msgspec.field(name="catalogue", default=())


class _DeleteScanManifest(msgspec.Struct):
    kept_at: datetime
    order: int
    scan: DeleteScan = msgspec.field(name="sweep")


@dataclass(frozen=True, slots=True)
class ArchivedLoad:
    """A load whose pages are kept in `folder`; its `files` have to be unpacked first."""

    folder: Path
    kept_at: datetime
    order: int
    load: RawLoad
    schema: tuple[SchemaField, ...] = ()


@dataclass(frozen=True, slots=True)
class ArchivedDeleteScan:
    """What a delete scan found, kept in `folder`."""

    folder: Path
    kept_at: datetime
    order: int
    scan: DeleteScan


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was rebuilt: `loads` of pages, tombstones of `delete_scans`, the schema of `objects`."""

    loads: int
    delete_scans: int
    objects: tuple[str, ...]


class PageArchive:
    """The pages kept below `root`, each folder for as long as `keep` says. `now` is aware."""

    def __init__(
        self, root: Path, keep: timedelta, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.root = root
        self._keep = keep
        self._now = now

    @contextmanager
    def keeping(self, load: RawLoad, schema: Sequence[SchemaField] = ()) -> Iterator[None]:
        """Keep the pages of a load that is done in this block, if it ends well.

        Also what is known of the fields of its object, `schema`.
        """
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
            manifest = _Manifest(self._now(), order, kept, tuple(schema))
            (unfinished / _MANIFEST).write_bytes(_encoded(manifest))
            yield
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        unfinished.rename(folder)

    def keep_delete_scan(self, scan: DeleteScan) -> None:
        """Keep what a delete scan found, for as long as pages."""
        order = time.time_ns()
        where = self.root / table_name(scan.object) / _quoted(scan.entity) / "sweep"
        folder = where / f"{self._now():%Y%m%dT%H%M%S}-{order}-{quote(scan.run_id, safe='')}"
        unfinished = folder.with_name(folder.name + _UNFINISHED)
        unfinished.mkdir(parents=True)
        kept = _DeleteScanManifest(self._now(), order, scan)
        (unfinished / _SWEEP).write_bytes(_encoded(kept))
        unfinished.rename(folder)

    def prune(self) -> int:
        """Delete what was kept long enough, and what was never finished; return how many went."""
        gone = 0
        kept: list[ArchivedLoad | ArchivedDeleteScan] = [
            *archived_loads(self.root),
            *archived_delete_scans(self.root),
        ]
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


def archived_loads(root: Path) -> list[ArchivedLoad]:
    """Return what is kept below `root`, in the order in which it was loaded.

    Raises PageArchiveUnreadable for a folder that cannot be understood.
    """
    found = [
        ArchivedLoad(file.parent, kept.kept_at, kept.order, kept.load, kept.schema)
        for file, kept in _kept(root, _MANIFEST, _Manifest)
    ]
    return sorted(found, key=lambda each: each.order)


def archived_delete_scans(root: Path) -> list[ArchivedDeleteScan]:
    """Return the delete scans kept below `root`, in order. Raises PageArchiveUnreadable."""
    found = [
        ArchivedDeleteScan(file.parent, kept.kept_at, kept.order, kept.scan)
        for file, kept in _kept(root, _SWEEP, _DeleteScanManifest)
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
            raise PageArchiveUnreadable(file, str(error)) from None


def rebuild(
    file: Warehouse,
    root: Path,
    *,
    objects: Collection[str] = (),
    entities: Collection[str] = (),
    on_loaded: Callable[[RawLoad, int], None] = lambda _load, _rows: None,
) -> Rebuilt:
    """Do every kept load and delete scan again, in order, with all its proofs.

    What is in the warehouse already is not loaded twice. An object that
    `meta.catalogue` does not know gets the newest schema that is kept of it. What was kept of an
    entity under a former id is recorded under its present one, if the warehouse knows that (see
    `know_entities`). Without `objects` or `entities` it is all of them. `on_loaded` is called with
    each load and its rows. Raises PageArchiveUnreadable, LoadRefused, WarehouseLocked.
    """
    former = former_ids(file)

    def wanted(what: RawLoad | DeleteScan) -> bool:
        ids = {what.entity, former.get(what.entity, what.entity)}
        return (not objects or what.object in objects) and (
            not entities or ids & set(entities) != set()
        )

    loads = [each for each in archived_loads(root) if wanted(each.load)]
    scans = [each for each in archived_delete_scans(root) if wanted(each.scan)]
    both: list[ArchivedLoad | ArchivedDeleteScan] = [*loads, *scans]
    for each in sorted(both, key=lambda kept: kept.order):
        if isinstance(each, ArchivedDeleteScan):
            store_delete_scan(file, each.scan, again=True)
            continue
        with tempfile.TemporaryDirectory(prefix="intacct_dagster_") as scratch:
            into, load = Path(scratch), each.load
            load = replace(load, files=[_unpack(each.folder, f.name, into) for f in load.files])
            if load.parents is not None:
                documents = _unpack(each.folder, load.parents.file.name, into)
                load = replace(load, parents=replace(load.parents, file=documents))
            rows_by_day, _ = load_raw(file, load, again=True)
            on_loaded(load, sum(rows_by_day.values()))
    known = read_schemas(file)
    fields = {kept.load.object: kept.schema for kept in loads if kept.schema}
    lost = {name: kept for name, kept in fields.items() if name not in known}
    store_schemas(file, lost)
    return Rebuilt(len(loads), len(scans), tuple(sorted(lost)))


def _left_alone(folder: Path) -> bool:
    """Return whether nothing was put there for so long that nobody is about to."""
    with suppress(OSError):
        changed = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
        return datetime.now(UTC) - changed > _UNFINISHED_KEPT  # the clock of the disk
    return False


def _below(load: RawLoad) -> Path:
    days = f"{min(load.days)}_{max(load.days)}" if load.days else "by-key"
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
        raise PageArchiveUnreadable(packed, str(error)) from None
    return into / name


def _path_as_text(value: object) -> object:
    if isinstance(value, Path):
        return value.name
    raise TypeError(f"{value!r} cannot be written")


def _text_as_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str) and value == Path(value).name:
        return Path(value)
    raise ValueError(f"{value!r} is not the name of a page")
