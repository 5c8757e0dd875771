"""Plan the new files of a feed: the sensor that looks at its folder."""

import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import dagster as dg

from intacct_dagster.config import Feed, Settings
from intacct_dagster.defs.automation.ticks import (
    Launchable,
    SensorSpec,
    TickContext,
    TickResult,
    build_sensor,
    launchable,
)
from intacct_dagster.defs.partitions import days_by_entity, last_day, partition_key, partitions_of
from intacct_dagster.defs.posting.feed import folder_of
from intacct_dagster.defs.run_requests import (
    PLANNING,
    Clock,
    Job,
    Range,
    clock,
    listed,
    ranges,
    run_of,
    unread_entities,
    warehouse_of,
)
from intacct_dagster.naming import Names
from intacct_dagster.warehouse import Partition
from intacct_dagster.warehouse.feeds import FeedFolder, Stamp, partitions_of_files

#: The longest pause of a tick before its second look, in seconds: Dagster gives a tick 60 in all.
_LONGEST_PAUSE = 15.0


def plan_job(settings: Settings, name: str) -> Job:
    """Build the job that reads, reconciles and plans partitions of a feed. It sends nothing."""
    names = Names.of(settings)
    return dg.define_asset_job(
        names.plan_job(name),
        tags=names.tags,
        selection=_assets_of(names, name),
        description=f"Reads partitions of {name}, reconciles them with Intacct and plans them.",
    )


def _assets_of(names: Names, name: str) -> list[dg.AssetKey]:
    return [names.feed(name), names.reconciled(name), names.plan(name)]


@dataclass
class ReadFile:
    """A file whose content was acted on. `lines_of`: the name under which its lines were read."""

    stamp: Stamp
    content: str
    lines_of: str


@dataclass(frozen=True)
class UnsettledFile:
    """A file that was new, changed or gone (None) at the last look, and the same since then."""

    stamp: Stamp | None
    since: datetime


@dataclass
class FeedCursor:
    """What the sensor of a feed stores from tick to tick.

    Attributes:
        waiting: Files that were not acted on yet.
        pending: Partitions that are to be planned and were not launched yet.
        number: Counts the ticks that launched something.
    """

    files: dict[str, ReadFile] = field(default_factory=dict)
    waiting: dict[str, UnsettledFile] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)
    number: int = 0

    @classmethod
    def read(cls, text: str | None) -> "FeedCursor":
        """Read what `text()` returned; None is an empty cursor."""
        if not text:
            return cls()
        held = json.loads(text)
        return cls(
            files={
                name: ReadFile(Stamp(size, changed), content, lines_of)
                for name, (size, changed, content, lines_of) in held["files"].items()
            },
            waiting={
                name: UnsettledFile(stamp and Stamp(*stamp), datetime.fromisoformat(since))
                for name, (stamp, since) in held.get("waiting_since", {}).items()
            },
            pending=set(held["pending"]),
            number=held["number"],
        )

    def text(self) -> str:
        """Return the cursor as Dagster stores it."""
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
class SettledFiles:
    """Files that differ from what was acted on.

    Attributes:
        there: Files that may be read.
        gone: Files that vanished.
        waiting: Files that changed too recently.
    """

    there: dict[str, Stamp] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    waiting: dict[str, UnsettledFile] = field(default_factory=dict)


@dataclass(frozen=True)
class Settling:
    """How long a file must stay the same before it is read, and how that is waited for."""

    period: timedelta
    now: Clock
    pause: Callable[[float], None]


def feed_sensor(
    settings: Settings,
    name: str,
    feed: Feed,
    *,
    now: Clock = clock,
    pause: Callable[[float], None] = time.sleep,
) -> dg.SensorDefinition:
    """Build the sensor that plans exactly the partitions that new or changed files concern.

    A file is taken when two looks saw it with the same size and change time, `feed_settle_seconds`
    or more apart: before that it may be half-written. The second look is at the same tick if that
    is soon. Files are compared by content, so that one that is touched, renamed or copied concerns
    nothing. One that vanished concerns the partitions that its lines were in.

    Args:
        pause: Waits for so many seconds.
    """
    seconds = settings.schedules.feed_poll_seconds
    names = Names.of(settings)
    spec = SensorSpec(
        names.files_of(name),
        names.plan_job(name),
        seconds,
        f"Looks at {feed.source} every {seconds} s. New, changed and vanished files are read, "
        "reconciled and planned: their partitions, and no others.",
        in_maintenance=True,
    )
    settling = Settling(timedelta(seconds=settings.schedules.feed_settle_seconds), now, pause)
    return build_sensor(settings, spec, lambda tick: _plan_files(tick, name, feed, settling), now)


