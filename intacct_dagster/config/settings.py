"""`intacct.yaml` as typed settings, with errors that name the file, the line and the key.

Nothing is read from the network here, so Dagster can load the code location while Intacct sleeps.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from intacct_dagster.client import (
    XML_ONLY,
    RequestRefused,
    XmlAccess,
    address_flaw,
    is_loopback,
    xml_access,
    xml_object,
)
from intacct_dagster.config import timetable
from intacct_dagster.warehouse import FeedError
from intacct_dagster.warehouse.feeds import (
    Computed,
    CsvForm,
    FeedSpec,
    Kind,
    constant,
    without_password,
)

CONFIG_VARIABLE = "INTACCT_CONFIG"
CONFIG_FILE = "intacct.yaml"

#: Masters. They change seldom, so the changes of a few weeks are not the list of customers: the
#: first partition of such an object also takes everything that was last changed before it.
DIMENSIONS = frozenset(
    {
        "accounts-payable/vendor",
        "accounts-receivable/customer",
        "company-config/department",
        "company-config/employee",
        "company-config/location",
        "general-ledger/account",
        "general-ledger/journal",
    }
)

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")
_OBJECT = re.compile(r"^[a-z][a-z0-9-]*/[A-Za-z0-9_:. -]+$")
_VARIABLE_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_NAME = re.compile(r"^[a-z][a-z0-9_]*$")

NonEmpty = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
#: What Dagster takes as an owner.
_OWNER = r"^(team:[A-Za-z0-9_.-]+|[^@\s]+@[^@\s]+\.[^@\s]+)$"
Owner = Annotated[str, StringConstraints(pattern=_OWNER)]
ColumnType = Literal["text", "date", "decimal", "integer", "number", "boolean"]


def _safe_address(address: str) -> str:
    flaw = address_flaw(address)
    if flaw is not None:
        raise ValueError(flaw)
    return address


#: Where secrets are sent, or a person who has just consented: https, or this machine.
Address = Annotated[str, AfterValidator(_safe_address)]


class ConfigError(Exception):
    """The configuration cannot be used. Each line of the message is one thing to correct."""


class _Settings(BaseModel):
    # The docstring of a class or of a key is what docs/configuration.md says of it.
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Auth(_Settings):
    """How sessions are opened. The secret's value is never shown, in no representation."""

    grant: Literal["client_credentials", "authorization_code"] = "client_credentials"
    """Sage recommends `client_credentials`, with a Web Services user for each entity; with
    `authorization_code` a person consents once for each."""
    client_id: NonEmpty
    """The application's, as registered with Sage."""
    client_secret: NonEmpty = Field(repr=False)
    """Its secret: the name of an environment variable, `${INTACCT_CLIENT_SECRET}`."""
    redirect_uri: Address = "http://127.0.0.1:8766/callback"
    """Where Sage sends the browser after consent; registered with the application. It is https, or
    on this machine."""
    session_key: Literal["file", "keyring"] = "file"
    """Where the key of the stored sessions is, unless INTACCT_TOKEN_KEY has it: `token.key` beside
    the state store, or the OS keyring (`intacct-dagster sessions key` puts it there)."""
    #: the environment variable that held the secret; set by `read_settings`, not in the file
    secret_variable: SkipJsonSchema[str | None] = None


class Xml(_Settings):
    """Access to the XML API, for objects that REST does not have (`xml/gl-detail`)."""

    sender_id: NonEmpty
    """That of your Web Services subscription."""
    sender_password: NonEmpty = Field(repr=False)
    """Its password: the name of an environment variable, `${INTACCT_SENDER_PASSWORD}`."""
    url: Address | None = None
    """Where the gateway lies. Default: `/ia/xml/xmlgw.phtml` on the host of `base_url`."""
    utc_offset: Annotated[str, StringConstraints(pattern=r"^[+-](0\d|1[0-4]):[0-5]\d$")] = "+00:00"
    """That of the time zone in the preferences of the Sage users, in which the gateway writes
    change times."""
    #: the environment variable that held the password; set by `read_settings`, not in the file
    secret_variable: SkipJsonSchema[str | None] = None


