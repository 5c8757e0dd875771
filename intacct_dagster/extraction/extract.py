"""One object of one entity, over days, from Intacct into the warehouse. Dagster is not needed.

Walk, fence, load: the walk writes pages to a spool and proves that they are complete; only then is
the warehouse opened, and it is held only while the pages are loaded. The spool stays if the process
ends, and the next one that wants the same goes on from its last whole page.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path

from intacct_dagster.client import (
    CHANGED,
    AnswerNotUnderstood,
    ChangeWindow,
    Intacct,
    IntacctClient,
    OnProgress,
    PaginationIncomplete,
    RequestRefused,
    Usage,
    WrongEntity,
)
from intacct_dagster.config import ObjectSettings, Reading
from intacct_dagster.extraction.details import complete_rows
from intacct_dagster.extraction.lines import read_lines
from intacct_dagster.extraction.schema import Catalogue, Parent, Shape
from intacct_dagster.state import Allowance
from intacct_dagster.warehouse import Column, LoadRefused, Warehouse
from intacct_dagster.warehouse.raw import (
    CompleteRows,
    KeptPages,
    LoadResult,
    Parents,
    RawLoad,
    Sweep,
    WalkProof,
    compare_keys,
    store_sweep,
)
from intacct_dagster.warehouse.raw.load import landed, load_raw

_KEYS_IN_A_QUESTION = 500
_SPOOL_KEPT = timedelta(days=2)


@dataclass(frozen=True)
class Extracted:
    """What one extraction did. `rows_by_day` has an entry for every day that was asked for.

    `looked_back` counts the rows of the days before, which were read again for what came late.
    `read_until` is given where the last day is not over: later changes are still to be read.
    `left` rows were read and not stored: the record, or the document that they are lines of,
    changed meanwhile, so a later day has them. `usage` is all that it cost.
    """

    object: str
    entity: str
    rows_by_day: Mapping[date, int]
    looked_back: int
    read_until: datetime | None
    distinct_keys: int
    left: int
    attempts: int
    usage: Usage
    seconds_walking: float
    seconds_loading: float
    shape: Shape

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the raw table that were read."""
        shape = self.shape
        parent = (shape.parent.column,) if shape.parent is not None else ()
        return (*shape.columns, *shape.got, *parent)

    @property
    def rows(self) -> int:
        """Rows in all days together."""
        return sum(self.rows_by_day.values())


@dataclass(frozen=True)
class Swept:
    """What a sweep found: of the `known` keys we had `deleted` are gone, and `revived` are back."""

    object: str
    entity: str
    since: datetime | None
    seen: int
    known: int
    deleted: int
    revived: int
    usage: Usage


