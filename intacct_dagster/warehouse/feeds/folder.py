"""Where a feed's files lie: a folder, or any place that fsspec reaches.

What lies elsewhere is copied beside the warehouse before it is read, so that reading is the same.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
from fsspec.registry import known_implementations

from intacct_dagster.warehouse.errors import FeedError
from intacct_dagster.warehouse.feeds.files import find_files
from intacct_dagster.warehouse.feeds.spec import FeedSpec

_COPIES = ".copies.json"
_CHANGED = (
    # what fsspec's file systems call the time of the last change, or a mark of the content
    "ETag",
    "etag",
    "md5Hash",
    "mtime",
    "LastModified",
    "last_modified",
    "updated",
    "modified",
    "created",
)


class Stamp(NamedTuple):
    """What tells one state of a file from another without reading it."""

    size: int
    changed: str


@dataclass(frozen=True)
class FeedFolder:
    """The files of a feed. Relative patterns are of `folder`; copies are kept in `inbox`.

    Files are named as `feed.<feed>._file` has them. Every method raises FeedError where the place
    cannot be listed or read.
    """

    spec: FeedSpec
    folder: Path
    inbox: Path

    @property
    def is_elsewhere(self) -> bool:
        """Whether the files are reached by URLs."""
        return any("://" in pattern for pattern in self.spec.files)

    def look(self) -> dict[str, Stamp]:
        """The files that are there now, by name. Directories and hidden files are left out."""
        if self.is_elsewhere:
            return {name: stamp for name, (_, _, stamp) in self._listed().items()}
        self._is_there()
        found: dict[str, Stamp] = {}
        for path in find_files(self.spec, self.folder):
            try:
                status = path.stat()
            except OSError:  # it vanished, or may not be looked at: reading it will tell
                continue
            if path.is_file():
                name = path.relative_to(self.folder).as_posix()
                found[name] = Stamp(status.st_size, str(status.st_mtime_ns))
        return found

    def fetch(self) -> tuple[FeedSpec, Path]:
        """Return the spec and the folder to read the files by; bring copies up to date first."""
        if not self.is_elsewhere:
            self._is_there()
            return self.spec, self.folder
        copies = self.inbox / self.spec.name
        copies.mkdir(parents=True, exist_ok=True)
        listed = self._listed()
        held = _read_stamps(copies)
        for name, (system, path, stamp) in listed.items():
            local = copies / name
            if held.get(name) != stamp or not local.is_file():
                local.parent.mkdir(parents=True, exist_ok=True)
                coming = local.with_name(f".{local.name}.{os.getpid()}")
                with self._reaching(path):
                    system.get_file(path, str(coming))
                coming.replace(local)
        for name in held.keys() - listed.keys():
            (copies / name).unlink(missing_ok=True)
        _write_stamps(copies, {name: stamp for name, (_, _, stamp) in listed.items()})
        patterns = tuple(glob.escape(name) for name in listed)
        return replace(self.spec, files=patterns or ("no file is there",)), copies

    def fingerprints(self, names: Collection[str]) -> dict[str, str]:
        """SHA-256 of the content of these files; one that has gone meanwhile is not among them."""
        _, folder = self.fetch()
        found: dict[str, str] = {}
        for name in names:
            try:
                with (folder / name).open("rb") as stream:
                    found[name] = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError:
                continue
        return found

    def _is_there(self) -> None:
        """Raise FileNotFoundError for a folder that is missing, as when its disk is not mounted."""
        for pattern in self.spec.files:
            with self._reaching(pattern):
                if not (self.folder / _before_wildcards(pattern)).is_dir():
                    raise FileNotFoundError(pattern)

    def _listed(self) -> dict[str, tuple[Any, str, Stamp]]:
        """(file system, path, stamp) of each file by the part of its path that the patterns leave
        open."""
        listed: dict[str, tuple[Any, str, Stamp]] = {}
        for pattern in self.spec.files:
            with self._reaching(pattern):
                system, path = fsspec.core.url_to_fs(pattern)
                # a listing that is kept would hide what is new
                system.invalidate_cache()
                found: Mapping[str, Mapping[str, Any]] = system.glob(path, detail=True)
                parent = _before_wildcards(path)
                # An object store has buckets and no folders: without an object there is none.
                is_tree = path.startswith("/") or "://" in path
                place = parent if is_tree else parent.split("/")[0]
                if not found and not system.exists(place or "/"):
                    # A listing of what is not there is empty, as if all files had vanished.
                    raise FileNotFoundError(place)
            for each, info in sorted(found.items()):
                name = each.removeprefix(parent).lstrip("/")
                if info.get("type") == "file" and not name.rpartition("/")[2].startswith("."):
                    changed = next((info[key] for key in _CHANGED if info.get(key)), "")
                    listed[name] = (system, each, Stamp(int(info.get("size") or 0), str(changed)))
        return listed

    @contextmanager
    def _reaching(self, where: str) -> Iterator[None]:
        shown = without_password(where)
        protocol = where.partition("://")[0]
        try:
            yield
        except ImportError:
            known = known_implementations.get(protocol, {})
            raise FeedError(
                self.spec.name,
                f"{shown} cannot be reached: the package that reads {protocol}:// is missing",
                f"{known.get('err', f'Install the fsspec package for {protocol}')} "
                "(docs/feeds.md names it).",
                file=shown,
            ) from None
        except FileNotFoundError:
            raise FeedError(
                self.spec.name,
                f"{shown} is not there",
                "Check the address, and that its disk is mounted. Nothing is held to be gone.",
                file=shown,
            ) from None
        except Exception as error:  # each file system has errors of its own
            # It may keep a connection that has ended: the next look makes another.
            with suppress(Exception):
                fsspec.get_filesystem_class(protocol).clear_instance_cache()
            raise FeedError(
                self.spec.name,
                f"{shown} cannot be reached ({type(error).__name__})",
                "Check the address, and the credentials in the environment: docs/feeds.md.",
                file=shown,
            ) from None


def without_password(url: str) -> str:
    """Return a URL as it may be shown: without the user and the password in it."""
    return re.sub(r"://[^/]*@", "://…@", url)


def _before_wildcards(pattern: str) -> str:
    """Return the folder that a pattern begins with."""
    return re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]


def _read_stamps(copies: Path) -> dict[str, Stamp]:
    try:
        held = json.loads((copies / _COPIES).read_text(encoding="utf-8"))
        return {name: Stamp(*stamp) for name, stamp in held.items()}
    except (OSError, ValueError, TypeError):
        return {}


def _write_stamps(copies: Path, stamps: Mapping[str, Stamp]) -> None:
    coming = copies / f"{_COPIES}.{os.getpid()}"
    coming.write_text(json.dumps(stamps), encoding="utf-8")
    coming.replace(copies / _COPIES)