class Entity(_Settings):
    """A legal entity, and the Sage user whose sessions read and post its books.

    One that is `retired` keeps its partitions and their history, and nothing runs for it by itself.
    """

    id: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20)]
    """The entity's id in Intacct, such as `E110`."""
    user: NonEmpty
    """The id of the Sage user that has access to it."""
    retired: bool = False
    """Whether nothing runs for it by itself any more."""

    @field_validator("id")
    @classmethod
    def _usable_as_partition(cls, value: str) -> str:
        # Dagster joins the dimensions of a partition key with "|"; "..." and "," mean ranges.
        if any(mark in value for mark in ("|", ",", "...", "/")):
            raise ValueError("an entity id with '|', ',', '/' or '...' cannot name a partition")
        return value


class ObjectSettings(_Settings):
    """A REST object to keep in the warehouse: its name, or what is said of it here."""

    name: str
    """Application and object, such as `accounts-payable/bill`."""
    fields: tuple[str, ...] | None = None
    """Narrows what is read: dotted paths such as `customer.id`. Default: all that the model
    offers."""
    history: Literal["all", "from_start"] | None = None
    """With `all` the first partition also takes what was last changed before it. Default: `all`
    for masters, and for objects that a feed posts to."""
    read_by: Literal["changes", "lines", "snapshot"] | None = None
    """How changes are found: by its own change times, by those of the document that its rows are
    lines of, or not at all. Default: what the object offers."""
    parent: NonEmpty | None = None
    """The reference to that document, where it is not the one that the model calls the owner."""
    get_fields: tuple[NonEmpty, ...] = ()
    """What no query gives, such as `lines` or `attachment`: read record by record, 500 to a
    request. Lists become JSON."""

    @field_validator("name")
    @classmethod
    def _is_object_name(cls, value: str) -> str:
        if not _OBJECT.match(value):
            raise ValueError(f"'{value}' is not an object name such as accounts-payable/bill")
        return value

    @model_validator(mode="after")
    def _parent_is_read_through(self) -> ObjectSettings:
        if self.parent is not None and self.read_by not in (None, "lines"):
            raise ValueError(
                f"{self.name} has a `parent` and is read by {self.read_by}: leave one of them out"
            )
        return self

    @property
    def takes_older(self) -> bool:
        """Whether the first partition also takes what was last changed before it."""
        return self.history == "all"


class Limits(_Settings):
    """What the company's Sage plan allows (tier 1: 6 requests at once, 100,000 a month)."""

    concurrency: int = Field(default=6, ge=1, le=64)
    """Requests in flight at once, over all processes that share the state store."""
    page_size: int = Field(default=4000, ge=1, le=4000)
    """Rows of a page, as many as Intacct gives."""
    chunk_size: int = Field(default=500, ge=1, le=500)
    """Documents of one posting request, as many as Intacct takes."""
    chunk_bytes: int = Field(default=4_000_000, ge=1)
    """Bytes of one posting request; Sage documents no limit."""
    monthly_transactions: int = Field(default=100_000, ge=1)
    """API transactions of the plan in a month. A check warns before they are used up."""
    lock_timeout: float = Field(default=60, gt=0)
    """Seconds to wait for another process that holds the warehouse."""


class Reading(_Settings):
    """How changes are read, so that late ones are not lost and deletes are found."""

    settle_seconds: int = Field(default=300, ge=0, le=86_400)
    """What changed within these last seconds is left to the next run: a record may show only
    after its change time."""
    look_back_days: int = Field(default=1, ge=0, le=31)
    """Days before those of a run that are read again, for what showed even later."""
    sweep_months: int | None = Field(default=None, ge=1)
    """A sweep for deletes covers what changed in so many months. Default: all."""


