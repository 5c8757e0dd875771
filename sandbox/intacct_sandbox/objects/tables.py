"""Where records are kept: one table an object, in memory. The large objects of a large company
have tables of their own kind, in `archive/`.

A record is a flat, sparse mapping of dotted paths to JSON values (`{"key": "12", "name": "Acme"}`).
A reference to an object of the catalogue is kept as its key alone (`customer.key`); id and name are
read through it, so that renaming a customer shows on every invoice. A stored record is never
changed in place: whoever holds one may go on reading it.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import TypeAlias, cast

import msgspec

from intacct_sandbox.company import Company

from .catalogue import Json, ObjectType

Row: TypeAlias = dict[str, Json]

_KEYS = 31  # bits of a place that the key takes: ties of the noise are settled by key
_NOISES = 1 << 32
_versions = itertools.count(1)


@dataclass(frozen=True)
class Visibility:
    """What a request sees, and in which order when it asks for none.

    `entity` (its key; None is the top level) sees its own records and, with `shared`, those of the
    top level; the top level sees the shared ones, with `include_private` all.
    """

    entity: str | None
    include_private: bool = False
    shared: bool = True
    unseen: frozenset[str] = frozenset()
    """Keys of records that do not show yet, or no more."""
    shuffle: int | None = 0
    """0: arbitrary, but the same every time; another number: arbitrary in another way; None: by
    key."""


@dataclass(frozen=True)
class Found:
    """A page of what a query found: rows, or the JSON of them in one piece."""

    rows: list[dict[str, Json]] | msgspec.Raw
    count: int
    total: int
    """How many there are in all."""


class Table:
    """The records of one object, found by key, by id, by entity and by owner."""

    is_archived = False
    """Whether most of the records are on disk."""

    def __init__(self, type_: ObjectType, seed: int) -> None:
        self.type = type_
        self._rows: dict[str, Row] = {}
        self.next_key = 1
        self.version = 0
        """Another one after every change, and never one that another table has."""
        self._seed = seed
        self._by_entity: dict[str | None, dict[str, Row]] = {}
        self._by_id: dict[str, str] = {}
        self._by_owner: dict[str, dict[str, None]] = {}
        self._by_unique: dict[tuple[Json, ...], str] = {}
        self._noise: dict[str, int] = {}
        self._owner_path = f"{type_.owner}.key" if type_.owner else None

    @property
    def rows(self) -> Mapping[str, Row]:
        """The records by key."""
        return self._rows

    def copy(self) -> Table:
        """Return a table of its own with the same records."""
        other = Table(self.type, self._seed)
        other.version = self.version
        other._rows = dict(self._rows)
        other.next_key = self.next_key
        other._by_entity = {entity: dict(rows) for entity, rows in self._by_entity.items()}
        other._by_id = dict(self._by_id)
        other._by_owner = {owner: dict(keys) for owner, keys in self._by_owner.items()}
        other._by_unique = dict(self._by_unique)
        other._noise = dict(self._noise)
        return other

    def take_key(self) -> str:
        """Return a key that no record has or had."""
        key = str(self.next_key)
        self.next_key += 1
        return key

    def put(self, row: Row) -> None:
        """Add a record, or replace the one with its key."""
        key = cast(str, row["key"])
        self.version = next(_versions)
        old = self._rows.get(key)
        if old is not None:
            self._forget(old)
        self._rows[key] = row
        self._by_entity.setdefault(cast("str | None", row.get("entity.key")), {})[key] = row
        if self.type.kind == "master":
            self._by_id[cast(str, row["id"])] = key
        if self.type.unique:
            self._by_unique[self._unique_values(row)] = key
        if self._owner_path:
            self._by_owner.setdefault(cast(str, row[self._owner_path]), {})[key] = None
        if key not in self._noise:
            self._noise[key] = self.noise(key)
        self.next_key = max(self.next_key, int(key) + 1)

    def remove(self, key: str) -> None:
        """Take a record out; raises `KeyError` when it is not there."""
        self._forget(self._rows.pop(key))
        self.version = next(_versions)

    def _forget(self, row: Row) -> None:
        key = cast(str, row["key"])
        del self._by_entity[cast("str | None", row.get("entity.key"))][key]
        if self.type.kind == "master":
            self._by_id.pop(cast(str, row["id"]), None)
        if self.type.unique and self._by_unique.get(self._unique_values(row)) == key:
            del self._by_unique[self._unique_values(row)]
        if self._owner_path:
            self._by_owner[cast(str, row[self._owner_path])].pop(key, None)

    def _unique_values(self, row: Row) -> tuple[Json, ...]:
        return tuple(row.get(path) for path in self.type.unique)

    def same_unique_values(self, row: Row) -> str | None:
        """Return the key of another record that has what must be this one's alone."""
        if not self.type.unique or None in (values := self._unique_values(row)):
            return None
        key = self._by_unique.get(values)
        return None if key == row.get("key") else key

    def key_of(self, id_: str) -> str | None:
        """Return the key of the record with this id, which for a transaction is its key."""
        if self.type.kind == "master":
            return self._by_id.get(id_)
        return id_ if id_ in self.rows else None

    def lines_of(self, owner_key: str) -> list[Row]:
        """Return the lines of a document, in their order."""
        lines = [self.rows[key] for key in self._by_owner.get(owner_key, ())]
        return sorted(lines, key=lambda row: cast(int, row["lineNumber"]))

    def first_with(self, path: str, value: Json, *, but: str | None = None) -> Row | None:
        """Return some record that has a value at a path, `but` the one of that key."""
        having = (row for row in self.rows.values() if row.get(path) == value)
        return next((row for row in having if row["key"] != but), None)

    # --- what a request sees --------------------------------------------------------------

    def seen(self, visibility: Visibility) -> list[Row]:
        """Return the records that a request sees, in the order in which they come when nobody asks
        for one: arbitrary, as recorded live in 2026-03."""
        common: Mapping[str, Row] = self._by_entity.get(None, {})
        own: Mapping[str, Row] = {}
        if visibility.entity is None and visibility.include_private:
            common = self._rows
        elif visibility.entity is not None:
            own = self._by_entity.get(visibility.entity, {})
            common = common if visibility.shared else {}
        keys = [key for key in (*common, *own) if key not in visibility.unseen]
        keys.sort(key=lambda key: self.place(key, visibility.shuffle))
        return [self._rows[key] for key in keys]

    def noise(self, key: str) -> int:
        """Return what shuffles: the same for the same seed, from 0 to 2^32."""
        return zlib.crc32(f"{self._seed}:{self.type.name}:{key}".encode())

    def place(self, key: str, shuffle: int | None) -> int:
        """Return what a record is sorted by when nobody asks for an order; see
        `Visibility.shuffle`."""
        number = int(key)
        if shuffle is None:
            return number
        noise = self._noise[key] if key in self._noise else self.noise(key)
        if shuffle:
            noise = noise * (2 * shuffle + 1) % _NOISES  # odd, so no two become the same
        return (noise << _KEYS) + number

    def first_keys(self, visibility: Visibility, most: int) -> tuple[int, list[str]]:
        """Return how many records a request sees, and the keys of the first of them."""
        rows = self.seen(visibility)
        return len(rows), [str(row["key"]) for row in rows[:most]]

    def pick(self, visibility: Visibility, chance: Random) -> Row | None:
        """Return any of the records that a request sees."""
        rows = self.seen(replace(visibility, shuffle=None))
        return chance.choice(rows) if rows else None


class Tables(dict[str, Table]):
    """All tables, by object name, and whose they are."""

    def __init__(self, tables: Iterable[tuple[str, Table]], company: Company) -> None:
        super().__init__(tables)
        self.company = company

    def copy(self) -> Tables:
        """Return tables of their own with the same records."""
        return Tables(((name, table.copy()) for name, table in self.items()), self.company)

    def is_visible(self, object_: str, key: str, entity: str | None) -> bool:
        """Return whether a record can be used from this entity (or from the top level: all can)."""
        row = self[object_].rows.get(key)
        return row is not None and (entity is None or row.get("entity.key") in (None, entity))
