"""Planning: which documents may be sent, cut into requests, with bytes and keys on disk."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from intacct_dagster.state.bulk_values import bulk_columns
from intacct_dagster.state.errors import LedgerError
from intacct_dagster.state.ledger.chunk_queries import read_chunk
from intacct_dagster.state.ledger.context import LedgerContext
from intacct_dagster.state.ledger.queries import IDS_AT_ONCE
from intacct_dagster.state.ledger.records import Chunk, Item, sha256_of
from intacct_dagster.state.ledger.schema import CHUNKS, ChunkState, ItemState

#: The values of a document that stands in no chunk and has no answer.
UNSENT: Mapping[str, None] = dict.fromkeys(
    ("chunk_id", "position", "error_id", "reason", "what_to_do", "field", "support_id")
)


@dataclass(frozen=True)
class Destination:
    """Where documents of a feed are posted, by which field they are found, and by which run."""

    object: str
    entity: str
    feed: str
    run_id: str
    match_on: str | None = None


def plan(  # noqa: PLR0913 - what is planned, where, by whom, and the limits, each by its name
    ledger: LedgerContext,
    object: str,
    entity: str,
    feed: str,
    items: Sequence[Item],
    *,
    run_id: str,
    match_on: str | None = None,
    chunk_size: int = 500,
    chunk_bytes: int = 4_000_000,
) -> list[Chunk]:
    """Store what is to be posted, and return the chunks to send, in a stable order.

    A document that is posted, being sent, uncertain, or rejected with the same payload is left as
    it is. Documents that were planned before and never sent are planned again; the chunk they were
    in is superseded, so whoever still holds its id can no longer send it.

    Args:
        object: Intacct's object.
        entity: The entity they are posted to.
        feed: The feed they come from.
        items: The documents, each source id once.
        run_id: The run that plans them.
        match_on: The field that carries their ids; without it what is refused as a whole stays
            uncertain until somebody names it.
        chunk_size: Documents in a chunk at most.
        chunk_bytes: Bytes in the body of a chunk at most, unless it is of one document only.

    Raises:
        LedgerError: A source id comes twice.
    """
    to = Destination(object, entity, feed, run_id, match_on)
    ordered = sorted(items, key=lambda item: (item.day, item.source_id))
    _check_distinct(to, ordered)
    with ledger.writing() as connection:
        known = _known(ledger, connection, to, ordered)
        attempts = {
            item.source_id: attempt
            for item in ordered
            if (attempt := _next_attempt(ledger, known.get(item.source_id), item)) is not None
        }
        _supersede(
            ledger,
            connection,
            {
                row.chunk_id
                for source_id, row in known.items()
                if source_id in attempts and row.chunk_id and row.state == ItemState.PLANNED
            },
        )
        chunk_ids = []
        plannable = [item for item in ordered if item.source_id in attempts]
        for part in _cut(plannable, chunk_size, chunk_bytes):
            chunk_id = write_chunk(ledger, connection, to, part, attempts)
            placed = list(enumerate(part))
            if fresh := [each for each in placed if each[1].source_id not in known]:
                _insert(ledger, connection, to, chunk_id, fresh)
            if again := [each for each in placed if each[1].source_id in known]:
                _update(ledger, connection, to, chunk_id, again, attempts)
            chunk_ids.append(chunk_id)
        return [read_chunk(ledger, connection, chunk_id) for chunk_id in chunk_ids]


def release(
    ledger: LedgerContext, object: str, entity: str, source_ids: Iterable[str]
) -> list[str]:
    """Plan rejected documents once more as they are, because a person says so.

    For what was corrected in Intacct: a period opened, a customer created. The documents get
    another attempt, hence another key; the next run of their partitions posts them.

    Returns:
        The source ids that were rejected, in order. Others are left as they are.
    """
    items = ledger.table
    wanted = sorted(set(source_ids))
    ledger.check_transition(ItemState.REJECTED, ItemState.PLANNED)
    with ledger.writing() as connection:
        query = sa.select(items.c.source_id).where(
            *ledger.of(object, entity), items.c.state == ItemState.REJECTED
        )
        rejected = [
            source_id
            for start in range(0, len(wanted), IDS_AT_ONCE)
            for source_id in connection.scalars(
                query.where(items.c.source_id.in_(wanted[start : start + IDS_AT_ONCE]))
            )
        ]
        if rejected:
            connection.execute(
                sa.update(items)
                .where(*ledger.of(object, entity), items.c.source_id == sa.bindparam("b_id"))
                .values(
                    state=ItemState.PLANNED,
                    attempt=items.c.attempt + 1,
                    updated_at=ledger.stamp(),
                    **UNSENT,
                ),
                [{"b_id": source_id} for source_id in rejected],
            )
        return sorted(rejected)


def write_chunk(
    ledger: LedgerContext,
    connection: sa.Connection,
    to: Destination,
    items: Sequence[Item],
    attempts: Mapping[str, int],
    split_from: str | None = None,
) -> str:
    """Store a chunk of these documents, ready to be sent, and return its id.

    Args:
        attempts: The attempt of each document, by source id; it is part of the key.
        split_from: The chunk of which this one is a part.
    """
    body = b"[" + b",".join(item.payload for item in items) + b"]"
    body_sha256 = sha256_of(body)
    attempted = [(item.source_id, attempts[item.source_id]) for item in items]
    key = _idempotency_key(ledger.company, to, attempted, body_sha256)
    values = {
        "company": ledger.company,
        "object": to.object,
        "entity": to.entity,
        "feed": to.feed,
        "idempotency_key": key,
        "body": body,
        "body_sha256": body_sha256,
        "size": len(items),
        "state": ChunkState.READY,
        "run_id": to.run_id,
        "planned_at": ledger.stamp(),
        "method": ledger.method,
        "split_from": split_from,
        "match_on": to.match_on,
    }
    # The same documents with the same payloads make the same key: a chunk that was superseded
    # before it was sent is used again, because a key can stand in the ledger only once.
    revived = connection.execute(
        sa.update(CHUNKS)
        .where(CHUNKS.c.chunk_id == key, CHUNKS.c.state == ChunkState.SUPERSEDED)
        .values(values)
    )
    if revived.rowcount == 0:
        connection.execute(sa.insert(CHUNKS).values(chunk_id=key, **values))
    return key


def _check_distinct(to: Destination, items: Sequence[Item]) -> None:
    counts = Counter(item.source_id for item in items)
    twice = sorted(source_id for source_id, count in counts.items() if count > 1)
    if twice:
        raise LedgerError(
            f"{to.feed}: source id {twice[0]} of {to.entity} comes twice in one plan; nothing was "
            "planned.\nRemove one of the two from the feed."
        )


def _known(
    ledger: LedgerContext, connection: sa.Connection, to: Destination, items: Sequence[Item]
) -> dict[str, Any]:
    """Return the rows that the ledger holds of these documents, by source id."""
    columns = ledger.table.c
    query = sa.select(
        columns.source_id,
        columns.state,
        columns.payload_sha256,
        columns.attempt,
        columns.chunk_id,
    ).where(*ledger.of(to.object, to.entity))
    parts = (items[start : start + IDS_AT_ONCE] for start in range(0, len(items), IDS_AT_ONCE))
    return {
        row.source_id: row
        for part in parts
        for row in connection.execute(
            query.where(columns.source_id.in_([item.source_id for item in part]))
        )
    }


def _next_attempt(ledger: LedgerContext, row: Any, item: Item) -> int | None:
    """Return the attempt on which a document may be planned; None if it may not."""
    if row is None:
        return 1
    if row.state == ItemState.PLANNED:
        return int(row.attempt)
    again = ItemState.PLANNED in ledger.transitions[ItemState(row.state)]
    if again and row.state != ItemState.UNCERTAIN and row.payload_sha256 != item.sha256:
        return int(row.attempt) + 1
    return None


def _supersede(ledger: LedgerContext, connection: sa.Connection, chunk_ids: Iterable[str]) -> None:
    """Take back chunks that were never sent; documents that only they held stay planned."""
    items = ledger.table
    for chunk_id in sorted(chunk_ids):
        moved = connection.execute(
            sa.update(CHUNKS)
            .where(CHUNKS.c.chunk_id == chunk_id, CHUNKS.c.state == ChunkState.READY)
            .values(state=ChunkState.SUPERSEDED)
        )
        if moved.rowcount:
            connection.execute(
                sa.update(items)
                .where(items.c.chunk_id == chunk_id, items.c.state == ItemState.PLANNED)
                .values(chunk_id=None, position=None)
            )


def _cut(items: Sequence[Item], size: int, most_bytes: int) -> Iterator[list[Item]]:
    part: list[Item] = []
    length = 1  # the brackets; each item brings a comma or the second one
    for item in items:
        added = len(item.payload) + 1
        if part and (len(part) == size or length + added > most_bytes):
            yield part
            part, length = [], 1
        part.append(item)
        length += added
    if part:
        yield part


def _idempotency_key(
    company: str, to: Destination, attempted: Sequence[tuple[str, int]], body_sha256: str
) -> str:
    # Derived from what is sent, not random: whoever plans the same documents again sends them under
    # the same key, so Intacct creates them once.
    digest = hashlib.sha256()
    for part in (company, to.entity, to.object, body_sha256):
        digest.update(f"{len(part)}:{part}".encode())
    for source_id, attempt in attempted:
        digest.update(f"{len(source_id)}:{source_id}{attempt}".encode())
    return digest.hexdigest()


def _insert(
    ledger: LedgerContext,
    connection: sa.Connection,
    to: Destination,
    chunk_id: str,
    placed: Sequence[tuple[int, Item]],
) -> None:
    """Store documents that the ledger does not know, at their positions of a chunk."""
    source_id, day, amount, payload, sha256, position, document, document_sha256 = bulk_columns(
        connection,
        [
            (
                i.source_id,
                i.day.isoformat(),
                i.amount,
                i.payload.decode(),
                i.sha256,
                position,
                None if i.document is None else i.document.decode(),
                None if i.document is None else sha256_of(i.document),
            )
            for position, i in placed
        ],
        (
            *(sa.Text, sa.Text, sa.Text, sa.LargeBinary, sa.Text, sa.Integer),
            *(sa.LargeBinary, sa.Text),
        ),
    )
    values: dict[str, Any] = {
        "company": sa.literal(ledger.company),
        "object": sa.literal(to.object),
        "entity": sa.literal(to.entity),
        "source_id": source_id,
        "feed": sa.literal(to.feed),
        "day": day,
        "amount": amount,
        "payload": payload,
        "payload_sha256": sha256,
        "state": sa.literal(ItemState.PLANNED.value),
        "attempt": sa.literal(1),
        "chunk_id": sa.literal(chunk_id),
        "position": position,
        "run_id": sa.literal(to.run_id),
        "updated_at": sa.literal(ledger.stamp()),
    }
    if ledger.holds_amendments:
        values |= {"document": document, "document_sha256": document_sha256}
    connection.execute(
        sa.insert(ledger.table).from_select(list(values), sa.select(*values.values()))
    )


def _update(
    ledger: LedgerContext,
    connection: sa.Connection,
    to: Destination,
    chunk_id: str,
    placed: Sequence[tuple[int, Item]],
    attempts: Mapping[str, int],
) -> None:
    """Plan documents again that the ledger knows, at their positions of another chunk."""
    for before in (ItemState.PLANNED, ItemState.REJECTED):
        ledger.check_transition(before, ItemState.PLANNED)
    of_each = ["day", "amount", "payload", "payload_sha256", "attempt", "position"]
    if ledger.holds_amendments:
        of_each += ["document", "document_sha256"]
    values: dict[str, Any] = {
        **UNSENT,
        "intacct_key": None,
        "intacct_id": None,
        "read_back_at": None,
        **{name: sa.bindparam(f"b_{name}") for name in of_each},
        "feed": to.feed,
        "state": ItemState.PLANNED,
        "chunk_id": chunk_id,
        "run_id": to.run_id,
        "updated_at": ledger.stamp(),
    }
    this = ledger.table.c.source_id == sa.bindparam("b_source_id")
    connection.execute(
        sa.update(ledger.table).where(*ledger.of(to.object, to.entity), this).values(values),
        [
            {
                "b_source_id": item.source_id,
                "b_day": item.day.isoformat(),
                "b_amount": item.amount,
                "b_payload": item.payload,
                "b_payload_sha256": item.sha256,
                "b_attempt": attempts[item.source_id],
                "b_position": position,
                **_document_parameters(ledger, item),
            }
            for position, item in placed
        ],
    )


def _document_parameters(ledger: LedgerContext, item: Item) -> dict[str, object]:
    if not ledger.holds_amendments or item.document is None:
        return {}
    return {"b_document": item.document, "b_document_sha256": sha256_of(item.document)}