class Extractor:
    """Extracts objects of one company. Safe to use from several threads at once.

    `start_date` is the first partition: the day into which objects that take older rows also put
    what was last changed before it. `now` gives aware UTC times. What it costs is written to
    `allowance`, also where it fails; what it loads stays in `kept_pages`, for their time. What
    `attempts` loaded, runs that this one goes on from, is not read again.
    """

    def __init__(
        self,
        intacct: Intacct,
        warehouse: Warehouse,
        *,
        start_date: date,
        run_id: str,
        attempts: Collection[str] = (),
        page_size: int = 4000,
        reading: Reading | None = None,
        allowance: Allowance | None = None,
        kept_pages: KeptPages | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._intacct = intacct
        self._warehouse = warehouse
        self._start_date = start_date
        self._run_id = run_id
        self._attempts = attempts
        self._page_size = page_size
        self._reading = reading if reading is not None else Reading()
        self._allowance = allowance
        self._kept_pages = kept_pages
        self._now = now
        self._catalogue = Catalogue(warehouse, now)
        # Within this process loads take turns; between processes DuckDB's own lock sees to it.
        self._load_lock = threading.Lock()

    def prepare(self, objects: Sequence[ObjectSettings], entity: str) -> None:
        """Learns what the objects offer, before any data is read.

        Raises RequestRefused with a line for every object and field that cannot be read.
        """
        client = self._intacct.entity(entity)
        with self._counted(client, "core/model"):
            self._catalogue.learn(client, objects)
        if self._kept_pages is not None:
            self._kept_pages.prune()

    def extract(
        self,
        what: ObjectSettings,
        entity: str,
        days: Iterable[date],
        *,
        on_progress: OnProgress | None = None,
    ) -> Extracted:
        """Walks and loads `what` of `entity` for UTC days of `audit.modifiedDateTime`.

        Adjacent days are one walk, with the days to look back to before them. Each day's partition
        is replaced as a whole, also by nothing; a failure leaves the partitions of its range as
        they were. `on_progress` is called with the rows as they come, on this thread. Raises
        IntacctError and WarehouseError.
        """
        client = self._intacct.entity(entity)
        asked = sorted(set(days))
        with self._counted(client, what.name):
            shape = self._catalogue.learn(client, [what])[what.name]
            by_days = shape.dated or shape.parent is not None
            read = self._with_look_back(asked) if by_days else asked
            landed = self._landed(what.name, entity, asked)
            done = (
                [landed]
                if landed is not None
                else [
                    self._extract_range(client, what, shape, each, on_progress)
                    for each in ranges_of_days(read)
                ]
            )
        rows = {day: count for each in done for day, count in each.rows_by_day.items()}
        return Extracted(
            object=what.name,
            entity=entity,
            rows_by_day={day: rows[day] for day in asked},
            looked_back=sum(count for day, count in rows.items() if day not in asked),
            read_until=next((each.read_until for each in reversed(done) if each.read_until), None),
            distinct_keys=sum(each.distinct_keys for each in done),
            left=sum(each.left for each in done),
            attempts=max(each.attempts for each in done),
            usage=client.usage,
            seconds_walking=sum(each.seconds_walking for each in done),
            seconds_loading=sum(each.seconds_loading for each in done),
            shape=shape,
        )

    def _landed(self, object: str, entity: str, days: Sequence[date]) -> _Range | None:
        """What an attempt before this one loaded, if that was all of these days."""
        if not self._attempts:
            return None
        found = landed(self._warehouse, object, entity, self._attempts)
        if not found.rows_by_day.keys() >= set(days):
            return None
        return _Range(
            rows_by_day={day: found.rows_by_day[day] for day in days},
            read_until=found.read_until,
            distinct_keys=found.distinct_keys,
            left=0,
            attempts=0,
            seconds_walking=0.0,
            seconds_loading=0.0,
        )

    def sweep(self, what: ObjectSettings, entity: str) -> Swept:
        """Reads the keys that Intacct has, and notes which of ours are gone and which are back.

        A key that did not show is asked for by name before it is held to be deleted: it may only
        have changed while the sweep was on. Raises IntacctError and WarehouseError.
        """
        client = self._intacct.entity(entity)
        began = self._now()
        since = self._swept_since(began)
        with self._counted(client, what.name):
            shape = self._catalogue.learn(client, [what])[what.name]
            if shape.by_period:
                raise RequestRefused(
                    f"{what.name} is not swept for deletes: each reading of it is whole, so what "
                    "is gone is not in the current view.",
                    entity=entity,
                    object=what.name,
                    remedy="Leave it out of the selection.",
                )
            window = ChangeWindow(since, self._settled(began)) if shape.dated else None
            with self._spool("sweep", what.name, entity, str(window)) as spool:
                walked = client.paginate(
                    what.name, shape.fence, window, into=spool, page_size=self._page_size
                )
                found = compare_keys(
                    self._warehouse,
                    what.name,
                    entity,
                    walked.files,
                    since if shape.dated else None,
                )
            deleted: list[str] = []
            for first in range(0, len(found.missing), _KEYS_IN_A_QUESTION):
                part = found.missing[first : first + _KEYS_IN_A_QUESTION]
                there = client.existing(what.name, part)
                deleted += [key for key in part if key not in there]
            if deleted or found.returned:
                sweep = Sweep(
                    what.name, entity, tuple(deleted), found.returned, began, self._run_id
                )
                with self._load_lock:
                    store_sweep(self._warehouse, sweep)
                if self._kept_pages is not None:
                    self._kept_pages.keep_sweep(sweep)
        return Swept(
            object=what.name,
            entity=entity,
            since=since if shape.dated else None,
            seen=walked.proof.distinct_keys,
            known=found.known,
            deleted=len(deleted),
            revived=len(found.returned),
            usage=client.usage,
        )

    def _with_look_back(self, days: Sequence[date]) -> list[date]:
        wanted = set(days)
        for each in ranges_of_days(days):
            for back in range(1, self._reading.look_back_days + 1):
                if (day := each[0] - timedelta(days=back)) >= self._start_date:
                    wanted.add(day)
        return sorted(wanted)

    def _settled(self, now: datetime) -> datetime:
        """What changed before then shows by now."""
        settled = now - timedelta(seconds=self._reading.settle_seconds)
        return settled.replace(microsecond=0)

    def _swept_since(self, now: datetime) -> datetime | None:
        months = self._reading.sweep_months
        if months is None:
            return None
        return _midnight((now - timedelta(days=31 * months)).date())

    def _extract_range(
        self,
        client: IntacctClient,
        what: ObjectSettings,
        shape: Shape,
        days: Sequence[date],
        on_progress: OnProgress | None,
    ) -> _Range:
        entity = client.entity_id or ""
        window, read_until = self._window(what, shape, entity, days)
        snapshot = not shape.dated and shape.parent is None
        takes_older = not snapshot and what.takes_older and days[0] <= self._start_date
        started = time.monotonic()
        paths = [column.path for column in (*shape.columns, *shape.got)]
        with self._spool("days", what.name, entity, f"{window} {days[-1]} {paths}") as spool:
            began = self._began(spool)
            pages = self._read(client, what, shape, window, spool / "pages", on_progress)
            walking = time.monotonic() - started
            load = RawLoad(
                object=what.name,
                columns=pages.columns,
                entity=entity,
                days=days,
                files=pages.files,
                run_id=self._run_id,
                extracted_at=began,
                takes_older=takes_older,
                proof=pages.proof,
                read_until=read_until,
                snapshot=snapshot,
                dated_by=pages.dated_by,
                parents=pages.parents,
            )
            loaded = self._load(load)
        return _Range(
            rows_by_day=loaded.rows_by_day,
            read_until=read_until,
            distinct_keys=pages.proof.distinct_keys,
            left=pages.left,
            attempts=pages.attempts,
            seconds_walking=walking,
            seconds_loading=loaded.seconds_locked,
        )

    def _read(
        self,
        client: IntacctClient,
        what: ObjectSettings,
        shape: Shape,
        window: ChangeWindow | None,
        into: Path,
        on_progress: OnProgress | None,
    ) -> _Pages:
        paths = [column.path for column in shape.columns]
        if shape.parent is None or window is None:
            if shape.by_period:
                today = self._now().date()
                walked = client.read_periods(what.name, paths, self._start_date, today, into=into)
            else:
                walked = client.paginate(
                    what.name,
                    paths,
                    window,
                    into=into,
                    page_size=self._page_size,
                    on_progress=on_progress,
                )
            proof = walked.proof
            files, keys, left = walked.files, proof.distinct_keys, 0
            if shape.got:
                rows = self._complete(client, what, shape, files, into)
                files, keys, left = (rows.file,), rows.keys, proof.distinct_keys - rows.keys
            return _Pages(
                files,
                (*shape.columns, *shape.got),
                WalkProof(keys, proof.total_count, proof.requests),
                proof.attempts,
                left=left,
            )
        parent, went = shape.parent, 0

        def complete(pages: Sequence[Path]) -> Sequence[Path]:
            nonlocal went
            if not shape.got:
                return pages
            rows = self._complete(client, what, shape, pages, into, parent)
            went = rows.left
            return [rows.file]

        lines = read_lines(
            client,
            self._warehouse,
            what.name,
            paths,
            parent,
            window,
            into=into,
            page_size=self._page_size,
            complete=complete,
            completed=[column.path for column in shape.got],
            on_progress=on_progress,
        )
        keys = lines.joined.keys
        return _Pages(
            (lines.joined.file,),
            (*shape.columns, *shape.got, parent.column),
            WalkProof(keys, keys, lines.requests),
            lines.attempts,
            left=lines.joined.left + went,
            dated_by=parent.changed,
            parents=lines.joined.parents,
        )

    def _complete(
        self,
        client: IntacctClient,
        what: ObjectSettings,
        shape: Shape,
        pages: Sequence[Path],
        into: Path,
        parent: Parent | None = None,
    ) -> CompleteRows:
        paths = [column.path for column in shape.columns]
        if parent is not None:
            paths += [parent.key, *([parent.changed] if parent.reached else [])]
        return complete_rows(
            client, self._warehouse, what.name, shape, pages, paths, into=into / "records"
        )

    def _load(self, load: RawLoad) -> LoadResult:
        keeping: AbstractContextManager[None] = nullcontext()
        if self._kept_pages is not None:
            keeping = self._kept_pages.keeping(load, self._catalogue.fields(load.object))
        with keeping, self._load_lock:
            return load_raw(self._warehouse, load)

    def _window(
        self, what: ObjectSettings, shape: Shape, entity: str, days: Sequence[date]
    ) -> tuple[ChangeWindow | None, datetime | None]:
        """The change times of the days, up to what has settled, and that bound if it cuts a day."""
        settled = self._settled(self._now())
        since, end = _midnight(days[0]), _midnight(days[-1] + timedelta(days=1))
        if since >= settled:
            raise RequestRefused(
                f"{what.name} of entity {entity}: nothing of {days[0]} can be read before "
                f"{since + timedelta(seconds=self._reading.settle_seconds + 1)}.",
                entity=entity,
                object=what.name,
                remedy="Run it again after that: changes are read when they have settled.",
            )
        if not shape.dated and shape.parent is None:
            return None, None
        older = what.takes_older and days[0] <= self._start_date
        window = ChangeWindow(None if older else since, min(end, settled))
        return window, settled if settled < end else None

    @contextmanager
    def _spool(self, *names: str) -> Iterator[Path]:
        """A folder for pages, which outlives an interruption: the same names find it again.

        It lies beside the warehouse: the same disk, which is known to have room for the data. It is
        emptied when the block ends well, or with rows that cannot be used.
        """
        spools = self._warehouse.path.parent / ".spool"
        spools.mkdir(parents=True, exist_ok=True)
        _forget_old(spools)
        name = hashlib.sha256("\0".join(names).encode()).hexdigest()[:24]
        folder = spools / name
        with (spools / f"{name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # another process reads the very same: do not touch its pages
                folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=spools))
            folder.mkdir(exist_ok=True)
            try:
                yield folder
            except (LoadRefused, WrongEntity, PaginationIncomplete, AnswerNotUnderstood):
                shutil.rmtree(folder, ignore_errors=True)
                raise
            shutil.rmtree(folder, ignore_errors=True)

    def _began(self, spool: Path) -> datetime:
        """When the walk in this spool began, also if that was before an interruption."""
        file = spool / "began"
        with suppress(OSError, ValueError):
            return datetime.fromisoformat(file.read_text(encoding="utf-8"))
        now = self._now()
        file.write_text(now.isoformat(), encoding="utf-8")
        return now

    @contextmanager
    def _counted(self, client: IntacctClient, object: str) -> Iterator[None]:
        try:
            yield
        finally:
            if self._allowance is not None and client.usage.requests:
                self._allowance.spend(
                    at=self._now(),
                    run_id=self._run_id,
                    entity=client.entity_id or "",
                    object=object,
                    requests=client.usage.requests,
                    transactions=client.usage.transactions,
                )


