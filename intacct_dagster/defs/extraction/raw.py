"""Raw assets: each object as Intacct answered, by entity and day of change."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, NoReturn

import dagster as dg

from intacct_dagster.client import AccessDenied, AuthenticationRefused, IntacctError, Usage
from intacct_dagster.config import ObjectSettings, Settings
from intacct_dagster.defs.extraction.progress import SECONDS, Progress
from intacct_dagster.defs.failures import in_words, is_weather, retry_run
from intacct_dagster.defs.partitions import (
    days_by_entity,
    entity_days,
    partition_key,
    tell_partitions,
    told_last,
)
from intacct_dagster.defs.resources import POOL, IntacctResource, WarehouseResource, leave_pool
from intacct_dagster.defs.source_code import made_by
from intacct_dagster.defs.tables import column_schema, relation, spent, table_rows
from intacct_dagster.extraction.extract import Extracted, Extractor
from intacct_dagster.state import StateError
from intacct_dagster.warehouse import WarehouseError
from intacct_dagster.warehouse.raw import RAW_COLUMNS, PageArchive, table_name

GROUP = "raw"
SAGE_INTACCT = dg.AssetKey("sage_intacct")


def raw_key(object: str) -> dg.AssetKey:
    """The raw asset of an object: the key is the table's schema and name."""
    return dg.AssetKey(["raw", table_name(object)])


def sage_intacct(settings: Settings) -> dg.AssetSpec:
    """The company itself, so that lineage begins where the data does."""
    return dg.AssetSpec(
        SAGE_INTACCT,
        description=f"The Sage Intacct company {settings.company} at {settings.base_url}.",
        kinds={"intacct"},
        group_name="intacct",
        metadata=made_by(sage_intacct),
    )


