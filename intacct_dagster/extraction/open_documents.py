"""Open documents, read again each night: what is due of them may change without a change time.

A payment reduces what is due of an invoice or a bill, and whether that counts as a change of the
document is nowhere documented. So what is due is read of all documents of which something is, and
those that differ are read by key.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from intacct_dagster.client import IntacctClient
from intacct_dagster.extraction.columns import KEY
from intacct_dagster.extraction.keys import pairs_on_pages
from intacct_dagster.extraction.schema import ObjectSchema
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw.current import numbers_of

#: What is due of a document, in its currency (Sage's OpenAPI: invoices, bills, adjustments).
DUE: Final = "totalTxnAmountDue"


def has_open_documents(schema: ObjectSchema) -> bool:
    """Return whether an object's records are documents of which something can be due."""
    return schema.dated and DUE in schema.query_paths


def find_changed(
    client: IntacctClient,
    warehouse: Warehouse,
    object: str,
    schema: ObjectSchema,
    *,
    into: Path,
    page_size: int,
) -> list[str]:
    """Return the keys of those documents of which something else is due than when they were read.

    What is due is read of all documents of which something is, and of no others: one that is not
    among them has been settled. Documents that the warehouse does not have are not among them.
    Pages go into the folder `into`. Raises what pagination raises.
    """
    column = next(each.name for each in schema.columns if each.path == DUE)
    known = numbers_of(warehouse, object, client.entity_id or "", column)
    read = client.paginate(
        object,
        (DUE,),
        None,
        into=into,
        page_size=page_size,
        filters=({"$ne": {DUE: "0.00"}},),
    )
    due: dict[str, Decimal] = {}
    for key, text in pairs_on_pages(read.files, KEY, DUE):
        try:
            due[key] = Decimal(text or 0)
        except InvalidOperation:  # what could not be converted is in quarantine
            continue
    return sorted(key for key, was in known.items() if due.get(key, Decimal(0)) != was)