def _plan_files(tick: TickContext, name: str, feed: Feed, settling: Settling) -> TickResult:
    settings = tick.settings
    cursor = FeedCursor.read(tick.cursor)
    folder = folder_of(settings, name, feed)
    seen, settled = _look(folder, cursor, settling, tick.at)
    notes, concerned = _concerned(settings, folder, cursor, settled)
    cursor.pending |= {partition_key(*each) for each in concerned}
    due, out = _due(settings, cursor.pending, last_day(settings, settling.now()))
    unread = unread_entities(settings, feed.object, {entity for entity, _ in due})
    launched = launchable(tick, ranges(due))
    requests = _requests(tick.names, name, launched.now, settled, unread, cursor.number + 1)
    _advance(cursor, settled, due, launched, out)
    notes = [
        f"{len(seen):,} files seen",
        *(notes or ["none is new, changed or gone"]),
        *out.notes(),
    ]
    if unread:
        notes.append(
            f"only the feed is read for {listed(sorted(unread))}: {feed.object} was not read "
            "yet, and reconciling waits for it"
        )
    notes += launched.notes()
    if requests:
        notes.append(f"launched: {listed(launched.now)}")
    return TickResult(requests, notes, cursor.text())


def _look(
    folder: FeedFolder, cursor: FeedCursor, settling: Settling, at: datetime
) -> tuple[Mapping[str, Stamp], SettledFiles]:
    """Look at the folder, and look again if what changed just now may be taken soon."""
    seen = folder.look()
    settled = _settle(seen, cursor, at, settling.period)
    if settled.waiting:
        rest = _until_settled(settled, at, settling.period)
        if rest <= _LONGEST_PAUSE:
            settling.pause(rest)
            cursor.waiting = settled.waiting
            seen = folder.look()
            settled = _settle(seen, cursor, settling.now(), settling.period)
    return seen, settled


def _requests(
    names: Names,
    name: str,
    launched: Iterable[Range],
    settled: SettledFiles,
    unread: Collection[str],
    number: int,
) -> list[dg.RunRequest]:
    """Return the runs. Of an entity in `unread` only the feed is read."""
    # The list of runs shows only the beginning: so the names of the files, without the folder.
    files = listed((each.rpartition("/")[2] for each in (*settled.there, *settled.gone)), 3)
    assets = _assets_of(names, name)
    return [
        run_of(
            names,
            each,
            cause=f"{files or 'files'} of {name}",
            priority=PLANNING,
            run_key=f"{name}|{number}|{each}",
            assets=assets[:1] if each.entity in unread else assets,
        )
        for each in launched
    ]


def _advance(
    cursor: FeedCursor,
    settled: SettledFiles,
    due: Collection[Partition],
    launched: Launchable[Range],
    out: "LeftOut",
) -> None:
    """Store in the cursor what was launched and what waits."""
    cursor.waiting = settled.waiting
    cursor.number += bool(launched.now)
    waiting = [each for each in due if any(each in wanted for wanted in launched.later)]
    cursor.pending = {partition_key(*each) for each in (*waiting, *out.late)}


def _settle(
    seen: Mapping[str, Stamp], cursor: FeedCursor, at: datetime, settle: timedelta
) -> SettledFiles:
    """Compare what a look saw with what was acted on and with what was seen before."""
    settled = SettledFiles()
    acted_on = {name: each.stamp for name, each in cursor.files.items()}
    for name in sorted(seen.keys() | acted_on.keys()):
        stamp = seen.get(name)
        if stamp == acted_on.get(name):
            continue
        before = cursor.waiting.get(name)
        same = before is not None and before.stamp == stamp
        waiting = before if same and before is not None else UnsettledFile(stamp, at)
        if not same or at - waiting.since < settle:
            settled.waiting[name] = waiting
        elif stamp is None:
            settled.gone.append(name)
        else:
            settled.there[name] = stamp
    return settled


