"""One object of one entity, over days, from Intacct into the warehouse. Dagster is not needed.

Read, check, load: pages are read into a spool and proven complete; only then is the warehouse
opened, and it is held only while the pages are loaded. The spool stays if the process ends, and the
next one that wants the same goes on from its last whole page.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

from intacct_dagster.client import (
    CHANGED,
    ChangeWindow,
    Intacct,
    IntacctClient,
    IntacctError,
    OnProgress,
    RequestRefused,
    Usage,
)
from intacct_dagster.config import ObjectSettings, Reading
from intacct_dagster.extraction import spool as spools
from intacct_dagster.extraction.by_key import read_by_key
from intacct_dagster.extraction.days import earliest, midnight, ranges_of_days
from intacct_dagster.extraction.delete_scan import (
    DeleteScanResult,
    confirm_missing,
    scan_keys,
)
from intacct_dagster.extraction.details import complete_rows
from intacct_dagster.extraction.elsewhere import find_elsewhere, not_gone
from intacct_dagster.extraction.extracted import Extracted, together
from intacct_dagster.extraction.lines import LineReader
from intacct_dagster.extraction.schema import CompanySchema, ObjectSchema
from intacct_dagster.state import ApiUsage
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import (
    DeleteScan,
    LoadProof,
    PageArchive,
    RawLoad,
    store_delete_scan,
)
from intacct_dagster.warehouse.raw.entities import know_entities
from intacct_dagster.warehouse.raw.load import load_raw
from intacct_dagster.warehouse.raw.loads import loaded_by_runs


class Extractor:
    """Extracts objects of one company. Safe to use from several threads at once.

    `entities` are those that are read, in their order (default: all of the company's); `renamed`
    has the present ids of those that are called otherwise now, by the former. `end_date` is the
    last partition, if there is one. `start_date` is the first: the day into which objects that take
    older rows also put what was last changed before it. `now` gives aware UTC times. What it costs
    is written to `api_usage`, also where it fails; what it loads stays in `page_archive`, for its
    time. What `attempts` loaded, runs that this one goes on from, is not read again.
    """

    def __init__(  # noqa: PLR0913 - options of a public constructor, most with a default
        self,
        intacct: Intacct,
        warehouse: Warehouse,
        *,
        start_date: date,
        run_id: str,
        attempts: Collection[str] = (),
        page_size: int = 4000,
        reading: Reading | None = None,
        api_usage: ApiUsage | None = None,
        page_archive: PageArchive | None = None,
        entities: Sequence[str] | None = None,
        renamed: Mapping[str, str] | None = None,
        end_date: date | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._intacct = intacct
        self._warehouse = warehouse
        self._start_date = start_date
        self._run_id = run_id
        self._attempts = attempts
        self._page_size = page_size
        self._reading = reading if reading is not None else Reading()
        self._api_usage = api_usage
        self._page_archive = page_archive
        self._entities = tuple(entities if entities is not None else intacct.entities)
        self._renamed = renamed or {}
        self._end_date = end_date
        self._now = now
        self._bounds: dict[str, datetime] = {}
        self._entities_known = False
        self._schemas = CompanySchema(warehouse, now)
        # Within this process loads take turns; between processes DuckDB's own lock sees to it.
        self._load_lock = threading.Lock()

    def prepare(self, objects: Sequence[ObjectSettings], entity: str) -> None:
        """Learn what the objects offer, before any data is read.

        Raises RequestRefused with a line for every object and field that cannot be read.
        """
        client = self._intacct.entity(entity)
        with self._counted(client, "core/model"):
            self._schemas.learn(client, objects)
        if self._page_archive is not None:
            self._page_archive.prune()

    def extract(
        self,
        what: ObjectSettings,
        entity: str,
        days: Iterable[date],
        *,
        on_progress: OnProgress | None = None,
    ) -> Extracted:
        """Read and load `what` of `entity` for UTC days of `audit.modifiedDateTime`.

        Adjacent days are read as one, with the days to look back to before them. Each day's
        partition is replaced as a whole, also by nothing; a failure leaves the partitions of its
        range as they were. `on_progress` is called with the rows as they come, on this thread.
        Raises IntacctError and WarehouseError.
        """
        client = self._intacct.entity(entity)
        asked = sorted(set(days))
        with self._counted(client, what.name):
            schema = self._schemas.learn(client, [what])[what.name]
            by_days = schema.dated or schema.parent is not None
            read = self._with_look_back(asked) if by_days else asked
            earlier = self._loaded_earlier(what.name, entity, asked, schema)
            ranges = (
                [earlier]
                if earlier is not None
                else [
                    self._extract_range(client, what, schema, each, on_progress)
                    for each in ranges_of_days(read)
                ]
            )
        return together(ranges, asked, client.usage)

    def _loaded_earlier(
        self, object: str, entity: str, days: Sequence[date], schema: ObjectSchema
    ) -> Extracted | None:
        """Return what an attempt before this one loaded, if that was all of these days."""
        if not self._attempts:
            return None
        found = loaded_by_runs(self._warehouse, object, entity, self._attempts)
        if not found.rows_by_day.keys() >= set(days):
            return None
        return Extracted(
            object,
            entity,
            rows_by_day={day: found.rows_by_day[day] for day in days},
            read_until=found.read_until,
            distinct_keys=found.distinct_keys,
            schema=schema,
            usage=Usage(),
        )

    def delete_scan(self, what: ObjectSettings, entity: str) -> DeleteScanResult:
        """Read the keys that Intacct has, and note which of ours are gone and which are back.

        Raises IntacctError and WarehouseError.
        """
        client = self._intacct.entity(entity)
        began = self._now()
        since = self._scanned_since(began)
        with self._counted(client, what.name):
            schema = self._schemas.learn(client, [what])[what.name]
            if schema.by_period:
                raise RequestRefused(
                    f"{what.name} takes no delete scan: each reading of it is whole, so what "
                    "is gone is not in the current view.",
                    entity=entity,
                    object=what.name,
                    remedy="Leave it out of the selection.",
                )
            window = None
            if schema.dated:
                window = ChangeWindow(since, self._settled(began), undated=since is not None)
            if self._warehouse.path.exists():  # else scanning says that nothing was loaded
                self._know_entities()
            with self._spool("sweep", what.name, entity, str(window)) as folder:
                read, found = scan_keys(
                    client,
                    self._warehouse,
                    what.name,
                    schema,
                    window,
                    into=folder / "keys",
                    page_size=self._page_size,
                    wanted_since=None if what.takes_older else midnight(self._start_date),
                )
                gone = confirm_missing(client, what.name, found.missing)
                deleted, out_of_sight = self._look_elsewhere(
                    what, schema, entity, gone, folder / "elsewhere"
                )
                lacking = {*found.lacking, *found.went_back, *found.missing} - set(gone)
                fetched = self._fetch(client, what, schema, sorted(lacking), folder / "lacking")
            scan = DeleteScan(
                what.name,
                entity,
                deleted=tuple(key for key in gone if key in deleted),
                out_of_sight=tuple(key for key in gone if key in out_of_sight),
                found_at=earliest(read.read_at) or began,
                run_id=self._run_id,
                since=since if schema.dated else None,
                seen=read.proof.distinct_keys,
            )
            self._store(scan)
        return DeleteScanResult(
            object=what.name,
            entity=entity,
            since=scan.since,
            seen=scan.seen,
            known=found.known,
            deleted=len(scan.deleted),
            out_of_sight=len(scan.out_of_sight),
            fetched=fetched,
            usage=client.usage,
        )

    def _look_elsewhere(
        self,
        what: ObjectSettings,
        schema: ObjectSchema,
        entity: str,
        gone: Sequence[str],
        into: Path,
    ) -> tuple[set[str], set[str]]:
        """Return those keys gone from an entity that are deleted, and those that others see.

        What others see is read there first: else a record that moved would be nowhere until its
        new entity is read. Nothing is said of keys whose entity cannot be asked.
        """
        others, client_of = self._others(entity), self._intacct.entity
        elsewhere = find_elsewhere(
            self._warehouse, what.name, gone, others=others, client_of=client_of
        )
        deleted, out_of_sight = set(filter(elsewhere.deleted_of, gone)), set(elsewhere.read)
        for number, (other, keys) in enumerate((elsewhere.unread or {}).items(), start=1):
            client = self._intacct.entity(other)
            with suppress(IntacctError), self._counted(client, what.name):
                if self._fetch(client, what, schema, keys, into / str(number)):
                    out_of_sight |= set(keys)
        return deleted, out_of_sight

    def _others(self, entity: str) -> list[str]:
        return [each for each in self._entities if each != entity]

    def _fetch(
        self,
        client: IntacctClient,
        what: ObjectSettings,
        schema: ObjectSchema,
        keys: Sequence[str],
        into: Path,
    ) -> int:
        """Read records by their keys, and load them; return how many there were.

        An object without change times is read whole, so it lacks nothing for long.
        """
        if not keys or not (schema.dated or schema.parent is not None):
            return 0
        into.mkdir(parents=True, exist_ok=True)
        load_of = partial(
            RawLoad,
            object=what.name,
            columns=schema.raw_columns,
            entity=client.entity_id or "",
            days=(),
            run_id=self._run_id,
            extracted_at=self._now(),
            takes_older=False,
            by_key=True,
            lag=self._lag,
        )
        size, name = self._page_size, what.name
        load = read_by_key(
            load_of, client, self._warehouse, name, schema, keys, into=into, page_size=size
        )
        self._load(load)
        return load.proof.distinct_keys

    def _know_entities(self) -> None:
        """Record the entities before the first thing that is stored or compared."""
        with self._load_lock:
            if not self._entities_known:
                know_entities(self._warehouse, self._entities, self._renamed)
                self._entities_known = True

    def _store(self, scan: DeleteScan) -> None:
        self._know_entities()
        with self._load_lock:
            store_delete_scan(self._warehouse, scan)
        if self._page_archive is not None:
            self._page_archive.keep_delete_scan(scan)

    def _with_look_back(self, days: Sequence[date]) -> list[date]:
        wanted = set(days)
        for each in ranges_of_days(days):
            for back in range(1, self._reading.look_back_days + 1):
                if (day := each[0] - timedelta(days=back)) >= self._start_date:
                    wanted.add(day)
        return sorted(wanted)

    @property
    def _lag(self) -> timedelta:
        """How long after a change a reading may still show what was before."""
        reading = self._reading
        return timedelta(days=reading.look_back_days, seconds=reading.settle_seconds)

    def _settled(self, now: datetime) -> datetime:
        """Return up to when what changed shows by now."""
        settled = now - timedelta(seconds=self._reading.settle_seconds)
        return settled.replace(microsecond=0)

    def _scanned_since(self, now: datetime) -> datetime | None:
        months = self._reading.delete_scan_months
        if months is None:
            return None
        return midnight((now - timedelta(days=31 * months)).date())

    def _extract_range(
        self,
        client: IntacctClient,
        what: ObjectSettings,
        schema: ObjectSchema,
        days: Sequence[date],
        on_progress: OnProgress | None,
    ) -> Extracted:
        entity = client.entity_id or ""
        until = self._until(what, entity, days)
        started = time.monotonic()
        paths = [*schema.query_paths, *schema.record_paths]
        whole = until == midnight(days[-1] + timedelta(days=1))
        # A window that ends with what has settled is not named by it, so that a run which goes on
        # where another was interrupted finds what that one read, and ends where it would have.
        about = f"{days[0]} {days[-1]} {whole} {self._takes_older(what, days)} {paths}"
        with self._spool("days", what.name, entity, about) as folder:
            until = spools.remembered(folder, "until", until)
            window = self._window(what, schema, days, until)
            read_until = until if window is not None and not whole else None
            not_over = until < midnight(days[-1] + timedelta(days=1))
            began = spools.began(folder, self._now)
            load_of = partial(
                RawLoad,
                object=what.name,
                columns=schema.raw_columns,
                entity=entity,
                days=days,
                run_id=self._run_id,
                extracted_at=began,
                takes_older=window is not None and self._takes_older(what, days),
                read_until=read_until,
                snapshot=window is None,
                undated=window is not None and window.undated,
                lag=self._lag,
            )
            load = self._read(load_of, client, what, schema, window, folder / "pages", on_progress)
            if load.snapshot and not schema.by_period:
                self._know_entities()
                others, client_of = self._others(entity), self._intacct.entity
                kept = not_gone(client, self._warehouse, load, others=others, client_of=client_of)
                load = replace(load, kept=kept)
            seconds_reading = time.monotonic() - started
            rows_by_day, seconds_loading = self._load(load)
        return Extracted(
            what.name,
            entity,
            rows_by_day=rows_by_day,
            read_until=read_until if read_until is not None and not_over else None,
            distinct_keys=load.proof.distinct_keys,
            schema=schema,
            usage=client.usage,
            left=load.left,
            attempts=load.proof.attempts,
            seconds_reading=seconds_reading,
            seconds_loading=seconds_loading,
        )

    def _read(
        self,
        load_of: Callable[..., RawLoad],
        client: IntacctClient,
        what: ObjectSettings,
        schema: ObjectSchema,
        window: ChangeWindow | None,
        into: Path,
        on_progress: OnProgress | None,
    ) -> RawLoad:
        """Read and prove the rows of a range of days; `load_of` makes the load of them."""
        parent = schema.parent
        if parent is not None and window is not None:
            reader = LineReader(client, self._warehouse, into=into, page_size=self._page_size)
            lines, proof = reader.read(what.name, schema, parent, window, on_progress)
            return load_of(
                files=(lines.file,),
                read_at=(lines.read_at,),
                proof=proof,
                left=lines.left,
                dated_by=parent.changed,
                parents=lines.parents,
            )
        paths = schema.query_paths
        if schema.by_period:
            today = self._now().date()
            read = client.read_periods(what.name, paths, self._start_date, today, into=into)
        else:
            read = client.paginate(
                what.name,
                paths,
                window,
                into=into,
                page_size=self._page_size,
                on_progress=on_progress,
            )
        keys, total = read.proof.distinct_keys, read.proof.total_count
        proof = LoadProof(keys, total, read.proof.requests, read.proof.attempts)
        if not schema.got:
            return load_of(files=read.files, read_at=read.read_at, proof=proof, dated_by=CHANGED)
        rows = complete_rows(
            client, self._warehouse, what.name, schema, read.files, into=into / "records"
        )
        return load_of(
            files=(rows.file,),
            read_at=(earliest(read.read_at),),
            proof=replace(proof, distinct_keys=rows.keys),
            left=keys - rows.keys,
            dated_by=CHANGED,
        )

    def _load(self, load: RawLoad) -> tuple[Mapping[date, int], float]:
        keeping: AbstractContextManager[None] = nullcontext()
        if self._page_archive is not None:
            keeping = self._page_archive.keeping(load, self._schemas.fields(load.object))
        self._know_entities()
        with keeping, self._load_lock:
            return load_raw(self._warehouse, load)

    def _takes_older(self, what: ObjectSettings, days: Sequence[date]) -> bool:
        return what.takes_older and days[0] <= self._start_date

    def _until(self, what: ObjectSettings, entity: str, days: Sequence[date]) -> datetime:
        """Return up to when a range of days is read: to its end, or to what has settled.

        A range with the newest day that is over is read on to what has settled, so that all objects
        of the entity are known as of one moment.
        """
        since, end = midnight(days[0]), midnight(days[-1] + timedelta(days=1))
        settled = self._bounds.get(entity)
        if settled is None or since >= settled:
            settled = self._bounds[entity] = self._settled(self._now())
        if since >= settled:
            raise RequestRefused(
                f"{what.name} of entity {entity}: nothing of {days[0]} can be read before "
                f"{since + timedelta(seconds=self._reading.settle_seconds + 1)}.",
                entity=entity,
                object=what.name,
                remedy="Run it again after that: changes are read when they have settled.",
            )
        newest = settled - end < timedelta(days=1)
        ends = self._end_date is not None and days[-1] >= self._end_date
        return settled if settled < end or (newest and not ends) else end

    def _window(
        self, what: ObjectSettings, schema: ObjectSchema, days: Sequence[date], until: datetime
    ) -> ChangeWindow | None:
        """Return the change times of the days, up to `until`; None where it is read whole."""
        if not schema.dated and schema.parent is None:
            return None
        older = self._takes_older(what, days)
        undated = not older and days[0] <= self._start_date and schema.parent is None
        return ChangeWindow(None if older else midnight(days[0]), until, undated)

    def _spool(self, *names: str) -> AbstractContextManager[Path]:
        return spools.spool(self._warehouse.path, *names)

    @contextmanager
    def _counted(self, client: IntacctClient, object: str) -> Iterator[None]:
        try:
            yield
        finally:
            if self._api_usage is not None and client.usage.requests:
                self._api_usage.spend(
                    at=self._now(),
                    run_id=self._run_id,
                    entity=client.entity_id or "",
                    object=object,
                    requests=client.usage.requests,
                    transactions=client.usage.transactions,
                )
