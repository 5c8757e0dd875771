"""The SQL statements that answer one query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from intacct_sandbox.errors import rejections
from intacct_sandbox.objects.catalogue import Kind
from intacct_sandbox.objects.reading import RecordReader
from intacct_sandbox.objects.tables import Row, Visibility
from intacct_sandbox.query.definition import Aggregate, ObjectQuery
from intacct_sandbox.query.filter_expression import Expression

from .terms import Joins, Term, Terms, name, object_of

_NOISES = 1 << 32


def all_of_them(expression: Expression | None, parts: Sequence[str]) -> str:
    """Return the conditions joined as a filter expression says, all of them without one."""
    if expression is None:
        return f"({' AND '.join(parts)})"
    if isinstance(expression, int):
        return parts[expression]
    joint = " AND " if expression.every else " OR "
    return f"({joint.join(all_of_them(term, parts) for term in expression.terms)})"


def place_columns(shuffle: int | None) -> tuple[str, ...]:
    """Return what records are sorted by when nobody asks for an order; see `Visibility`."""
    if shuffle is None:
        return (name("key"),)
    if shuffle:
        odd = (2 * shuffle + 1) % _NOISES
        return (f"(t.noise::UBIGINT * {odd}::UBIGINT) % {_NOISES}", name("key"))
    return ("t.noise", name("key"))


@dataclass
class Statements:
    """The statements that answer one query."""

    terms: Terms
    source: str
    query: ObjectQuery
    reader: RecordReader
    visibility: Visibility
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
        """Return the term of a field, joined where that is needed."""
        return self.terms.term(path, kind, self.reader, self.joins)

    def counting(self) -> str:
        """Return how many records there are."""
        return f"SELECT count(*) FROM {self.counted} WHERE {self.where}"

    def counting_all(self) -> str:
        """Return the same, since ever."""
        return f"SELECT count(*) FROM {self.counted} WHERE {self.but_since}"

    def rows(self, query: ObjectQuery, *, null_first: bool) -> str:
        """Return the records of a page, as they are kept."""
        return self.ordered(self.terms.row(), query, null_first=null_first)

    def everything(self, what: str, *, null_first: bool) -> str:
        """Return something of every record, in order."""
        order = self._order(self.query, null_first=null_first)
        source = self.joins.source(self.source)
        return f"SELECT {what} FROM {source} WHERE {self.where} ORDER BY {order}"

    def row(self) -> tuple[str, list[Mapping[str, str]]]:
        """Return a row of the answer as text, and what has to be put into it (see `joined`)."""
        pieces = {
            path: self.terms.piece(path, self.query.kinds[path], self.reader, self.joins)
            for path in self.query.fields
        }
        looked_up = [one.looked_up for one in pieces.values() if one.looked_up is not None]
        return object_of(pieces), looked_up

    def _order(self, query: ObjectQuery, *, null_first: bool) -> str:
        parts = []
        for path, descending in query.order_by:
            nulls = "FIRST" if null_first != descending else "LAST"
            way = "DESC" if descending else "ASC"
            term = self.term(path, query.kinds[path])
            if term.varies:
                parts.append(f"{term.native} {way} NULLS {nulls}")
            if path == "key":
                return ", ".join(parts)
        return ", ".join((*parts, *place_columns(self.visibility.shuffle)))

    def ordered(self, what: str, query: ObjectQuery, *, null_first: bool) -> str:
        """Return something of the records of a page: first their places, which takes the columns
        that put them in order, then what is asked for."""
        order = self._order(query, null_first=null_first)
        source = self.joins.source(self.source)
        places = (
            f"SELECT t.rowid FROM {source} WHERE {self.where} ORDER BY {order} "
            f"LIMIT {query.size} OFFSET {query.start - 1}"
        )
        return f"SELECT {what} FROM {source} WHERE t.rowid IN ({places}) ORDER BY {order}"

    def groups(self, by: Sequence[str], most: int) -> str:
        """Return the groups, each with its place and what is known of it."""
        query = self.query
        terms = [self.term(path, query.kinds[path]) for path in by]
        first = " * 2147483648 + ".join(
            f"({part})::HUGEINT" for part in place_columns(self.visibility.shuffle)
        )
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