def _until_settled(settled: SettledFiles, at: datetime, settle: timedelta) -> float:
    """Return the seconds until everything that waits may be acted on, if it stays the same."""
    latest = max(each.since for each in settled.waiting.values())
    return max(0.0, (latest + settle - at).total_seconds())


def _concerned(
    settings: Settings, folder: FeedFolder, cursor: FeedCursor, settled: SettledFiles
) -> tuple[list[str], set[Partition]]:
    """Return notes about the files and the partitions they concern. Updates the cursor's files."""
    notes: list[str] = []
    if settled.waiting:
        notes.append(
            f"{listed(settled.waiting)} changed just now, and may be half-written: taken when it "
            f"was the same for {settings.schedules.feed_settle_seconds} s"
        )
    if not settled.there and not settled.gone:
        return notes, set()
    changes = _compare(folder.fingerprints(settled.there), cursor, settled)
    notes += changes.notes()
    concerned: set[Partition] = set()
    if changes.new or changes.read_before:
        spec, place = folder.fetch()
        concerned = partitions_of_files(
            warehouse_of(settings), spec, settings.users, place, changes.new, changes.read_before
        )
        if changes.new and not concerned:
            # The quarantine is of the feed as a whole, and any partition's run fills it.
            concerned = {(settings.active[0], settings.start_date)}
            notes.append("no line of it can be used: see feed.quarantine")
    for name in settled.gone:
        del cursor.files[name]
    cursor.files |= changes.files
    return notes, concerned


@dataclass
class FileChanges:
    """How the content of settled files differs from what was acted on.

    Attributes:
        files: The files that are there, as they are remembered from now on.
        new: Names of files with a new content.
        same: Names of files with a content that was acted on under this or another name.
        vanished: Names of files whose content is gone.
        read_before: Names under which the lines were read that are no longer there.
    """

    files: dict[str, ReadFile] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    read_before: set[str] = field(default_factory=set)

    def notes(self) -> list[str]:
        """Return a sentence for each kind of change."""
        words = {
            "has a content that was acted on before": self.same,
            "vanished": self.vanished,
            "is new or changed": self.new,
        }
        return [f"{listed(names)} {what}" for what, names in words.items() if names]


def _compare(contents: Mapping[str, str], cursor: FeedCursor, settled: SettledFiles) -> FileChanges:
    """Compare the content of files, by name, with what was acted on."""
    changes = FileChanges()
    gone = {name: cursor.files[name] for name in settled.gone}
    acted_on = {each.content: each.lines_of for each in cursor.files.values()}
    for name, content in contents.items():
        known = content in acted_on
        (changes.same if known else changes.new).append(name)
        lines_of = acted_on[content] if known else name
        changes.files[name] = ReadFile(settled.there[name], content, lines_of)
        before = cursor.files.get(name)
        if before is not None and before.content != content:
            changes.read_before.add(before.lines_of)
    kept = {
        each.content
        for name, each in {**cursor.files, **changes.files}.items()
        if name not in gone or name in changes.files
    }
    changes.vanished = [name for name, each in gone.items() if each.content not in kept]
    changes.read_before |= {gone[name].lines_of for name in changes.vanished}
    return changes


@dataclass
class LeftOut:
    """Partitions that are not launched: too early, too late, or of retired entities."""

    early: list[Partition] = field(default_factory=list)
    late: list[Partition] = field(default_factory=list)
    retired: list[Partition] = field(default_factory=list)

    def notes(self) -> list[str]:
        """Return a sentence for each reason."""
        words = {
            "left out, before start_date": self.early,
            "planned when the day has a partition": self.late,
            "left out, of retired entities": self.retired,
        }
        return [f"{why}: {listed(map(str, ranges(each)))}" for why, each in words.items() if each]


def _due(settings: Settings, pending: Iterable[str], last: date) -> tuple[set[Partition], LeftOut]:
    """Divide pending partitions into those that exist and can be planned, and the others."""
    due: set[Partition] = set()
    out = LeftOut()
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
