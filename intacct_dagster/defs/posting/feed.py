"""Feed assets: the documents that a source system says should be in Intacct."""

from collections.abc import Iterator, Mapping

import dagster as dg

from intacct_dagster.config import Feed, Settings
from intacct_dagster.defs.failures import plainly
from intacct_dagster.defs.partitions import (
    days_by_entity,
    entity_days,
    partition_key,
    partitions_of,
    tell_partitions,
)
from intacct_dagster.defs.resources import WarehouseResource
from intacct_dagster.defs.tables import SHOWN_ROWS, relation, table_of, table_rows
from intacct_dagster.warehouse.feeds import (
    FeedFolder,
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


def feed_key(feed: str) -> dg.AssetKey:
    """The asset of a feed: its good lines, in the table `feed.<feed>`."""
    return dg.AssetKey(["feed", feed])


def folder_of(settings: Settings, name: str, feed: Feed) -> FeedFolder:
    """Where the feed's files lie."""
    return FeedFolder(feed.spec(name), settings.directory, settings.inbox)


def feed_asset(settings: Settings, name: str, feed: Feed) -> dg.AssetsDefinition:
    """Reads a feed's files into the partitions of a run; what is malformed goes to quarantine."""
    key = feed_key(name)
    entities = set(settings.users)

    @dg.asset(
        key=key,
        deps=_waits_for(settings, name, feed),
        partitions_def=entity_days(settings),
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=GROUP,
        kinds={_kind(feed), "duckdb"},
        description=(
            f"`{name}`: lines of {feed.source}, typed, by entity and {feed.date}. "
            "Malformed lines are in `feed.quarantine` with file, line and reason."
        ),
        metadata=relation(settings, key),
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
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        brought, folder = plainly(settings, folder_of(settings, name, feed).fetch)
        done = plainly(
            settings,
            read_feed,
            warehouse.warehouse,
            brought,
            partitions_of(days_by_entity(context.partition_keys)),
            entities,
            folder,
            context.run.run_id,
        )
        bad = plainly(settings, quarantined_lines, warehouse.warehouse, name, limit=SHOWN_ROWS)
        tell_partitions(
            context,
            key,
            {
                partition_key(entity, day): {"dagster/partition_row_count": rows}
                for (entity, day), rows in done.rows.items()
            },
        )
        count = sum(done.quarantined.values())
        yield dg.MaterializeResult(
            metadata={
                **table_rows(settings, warehouse, [key])[key],
                "files": len(done.files),
                "lines_of_other_partitions": sum(done.elsewhere.values()),
                "lines_in_quarantine": count,
                "documents_invalid": done.invalid,
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name=NO_BAD_LINE,
                    passed=count == 0,
                    severity=dg.AssetCheckSeverity.WARN,
                    description=_quarantined(done.quarantined, len(done.files)),
                    metadata={
                        "lines_in_quarantine": count,
                        **({"lines": table_of(bad, _QUARANTINE)} if count else {}),
                    },
                )
            ],
        )

    return read


def _waits_for(settings: Settings, name: str, feed: Feed) -> list[dg.AssetKey]:
    """What has to be there before: the feeds that it comes after, and what its query reads."""
    objects = {table_name(each.name) for each in settings.objects}
    others = settings.feeds.keys() - {name}
    assets = {(schema, table) for schema in ("raw", "intacct") for table in objects}
    assets |= {(schema, table) for schema in _SCHEMAS for table in others}
    named = [] if feed.sql is None else tables_of(feed.sql)
    read = [(schema, table) for _, schema, table in named if (schema, table) in assets]
    posted = [("posting", other) for other in feed.after]
    return [dg.AssetKey(each) for each in dict.fromkeys([*posted, *read])]


def _kind(feed: Feed) -> str:
    if feed.sql is not None:
        return "sql"
    parquet = all(pattern.lower().endswith(".parquet") for pattern in feed.files)
    return "parquet" if parquet else "csv"


def _quarantined(by_kind: Mapping[str, int], files: int) -> str:
    if not by_kind:
        return f"Every line of {files} files was read."
    kinds = "; ".join(f"{count} {kind}" for kind, count in by_kind.items())
    return (
        f"{sum(by_kind.values())} lines of {files} files are in quarantine ({kinds}). Their "
        "documents are not posted. Correct the files and run the partitions again."
    )
