"""Queries about chunks: requests that are to be sent, are under way, or are answered."""

from __future__ import annotations

from datetime import date, datetime

import sqlalchemy as sa

from intacct_dagster.state.errors import LedgerError
from intacct_dagster.state.ledger.context import LedgerContext
from intacct_dagster.state.ledger.queries import time_of
from intacct_dagster.state.ledger.records import Chunk, Item, Request
from intacct_dagster.state.ledger.schema import AMENDMENTS, CHUNKS, ChunkState, ItemState


def chunk(ledger: LedgerContext, chunk_id: str) -> Chunk:
    """Return a chunk by its id. Raise LedgerError where there is none."""
    with ledger.reading() as connection:
        return read_chunk(ledger, connection, chunk_id)


def read_chunk(ledger: LedgerContext, connection: sa.Connection, chunk_id: str) -> Chunk:
    """Return a chunk as a transaction sees it. Raise LedgerError where there is none."""
    row = connection.execute(sa.select(CHUNKS).where(CHUNKS.c.chunk_id == chunk_id)).first()
    if row is None:
        raise LedgerError(
            f"The ledger of {ledger.company} has no chunk {chunk_id}. Plan the partition again."
        )
    return Chunk(
        chunk_id=row.chunk_id,
        object=row.object,
        entity=row.entity,
        feed=row.feed,
        idempotency_key=row.idempotency_key,
        body=row.body,
        size=row.size,
        state=ChunkState(row.state),
        first_sent_at=time_of(row.first_sent_at),
        last_sent_at=time_of(row.last_sent_at),
        amends=row.method is not None,
        match_on=row.match_on,
        http_status=row.http_status,
    )


def parts(ledger: LedgerContext, chunk_id: str) -> list[Chunk]:
    """Return the chunks that a chunk was split into, in order; none if it was not split."""
    items = ledger.table
    query = (
        sa.select(CHUNKS.c.chunk_id)
        .join(items, items.c.chunk_id == CHUNKS.c.chunk_id, isouter=True)
        .where(CHUNKS.c.split_from == chunk_id)
        .group_by(CHUNKS.c.chunk_id)
        .order_by(sa.func.min(items.c.day), sa.func.min(items.c.source_id))
    )
    with ledger.reading() as connection:
        return [read_chunk(ledger, connection, each) for each in connection.scalars(query).all()]


def unresolved(ledger: LedgerContext, object: str, entity: str) -> list[Chunk]:
    """Return the chunks that were sent and whose outcome is not known, oldest first."""
    query = (
        sa.select(CHUNKS.c.chunk_id)
        .where(
            CHUNKS.c.company == ledger.company,
            CHUNKS.c.object == object,
            CHUNKS.c.entity == entity,
            CHUNKS.c.state.in_([ChunkState.SENDING, ChunkState.UNCERTAIN]),
            CHUNKS.c.method.is_not_distinct_from(ledger.method),
        )
        .order_by(CHUNKS.c.first_sent_at, CHUNKS.c.chunk_id)
    )
    with ledger.reading() as connection:
        return [read_chunk(ledger, connection, each) for each in connection.scalars(query).all()]


def outcome_counts(ledger: LedgerContext, chunk_id: str) -> dict[ItemState, int]:
    """Return how many documents of a chunk are in each state."""
    state = ledger.table.c.state
    query = (
        sa.select(state, sa.func.count()).where(ledger.table.c.chunk_id == chunk_id).group_by(state)
    )
    with ledger.reading() as connection:
        return {ItemState(state): count for state, count in connection.execute(query)}


def requests(
    ledger: LedgerContext,
    object: str,
    entity: str,
    *,
    feed: str | None = None,
    chunk_id: str | None = None,
) -> list[Request]:
    """Return the requests of an object and entity, in the order of planning.

    Args:
        object: Intacct's object.
        entity: The entity they were sent to.
        feed: Only those of this feed; None for all.
        chunk_id: Only this one; None for all.
    """
    query = sa.select(
        *(c for c in CHUNKS.c if c.name != "body"),
        sa.func.length(CHUNKS.c.body).label("bytes"),
    ).where(
        CHUNKS.c.company == ledger.company,
        CHUNKS.c.object == object,
        CHUNKS.c.entity == entity,
    )
    if feed is not None:
        query = query.where(CHUNKS.c.feed == feed)
    if chunk_id is not None:
        query = query.where(CHUNKS.c.chunk_id == chunk_id)
    with ledger.reading() as connection:
        rows = connection.execute(query.order_by(CHUNKS.c.planned_at, CHUNKS.c.chunk_id)).all()
    return [
        Request(
            chunk_id=row.chunk_id,
            idempotency_key=row.idempotency_key,
            state=ChunkState(row.state),
            size=row.size,
            bytes=row.bytes,
            run_id=row.run_id,
            planned_at=datetime.fromisoformat(row.planned_at),
            first_sent_at=time_of(row.first_sent_at),
            last_sent_at=time_of(row.last_sent_at),
            answered_at=time_of(row.answered_at),
            http_status=row.http_status,
            note=row.note,
        )
        for row in rows
    ]


def source_ids(ledger: LedgerContext, chunk_id: str) -> list[str]:
    """Return the source ids of a chunk, in the order in which they are sent."""
    items = ledger.table.c
    query = sa.select(items.source_id).where(items.chunk_id == chunk_id).order_by(items.position)
    with ledger.reading() as connection:
        return list(connection.scalars(query))


def sent(ledger: LedgerContext, chunk_id: str) -> list[Item]:
    """Return the documents of a chunk, in the order in which they are sent.

    An amendment comes with its `document`, without its `key` and `as_of`, which are not stored.
    """
    items = ledger.table.c
    document = (AMENDMENTS.c.document,) if ledger.holds_amendments else ()
    query = (
        sa.select(items.source_id, items.day, items.amount, items.payload, *document)
        .where(items.chunk_id == chunk_id)
        .order_by(items.position)
    )
    with ledger.reading() as connection:
        rows = connection.execute(query).all()
    return [
        Item(
            row.source_id,
            date.fromisoformat(row.day),
            row.amount,
            row.payload,
            document=row.document if ledger.holds_amendments else None,
        )
        for row in rows
    ]
