"""Posted documents that are still to be compared with what Intacct holds, and those that agreed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from intacct_dagster.state.ledger.context import LedgerContext, amendment_of_item
from intacct_dagster.state.ledger.queries import with_last_amendment
from intacct_dagster.state.ledger.records import Posted
from intacct_dagster.state.ledger.schema import AMENDMENTS, ITEMS, ItemState


def unread(
    ledger: LedgerContext, object: str, entities: Iterable[str], feed: str
) -> list[tuple[str, str]]:
    """Return (entity, source id) of posted documents that Intacct was not seen to hold as sent.

    A document that was amended since counts as it was amended last.
    """
    items = ledger.table.c
    read = sa.case(
        (AMENDMENTS.c.state == ItemState.POSTED, AMENDMENTS.c.read_back_at.is_not(None)),
        else_=items.read_back_at.is_not(None) | AMENDMENTS.c.applied.is_not(None),
    )
    selected = sa.select(items.entity, items.source_id)
    query = with_last_amendment(ledger, selected, object, entities, feed)
    with ledger.reading() as connection:
        found = connection.execute(query.where(items.state == ItemState.POSTED, ~read))
        return [(row.entity, row.source_id) for row in found]


def not_read_back(ledger: LedgerContext, object: str, entity: str) -> list[tuple[str, int]]:
    """Return (chunk id, how many) of posted documents that were not yet compared.

    Chunks come in the order of Intacct's keys, as far as they have one, so that documents with
    neighbouring keys can be read together.
    """
    items = ledger.table.c
    first = sa.func.min(items.intacct_key)
    query = (
        sa.select(items.chunk_id, sa.func.count())
        .where(
            *ledger.of(object, entity),
            items.state == ItemState.POSTED,
            items.read_back_at.is_(None),
            *_not_amended(ledger),
        )
        .group_by(items.chunk_id)
        .order_by(sa.func.length(first), first)
    )
    with ledger.reading() as connection:
        return [(chunk_id, count) for chunk_id, count in connection.execute(query)]


def posted(ledger: LedgerContext, chunk_ids: Sequence[str]) -> list[Posted]:
    """Return the posted documents of these chunks that were not yet compared.

    The payload of an amendment is the whole document as it was amended.
    """
    items = ledger.table.c
    held = AMENDMENTS.c.applied if ledger.holds_amendments else items.payload
    query = (
        sa.select(items.source_id, items.intacct_key, held, items.chunk_id)
        .where(
            items.chunk_id.in_(chunk_ids),
            items.state == ItemState.POSTED,
            items.read_back_at.is_(None),
            *_not_amended(ledger),
        )
        .order_by(items.chunk_id, items.position)
    )
    with ledger.reading() as connection:
        return [Posted(*row) for row in connection.execute(query)]


def agreed(ledger: LedgerContext, posted: Iterable[Posted]) -> None:
    """Record that Intacct holds these documents as they were sent."""
    by_chunk: dict[str, list[str]] = {}
    for each in posted:
        by_chunk.setdefault(each.chunk_id, []).append(each.source_id)
    if not by_chunk:
        return
    items = ledger.table.c
    with ledger.writing() as connection:
        for chunk_id, source_ids in by_chunk.items():
            # Only of this chunk: what another chunk sent since has a payload of its own, which
            # nobody compared.
            connection.execute(
                sa.update(ledger.table)
                .where(
                    items.chunk_id == chunk_id,
                    items.state == ItemState.POSTED,
                    items.source_id.in_(source_ids),
                )
                .values(read_back_at=ledger.stamp())
            )


def _not_amended(ledger: LedgerContext) -> tuple[sa.ColumnElement[Any], ...]:
    # Intacct no longer holds a created document as it was sent once it accepted an amendment of it:
    # the amendment is compared instead.
    if ledger.holds_amendments:
        return ()
    applied = sa.select(1).where(amendment_of_item(), AMENDMENTS.c.applied.is_not(None))
    return (~applied.correlate(ITEMS).exists(),)
