"""The posting ledger: what is to be posted, the exact bytes that were sent, and each outcome.

One row per (company, object, entity, source id); `schema` names the only transitions between their
states. The bytes of a chunk and its Idempotency-Key are on disk before the first byte is sent, so a
process that dies leaves enough behind for the next one to find out what became of them. Nothing
here talks to Intacct: the ledger says what may be sent, and records what came back.
"""

from intacct_dagster.state.ledger.ledger import Ledger
from intacct_dagster.state.ledger.records import (
    Accepted,
    Chunk,
    Entry,
    Item,
    LastAmendment,
    Posted,
    Rejected,
    Request,
)
from intacct_dagster.state.ledger.schema import ChunkState, ItemState

__all__ = [
    "Accepted",
    "Chunk",
    "ChunkState",
    "Entry",
    "Item",
    "ItemState",
    "LastAmendment",
    "Ledger",
    "Posted",
    "Rejected",
    "Request",
]
