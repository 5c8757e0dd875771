"""Queries about documents in the ledger: their states, outcomes and payloads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from intacct_dagster.state.bulk_values import json_row
from intacct_dagster.state.ledger.context import LedgerContext, amendment_of_item
from intacct_dagster.state.ledger.records import Entry, LastAmendment
from intacct_dagster.state.ledger.schema import AMENDMENTS, ItemState

_ROWS_AT_ONCE = 5_000  # in memory
IDS_AT_ONCE = 500  # source ids in one statement


def entries(
    ledger: LedgerContext,
    object: str,
    entity: str,
    *,
    days: Iterable[date] | None = None,
    feed: str | None = None,
) -> list[Entry]:
    """Return the documents of an object and entity, by (day, source id).

    Args:
        object: Intacct's object.
        entity: The entity they are posted to.
        days: Only those of these days; None for all.
        feed: Only those of this feed; None for all.
    """
    table = ledger.table.c
    query = sa.select(*(c for c in table if c.name != "payload")).where(*ledger.of(object, entity))
    if days is not None:
        query = query.where(table.day.in_(sorted(day.isoformat() for day in days)))
    if feed is not None:
        query = query.where(table.feed == feed)
    with ledger.reading() as connection:
        rows = connection.execute(query.order_by(table.day, table.source_id)).all()
    return [_entry(row) for row in rows]


def _entry(row: Any) -> Entry:
    return Entry(
        entity=row.entity,
        source_id=row.source_id,
        day=date.fromisoformat(row.day),
        amount=row.amount,
        payload_sha256=row.payload_sha256,
        state=ItemState(row.state),
        chunk_id=row.chunk_id,
        position=row.position,
        intacct_key=row.intacct_key,
        error_id=row.error_id,
        reason=row.reason,
        what_to_do=row.what_to_do,
        field=row.field,
        support_id=row.support_id,
        run_id=row.run_id,
        updated_at=datetime.fromisoformat(row.updated_at),
        read_back_at=time_of(row.read_back_at),
    )


def time_of(stored: str | None) -> datetime | None:
    """Return the time that a table stores as text."""
    return None if stored is None else datetime.fromisoformat(stored)


def outcomes(
    ledger: LedgerContext, object: str, entities: Iterable[str], feed: str
) -> Iterator[bytes]:
    """Yield the created documents of a feed as JSON Lines, thousands of documents at a time.

    Returns:
        Lines, each a JSON array: entity, source id, day, amount (as amended last), state, Intacct's
        key, reason, what to do, field, error id, support id, chunk id, position, run id, and when
        that was recorded. Position is a number, all others are texts; each may be null.
    """
    items = ledger.table.c
    columns = (
        *(items.entity, items.source_id, items.day),
        sa.func.coalesce(AMENDMENTS.c.applied_amount, items.amount),
        *(items.state, items.intacct_key, items.reason, items.what_to_do, items.field),
        *(items.error_id, items.support_id, items.chunk_id, items.position, items.run_id),
        items.updated_at,
    )
    query = with_last_amendment(ledger, sa.select(json_row(*columns)), object, entities, feed)
    with ledger.reading() as connection:
        for rows in connection.scalars(query).partitions(_ROWS_AT_ONCE):
            yield "\n".join(rows).encode()


def with_last_amendment(
    ledger: LedgerContext,
    query: sa.Select[Any],
    object: str,
    entities: Iterable[str],
    feed: str,
) -> sa.Select[Any]:
    """Return `query` on the created documents of a feed, each joined with its last amendment."""
    items = ledger.table.c
    return query.join(AMENDMENTS, amendment_of_item(), isouter=True).where(
        items.company == ledger.company,
        items.object == object,
        items.entity.in_(sorted(set(entities))),
        items.feed == feed,
    )


def payloads(
    ledger: LedgerContext, object: str, entity: str, source_ids: Sequence[str]
) -> dict[str, bytes]:
    """Return the exact JSON objects that documents were, or will be, sent as, by source id.

    Source ids that the ledger does not know are left out.
    """
    items = ledger.table.c
    found: dict[str, bytes] = {}
    with ledger.reading() as connection:
        for start in range(0, len(source_ids), IDS_AT_ONCE):
            query = sa.select(items.source_id, items.payload).where(
                *ledger.of(object, entity),
                items.source_id.in_(source_ids[start : start + IDS_AT_ONCE]),
            )
            found |= {row.source_id: row.payload for row in connection.execute(query)}
    return found


def posted_payloads(
    ledger: LedgerContext, object: str, entity: str, source_ids: Sequence[str]
) -> dict[str, bytes]:
    """Return the whole documents as Intacct holds them, by source id.

    A document that was created and then amended is returned as it was amended last. Source ids that
    are not posted are left out.
    """
    items = ledger.table.c
    found: dict[str, bytes] = {}
    payload = sa.func.coalesce(AMENDMENTS.c.applied, items.payload)
    with ledger.reading() as connection:
        for start in range(0, len(source_ids), IDS_AT_ONCE):
            query = (
                sa.select(items.source_id, payload.label("payload"))
                .join(AMENDMENTS, amendment_of_item(), isouter=True)
                .where(
                    *ledger.of(object, entity),
                    items.state == ItemState.POSTED,
                    items.source_id.in_(source_ids[start : start + IDS_AT_ONCE]),
                )
            )
            found |= {row.source_id: row.payload for row in connection.execute(query)}
    return found


def posted_keys(ledger: LedgerContext, object: str, entity: str, feed: str) -> dict[str, str]:
    """Return Intacct's keys of the posted documents of a feed, by source id."""
    items = ledger.table.c
    query = sa.select(items.source_id, items.intacct_key).where(
        *ledger.of(object, entity),
        items.feed == feed,
        items.state == ItemState.POSTED,
    )
    with ledger.reading() as connection:
        return {row.source_id: row.intacct_key for row in connection.execute(query)}


