"""Postings that a warehouse knows of and the ledger does not: the ledger was lost or put back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime

import sqlalchemy as sa

from intacct_dagster.state.store import METADATA, reading, writing

#: A row is such a document, once Intacct was asked whether it holds its record.
_lost = sa.Table(
    "posting_lost",
    METADATA,
    sa.Column("company", sa.Text, primary_key=True),
    sa.Column("object", sa.Text, primary_key=True),
    sa.Column("entity", sa.Text, primary_key=True),
    sa.Column("source_id", sa.Text, primary_key=True),
    sa.Column("intacct_key", sa.Text, primary_key=True),
    sa.Column("in_intacct", sa.Boolean, nullable=False),
    sa.Column("compared_at", sa.Text, nullable=False),
)


class LostPostings:
    """The documents of a company whose posting the ledger lost, as they were found in Intacct.

    Args:
        engine: The state store, from `open_state`.
        company: The company.
        now: Gives aware UTC times; a test passes its own.
    """

    def __init__(
        self,
        engine: sa.Engine,
        company: str,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine = engine
        self._company = company
        self._now = now

    def compared(self, object: str) -> set[tuple[str, str, str]]:
        """Return (entity, source id, key) of each that was compared with Intacct."""
        columns = _lost.c
        query = sa.select(columns.entity, columns.source_id, columns.intacct_key).where(
            columns.company == self._company, columns.object == object
        )
        with reading(self._engine) as connection:
            return {
                (row.entity, row.source_id, row.intacct_key) for row in connection.execute(query)
            }

    def record(
        self,
        object: str,
        entity: str,
        postings: Iterable[tuple[str, str]],
        records: Mapping[str, object] | Collection[str],
    ) -> None:
        """Record that (source id, key) of an entity were compared.

        Args:
            object: Intacct's object.
            entity: The entity.
            postings: The documents, with the keys of their records.
            records: The keys that Intacct holds.
        """
        stamp = self._now().astimezone(UTC).isoformat(timespec="seconds")
        known = self.compared(object)
        rows = [
            {
                "company": self._company,
                "object": object,
                "entity": entity,
                "source_id": source_id,
                "intacct_key": key,
                "in_intacct": key in records,
                "compared_at": stamp,
            }
            for source_id, key in postings
            if (entity, source_id, key) not in known
        ]
        if rows:
            with writing(self._engine) as connection:
                connection.execute(sa.insert(_lost), rows)
