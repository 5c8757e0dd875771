"""Sending: who may send a chunk, and what is recorded when no answer came."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from intacct_dagster.state.errors import LedgerError
from intacct_dagster.state.ledger.context import LedgerContext
from intacct_dagster.state.ledger.schema import CHUNKS, ChunkState, ItemState


def start_sending(ledger: LedgerContext, chunk_id: str) -> bool:
    """Claim a ready chunk for sending.

    Returns:
        True for exactly one caller, and only when the claim is on disk. False if the chunk may not
        be sent: it is superseded, or somebody sent it already.
    """
    stamp = ledger.stamp()
    with ledger.writing() as connection:
        claimed = connection.execute(
            sa.update(CHUNKS)
            .where(CHUNKS.c.chunk_id == chunk_id, CHUNKS.c.state == ChunkState.READY)
            .values(state=ChunkState.SENDING, first_sent_at=stamp, last_sent_at=stamp)
        )
        if claimed.rowcount == 0:
            return False
        move_all(ledger, connection, chunk_id, ItemState.PLANNED, ItemState.SENDING)
        return True


def start_replay(ledger: LedgerContext, chunk_id: str) -> bool:
    """Record that the same bytes go out again with the same key, to learn their outcome.

    Returns:
        False if the outcome is known by now, and nothing is to be sent.
    """
    # Uncertain from here on: a replay that does not get through proves nothing about the first
    # request, so `never_arrived` must not apply to it.
    uncertain(ledger, chunk_id, "whoever sent it left no answer")
    with ledger.writing() as connection:
        noted = connection.execute(
            sa.update(CHUNKS)
            .where(CHUNKS.c.chunk_id == chunk_id, CHUNKS.c.state == ChunkState.UNCERTAIN)
            .values(last_sent_at=ledger.stamp(), looked_at=None, http_status=None)
        )
        return noted.rowcount == 1


def looked(ledger: LedgerContext, chunk_id: str, *, again_after: timedelta) -> bool:
    """Record that Intacct was seen not to hold all of an uncertain chunk.

    Returns:
        Whether it was seen so before, at least `again_after` ago and since it was sent last.
    """
    with ledger.writing() as connection:
        this = CHUNKS.c.chunk_id == chunk_id
        first = connection.scalar(sa.select(CHUNKS.c.looked_at).where(this))
        if first is not None:
            return ledger.now() - datetime.fromisoformat(first) >= again_after
        connection.execute(sa.update(CHUNKS).where(this).values(looked_at=ledger.stamp()))
        return False


def uncertain(
    ledger: LedgerContext,
    chunk_id: str,
    note: str,
    *,
    http_status: int | None = None,
    took: timedelta = timedelta(0),
) -> None:
    """Record that a chunk was sent and its outcome is not known.

    Args:
        chunk_id: The chunk. One whose outcome is known is left as it is.
        note: Why it is not known.
        http_status: The status of the answer that did not tell; None if there was none.
        took: How long after it was claimed the request ended.
    """
    with ledger.writing() as connection:
        said: dict[str, object] = {"note": note}
        if http_status is not None:
            said["http_status"] = http_status
        if took:
            claimed = connection.scalar(
                sa.select(CHUNKS.c.last_sent_at).where(CHUNKS.c.chunk_id == chunk_id)
            )
            if claimed is not None:
                ended = datetime.fromisoformat(claimed) + took
                said["last_sent_at"] = ended.isoformat(timespec="milliseconds")
        connection.execute(
            sa.update(CHUNKS)
            .where(CHUNKS.c.chunk_id == chunk_id, CHUNKS.c.state == ChunkState.UNCERTAIN)
            .values(**said)
        )
        moved = connection.execute(
            sa.update(CHUNKS)
            .where(CHUNKS.c.chunk_id == chunk_id, CHUNKS.c.state == ChunkState.SENDING)
            .values(state=ChunkState.UNCERTAIN, **said)
        )
        if moved.rowcount:
            move_all(ledger, connection, chunk_id, ItemState.SENDING, ItemState.UNCERTAIN)


def never_arrived(ledger: LedgerContext, chunk_id: str, note: str) -> None:
    """Record that a request certainly did not reach Intacct: the chunk may be sent as it is.

    The caller has the proof (no connection was made, or Intacct rejected the request before it
    looked at it). Only the first sending of a chunk can be taken back this way.
    """
    with ledger.writing() as connection:
        moved = connection.execute(
            sa.update(CHUNKS)
            .where(CHUNKS.c.chunk_id == chunk_id, CHUNKS.c.state == ChunkState.SENDING)
            .values(
                state=ChunkState.READY,
                first_sent_at=None,
                last_sent_at=None,
                note=note,
            )
        )
        if moved.rowcount:
            move_all(ledger, connection, chunk_id, ItemState.SENDING, ItemState.UNCERTAIN)
            move_all(ledger, connection, chunk_id, ItemState.UNCERTAIN, ItemState.PLANNED)


def move_all(
    ledger: LedgerContext,
    connection: sa.Connection,
    chunk_id: str,
    before: ItemState,
    after: ItemState,
) -> None:
    """Move all documents of a chunk from one state to another.

    Raises:
        LedgerError: The transition is illegal, or a document is in another state than `before`.
    """
    ledger.check_transition(before, after)
    items = ledger.table
    expected = connection.scalar(sa.select(CHUNKS.c.size).where(CHUNKS.c.chunk_id == chunk_id))
    moved = connection.execute(
        sa.update(items)
        .where(items.c.chunk_id == chunk_id, items.c.state == before)
        .values(state=after, updated_at=ledger.stamp())
    ).rowcount
    if moved != expected:
        raise LedgerError(
            f"{moved} of {expected} items of chunk {chunk_id} were {before.value}; "
            "nothing was changed."
        )