def last_posted(ledger: LedgerContext, object: str, entity: str, most: int) -> dict[str, str]:
    """Return Intacct's keys of the documents that were posted last, by source id."""
    items = ledger.table.c
    query = (
        sa.select(items.source_id, items.intacct_key)
        .where(*ledger.of(object, entity), items.state == ItemState.POSTED)
        .order_by(items.updated_at.desc(), items.source_id)
        .limit(most)
    )
    with ledger.reading() as connection:
        return {row.source_id: row.intacct_key for row in connection.execute(query)}


def sent_for(ledger: LedgerContext, object: str, feed: str) -> list[tuple[str, str, ItemState]]:
    """Return (entity, source id, state) of every document of a feed that may be in Intacct.

    Those are posted, being sent, or uncertain, in any entity.
    """
    items = ledger.table.c
    arrived = (ItemState.POSTED, ItemState.SENDING, ItemState.UNCERTAIN)
    query = sa.select(items.entity, items.source_id, items.state).where(
        items.company == ledger.company,
        items.object == object,
        items.feed == feed,
        items.state.in_(arrived),
    )
    with ledger.reading() as connection:
        return [
            (row.entity, row.source_id, ItemState(row.state)) for row in connection.execute(query)
        ]


def last_amendments(
    ledger: LedgerContext, object: str, entity: str, feed: str
) -> dict[str, LastAmendment]:
    """Return the last amendment of each document of a feed that has one, by source id.

    An amendment counts from the day it was planned, whatever became of it.
    """
    columns = AMENDMENTS.c
    query = sa.select(
        columns.source_id,
        columns.day,
        columns.state,
        columns.document_sha256,
        columns.applied_sha256,
        columns.reason,
        columns.what_to_do,
        columns.updated_at,
    ).where(
        columns.company == ledger.company,
        columns.object == object,
        columns.entity == entity,
        columns.feed == feed,
    )
    with ledger.reading() as connection:
        return {
            row.source_id: LastAmendment(
                date.fromisoformat(row.day),
                ItemState(row.state),
                row.document_sha256,
                row.applied_sha256,
                row.reason,
                row.what_to_do,
                datetime.fromisoformat(row.updated_at),
            )
            for row in connection.execute(query)
        }
