"""What a feed is: where its lines come from, what their columns mean, the document they make up."""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast, get_args

from intacct_dagster.warehouse.errors import FeedError
from intacct_dagster.warehouse.feeds.expression import ExpressionRefused, expression_type, is_query
from intacct_dagster.warehouse.feeds.payload_template import (
    Constant,
    Fields,
    Node,
    PayloadReader,
    Place,
    columns_of,
    fields_of,
    path_of,
    repeats,
)
from intacct_dagster.warehouse.sql import identifier, literal
from intacct_dagster.warehouse.tables import AMOUNT
from intacct_dagster.warehouse.types import column_name

Kind = Literal["text", "date", "decimal", "integer", "number", "boolean", "list"]
"""What a column of a feed holds: a decimal is an exact amount ("12.50" in a payload), a number the
same as a JSON number (7.5), a list one of texts, which only an expression can make."""

_SQL_TYPES: Mapping[Kind, str] = {
    "text": "VARCHAR",
    "date": "DATE",
    "decimal": AMOUNT,
    "integer": "BIGINT",
    "number": AMOUNT,
    "boolean": "BOOLEAN",
    "list": "VARCHAR[]",
}
_INTEGERS = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
)
FILE = "_file"
"""What an expression calls the name of the file that its line is in."""


@dataclass(frozen=True)
class CsvForm:
    """How CSV files are written.

    `encoding` is a name of Python's; a file that begins with a byte order mark is read as that
    says. `thousands` may stand between groups of three digits; `dates` is DuckDB's strptime format,
    None YYYY-MM-DD. `last_line`: "closed" puts a last line without a line end into quarantine,
    since it may be half-written; "open" takes it.
    """

    separator: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
    thousands: str | None = None
    dates: str | None = None
    last_line: Literal["closed", "open"] = "closed"


@dataclass(frozen=True)
class Computed:
    """A column that is computed from the line by an expression of DuckDB SQL; `type` None is the
    type that the expression has."""

    sql: str
    type: Kind | None = None


#: Between the number and the party of a document whose number is its party's own.
BETWEEN = " \N{MIDDLE DOT} "


