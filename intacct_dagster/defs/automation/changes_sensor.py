"""Read changes in Intacct between the nights: count for each object and entity, then read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise, product

import dagster as dg

from intacct_dagster.client import CHANGED, Intacct, IntacctClient, IntacctError, NotReached
from intacct_dagster.company import company_in
from intacct_dagster.config import Settings
from intacct_dagster.defs.automation.schedules import read_assets
from intacct_dagster.defs.automation.ticks import (
    SensorSpec,
    TickContext,
    TickResult,
    build_sensor,
)
from intacct_dagster.defs.checks.api_quota import WARN_AT
from intacct_dagster.defs.partitions import last_day
from intacct_dagster.defs.run_requests import (
    CHANGES,
    Clock,
    Range,
    clock,
    listed,
    ranges,
    run_of,
    warehouse_of,
)
from intacct_dagster.naming import Names
from intacct_dagster.state import ApiUsage, open_state
from intacct_dagster.warehouse.raw.loads import known_until


@dataclass
class CountedChanges:
    """What a tick counted.

    Attributes:
        days: The days with changes, by object and entity.
        known: Until when each object of an entity is known now, by "object|entity".
        notes: Sentences for the log.
        counted: How many counts were asked for.
    """

    days: dict[tuple[str, str], list[date]] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    counted: int = 0
    changes: int = 0


def changes_sensor(settings: Settings, *, now: Clock = clock) -> dg.SensorDefinition:
    """Build the sensor that counts changes since the last tick, and reads the days that have some.

    A count costs an API transaction for each object and entity. The sensor stops before they use
    up the month's. Lines are read with the documents that they belong to.
    """
    minutes = settings.schedules.change_poll_minutes
    names = Names.of(settings)
    spec = SensorSpec(
        names.changes,
        names.read_job,
        60 * minutes,
        f"Every {minutes} minutes counts what changed in Intacct ({listed(settings.watched)}) "
        "and reads the days and entities where something did.",
    )
    return build_sensor(settings, spec, _read_changes, now)


def _read_changes(tick: TickContext) -> TickResult:
    settings = tick.settings
    cursor: dict[str, str] = json.loads(tick.cursor or "{}")
    settled = tick.at - timedelta(seconds=settings.reading.settle_seconds)
    end = _midnight(last_day(settings, tick.at) + timedelta(days=1))
    until = min(settled, end).replace(microsecond=0)
    engine = open_state(settings.state)
    try:
        api_usage = ApiUsage(engine, settings.company)
        spent, allowed = api_usage.spent(tick.at), settings.limits.monthly_transactions
        if spent >= WARN_AT * allowed:
            note = (
                f"{spent:,} of the month's {allowed:,} API transactions are spent: what is left "
                "is for reading and posting; the nights find the changes"
            )
            return TickResult(notes=[note])
        with company_in(engine, settings, here=1) as intacct:
            found = _count(settings, cursor, until, intacct, api_usage, tick.at)
    finally:
        engine.dispose()
    requests, waiting = _requests(tick, found, until)
    notes = [
        f"{found.counted:,} counts up to {_wire(until)}: {found.changes:,} changes",
        *found.notes,
        *waiting,
    ]
    return TickResult(requests, notes, json.dumps({**cursor, **found.known}))


def _count(
    settings: Settings,
    cursor: Mapping[str, str],
    until: datetime,
    intacct: Intacct,
    api_usage: ApiUsage,
    at: datetime,
) -> CountedChanges:
    """Count the changes of each watched object and entity. Stops where Intacct is not reached.

    Raises:
        WarehouseError: The warehouse is locked, or cannot be read.
    """
    found = CountedChanges()
    unread, up_to_date = [], 0
    for object_, entity in product(settings.watched, settings.active):
        pair = f"{object_}|{entity}"
        since = (
            datetime.fromisoformat(cursor[pair])
            if pair in cursor
            else _known_until(settings, object_, entity)
        )
        if since is None:
            unread.append(pair)
            continue
        if since >= until:
            up_to_date += 1
            continue
        client = intacct.entity(entity)
        try:
            days = _changed_days(client, object_, since, until, found)
        except NotReached as error:
            found.notes.append(" ".join(str(error).splitlines()))
            return found
        except IntacctError as error:
            found.notes.append(f"{pair}: {' '.join(str(error).splitlines())}")
            continue
        finally:
            api_usage.spend(
                at=at,
                run_id=Names.of(settings).changes,
                entity=entity,
                object=object_,
                requests=client.usage.requests,
                transactions=client.usage.transactions,
            )
        if days:
            found.days[object_, entity] = days
        else:
            found.known[pair] = until.isoformat()
    if unread:
        found.notes.append(f"never read, so not counted: {listed(unread)}")
    if up_to_date:
        found.notes.append(
            f"{up_to_date:,} are known up to the end of the last partition"
            + ("" if settings.end_offset else "; `end_offset: 1` adds the day that is not over")
        )
    return found


def _changed_days(
    client: IntacctClient, object: str, since: datetime, until: datetime, found: CountedChanges
) -> list[date]:
    """Return the days with changes: one count, and one count a day if there are several days."""

    def count(first: datetime, last: datetime) -> int:
        span = ({"$gte": {CHANGED: _wire(first)}}, {"$lt": {CHANGED: _wire(last)}})
        number = client.count(object, span)
        found.counted += 1
        return number

    changes = count(since, until)
    found.changes += changes
    days = [since.astimezone(UTC).date()]
    while _midnight(days[-1] + timedelta(days=1)) < until:
        days.append(days[-1] + timedelta(days=1))
    if not changes or len(days) == 1:
        return days if changes else []
    ends = [since, *(_midnight(each) for each in days[1:]), until]
    return [day for day, span in zip(days, pairwise(ends), strict=True) if count(*span)]


def _requests(
    tick: TickContext, found: CountedChanges, until: datetime
) -> tuple[list[dg.RunRequest], list[str]]:
    """Return runs that read what changed, and notes about what waits.

    What a run reads counts as known. What waits is counted again at the next tick.
    """
    objects: dict[str, dict[tuple[date, ...], list[str]]] = {}
    for (object_, entity), days in found.days.items():
        objects.setdefault(entity, {}).setdefault(tuple(days), []).append(object_)
    requests: list[dg.RunRequest] = []
    busy: list[str] = []
    for entity, by_days in objects.items():
        if tick.underway.busy(entity, {tick.names.read_job}):
            busy.append(entity)
            continue
        for span, names in by_days.items():
            parts = ranges((entity, day) for day in span)
            if len(parts) > tick.room - len(requests):
                busy.append(entity)
                continue
            requests += [_request(tick.settings, each, names, until) for each in parts]
            found.known |= {f"{name}|{entity}": until.isoformat() for name in names}
    return requests, [f"counted again when there is room: {listed(busy)}"] if busy else []


def _request(
    settings: Settings, wanted: Range, names: Sequence[str], until: datetime
) -> dg.RunRequest:
    names_ = Names.of(settings)
    return run_of(
        names_,
        wanted,
        cause=f"changes of {listed(names)}",
        priority=CHANGES,
        run_key=f"{wanted}|{until.isoformat()}|{','.join(names)}",
        assets=read_assets(names_, _with_lines(settings, names)),
    )


def _with_lines(settings: Settings, names: Sequence[str]) -> list[str]:
    """Return the objects and those that are their lines, such as `accounts-payable/bill-line`."""
    return [
        each.name
        for each in settings.objects
        if each.name in names or any(each.name.startswith(f"{name}-line") for name in names)
    ]


def _known_until(settings: Settings, object: str, entity: str) -> datetime | None:
    if not settings.warehouse.exists():
        return None
    return known_until(warehouse_of(settings), object, entity)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _wire(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
