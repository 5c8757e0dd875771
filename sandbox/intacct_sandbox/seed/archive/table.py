"""A table whose generated records are on disk, with what was written since lying over them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random
from typing import cast

import msgspec

from intacct_sandbox.errors import rejections
from intacct_sandbox.objects.catalogue import Json, ObjectType
from intacct_sandbox.objects.reading import RecordReader
from intacct_sandbox.objects.tables import Found, Row, Table, Visibility
from intacct_sandbox.query.definition import Aggregate, Filter, ObjectQuery
from intacct_sandbox.query.execution import matching, passing, shown
from intacct_sandbox.query.filter_expression import every_filter
from intacct_sandbox.query.filters import Comparison, by_days, comparable, read_value
from intacct_sandbox.query.grouping import (
    Groups,
    Ranked,
    RowGroup,
    Sums,
    grouped_by,
    groups_of,
    merge,
    shown_groups,
)
from intacct_sandbox.query.ordering import ordered

from .conditions import condition, moment
from .statements import Statements, all_of_them, place_columns
from .store import Archive
from .terms import TableOnDisk, Term, Terms, joined, name, seen_through, text

_MOST_GROUPS = 200_000
_MOST_RECENT = 1_000
_MOST_COUNTS = 1_000
_NEVER = datetime.min.replace(tzinfo=UTC)
_KEY = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_EVERYTHING = Visibility(None, include_private=True, shuffle=None)


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
        stats = archive.stats(type_.name)
        self._base, self._last = stats.records, stats.last_key
        self.next_key = self._last + 1

    def _from(self, entity: str | None) -> str:
        """Return the archive has everything twice: as an entity sees it, and as the top level
        does."""
        return f'archive."{self.type.name} by {"time" if entity is None else "entity"}" AS t'

    @property
    def rows(self) -> Mapping[str, Row]:
        return _ArchivedRows(self, self._rows)

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
        """Return how many records there are."""
        return self._base - len(self._gone) + len(self._rows)

    def archived(self, key: str) -> Row | None:
        """Return a generated record that nobody wrote since."""
        if _KEY.fullmatch(key) is None or int(key) in self._gone:
            return None
        if key not in self._recent:
            if len(self._recent) >= _MOST_RECENT:
                self._recent.clear()
            self._recent[key] = next(self._stored(f"{name('key')} = {key}"), None)
        return self._recent[key]

    def archived_keys(self) -> Iterator[str]:
        """Return the keys of all generated records that nobody wrote since, oldest first."""
        where = self._where([])
        return self._archive.stream(
            f"SELECT key::VARCHAR FROM {self._from(None)} WHERE {where} ORDER BY key"
        )

    def archived_records(self) -> Iterator[Row]:
        """Return all generated records that nobody wrote since, in no order."""
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
        """Return it as of any table, where `path` is that of a reference's key."""
        written = (row for row in self._rows.values() if row.get(path) == value)
        found = next((row for row in written if row["key"] != but), None)
        if found is not None or path not in self.terms.columns:
            return found
        conditions = f"{name(path)} = {int(str(value))}"
        if but is not None:
            conditions += f" AND {name('key')} <> {int(but)}"
        return next(self._stored(conditions, "LIMIT 1"), None)

    # --- what a request sees --------------------------------------------------------------

    def first_keys(self, visibility: Visibility, most: int) -> tuple[int, list[str]]:
        where = self._where([self._scope(visibility)], visibility)
        written = super().seen(visibility)
        total = len(written)
        total += self._archive.number(
            f"SELECT count(*) FROM {self._from(visibility.entity)} WHERE {where}"
        )
        keys = self._archive.texts(
            f"SELECT key::VARCHAR FROM {self._from(visibility.entity)} WHERE {where} "
            f"ORDER BY {', '.join(place_columns(visibility.shuffle))} LIMIT {most}"
        )
        keys += [str(row["key"]) for row in written]
        keys.sort(key=lambda key: self.place(key, visibility.shuffle))
        return total, keys[:most]

    def pick(self, visibility: Visibility, chance: Random) -> Row | None:
        where = self._where([self._scope(visibility)], visibility)
        there = self._archive.number(
            f"SELECT count(*) FROM {self._from(visibility.entity)} WHERE {where}"
        )
        written = super().seen(replace(visibility, shuffle=None))
        if not there + len(written):
            return None
        number = chance.randrange(there + len(written))
        # As on a page: at most all that were written come before the one that is wanted.
        first = max(number - len(written), 0)
        keys = self._archive.texts(
            f"SELECT key::VARCHAR FROM {self._from(visibility.entity)} WHERE {where} "
            f"ORDER BY key LIMIT {number - first + 1} OFFSET {first}"
        )
        keys += [str(row["key"]) for row in written]
        return self.rows[sorted(keys, key=int)[number - first]]

    def page(
        self, query: ObjectQuery, reader: RecordReader, visibility: Visibility, *, null_first: bool
    ) -> Found:
        with self._looking(query, reader, visibility) as look:
            written = matching(query, reader, [*super().seen(visibility), *look.outdated])
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
        self, query: ObjectQuery, reader: RecordReader, visibility: Visibility, *, null_first: bool
    ) -> Iterator[dict[str, Json]] | None:
        if query.is_grouped or self._rows or any(self._reached(query, reader)):
            return None
        return self._streamed(query, reader, visibility, null_first=null_first)

    def _streamed(
        self, query: ObjectQuery, reader: RecordReader, visibility: Visibility, *, null_first: bool
    ) -> Iterator[dict[str, Json]]:
        with self._looking(query, reader, visibility) as look:
            row, looked_up = look.row()
            for each in self._archive.stream(look.everything(row, null_first=null_first)):
                yield msgspec.json.decode(joined([each], looked_up))

    def _merged(self, look: Statements, written: list[Row], *, null_first: bool) -> list[Row]:
        """Return the page, of records on disk and written ones together. A record on disk is
        preceded by at most all that were written: that far before the page begin those that may be
        on it."""
        query = look.query
        wanted = query.start - 1
        first = max(wanted - len(written), 0)
        span = replace(query, start=first + 1, size=wanted + query.size - first)
        there = map(self._read, self._archive.texts(look.rows(span, null_first=null_first)))
        rows = [*there, *written]
        rows.sort(key=lambda row: self.place(str(row["key"]), look.visibility.shuffle))
        rows = ordered(query, look.reader, rows, first=null_first)
        return rows[wanted - first : wanted - first + query.size]

    def _count(self, look: Statements) -> int:
        """Return how many archived records there are. What is in the archive does not change, and
        what hides part of it is part of the statement: nothing is counted twice. The pages of a
        walk differ in the time from which on they ask; of each, only what was passed since the page
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
        self, filters: Sequence[Filter], reader: RecordReader, most: int
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
    def _looking(
        self, query: ObjectQuery, reader: RecordReader, visibility: Visibility
    ) -> Iterator[Statements]:
        """Give what is needed to look something up; what was put aside for it goes afterwards."""
        look = Statements(self.terms, self._from(visibility.entity), query, reader, visibility)
        try:
            conditions = [self._scope(visibility)]
            conditions += self._outdated(look)
            if query.filters:
                parts = [self._filter(one, query.how, look) for one in query.filters]
                self._part(look, conditions, parts)
                conditions.append(all_of_them(query.expression, parts))
            look.where = self._where(conditions, visibility)
            look.counted = look.joins.source(look.source)
            yield look
        finally:
            for table in look.put_aside:
                self._archive.drop(table)

    def _part(self, look: Statements, conditions: list[str], parts: list[str]) -> None:
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
            look.but_since = self._where([*conditions, *others], look.visibility)

    def _scope(self, visibility: Visibility) -> str:
        # Every record of the archive belongs to an entity.
        if visibility.entity is not None:
            return f"{name('entity.key')} = {int(visibility.entity)}"
        return "true" if visibility.include_private else "false"

    def _where(self, conditions: list[str], visibility: Visibility | None = None) -> str:
        hidden = self._gone | {int(key) for key in (visibility.unseen if visibility else ())}
        if hidden:
            conditions = [*conditions, f"{name('key')} NOT IN ({', '.join(map(str, hidden))})"]
        return " AND ".join(conditions) or "true"

    def _outdated(self, look: Statements) -> Iterator[str]:
        """Yield where a query reaches through a reference to a record of another archive that was
        written since, the records that refer to it are looked at one by one, like written ones."""
        for column, gone in dict(self._reached(look.query, look.reader)).items():
            keys = ", ".join(map(str, sorted(gone)))
            there = self._stored(f"{self._scope(look.visibility)} AND {name(column)} IN ({keys})")
            known = {row["key"] for row in look.outdated}
            unseen = look.visibility.unseen
            look.outdated += [row for row in there if row["key"] not in known | unseen]
            yield f"({name(column)} IS NULL OR {name(column)} NOT IN ({keys}))"

    def _reached(
        self, query: ObjectQuery, reader: RecordReader
    ) -> Iterator[tuple[str, frozenset[int]]]:
        """Yield references through which a query reaches to another archive, with the keys of the
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

    def _filter(self, one: Filter, how: Comparison, look: Statements) -> str:
        ref, member = self.terms.reference(one.path) or (None, "")
        if ref is not None and member != "key":
            target = look.reader.table(ref.object)
            if target is not None and not target.is_archived:
                return self._through(one, how, ref.path, member, look)
        term = look.term(one.path, one.kind)
        return condition(one, term, how) or self._tried(one, how, term, look)

    def _through(self, one: Filter, how: Comparison, at: str, member: str, look: Statements) -> str:
        """Return a filter on what a reference shows: which of the records that it may name pass."""
        convert = comparable(one.kind, fold=how.fold)
        values = seen_through(look.reader, at, member)
        passing = {key: one.test(convert(value)) for key, value in values.items()}
        key = self.terms.stored(f"{at}.key", "key").native
        if not one.test(None):
            found = ", ".join(each for each, passes in passing.items() if passes)
            return f"{key} IN ({found or 'NULL'})"
        failing = ", ".join(each for each, passes in passing.items() if not passes)
        return f"({key} IS NULL OR {key} NOT IN ({failing}))" if failing else "true"

    def _tried(self, one: Filter, how: Comparison, term: Term, look: Statements) -> str:
        """Return a filter that SQL cannot say: each value there is, is put to the test."""
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

    def _written_groups(self, look: Statements, written: list[Row]) -> Groups:
        def place(number: int) -> int:
            return self.place(str(written[number]["key"]), look.visibility.shuffle)

        return groups_of(look.query, look.reader, written, place)

    def _groups(self, look: Statements) -> Groups:
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
            group = RowGroup(int(row["place"]))
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


_NO_QUERY = ObjectQuery(
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


class _ArchivedRows(Mapping[str, Row]):
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
