"""One object of one entity, over days, from Intacct into the warehouse. Dagster is not needed.

Read, check, load: pages are read into a spool and proven complete; only then is the warehouse
opened, and it is held only while the pages are loaded. The spool stays if the process ends, and the
next one that wants the same goes on from its last whole page.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path

from intacct_dagster.client import (
    CHANGED,
    ChangeWindow,
    IntacctClient,
    OnProgress,
    RequestRefused,
    Usage,
)
from intacct_dagster.config import ObjectSettings
from intacct_dagster.extraction import spool as spools
from intacct_dagster.extraction.days import earliest, midnight, ranges_of_days
from intacct_dagster.extraction.details import complete_rows
from intacct_dagster.extraction.elsewhere import not_gone
from intacct_dagster.extraction.extracted import Extracted, together
from intacct_dagster.extraction.lines import LineReader
from intacct_dagster.extraction.open_documents import find_changed, has_open_documents
from intacct_dagster.extraction.scanner import Scanner
from intacct_dagster.extraction.schema import ObjectSchema
from intacct_dagster.warehouse.raw import (
    LoadProof,
    RawLoad,
)
from intacct_dagster.warehouse.raw.loads import loaded_by_runs


class Extractor(Scanner):
    """Extracts objects of one company, and scans them for deletes.

    Safe to use from several threads at once. See CompanyReads for its arguments.
    """

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
            ranges = self._read_days(client, what, asked, on_progress)
        return together(ranges, asked, client.usage)

    def _read_days(
        self,
        client: IntacctClient,
        what: ObjectSettings,
        asked: Sequence[date],
        on_progress: OnProgress | None,
    ) -> list[Extracted]:
        """Read and load days, without the fields that this entity's user may no longer ask for."""
        schema = self._schemas.learn(client, [what])[what.name]
        return self._without_refused(
            client,
            what,
            schema,
            lambda schema: self._read_ranges(client, what, schema, asked, on_progress),
        )

    def _read_ranges(
        self,
        client: IntacctClient,
        what: ObjectSettings,
        schema: ObjectSchema,
        asked: Sequence[date],
        on_progress: OnProgress | None,
    ) -> list[Extracted]:
        earlier = self._loaded_earlier(what.name, client.entity_id or "", asked, schema)
        if earlier is not None:
            return [earlier]
        by_days = schema.dated or schema.parent is not None
        ranges = [
            self._extract_range(client, what, schema, each, on_progress)
            for each in ranges_of_days(self._with_look_back(asked) if by_days else asked)
        ]
        if self._is_newest(asked[-1]):
            self._read_open_documents(client, what, schema)
        return ranges

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

    def _read_open_documents(
        self, client: IntacctClient, what: ObjectSettings, schema: ObjectSchema
    ) -> None:
        if not self._reading.open_documents or not has_open_documents(schema):
            return
        with self._spool("open", what.name, client.entity_id or "", self._run_id) as folder:
            changed = find_changed(
                client,
                self._warehouse,
                what.name,
                schema,
                into=folder / "due",
                page_size=self._page_size,
            )
            self._fetch(client, what, schema, changed, folder / "changed")

    def _with_look_back(self, days: Sequence[date]) -> list[date]:
        wanted = set(days)
        for each in ranges_of_days(days):
            for back in range(1, self._reading.look_back_days + 1):
                if (day := each[0] - timedelta(days=back)) >= self._start_date:
                    wanted.add(day)
        return sorted(wanted)

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
                self._loader.know_entities()
                others, client_of = self._others(entity), self._intacct.entity
                kept = not_gone(client, self._warehouse, load, others=others, client_of=client_of)
                load = replace(load, kept=kept)
            seconds_reading = time.monotonic() - started
            rows_by_day, seconds_loading = self._loader.load(load)
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

    def _takes_older(self, what: ObjectSettings, days: Sequence[date]) -> bool:
        return what.takes_older and days[0] <= self._start_date

    def _until(self, what: ObjectSettings, entity: str, days: Sequence[date]) -> datetime:
        """Return up to when a range of days is read: to its end, or to what has settled.

        A range with the newest day that is over is read on to what has settled, so that all objects
        of the entity are known as of one moment.
        """
        since, end = midnight(days[0]), midnight(days[-1] + timedelta(days=1))
        settled = self._bound(entity, since)
        if since >= settled:
            raise RequestRefused(
                f"{what.name} of entity {entity}: nothing of {days[0]} can be read before "
                f"{since + timedelta(seconds=self._reading.settle_seconds + 1)}.",
                entity=entity,
                object=what.name,
                remedy=(
                    f"{self._clock.describe()} Run it again after that: changes are read when they "
                    "have settled."
                ).lstrip(),
            )
        return settled if settled < end or self._is_newest(days[-1]) else end

    def _is_newest(self, day: date) -> bool:
        """Return whether a day is the last one that is over, and not the last one there is."""
        if self._end_date is not None and day >= self._end_date:
            return False
        end = midnight(day + timedelta(days=1))
        return self._settled(self._now()) - end < timedelta(days=1)

    def _window(
        self, what: ObjectSettings, schema: ObjectSchema, days: Sequence[date], until: datetime
    ) -> ChangeWindow | None:
        """Return the change times of the days, up to `until`; None where it is read whole."""
        if not schema.dated and schema.parent is None:
            return None
        older = self._takes_older(what, days)
        undated = not older and days[0] <= self._start_date and schema.parent is None
        return ChangeWindow(None if older else midnight(days[0]), until, undated)
