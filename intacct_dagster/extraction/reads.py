"""What every read of a company needs: sessions, schemas, clocks, folders for pages, and costs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from intacct_dagster.client import (
    Intacct,
    IntacctClient,
    RequestRefused,
)
from intacct_dagster.config import ObjectSettings, Reading
from intacct_dagster.extraction import spool as spools
from intacct_dagster.extraction.by_key import read_by_key
from intacct_dagster.extraction.clock import ComparedClock
from intacct_dagster.extraction.loading import Loader
from intacct_dagster.extraction.schema import CompanySchema, ObjectSchema
from intacct_dagster.state import ApiUsage
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import (
    PageArchive,
    RawLoad,
)

T = TypeVar("T")


class CompanyReads:
    """What reads of one company share. Safe to use from several threads at once.

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
        self._end_date = end_date
        self._now = now
        self._clock = ComparedClock(lambda: intacct.server_time)
        self._bounds: dict[str, datetime] = {}
        self._schemas = CompanySchema(warehouse, now)
        self._loader = Loader(warehouse, self._schemas, page_archive, self._entities, renamed or {})

    def prepare(self, objects: Sequence[ObjectSettings], entity: str) -> Mapping[str, Exception]:
        """Learn what the objects offer, before any data is read.

        Returns:
            By its name, why an object cannot be read, with all that is wrong with it. The others
            can be.

        Raises:
            IntacctError, LockError, StateError, WarehouseError: What concerns all of them.
        """
        client = self._intacct.entity(entity)
        with self._counted(client, "core/model"):
            amiss = self._schemas.learn_each(client, objects)
        if self._page_archive is not None:
            self._page_archive.prune()
        return amiss

    @property
    def clock(self) -> ComparedClock:
        """Our clock held against Intacct's, as far as the reads so far have shown."""
        return self._clock

    def _others(self, entity: str) -> list[str]:
        return [each for each in self._entities if each != entity]

    def _without_refused(
        self,
        client: IntacctClient,
        what: ObjectSettings,
        schema: ObjectSchema,
        read: Callable[[ObjectSchema], T],
    ) -> T:
        """Return what `read` returns, of the fields that the entity's user may ask for now."""
        for _ in range(len(schema.query_paths)):
            try:
                return read(schema)
            except RequestRefused as error:
                schema = self._schemas.without_refused(client, what, schema, error)
        return read(schema)

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

        def read(schema: ObjectSchema) -> RawLoad:
            # pages of other fields are of no use
            pages = into / str(len(schema.query_paths))
            pages.mkdir(parents=True, exist_ok=True)
            load_of, size = self._by_key(client, what, schema), self._page_size
            return read_by_key(
                load_of,
                client,
                self._warehouse,
                what.name,
                schema,
                keys,
                into=pages,
                page_size=size,
            )

        load = self._without_refused(client, what, schema, read)
        self._loader.load(load)
        return load.proof.distinct_keys

    def _by_key(
        self, client: IntacctClient, what: ObjectSettings, schema: ObjectSchema
    ) -> Callable[..., RawLoad]:
        """Return what makes a load of records that are asked for by name."""
        return partial(
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

    @property
    def _lag(self) -> timedelta:
        """How long after a change a reading may still show what was before."""
        reading = self._reading
        return timedelta(days=reading.look_back_days, seconds=reading.settle_seconds)

    def _settled(self, now: datetime) -> datetime:
        """Return up to when what changed shows by now."""
        settled = self._clock.earlier(now) - timedelta(seconds=self._reading.settle_seconds)
        return settled.replace(microsecond=0)

    def _bound(self, entity: str, since: datetime) -> datetime:
        """Return up to when an entity is read: one moment for all objects, later than `since`."""
        settled = self._bounds.get(entity)
        if settled is None or since >= settled:
            settled = self._bounds[entity] = self._settled(self._now())
        return settled

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
