"""Where records are kept: one table an object, in memory.

A record is a flat, sparse mapping of dotted paths to JSON values (`{"key": "12", "name": "Acme"}`).
A reference to an object of the catalogue is kept as its key alone (`customer.key`); id and name are
read through it, so that renaming a customer shows on every invoice. A stored record is never
changed in place: whoever holds one may go on reading it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import TypeAlias, cast

from .catalogue import Json, ObjectType
from .company import Company

Row: TypeAlias = dict[str, Json]


class Table:
    """The records of one object, found by key, by id, by entity and by owner."""

    def __init__(self, type_: ObjectType, seed: int) -> None:
        self.type = type_
        self.rows: dict[str, Row] = {}
        self.next_key = 1
        self._seed = seed
        self._by_entity: dict[str | None, dict[str, Row]] = {}
        self._by_id: dict[str, str] = {}
        self._by_owner: dict[str, dict[str, None]] = {}
        self._by_unique: dict[tuple[Json, ...], str] = {}
        self._noise: dict[str, int] = {}
        self._owner_path = f"{type_.owner}.key" if type_.owner else None

    def copy(self) -> Table:
        """A table of its own with the same records."""
        other = Table(self.type, self._seed)
        other.rows = dict(self.rows)
        other.next_key = self.next_key
        other._by_entity = {entity: dict(rows) for entity, rows in self._by_entity.items()}
        other._by_id = dict(self._by_id)
        other._by_owner = {owner: dict(keys) for owner, keys in self._by_owner.items()}
        other._by_unique = dict(self._by_unique)
        other._noise = dict(self._noise)
        return other

    def take_key(self) -> str:
        """A key that no record has or had."""
        key = str(self.next_key)
        self.next_key += 1
        return key

    def put(self, row: Row) -> None:
        """Add a record, or replace the one with its key."""
        key = cast(str, row["key"])
        old = self.rows.get(key)
        if old is not None:
            self._forget(old)
        self.rows[key] = row
        self._by_entity.setdefault(cast("str | None", row.get("entity.key")), {})[key] = row
        if self.type.kind == "master":
            self._by_id[cast(str, row["id"])] = key
        if self.type.unique:
            self._by_unique[self._unique_values(row)] = key
        if self._owner_path:
            self._by_owner.setdefault(cast(str, row[self._owner_path]), {})[key] = None
        if key not in self._noise:
            self._noise[key] = zlib.crc32(f"{self._seed}:{self.type.name}:{key}".encode())
        self.next_key = max(self.next_key, int(key) + 1)

    def remove(self, key: str) -> None:
        """Take a record out; raises `KeyError` when it is not there."""
        self._forget(self.rows.pop(key))

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
        """The key of another record that has what must be this one's alone."""
        if not self.type.unique or None in (values := self._unique_values(row)):
            return None
        key = self._by_unique.get(values)
        return None if key == row.get("key") else key

    def key_of(self, id_: str) -> str | None:
        """The key of the record with this id, which for a transaction is its key."""
        if self.type.kind == "master":
            return self._by_id.get(id_)
        return id_ if id_ in self.rows else None

    def lines_of(self, owner_key: str) -> list[Row]:
        """The lines of a document, in their order."""
        lines = [self.rows[key] for key in self._by_owner.get(owner_key, ())]
        return sorted(lines, key=lambda row: cast(int, row["lineNumber"]))

    def visible(
        self, entity: str | None, *, include_private: bool = False, shared: bool = True
    ) -> list[Row]:
        """What a session sees: at the top level (`entity` None) the shared records, with
        `include_private` all; in an entity its own and, with `shared`, those of the top level."""
        if entity is None and include_private:
            return list(self.rows.values())
        common: Mapping[str, Row] = self._by_entity.get(None, {})
        if entity is None:
            return list(common.values())
        own = self._by_entity.get(entity, {}).values()
        return [*common.values(), *own] if shared else list(own)

    def in_no_order(self, rows: Iterable[Row], shuffle: int = 0) -> list[Row]:
        """The rows in the order in which they come when nobody asks for one: arbitrary, as
        recorded live in 2026-03, but the same every time for one seed and one `shuffle`."""
        if shuffle:
            return sorted(rows, key=lambda row: zlib.crc32(f"{shuffle}:{row['key']}".encode()))
        return sorted(rows, key=lambda row: self._noise[cast(str, row["key"])])


class Tables(dict[str, Table]):
    """All tables, by object name, and whose they are."""

    def __init__(self, tables: Iterable[tuple[str, Table]], company: Company) -> None:
        super().__init__(tables)
        self.company = company

    def copy(self) -> Tables:
        """Tables of their own with the same records."""
        return Tables(((name, table.copy()) for name, table in self.items()), self.company)

    def is_visible(self, object_: str, key: str, entity: str | None) -> bool:
        """Whether a record can be used from this entity (or from the top level: all can)."""
        row = self[object_].rows.get(key)
        return row is not None and (entity is None or row.get("entity.key") in (None, entity))
