"""The objects to keep in the warehouse, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator, model_validator

from intacct_dagster.config.errors import PlacedError
from intacct_dagster.config.section import NonEmpty, SettingsSection

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

FieldType = Literal["text", "integer", "decimal", "boolean", "date", "timestamp", "json"]

#: What distinguishes rows, and says whose they are and when they changed.
_ALWAYS_READ = frozenset({"key", "entity.id", "audit.modifiedDateTime"})

_OBJECT = re.compile(r"^[a-z][a-z0-9-]*(/[A-Za-z0-9_:. -]+)+$")


def require_tables_of_their_own(names: Sequence[str]) -> None:
    """Raise PlacedError if two objects would have one table, or a table and a view of one name.

    For example `order-entry/document::Sales Invoice` and `order-entry/document::Sales-Invoice`, or
    `general-ledger/account`, whose history is a view, and `general-ledger/account-history`.
    """
    tables: dict[str, str] = {}
    views: dict[str, str] = {}
    for position, name in enumerate(names):
        table = _table_of(name)
        history = f"{table}_history"
        if (other := tables.get(table)) is not None:
            flaw = f"{other} and {name} would both be the table {table}"
        elif (other := views.get(table)) is not None:
            flaw = f"{name} would be the table {table}, which is the history of {other}"
        elif (other := tables.get(history)) is not None:
            flaw = f"the history of {name} would be {history}, which is the table of {other}"
        else:
            tables[table], views[history] = name, name
            continue
        raise PlacedError(("objects", position), f"objects: {flaw}: leave one out")


def _table_of(name: str) -> str:
    parted = re.sub(r"([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\3_\2", name)
    return re.sub(r"[^0-9a-zA-Z]+", "_", parted).strip("_").lower()


class ObjectSettings(SettingsSection):
    """A REST object to keep in the warehouse: its name, or what is said of it here."""

    name: str
    """Application and object, such as `accounts-payable/bill`."""
    fields: tuple[str, ...] | None = None
    """Narrows what is read: dotted paths such as `customer.id`. Default: all that the model
    offers."""
    exclude: tuple[NonEmpty, ...] = ()
    """Fields that are left out: dotted paths."""
    types: dict[str, FieldType] = Field(default_factory=dict)
    """Types of fields that the model gives another type than their values need, by dotted path:
    `text`, `integer`, `decimal`, `boolean`, `date`, `timestamp` or `json`."""
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
    def _rows_can_be_distinguished(self) -> ObjectSettings:
        for key, paths in (("exclude", self.exclude), ("types", self.types)):
            for path in paths:
                if path in _ALWAYS_READ:
                    raise ValueError(
                        f"{self.name}: {path} is always read, and as Intacct has it: take it out "
                        f"of `{key}`"
                    )
        return self

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


class Reading(SettingsSection):
    """How changes are read, so that late ones are not lost and deletes are found."""

    settle_seconds: int = Field(default=300, ge=0, le=86_400)
    """What changed within these last seconds is left to the next run: a record may show only
    after its change time."""
    look_back_days: int = Field(default=1, ge=0, le=31)
    """Days before those of a run that are read again, for what showed even later."""
    open_documents: bool = True
    """Whether documents of which something is due (invoices, bills, adjustments) are read again
    each night. A payment changes what is due, and perhaps not the document's change time."""
    delete_scan_months: int | None = Field(default=None, ge=1)
    """Months back that a delete scan covers, by change time. Default: all."""
