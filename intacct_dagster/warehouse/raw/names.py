"""The names that raw tables are known by."""

from __future__ import annotations

from typing import Final

from intacct_dagster.warehouse.types import column_name

RAW: Final = "raw"
META: Final = "meta"

#: Paths of the fields that every raw table of records with change times has.
KEY: Final = "key"
CHANGED: Final = "audit.modifiedDateTime"
ENTITY: Final = "entity.id"


def table_name(object: str) -> str:
    """`accounts-receivable/invoice` -> `accounts_receivable_invoice`, in `raw` and in `intacct`."""
    return column_name(object)
