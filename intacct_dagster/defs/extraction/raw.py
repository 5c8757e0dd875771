"""Raw assets: each object as Intacct answered, by entity and day of change."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import dagster as dg

from intacct_dagster.client import (
    AccessDenied,
    AuthenticationRefused,
    IntacctError,
    Usage,
    WrongEntity,
)
from intacct_dagster.config import ObjectSettings, Settings
from intacct_dagster.defs.extraction.failed_parts import FailedPart, fail, log_defect
from intacct_dagster.defs.extraction.progress import SECONDS, Progress, ReadStopped
from intacct_dagster.defs.partitions import (
    days_by_entity,
    entity_days,
    last_reported,
    partition_key,
    tell_partitions,
)
from intacct_dagster.defs.resources import (
    IntacctResource,
    WarehouseResource,
    intacct_in,
    warehouse_in,
)
from intacct_dagster.defs.source_code import made_by
from intacct_dagster.defs.tables import column_schema, relation, spent, table_rows
from intacct_dagster.extraction.extract import Extractor
from intacct_dagster.extraction.extracted import Extracted
from intacct_dagster.locks import LockError
from intacct_dagster.naming import Names
from intacct_dagster.state import StateError
from intacct_dagster.warehouse import WarehouseError
from intacct_dagster.warehouse.raw import RAW_COLUMNS, PageArchive

GROUP = "raw"
#: What the user of one entity may not, and that of another perhaps may.
_OF_THE_USER = (AccessDenied, WrongEntity)


def sage_intacct(settings: Settings) -> dg.AssetSpec:
    """Return the asset that stands for the company, where lineage begins."""
    names = Names.of(settings)
    return dg.AssetSpec(
        names.sage_intacct,
        description=f"The Sage Intacct company {settings.company} at {settings.base_url}.",
        kinds={"intacct"},
        group_name=names.group("intacct"),
        metadata=made_by(sage_intacct),
    )


def raw_assets(settings: Settings) -> dg.AssetsDefinition:
    """Build the op that reads all objects of an entity, several at a time, into their raw tables.

    It is one op because the objects of an entity share a session and the company's limit of
    requests in flight. Each object is an asset of its own all the same.
    """
    names = Names.of(settings)
    objects = {names.raw(each.name): each for each in settings.objects}

    @dg.multi_asset(
        name=names.extract,
        specs=[_spec(settings, key, each) for key, each in objects.items()],
        partitions_def=entity_days(settings),
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
        pool=names.pool,
        required_resource_keys={names.intacct, names.warehouse},
    )
    def extract(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        intacct, warehouse = intacct_in(context, settings), warehouse_in(context, settings)
        extractor = extractor_of(
            settings, intacct, warehouse, context.run.run_id, attempts=attempts_before(context.run)
        )
        selected = {
            key: each for key, each in objects.items() if key in context.selected_asset_keys
        }
        run = _ExtractionRun(context, settings, warehouse, extractor, selected)
        try:
            _extract(run)
            if extractor.clock.skew is not None:
                context.log.warning(extractor.clock.describe())
            if run.failed:
                fail(settings, run.failed, run.done, "reads")
            last = last_reported(context)
            rows_of = table_rows(settings, warehouse, run.landed)
            for key in list(run.landed):
                metadata = dict(run.landed[key].by_partition(last, rows_of[key]))
                tell_partitions(context, key, metadata)
                del run.landed[key]  # it is reported from here on
                yield dg.MaterializeResult(asset_key=key)
        except BaseException:  # also where the run is cancelled, or this code has a defect
            _report_landed(run)
            raise

    return extract


def extractor_of(
    settings: Settings,
    intacct: IntacctResource,
    warehouse: WarehouseResource,
    run_id: str,
    *,
    attempts: Collection[str] = (),
) -> Extractor:
    """Return an extractor that is configured as the settings say.

    Args:
        attempts: The ids of earlier runs that this one resumes: what they loaded is not read again.
    """
    days = settings.page_retention_days
    archive = PageArchive(settings.pages, timedelta(days=days)) if days is not None else None
    return Extractor(
        intacct.intacct,
        warehouse.warehouse,
        start_date=settings.start_date,
        run_id=run_id,
        attempts=attempts,
        page_size=settings.limits.page_size,
        reading=settings.reading,
        api_usage=warehouse.api_usage(settings.company),
        page_archive=archive,
        entities=settings.active,
        renamed={each.was: each.id for each in settings.entities if each.was is not None},
        end_date=settings.end_date,
    )


def attempts_before(run: dg.DagsterRun) -> set[str]:
    """Return the ids of the runs that a run resumes, if it is a retry from where they failed.

    A run that a person launches to do everything again resumes none.
    """
    if run.tags.get("dagster/is_resume_retry") != "true":
        return set()
    return {each for each in (run.root_run_id, run.parent_run_id) if each is not None}


def _spec(settings: Settings, key: dg.AssetKey, each: ObjectSettings) -> dg.AssetSpec:
    names = Names.of(settings)
    older = (
        f" The first partition ({settings.start_date}) also holds what was last changed before it."
        if each.takes_older
        else ""
    )
    return dg.AssetSpec(
        key,
        deps=[names.sage_intacct],
        group_name=names.group(GROUP),
        kinds={"intacct", "duckdb"},
        description=(
            f"`{each.name}` as Intacct answered: one row for each record that the entity last "
            f"changed on that UTC day.{older}"
        ),
        metadata=relation(settings, key),
    )


@dataclass
class _Landed:
    """What was loaded of one object, over the entities of a run."""

    rows: dict[str, Mapping[date, int]] = field(default_factory=dict)
    done: list[Extracted] = field(default_factory=list)
    clock_skew: timedelta | None = None

    def add(self, each: Extracted) -> None:
        self.rows[each.entity] = each.rows_by_day
        self.done.append(each)

    @property
    def _usage(self) -> Usage:
        return sum((each.usage for each in self.done), Usage())

    @property
    def _shared(self) -> str:
        """Describe what `api_transactions_of_partition` counts."""
        if all(len(each.rows_by_day) == 1 for each in self.done):
            return "its own: one walk read it alone"
        return "its share, by rows, of the walk that read the days of its entity together"

    def _unusual(self) -> dict[str, dg.MetadataValue]:
        """Return metadata of what happens rarely and a reader should know."""
        open_until = [each.read_until for each in self.done if each.read_until is not None]
        schema = self.done[-1].schema
        left = sum(each.left for each in self.done)
        fields = {
            "fields_new": schema.new,
            "fields_vanished": schema.vanished,
            "fields_no_query_gives": schema.unreadable,
        }
        return {
            **(
                {"not_over_read_until": dg.MetadataValue.text(min(open_until).isoformat())}
                if open_until
                else {}
            ),
            **({"rows_changed_while_read": dg.MetadataValue.int(left)} if left else {}),
            **(
                {"seconds_our_clock_is_ahead": dg.MetadataValue.int(_seconds(self.clock_skew))}
                if self.clock_skew is not None
                else {}
            ),
            **{
                name: dg.MetadataValue.text(", ".join(paths))
                for name, paths in fields.items()
                if paths
            },
        }

    def by_partition(
        self, last: str, of_table: Mapping[str, Any] | None = None
    ) -> Iterator[tuple[dg.MultiPartitionKey, dict[str, Any]]]:
        """Yield the metadata of each partition.

        The partition `last` also has the metadata of the run as a whole, of the table and of its
        columns: Dagster shows an asset with its latest event. The other events leave it out,
        because the history of a backfill grows with each of them.
        """
        unusual = self._unusual()
        for each in self.done:
            proof = dg.MetadataValue.text(_proof(each))
            for day, count in each.rows_by_day.items():
                key = partition_key(each.entity, day)
                metadata: dict[str, Any] = {
                    "dagster/partition_row_count": count,
                    "api_transactions_of_partition": _share(each, day),
                    "proof": proof,
                    **unusual,
                }
                if key == last:
                    metadata |= {
                        **self._together(),
                        **(of_table or {}),
                        "dagster/column_schema": column_schema(
                            [*self.done[-1].columns, *RAW_COLUMNS]
                        ),
                    }
                yield key, metadata

    def _together(self) -> dict[str, dg.MetadataValue]:
        """Return the metadata of all partitions together: their days were read as one range."""
        return {
            "rows_read": dg.MetadataValue.int(sum(each.rows for each in self.done)),
            "partitions": dg.MetadataValue.int(sum(len(rows) for rows in self.rows.values())),
            **spent(self._usage),
            "cost_of_a_partition": dg.MetadataValue.text(self._shared),
            "read_by": dg.MetadataValue.text(self.done[-1].schema.read_by),
            "rows_looked_back": dg.MetadataValue.int(sum(e.looked_back for e in self.done)),
            "seconds_reading": dg.MetadataValue.float(
                round(sum(each.seconds_reading for each in self.done), 3)
            ),
            "seconds_warehouse_held": dg.MetadataValue.float(
                round(sum(each.seconds_loading for each in self.done), 3)
            ),
            "proof": dg.MetadataValue.text("; ".join(map(_proof, self.done))),
        }


@dataclass
class _ExtractionRun:
    """A run that reads objects: what it reads, what was loaded, and what failed."""

    context: dg.AssetExecutionContext
    settings: Settings
    warehouse: WarehouseResource
    extractor: Extractor
    objects: Mapping[dg.AssetKey, ObjectSettings]
    failed: list[FailedPart] = field(default_factory=list)
    landed: dict[dg.AssetKey, _Landed] = field(init=False)

    def __post_init__(self) -> None:
        self.landed = {key: _Landed() for key in self.objects}

    @property
    def done(self) -> list[str]:
        """What was loaded, each as "entity object"."""
        return [
            f"{each.entity} {each.object}"
            for landed in self.landed.values()
            for each in landed.done
        ]

    def fails(self, error: Exception, entity: str, objects: Iterable[ObjectSettings]) -> None:
        """Note that these objects of an entity (empty: of all) cannot be read."""
        part = FailedPart("read", tuple(each.name for each in objects), entity, error)
        log_defect(self.context.log, part)
        self.failed.append(part)


def _extract(run: _ExtractionRun) -> None:
    """Read the objects, entity by entity. An object or an entity that fails does so alone."""
    days_of, objects = _prepare(run, days_by_entity(run.context.partition_keys))
    parts = len(days_of) * len(objects)
    progress = Progress(run.context, parts, sum(map(len, days_of.values())))
    for entity, days in days_of.items():
        try:
            with run.warehouse.reading(run.settings.company, entity, run.context.log.info):
                _extract_entity(run, objects, entity, days, progress)
        except Exception as error:  # such as another run that holds this entity; the others go on
            run.fails(error, entity, objects.values())


def _prepare(
    run: _ExtractionRun, days_of: Mapping[str, list[date]]
) -> tuple[Mapping[str, list[date]], Mapping[dg.AssetKey, ObjectSettings]]:
    """Learn the fields of each object from the first entity whose user may ask for them.

    Returns:
        The days by entity, without the entities that Intacct refused, and the objects, without
        those that cannot be read from any entity.
    """
    asked = dict(days_of)
    objects = {each.name: (key, each) for key, each in run.objects.items()}
    wanted = dict(objects)
    for entity in days_of:
        if not wanted:
            break
        try:
            amiss = run.extractor.prepare([each for _, each in wanted.values()], entity)
        except (AuthenticationRefused, *_OF_THE_USER) as error:
            run.fails(error, entity, run.objects.values())
            del asked[entity]
            continue
        except (IntacctError, LockError, StateError, WarehouseError) as error:
            # It concerns whatever is asked next as well: nothing can be read now.
            run.failed.clear()
            run.fails(error, "", run.objects.values())
            return {}, {}
        except Exception as error:  # a defect of ours: the other entities are read all the same
            run.fails(error, entity, run.objects.values())
            del asked[entity]
            continue
        denied = {name for name, error in amiss.items() if isinstance(error, _OF_THE_USER)}
        if len(denied) == len(run.objects):
            run.fails(amiss[min(denied)], entity, run.objects.values())
            del asked[entity]
            continue
        for name in amiss.keys() - denied:
            _, what = objects.pop(name)
            run.fails(amiss[name], "", [what])
        wanted = {name: each for name, each in wanted.items() if name in denied}
    # What was denied to every user is asked for again, and so reported of each entity.
    return asked, dict(objects.values())


def _extract_entity(
    run: _ExtractionRun,
    objects: Mapping[dg.AssetKey, ObjectSettings],
    entity: str,
    days: list[date],
    progress: Progress,
) -> None:
    """Read the objects of an entity, several at a time."""
    names = {key: f"{entity} {each.name}" for key, each in objects.items()}
    futures: dict[dg.AssetKey, Future[Extracted]] = {}
    # More threads than requests may be in flight: while some load, others read.
    pool = ThreadPoolExecutor(max_workers=2 * run.settings.limits.concurrency)
    try:
        for key, each in objects.items():
            futures[key] = pool.submit(
                run.extractor.extract, each, entity, days, on_progress=progress.of(names[key])
            )
        _await({future: names[key] for key, future in futures.items()}, progress)
    except (
        BaseException
    ):  # cancelled: reads end at their next page, which the next run goes on from
        progress.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        _take(run, entity, days, futures)


def _take(
    run: _ExtractionRun,
    entity: str,
    days: Sequence[date],
    futures: Mapping[dg.AssetKey, Future[Extracted]],
) -> None:
    """Note what the reads of an entity loaded, and which of them failed."""
    lines = []
    for key, future in futures.items():
        if future.cancelled():
            continue
        error = future.exception()
        if error is None:
            run.landed[key].add(future.result())
            run.landed[key].clock_skew = run.extractor.clock.skew
            lines.append(_describe(future.result(), days))
        elif isinstance(error, Exception) and not isinstance(error, ReadStopped):
            run.fails(error, entity, [run.objects[key]])
    if lines:
        run.context.log.info("\n".join(lines))  # one event: each is a write to Dagster's storage


def _await(names: Mapping[Future[Extracted], str], progress: Progress) -> None:
    """Wait for all reads and report the progress. It ends because each read is bounded."""
    going = set(names)
    while going:
        over, going = wait(going, SECONDS, FIRST_COMPLETED)
        for future in over:
            progress.one_more(names[future])
        progress.look()


def _seconds(skew: timedelta) -> int:
    return round(skew.total_seconds())


def _proof(done: Extracted) -> str:
    return f"{done.entity}: {done.distinct_keys} distinct keys read, as Intacct counts"


def _share(done: Extracted, day: date) -> float:
    """Return a day's share of the cost of its range: by rows, or equal shares if it has no rows."""
    part = done.rows_by_day[day] / done.rows if done.rows else 1 / len(done.rows_by_day)
    return round(done.usage.transactions * part, 3)


def _describe(done: Extracted, days: Sequence[date]) -> str:
    return (
        f"{done.entity} {done.object}: {done.rows:,} rows of {len(days)} days in "
        f"{done.usage.requests} requests, {done.seconds_reading:.2f} s to read, "
        f"{done.seconds_loading:.2f} s to load"
    )


def _report_landed(run: _ExtractionRun) -> None:
    """Report what was loaded as materialized, of a run that does not come to its end.

    Otherwise the UI would show days as missing that are complete in the warehouse.
    """
    for key, each in run.landed.items():
        if not each.rows:
            continue
        entity, rows = list(each.rows.items())[-1]
        for partition, metadata in each.by_partition(partition_key(entity, list(rows)[-1])):
            run.context.log_event(
                dg.AssetMaterialization(key, partition=partition, metadata=metadata)
            )
