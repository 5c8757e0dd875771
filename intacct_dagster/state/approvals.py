"""Decisions of people: which plans may be posted, and which documents are no duplicates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime

import sqlalchemy as sa

from intacct_dagster.state.store import METADATA

#: A row is a plan of a partition that a person approved; `plan` is its hash.
_approvals = sa.Table(
    "posting_approvals",
    METADATA,
    sa.Column("company", sa.Text, primary_key=True),
    sa.Column("feed", sa.Text, primary_key=True),
    sa.Column("entity", sa.Text, primary_key=True),
    sa.Column("day", sa.Text, primary_key=True),
    sa.Column("plan", sa.Text, primary_key=True),
    sa.Column("approved_by", sa.Text, nullable=False),
    sa.Column("approved_at", sa.Text, nullable=False),
)

#: A row is a document that a person declared no duplicate of what looks like it.
_no_duplicates = sa.Table(
    "posting_no_duplicates",
    METADATA,
    sa.Column("company", sa.Text, primary_key=True),
    sa.Column("feed", sa.Text, primary_key=True),
    sa.Column("source_id", sa.Text, primary_key=True),
    sa.Column("said_by", sa.Text, nullable=False),
    sa.Column("said_at", sa.Text, nullable=False),
)


class Approvals:
    """The decisions of people about the plans of a company. None is ever deleted.

    A plan is one partition (entity, day) of a feed; it is identified by a hash of what it would
    post, so an approval does not cover a plan that changed since.

    Args:
        engine: The state store, from `open_state`.
        company: The company whose plans are decided on.
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

    def approve(self, feed: str, plans: Mapping[tuple[str, date], str], *, by: str) -> int:
        """Record that these plans may be posted.

        Args:
            feed: The feed whose plans they are.
            plans: The hash of each partition's plan; an empty one is left out.
            by: Who approved them.

        Returns:
            How many were not approved before.
        """
        held = self.held(feed)
        fresh = [
            {
                "company": self._company,
                "feed": feed,
                "entity": entity,
                "day": day.isoformat(),
                "plan": plan,
                "approved_by": by,
                "approved_at": self._stamp(),
            }
            for (entity, day), plan in plans.items()
            if plan and (entity, day, plan) not in held
        ]
        if fresh:
            with self._engine.begin() as connection:
                connection.execute(sa.insert(_approvals), fresh)
        return len(fresh)

    def approved(self, feed: str, plans: Mapping[tuple[str, date], str]) -> set[tuple[str, date]]:
        """Return the partitions whose plan is approved as it is, by its hash."""
        held = self.held(feed)
        return {
            (entity, day) for (entity, day), plan in plans.items() if (entity, day, plan) in held
        }

    def no_duplicates(self, feed: str) -> set[str]:
        """Return the source ids that a person declared no duplicates."""
        query = sa.select(_no_duplicates.c.source_id).where(
            _no_duplicates.c.company == self._company, _no_duplicates.c.feed == feed
        )
        with self._engine.connect() as connection:
            return set(connection.scalars(query))

    def say_no_duplicates(self, feed: str, source_ids: Iterable[str], *, by: str) -> int:
        """Record that these documents are no duplicates of what looks like them.

        Args:
            feed: The feed they come from.
            source_ids: The documents.
            by: Who says so.

        Returns:
            How many were not recorded before.
        """
        fresh = [
            {
                "company": self._company,
                "feed": feed,
                "source_id": source_id,
                "said_by": by,
                "said_at": self._stamp(),
            }
            for source_id in sorted(set(source_ids) - self.no_duplicates(feed))
        ]
        if fresh:
            with self._engine.begin() as connection:
                connection.execute(sa.insert(_no_duplicates), fresh)
        return len(fresh)

    def held(self, feed: str) -> set[tuple[str, date, str]]:
        """Return (entity, day, plan hash) of every plan of a feed that was approved."""
        query = sa.select(_approvals.c.entity, _approvals.c.day, _approvals.c.plan).where(
            _approvals.c.company == self._company, _approvals.c.feed == feed
        )
        with self._engine.connect() as connection:
            return {
                (row.entity, date.fromisoformat(row.day), row.plan)
                for row in connection.execute(query)
            }

    def _stamp(self) -> str:
        return self._now().astimezone(UTC).isoformat(timespec="seconds")
