"""Feeds' folders that lie elsewhere: an object store, and how its failures are reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.registry import known_implementations

from intacct_dagster.warehouse import FeedError
from intacct_dagster.warehouse.feeds import FeedFolder, FeedSpec

HEADER = "ref,entity,day\n"


class _StoreDown(Exception):
    """What a store's own client raises; it is no OSError."""


class Store(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """An object store: buckets with objects, and no folders but in the objects' names."""

    protocol = "store"
    buckets: ClassVar[dict[str, dict[str, bytes]]] = {}
    down: ClassVar[bool] = False
    restarts: ClassVar[int] = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._connected_after = Store.restarts

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """What begins with a path; FileNotFoundError where nothing does."""
        if self.down or self._connected_after != Store.restarts:
            raise _StoreDown("http://store.example.com")
        bucket, _sep, folder = self._strip_protocol(path).partition("/")
        if bucket not in self.buckets:
            raise FileNotFoundError(path)
        prefix = f"{folder}/" if folder else ""
        found: dict[str, dict[str, Any]] = {}
        for name, content in self.buckets[bucket].items():
            if name.startswith(prefix):
                first, inner, _rest = name.removeprefix(prefix).partition("/")
                info = {"size": len(content), "type": "directory" if inner else "file"}
                found[first] = {
                    "name": f"{bucket}/{prefix}{first}",
                    "ETag": str(hash(content)),
                    **info,
                }
        if not found and folder:
            raise FileNotFoundError(path)
        return list(found.values()) if detail else [each["name"] for each in found.values()]

    def exists(self, path: str, **_: Any) -> bool:
        """Whether there is such a bucket, or an object of that name or in it."""
        bucket, _sep, name = self._strip_protocol(path).partition("/")
        held = self.buckets.get(bucket)
        return held is not None and (not name or any(each.startswith(name) for each in held))

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        """The content of an object."""
        bucket, _sep, name = self._strip_protocol(path).partition("/")
        return self.buckets[bucket][name][start:end]

    def get_file(self, rpath: str, lpath: str, *_: Any, **__: Any) -> None:
        """Copies an object to a file."""
        Path(lpath).write_bytes(self.cat_file(rpath))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    fsspec.register_implementation("store", Store, clobber=True)
    held: dict[str, bytes] = {}
    monkeypatch.setattr(Store, "buckets", {"books": held})
    return held


def folder(tmp_path: Path, pattern: str) -> FeedFolder:
    spec = FeedSpec(
        name="sales",
        source_id="ref",
        entity="entity",
        date="day",
        payload={"referenceNumber": "ref"},
        match_on="referenceNumber",
        files=(pattern,),
    )
    return FeedFolder(spec, tmp_path, tmp_path / "inbox")


def test_objects_are_seen_copied_replaced_and_forgotten(
    bucket: dict[str, bytes], tmp_path: Path
) -> None:
    place = folder(tmp_path, "store://books/sales/*.csv")
    assert place.look() == {}  # a bucket that is there, and nothing in it yet
    bucket["sales/a.csv"] = b"one"
    bucket["sales/deeper/b.csv"] = bucket["sales/notes.txt"] = b"not asked for"
    before = place.look()
    assert set(before) == {"a.csv"}
    spec, copies = place.fetch()
    assert [(copies / name).read_bytes() for name in spec.files] == [b"one"]

    bucket["sales/a.csv"] = b"two"
    assert place.look() != before  # as long as before, and yet another
    place.fetch()
    assert (copies / "a.csv").read_bytes() == b"two"

    del bucket["sales/a.csv"]
    assert place.look() == {}
    place.fetch()
    assert not (copies / "a.csv").exists()


@pytest.mark.parametrize("ask", [FeedFolder.look, FeedFolder.fetch])
def test_what_is_not_there_or_not_reached_is_reported_and_is_never_taken_to_be_empty(
    bucket: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Any
) -> None:
    with pytest.raises(FeedError, match=r"store://…@gone/sales/.* is not there"):
        ask(folder(tmp_path, "store://me:secret@gone/sales/*.csv"))
    with pytest.raises(FeedError, match=r"unmounted/.* is not there"):
        ask(folder(tmp_path, "unmounted/*.csv"))
    bucket["sales/a.csv"] = b"one"
    monkeypatch.setattr(Store, "down", True)
    with pytest.raises(FeedError, match=r"cannot be reached \(_StoreDown\)"):
        ask(folder(tmp_path, "store://books/sales/*.csv"))


def test_a_connection_that_ended_is_made_again_at_the_next_look(
    bucket: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket["sales/a.csv"] = b"one"
    place = folder(tmp_path, "store://books/sales/*.csv")
    seen = place.look()
    monkeypatch.setattr(Store, "restarts", 1)
    with pytest.raises(FeedError, match="cannot be reached"):
        place.look()
    assert place.look() == seen


def test_a_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing: dict[str, str] = {"class": "no_such_package.FileSystem", "err": "Install s3fs"}
    monkeypatch.setitem(known_implementations, "parcel", nothing)
    with pytest.raises(FeedError, match="the package that reads parcel:// is missing") as raised:
        folder(tmp_path, "parcel://books/*.csv").look()
    assert "Install s3fs" in str(raised.value)
