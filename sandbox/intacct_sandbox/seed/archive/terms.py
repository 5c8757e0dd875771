"""How a field of an archived record is written in SQL: as it compares, and as it is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat

import msgspec

from intacct_sandbox.objects.catalogue import Field, Json, Kind, ObjectType, Ref
from intacct_sandbox.objects.reading import WEB_URL, RecordReader
from intacct_sandbox.objects.tables import Row
from intacct_sandbox.query.ordering import order_values
from intacct_sandbox.query.source import SearchableTable

from .store import Archive

_TYPES: Mapping[Kind, str] = {
    "key": "BIGINT",
    "integer": "BIGINT",
    "decimal": "DECIMAL(18, 2)",
    "number": "DECIMAL(18, 6)",
    "date": "DATE",
    "date-time": "TIMESTAMP",
    "boolean": "BOOLEAN",
    "string": "VARCHAR",
    "enum": "VARCHAR",
}


_PARTED = "\x1e"  # never in JSON, which escapes it


@dataclass(frozen=True)
class Term:
    """A field in SQL."""

    native: str
    """What it is put in order by and, where `compares`, compared by."""
    kind: Kind
    shown: str
    """What `to_json` makes the answer's value of."""
    compares: bool = True
    constant: tuple[Json] | None = None
    """The value, if it is the same in every record."""
    is_filled: bool = False
    """Whether no record is without it."""

    @property
    def varies(self) -> bool:
        """Whether it is not the same in every record."""
        return self.constant is None


@dataclass(frozen=True)
class Piece:
    """A field in the JSON of a row: text, SQL, text; or the key of what `looked_up` has the JSON
    of, between two marks."""

    parts: tuple[str, str | None, str]
    looked_up: Mapping[str, str] | None = None


def object_of(pieces: Mapping[str, Piece]) -> str:
    """Return the row as text, by name."""
    said: list[str] = []
    literal = "{"
    for number, (name_, piece) in enumerate(pieces.items()):
        before, native, after = piece.parts
        literal += f"{',' if number else ''}{_json(name_)}:{before}"
        if native is not None:
            said += [text(literal), native]
            literal = ""
        literal += after
    return f"concat({', '.join([*said, text(literal + '}')])})"


def text(value: str) -> str:
    """Return a literal."""
    return "'" + value.replace("'", "''") + "'"


def name(path: str, alias: str = "t") -> str:
    """Return a column of the archived table, which is `t` in every statement."""
    return f'{alias}."{path}"'


@dataclass
class Joins:
    """What a statement has to join, with what it calls it; in the order in which that is needed."""

    aliases: dict[str, str] = field(default_factory=dict)

    def alias(self, table: str, key: str) -> str:
        """Return the name of the row of a table that has a key."""
        join = f"LEFT JOIN {table} AS {{}} ON {{}}.key = {key}"
        return self.aliases.setdefault(join, f"j{len(self.aliases)}")

    def source(self, table: str) -> str:
        """Return the table with all that is joined to it."""
        joins = (join.format(alias, alias) for join, alias in self.aliases.items())
        return " ".join((table, *joins))


class TableOnDisk(SearchableTable):
    """A table whose records are found by SQL."""

    is_archived = True
    terms: Terms
    """How the fields of its records are written in SQL."""


