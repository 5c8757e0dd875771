"""What a feed is: which files, which of their columns mean what, and the document they make up."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from intacct_dagster.warehouse.errors import FeedError
from intacct_dagster.warehouse.tables import AMOUNT

Kind = Literal["text", "date", "decimal", "integer"]
"""What a column of a feed holds: a decimal is an exact amount, a date is YYYY-MM-DD."""

_SQL_TYPES: Mapping[Kind, str] = {
    "text": "VARCHAR",
    "date": "DATE",
    "decimal": AMOUNT,
    "integer": "BIGINT",
}


@dataclass(frozen=True)
class FeedSpec:
    """A feed of documents, each of one or more lines of CSV.

    - `name`: of the feed and of its tables, `[a-z][a-z0-9_]*`.
    - `files`: glob patterns, relative to the folder that the reader is given.
    - `source_id`: the column with the document's id in the source system. An id belongs to the
      feed, not to an entity: two documents with one id are a conflict wherever they are.
    - `line_id`: the column that numbers a document's lines; with it a document that comes twice is
      told from one with two equal lines. Without it each file's lines of an id are one occurrence.
    - `entity`, `date`: the columns that say the partition.
    - `types`: columns that are not text. `date` and the columns of `total` need not be named.
    - `total`: header column -> line column whose sum it must be, e.g. {"amount": "line_amount"}.
    - `payload`: Intacct's fields -> columns, dots for nesting; one value may be a mapping of its
      own (`lines`), which is repeated for each line. Empty columns are left out of a payload.
    - `match_on`: Intacct's field that keeps the source id; `compare`: Intacct's fields -> columns
      that must be equal in a document that is already there.
    - `amount`: the column with the document's amount; by default the first of `total`, else the
      first decimal that `compare` names, else none (and the amount of a document is 0).

    A column that is used for a document as a whole (not only inside `lines`) is a header column:
    it must be the same on all lines of the document. Raises FeedError for a definition that
    contradicts itself.
    """

    name: str
    files: Sequence[str]
    source_id: str
    entity: str
    date: str
    payload: Mapping[str, str | Mapping[str, str]]
    match_on: str
    line_id: str | None = None
    types: Mapping[str, Kind] = field(default_factory=dict)
    total: Mapping[str, str] = field(default_factory=dict)
    compare: Mapping[str, str] = field(default_factory=dict)
    amount: str | None = None
    delimiter: str = ","

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            self._reject(f"{self.name!r} is no name for a table", "Use a-z, 0-9 and _.")
        if self.name == "quarantine":
            self._reject("the table of that name holds the quarantine", "Choose another name.")
        if isinstance(self.files, str) or not self.files:
            self._reject("it names no files", "Give `files:` a list of patterns.")
        if len(self.delimiter) != 1:
            self._reject("its delimiter is not one character", "Use e.g. ',' or ';'.")
        if sum(isinstance(value, Mapping) for value in self.payload.values()) > 1:
            self._reject("its payload has several kinds of lines", "Keep one nested mapping.")
        self._check_paths(self.payload)
        folded: dict[str, str] = {}
        for column in self.columns:
            if column.startswith("_") or not column.strip():
                self._reject(f"{column!r} cannot name a column", "Names may not begin with _.")
            other = folded.setdefault(column.lower(), column)
            if other != column:
                self._reject(
                    f"columns {other} and {column} differ only in case", "Rename one in the file."
                )
        for header, line in self.total.items():
            for column in (header, line):
                if self.kind(column) != "decimal":
                    self._reject(f"total: {column} is {self.kind(column)}", "Make it a decimal.")
            if line in self.header_columns:
                self._reject(
                    f"total: {line} is a column of the whole document",
                    "Name a column that is used inside `lines` only.",
                )
        if self.kind(self.date) != "date" or self.kind(self.source_id) != "text":
            self._reject("its date must be a date, its source_id text", "Correct `types:`.")
        if self.kind(self.entity) != "text":
            self._reject("its entity must be text", "Correct `types:`.")
        if self.amount is not None and self.kind(self.amount) != "decimal":
            self._reject(f"its amount {self.amount} is no decimal", "Correct `types:`.")

    @property
    def header_columns(self) -> tuple[str, ...]:
        """Columns that must be the same on every line of a document, in the order of their use."""
        used = [
            self.source_id,
            self.entity,
            self.date,
            *(value for value in self.payload.values() if isinstance(value, str)),
            *self.total,
            *self.compare.values(),
            *([] if self.amount is None else [self.amount]),
        ]
        return tuple(dict.fromkeys(used))

    @property
    def line_columns(self) -> tuple[str, ...]:
        """Columns that may differ from line to line."""
        used = [
            *([] if self.line_id is None else [self.line_id]),
            *self.line_fields.values(),
            *self.total.values(),
            *self.types,
        ]
        header = set(self.header_columns)
        return tuple(column for column in dict.fromkeys(used) if column not in header)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that a file must have."""
        return (*self.header_columns, *self.line_columns)

    @property
    def line_fields(self) -> Mapping[str, str]:
        """Intacct's fields of a line -> columns; empty for documents without lines."""
        return next((value for value in self.payload.values() if not isinstance(value, str)), {})

    @property
    def amount_column(self) -> str | None:
        """The column with the amount of a document."""
        decimals = (column for column in self.compare.values() if self.kind(column) == "decimal")
        return self.amount or next(iter(self.total), None) or next(decimals, None)

    def kind(self, column: str) -> Kind:
        """What a column holds: as `types` says, else by its use, else text."""
        if column in self.types:
            return self.types[column]
        if column == self.date:
            return "date"
        return "decimal" if column in {*self.total, *self.total.values()} else "text"

    def sql_type(self, column: str) -> str:
        """The DuckDB type of a column in `feed.<name>`."""
        return _SQL_TYPES[self.kind(column)]

    def _check_paths(self, fields: Mapping[str, str | Mapping[str, str]]) -> None:
        taken: set[tuple[str, ...]] = set()
        for path, value in fields.items():
            parts = tuple(path.split("."))
            if not all(parts):
                self._reject(f"payload: {path!r} is no field", "Write e.g. customer.id.")
            shorter = {parts[:length] for length in range(1, len(parts))}
            if shorter & taken or any(other[: len(parts)] == parts for other in taken):
                self._reject(f"payload: {path} is inside another field", "Keep one of the two.")
            taken.add(parts)
            if isinstance(value, Mapping):
                self._check_paths(value)

    def _reject(self, reason: str, remedy: str) -> NoReturn:
        raise FeedError(self.name, reason, f"{remedy} See `feeds:` in intacct.yaml.")