@dataclass(frozen=True)
class FeedSpec:
    """A feed of documents, each of one or more lines.

    - `name`: of the feed and of its tables, `[a-z][a-z0-9_]*`.
    - `files`: glob patterns, relative to the folder that the reader is given; a file whose name
      ends in .parquet is Parquet, any other CSV, written as `csv` says. Or `query`: one query of
      DuckDB SQL, which may read the warehouse's tables and the databases of `attach` (name ->
      where it is, in the words of DuckDB's ATTACH).
    - `source_id`: the column with the document's id in the source system. An id belongs to the
      feed, not to an entity: two documents with one id are a conflict wherever they are.
    - `line_id`: the column that numbers a document's lines; with it a document that comes twice is
      distinguished from one with two equal lines. Without it each file's lines of an id are one
      occurrence, or each line, where the payload has nothing that is repeated for each line.
    - `entity`, `date`: the columns that say the partition.
    - `types`: columns that are not text. `date` and the columns of `control_totals` need not be
      named. `computed`: columns that are in no file. An expression may use columns that are named
      somewhere in the feed, and `_file`.
    - `control_totals`: header column -> line column whose sum it must be, such as
      {"amount": "line_amount"}.
    - `payload`: Intacct's fields -> where the value comes from; see `payload_form`. What is empty
      is left out of a payload.
    - `match_on`: Intacct's field that keeps the source id; `compare`: Intacct's fields -> columns
      that must be equal in a document that is already there.
    - `party`: Intacct's field with the vendor or customer of a document, where numbers are each
      party's own: then two documents of a number and two parties are two documents. None where a
      number is enough. `partner`: the same field where a number is enough; it is compared, if
      Intacct's copy has it.
    - `changes`: whether a document that was posted may be changed when the source has it otherwise.
    - `amount`: the column with the document's amount; by default the first of `control_totals`,
      else the first decimal that `compare` names, else none (and the amount of a document is 0).

    A column that is used for a document as a whole (not only for each of its lines) is a header
    column: it must be the same on all lines of the document. Raises FeedError for a definition that
    contradicts itself; its `where` names the key.
    """

    name: str
    source_id: str
    entity: str
    date: str
    payload: Mapping[str, object]
    match_on: str
    files: Sequence[str] = ()
    query: str | None = None
    attach: Mapping[str, str] = field(default_factory=dict)
    csv: CsvForm = field(default_factory=CsvForm)
    line_id: str | None = None
    types: Mapping[str, Kind] = field(default_factory=dict)
    computed: Mapping[str, Computed] = field(default_factory=dict)
    control_totals: Mapping[str, str] = field(default_factory=dict)
    compare: Mapping[str, str] = field(default_factory=dict)
    amount: str | None = None
    party: str | None = None
    partner: str | None = None
    changes: bool = False
    #: the payload as it is built, and the computed columns that it brings along
    template: Fields = field(init=False, repr=False, compare=False)
    expressions: Mapping[str, Computed] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise self._refusal((), f"{self.name!r} is no name for a table", "Use a-z, 0-9 and _.")
        if self.name in ("quarantine", "items", "chunks", "changes"):
            raise self._refusal(
                (), "the warehouse has a table of that name", "Choose another name."
            )
        self._check_source()
        places: dict[str, Place] = {column: ("columns", column) for column in self.computed}
        conditions: set[str] = set()
        expressions = dict(self.computed)

        def note(at: Place, sql: str, type_: str | None, condition: bool) -> str:
            column = path_of(at)
            if type_ is not None and type_ not in get_args(Kind):
                problem = f"{type_} is no type"
                raise self._refusal((*at, "type"), problem, f"Use {', '.join(get_args(Kind))}.")
            expressions[column] = Computed(sql, cast("Kind | None", type_))
            places[column] = at if condition else (*at, "sql")
            if condition:
                conditions.add(column)
            return column

        template = PayloadReader(self._refusal, note).read(self.payload)
        object.__setattr__(self, "template", template)
        object.__setattr__(self, "expressions", expressions)
        self._check_names()
        for column, at in places.items():
            self._settle(column, at)
            if column in conditions and self.kind(column) != "boolean":
                raise self._refusal(at, "`where` is no condition", "Write e.g. amount <> 0.")
        self._check_use()

    # -- columns ------------------------------------------------------------------------------

    @property
    def header_columns(self) -> tuple[str, ...]:
        """Columns that must be the same on every line of a document, in the order of their use."""
        used = [
            self.source_id,
            self.entity,
            self.date,
            *(column for column, each_line in columns_of(self.template) if not each_line),
            *self.control_totals,
            *self.compare.values(),
            *([] if self.amount is None else [self.amount]),
        ]
        return tuple(dict.fromkeys(used))

    @property
    def party_column(self) -> str | None:
        """The column with the party of a document; None if it is no part of its identity."""
        if self.party is None:
            return None
        return dict(fields_of(self.template)).get(self.party)

    @property
    def document_sql(self) -> str:
        """The text that identifies a document of an entity, in SQL: its number, and its party."""
        number = f"CAST({identifier(self.source_id)} AS VARCHAR)"
        party = self.party_column
        if party is None:
            return number
        return f"concat_ws({literal(BETWEEN)}, {number}, CAST({identifier(party)} AS VARCHAR))"

    def comparing_partner(self, there: Collection[str]) -> FeedSpec:
        """Return the feed with its partner compared, if the columns `there` of the copy have it."""
        column = dict(fields_of(self.template)).get(self.partner or "")
        if self.partner is None or column is None or self.partner in self.compare:
            return self
        if column_name(self.partner) not in there:
            return self
        return replace(self, compare={**self.compare, self.partner: column})

    def document_of(self, number: str, party: str | None) -> str:
        """Return the text that identifies the document of a number and a party."""
        if self.party_column is None or not party:
            return number
        return f"{number}{BETWEEN}{party}"

    @property
    def line_columns(self) -> tuple[str, ...]:
        """Columns that may differ from line to line."""
        used = [
            *([] if self.line_id is None else [self.line_id]),
            *(column for column, each_line in columns_of(self.template) if each_line),
            *self.control_totals.values(),
            *self.types,
            *self.computed,
        ]
        header = set(self.header_columns)
        return tuple(column for column in dict.fromkeys(used) if column not in header)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column of the feed's table, the computed ones among them."""
        return (*self.header_columns, *self.line_columns)

    @property
    def source_columns(self) -> tuple[str, ...]:
        """Every column that a file, or the query, must have."""
        return tuple(column for column in self.columns if column not in self.expressions)

    @property
    def one_line_each(self) -> bool:
        """Whether a line is a document: nothing numbers lines or is repeated for each of them."""
        return self.line_id is None and not self.control_totals and not repeats(self.template)

    @property
    def amount_column(self) -> str | None:
        """The column with the amount of a document."""
        decimals = (column for column in self.compare.values() if self.kind(column) == "decimal")
        return self.amount or next(iter(self.control_totals), None) or next(decimals, None)

    def kind(self, column: str) -> Kind:
        """Return what a column holds: as `types` says, else by its use, else text."""
        computed = self.expressions.get(column)
        if computed is not None:
            return computed.type or "text"
        if column in self.types:
            return self.types[column]
        if column == self.date:
            return "date"
        return (
            "decimal" if column in {*self.control_totals, *self.control_totals.values()} else "text"
        )

    def sql_type(self, column: str) -> str:
        """Return the DuckDB type of a column in `feed.<name>`."""
        return _SQL_TYPES[self.kind(column)]

    # -- what a definition must hold ----------------------------------------------------------

    def _check_source(self) -> None:
        if isinstance(self.files, str) or not (self.files or self.query):
            raise self._refusal((), "it names no files", "Give it `files:` or `sql:`.")
        if self.files and self.query:
            raise self._refusal(("sql",), "it has `files` and `sql`", "Keep one of the two.")
        flaw = None if self.query is None else is_query(self.query)
        if flaw is not None:
            raise self._refusal(("sql",), flaw, "Write one SELECT of DuckDB's SQL.")
        for name in self.attach:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in {"memory", "warehouse"}:
                raise self._refusal(
                    ("attach", name), f"{name!r} cannot name a database", "Use a-z, 0-9 and _."
                )
        for key, problem, remedy in _csv_flaws(self.csv):
            raise self._refusal(("csv", key), problem, remedy)

    def _check_names(self) -> None:
        folded: dict[str, str] = {}
        for column in self.columns:
            if column.startswith("_") or not column.strip():
                raise self._refusal(
                    (), f"{column!r} cannot name a column", "Names may not begin with _."
                )
            other = folded.setdefault(column.lower(), column)
            if other != column:
                raise self._refusal(
                    (),
                    f"columns {other} and {column} differ only in case",
                    "Rename one in the file.",
                )

    def _settle(self, column: str, at: Place) -> None:
        """Check an expression, and give its column the type that it has."""
        given = self.expressions[column]
        known = {name: self.sql_type(name) for name in self.source_columns}
        try:
            found = expression_type(given.sql, {**known, FILE: "VARCHAR"})
        except ExpressionRefused as refused:
            raise self._refusal(
                at,
                f"{given.sql!r} cannot be computed: {refused}",
                "An expression may use columns that the feed names elsewhere; name others under "
                "`columns:`.",
            ) from None
        kind = given.type or _kind_of(found)
        if kind is None or (kind == "decimal" and found in {"DOUBLE", "FLOAT"}):
            raise self._refusal(
                at,
                f"{given.sql!r} gives a {found}",
                "Cast it, e.g. CAST(round(… , 2) AS DECIMAL(18, 2)), or say its `type:`.",
            )
        cast("dict[str, Computed]", self.expressions)[column] = Computed(given.sql, kind)

    def _check_use(self) -> None:
        for header, line in self.control_totals.items():
            for column in (header, line):
                if self.kind(column) != "decimal":
                    raise self._refusal(
                        ("control_totals",),
                        f"control_totals: {column} is {self.kind(column)}",
                        "Make it a decimal.",
                    )
            if line in self.header_columns:
                raise self._refusal(
                    ("control_totals",),
                    f"control_totals: {line} is a column of the whole document",
                    "Name a column that is used inside `lines` only.",
                )
        if self.kind(self.date) != "date" or self.kind(self.source_id) != "text":
            raise self._refusal(
                (), "its date must be a date, its source_id text", "Correct `columns:`."
            )
        if self.kind(self.entity) != "text":
            raise self._refusal((), "its entity must be text", "Correct `columns:`.")
        if self.amount is not None and self.kind(self.amount) != "decimal":
            raise self._refusal(
                ("amount",), f"its amount {self.amount} is no decimal", "Correct `columns:`."
            )

    def _refusal(self, at: Place, reason: str, remedy: str) -> FeedError:
        return FeedError(self.name, reason, f"{remedy} See `feeds:` in intacct.yaml.", where=at)


