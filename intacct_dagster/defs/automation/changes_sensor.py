"""Changes in Intacct between the nights: a count for each object and entity, then what changed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import dagster as dg

from intacct_dagster.client import CHANGED, Intacct, IntacctClient, IntacctError, NotReached
from intacct_dagster.company import company_in
from intacct_dagster.config import Settings
from intacct_dagster.defs.automation.schedules import READ, read_assets
from intacct_dagster.defs.checks.api_quota import WARN_AT
from intacct_dagster.defs.partitions import last_day
from intacct_dagster.defs.run_requests import (
    CHANGES,
    Clock,
    clock,
    listed,
    ranges,
    run_of,
    status_of,
    underway,
    warehouse_of,
)
from intacct_dagster.locks import LockError
from intacct_dagster.state import ApiUsage, StateError, open_state
from intacct_dagster.warehouse import WarehouseError
from intacct_dagster.warehouse.raw.load import known_until


@dataclass
class _Found:
    """What a tick counted: days with changes, up to when each object of an entity is known now, and
    what there is to tell."""

    days: dict[tuple[str, str], list[date]] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    counted: int = 0
    changes: int = 0


def changes_sensor(settings: Settings, *, now: Clock = clock) -> dg.SensorDefinition:
    """Counts what changed since the last tick, and reads the days of entities where something did.

    It costs an API transaction for each object and entity, and stops before they use up the
    month's. Lines are read with the documents that they belong to.
    """
    minutes = settings.schedules.changes_minutes

    @dg.sensor(
        name="changes_in_intacct",
        job_name=READ,
        minimum_interval_seconds=60 * minutes,
        default_status=status_of(settings),
        description=(
            f"Every {minutes} minutes counts what changed in Intacct ({listed(settings.watched)}) "
            "and reads the days and entities where something did."
        ),
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        at = now()
        window = settings.schedules.maintenance_at(at)
        if window is not None:
            return dg.SkipReason(f"Sage's maintenance: {window}")
        cursor: dict[str, str] = json.loads(context.cursor or "{}")
        settled = at - timedelta(seconds=settings.reading.settle_seconds)
        end = _midnight(last_day(settings, at) + timedelta(days=1))
        until = min(settled, end).replace(microsecond=0)
        engine = open_state(settings.state)
        try:
            api_usage = ApiUsage(engine, settings.company)
            spent, allowed = api_usage.spent(at), settings.limits.monthly_transactions
            if spent >= WARN_AT * allowed:
                return dg.SkipReason(
                    f"{spent:,} of the month's {allowed:,} API transactions are spent: what is "
                    "left is for reading and posting; the nights find the changes"
                )
            with company_in(engine, settings, here=1) as intacct:
                found = _count(settings, cursor, until, intacct, api_usage, at)
        except (LockError, StateError, WarehouseError) as error:
            return dg.SkipReason(f"{error}\nThe next tick looks again.")
        finally:
            engine.dispose()
        requests, told = _requests(settings, context.instance, found, until)
        told = [
            f"{found.counted:,} counts up to {_wire(until)}: {found.changes:,} changes",
            *found.told,
            *told,
        ]
        remembered = json.dumps({**cursor, **found.known})
        if requests:
            context.log.info("; ".join(told))
            return dg.SensorResult(run_requests=requests, cursor=remembered)
        return dg.SensorResult(skip_reason=dg.SkipReason("; ".join(told)), cursor=remembered)

    return look


def _count(
    settings: Settings,
    cursor: Mapping[str, str],
    until: datetime,
    intacct: Intacct,
    api_usage: ApiUsage,
    at: datetime,
) -> _Found:
    """Asks for each object and entity how much changed since. Raises WarehouseError."""
    found = _Found()
    unread, up_to_date = [], 0
    for object_ in settings.watched:
        for entity in settings.active:
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
                found.told.append(" ".join(str(error).splitlines()))
                return found
            except IntacctError as error:
                found.told.append(f"{pair}: {' '.join(str(error).splitlines())}")
                continue
            finally:
                api_usage.spend(
                    at=at,
                    run_id="changes_in_intacct",
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
        found.told.append(f"never read, so not counted: {listed(unread)}")
    if up_to_date:
        found.told.append(
            f"{up_to_date:,} are known up to the end of the last partition"
            + ("" if settings.end_offset else "; `end_offset: 1` adds the day that is not over")
        )
    return found


def _changed_days(
    client: IntacctClient, object: str, since: datetime, until: datetime, found: _Found
) -> list[date]:
    """The days in which something changed: one count, and one a day if it spans several."""

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
    settings: Settings, instance: dg.DagsterInstance, found: _Found, until: datetime
) -> tuple[list[dg.RunRequest], list[str]]:
    """Runs of what changed; what they read counts as known. What is left over is counted again."""
    objects: dict[str, dict[tuple[date, ...], list[str]]] = {}
    for (object_, entity), days in found.days.items():
        objects.setdefault(entity, {}).setdefault(tuple(days), []).append(object_)
    running = underway(instance)
    room = running.room(settings)
    requests: list[dg.RunRequest] = []
    busy: list[str] = []
    for entity, by_days in objects.items():
        if running.busy(entity, {READ}):
            busy.append(entity)
            continue
        for span, names in by_days.items():
            parts = ranges((entity, day) for day in span)
            if len(parts) > room - len(requests):
                busy.append(entity)
                continue
            requests += [
                run_of(
                    each,
                    cause=f"changes of {listed(names)}",
                    priority=CHANGES,
                    run_key=f"{each}|{until.isoformat()}|{','.join(names)}",
                    assets=read_assets(_with_lines(settings, names)),
                )
                for each in parts
            ]
            found.known |= {f"{name}|{entity}": until.isoformat() for name in names}
    told = [f"counted again when there is room: {listed(busy)}"] if busy else []
    return requests, told


def _with_lines(settings: Settings, names: Sequence[str]) -> list[str]:
    """Objects with those that are their lines, by name: `accounts-payable/bill-line`."""
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
