"""The check whether a month is closed: everything is read, and every document is settled."""

from collections.abc import Sequence
from datetime import date, timedelta

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.config.timetable import utc_day
from intacct_dagster.defs.failures import as_dagster_failure
from intacct_dagster.defs.resources import warehouse_in
from intacct_dagster.defs.run_requests import Clock, clock
from intacct_dagster.defs.tables import table_of
from intacct_dagster.naming import Names
from intacct_dagster.warehouse.reconciliation import (
    OpenDocuments,
    open_documents,
    unread_days,
)

CLOSED = "last_month_is_closed"

_UNREAD = {"entity": "string", "object": "string", "days": "int", "oldest": "string"}
_OPEN = {
    "feed": "string",
    "entity": "string",
    "status": "string",
    "documents": "int",
    "amount": "string",
    "oldest": "string",
}


def closing_check(settings: Settings, *, now: Clock = clock) -> dg.AssetChecksDefinition:
    """Build the check of the month before this one, for all entities that are not retired."""
    names = Names.of(settings)

    @dg.asset_check(
        asset=names.sage_intacct,
        name=CLOSED,
        description=(
            "Every day of the last month was read to its end, for every object and entity, and "
            "every document of the feeds is in Intacct as the source has it."
        ),
        required_resource_keys={names.warehouse},
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        warehouse = warehouse_in(context, settings)
        end = utc_day(now()).replace(day=1) - timedelta(days=1)
        first = max(end.replace(day=1), settings.start_date)
        last = end if settings.end_date is None else min(end, settings.end_date)
        days = [first + timedelta(n) for n in range((last - first).days + 1)]
        file = warehouse.warehouse
        unread = as_dagster_failure(
            settings,
            unread_days,
            file,
            [each.name for each in settings.objects],
            settings.active,
            days,
        )
        waiting = [
            (name, each)
            for name in settings.feeds
            for each in as_dagster_failure(
                settings, open_documents, file, name, settings.active, first, last
            )
        ]
        return _closing_result(f"{end:%B %Y}", days, settings.active, unread, waiting)

    return check


def _closing_result(
    month: str,
    days: Sequence[date],
    entities: Sequence[str],
    unread: dict[tuple[str, str], list[date]],
    waiting: Sequence[tuple[str, OpenDocuments]],
) -> dg.AssetCheckResult:
    missing = sum(map(len, unread.values()))
    documents = sum(each.documents for _, each in waiting)
    texts = []
    if missing:
        oldest = min(min(each) for each in unread.values())
        texts.append(
            f"{missing:,} days of objects were not read to their end, the oldest {oldest}: "
            "materialize them (a backfill of the raw assets)."
        )
    if documents:
        oldest = min(each.oldest for _, each in waiting)
        texts.append(
            f"{documents:,} documents are not in Intacct as the source has them, the oldest of "
            f"{oldest}: see `reconciled` and the checks of their partitions."
        )
    judged = bool(days and entities)
    if not judged:
        texts.append(
            "Nothing was judged: no day of it has a partition. See `start_date` and `end_date` in "
            "intacct.yaml."
            if entities
            else "Nothing was judged: all entities are retired."
        )
    return dg.AssetCheckResult(
        passed=judged and not missing and not documents,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{month}: {' '.join(texts) or 'all was read, and every document is settled.'}",
        metadata={
            "month": month,
            "days_not_read": missing,
            "documents_not_settled": documents,
            **(
                {"not_read": table_of(map(_unread, sorted(unread.items())), _UNREAD)}
                if missing
                else {}
            ),
            **({"not_settled": table_of(map(_open, waiting), _OPEN)} if documents else {}),
        },
    )


def _unread(each: tuple[tuple[str, str], list[date]]) -> dict[str, object]:
    (entity, object_), days = each
    return {"entity": entity, "object": object_, "days": len(days), "oldest": min(days)}


def _open(each: tuple[str, OpenDocuments]) -> dict[str, object]:
    feed, one = each
    return {
        "feed": feed,
        "entity": one.entity,
        "status": one.status,
        "documents": one.documents,
        "amount": f"{one.amount:,.2f}",
        "oldest": one.oldest,
    }
