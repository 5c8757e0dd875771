"""What runs by the clock: the nightly reading, what it missed, the delete scan, the checks."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import dagster as dg

from intacct_dagster.config import Feed, Settings, timetable
from intacct_dagster.defs.automation.ticks import (
    ScheduleSpec,
    SensorSpec,
    TickContext,
    TickResult,
    build_schedule,
    build_sensor,
    launchable,
)
from intacct_dagster.defs.checks.closing import CLOSED
from intacct_dagster.defs.checks.data_quality import FRESH, SCHEMA_DRIFT
from intacct_dagster.defs.checks.quarantined_values import CONVERTED
from intacct_dagster.defs.extraction.deletes import scanned_objects
from intacct_dagster.defs.reporting.analysts import views_of
from intacct_dagster.defs.run_requests import (
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
    tags_of,
    warehouse_of,
)
from intacct_dagster.naming import Names
from intacct_dagster.warehouse.reconciliation import unread_days

_EVERY_MORNING = "0 6 * * *"

#: How long after the time of the nightly schedule a day counts as missed.
_GRACE = timedelta(hours=1)
_CATCH_UP_SECONDS = 300


def read_job(settings: Settings) -> Job:
    """Build the job that reads days of an entity from Intacct and updates the views."""
    names = Names.of(settings)
    return dg.define_asset_job(
        names.read_job,
        tags=names.tags,
        selection=read_assets(names, (each.name for each in settings.objects)),
        description="Reads days of an entity from Intacct, and brings the views up to date.",
    )


def read_assets(names: Names, objects: Iterable[str]) -> list[dg.AssetKey]:
    """Return the assets that are materialized when these objects are read: tables and views."""
    read = list(objects)
    views = views_of(names, read)
    control = [names.control] if names.general_ledger in views else []
    return [*map(names.raw, read), *map(names.current, read), *views, *control]


def delete_scan_job(settings: Settings) -> Job:
    """Build the job that looks for deletes of an entity."""
    names = Names.of(settings)
    return dg.define_asset_job(
        names.delete_scan_job,
        tags=names.tags,
        selection=[names.deletes(each.name) for each in scanned_objects(settings)],
        description="Reads all keys of an entity, and notes which of ours Intacct has no more.",
    )


def closing_job(settings: Settings) -> Job:
    """Build the job that checks whether the last month is closed."""
    names = Names.of(settings)
    return dg.define_asset_job(
        names.closing_job,
        tags=names.tags,
        selection=dg.AssetSelection.checks(dg.AssetCheckKey(names.sage_intacct, CLOSED)),
        description="Judges whether all of the last month was read, and all its documents settled.",
    )


def look_job(settings: Settings) -> Job:
    """Build the job that runs the checks of the company as a whole."""
    names = Names.of(settings)
    checks = (FRESH, SCHEMA_DRIFT, CONVERTED)
    return dg.define_asset_job(
        names.look_job,
        tags=names.tags,
        selection=dg.AssetSelection.checks(
            *(dg.AssetCheckKey(names.sage_intacct, name) for name in checks)
        ),
        description="Checks whether all entities are read as they should be.",
    )


def nightly(settings: Settings) -> dg.ScheduleDefinition:
    """Build the schedule that reads yesterday, and what is missing of the days before it.

    A night that was missed needs no tick of its own: the next one finds what is missing. Dagster
    evaluates the last of the ticks that it missed when it is back.
    """
    names = Names.of(settings)
    spec = ScheduleSpec(
        names.nightly,
        names.read_job,
        timetable.daily(settings.schedules.nightly),
        "Yesterday of every entity, with what is missing of the days before it.",
    )

    def evaluate(tick: TickContext) -> TickResult:
        launched, notes = _due(tick, _yesterday(tick.at), reread=True)
        requests = [
            each.request(tick.names, "the night's work", f"nightly|{each.key}") for each in launched
        ]
        return TickResult(requests, notes)

    return build_schedule(settings, spec, evaluate)


def catch_up_sensor(settings: Settings, *, now: Clock = clock) -> dg.SensorDefinition:
    """Build the sensor that reads days which should have been read by now, the oldest first.

    After a week in which the laptop was closed it launches one run for each entity, of its missing
    days.
    """
    names = Names.of(settings)
    spec = SensorSpec(
        names.catch_up,
        names.read_job,
        _CATCH_UP_SECONDS,
        f"Reads what is missing of the last {settings.schedules.catch_up_days} days, where the "
        "nightly schedule was missed, failed, or had no room for it.",
    )
    return build_sensor(settings, spec, _catch_up, now)


def _catch_up(tick: TickContext) -> TickResult:
    night = last_night(tick.settings, tick.at - _GRACE)
    launched, notes = _due(tick, _yesterday(night), reread=False)
    if not launched:
        return TickResult(notes=notes)
    # Once a day for the same days, so that what fails is tried again, but not all the time.
    requests = [
        each.request(tick.names, "missing days", f"{each.key}|{tick.at.date()}")
        for each in launched
    ]
    return TickResult(requests, [f"missing: {listed(launched)}", *notes])


def weekly_sweep(settings: Settings) -> dg.ScheduleDefinition:
    """Build the schedule that looks for deletes in each entity every week."""
    names = Names.of(settings)
    spec = ScheduleSpec(
        names.weekly_sweep,
        names.delete_scan_job,
        timetable.weekly(settings.schedules.weekly_sweep),
        "Looks for deletes in every entity.",
    )

    def evaluate(tick: TickContext) -> TickResult:
        return TickResult([_delete_scan_request(names, entity) for entity in settings.active])

    return build_schedule(settings, spec, evaluate)


def _delete_scan_request(names: Names, entity: str) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=entity,
        partition_key=entity,
        tags={
            **tags_of(names, entity, "the week's sweep"),
            "dagster/priority": str(NIGHTLY),
        },
    )


def monthly_closing(settings: Settings) -> dg.ScheduleDefinition:
    """Build the schedule that checks every month whether the last one is closed."""
    names = Names.of(settings)
    spec = ScheduleSpec(
        names.monthly_closing,
        names.closing_job,
        timetable.monthly(settings.schedules.monthly_closing),
        "Checks whether the last month was read and settled.",
    )
    return build_schedule(settings, spec)


def daily_look(settings: Settings) -> dg.ScheduleDefinition:
    """Build the schedule that checks the result of the night. It asks nothing of Intacct."""
    names = Names.of(settings)
    spec = ScheduleSpec(
        names.daily_look,
        names.look_job,
        _EVERY_MORNING,
        "Checks every morning whether all entities are read as they should be.",
    )
    return build_schedule(settings, spec)


def nightly_feed(settings: Settings, name: str, feed: Feed) -> dg.ScheduleDefinition:
    """Build the schedule that runs the query of a feed for the last days of each entity.

    Nothing shows from outside whether the result of a query changed; files have a sensor.
    """
    names = Names.of(settings)
    spec = ScheduleSpec(
        names.nightly_feed(name),
        names.plan_job(name),
        timetable.daily(settings.schedules.nightly),
        f"Runs the query of {name} for the last days, reconciles and plans them.",
    )
    return build_schedule(settings, spec, _plan_last_days)


def _plan_last_days(tick: TickContext) -> TickResult:
    settings = tick.settings
    last = _yesterday(tick.at)
    first = max(last - timedelta(settings.reading.look_back_days), settings.start_date)
    if (settings.end_date is not None and last > settings.end_date) or first > last:
        return TickResult(notes=[f"there is no partition for {last}"])
    wanted = [Range(entity, first, last) for entity in settings.active]
    return TickResult(
        [
            run_of(tick.names, each, cause="the night's work", priority=PLANNING, run_key=str(each))
            for each in wanted
        ]
    )


@dataclass(frozen=True)
class DueDays:
    """Days of an entity that are to be read, of these objects."""

    days: Range
    objects: tuple[str, ...]

    def __str__(self) -> str:
        return str(self.days)

    @property
    def entity(self) -> str:
        """The entity of the days."""
        return self.days.entity

    @property
    def key(self) -> str:
        """A text that is the same for the same days and objects."""
        digest = hashlib.sha256("\n".join(self.objects).encode()).hexdigest()
        return f"{self.days}|{digest[:12]}"

    def request(self, names: Names, cause: str, run_key: str) -> dg.RunRequest:
        """Return the request for the run that reads them."""
        return run_of(
            names,
            self.days,
            cause=cause,
            priority=NIGHTLY,
            run_key=run_key,
            assets=read_assets(names, self.objects),
        )


def _due(tick: TickContext, last: date, *, reread: bool) -> tuple[Sequence[DueDays], list[str]]:
    """Return what is to be read now up to the day `last`, and notes about what is not.

    Args:
        reread: Read the last day even if it was read, because changes may show late.

    Raises:
        WarehouseError: The warehouse is locked, or cannot be read.
    """
    settings = tick.settings
    end = last if settings.end_date is None else min(last, settings.end_date)
    first = max(settings.start_date, last - timedelta(settings.schedules.catch_up_days - 1))
    days = [first + timedelta(n) for n in range((end - first).days + 1)]
    if not days:
        return [], [f"no day is due: {end} is the last, and {first} the first to look at"]
    due = _unread(settings, days, {end} if reread and end == last else set())
    if not due:
        return [], [f"nothing is missing from {first} to {end}"]
    launched = launchable(tick, due, {tick.names.read_job})
    notes = launched.notes()
    if launched.later:
        notes.append(f"`{tick.names.catch_up}` launches them")
    return launched.now, notes


def _unread(settings: Settings, days: Sequence[date], reread: set[date]) -> list[DueDays]:
    """Return the days that were not read to their end, and `reread`; the oldest first."""
    objects = [each.name for each in settings.objects]
    unread = unread_days(warehouse_of(settings), objects, settings.active, days)
    due: list[DueDays] = []
    for entity in settings.active:
        by_days: dict[tuple[date, ...], list[str]] = {}
        for each in objects:
            wanted = tuple(sorted(reread | set(unread.get((entity, each), ()))))
            by_days.setdefault(wanted, []).append(each)
        for wanted, names in by_days.items():
            parts = ranges((entity, day) for day in wanted)
            due += [DueDays(each, tuple(names)) for each in parts]
    return sorted(due, key=lambda each: (each.days.first, each.entity))


def _yesterday(at: datetime) -> date:
    """Return the last UTC day that is over."""
    return timetable.utc_day(at) - timedelta(days=1)
