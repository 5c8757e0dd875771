"""Build sensors and schedules: what each of them does before and after its own work.

A sensor or a schedule is a function of a `TickContext` that returns a `TickResult`. Everything else
is the same for all of them: maintenance windows, the clock, locked stores, the log, the cursor.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from logging import Logger
from typing import Generic, Protocol, TypeVar

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.defs.run_requests import (
    Clock,
    Underway,
    listed,
    schedule_status,
    status_of,
    underway,
)
from intacct_dagster.locks import LockError
from intacct_dagster.naming import Names
from intacct_dagster.state import StateError
from intacct_dagster.warehouse import WarehouseError


@dataclass(frozen=True)
class TickContext:
    """One evaluation of a sensor or a schedule.

    Attributes:
        at: The moment of the evaluation; for a schedule, the moment that it was due. Aware.
        cursor: What the sensor stored at its last tick.
    """

    settings: Settings
    instance: dg.DagsterInstance
    log: Logger
    at: datetime
    cursor: str | None = None

    @cached_property
    def names(self) -> Names:
        """The names of the company."""
        return Names.of(self.settings)

    @cached_property
    def underway(self) -> Underway:
        """The company's runs that have not ended."""
        return underway(self.instance, self.names)

    @property
    def room(self) -> int:
        """How many more runs may be launched."""
        return self.underway.room(self.settings)


@dataclass(frozen=True)
class TickResult:
    """What a tick launches, and why it does or does not.

    Attributes:
        notes: Sentences for the log, or for the reason why nothing is launched.
        cursor: What the sensor stores for its next tick; None leaves it as it is.
    """

    requests: Sequence[dg.RunRequest] = ()
    notes: Sequence[str] = ()
    cursor: str | None = None

    @property
    def text(self) -> str:
        """The notes as one line."""
        return "; ".join(self.notes)


Evaluate = Callable[[TickContext], TickResult]


@dataclass(frozen=True)
class SensorSpec:
    """How a sensor appears in Dagster.

    Attributes:
        job: The job that it launches, if any.
        seconds: The least number of seconds between two ticks.
        in_maintenance: Evaluate it in Sage's maintenance windows too: it does not need Intacct.
    """

    name: str
    job: str | None
    seconds: int
    description: str
    in_maintenance: bool = False


def build_sensor(
    settings: Settings, spec: SensorSpec, evaluate: Evaluate, now: Clock
) -> dg.SensorDefinition:
    """Build a sensor. If a store is locked or fails, it launches nothing and keeps its cursor."""

    @dg.sensor(
        name=spec.name,
        job_name=spec.job,
        minimum_interval_seconds=spec.seconds,
        default_status=status_of(settings),
        description=spec.description,
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        tick = TickContext(settings, context.instance, context.log, now(), context.cursor)
        found = _evaluate(tick, evaluate, in_maintenance=spec.in_maintenance)
        if found.requests:
            context.log.info(found.text)
            return dg.SensorResult(run_requests=list(found.requests), cursor=found.cursor)
        reason = dg.SkipReason(found.text)
        if found.cursor is None:
            return reason
        return dg.SensorResult(skip_reason=reason, cursor=found.cursor)

    return look


@dataclass(frozen=True)
class ScheduleSpec:
    """How a schedule appears in Dagster.

    Attributes:
        cron: When it ticks, in the time zone of the settings.
    """

    name: str
    job: str
    cron: str
    description: str


def build_schedule(
    settings: Settings, spec: ScheduleSpec, evaluate: Evaluate | None = None
) -> dg.ScheduleDefinition:
    """Build a schedule. Without `evaluate` it launches its job at every tick."""
    status = schedule_status(settings)
    if evaluate is None:
        return dg.ScheduleDefinition(
            name=spec.name,
            job_name=spec.job,
            cron_schedule=spec.cron,
            execution_timezone=settings.schedules.time_zone,
            default_status=status,
            description=spec.description,
        )

    @dg.schedule(
        name=spec.name,
        job_name=spec.job,
        cron_schedule=spec.cron,
        execution_timezone=settings.schedules.time_zone,
        default_status=status,
        description=spec.description,
    )
    def tick(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        at = context.scheduled_execution_time
        found = _evaluate(TickContext(settings, context.instance, context.log, at), evaluate)
        if not found.requests:
            return dg.SkipReason(found.text)
        if found.notes:
            context.log.info(found.text)
        return list(found.requests)

    return tick


def _evaluate(tick: TickContext, evaluate: Evaluate, *, in_maintenance: bool = False) -> TickResult:
    window = tick.settings.schedules.maintenance_at(tick.at)
    if window is not None and not in_maintenance:
        return TickResult(notes=[f"Sage's maintenance: {window}"])
    try:
        return evaluate(tick)
    except (LockError, StateError, WarehouseError) as error:
        return TickResult(notes=[f"{error}\nNothing was launched; the next tick looks again."])


class OfEntity(Protocol):
    """Something that a run is launched for."""

    @property
    def entity(self) -> str:
        """The entity that it belongs to."""


T = TypeVar("T", bound=OfEntity)


@dataclass(frozen=True)
class Launchable(Generic[T]):
    """What is to be launched, divided by what can be.

    Attributes:
        now: What is launched now.
        busy: The entities that have a run under way; what they need waits.
        later: What there is no room for.
    """

    now: Sequence[T]
    busy: Sequence[str]
    later: Sequence[T]

    def notes(self) -> list[str]:
        """Return what waits, and for what."""
        notes = [f"a run is under way for {listed(self.busy)}"] if self.busy else []
        if self.later:
            notes.append(f"{len(self.later):,} ranges wait for runs that are under way")
        return notes


def launchable(
    tick: TickContext, wanted: Sequence[T], jobs: Collection[str] | None = None
) -> Launchable[T]:
    """Divide what is to be launched by what there is room for, in the order given.

    Args:
        jobs: An entity with a run of one of these jobs, or of one that a person started, waits.
            None lets no entity wait.
    """
    running = tick.underway
    busy = (
        sorted({each.entity for each in wanted if running.busy(each.entity, jobs)})
        if jobs is not None
        else []
    )
    free = [each for each in wanted if each.entity not in busy]
    return Launchable(free[: tick.room], busy, free[tick.room :])
