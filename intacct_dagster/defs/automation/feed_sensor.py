"""New files of a feed become a plan: the sensor that looks at its folder."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import dagster as dg

from intacct_dagster.config import Feed, Settings
from intacct_dagster.defs.partitions import days_by_entity, last_day, partition_key, partitions_of
from intacct_dagster.defs.posting.feed import feed_key, folder_of
from intacct_dagster.defs.posting.plan import plan_key
from intacct_dagster.defs.posting.reconcile import reconciled_key
from intacct_dagster.defs.run_requests import (
    PLANNING,
    Clock,
    Job,
    clock,
    listed,
    ranges,
    run_of,
    status_of,
    underway,
    unread_entities,
    warehouse_of,
)
from intacct_dagster.locks import LockError
from intacct_dagster.state import StateError
from intacct_dagster.warehouse import Partition, Warehouse, WarehouseError
from intacct_dagster.warehouse.feeds import FeedFolder, Stamp, partitions_of_files

#: Seconds that a tick waits to look again: Dagster gives a tick 60 in all.
_LONGEST_PAUSE = 15.0


def plan_job(settings: Settings, name: str) -> Job:
    """The job that reads partitions of a feed, reconciles and plans them. Nothing is sent."""
    return dg.define_asset_job(
        f"plan_{name}",
        selection=[feed_key(name), reconciled_key(name), plan_key(name)],
        description=f"Reads partitions of {name}, reconciles them with Intacct and plans them.",
    )


@dataclass
class _Known:
    """A file whose content was acted on. `lines_of`: the name under which its lines were read."""

    stamp: Stamp
    content: str
    lines_of: str


@dataclass(frozen=True)
class _Waiting:
    """A file that was new, changed or gone (None) at the last look, and like this since then."""

    stamp: Stamp | None
    since: datetime


@dataclass
class _Cursor:
    """What is remembered from tick to tick, over restarts: Dagster keeps it as text.

    `waiting` were not acted on yet; `pending` are partitions that are to be planned and were not
    launched yet; `number` counts the ticks that acted.
    """

    files: dict[str, _Known] = field(default_factory=dict)
    waiting: dict[str, _Waiting] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)
    number: int = 0

    @classmethod
    def read(cls, text: str | None) -> "_Cursor":
        if not text:
            return cls()
        held = json.loads(text)
        return cls(
            files={
                name: _Known(Stamp(size, changed), content, lines_of)
                for name, (size, changed, content, lines_of) in held["files"].items()
            },
            waiting={
                name: _Waiting(stamp and Stamp(*stamp), datetime.fromisoformat(since))
                for name, (stamp, since) in held.get("waiting_since", {}).items()
            },
            pending=set(held["pending"]),
            number=held["number"],
        )

    def text(self) -> str:
        return json.dumps(
            {
                "files": {
                    name: (*each.stamp, each.content, each.lines_of)
                    for name, each in self.files.items()
                },
                "waiting_since": {
                    name: (each.stamp, each.since.isoformat())
                    for name, each in self.waiting.items()
                },
                "pending": sorted(self.pending),
                "number": self.number,
            }
        )


@dataclass
class _Settled:
    """What is not as it was acted on: `there` and `gone` for so long that they may be acted on, and
    what is `waiting`."""

    there: dict[str, Stamp] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    waiting: dict[str, _Waiting] = field(default_factory=dict)


def feed_sensor(
    settings: Settings,
    name: str,
    feed: Feed,
    *,
    now: Clock = clock,
    pause: Callable[[float], None] = time.sleep,
) -> dg.SensorDefinition:
    """Looks at the feed's files, and plans exactly the partitions that they concern.

    A file is taken when two looks saw it with the same size and change time, `feed_settle_seconds`
    or more apart: before, it may be half-written. The second look is at the same tick if that is
    soon; the `pause` until then is in seconds. What counts is a file's content, so that one that is
    touched, renamed or copied concerns nothing. One that vanished concerns the partitions that its
    lines were in.
    """
    job = f"plan_{name}"
    seconds = settings.schedules.feed_seconds
    settle = timedelta(seconds=settings.schedules.feed_settle_seconds)
    assets = [feed_key(name), reconciled_key(name), plan_key(name)]

    @dg.sensor(
        name=f"files_of_{name}",
        job_name=job,
        minimum_interval_seconds=seconds,
        default_status=status_of(settings),
        description=(
            f"Looks at {feed.source} every {seconds} s. New, changed and vanished files are read, "
            "reconciled and planned: their partitions, and no others."
        ),
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        cursor = _Cursor.read(context.cursor)
        folder = folder_of(settings, name, feed)
        warehouse = warehouse_of(settings)
        try:
            at = now()
            seen = folder.look()
            settled = _settle(seen, cursor, at, settle)
            if settled.waiting and (rest := _until_settled(settled, at, settle)) <= _LONGEST_PAUSE:
                pause(rest)
                cursor.waiting = settled.waiting
                seen = folder.look()
                settled = _settle(seen, cursor, now(), settle)
            told, concerned = _concerned(settings, folder, warehouse, cursor, settled)
            cursor.pending |= {partition_key(*each) for each in concerned}
            due, out = _due(settings, cursor.pending, last_day(settings, now()))
            wanted = ranges(due)
            unread = unread_entities(settings, feed.object, {each.entity for each in wanted})
        except (LockError, StateError, WarehouseError) as error:
            # The cursor stays: what was seen now is seen again.
            return dg.SkipReason(f"{error}\nNothing was launched; the next tick looks again.")
        launched = wanted[: underway(context.instance).room(settings)]
        left = wanted[len(launched) :]
        cursor.waiting = settled.waiting
        cursor.pending = {partition_key(*each) for each in due if any(each in r for r in left)}
        cursor.pending |= {partition_key(*each) for each in out.late}
        cursor.number += bool(launched)
        # the list of runs shows the beginning of it: the names, without the folder
        files = listed((each.rpartition("/")[2] for each in (*settled.there, *settled.gone)), 3)
        requests = [
            run_of(
                each,
                cause=f"{files or 'files'} of {name}",
                priority=PLANNING,
                run_key=f"{name}|{cursor.number}|{each}",
                assets=assets[:1] if each.entity in unread else assets,
            )
            for each in launched
        ]
        told = [f"{len(seen):,} files seen", *(told or ["none is new, changed or gone"])]
        told += out.told()
        if unread:
            told.append(
                f"only the feed is read for {listed(sorted(unread))}: {feed.object} was not read "
                "yet, and reconciling waits for it"
            )
        if left:
            told.append(f"{len(left):,} ranges wait for runs that are under way")
        if not requests:
            reason = dg.SkipReason("; ".join(told))
            return dg.SensorResult(skip_reason=reason, cursor=cursor.text())
        context.log.info("; ".join([*told, f"launched: {listed(launched)}"]))
        return dg.SensorResult(run_requests=requests, cursor=cursor.text())

    return look


def _settle(
    seen: Mapping[str, Stamp], cursor: _Cursor, at: datetime, settle: timedelta
) -> _Settled:
    """What a look at a moment saw, against what was acted on and what was seen before."""
    settled = _Settled()
    acted_on = {name: each.stamp for name, each in cursor.files.items()}
    for name in sorted(seen.keys() | acted_on.keys()):
        stamp = seen.get(name)
        if stamp == acted_on.get(name):
            continue
        before = cursor.waiting.get(name)
        same = before is not None and before.stamp == stamp
        waiting = before if same and before is not None else _Waiting(stamp, at)
        if not same or at - waiting.since < settle:
            settled.waiting[name] = waiting
        elif stamp is None:
            settled.gone.append(name)
        else:
            settled.there[name] = stamp
    return settled


def _until_settled(settled: _Settled, at: datetime, settle: timedelta) -> float:
    """Seconds until all that waits may be acted on, if it stays as it is."""
    latest = max(each.since for each in settled.waiting.values())
    return max(0.0, (latest + settle - at).total_seconds())


def _concerned(
    settings: Settings,
    folder: FeedFolder,
    warehouse: Warehouse,
    cursor: _Cursor,
    settled: _Settled,
) -> tuple[list[str], set[Partition]]:
    """What is told of the files, and the partitions they concern; brings the cursor up to date."""
    told: list[str] = []
    if settled.waiting:
        told.append(
            f"{listed(settled.waiting)} changed just now, and may be half-written: taken when it "
            f"was the same for {settings.schedules.feed_settle_seconds} s"
        )
    if not settled.there and not settled.gone:
        return told, set()
    contents = folder.fingerprints(settled.there)
    gone = {name: cursor.files[name] for name in settled.gone}
    held = {each.content: each.lines_of for each in cursor.files.values()}
    fresh: dict[str, _Known] = {}
    read_before: set[str] = set()
    new: list[str] = []
    same: list[str] = []
    for name, content in contents.items():
        before = cursor.files.get(name)
        if content in held:
            same.append(name)
            fresh[name] = _Known(settled.there[name], content, held[content])
        else:
            new.append(name)
            fresh[name] = _Known(settled.there[name], content, name)
        if before is not None and before.content != content:
            read_before.add(before.lines_of)
    kept = {
        each.content
        for name, each in {**cursor.files, **fresh}.items()
        if name not in gone or name in fresh
    }
    vanished = [name for name, each in gone.items() if each.content not in kept]
    read_before |= {gone[name].lines_of for name in vanished}
    if same:
        told.append(f"{listed(same)} has a content that was acted on before")
    if vanished:
        told.append(f"{listed(vanished)} vanished")
    if new:
        told.append(f"{listed(new)} is new or changed")
    concerned: set[Partition] = set()
    if new or read_before:
        spec, place = folder.fetch()
        concerned = partitions_of_files(warehouse, spec, settings.users, place, new, read_before)
        if new and not concerned:
            # The quarantine is of the feed as a whole, and any partition's run fills it.
            concerned = {(settings.active[0], settings.start_date)}
            told.append("no line of it can be used: see feed.quarantine")
    for name in gone:
        del cursor.files[name]
    cursor.files |= fresh
    return told, concerned


@dataclass
class _Out:
    """Partitions that are not launched: before the first, after the last, of retired entities."""

    early: list[Partition] = field(default_factory=list)
    late: list[Partition] = field(default_factory=list)
    retired: list[Partition] = field(default_factory=list)

    def told(self) -> list[str]:
        words = {
            "left out, before start_date": self.early,
            "planned when the day has a partition": self.late,
            "left out, of retired entities": self.retired,
        }
        return [f"{why}: {listed(map(str, ranges(each)))}" for why, each in words.items() if each]


def _due(settings: Settings, pending: Iterable[str], last: date) -> tuple[set[Partition], _Out]:
    """Those of the partitions that there are, of entities that are not retired; and the others."""
    due: set[Partition] = set()
    out = _Out()
    for partition in partitions_of(days_by_entity(pending)):
        entity, day = partition
        if entity not in settings.active:
            out.retired.append(partition)
        elif day < settings.start_date:
            out.early.append(partition)
        elif day > last:
            out.late.append(partition)
        else:
            due.add(partition)
    return due, out
