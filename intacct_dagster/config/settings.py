"""`intacct.yaml` as typed settings.

Nothing is read from the network here, so Dagster can load the code location while Intacct sleeps.
"""

from __future__ import annotations

import re
from datetime import date
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from intacct_dagster.client import (
    XML_ONLY,
    RequestRefused,
    XmlAccess,
    is_loopback,
    xml_access,
    xml_object,
)
from intacct_dagster.config.auth import (
    Auth,
    Entity,
    Xml,
    require_former_ids,
    require_one_user_each,
    require_own_ids,
)
from intacct_dagster.config.errors import KeyPath, PlacedError
from intacct_dagster.config.feeds import Feed, Posting
from intacct_dagster.config.key_prefix import KeyPrefix
from intacct_dagster.config.limits import Limits
from intacct_dagster.config.notifications import Notification
from intacct_dagster.config.objects import (
    DIMENSIONS,
    ObjectSettings,
    Reading,
    require_tables_of_their_own,
)
from intacct_dagster.config.renamed import RenamedKey
from intacct_dagster.config.schedules import Schedules
from intacct_dagster.config.section import Address, Id, SettingsSection, require_unique
from intacct_dagster.config.snapshot import Reader

_NAME = re.compile(r"^[a-z][a-z0-9_]*$")

#: What Dagster takes as an owner.
_OWNER = r"^(team:[A-Za-z0-9_.-]+|[^@\s]+@[^@\s]+\.[^@\s]+)$"
Owner = Annotated[str, StringConstraints(pattern=_OWNER)]


class Settings(SettingsSection):
    """Everything a code location needs to know."""

    company: Id
    """The company id."""
    key_prefix: KeyPrefix = ""
    """What the asset keys begin with, and the names of jobs, schedules, sensors, ops, groups, pools
    and resources, such as `acme`. Each of several companies in one code location or on one Dagster
    instance needs its own. Default: none. If you change it, the history of the assets stays under
    their former keys."""
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
    page_retention_days: int | None = Field(default=None, ge=1, le=3650)
    """Days that pages stay as Intacct sent them, in `pages/` beside the warehouse: `30`, or
    `30 days`. Default: they are not kept."""
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
    webserver_url: str | None = None
    """Where the Dagster UI is, for links in notices. `intacct-dagster dev` answers to its name."""
    #: the directory that relative paths are relative to: where the file lies
    directory: SkipJsonSchema[Path] = Path()
    #: keys that the file has under their old names
    renamed_keys: SkipJsonSchema[tuple[RenamedKey, ...]] = ()

    @field_validator("base_url")
    @classmethod
    def _without_trailing_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @field_validator("warehouse")
    @classmethod
    def _names_a_file(cls, value: Path) -> Path:
        if value.name in ("", ".."):
            raise ValueError(f"'{value}' is a folder: name a file, such as data/warehouse.duckdb")
        return value

    @field_validator("objects", mode="before")
    @classmethod
    def _names_stand_for_objects(cls, value: object) -> object:
        if isinstance(value, list):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value

    @field_validator("page_retention_days", mode="before")
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
        require_own_ids(self.entities)
        require_former_ids(self.entities)
        require_unique("objects", [each.name for each in self.objects])
        require_tables_of_their_own([each.name for each in self.objects])
        if self.end_date is not None and self.end_date < self.start_date:
            raise PlacedError(
                ("end_date",), f"end_date {self.end_date} is before start_date {self.start_date}"
            )
        if not self.is_sandbox and self.auth.secret_variable is None:
            raise PlacedError(
                ("auth", "client_secret"),
                "auth.client_secret of a real company comes from the environment, such as "
                "${INTACCT_CLIENT_SECRET}: a secret in a file is soon in a repository",
            )
        for position, each in enumerate(self.objects):
            if each.name.startswith(XML_ONLY):
                self._xml_is_possible(("objects", position), each.name)
        if self.auth.grant == "authorization_code":
            # Sage ends the first refresh token when one user consents a second time.
            require_one_user_each(self.entities)
        return self

    def _xml_is_possible(self, where: KeyPath, name: str) -> None:
        try:
            xml_object(name)
        except RequestRefused as error:
            flaw = " ".join(str(error).splitlines())
            raise PlacedError(where, f"objects: {flaw}") from None
        if self.xml is None:
            raise PlacedError(
                where,
                f"objects: {name} is read through the XML API, which needs "
                "`xml: {sender_id: …, sender_password: ${INTACCT_SENDER_PASSWORD}}`",
            )
        if not self.is_sandbox and self.xml.secret_variable is None:
            raise PlacedError(
                ("xml", "sender_password"),
                "xml.sender_password of a real company comes from the environment, such as "
                "${INTACCT_SENDER_PASSWORD}: a secret in a file is soon in a repository",
            )
        for feed in [feed for feed, about in self.feeds.items() if about.object == name]:
            raise PlacedError(
                ("feeds", feed, "object"), f"feeds: {name} can only be read: post to a REST object"
            )

    @model_validator(mode="after")
    def _watched_objects_are_read(self) -> Settings:
        watched = self.schedules.watch or ()
        for name in sorted(set(watched) - {each.name for each in self.objects}):
            raise PlacedError(
                ("schedules", "watch"),
                f"schedules.watch: {name} is not among the objects: add it there",
            )
        for name in watched:
            only_xml = xml_object(name)
            if only_xml is not None and only_xml.by_period:
                raise PlacedError(
                    ("schedules", "watch"),
                    f"schedules.watch: {name} has no change times: leave it out",
                )
        return self

    @model_validator(mode="after")
    def _feeds_have_a_target(self) -> Settings:
        for name, feed in self.feeds.items():
            if not _NAME.match(name):
                raise PlacedError(
                    ("feeds", name), f"feed '{name}': a name is lower case, like sales_invoices"
                )
            if feed.payload.get(feed.match_on) != feed.source_id:
                raise PlacedError(
                    ("feeds", name, "payload"),
                    f"feed '{name}': payload.{feed.match_on} must be {feed.source_id}: Intacct "
                    "keeps the source id there, so that a document is found again",
                )
            if feed.object not in {each.name for each in self.objects}:
                raise PlacedError(
                    ("feeds", name, "object"),
                    f"feed '{name}' posts to {feed.object}, which is not among the objects: "
                    "reconciling needs it in the warehouse; add it there",
                )
        return self

    @model_validator(mode="after")
    def _feeds_have_an_order(self) -> Settings:
        for name, feed in self.feeds.items():
            for other in feed.after:
                if other not in self.feeds:
                    raise PlacedError(
                        ("feeds", name, "after"),
                        f"feed '{name}' comes after '{other}', which is no feed",
                    )
        try:
            TopologicalSorter({name: feed.after for name, feed in self.feeds.items()}).prepare()
        except CycleError as error:
            circle = " after ".join(str(each) for each in reversed(error.args[1]))
            raise PlacedError(
                ("feeds", error.args[1][0], "after"), f"feeds wait for each other: {circle}"
            ) from None
        return self

    @model_validator(mode="after")
    def _history_is_decided(self) -> Settings:
        # What is posted to must be known whole: a document from before the first partition would
        # look missing in Intacct, and be posted a second time.
        posted_to = {feed.object: name for name, feed in self.feeds.items()}
        for position, each in enumerate(self.objects):
            if each.history == "from_start" and each.name in posted_to:
                raise PlacedError(
                    ("objects", position, "history"),
                    f"feed '{posted_to[each.name]}' posts to {each.name}, whose history is "
                    "from_start: what is older would look missing and be posted twice; say "
                    "history: all",
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
            self.xml.time_zone or "",
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