def raw_assets(settings: Settings) -> dg.AssetsDefinition:
    """One op that reads all objects of an entity, several at a time, into their raw tables.

    It is one op because objects of an entity share a session and the company's limit of requests
    in flight; each object is an asset of its own all the same.
    """
    partitions = entity_days(settings)
    objects = {raw_key(each.name): each for each in settings.objects}

    @dg.multi_asset(
        name="extract",
        specs=[_spec(settings, key, each) for key, each in objects.items()],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
        pool=POOL,
    )
    def extract(
        context: dg.AssetExecutionContext, intacct: IntacctResource, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        extractor = extractor_of(
            settings, intacct, warehouse, context.run.run_id, attempts=attempts_before(context.run)
        )
        selected = [key for key in objects if key in context.selected_asset_keys]
        landed = {key: _Landed() for key in selected}
        failures: list[Exception] = []
        asked = dict(days_by_entity(context.partition_keys))
        for entity in list(asked):
            try:
                extractor.prepare([objects[key] for key in selected], entity)
            except (AuthenticationRefused, AccessDenied) as refused:
                failures.append(refused)  # of this entity; the others go on
                del asked[entity]
            except (IntacctError, StateError, WarehouseError) as refused:
                _fail(context, settings, landed, [refused])
            else:
                break
        progress = Progress(context, len(asked) * len(selected), sum(map(len, asked.values())))
        for entity, days in asked.items():
            # More threads than requests may be in flight: while some load, others read.
            with ThreadPoolExecutor(max_workers=2 * settings.limits.concurrency) as pool:
                names = {key: f"{entity} {objects[key].name}" for key in selected}
                futures = {
                    key: pool.submit(
                        extractor.extract, objects[key], entity, days, on_progress=progress.of(name)
                    )
                    for key, name in names.items()
                }
                name_of = {future: names[key] for key, future in futures.items()}
                going = set(name_of)
                while going:  # ends: every walk is bounded
                    over, going = wait(going, SECONDS, FIRST_COMPLETED)
                    for future in over:
                        progress.one_more(name_of[future])
                    progress.look()
            lines = []
            for key, future in futures.items():
                error = future.exception()
                if isinstance(error, IntacctError | StateError | WarehouseError):
                    failures.append(error)
                elif error is not None:
                    raise error
                else:
                    landed[key].add(future.result())
                    lines.append(_told(future.result(), days))
            if lines:
                context.log.info("\n".join(lines))  # one event: each is a write of its own
        leave_pool(context)
        if failures:
            _fail(context, settings, landed, failures)
        last = told_last(context)
        rows_of = table_rows(settings, warehouse, landed)
        for key, each in landed.items():
            tell_partitions(context, key, dict(each.by_partition(last, rows_of[key])))
            yield dg.MaterializeResult(asset_key=key)

    return extract


def extractor_of(
    settings: Settings,
    intacct: IntacctResource,
    warehouse: WarehouseResource,
    run_id: str,
    *,
    attempts: Collection[str] = (),
) -> Extractor:
    """The extractor of a run, as the settings have it."""
    days = settings.keep_pages
    kept = PageArchive(settings.pages, timedelta(days=days)) if days is not None else None
    return Extractor(
        intacct.intacct,
        warehouse.warehouse,
        start_date=settings.start_date,
        run_id=run_id,
        attempts=attempts,
        page_size=settings.limits.page_size,
        reading=settings.reading,
        allowance=warehouse.allowance(settings.company),
        page_archive=kept,
    )


def attempts_before(run: dg.DagsterRun) -> set[str]:
    """The runs that this one goes on from, where it is a retry from where they failed.

    One that a person launches to do all of it once more is not.
    """
    if run.tags.get("dagster/is_resume_retry") != "true":
        return set()
    return {each for each in (run.root_run_id, run.parent_run_id) if each is not None}


def _spec(settings: Settings, key: dg.AssetKey, each: ObjectSettings) -> dg.AssetSpec:
    older = (
        f" The first partition ({settings.start_date}) also holds what was last changed before it."
        if each.takes_older
        else ""
    )
    return dg.AssetSpec(
        key,
        deps=[SAGE_INTACCT],
        group_name=GROUP,
        kinds={"intacct", "duckdb"},
        description=(
            f"`{each.name}` as Intacct answered: one row for each record that the entity last "
            f"changed on that UTC day.{older}"
        ),
        metadata=relation(settings, key),
    )


@dataclass
class _Landed:
    """What has landed of one object, over the entities of a run."""

    rows: dict[str, Mapping[date, int]] = field(default_factory=dict)
    done: list[Extracted] = field(default_factory=list)

    def add(self, each: Extracted) -> None:
        self.rows[each.entity] = each.rows_by_day
        self.done.append(each)

    @property
    def _usage(self) -> Usage:
        return sum((each.usage for each in self.done), Usage())

    @property
    def _shared(self) -> str:
        """What `api_transactions_of_partition` is."""
        if all(len(each.rows_by_day) == 1 for each in self.done):
            return "its own: one walk read it alone"
        return "its share, by rows, of the walk that read the days of its entity together"

    def _unusual(self) -> dict[str, dg.MetadataValue]:
        """What a reader should know, and mostly need not."""
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
            **{
                name: dg.MetadataValue.text(", ".join(paths))
                for name, paths in fields.items()
                if paths
            },
        }

    def by_partition(
        self, last: str, of_table: Mapping[str, Any] | None = None
    ) -> Iterator[tuple[dg.MultiPartitionKey, dict[str, Any]]]:
        """What is told of each partition. `last` also has what is told of all of them together, of
        the table, and its columns.

        Dagster shows the asset with its latest event. With all of it in each, a backfill's history
        was several times as large, and what a walk cost stood in every one of its days as if each
        had cost that.
        """
        unusual = self._unusual()
        for each in self.done:
            proof = dg.MetadataValue.text(_proof(each))
            for day, count in each.rows_by_day.items():
                key = partition_key(each.entity, day)
                told: dict[str, Any] = {
                    "dagster/partition_row_count": count,
                    "api_transactions_of_partition": _share(each, day),
                    "proof": proof,
                    **unusual,
                }
                if key == last:
                    told |= {
                        **self._together(),
                        **(of_table or {}),
                        "dagster/column_schema": column_schema(
                            [*self.done[-1].columns, *RAW_COLUMNS]
                        ),
                    }
                yield key, told

    def _together(self) -> dict[str, dg.MetadataValue]:
        """What is told of all these partitions together: their days are one walk."""
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


def _proof(done: Extracted) -> str:
    return f"{done.entity}: {done.distinct_keys} distinct keys read, as Intacct counts"


def _share(done: Extracted, day: date) -> float:
    """What of the cost of a walk falls to one of its days: by rows, or alike if there were none."""
    part = done.rows_by_day[day] / done.rows if done.rows else 1 / len(done.rows_by_day)
    return round(done.usage.transactions * part, 3)


def _told(done: Extracted, days: list[date]) -> str:
    return (
        f"{done.entity} {done.object}: {done.rows:,} rows of {len(days)} days in "
        f"{done.usage.requests} requests, {done.seconds_reading:.2f} s to read, "
        f"{done.seconds_loading:.2f} s to load"
    )


def _fail(
    context: dg.AssetExecutionContext,
    settings: Settings,
    landed: Mapping[dg.AssetKey, _Landed],
    failures: Sequence[Exception],
) -> NoReturn:
    """Reports what has landed as materialized, then fails with what has not.

    Otherwise the UI would show days as missing that are whole in the warehouse.
    """
    for key, each in landed.items():
        if not each.rows:
            continue
        entity, rows = list(each.rows.items())[-1]
        for partition, metadata in each.by_partition(partition_key(entity, list(rows)[-1])):
            context.log_event(dg.AssetMaterialization(key, partition=partition, metadata=metadata))
    told = dict.fromkeys(in_words(each, settings) for each in failures)
    if all(map(is_weather, failures)):
        retry_run()
    raise dg.Failure("\n".join(told), metadata={"failed": len(failures)})
