"""What runs by the clock: the night's reading, what was missed of it, the sweep, the closing."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import dagster as dg

from intacct_dagster.config import Feed, Settings, timetable
from intacct_dagster.defs.checks.closing import CLOSED
from intacct_dagster.defs.extraction.current import current_key
from intacct_dagster.defs.extraction.deletes import deletes_key, swept
from intacct_dagster.defs.extraction.raw import SAGE_INTACCT, raw_key
from intacct_dagster.defs.reporting.analysts import views_of
from intacct_dagster.defs.reporting.control import CONTROL, LEDGER
from intacct_dagster.defs.run_requests import (
    CAUSE_TAG,
    ENTITY_TAG,
    NIGHTLY,
    PLANNING,
    Clock,
    Job,
    Range,
    clock,
    last_night,
    listed,
    ranges,
    run_of,
    schedule_status,
    status_of,
    underway,
    warehouse_of,
)
from intacct_dagster.locks import LockError
from intacct_dagster.state import StateError
from intacct_dagster.warehouse import WarehouseError
from intacct_dagster.warehouse.reconciliation import unread_days

READ = "read_intacct"
SWEEP = "weekly_sweep"
CLOSING = "monthly_closing"

#: How long after the time of the nightly schedule a day counts as missed.
_GRACE = timedelta(hours=1)
_CATCH_UP_SECONDS = 300


def read_job(settings: Settings) -> Job:
    """The job that reads days of an entity from Intacct, and brings the views up to date."""
    return dg.define_asset_job(
        READ,
        selection=read_assets(each.name for each in settings.objects),
        description="Reads days of an entity from Intacct, and brings the views up to date.",
    )


def read_assets(objects: Iterable[str]) -> list[dg.AssetKey]:
    """What is materialized when these objects are read: their tables, and all views of them."""
    names = list(objects)
    views = views_of(names)
    control = [CONTROL] if LEDGER in views else []
    return [*map(raw_key, names), *map(current_key, names), *views, *control]


def sweep_job(settings: Settings) -> Job:
    """The job that looks for deletes of an entity."""
    return dg.define_asset_job(
        SWEEP,
        selection=[deletes_key(each.name) for each in swept(settings)],
        description="Reads all keys of an entity, and notes which of ours Intacct has no more.",
    )


def closing_job() -> Job:
    """The job that judges whether the last month is closed."""
    return dg.define_asset_job(
        CLOSING,
        selection=dg.AssetSelection.checks(dg.AssetCheckKey(SAGE_INTACCT, CLOSED)),
        description="Judges whether all of the last month was read, and all its documents settled.",
    )


def nightly(settings: Settings) -> dg.ScheduleDefinition:
    """Every night, for each entity: yesterday, and what is missing of the days before it.

    A night that was missed needs no tick of its own: the next one finds what is missing. Dagster
    evaluates the last of the ticks that it missed when it is back.
    """

    @dg.schedule(
        name="nightly",
        job_name=READ,
        cron_schedule=timetable.daily(settings.schedules.nightly),
        execution_timezone=settings.schedules.time_zone,
        default_status=schedule_status(settings),
        description="Yesterday of every entity, with what is missing of the days before it.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        at = context.scheduled_execution_time
        found = _due(settings, context.instance, at, _yesterday(at), anew=True)
        if isinstance(found, dg.SkipReason):
            return found
        if found.told:
            context.log.info("; ".join(found.told))
        return [each.request("the night's work", f"nightly|{each.key}") for each in found.launched]

    return tick


def catch_up_sensor(settings: Settings, *, now: Clock = clock) -> dg.SensorDefinition:
    """Days that should have been read by now and were not: the oldest first, and not all at once.

    After a week in which the laptop was closed it is one run for each entity, of its missing days.
    """

    @dg.sensor(
        name="catch_up",
        job_name=READ,
        minimum_interval_seconds=_CATCH_UP_SECONDS,
        default_status=status_of(settings),
        description=(
            f"Reads what is missing of the last {settings.schedules.catch_up_days} days, where the "
            "nightly schedule was missed, failed, or had no room for it."
        ),
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        at = now()
        night = last_night(settings, at - _GRACE)
        found = _due(settings, context.instance, at, _yesterday(night), anew=False)
        if isinstance(found, dg.SkipReason):
            return found
        context.log.info("; ".join([f"missing: {listed(found.launched)}", *found.told]))
        return dg.SensorResult(
            run_requests=[
                # once a day for the same days: what failed is tried again, and not for ever
                each.request("missing days", f"{each.key}|{at.date()}")
                for each in found.launched
            ]
        )

    return look


def weekly_sweep(settings: Settings) -> dg.ScheduleDefinition:
    """Every week, for each entity: what Intacct has no more."""

    @dg.schedule(
        name=SWEEP,
        job_name=SWEEP,
        cron_schedule=timetable.weekly(settings.schedules.weekly_sweep),
        execution_timezone=settings.schedules.time_zone,
        default_status=schedule_status(settings),
        description="Looks for deletes in every entity.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        window = settings.schedules.maintenance_at(context.scheduled_execution_time)
        if window is not None:
            return dg.SkipReason(f"Sage's maintenance: {window}; the next sweep is in a week")
        return [
            dg.RunRequest(
                run_key=entity,
                partition_key=entity,
                tags={
                    ENTITY_TAG: entity,
                    CAUSE_TAG: "the week's sweep",
                    "dagster/priority": str(NIGHTLY),
                },
            )
            for entity in settings.active
        ]

    return tick


def monthly_closing(settings: Settings) -> dg.ScheduleDefinition:
    """Every month: whether the last one is closed."""
    return dg.ScheduleDefinition(
        name=CLOSING,
        job_name=CLOSING,
        cron_schedule=timetable.monthly(settings.schedules.monthly_closing),
        execution_timezone=settings.schedules.time_zone,
        default_status=schedule_status(settings),
        description="Judges whether the last month was read and settled.",
    )


def nightly_feed(settings: Settings, name: str, feed: Feed) -> dg.ScheduleDefinition:
    """Every night, for each entity: what a feed's query gives for the last days.

    Nobody can tell from outside whether the answer to a query changed; files have a sensor.
    """

    @dg.schedule(
        name=f"nightly_{name}",
        job_name=f"plan_{name}",
        cron_schedule=timetable.daily(settings.schedules.nightly),
        execution_timezone=settings.schedules.time_zone,
        default_status=schedule_status(settings),
        description=f"Asks the query of {name} for the last days, reconciles and plans them.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        at = context.scheduled_execution_time
        window = settings.schedules.maintenance_at(at)
        if window is not None:
            return dg.SkipReason(f"Sage's maintenance: {window}")
        last = _yesterday(at)
        first = max(last - timedelta(settings.reading.look_back_days), settings.start_date)
        if (settings.end_date is not None and last > settings.end_date) or first > last:
            return dg.SkipReason(f"there is no partition for {last}")
        wanted = [Range(entity, first, last) for entity in settings.active]
        return [
            run_of(each, cause="the night's work", priority=PLANNING, run_key=str(each))
            for each in wanted
        ]

    return tick


@dataclass(frozen=True)
class _Due:
    """Days of an entity that are to be read, of these objects."""

    days: Range
    objects: tuple[str, ...]

    def __str__(self) -> str:
        return str(self.days)

    @property
    def key(self) -> str:
        digest = hashlib.sha256("\n".join(self.objects).encode()).hexdigest()
        return f"{self.days}|{digest[:12]}"

    def request(self, cause: str, run_key: str) -> dg.RunRequest:
        return run_of(
            self.days,
            cause=cause,
            priority=NIGHTLY,
            run_key=run_key,
            assets=read_assets(self.objects),
        )


@dataclass(frozen=True)
class _Found:
    launched: Sequence[_Due]
    told: Sequence[str]


def _due(
    settings: Settings, instance: dg.DagsterInstance, at: datetime, last: date, *, anew: bool
) -> _Found | dg.SkipReason:
    """What is to be read up to a day, as many runs as there is room for, or why nothing is.

    `anew`: the last day whether or not it was read, because changes may show late.
    """
    schedules = settings.schedules
    window = schedules.maintenance_at(at)
    if window is not None:
        return dg.SkipReason(f"Sage's maintenance: {window}; what is due waits")
    over = settings.end_date is not None and last > settings.end_date
    end = min(last, settings.end_date) if settings.end_date is not None else last
    first = max(settings.start_date, last - timedelta(schedules.catch_up_days - 1))
    days = [first + timedelta(n) for n in range((end - first).days + 1)]
    if not days:
        return dg.SkipReason(f"no day is due: {end} is the last, and {first} the first to look at")
    objects = [each.name for each in settings.objects]
    try:
        found = unread_days(warehouse_of(settings), objects, settings.active, days)
    except (LockError, StateError, WarehouseError) as error:
        return dg.SkipReason(f"{error}\nNothing was launched; what is due is found later.")
    due: list[_Due] = []
    for entity in settings.active:
        by_days: dict[tuple[date, ...], list[str]] = {}
        for each in objects:
            missing = set(found.get((entity, each), ()))
            wanted = tuple(sorted(missing | ({end} if anew and not over else set())))
            by_days.setdefault(wanted, []).append(each)
        for wanted, names in by_days.items():
            parts = ranges((entity, day) for day in wanted)
            due += [_Due(each, tuple(names)) for each in parts]
    due.sort(key=lambda each: (each.days.first, each.days.entity))
    if not due:
        return dg.SkipReason(f"nothing is missing from {first} to {end}")
    running = underway(instance)
    busy = sorted({each.days.entity for each in due if running.busy(each.days.entity, {READ})})
    free = [each for each in due if each.days.entity not in busy]
    launched = free[: running.room(settings)]
    told = [f"a run is under way for {listed(busy)}"] if busy else []
    if len(free) > len(launched):
        told.append(
            f"{len(free) - len(launched):,} ranges wait for runs that are under way; `catch_up` "
            "launches them"
        )
    if not launched:
        return dg.SkipReason("; ".join(told))
    return _Found(launched, told)


def _yesterday(at: datetime) -> date:
    """The last UTC day that is over."""
    return timetable.utc_day(at) - timedelta(days=1)