class Terms:
    """The terms of one object's fields, for one request after the other."""

    def __init__(self, archive: Archive, type_: ObjectType) -> None:
        self._archive = archive
        self.type = type_
        stats = archive.stats(type_.name)
        self.columns = tuple(stats.columns)
        self._seen: dict[tuple[str, str], tuple[object, str]] = {}
        self._texts: dict[tuple[str, str], tuple[object, Mapping[str, str]]] = {}
        self.table = f'archive."{type_.name} by time"'
        self._filled = {path for path, is_filled in stats.columns.items() if is_filled}

    def reference(self, path: str) -> tuple[Ref, str] | None:
        """Return the reference through which a field is seen, and which field of the other
        record."""
        return self.type.members.get(path) or self.type.beyond(path)

    def term(
        self, path: str, kind: Kind, reader: RecordReader, joins: Joins, alias: str = "t"
    ) -> Term:
        """Return the term of a field; what has to be joined for it goes into `joins`. `kind` is
        that of what a reference shows; a field has its own."""
        if path == "href":
            return self._href(self.type.name, self.stored("key", "key", alias))
        field_ = self.type.fields.get(path)
        if field_ is not None:
            return self._own(field_, reader, joins, alias)
        reference = self.reference(path)
        if reference is None:
            raise KeyError(path)
        ref, member = reference
        key = self.stored(f"{ref.path}.key", "key", alias)
        if member == "key":
            return key
        if member == "href":
            return self._href(ref.object, key)
        target = reader.table(ref.object)
        if target is None:
            return self.stored(f"{ref.path}.{member}", "string", alias)
        if not key.varies:
            return Term("NULL", kind, "NULL", compares=False, constant=(None,))
        if isinstance(target, TableOnDisk):
            if member == "id":
                # A line goes with its document, so the document of an archived line is there.
                return key
            document = joins.alias(target.terms.table, key.native)
            return target.terms.term(member, kind, reader.of(ref.object), joins, document)
        table = self._looked_up(ref.path, ref.object, member, kind, reader)
        seen = joins.alias(table, key.native)
        return Term(f"{seen}.rank", kind, f"{seen}.shown", compares=False)

    def _own(self, of: Field, reader: RecordReader, joins: Joins, alias: str) -> Term:
        if of.same_as:
            other = self.term(of.same_as, "key", reader, joins, alias)
            native = other.shown if of.kind == "string" else other.native
            return replace(other, native=native, kind=of.kind)
        if of.computed == "web-url":
            named = text(f"{self.type.name}:")
            url = f"{text(WEB_URL)} || md5({named} || {name('key', alias)})"
            return Term(url, "string", url, is_filled=True)
        if of.computed:
            raise ValueError(f"{self.type.name} is archived without {of.computed}")
        return self.stored(of.path, of.kind, alias)

    @staticmethod
    def _href(object_: str, key: Term) -> Term:
        href = f"{text(f'/objects/{object_}/')} || {key.native}"
        return replace(key, native=href, kind="string", shown=href)

    def stored(self, path: str, kind: Kind, alias: str = "t") -> Term:
        """Return the term of what is in the record itself."""
        if path in self.columns:
            native = name(path, alias)
            return Term(native, kind, _shown(native, kind), is_filled=path in self._filled)
        default = self.type.defaults.get(path)
        given = "NULL" if default is None else str(default)
        if isinstance(default, str):
            given = text(default)
        native = f"{given}::{_TYPES[kind]}"
        return Term(native, kind, _shown(native, kind), constant=(default,))

    def piece(self, path: str, kind: Kind, reader: RecordReader, joins: Joins) -> Piece:
        """Return how a field is written into the JSON of a row."""
        reference = self.reference(path)
        if reference is not None and reference[1] not in ("key", "href"):
            ref, shown = reference
            target = reader.table(ref.object)
            key = self.stored(f"{ref.path}.key", "key")
            if target is not None and not target.is_archived and key.varies:
                return Piece((_PARTED, key.native, _PARTED), self._shown_by(ref, shown, reader))
        term = self.term(path, kind, reader, joins)
        if term.constant is not None:
            return Piece((_json(term.constant[0]), None, ""))
        before, native, after = _written(term)
        if term.is_filled:
            return Piece((before, native, after))
        quoted = f"concat({text(before)}, {native}, {text(after)})"
        return Piece(("", f"CASE WHEN {term.native} IS NULL THEN 'null' ELSE {quoted} END", ""))

    def _shown_by(self, ref: Ref, member: str, reader: RecordReader) -> Mapping[str, str]:
        version = reader.version_of(ref.object, member)
        made = self._texts.get((ref.object, member))
        if made is None or made[0] != version:
            values = seen_through(reader, ref.path, member)
            made = version, {key: _json(value) for key, value in values.items()}
            self._texts[ref.object, member] = made
        return made[1]

    def row(self) -> str:
        """Return the stored fields of a record as JSON, without the defaults."""
        fields = self.type.fields
        pairs = (
            f"{text(path)}: {_shown(name(path), fields[path].kind if path in fields else 'key')}"
            for path in self.columns
        )
        return f"to_json({{{', '.join(pairs)}}})::VARCHAR"

    def _looked_up(
        self, at: str, object_: str, member: str, kind: Kind, reader: RecordReader
    ) -> str:
        """Return a table with what a reference shows of each record that it may name: key, what is
        shown, and its rank among them."""
        version = reader.version_of(object_, member)
        made = self._seen.get((object_, member))
        if made is not None and made[0] == version:
            return made[1]
        if made is not None:
            self._archive.drop(made[1])
        values = seen_through(reader, at, member)
        ranks = _ranks(list(values.values()), kind)
        rows = (
            f"({key}, {rank}, {'NULL' if value is None else text(_json(value))})"
            for (key, value), rank in zip(values.items(), ranks, strict=True)
        )
        table = self._archive.keep("key BIGINT, rank BIGINT, shown JSON", iter(rows))
        self._seen[object_, member] = version, table
        return table


def _written(term: Term) -> tuple[str, str, str]:
    """Return the JSON of a value that is there: what comes before it, itself, what comes after."""
    if not term.compares:
        return "", f"{term.shown}::VARCHAR", ""
    match term.kind:
        case "key" | "decimal" | "date":
            return '"', term.native, '"'
        case "date-time":
            return '"', term.shown, '"'
        case "number":
            return "", term.shown.removesuffix("::JSON"), ""
        case "integer" | "boolean":
            return "", term.native, ""
    return "", f"to_json({term.shown})::VARCHAR", ""


def joined(rows: Sequence[str], looked_up: Sequence[Mapping[str, str]]) -> str:
    """Return the JSON of rows, with commas between them, after what they refer to was put in."""
    whole = ",".join(rows)
    if not looked_up:
        return whole
    parts = whole.split(_PARTED)
    for number, texts in enumerate(looked_up):
        every = slice(2 * number + 1, None, 2 * len(looked_up))
        # A reference that is empty, or names a record that is gone, shows nothing.
        parts[every] = map(texts.get, parts[every], repeat("null"))
    return "".join(parts)


def seen_through(reader: RecordReader, at: str, member: str) -> dict[str, Json]:
    """Return what the reference `at` shows, by the key of the record that it names."""
    ref = reader.type.refs[at]
    target = reader.table(ref.object)
    keys = list(target.rows) if target is not None else []
    naming: list[Row] = [{f"{at}.key": key} for key in keys]
    return dict(zip(keys, reader.column(f"{at}.{member}")(naming), strict=True))


def _ranks(values: list[Json], kind: Kind) -> Iterator[str]:
    comparing = order_values(kind, values)
    rank = {value: number for number, value in enumerate(sorted({*comparing} - {None}))}
    return ("NULL" if value is None else str(rank[value]) for value in comparing)


def _json(value: Json) -> str:
    return msgspec.json.encode(value).decode()


def _shown(native: str, kind: Kind) -> str:
    match kind:
        case "key" | "decimal" | "date":
            return f"{native}::VARCHAR"
        case "date-time":
            return f"strftime({native}, '%Y-%m-%dT%H:%M:%SZ')"
        case "number":
            return f"rtrim(rtrim({native}::VARCHAR, '0'), '.')::JSON"
    return native
