"""A table whose generated records are on disk, with what was written since lying over them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random
from typing import cast

import msgspec

from intacct_sandbox.errors import rejections
from intacct_sandbox.objects.catalogue import Json, Kind, ObjectType
from intacct_sandbox.objects.reading import Reader
from intacct_sandbox.objects.tables import Found, Row, Sight, Table
from intacct_sandbox.query.definition import Aggregate, Filter, Query
from intacct_sandbox.query.execution import matching, passing, shown
from intacct_sandbox.query.filter_expression import Expression, every_filter
from intacct_sandbox.query.filters import Comparison, by_days, comparable, read_value
from intacct_sandbox.query.grouping import (
    Group,
    Groups,
    Ranked,
    Sums,
    grouped_by,
    groups_of,
    merge,
    shown_groups,
)
from intacct_sandbox.query.ordering import ordered

from .conditions import condition, moment
from .store import Archive
from .terms import Joins, TableOnDisk, Term, Terms, joined, name, object_of, seen_through, text

_MOST_GROUPS = 200_000
_MOST_RECENT = 1_000
_MOST_COUNTS = 1_000
_NEVER = datetime.min.replace(tzinfo=UTC)
_KEY = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_NOISES = 1 << 32
_EVERYTHING = Sight(None, include_private=True, shuffle=None)


class ArchivedTable(TableOnDisk):
    """The records of one object of a large company.

    What `Table` keeps is here what was written since the books were generated; `_gone` are the
    generated records that were changed or deleted since, which the archive goes on having.
    """

    def __init__(
        self, type_: ObjectType, seed: int, archive: Archive, terms: Terms | None = None
    ) -> None:
        super().__init__(type_, seed)
        if type_.kind == "master" or type_.unique or type_.unasked_column:
            raise ValueError(f"{type_.name} cannot be archived: only its key tells records apart")
        self._archive = archive
        self.terms = terms or Terms(archive, type_)
        self._gone: set[int] = set()
        # Most requests look at a record several times. What the archive has does not change.
        self._recent: dict[str, Row | None] = {}
        # By statement; of a statement without the time from which on it asks, for that time.
        self._counted: dict[str, tuple[datetime, int]] = {}
        shelf = archive.shelf(type_.name)
        self._base, self._last = shelf.records, shelf.last_key
        self.next_key = self._last + 1

    def _from(self, entity: str | None) -> str:
        """The archive has everything twice: as an entity sees it, and as the top level does."""
        return f'archive."{self.type.name} by {"time" if entity is None else "entity"}" AS t'

    @property
    def rows(self) -> Mapping[str, Row]:
        return _Rows(self, self._rows)

    def copy(self) -> ArchivedTable:
        other = ArchivedTable(self.type, self._seed, self._archive, self.terms)
        other._gone = set(self._gone)
        for row in self._rows.values():
            Table.put(other, row)
        other.next_key = self.next_key
        return other

    def noise(self, key: str) -> int:
        said = f"{self._seed}:{self.type.name}:{key}".encode()
        return int.from_bytes(hashlib.md5(said).digest()[8:12], "little")  # noqa: S324

    # --- single records -------------------------------------------------------------------

    def put(self, row: Row) -> None:
        key = int(cast(str, row["key"]))
        if key <= self._last:
            self._gone.add(key)
        super().put(row)

    def remove(self, key: str) -> None:
        if key in self._rows:
            super().remove(key)
        elif self.archived(key) is not None:
            self._gone.add(int(key))
        else:
            raise KeyError(key)

    def count(self) -> int:
        """How many records there are."""
        return self._base - len(self._gone) + len(self._rows)

    def archived(self, key: str) -> Row | None:
        """A generated record that nobody wrote since."""
        if _KEY.fullmatch(key) is None or int(key) in self._gone:
            return None
        if key not in self._recent:
            if len(self._recent) >= _MOST_RECENT:
                self._recent.clear()
            self._recent[key] = next(self._stored(f"{name('key')} = {key}"), None)
        return self._recent[key]

    def archived_keys(self) -> Iterator[str]:
        """The keys of all generated records that nobody wrote since, oldest first."""
        where = self._where([])
        return self._archive.stream(
            f"SELECT key::VARCHAR FROM {self._from(None)} WHERE {where} ORDER BY key"
        )

    def archived_records(self) -> Iterator[Row]:
        """All generated records that nobody wrote since, in no order."""
        return self._stored("true")

    def _stored(self, condition_: str, rest: str = "") -> Iterator[Row]:
        where = self._where([condition_])
        sql = f"SELECT {self.terms.row()} FROM {self._from(None)} WHERE {where} {rest}"
        return map(self._read, self._archive.stream(sql))

    def _read(self, text_: str) -> Row:
        kept: Row = msgspec.json.decode(text_)
        filled = {path: value for path, value in kept.items() if value is not None}
        return {**self.type.defaults, **filled}

    def lines_of(self, owner_key: str) -> list[Row]:
        lines = super().lines_of(owner_key)
        if _KEY.fullmatch(owner_key) is not None:
            lines += self._stored(f"{name(str(self._owner_path))} = {owner_key}")
        return sorted(lines, key=lambda row: cast(int, row["lineNumber"]))

    def first_with(self, path: str, value: Json, *, but: str | None = None) -> Row | None:
        """As of any table, where `path` is that of a reference's key."""
        written = (row for row in self._rows.values() if row.get(path) == value)
        found = next((row for row in written if row["key"] != but), None)
        if found is not None or path not in self.terms.columns:
            return found
        conditions = f"{name(path)} = {int(str(value))}"
        if but is not None:
            conditions += f" AND {name('key')} <> {int(but)}"
        return next(self._stored(conditions, "LIMIT 1"), None)

    # --- what a request sees --------------------------------------------------------------

    def first_keys(self, sight: Sight, most: int) -> tuple[int, list[str]]:
        where = self._where([self._scope(sight)], sight)
        written = super().seen(sight)
        total = len(written)
        total += self._archive.number(
            f"SELECT count(*) FROM {self._from(sight.entity)} WHERE {where}"
        )
        keys = self._archive.texts(
            f"SELECT key::VARCHAR FROM {self._from(sight.entity)} WHERE {where} "
            f"ORDER BY {', '.join(_place(sight.shuffle))} LIMIT {most}"
        )
        keys += [str(row["key"]) for row in written]
        keys.sort(key=lambda key: self.place(key, sight.shuffle))
        return total, keys[:most]

    def pick(self, sight: Sight, chance: Random) -> Row | None:
        where = self._where([self._scope(sight)], sight)
        there = self._archive.number(
            f"SELECT count(*) FROM {self._from(sight.entity)} WHERE {where}"
        )
        written = super().seen(replace(sight, shuffle=None))
        if not there + len(written):
            return None
        number = chance.randrange(there + len(written))
        # As on a page: at most all that were written come before the one that is wanted.
        first = max(number - len(written), 0)
        keys = self._archive.texts(
            f"SELECT key::VARCHAR FROM {self._from(sight.entity)} WHERE {where} "
            f"ORDER BY key LIMIT {number - first + 1} OFFSET {first}"
        )
        keys += [str(row["key"]) for row in written]
        return self.rows[sorted(keys, key=int)[number - first]]

    def page(self, query: Query, reader: Reader, sight: Sight, *, null_first: bool) -> Found:
        with self._looking(query, reader, sight) as look:
            written = matching(query, reader, [*super().seen(sight), *look.outdated])
            if query.is_grouped:
                groups = self._groups(look)
                merge(groups, self._written_groups(look, written))
                every_group = shown_groups(query, groups)
                part = every_group[query.start - 1 : query.start - 1 + query.size]
                return Found(part, len(part), len(every_group))
            there = self._count(look)
            total = there + len(written)
            if written:
                merged = self._merged(look, written, null_first=null_first)
                return Found(shown(query, reader, merged), len(merged), total)
            if query.start > there:
                return Found([], 0, total)
            row, looked_up = look.row()
            rows = self._archive.texts(look.ordered(row, query, null_first=null_first))
            return Found(msgspec.Raw(f"[{joined(rows, looked_up)}]".encode()), len(rows), total)

    def all_of(
        self, query: Query, reader: Reader, sight: Sight, *, null_first: bool
    ) -> Iterator[dict[str, Json]] | None:
        if query.is_grouped or self._rows or any(self._reached(query, reader)):
            return None
        return self._streamed(query, reader, sight, null_first=null_first)

    def _streamed(
        self, query: Query, reader: Reader, sight: Sight, *, null_first: bool
    ) -> Iterator[dict[str, Json]]:
        with self._looking(query, reader, sight) as look:
            row, looked_up = look.row()
            for each in self._archive.stream(look.everything(row, null_first=null_first)):
                yield msgspec.json.decode(joined([each], looked_up))

    def _merged(self, look: _Look, written: list[Row], *, null_first: bool) -> list[Row]:
        """The page, of records on disk and written ones together. A record on disk is preceded by
        at most all that were written: that far before the page begin those that may be on it."""
        query = look.query
        wanted = query.start - 1
        first = max(wanted - len(written), 0)
        span = replace(query, start=first + 1, size=wanted + query.size - first)
        there = map(self._read, self._archive.texts(look.rows(span, null_first=null_first)))
        rows = [*there, *written]
        rows.sort(key=lambda row: self.place(str(row["key"]), look.sight.shuffle))
        rows = ordered(query, look.reader, rows, first=null_first)
        return rows[wanted - first : wanted - first + query.size]

    def _count(self, look: _Look) -> int:
        """How many archived records there are. What is in the archive does not change, and what
        hides part of it is part of the statement: nothing is counted twice. The pages of a walk
        differ in the time from which on they ask; of each, only what was passed since the page
        before is counted."""
        if len(self._counted) >= _MOST_COUNTS:
            self._counted.clear()
        if look.since is None:
            sql = look.counting()
            if sql not in self._counted:
                self._counted[sql] = (_NEVER, self._archive.number(sql))
            return self._counted[sql][1]
        changed, rest = name("audit.modifiedDateTime"), look.counting_all()
        began, count = self._counted.get(rest, (_NEVER, 0))
        since = f"{changed} >= {moment(look.since)}"
        if _NEVER < began <= look.since:
            passed = f"{changed} >= {moment(began)} AND {changed} < {moment(look.since)}"
            count -= self._archive.number(f"{rest} AND {passed}")
        else:
            count = self._archive.number(f"{rest} AND {since}")
        self._counted[rest] = (look.since, count)
        return count

    def holding(
        self, filters: Sequence[Filter], reader: Reader, most: int
    ) -> tuple[int, list[Row]]:
        every = replace(
            _NO_QUERY,
            object=self.type.name,
            filters=tuple(filters),
            expression=None,
            size=most,
        )
        written = passing(filters, reader, self._rows.values())
        with self._looking(every, reader, _EVERYTHING) as look:
            there = self._archive.number(look.counting())
            rows = map(self._read, self._archive.texts(look.rows(every, null_first=False)))
            return there + len(written), [*rows, *written][:most]

    # --- conditions -----------------------------------------------------------------------

    @contextmanager
    def _looking(self, query: Query, reader: Reader, sight: Sight) -> Iterator[_Look]:
        """What is needed to look something up; what was put aside for it goes afterwards."""
        look = _Look(self.terms, self._from(sight.entity), query, reader, sight)
        try:
            conditions = [self._scope(sight)]
            conditions += self._outdated(look)
            if query.filters:
                parts = [self._filter(one, query.how, look) for one in query.filters]
                self._part(look, conditions, parts)
                conditions.append(_joined(query.expression, parts))
            look.where = self._where(conditions, sight)
            look.counted = look.joins.source(look.source)
            yield look
        finally:
            for table in look.put_aside:
                self._archive.drop(table)

    def _part(self, look: _Look, conditions: list[str], parts: list[str]) -> None:
        """Tell the time from which on a query asks from its other conditions."""
        query = look.query
        begins = [
            number
            for number, one in enumerate(query.filters)
            if (one.path, one.operator) == ("audit.modifiedDateTime", "$gte")
            and by_days("$gte", one.kind, one.given, query.how.as_of) is None
        ]
        alone = len(parts) == 1
        if len(begins) == 1 and (alone or query.expression == every_filter(len(parts))):
            begin = query.filters[begins[0]]
            others = [part for number, part in enumerate(parts) if number != begins[0]]
            look.since = read_value(begin.kind, begin.given, begin.path, fold="")
            look.but_since = self._where([*conditions, *others], look.sight)

    def _scope(self, sight: Sight) -> str:
        # Every record of the archive belongs to an entity.
        if sight.entity is not None:
            return f"{name('entity.key')} = {int(sight.entity)}"
        return "true" if sight.include_private else "false"

    def _where(self, conditions: list[str], sight: Sight | None = None) -> str:
        hidden = self._gone | {int(key) for key in (sight.unseen if sight else ())}
        if hidden:
            conditions = [*conditions, f"{name('key')} NOT IN ({', '.join(map(str, hidden))})"]
        return " AND ".join(conditions) or "true"

    def _outdated(self, look: _Look) -> Iterator[str]:
        """Where a query reaches through a reference to a record of another archive that was
        written since, the records that refer to it are looked at one by one, like written ones."""
        for column, gone in dict(self._reached(look.query, look.reader)).items():
            keys = ", ".join(map(str, sorted(gone)))
            there = self._stored(f"{self._scope(look.sight)} AND {name(column)} IN ({keys})")
            known = {row["key"] for row in look.outdated}
            unseen = look.sight.unseen
            look.outdated += [row for row in there if row["key"] not in known | unseen]
            yield f"({name(column)} IS NULL OR {name(column)} NOT IN ({keys}))"

    def _reached(self, query: Query, reader: Reader) -> Iterator[tuple[str, frozenset[int]]]:
        """References through which a query reaches to another archive, with the keys of the
        records there that were written since."""
        paths = {*query.kinds, *(one.path for one in query.fields.values() if one is not None)}
        for path in sorted(paths):
            ref, member = self.terms.reference(path) or (None, "")
            target = reader.table(ref.object) if ref is not None else None
            if ref is None or not isinstance(target, ArchivedTable) or not target.gone:
                continue
            column = f"{ref.path}.key"
            if member not in ("key", "id", "href") and column in self.terms.columns:
                yield column, target.gone

    @property
    def gone(self) -> frozenset[int]:
        """Keys of the generated records that were changed or deleted since."""
        return frozenset(self._gone)

    def _filter(self, one: Filter, how: Comparison, look: _Look) -> str:
        ref, member = self.terms.reference(one.path) or (None, "")
        if ref is not None and member != "key":
            target = look.reader.table(ref.object)
            if target is not None and not target.is_archived:
                return self._through(one, how, ref.path, member, look)
        term = look.term(one.path, one.kind)
        return condition(one, term, how) or self._tried(one, how, term, look)

    def _through(self, one: Filter, how: Comparison, at: str, member: str, look: _Look) -> str:
        """A filter on what a reference shows: which of the records that it may name pass."""
        convert = comparable(one.kind, fold=how.fold)
        values = seen_through(look.reader, at, member)
        passing = {key: one.test(convert(value)) for key, value in values.items()}
        key = self.terms.stored(f"{at}.key", "key").native
        if not one.test(None):
            found = ", ".join(each for each, passes in passing.items() if passes)
            return f"{key} IN ({found or 'NULL'})"
        failing = ", ".join(each for each, passes in passing.items() if not passes)
        return f"({key} IS NULL OR {key} NOT IN ({failing}))" if failing else "true"

    def _tried(self, one: Filter, how: Comparison, term: Term, look: _Look) -> str:
        """A filter that SQL cannot say: each value there is, is put to the test."""
        convert = comparable(one.kind, fold=how.fold)
        value = f"to_json({term.shown})::VARCHAR"
        there = self._archive.stream(
            f"SELECT DISTINCT {value} FROM {look.joins.source(look.source)} "
            f"WHERE {term.native} IS NOT NULL"
        )
        passing = (
            f"({text(each)})" for each in there if one.test(convert(msgspec.json.decode(each)))
        )
        kept = self._archive.keep("value VARCHAR", passing)
        look.put_aside.append(kept)
        found = f"{value} IN (SELECT value FROM {kept})"
        return f"({term.native} IS NULL OR {found})" if one.test(None) else f"({found})"

    # --- groups ---------------------------------------------------------------------------

    def _written_groups(self, look: _Look, written: list[Row]) -> Groups:
        def place(number: int) -> int:
            return self.place(str(written[number]["key"]), look.sight.shuffle)

        return groups_of(look.query, look.reader, written, place)

    def _groups(self, look: _Look) -> Groups:
        query = look.query
        by = grouped_by(query)
        groups: Groups = {}
        texts = self._archive.texts(look.groups(by, _MOST_GROUPS + 1))
        if len(texts) > _MOST_GROUPS:
            raise rejections.not_simulated(
                f"more than {_MOST_GROUPS:,} groups of {self.type.name} in a large company"
            )
        for each in texts:
            row = msgspec.json.decode(each)
            if not row["records"]:  # of nothing at all
                continue
            group = Group(int(row["place"]))
            for number, (asked, aggregate) in enumerate(query.fields.items()):
                if aggregate is not None:
                    group.sums[asked] = _sums(row[f"of {number}"], aggregate)
            groups[tuple(row[f"by {number}"] for number in range(len(by)))] = group
        return groups


