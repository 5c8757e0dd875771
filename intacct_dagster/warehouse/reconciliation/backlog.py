"""The backlog: days that were not read, plans that are out of date, plans that wait to be posted.

It comes from the tables themselves, not from a memory of what was done: what failed, was deleted or
was done by hand needs no book-keeping, and what is done leaves the backlog.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.feeds.read import FEED
from intacct_dagster.warehouse.partitions import Partition
from intacct_dagster.warehouse.raw.names import META, RAW, table_name
from intacct_dagster.warehouse.reconciliation.comparison import RECONCILED, RECONCILED_COLUMNS
from intacct_dagster.warehouse.reconciliation.outcomes import (
    CHANGE_COLUMNS,
    CHANGES,
    OUTCOME_COLUMNS,
    POSTING,
)
from intacct_dagster.warehouse.reconciliation.plan import PLAN, PLAN_COLUMNS
from intacct_dagster.warehouse.sql import identifier, literal, statement
from intacct_dagster.warehouse.tables import AMOUNT, TIME, TableColumn, existing_columns
from intacct_dagster.warehouse.types import column_name


@dataclass(frozen=True, slots=True)
class BacklogPlan:
    """A partition that is to be reconciled and planned again, why, and since when (aware)."""

    partition: Partition
    why: str
    since: datetime


def unread_days(
    file: Warehouse, objects: Sequence[str], entities: Sequence[str], days: Sequence[date]
) -> dict[tuple[str, str], list[date]]:
    """Of these days those that were not read, or not to their end: by (entity, object), in order.

    Where nothing was ever read, it is all of them.
    """
    if not file.path.exists():
        return {(entity, each): list(days) for entity in entities for each in objects if days}
    with file.connect(read_only=True) as connection:
        loads = _table(connection, META, "raw_loads", _LOADED)
        rows = connection.execute(
            statement(__name__, "backlog_days", loads=loads),
            {"objects": list(objects), "entities": list(entities), "days": list(days)},
        ).fetchall()
    found: dict[tuple[str, str], list[date]] = {}
    for object_, entity, day in rows:
        found.setdefault((entity, object_), []).append(day)
    return found


def plan_backlog(
    file: Warehouse,
    feed: str,
    object: str,
    match_on: str,
    entities: Sequence[str],
    *,
    planned: Sequence[str],
    held_before: datetime,
) -> list[BacklogPlan]:
    """Return the partitions of a feed whose plan is older than what it rests on, by (entity, day).

    `planned` are the statuses of documents that are planned; what a gate held before `held_before`
    is judged again, for it may have been corrected in Intacct.
    """
    if not file.path.exists():
        return []
    with file.connect(read_only=True) as connection:
        if not existing_columns(connection, CATALOG, FEED, feed):
            return []
        records = (
            TableColumn("_entity", "VARCHAR"),
            TableColumn(column_name(match_on), "VARCHAR"),
            TableColumn("_extracted_at", TIME),
        )
        rows = connection.execute(
            statement(
                __name__,
                "backlog_plans",
                feed=identifier(CATALOG, FEED, feed),
                reconciled=_table(connection, RECONCILED, feed, RECONCILED_COLUMNS),
                plan=_table(connection, PLAN, feed, PLAN_COLUMNS),
                raw=_table(connection, RAW, table_name(object), records),
                match_on=identifier(column_name(match_on)),
                planned=", ".join(literal(each) for each in planned),
            ),
            {"held_before": held_before, "entities": list(entities)},
        ).fetchall()
    return [BacklogPlan((entity, day), why, since) for entity, day, why, since in rows]


def unposted_plans(
    file: Warehouse, feed: str, entities: Collection[str], *, changes: bool
) -> dict[Partition, datetime]:
    """Return partitions whose plan has what was not sent since it was planned; when it was planned.

    That is what it would create, and if `changes`, what it would change.
    """
    if not file.path.exists():
        return {}
    with file.connect(read_only=True) as connection:
        rows = connection.execute(
            statement(
                __name__,
                "backlog_posting",
                plan=_table(connection, PLAN, feed, PLAN_COLUMNS),
                outcomes=_table(connection, POSTING, feed, OUTCOME_COLUMNS),
                changes=_table(connection, POSTING, CHANGES, CHANGE_COLUMNS),
            ),
            {
                "feed": feed,
                "actions": ["create", "change"] if changes else ["create"],
                "entities": list(entities),
            },
        ).fetchall()
    return {(entity, day): at for entity, day, at in rows}


def uncertain_partitions(file: Warehouse, feed: str, entities: Collection[str]) -> set[Partition]:
    """Partitions with documents or changes that were sent, and nobody knows what became of them."""
    if not file.path.exists():
        return set()
    with file.connect(read_only=True) as connection:
        changes = _table(connection, POSTING, CHANGES, CHANGE_COLUMNS)
        return set(
            connection.execute(
                f"SELECT _entity, _day FROM {_table(connection, POSTING, feed, _OUTCOMES)}"
                " WHERE state = 'uncertain' AND _entity IN (SELECT unnest($entities::VARCHAR[]))"
                f" UNION SELECT _entity, _day FROM {changes}"
                " WHERE feed = $feed AND state = 'uncertain'"
                " AND _entity IN (SELECT unnest($entities::VARCHAR[]))",
                {"feed": feed, "entities": list(entities)},
            ).fetchall()
        )


@dataclass(frozen=True, slots=True)
class OpenDocuments:
    """Documents of an entity that are not in Intacct as the source has them, by their status."""

    entity: str
    status: str
    documents: int
    amount: Decimal
    oldest: date


def open_documents(
    file: Warehouse, feed: str, entities: Sequence[str], first: date, last: date
) -> list[OpenDocuments]:
    """Return what was not settled of the days `first` to `last` when it was reconciled last.

    A document that came a second time is settled by the first; what was posted from here is.
    """
    if not file.path.exists():
        return []
    with file.connect(read_only=True) as connection:
        rows = connection.execute(
            "SELECT _entity, status, count(*), sum(amount), min(_day)"
            f" FROM {_table(connection, RECONCILED, feed, _SETTLED)}"
            " WHERE status NOT IN ('matched', 'posted', 'duplicate')"
            " AND _day BETWEEN $first AND $last"
            " AND _entity IN (SELECT unnest($entities::VARCHAR[]))"
            " GROUP BY ALL ORDER BY ALL",
            {"first": first, "last": last, "entities": list(entities)},
        ).fetchall()
    return [OpenDocuments(*row) for row in rows]


_OUTCOMES = (
    TableColumn("_entity", "VARCHAR"),
    TableColumn("_day", "DATE"),
    TableColumn("state", "VARCHAR"),
)
_SETTLED = (
    TableColumn("_entity", "VARCHAR"),
    TableColumn("_day", "DATE"),
    TableColumn("status", "VARCHAR"),
    TableColumn("amount", AMOUNT),
)
_LOADED = (
    TableColumn("object", "VARCHAR"),
    TableColumn("entity", "VARCHAR"),
    TableColumn("day", "DATE"),
    TableColumn("read_until", TIME),
)


def _table(
    connection: DuckDBPyConnection, schema: str, table: str, columns: Sequence[TableColumn]
) -> str:
    """Return a table, quoted; in place of one that has not these columns yet, one without rows."""
    there = {each.name for each in existing_columns(connection, CATALOG, schema, table)}
    if there >= {each.name for each in columns}:
        return identifier(CATALOG, schema, table)
    nothing = ", ".join(f"CAST(NULL AS {each.type}) AS {identifier(each.name)}" for each in columns)
    return f"(SELECT {nothing} WHERE false)"
