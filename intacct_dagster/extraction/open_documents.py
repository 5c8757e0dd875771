"""Open documents, read again each night: what is due of them may change without a change time.

A payment reduces what is due of an invoice or a bill, and whether that counts as a change of the
document is nowhere documented. So all documents of which something is due are read again, and those
by key of which something was due when they were read last, and no longer is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from intacct_dagster.client import IntacctClient
from intacct_dagster.extraction.by_key import load_of_pages
from intacct_dagster.extraction.keys import keys_on_page, read_blocks
from intacct_dagster.extraction.schema import ObjectSchema
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import RawLoad
from intacct_dagster.warehouse.raw.current import keys_where_not_zero

#: What is due of a document, in its currency (Sage's OpenAPI: invoices, bills, adjustments).
DUE: Final = "totalTxnAmountDue"


def has_open_documents(schema: ObjectSchema) -> bool:
    """Return whether an object's records are documents of which something can be due."""
    return schema.dated and DUE in schema.query_paths


def read_open_documents(
    load_of: Callable[..., RawLoad],
    client: IntacctClient,
    warehouse: Warehouse,
    object: str,
    schema: ObjectSchema,
    *,
    into: Path,
    page_size: int,
) -> RawLoad:
    """Return a load of the documents of which something is due, or was when they were read last.

    Pages go into the folder `into`. Raises what pagination raises.
    """
    column = next(each.name for each in schema.columns if each.path == DUE)
    known = keys_where_not_zero(warehouse, object, client.entity_id or "", column)
    still = client.paginate(
        object,
        schema.query_paths,
        None,
        into=into / "open",
        page_size=page_size,
        filters=({"$ne": {DUE: "0.00"}},),
    )
    there = {key for page in still.files for key in keys_on_page(page)}
    closed = read_blocks(
        client,
        object,
        schema.query_paths,
        "key",
        sorted(known - there),
        into=into / "closed",
        page_size=page_size,
    )
    return load_of_pages(load_of, client, warehouse, object, schema, [still, *closed], into=into)