@dataclass(frozen=True)
class _Pages:
    """What was read of a range of days, before it is loaded."""

    files: Sequence[Path]
    columns: tuple[Column, ...]
    proof: WalkProof
    attempts: int
    left: int = 0
    dated_by: str = CHANGED
    parents: Parents | None = None


@dataclass(frozen=True)
class _Range:
    rows_by_day: Mapping[date, int]
    read_until: datetime | None
    distinct_keys: int
    left: int
    attempts: int
    seconds_walking: float
    seconds_loading: float


def _forget_old(spools: Path) -> None:
    """Deletes what was interrupted so long ago that nobody will go on with it."""
    now = datetime.now(UTC)  # the clock of the disk, whatever the extractor's is
    for folder in spools.iterdir():
        with suppress(OSError):
            age = now - datetime.fromtimestamp(folder.stat().st_mtime, UTC)
            if age > _SPOOL_KEPT:
                shutil.rmtree(folder, ignore_errors=True)
                folder.unlink(missing_ok=True)


def ranges_of_days(days: Iterable[date]) -> list[list[date]]:
    """Days in order, those that touch together: each inner list is one walk."""
    ranges: list[list[date]] = []
    for day in sorted(set(days)):
        if ranges and day - ranges[-1][-1] == timedelta(days=1):
            ranges[-1].append(day)
        else:
            ranges.append([day])
    return ranges


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time_of_day(), tzinfo=UTC)
