"""Feed assets: the documents that a source system says should be in Intacct."""

from collections.abc import Iterable, Iterator, Mapping

import dagster as dg

from intacct_dagster.config import Feed, Settings
from intacct_dagster.defs.failures import as_dagster_failure
from intacct_dagster.defs.partitions import (
    days_by_entity,
    entity_days,
    partition_key,
    partitions_of,
    tell_partitions,
)
from intacct_dagster.defs.resources import warehouse_in
from intacct_dagster.defs.tables import SHOWN_ROWS, relation, table_of, table_rows
from intacct_dagster.naming import Names
from intacct_dagster.warehouse import Partition, Warehouse
from intacct_dagster.warehouse.feeds import (
    FeedFolder,
    FeedResult,
    quarantined_lines,
    read_feed,
    tables_of,
)
from intacct_dagster.warehouse.raw import table_name

GROUP = "feeds"
NO_BAD_LINE = "no_line_in_quarantine"

#: The schemas in which every feed has a table.
_SCHEMAS = ("feed", "reconciled", "posting", "crosswalk")

_QUARANTINE = {"file": "string", "line": "int", "reason": "string", "source_id": "string"}


def folder_of(settings: Settings, name: str, feed: Feed) -> FeedFolder:
    """Return the folder of the feed's files."""
    return FeedFolder(feed.spec(name), settings.directory, settings.inbox)


def feed_asset(settings: Settings, name: str, feed: Feed) -> dg.AssetsDefinition:
    """Build the asset that reads a feed's files; malformed lines go to the quarantine."""
    names = Names.of(settings)
    key = names.feed(name)

    @dg.asset(
        key=key,
        deps=_upstream(settings, name, feed),
        partitions_def=entity_days(settings),
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=names.group(GROUP),
        kinds={_kind(feed), "duckdb"},
        description=(
            f"`{name}`: lines of {feed.source}, typed, by entity and {feed.date}. "
            "Malformed lines are in `feed.quarantine` with file, line and reason."
        ),
        metadata=relation(settings, key),
        required_resource_keys={names.warehouse},
        check_specs=[
            # Not partitioned: a line without a readable entity or date belongs to no partition.
            dg.AssetCheckSpec(
                NO_BAD_LINE,
                asset=key,
                description="Every line of the feed could be read.",
            )
        ],
    )
    def read(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None]]:
        warehouse = warehouse_in(context, settings)
        done = as_dagster_failure(
            settings,
            _read_feed,
            settings,
            name,
            warehouse.warehouse,
            partitions_of(days_by_entity(context.partition_keys)),
            context.run.run_id,
        )
        bad = as_dagster_failure(
            settings, quarantined_lines, warehouse.warehouse, name, limit=SHOWN_ROWS
        )
        tell_partitions(
            context,
            key,
            {
                partition_key(*partition): {"dagster/partition_row_count": rows}
                for partition, rows in done.rows.items()
            },
        )
        yield dg.MaterializeResult(
            metadata={
                **table_rows(settings, warehouse, [key])[key],
                "files": len(done.files),
                "lines_of_other_partitions": sum(done.elsewhere.values()),
                "lines_in_quarantine": sum(done.quarantined.values()),
                "documents_invalid": done.invalid,
            },
            check_results=[_check_quarantine(feed, done.quarantined, len(done.files), bad)],
        )

    return read


def _read_feed(
    settings: Settings,
    name: str,
    warehouse: Warehouse,
    partitions: set[Partition],
    run_id: str,
) -> FeedResult:
    spec, folder = folder_of(settings, name, settings.feeds[name]).fetch()
    return read_feed(warehouse, spec, partitions, set(settings.users), folder, run_id)


def _upstream(settings: Settings, name: str, feed: Feed) -> list[dg.AssetKey]:
    """Return the assets that a feed depends on: by its `after`, and by what its query reads."""
    objects = {table_name(each.name) for each in settings.objects}
    others = settings.feeds.keys() - {name}
    assets = {(schema, table) for schema in ("raw", "intacct") for table in objects}
    assets |= {(schema, table) for schema in _SCHEMAS for table in others}
    named = [] if feed.sql is None else tables_of(feed.sql)
    read = [(schema, table) for _, schema, table in named if (schema, table) in assets]
    posted = [("posting", other) for other in feed.after]
    names = Names.of(settings)
    return [names.table(*each) for each in dict.fromkeys([*posted, *read])]


def _kind(feed: Feed) -> str:
    if feed.sql is not None:
        return "sql"
    parquet = all(pattern.lower().endswith(".parquet") for pattern in feed.files)
    return "parquet" if parquet else "csv"


def _check_quarantine(
    feed: Feed, by_kind: Mapping[str, int], files: int, lines: Iterable[Mapping[str, object]]
) -> dg.AssetCheckResult:
    """Return the result of the check of a feed.

    Args:
        by_kind: How many lines are in quarantine, by the kind of fault.
        lines: Some of them, for the table.
    """
    count = sum(by_kind.values())
    nothing = not files and feed.sql is None
    kinds = "; ".join(f"{number} {kind}" for kind, number in by_kind.items())
    return dg.AssetCheckResult(
        check_name=NO_BAD_LINE,
        passed=count == 0 and not nothing,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"{count} lines of {files} files are in quarantine ({kinds}). Their documents are not "
            "posted. Correct the files and run the partitions again."
            if by_kind
            else f"Nothing was judged: no file is there, of {', '.join(feed.files)}."
            if nothing
            else f"Every line of {files} files was read."
        ),
        metadata={
            "lines_in_quarantine": count,
            **({"lines": table_of(lines, _QUARANTINE)} if count else {}),
        },
    )
