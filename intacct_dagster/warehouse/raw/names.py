"""The names that raw tables, and what is made of them, are known by."""

from __future__ import annotations

from typing import Final

from intacct_dagster.warehouse.types import column_name

RAW: Final = "raw"
META: Final = "meta"
INTACCT: Final = "intacct"

#: Paths of the fields that every raw table of records with change times has.
KEY: Final = "key"
CHANGED: Final = "audit.modifiedDateTime"
ENTITY: Final = "entity.id"


def table_name(object: str) -> str:
    """`accounts-receivable/invoice` -> `accounts_receivable_invoice`, in `raw` and in `intacct`."""
    return column_name(object)


def documents_name(object: str) -> str:
    """Return the table beside a raw table of lines which says which documents were covered.

    No object's table is called so: in a name that is made of an object's there are no two
    underscores together.
    """
    return f"{table_name(object)}__documents"
