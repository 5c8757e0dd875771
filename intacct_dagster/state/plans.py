"""Which plan was made last of each partition of a feed: what a posting is held against."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime

import sqlalchemy as sa

from intacct_dagster.state.store import METADATA, reading, writing

#: A row is a partition that was planned; `plan` is the hash of its last plan, empty if that has no
#: document.
_plans = sa.Table(
    "posting_plans",
    METADATA,
    sa.Column("company", sa.Text, primary_key=True),
    sa.Column("feed", sa.Text, primary_key=True),
    sa.Column("entity", sa.Text, primary_key=True),
    sa.Column("day", sa.Text, primary_key=True),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("planned_at", sa.Text, nullable=False),
)


class Plans:
    """The hashes of the plans of a company, which all its warehouses and machines share.

    A posting that finds no plan, or another one, where this store knows of one, looks at the wrong
    warehouse: an absent plan is never an empty one.

    Args:
        engine: The state store, from `open_state`.
        company: The company whose plans they are.
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

    def record(self, feed: str, plans: Mapping[tuple[str, date], str], *, run_id: str) -> None:
        """Record the plans that a run made, one for each (entity, day); an empty one counts."""
        stamp = self._now().astimezone(UTC).isoformat(timespec="seconds")
        rows = [
            {
                "company": self._company,
                "feed": feed,
                "entity": entity,
                "day": day.isoformat(),
                "plan": plan,
                "run_id": run_id,
                "planned_at": stamp,
            }
            for (entity, day), plan in plans.items()
        ]
        if not rows:
            return
        this = sa.and_(
            _plans.c.company == self._company,
            _plans.c.feed == feed,
            _plans.c.entity == sa.bindparam("b_entity"),
            _plans.c.day == sa.bindparam("b_day"),
        )
        with writing(self._engine) as connection:
            connection.execute(
                sa.delete(_plans).where(this),
                [{"b_entity": row["entity"], "b_day": row["day"]} for row in rows],
            )
            connection.execute(sa.insert(_plans), rows)

    def last(
        self, feed: str, partitions: Collection[tuple[str, date]]
    ) -> dict[tuple[str, date], str]:
        """Return the hash of the last plan of each of these partitions that was planned."""
        days = [day.isoformat() for _, day in partitions]
        if not days:
            return {}
        query = sa.select(_plans.c.entity, _plans.c.day, _plans.c.plan).where(
            _plans.c.company == self._company,
            _plans.c.feed == feed,
            _plans.c.day.between(min(days), max(days)),
        )
        with reading(self._engine) as connection:
            found = {
                (row.entity, date.fromisoformat(row.day)): row.plan
                for row in connection.execute(query)
            }
        return {each: found[each] for each in partitions if each in found}
