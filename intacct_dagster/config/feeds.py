"""Sources of documents to post, and whether they are posted."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from intacct_dagster.client.documents import document_facts
from intacct_dagster.config.section import NonEmpty, SettingsSection
from intacct_dagster.warehouse.feeds import (
    Computed,
    CsvForm,
    FeedSpec,
    Kind,
    constant,
    without_password,
)

ColumnType = Literal["text", "date", "decimal", "integer", "number", "boolean"]


class Csv(SettingsSection):
    """How a feed's CSV files are written."""

    separator: str = ","
    """Between two columns."""
    encoding: str = "utf-8"
    """A file that begins with a byte order mark is read as that says, whatever this says."""
    decimal: str = "."
    """Between units and cents."""
    thousands: str | None = None
    """Between thousands, if anything is."""
    dates: str | None = None
    """A format of DuckDB's strptime, such as `%d.%m.%Y`. Default: `2026-10-13`."""
    last_line: Literal["closed", "open"] = "closed"
    """`open` takes a last line without a line end, which may be half-written."""


class FeedColumn(SettingsSection):
    """A column of a feed: of its files, with a type, or computed by `sql`, or always `value`."""

    type: ColumnType | None = None
    """`decimal` is an exact amount and goes out as a text ("12.50"), `number` as a JSON number. A
    column of the files may be given by its type alone: `{amount: decimal}`."""
    sql: NonEmpty | None = None
    """An expression over the other columns of the line."""
    value: NonEmpty | None = None
    """A text that is the same on every line."""

    @model_validator(mode="before")
    @classmethod
    def _a_name_is_its_type(cls, value: Any) -> Any:
        return {"type": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _says_one_thing(self) -> FeedColumn:
        if self.value is not None and (self.sql or self.type):
            raise ValueError("a column with a `value` is a text, and has no `sql` and no `type`")
        if self.type is None and self.sql is None and self.value is None:
            raise ValueError("say its type, or {sql: …}, or {value: …}")
        return self


class Feed(SettingsSection):
    """A source of documents to post; docs/feeds.md has an example for every target.

    Its lines are in `files` (CSV or Parquet), or are the rows of a query, `sql`.
    """

    files: tuple[NonEmpty, ...] = ()
    """A pattern or several, relative to `intacct.yaml`, or a URL that fsspec knows, such as
    `s3://bucket/sales/*.csv` (its files are copied to `inbox/` beside the warehouse before they
    are read). A name that ends in `.parquet` is Parquet, any other CSV."""
    sql: str | None = None
    """Instead of `files`: one query of DuckDB's SQL."""
    attach: dict[str, NonEmpty] = Field(default_factory=dict)
    """Databases that the query may read: a name, and where it is in the words of DuckDB's
    ATTACH."""
    csv: Csv = Csv()
    """How CSV is written."""
    object: str
    """The REST object that is posted to; it has to be among `objects:`."""
    source_id: NonEmpty
    """The column with the document's id. Only the lines of one document share it."""
    line_id: NonEmpty | None = None
    """The column that numbers the lines of a document, if it has several."""
    entity: NonEmpty
    """The column with the entity: half of the partition."""
    date: NonEmpty
    """The column with the day: the partition's other half."""
    columns: dict[str, FeedColumn] = Field(default_factory=dict)
    """Types of columns (default: `text`), and columns that are in no file: `{sql: …}` or
    `{value: …}`."""
    control_totals: dict[str, str] = Field(default_factory=dict)
    """A column of the document, and the column whose sum over its lines it must be."""
    match_on: NonEmpty
    """Intacct's field that keeps the source id: `referenceNumber`, `billNumber`,
    `documentNumber`, `id`, an `nsp::` field, …"""
    identity: Literal["number", "party"] | None = None
    """Whether an id is enough to tell documents of an entity apart (`number`), or is each vendor's
    or customer's own (`party`). By default as Intacct has it for the object: bills are each
    vendor's own."""
    compare: dict[str, str] = Field(default_factory=dict)
    """Intacct's fields, and the columns that must equal them in a document that is there
    already."""
    amount: NonEmpty | None = None
    """The column with the document's amount, where neither `control_totals` nor `compare` tells."""
    payload: dict[str, Any]
    """Intacct's fields, and where the value of each comes from."""
    on_change: Literal["report", "patch"] = "report"
    """What happens to a document that was posted and that its source has changed since: it is
    reported, or its record in Intacct is changed where that may be."""
    after: tuple[str, ...] = ()
    """Feeds that are posted before this one in a run that has both: a customer before the
    invoices for it."""

    @field_validator("files", mode="before")
    @classmethod
    def _one_is_enough(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @property
    def party(self) -> str | None:
        """Intacct's field with the party of a document, if that is part of its identity."""
        facts = document_facts(self.object)
        by_party = (self.identity or facts.numbered_by) == "party"
        return facts.party if by_party else None

    @property
    def source(self) -> str:
        """Where its lines come from, in words."""
        shown = ", ".join(map(without_password, self.files))
        return "a query" if self.sql is not None else f"`{shown}`"

    def spec(self, name: str) -> FeedSpec:
        """The feed as the warehouse reads it. Raises FeedError, with the key, if it cannot work."""
        computed: dict[str, Computed] = {}
        types: dict[str, Kind] = {}
        for column, given in self.columns.items():
            if given.value is not None:
                computed[column] = constant(given.value)
            elif given.sql is not None:
                computed[column] = Computed(given.sql, given.type)
            elif given.type is not None:
                types[column] = given.type
        return FeedSpec(
            name=name,
            files=self.files,
            query=self.sql,
            attach=self.attach,
            csv=CsvForm(**self.csv.model_dump()),
            source_id=self.source_id,
            line_id=self.line_id,
            entity=self.entity,
            date=self.date,
            types=types,
            computed=computed,
            control_totals=self.control_totals,
            amount=self.amount,
            payload=self.payload,
            match_on=self.match_on,
            compare=self.compare,
            party=self.party,
            partner=None if self.party else document_facts(self.object).party,
            changes=self.on_change == "patch",
        )


class Posting(SettingsSection):
    """Nothing is posted until someone says so: a plan without leave is a dry run."""

    enabled: bool = False
    """Whether what is planned is sent."""
    approval: Literal["none", "required"] = "none"
    """With `required` a person approves each plan, by its hash, before it is posted."""
    settle_seconds: int = Field(default=300, ge=0, le=3_600)
    """Seconds after which what was created shows in queries, at the latest. A request without an
    answer is looked for only then, and so is one that Intacct refused as a whole."""
