"""Records of the ledger: documents, requests, and their outcomes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime

import msgspec

from intacct_dagster.state.ledger.schema import ChunkState, ItemState


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 of `content` in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Item:
    """A document to post.

    Attributes:
        source_id: Identifies the document in its source.
        day: The day of the partition that it belongs to.
        amount: Its control amount, as decimal text.
        payload: The exact JSON object that will stand in the request.
        key: Of an amendment: Intacct's key of the record that is amended.
        document: Of an amendment: the whole document as Intacct is to hold it afterwards.
        as_of: Of an amendment: the change time of the record for which it was made.
    """

    source_id: str
    day: date
    amount: str
    payload: bytes
    key: str | None = None
    document: bytes | None = None
    as_of: str | None = None

    @property
    def sha256(self) -> str:
        """The SHA-256 of the payload: a rejected item may be planned again when it changed."""
        return sha256_of(self.payload)


@dataclass(frozen=True)
class Chunk:
    """A request to send: its items in a fixed order, its bytes and its Idempotency-Key.

    `amends` says that it changes records that exist (PATCH), instead of creating them (POST).
    `match_on` is the field that carries the ids of its documents (None: an older version planned
    it), and `http_status` the status of its last answer.
    """

    chunk_id: str
    object: str
    entity: str
    feed: str
    idempotency_key: str
    body: bytes
    size: int
    state: ChunkState
    first_sent_at: datetime | None
    last_sent_at: datetime | None
    amends: bool = False
    match_on: str | None = None
    http_status: int | None = None


@dataclass(frozen=True)
class Request:
    """The record of a request, without its body. `bytes` is the length of the body."""

    chunk_id: str
    idempotency_key: str
    state: ChunkState
    size: int
    bytes: int
    run_id: str
    planned_at: datetime
    first_sent_at: datetime | None
    last_sent_at: datetime | None
    answered_at: datetime | None
    http_status: int | None
    note: str | None


@dataclass(frozen=True)
class Entry:
    """The row of an item, without its payload."""

    entity: str
    source_id: str
    day: date
    amount: str
    payload_sha256: str
    state: ItemState
    chunk_id: str | None
    position: int | None
    intacct_key: str | None
    error_id: str | None
    reason: str | None
    what_to_do: str | None
    field: str | None
    support_id: str | None
    run_id: str
    updated_at: datetime
    read_back_at: datetime | None


@dataclass(frozen=True)
class LastAmendment:
    """The last amendment of a posted document.

    `document_sha256` is of the document as it is to be, `applied_sha256` of the document as it was
    amended last; None if Intacct accepted no amendment yet.
    """

    day: date
    state: ItemState
    document_sha256: str
    applied_sha256: str | None
    reason: str | None
    what_to_do: str | None
    updated_at: datetime


# A long posting holds hundreds of thousands of these. `gc=False` is safe for objects that hold only
# texts, numbers and bytes, and spares the garbage collector from visiting them.


class Posted(msgspec.Struct, frozen=True, gc=False):
    """A posted item with the exact JSON object that was sent."""

    source_id: str
    intacct_key: str
    payload: bytes
    chunk_id: str


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """Intacct created or amended the item at this position of the chunk."""

    position: int
    key: str
    id: str | None = None


@dataclass(frozen=True)
class Rejected:
    """Intacct rejected the item at this position of the chunk, for this reason."""

    position: int
    reason: str
    what_to_do: str
    error_id: str | None = None
    field: str | None = None
    support_id: str | None = None