def constant(value: str) -> Computed:
    """Return a column that has the same text on every line."""
    return Computed(literal(value), "text")


def _kind_of(type_: str) -> Kind | None:
    """What a DuckDB type is as a column of a feed; None for a float, a moment and the like."""
    if type_.startswith("DECIMAL") and type_.endswith(")"):
        return "decimal"
    if type_ in _INTEGERS:
        return "integer"
    plain: dict[str, Kind] = {
        "VARCHAR": "text",
        "DATE": "date",
        "BOOLEAN": "boolean",
        "VARCHAR[]": "list",
    }
    return plain.get(type_)


def _csv_flaws(form: CsvForm) -> Iterator[tuple[str, str, str]]:
    """(key, flaw, remedy) of how CSV files are said to be written."""
    if len(form.separator) != 1 or form.separator in '"\r\n':
        yield "separator", "its separator is not one character", "Use e.g. ',' or ';' or \"\\t\"."
    try:
        known = codecs.lookup(form.encoding)
        text = "".encode(known.name) is not None
    except (LookupError, ValueError):
        text = False
    if not text:
        yield "encoding", f"{form.encoding!r} is no encoding", "Use e.g. utf-8, utf-16 or cp1252."
    if form.decimal not in (".", ","):
        yield "decimal", f"{form.decimal!r} is no decimal mark", "Use '.' or ','."
    if form.thousands is not None and (
        len(form.thousands) != 1
        or form.thousands.isdigit()
        or form.thousands in (form.decimal, "-", "+")
    ):
        yield "thousands", f"{form.thousands!r} is no thousands mark", "Use e.g. '.' or ' '."
    if form.dates is not None and not {"%Y", "%m", "%d"} <= set(re.findall("%.", form.dates)):
        yield (
            "dates",
            f"{form.dates!r} does not say year, month and day",
            'Use %Y (four digits), %m and %d, e.g. "%d.%m.%Y".',
        )


__all__ = [
    "FILE",
    "Computed",
    "Constant",
    "CsvForm",
    "FeedSpec",
    "Kind",
    "Node",
    "constant",
]
