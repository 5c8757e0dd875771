"""Entity by day: one partition is what one legal entity changed (or was sold) on one UTC day."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.timetable import utc_day

DATE = "date"
ENTITY = "entity"


def entity_days(settings: Settings) -> dg.MultiPartitionsDefinition:
    """The partitions of everything that has an entity and a day. Days are UTC.

    The last partition is yesterday, or today with `end_offset: 1`, or `end_date` where the settings
    give one. Retired entities keep theirs.
    """
    end = settings.end_date and settings.end_date + timedelta(days=1)
    return dg.MultiPartitionsDefinition(
        {
            DATE: dg.DailyPartitionsDefinition(
                start_date=settings.start_date.isoformat(),
                end_date=end.isoformat() if end else None,
                timezone="UTC",
                end_offset=settings.end_offset,
            ),
            ENTITY: dg.StaticPartitionsDefinition([each.id for each in settings.entities]),
        }
    )


def last_day(settings: Settings, now: datetime) -> date:
    """The day of the last partition at an aware moment; it may lie before the first."""
    last = utc_day(now) - timedelta(days=1 - settings.end_offset)
    return last if settings.end_date is None else min(last, settings.end_date)


def partition_key(entity: str, day: date) -> dg.MultiPartitionKey:
    """The key of one entity's day, "2026-10-13|E110"."""
    return dg.MultiPartitionKey({DATE: day.isoformat(), ENTITY: entity})


def days_by_entity(partition_keys: Iterable[str]) -> Mapping[str, list[date]]:
    """The days of a run by entity, in order. A run has one partition or a rectangle of them."""
    days: dict[str, list[date]] = {}
    for key in partition_keys:
        # Dagster sorts the dimensions by name: date, then entity.
        day, entity = str(key).split("|", 1)
        days.setdefault(entity, []).append(date.fromisoformat(day))
    return {entity: sorted(days[entity]) for entity in sorted(days)}


def partitions_of(days: Mapping[str, Iterable[date]]) -> set[tuple[str, date]]:
    """The same as (entity, day) pairs, as the warehouse takes them."""
    return {(entity, day) for entity, each in days.items() for day in each}