class Reader(_Settings):
    """The copy of the warehouse for analysts, `warehouse.reader.duckdb`, made as runs end.

    A copy takes 0.6 s for each GB (measured); no run loads meanwhile.
    """

    enabled: bool = True
    """Whether it is made."""
    seconds_between: float = Field(default=60, ge=0)
    """Seconds between two copies while other runs are under way; the last run to end makes one
    always."""


class Posting(_Settings):
    """Nothing is posted until someone says so: a plan without leave is a dry run."""

    enabled: bool = False
    """Whether what is planned is sent."""
    approval: Literal["none", "required"] = "none"
    """With `required` a person approves each plan, by its hash, before it is posted."""


class Schedules(_Settings):
    """What runs by itself, and when; docs/operations.md tells what each does.

    Nothing does until `running` is true, or a person switches it on in the UI. Times are of
    `time_zone`; partitions are UTC days, because Intacct's change times are UTC.
    """

    running: bool = False
    """Whether all of this is on from the moment Dagster loads it."""
    time_zone: str = "UTC"
    """Of the times here, such as `Europe/London`."""
    nightly: str = "02:00"
    """When yesterday is read, and what is missing before it, of each entity."""
    weekly_sweep: str = "sun 04:00"
    """When deletes are sought."""
    monthly_closing: str = "3 06:00"
    """When the month before is looked at: day of the month, and time."""
    maintenance: tuple[str, ...] = ()
    """Windows of the week in which nothing asks Intacct, such as `sat 20:00 - sun 02:00`. Sage
    announces its own to its customers; none is assumed."""
    catch_up_days: int = Field(default=31, ge=1, le=366)
    """Days that are made up for by themselves; what is missing before is for a backfill."""
    runs_at_once: int = Field(default=20, ge=1, le=1000)
    """Runs that were launched by themselves and have not ended."""
    feed_seconds: int = Field(default=30, ge=5, le=86_400)
    """Seconds between two looks at a feed's folder."""
    feed_settle_seconds: int = Field(default=5, ge=1, le=86_400)
    """Seconds that a file of a feed has the same size and change time before it is read: until
    then it may be half-written."""
    changes_minutes: int = Field(default=60, ge=5, le=1440)
    """Minutes between two looks at what changed in Intacct; a look costs a transaction for each
    object and entity."""
    watch: tuple[str, ...] | None = None
    """The objects that are looked at. Default: those that feeds post to."""

    @field_validator("nightly", "weekly_sweep", "monthly_closing", mode="before")
    @classmethod
    def _minutes_are_a_time(cls, value: object) -> object:
        # YAML 1.1 reads 12:30 as a number of base 60.
        return f"{value // 60:02}:{value % 60:02}" if isinstance(value, int) else value

    @field_validator("nightly")
    @classmethod
    def _is_time_of_day(cls, value: str) -> str:
        timetable.daily(value)
        return value

    @field_validator("weekly_sweep")
    @classmethod
    def _is_time_of_week(cls, value: str) -> str:
        timetable.weekly(value)
        return value

    @field_validator("monthly_closing")
    @classmethod
    def _is_time_of_month(cls, value: str) -> str:
        timetable.monthly(value)
        return value

    @field_validator("maintenance", mode="before")
    @classmethod
    def _one_is_enough(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("maintenance")
    @classmethod
    def _are_windows(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            timetable.window(each)
        return value

    @field_validator("time_zone")
    @classmethod
    def _is_time_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"'{value}' is not a time zone such as Europe/London") from None
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the times."""
        return ZoneInfo(self.time_zone)

    def maintenance_at(self, at: datetime) -> str | None:
        """The window, as it was written, that the aware moment lies in; None outside of all."""
        windows = map(timetable.window, self.maintenance)
        return next((each.text for each in windows if each.holds(at, self.zone)), None)


class Email(_Settings):
    """Notices by e-mail. `user` and `password` are names of environment variables."""

    host: NonEmpty
    """The mail server."""
    port: int = Field(default=587, ge=1, le=65_535)
    """Its port."""
    starttls: bool = True
    """Whether the connection is encrypted, and the server's certificate verified, before anything
    is sent. `false` only for a relay that takes no `user` and `password`."""
    sender: NonEmpty
    """The address that the notices come from."""
    to: tuple[NonEmpty, ...] = Field(min_length=1)
    """The addresses that they go to."""
    user: str | None = None
    """The variable that holds the user's name."""
    password: str | None = None
    """The variable that holds the password."""

    @model_validator(mode="after")
    def _variables_are_names(self) -> Email:
        for each in (self.user, self.password):
            _is_variable(each)
        if (self.user is None) != (self.password is None):
            raise ValueError("`user` and `password` belong together")
        if self.user is not None and not self.starttls:
            raise ValueError(
                "`user` and `password` are sent over verified TLS only: remove `starttls: false`, "
                "or remove `user` and `password`"
            )
        return self


class Notification(_Settings):
    """A way to tell people of failed runs and checks: one of `slack`, `http` and `email`.

    `slack` and `http` are names of environment variables that hold an address, which is a secret.
    """

    slack: str | None = None
    """The variable that holds the address of a Slack webhook."""
    http: str | None = None
    """The variable that holds an address that takes JSON."""
    email: Email | None = None
    """A mail server and addresses."""
    severity: Literal["warn", "error"] = "warn"
    """`error` suppresses warnings."""

    @model_validator(mode="after")
    def _is_one_way(self) -> Notification:
        if sum(each is not None for each in (self.slack, self.http, self.email)) != 1:
            raise ValueError("say one of slack, http and email; another is another item")
        for each in (self.slack, self.http):
            _is_variable(each)
        return self

    @property
    def way(self) -> str:
        """What it is called."""
        if self.email is not None:
            return "e-mail"
        return "Slack" if self.slack is not None else "HTTP"


class Csv(_Settings):
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


class FeedColumn(_Settings):
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


class Feed(_Settings):
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
    total: dict[str, str] = Field(default_factory=dict)
    """A column of the document, and the column whose sum over its lines it must be."""
    match_on: NonEmpty
    """Intacct's field that keeps the source id: `referenceNumber`, `billNumber`,
    `documentNumber`, `id`, an `nsp::` field, …"""
    compare: dict[str, str] = Field(default_factory=dict)
    """Intacct's fields, and the columns that must equal them in a document that is there
    already."""
    amount: NonEmpty | None = None
    """The column with the document's amount, where neither `total` nor `compare` tells."""
    payload: dict[str, Any]
    """Intacct's fields, and where the value of each comes from."""
    on_change: Literal["report", "patch"] = "report"
    """What becomes of a document that was posted and that its source has otherwise now: it is
    reported, or its record in Intacct is changed where that may be."""
    after: tuple[str, ...] = ()
    """Feeds that are posted before this one in a run that has both: a customer before the
    invoices for it."""

    @field_validator("files", mode="before")
    @classmethod
    def _one_is_enough(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

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
            total=self.total,
            amount=self.amount,
            payload=self.payload,
            match_on=self.match_on,
            compare=self.compare,
            changes=self.on_change == "patch",
        )


class Settings(_Settings):
    """Everything a code location needs to know."""

    company: NonEmpty
    """The company id."""
    base_url: Address
    """`https://api.intacct.com/ia/api/v1` for a real company. Plain http is for the sandbox on this
    machine: `localhost`, `127.0.0.0/8` or `[::1]`."""
    scope: Literal["production", "non-production"] = "non-production"
    """What the application is registered for with Sage."""
    auth: Auth
    """How sessions are opened."""
    xml: Xml | None = None
    """Who asks the XML API, for objects that REST does not have: docs/xml.md."""
    entities: tuple[Entity, ...] = Field(min_length=1)
    """The entities, each with its Sage user."""
    start_date: date
    """The first partition."""
    end_date: date | None = None
    """The last one, for a company that stands still. Default: it moves with the days."""
    end_offset: int = Field(default=0, ge=0, le=1)
    """0: the last partition is yesterday; 1: today, which is not over, has one as well."""
    objects: tuple[ObjectSettings, ...] = Field(min_length=1)
    """What is kept in the warehouse. A name alone will do: `accounts-payable/bill`."""
    warehouse: Path = Path("data/warehouse.duckdb")
    """The DuckDB file."""
    state: str = "data/state.db"
    """Sessions, encrypted, and the posting ledger: a SQLite file, or the URL of a PostgreSQL
    database, which requires the key of the sessions in INTACCT_TOKEN_KEY or the keyring."""
    limits: Limits = Limits()
    """What the company's Sage plan allows."""
    reading: Reading = Reading()
    """How changes and deletes are read."""
    keep_pages: int | None = Field(default=None, ge=1, le=3650)
    """Pages as Intacct sent them stay for so many days, such as `30 days`, in `pages/` beside the
    warehouse. Default: not at all."""
    feeds: dict[str, Feed] = Field(default_factory=dict)
    """Sources of documents to post, by name."""
    posting: Posting = Posting()
    """Whether anything is posted."""
    reader: Reader = Reader()
    """The copy for analysts."""
    owners: tuple[Owner, ...] = ()
    """Whom the UI names as owners of all assets: e-mail addresses, or teams as `team:finance`."""
    source_code: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$")] | None = None
    """Where the folder that holds the package is on the web, at a branch or tag, such as
    `https://github.com/acme/books/tree/main`: the UI's links to code lead there. Default: files of
    the machine that runs it."""
    schedules: Schedules = Schedules()
    """What runs by itself."""
    notifications: tuple[Notification, ...] = ()
    """Whom to tell of failed runs and checks, and how."""
    dagster_url: str | None = None
    """Where the Dagster UI is, for links in notices. `intacct-dagster dev` answers to its name."""
    #: the directory that relative paths are relative to: where the file lies
    directory: SkipJsonSchema[Path] = Path()

    @field_validator("base_url")
    @classmethod
    def _without_trailing_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @field_validator("objects", mode="before")
    @classmethod
    def _names_stand_for_objects(cls, value: object) -> object:
        if isinstance(value, list):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value

    @field_validator("keep_pages", mode="before")
    @classmethod
    def _days_from_words(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        days = re.fullmatch(r"(\d+) days?", value.strip())
        if days is None:
            raise ValueError(f"'{value}' is not a time such as 30 days")
        return int(days[1])

    @model_validator(mode="after")
    def _belongs_together(self) -> Settings:
        _no_duplicates("entities", [entity.id for entity in self.entities])
        _no_duplicates("objects", [each.name for each in self.objects])
        if self.end_date is not None and self.end_date < self.start_date:
            raise ValueError(f"end_date {self.end_date} is before start_date {self.start_date}")
        if not self.is_sandbox and self.auth.secret_variable is None:
            raise ValueError(
                "auth.client_secret of a real company comes from the environment, such as "
                "${INTACCT_CLIENT_SECRET}: a secret in a file is soon in a repository"
            )
        for name in [each.name for each in self.objects if each.name.startswith(XML_ONLY)]:
            self._xml_is_possible(name)
        if self.auth.grant == "authorization_code":
            # Sage ends the first refresh token when one user consents a second time.
            _one_user_each(self.entities)
        watched = self.schedules.watch or ()
        for name in sorted(set(watched) - {each.name for each in self.objects}):
            raise ValueError(f"schedules.watch: {name} is not among the objects: add it there")
        for name in watched:
            only_xml = xml_object(name)
            if only_xml is not None and only_xml.by_period:
                raise ValueError(f"schedules.watch: {name} has no change times: leave it out")
        for name, feed in self.feeds.items():
            if not _NAME.match(name):
                raise ValueError(f"feed '{name}': a name is lower case, like sales_invoices")
            if feed.payload.get(feed.match_on) != feed.source_id:
                raise ValueError(
                    f"feed '{name}': payload.{feed.match_on} must be {feed.source_id}: Intacct "
                    "keeps the source id there, so that a document is found again"
                )
            if feed.object not in {each.name for each in self.objects}:
                raise ValueError(
                    f"feed '{name}' posts to {feed.object}, which is not among the objects: "
                    "reconciling needs it in the warehouse; add it there"
                )
        return self

    def _xml_is_possible(self, name: str) -> None:
        try:
            xml_object(name)
        except RequestRefused as error:
            raise ValueError(f"objects: {' '.join(str(error).splitlines())}") from None
        if self.xml is None:
            raise ValueError(
                f"objects: {name} is read through the XML API, which needs "
                "`xml: {sender_id: …, sender_password: ${INTACCT_SENDER_PASSWORD}}`"
            )
        if not self.is_sandbox and self.xml.secret_variable is None:
            raise ValueError(
                "xml.sender_password of a real company comes from the environment, such as "
                "${INTACCT_SENDER_PASSWORD}: a secret in a file is soon in a repository"
            )
        if name in {feed.object for feed in self.feeds.values()}:
            raise ValueError(f"feeds: {name} can only be read: post to a REST object")

    @model_validator(mode="after")
    def _feeds_have_an_order(self) -> Settings:
        for name, feed in self.feeds.items():
            for other in feed.after:
                if other not in self.feeds:
                    raise ValueError(f"feed '{name}' comes after '{other}', which is no feed")
        try:
            TopologicalSorter({name: feed.after for name, feed in self.feeds.items()}).prepare()
        except CycleError as error:
            circle = " after ".join(str(each) for each in reversed(error.args[1]))
            raise ValueError(f"feeds wait for each other: {circle}") from None
        return self

    @model_validator(mode="after")
    def _history_is_decided(self) -> Settings:
        # What is posted to must be known whole: a document from before the first partition would
        # look missing in Intacct, and be posted a second time.
        posted_to = {feed.object: name for name, feed in self.feeds.items()}
        for each in self.objects:
            if each.history == "from_start" and each.name in posted_to:
                raise ValueError(
                    f"feed '{posted_to[each.name]}' posts to {each.name}, whose history is "
                    "from_start: what is older would look missing and be posted twice; say "
                    "history: all"
                )
        objects = tuple(
            each.model_copy(
                update={
                    "history": each.history
                    or ("all" if each.name in DIMENSIONS | posted_to.keys() else "from_start")
                }
            )
            for each in self.objects
        )
        object.__setattr__(self, "objects", objects)
        return self

    @property
    def xml_access(self) -> XmlAccess | None:
        """Who asks the XML API, and where; None if nobody may."""
        if self.xml is None:
            return None
        return xml_access(
            self.base_url,
            self.xml.sender_id,
            self.xml.sender_password,
            self.xml.url,
            self.xml.utc_offset,
        )

    @property
    def users(self) -> dict[str, str]:
        """Entity id to Sage user id."""
        return {entity.id: entity.user for entity in self.entities}

    @property
    def active(self) -> tuple[str, ...]:
        """Ids of the entities for which something runs by itself."""
        return tuple(each.id for each in self.entities if not each.retired)

    @property
    def watched(self) -> tuple[str, ...]:
        """Objects whose changes in Intacct are looked for."""
        if self.schedules.watch is not None:
            return self.schedules.watch
        return tuple(dict.fromkeys(feed.object for feed in self.feeds.values()))

    @property
    def inbox(self) -> Path:
        """Where copies of a feed's files lie that are elsewhere."""
        return self.warehouse.parent / "inbox"

    @property
    def pages(self) -> Path:
        """Where raw pages are kept, if they are."""
        return self.warehouse.parent / "pages"

    @property
    def is_sandbox(self) -> bool:
        """Whether the company is the embedded sandbox: plain http to this machine."""
        return is_loopback(self.base_url)


def load_settings(path: Path | None = None) -> Settings:
    """Reads `path`, or the file that INTACCT_CONFIG names, or ./intacct.yaml.

    What `.env` beside it sets is put into the environment, also over what was exported: Dagster
    does so, and a command that read another secret than the runs would be no use. Raises
    ConfigError, with a line for each thing that is wrong.
    """
    file = path or Path(os.environ.get(CONFIG_VARIABLE) or CONFIG_FILE)
    if not file.is_file():
        raise ConfigError(
            f"{file}: there is no such file. Write one with `intacct-dagster init`, or name "
            f"yours with {CONFIG_VARIABLE}."
        )
    for name, value in dotenv_values(file.absolute().parent / ".env").items():
        if value is not None:
            os.environ[name] = value
    return read_settings(file.read_text(encoding="utf-8"), file=file.absolute())


def read_settings(text: str, *, file: Path) -> Settings:
    """Settings from YAML text; `file` is named in errors, and its folder anchors the paths.

    `${NAME}` stands for an environment variable and `${NAME:-default}` for one with a default.
    Raises ConfigError.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or "not YAML"
        raise ConfigError(f"{file}:{line}: this is not YAML: {problem}") from None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{file}:1: expected keys such as company, base_url and entities")
    lines: dict[tuple[str | int, ...], int] = {}
    problems: list[_Problem] = []
    values = _plain(root, (), lines, problems)
    for part, secret in (("auth", "client_secret"), ("xml", "sender_password")):
        if isinstance(values.get(part), dict):
            values[part]["secret_variable"] = _secret_variable(root, part, secret)
    if not problems:
        try:
            settings = Settings.model_validate({**values, "directory": file.parent})
        except ValidationError as error:
            problems.extend(_explain(error, values))
        else:
            problems.extend(_flaws_of_feeds(settings))
            if not problems:
                return _with_absolute_paths(settings)
    raise ConfigError(
        "\n".join(
            f"{file}:{_line_of(problem.where, lines)}: {problem.text}"
            for problem in sorted(problems, key=lambda each: _line_of(each.where, lines))
        )
    )


def _secret_variable(root: yaml.MappingNode, *steps: str) -> str | None:
    """The variable in `client_secret: ${NAME}`: what may be shown instead of the secret."""
    node: yaml.Node | None = root
    for step in steps:
        inner = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for key, value in inner if key.value == step), None)
    match = _VARIABLE.fullmatch(node.value) if isinstance(node, yaml.ScalarNode) else None
    return match["name"] if match else None


@dataclass(frozen=True)
class _Problem:
    where: tuple[str | int, ...]
    text: str


def _plain(
    node: yaml.Node,
    where: tuple[str | int, ...],
    lines: dict[tuple[str | int, ...], int],
    problems: list[_Problem],
) -> Any:
    """The node's value; notes the line of every key, and puts environment variables in."""
    lines.setdefault(where, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            lines[(*where, key)] = key_node.start_mark.line + 1
            if key in values:
                problems.append(
                    _Problem((*where, key), f"{_dotted((*where, key))} is given twice: keep one")
                )
            values[key] = _plain(value_node, (*where, key), lines, problems)
        return values
    if isinstance(node, yaml.SequenceNode):
        return [
            _plain(item, (*where, index), lines, problems) for index, item in enumerate(node.value)
        ]
    try:
        value = yaml.SafeLoader("").construct_object(node, deep=True)
    except ValueError:  # "2026-13-01" looks like a date: let the key that wants one say so
        value = node.value
    if not isinstance(value, str) or "${" not in value:
        return value

    def put_in(match: re.Match[str]) -> str:
        found = os.environ.get(match["name"]) or match["default"]
        if found is None:
            problems.append(
                _Problem(
                    where,
                    f"{_dotted(where)} needs the environment variable {match['name']}, "
                    "which is not set: export it, or put it in .env",
                )
            )
            return ""
        return found

    return _VARIABLE.sub(put_in, value)


def _flaws_of_feeds(settings: Settings) -> Iterator[_Problem]:
    """What no feed may be, its expressions included; they are checked, and nothing is read."""
    for name, feed in settings.feeds.items():
        try:
            feed.spec(name)
        except FeedError as error:
            where = ("feeds", name, *error.where)
            yield _Problem(where, f"{_dotted(where)}: {error.reason}. {error.remedy}")


def _explain(error: ValidationError, values: Mapping[str, Any]) -> Iterator[_Problem]:
    errors = error.errors(include_url=False, include_input=False)
    for each in errors:
        where = each["loc"]
        match each["type"]:
            case "too_short":
                # pydantic says it also of a list whose items it could not read
                if any(other["loc"][: len(where)] == where for other in errors if other != each):
                    continue
                text = f"{_dotted(where)} needs at least one"
            case "extra_forbidden":
                near = difflib.get_close_matches(str(where[-1]), _known_keys(where[:-1], values), 1)
                hint = f": did you mean '{near[0]}'?" if near else ": take it out"
                text = f"{_dotted(where)} is not a key that is known here{hint}"
            case "missing":
                text = f"{_dotted(where)} is missing"
            case "value_error":
                message = each["msg"].removeprefix("Value error, ")
                text = f"{_dotted(where)}: {message}" if where else message
            case _:
                text = f"{_dotted(where)}: {each['msg'][0].lower()}{each['msg'][1:]}"
        yield _Problem(where, text)


def _known_keys(where: Sequence[str | int], values: Mapping[str, Any]) -> list[str]:
    parts: dict[str, type[BaseModel]] = {
        "auth": Auth,
        "xml": Xml,
        "entities": Entity,
        "objects": ObjectSettings,
        "limits": Limits,
        "reading": Reading,
        "feeds": Feed,
        "posting": Posting,
        "reader": Reader,
        "schedules": Schedules,
        "notifications": Notification,
    }
    model: type[BaseModel] = parts.get(str(where[0]), Settings) if where else Settings
    if len(where) > 2 and where[0] == "feeds":
        inner: dict[str, type[BaseModel]] = {"csv": Csv, "columns": FeedColumn}
        model = inner.get(str(where[2]), Feed)
    if len(where) > 2 and where[0] == "notifications":
        model = Email
    return [name for name in model.model_fields if name not in values and name != "directory"]


def _line_of(where: tuple[str | int, ...], lines: Mapping[tuple[str | int, ...], int]) -> int:
    # A key that is missing has no line: the line of what should have held it.
    while where not in lines:
        where = where[:-1]
    return lines[where]


def _dotted(where: Sequence[str | int]) -> str:
    return "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" if index else step
        for index, step in enumerate(where)
    )


def _is_variable(name: str | None) -> None:
    if name is not None and not _VARIABLE_NAME.fullmatch(name):
        # what was written may be the secret itself: it is not repeated
        raise ValueError(
            "what stands here is not the name of an environment variable, such as "
            "ALERTS_SLACK_URL: the secret itself stays in the environment"
        )


def _no_duplicates(where: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{where}: {', '.join(twice)} is given more than once")


def _one_user_each(entities: Sequence[Entity]) -> None:
    for user in sorted({each.user for each in entities}):
        theirs = [each.id for each in entities if each.user == user]
        if len(theirs) > 1:
            raise ValueError(
                f"entities: user {user} is given for {' and '.join(theirs)}, and with "
                "authorization_code a user's second consent silently ends the first: give each "
                "entity a Sage user of its own, or use grant: client_credentials"
            )


def _with_absolute_paths(settings: Settings) -> Settings:
    state = settings.state
    if "://" not in state:
        state = f"sqlite:///{(settings.directory / state).absolute()}"
    return settings.model_copy(
        update={"warehouse": (settings.directory / settings.warehouse).absolute(), "state": state}
    )
