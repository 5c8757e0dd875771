"""API transactions that all processes used in a month, to compare with what the plan allows."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from intacct_dagster.state.store import METADATA

#: A row is a piece of work (a run, a check, a command) and the requests that it made.
_usage = sa.Table(
    "api_usage",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("company", sa.Text, nullable=False),
    sa.Column("month", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("entity", sa.Text, nullable=False),
    sa.Column("object", sa.Text, nullable=False),
    sa.Column("requests", sa.Integer, nullable=False),
    sa.Column("transactions", sa.Integer, nullable=False),
    sa.Index("api_usage_by_month", "company", "month"),
)


class ApiUsage:
    """The API transactions of one company, by calendar month (UTC). Processes share it.

    Args:
        engine: The state store, from `open_state`.
        company: The company whose plan is used.
    """

    def __init__(self, engine: sa.Engine, company: str) -> None:
        self._engine = engine
        self._company = company

    def spend(
        self,
        *,
        at: datetime,
        run_id: str,
        entity: str,
        object: str,
        requests: int,
        transactions: int,
    ) -> None:
        """Add what a piece of work used, also if it failed.

        Args:
            at: When it was used; aware. It says in which month that counts.
            run_id: The run, or the command.
            entity: The entity whose session was used.
            object: Intacct's object that was asked for.
            requests: HTTP requests.
            transactions: What Sage bills for them.
        """
        with self._engine.begin() as connection:
            connection.execute(
                _usage.insert().values(
                    company=self._company,
                    month=_month(at),
                    at=at.astimezone(UTC).isoformat(),
                    run_id=run_id,
                    entity=entity,
                    object=object,
                    requests=requests,
                    transactions=transactions,
                )
            )

    def spent(self, at: datetime) -> int:
        """Return the transactions of the month of `at` (aware) to date."""
        with self._engine.begin() as connection:
            total = connection.execute(
                sa.select(sa.func.coalesce(sa.func.sum(_usage.c.transactions), 0)).where(
                    _usage.c.company == self._company, _usage.c.month == _month(at)
                )
            ).scalar_one()
        return int(total)

    def by_object(self, at: datetime) -> list[tuple[str, int, int]]:
        """Return (object, requests, transactions) of the month of `at` to date, most used first."""
        requests, transactions = (
            sa.func.sum(column) for column in (_usage.c.requests, _usage.c.transactions)
        )
        with self._engine.begin() as connection:
            rows = connection.execute(
                sa.select(_usage.c.object, requests, transactions)
                .where(_usage.c.company == self._company, _usage.c.month == _month(at))
                .group_by(_usage.c.object)
                .order_by(transactions.desc(), requests.desc(), _usage.c.object)
            ).all()
        return [(str(name), int(asked), int(billed)) for name, asked, billed in rows]


def _month(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m")