def _sums(found: dict[str, Json], aggregate: Aggregate) -> Sums:
    convert = comparable(aggregate.kind, fold="")

    def ranked(value: Json) -> Ranked | None:
        return None if value is None else (convert(value), value)

    total = found["total"]
    return Sums(
        count=cast(int, found["count"]),
        total=Decimal(0) if total is None else Decimal(str(total)),
        least=ranked(found["least"]),
        most=ranked(found["most"]),
    )


def _joined(expression: Expression | None, parts: Sequence[str]) -> str:
    if expression is None:
        return f"({' AND '.join(parts)})"
    if isinstance(expression, int):
        return parts[expression]
    joint = " AND " if expression.every else " OR "
    return f"({joint.join(_joined(term, parts) for term in expression.terms)})"


def _place(shuffle: int | None) -> tuple[str, ...]:
    if shuffle is None:
        return (name("key"),)
    if shuffle:
        odd = (2 * shuffle + 1) % _NOISES
        return (f"(t.noise::UBIGINT * {odd}::UBIGINT) % {_NOISES}", name("key"))
    return ("t.noise", name("key"))


@dataclass
class _Look:
    """The statements that answer one query."""

    terms: Terms
    source: str
    query: Query
    reader: Reader
    sight: Sight
    where: str = ""
    since: datetime | None = None
    """The time from which on the query asks, if that is one of conditions that all must hold;
    `but_since` are the others."""
    but_since: str = ""
    counted: str = ""
    """The source with what the conditions need."""
    joins: Joins = field(default_factory=Joins)
    put_aside: list[str] = field(default_factory=list)
    outdated: list[Row] = field(default_factory=list)
    """Records that are looked at one by one, though they are archived as they are."""

    def term(self, path: str, kind: Kind) -> Term:
        """The term of a field, joined where that is needed."""
        return self.terms.term(path, kind, self.reader, self.joins)

    def counting(self) -> str:
        """How many records there are."""
        return f"SELECT count(*) FROM {self.counted} WHERE {self.where}"

    def counting_all(self) -> str:
        """The same, since ever."""
        return f"SELECT count(*) FROM {self.counted} WHERE {self.but_since}"

    def rows(self, query: Query, *, null_first: bool) -> str:
        """The records of a page, as they are kept."""
        return self.ordered(self.terms.row(), query, null_first=null_first)

    def everything(self, what: str, *, null_first: bool) -> str:
        """Something of every record, in order."""
        order = self._order(self.query, null_first=null_first)
        source = self.joins.source(self.source)
        return f"SELECT {what} FROM {source} WHERE {self.where} ORDER BY {order}"

    def row(self) -> tuple[str, list[Mapping[str, str]]]:
        """A row of the answer as text, and what has to be put into it (see `joined`)."""
        pieces = {
            path: self.terms.piece(path, self.query.kinds[path], self.reader, self.joins)
            for path in self.query.fields
        }
        looked_up = [one.looked_up for one in pieces.values() if one.looked_up is not None]
        return object_of(pieces), looked_up

    def _order(self, query: Query, *, null_first: bool) -> str:
        parts = []
        for path, descending in query.order_by:
            nulls = "FIRST" if null_first != descending else "LAST"
            way = "DESC" if descending else "ASC"
            term = self.term(path, query.kinds[path])
            if term.varies:
                parts.append(f"{term.native} {way} NULLS {nulls}")
            if path == "key":
                return ", ".join(parts)
        return ", ".join((*parts, *_place(self.sight.shuffle)))

    def ordered(self, what: str, query: Query, *, null_first: bool) -> str:
        """Something of the records of a page: first their places, which takes the columns that put
        them in order, then what is asked for."""
        order = self._order(query, null_first=null_first)
        source = self.joins.source(self.source)
        places = (
            f"SELECT t.rowid FROM {source} WHERE {self.where} ORDER BY {order} "
            f"LIMIT {query.size} OFFSET {query.start - 1}"
        )
        return f"SELECT {what} FROM {source} WHERE t.rowid IN ({places}) ORDER BY {order}"

    def groups(self, by: Sequence[str], most: int) -> str:
        """The groups, each with its place and what is known of it."""
        query = self.query
        terms = [self.term(path, query.kinds[path]) for path in by]
        first = " * 2147483648 + ".join(f"({part})::HUGEINT" for part in _place(self.sight.shuffle))
        parts = [f"'by {number}': {term.shown}" for number, term in enumerate(terms)]
        parts += [f"'place': min({first})::VARCHAR", "'records': count(*)"]
        for number, aggregate in enumerate(query.fields.values()):
            if aggregate is not None:
                parts.append(f"'of {number}': {self._aggregate(aggregate)}")
        keys = [term.shown for term in terms if term.varies]
        grouping = f"GROUP BY {', '.join(keys)}" if keys else ""
        source = self.joins.source(self.source)
        return (
            f"SELECT to_json({{{', '.join(parts)}}})::VARCHAR FROM {source} "
            f"WHERE {self.where} {grouping} LIMIT {most}"
        )

    def _aggregate(self, aggregate: Aggregate) -> str:
        term = self.term(aggregate.path, aggregate.kind)
        native, total, least, most = term.native, "NULL", "NULL", "NULL"
        if aggregate.function in ("sum", "avg"):
            if not term.compares:
                raise rejections.not_simulated(f"sums of {aggregate.path} in a large company")
            total = f"sum({native})::VARCHAR"
        elif aggregate.function in ("min", "max"):
            least, most = f"arg_min({term.shown}, {native})", f"arg_max({term.shown}, {native})"
        count = f"count({native})"
        return f"{{'count': {count}, 'total': {total}, 'least': {least}, 'most': {most}}}"


class _Rows(Mapping[str, Row]):
    """The records by key: those written since, then those of the archive."""

    def __init__(self, table: ArchivedTable, written: Mapping[str, Row]) -> None:
        self._table = table
        self._written = written

    def __getitem__(self, key: str) -> Row:
        row = self._written.get(key)
        if row is None and isinstance(key, str):  # an empty reference may be asked for
            row = self._table.archived(key)
        if row is None:
            raise KeyError(key)
        return row

    def __iter__(self) -> Iterator[str]:
        yield from self._table.archived_keys()
        yield from self._written

    def __len__(self) -> int:
        return self._table.count()


_NO_QUERY = Query(
    object="",
    fields={},
    filters=(),
    expression=None,
    order_by=(("key", False),),
    start=1,
    size=1,
    include_private=True,
    how=Comparison(as_of=date.min),
    kinds={"key": "key"},
)
