"""Resolution of chunks that were sent: by their answer, by what Intacct holds, or in parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

import sqlalchemy as sa

from intacct_dagster.state.bulk_values import bulk_value_at
from intacct_dagster.state.errors import LedgerError
from intacct_dagster.state.ledger.chunk_queries import read_chunk
from intacct_dagster.state.ledger.context import LedgerContext
from intacct_dagster.state.ledger.planning import UNSENT, Destination, write_chunk
from intacct_dagster.state.ledger.records import Accepted, Chunk, Item, Rejected
from intacct_dagster.state.ledger.schema import AMENDMENTS, CHUNKS, ChunkState, ItemState
from intacct_dagster.state.ledger.sending import move_all


def record(
    ledger: LedgerContext,
    chunk_id: str,
    outcomes: Sequence[Accepted | Rejected],
    *,
    http_status: int,
) -> bool:
    """Record the outcome of every document of a chunk, by position.

    Returns:
        False if another process recorded them before.

    Raises:
        LedgerError: The chunk was never sent, or there is not exactly one outcome for each
            position. Nothing is changed.
    """
    with ledger.writing() as connection:
        chunk = read_chunk(ledger, connection, chunk_id)
        if chunk.state is ChunkState.ANSWERED:
            return False
        if chunk.state not in (ChunkState.SENDING, ChunkState.UNCERTAIN):
            raise LedgerError(f"Chunk {chunk_id} was never sent and cannot have an answer.")
        if sorted(each.position for each in outcomes) != list(range(chunk.size)):
            raise LedgerError(
                f"{chunk.entity} {chunk.object}: {len(outcomes)} outcomes for a chunk of "
                f"{chunk.size} items; its outcome stays uncertain."
            )
        stamp = ledger.stamp()
        _resolve(ledger, connection, chunk, outcomes, stamp)
        _close(connection, chunk, stamp, http_status=http_status, note=None)
        return True


def resolve_by_read_back(
    ledger: LedgerContext, chunk_id: str, found: Mapping[str, tuple[str, str | None]], note: str
) -> None:
    """Resolve a chunk without an answer by what Intacct holds.

    What was found is posted. What was not is planned for another attempt, hence another key. The
    caller has the proof that no request is still under way. A chunk that is answered by now, or
    was never sent, is left as it is.

    Args:
        found: Source id -> (key, id) of the records that Intacct holds.
        note: What was found, for a person.
    """
    with ledger.writing() as connection:
        chunk = read_chunk(ledger, connection, chunk_id)
        if chunk.state is ChunkState.SENDING:
            move_all(ledger, connection, chunk_id, ItemState.SENDING, ItemState.UNCERTAIN)
            chunk = replace(chunk, state=ChunkState.UNCERTAIN)
        elif chunk.state is not ChunkState.UNCERTAIN:
            return
        items = ledger.table
        rows = connection.execute(
            sa.select(items.c.source_id, items.c.position)
            .where(items.c.chunk_id == chunk_id)
            .order_by(items.c.position)
        ).all()
        there = [
            Accepted(row.position, *found[row.source_id]) for row in rows if row.source_id in found
        ]
        stamp = ledger.stamp()
        _resolve(ledger, connection, chunk, there, stamp)
        _close(connection, chunk, stamp, http_status=None, note=note)
        ledger.check_transition(ItemState.UNCERTAIN, ItemState.PLANNED)
        connection.execute(
            sa.update(items)
            .where(items.c.chunk_id == chunk_id, items.c.state == ItemState.UNCERTAIN)
            .values(
                state=ItemState.PLANNED,
                attempt=items.c.attempt + 1,
                updated_at=ledger.stamp(),
                **UNSENT,
            )
        )


def nothing_created(ledger: LedgerContext, chunk_id: str, *, http_status: int, note: str) -> None:
    """Record an answer about the request, not about its documents: they are planned again.

    The caller has the proof that nothing of the chunk was created.
    """
    with ledger.writing() as connection:
        chunk = read_chunk(ledger, connection, chunk_id)
        if chunk.state is not ChunkState.ANSWERED:
            _plan_again(ledger, connection, chunk, http_status=http_status, note=note)
            items = ledger.table
            connection.execute(
                sa.update(items)
                .where(items.c.chunk_id == chunk_id, items.c.state == ItemState.PLANNED)
                .values(**UNSENT)
            )


def split(
    ledger: LedgerContext, chunk_id: str, *, into: int, http_status: int, note: str
) -> list[Chunk]:
    """Split a chunk that Intacct rejected as a whole: one bad document can fail all of a request.

    The caller has the proof that nothing of it was created. The parts are ready, under keys of
    their own.

    Args:
        chunk_id: The chunk.
        into: The number of parts, at most; they are about as large as each other.
        http_status: The status of the answer.
        note: Why it is split, for a person.

    Returns:
        The parts, in order; none if another process recorded the answer before.

    Raises:
        LedgerError: The chunk has one document only.
    """
    with ledger.writing() as connection:
        chunk = read_chunk(ledger, connection, chunk_id)
        if chunk.size < 2:
            raise LedgerError(f"Chunk {chunk_id} is one item and cannot be split.")
        if chunk.state is ChunkState.ANSWERED:
            return []
        _plan_again(ledger, connection, chunk, http_status=http_status, note=note)
        columns = ledger.table.c
        rows = connection.execute(
            sa.select(
                columns.source_id,
                columns.day,
                columns.amount,
                columns.payload,
                columns.attempt,
                columns.run_id,
            )
            .where(*ledger.of(chunk.object, chunk.entity), columns.chunk_id == chunk_id)
            .order_by(columns.position)
        ).all()
        to = Destination(chunk.object, chunk.entity, chunk.feed, rows[0].run_id, chunk.match_on)
        items = [
            Item(row.source_id, date.fromisoformat(row.day), row.amount, row.payload)
            for row in rows
        ]
        attempts = {row.source_id: row.attempt for row in rows}
        size = -(-len(items) // into)
        ids = []
        for start in range(0, len(items), size):
            part = items[start : start + size]
            ids.append(write_chunk(ledger, connection, to, part, attempts, split_from=chunk_id))
            _place(ledger, connection, to, ids[-1], part)
        return [read_chunk(ledger, connection, each) for each in ids]


def _place(
    ledger: LedgerContext,
    connection: sa.Connection,
    to: Destination,
    chunk_id: str,
    items: Sequence[Item],
) -> None:
    """Move planned documents to another chunk, in this order."""
    this = ledger.table.c.source_id == sa.bindparam("b_source_id")
    connection.execute(
        sa.update(ledger.table)
        .where(*ledger.of(to.object, to.entity), this)
        .values(chunk_id=chunk_id, position=sa.bindparam("b_position")),
        [
            {"b_source_id": item.source_id, "b_position": position}
            for position, item in enumerate(items)
        ],
    )


def _plan_again(
    ledger: LedgerContext, connection: sa.Connection, chunk: Chunk, *, http_status: int, note: str
) -> None:
    """Close a chunk, and plan its documents for another attempt, hence another key.

    They keep their place in it until they get another.
    """
    if chunk.state is ChunkState.SENDING:
        move_all(ledger, connection, chunk.chunk_id, ItemState.SENDING, ItemState.UNCERTAIN)
    move_all(ledger, connection, chunk.chunk_id, ItemState.UNCERTAIN, ItemState.PLANNED)
    items = ledger.table
    connection.execute(
        sa.update(items)
        .where(items.c.chunk_id == chunk.chunk_id)
        .values(attempt=items.c.attempt + 1)
    )
    _close(connection, chunk, ledger.stamp(), http_status=http_status, note=note)


def _close(
    connection: sa.Connection,
    chunk: Chunk,
    stamp: str,
    *,
    http_status: int | None,
    note: str | None,
) -> None:
    connection.execute(
        sa.update(CHUNKS)
        .where(CHUNKS.c.chunk_id == chunk.chunk_id)
        .values(
            state=ChunkState.ANSWERED,
            answered_at=stamp,
            http_status=http_status,
            note=note,
        )
    )


def _resolve(
    ledger: LedgerContext,
    connection: sa.Connection,
    chunk: Chunk,
    outcomes: Sequence[Accepted | Rejected],
    stamp: str,
) -> None:
    """Store the outcomes of documents of a chunk; those without one keep their state."""
    # Until it is answered, a chunk's items share its state.
    before = ItemState(chunk.state)
    ledger.check_transition(before, ItemState.POSTED)
    ledger.check_transition(before, ItemState.REJECTED)
    accepted = [each for each in outcomes if isinstance(each, Accepted)]
    rejected = [each for each in outcomes if isinstance(each, Rejected)]
    if accepted:
        _post(ledger, connection, chunk, accepted, stamp)
    if rejected:
        _reject(ledger, connection, chunk, rejected, stamp)
    items = ledger.table
    unanswered = connection.scalar(
        sa.select(sa.func.count())
        .select_from(items)
        .where(items.c.chunk_id == chunk.chunk_id, items.c.state == before)
    )
    if unanswered != chunk.size - len(outcomes):
        raise LedgerError(
            f"{chunk.entity} {chunk.object}: the answers do not fit the items of chunk "
            f"{chunk.chunk_id}; nothing was recorded."
        )


def _post(
    ledger: LedgerContext,
    connection: sa.Connection,
    chunk: Chunk,
    accepted: Sequence[Accepted],
    stamp: str,
) -> None:
    items = ledger.table
    # One execution for all positions: `executemany` would run one for each.
    keys: list[str | None] = [None] * chunk.size
    ids: list[str | None] = [None] * chunk.size
    for each in accepted:
        keys[each.position], ids[each.position] = each.key, each.id
    key = bulk_value_at(items.c.position, keys)
    values = {
        "state": ItemState.POSTED,
        "intacct_key": key,
        "intacct_id": bulk_value_at(items.c.position, ids),
        "updated_at": stamp,
    }
    if ledger.holds_amendments:
        values |= {
            "applied": AMENDMENTS.c.document,
            "applied_sha256": AMENDMENTS.c.document_sha256,
            "applied_amount": AMENDMENTS.c.amount,
        }
    connection.execute(
        sa.update(items)
        .where(
            items.c.chunk_id == chunk.chunk_id,
            items.c.state == ItemState(chunk.state),
            key.is_not(None),
        )
        .values(values)
    )


def _reject(
    ledger: LedgerContext,
    connection: sa.Connection,
    chunk: Chunk,
    rejected: Sequence[Rejected],
    stamp: str,
) -> None:
    items = ledger.table
    connection.execute(
        sa.update(items)
        .where(
            items.c.chunk_id == chunk.chunk_id,
            items.c.state == ItemState(chunk.state),
            items.c.position == sa.bindparam("b_position"),
        )
        .values(
            state=ItemState.REJECTED,
            error_id=sa.bindparam("b_error_id"),
            reason=sa.bindparam("b_reason"),
            what_to_do=sa.bindparam("b_what_to_do"),
            field=sa.bindparam("b_field"),
            support_id=sa.bindparam("b_support_id"),
            updated_at=stamp,
        ),
        [
            {
                "b_position": each.position,
                "b_error_id": each.error_id,
                "b_reason": each.reason,
                "b_what_to_do": each.what_to_do,
                "b_field": each.field,
                "b_support_id": each.support_id,
            }
            for each in rejected
        ],
    )
