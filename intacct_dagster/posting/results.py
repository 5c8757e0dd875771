"""What is to be posted where, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from intacct_dagster.state.ledger import Chunk


@dataclass(frozen=True)
class PostingTarget:
    """Where a feed's documents go: records of `object`, whose field `match_on` keeps their number.

    `party` is the field with their party, where numbers are each party's own.
    """

    feed: str
    object: str
    match_on: str
    party: str | None = None


@dataclass(frozen=True)
class Sent:
    """What became of one chunk. The three counts add up to its items, or all are 0 if not sent.

    `first_key` is Intacct's first key of those that were created, as it sorts among keys as long.
    """

    chunk_id: str
    items: int
    posted: int = 0
    rejected: int = 0
    uncertain: int = 0
    note: str = ""
    first_key: str | None = None


@dataclass(frozen=True)
class StandsTwice:
    """A document of which Intacct holds the record that was posted from here, and others."""

    source_id: str
    day: date
    amount: str
    key: str
    others: tuple[str, ...]


@dataclass(frozen=True)
class Planned:
    """Chunks to send, and source ids (with Intacct's keys) that were found there already."""

    chunks: Sequence[Chunk]
    already_there: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Done:
    """What became of all chunks of a posting, and source ids (with Intacct's keys) that were not
    posted because they were there already."""

    sent: tuple[Sent, ...]
    already_there: Mapping[str, Sequence[str]]
