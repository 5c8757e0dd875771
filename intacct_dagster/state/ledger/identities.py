"""Identities of documents that an older version wrote down by their number alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from intacct_dagster.state.errors import LedgerError
from intacct_dagster.state.ledger.context import LedgerContext
from intacct_dagster.state.ledger.schema import AMENDMENTS, ITEMS


def adopt_identities(
    ledger: LedgerContext,
    object: str,
    entity: str,
    feed: str,
    identity_of: Callable[[str, bytes], str | None],
    *,
    unless: str,
) -> int:
    """Give the documents of a feed the ids that they are known by now.

    Stored requests keep their bytes and their keys: nothing is sent under another key for it.

    Args:
        object: Intacct's object.
        entity: The entity they are posted to.
        feed: The feed.
        identity_of: (source id, payload) -> the id of the document; None if the payload does not
            tell.
        unless: Documents whose id contains this have one of today already.

    Returns:
        How many were written under another id.

    Raises:
        LedgerError: The payload of a document does not tell its id, or another document has it.
            Nothing is changed: none of the feed may be planned.
    """
    items = ITEMS.c
    this = (
        items.company == ledger.company,
        items.object == object,
        items.entity == entity,
        items.feed == feed,
    )
    with ledger.writing() as connection:
        old = (*this, ~items.source_id.contains(unless, autoescape=True))
        rows = connection.execute(sa.select(items.source_id, items.payload).where(*old)).all()
        held = set(connection.scalars(sa.select(items.source_id).where(*this)))
        renamed: dict[str, str] = {}
        for row in rows:
            identity = identity_of(row.source_id, row.payload)
            if identity is None:
                raise LedgerError(
                    f"{feed}: what was sent of {row.source_id} of {entity} does not tell whose "
                    "document it is, so it might be posted twice. Nothing of the feed is planned. "
                    "Give the feed `identity: number` in intacct.yaml."
                )
            if identity != row.source_id:
                renamed[row.source_id] = identity
        taken = held & set(renamed.values())
        if taken:
            raise LedgerError(
                f"{feed}: the ledger has {min(taken)} of {entity} twice. Nothing of it is planned."
            )
        for table in (ITEMS, AMENDMENTS):
            _rename(connection, table, ledger.company, object, entity, renamed)
        return len(renamed)


def _rename(
    connection: sa.Connection,
    table: sa.Table,
    company: str,
    object: str,
    entity: str,
    renamed: dict[str, str],
) -> None:
    if not renamed:
        return
    parameters: list[dict[str, Any]] = [
        {"b_from": before, "b_to": after} for before, after in renamed.items()
    ]
    connection.execute(
        sa.update(table)
        .where(
            table.c.company == company,
            table.c.object == object,
            table.c.entity == entity,
            table.c.source_id == sa.bindparam("b_from"),
        )
        .values(source_id=sa.bindparam("b_to")),
        parameters,
    )
