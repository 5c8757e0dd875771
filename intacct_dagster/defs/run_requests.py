"""Runs that are launched without a person: one entity's range of days each, and never too many.

Sensors, not automation conditions, launch them. A condition knows which partitions of an asset were
materialized; what is due here depends on what is in a file, on what Intacct says when it is asked,
and on the posting ledger. And `eager()` looks at the latest day alone (measured, Dagster 1.13),
while a file or a change in Intacct is of any.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from intacct_dagster.config import Settings, timetable
from intacct_dagster.defs.partitions import partition_key
from intacct_dagster.extraction.days import ranges_of_days
from intacct_dagster.naming import ENTITY_TAG, Names
from intacct_dagster.warehouse import Partition, Warehouse
from intacct_dagster.warehouse.raw.loads import known_until

#: Says on each of these runs why it was launched.
CAUSE_TAG = "intacct/cause"
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"

#: The queue takes the highest first. What a person starts, a backfill among it, has 0.
POSTING, PLANNING, CHANGES, NIGHTLY = 10, 8, 6, 5

#: Stands for the job of a run that a person started, a backfill among them.
_BY_HAND = ""

#: Seconds that a tick waits for the warehouse: Dagster gives a tick 60 in all.
_LOCK_TIMEOUT = 10.0

#: What `dg.define_asset_job` returns. Dagster has no public name for its type.
Job = Any
Clock = Callable[[], datetime]


def clock() -> datetime:
    """The time, aware and UTC; tests pass their own."""
    return datetime.now(UTC)


def warehouse_of(settings: Settings) -> Warehouse:
    """The warehouse for a look at it, not waiting for long."""
    return Warehouse(
        settings.warehouse, lock_timeout=min(_LOCK_TIMEOUT, settings.limits.lock_timeout)
    )


def last_night(settings: Settings, at: datetime) -> datetime:
    """Return the last tick of the nightly schedule at or before an aware moment, in UTC.

    Dagster's own reading of the cron string, so that it is the moment at which Dagster ticks, also
    where the clocks change.
    """
    ticks = dg.TimeWindowPartitionsDefinition(
        start=datetime(2000, 1, 1),  # noqa: DTZ001 - in `timezone`
        fmt="%Y-%m-%dT%H:%M",
        cron_schedule=timetable.daily(settings.schedules.nightly),
        timezone=settings.schedules.time_zone,
    )
    with dg.partition_loading_context(at):
        last = ticks.get_last_partition_window()
    if last is None:
        raise ValueError(f"no night is over at {at}")
    return last.end.astimezone(UTC)


@dataclass(frozen=True)
class Range:
    """Adjacent days of an entity: what one run is about."""

    entity: str
    first: date
    last: date

    def __contains__(self, partition: Partition) -> bool:
        entity, day = partition
        return entity == self.entity and self.first <= day <= self.last

    def __str__(self) -> str:
        days = str(self.first) if self.first == self.last else f"{self.first} to {self.last}"
        return f"{self.entity} {days}"


def ranges(partitions: Iterable[Partition]) -> list[Range]:
    """These partitions and no others as ranges, the oldest first."""
    days: dict[str, set[date]] = {}
    for entity, day in partitions:
        days.setdefault(entity, set()).add(day)
    found = [
        Range(entity, each[0], each[-1])
        for entity, wanted in days.items()
        for each in ranges_of_days(sorted(wanted))
    ]
    return sorted(found, key=lambda each: (each.first, each.entity))


def run_of(
    names: Names,
    wanted: Range,
    *,
    cause: str,
    priority: int,
    run_key: str,
    job: str | None = None,
    assets: Sequence[dg.AssetKey] | None = None,
) -> dg.RunRequest:
    """The request for the run of a range. `run_key` is launched once, whatever happens to a tick.

    `assets` are the part of the job that is wanted; None is all of it.
    """
    return dg.RunRequest(
        run_key=run_key,
        job_name=job,
        asset_selection=assets,
        tags={
            RANGE_START: partition_key(wanted.entity, wanted.first),
            RANGE_END: partition_key(wanted.entity, wanted.last),
            **tags_of(names, wanted.entity, cause),
            "dagster/priority": str(priority),
        },
    )


def tags_of(names: Names, entity: str, cause: str) -> dict[str, str]:
    """Return the tags that name the company, the entity and the cause of such a run."""
    return {**names.tags, ENTITY_TAG: names.entity_tag(entity), CAUSE_TAG: cause}


@dataclass(frozen=True)
class Underway:
    """Runs of a company that have not ended: how many of them were launched by themselves, and the
    jobs of each entity."""

    number: int
    jobs: Mapping[str, Collection[str]] = field(default_factory=dict)

    def busy(self, entity: str, jobs: Collection[str]) -> bool:
        """Whether a run of one of these jobs, or what a person started, is under way for it."""
        return bool({*jobs, _BY_HAND} & set(self.jobs.get(entity, ())))

    def room(self, settings: Settings) -> int:
        """How many more may be launched."""
        return max(0, settings.schedules.max_concurrent_runs - self.number)


def underway(instance: dg.DagsterInstance, names: Names) -> Underway:
    """What is under way for a company on this instance."""
    jobs: dict[str, set[str]] = {}
    number = 0
    for run in instance.get_runs(dg.RunsFilter(statuses=_NOT_OVER)):
        if not names.concerns(run):
            continue
        number += CAUSE_TAG in run.tags
        partition = run.tags.get(RANGE_START) or run.tags.get("dagster/partition") or ""
        tagged = names.entity_of_tag(run.tags.get(ENTITY_TAG, ""))
        entity = tagged or partition.rpartition("|")[2]
        jobs.setdefault(entity, set()).add(run.job_name if CAUSE_TAG in run.tags else _BY_HAND)
    return Underway(number, jobs)


_NOT_OVER = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def unread_entities(settings: Settings, object: str, entities: Collection[str]) -> set[str]:
    """Those of the entities whose `object` was never read. Raises WarehouseError."""
    if not settings.warehouse.exists():
        return set(entities)
    warehouse = warehouse_of(settings)
    return {each for each in entities if known_until(warehouse, object, each) is None}


def status_of(settings: Settings) -> dg.DefaultSensorStatus:
    """Whether sensors run from the moment that Dagster loads them."""
    if settings.schedules.running:
        return dg.DefaultSensorStatus.RUNNING
    return dg.DefaultSensorStatus.STOPPED


def schedule_status(settings: Settings) -> dg.DefaultScheduleStatus:
    """Whether schedules run from the moment that Dagster loads them."""
    if settings.schedules.running:
        return dg.DefaultScheduleStatus.RUNNING
    return dg.DefaultScheduleStatus.STOPPED


def listed(names: Iterable[object], most: int = 5) -> str:
    """Names for a sentence: the first few, and how many more."""
    every = [str(each) for each in names]
    shown = ", ".join(every[:most])
    return f"{shown} and {len(every) - most:,} more" if len(every) > most else shown
