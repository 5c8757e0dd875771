"""Metadata of all assets: owners, tags, columns, lineage, and links to their code."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from intacct_dagster.config import Feed, Settings
from intacct_dagster.defs.source_code import in_repository
from intacct_dagster.defs.tables import column_schema, lineage
from intacct_dagster.naming import Names
from intacct_dagster.warehouse import TableColumn
from intacct_dagster.warehouse.feeds import feed_columns, reconciled_sources
from intacct_dagster.warehouse.raw import TOMBSTONE_COLUMNS, table_name
from intacct_dagster.warehouse.reconciliation import (
    CROSSWALK_COLUMNS,
    OUTCOME_COLUMNS,
    PLAN_COLUMNS,
    RECONCILED_COLUMNS,
)
from intacct_dagster.warehouse.reporting import ANALYST_VIEWS

#: The tag that names the application of Intacct that an asset's object belongs to.
APPLICATION = "intacct/application"
#: The tag that names the feed that an asset is of.
FEED = "intacct/feed"

#: What the tables of every feed hold, and of which tables before them their columns are taken.
_COLUMNS: Mapping[str, tuple[Sequence[TableColumn], Sequence[str]]] = {
    "reconciled": (RECONCILED_COLUMNS, ()),
    "plan": (PLAN_COLUMNS, ("reconciled",)),
    "posting": (OUTCOME_COLUMNS, ("plan",)),
    "crosswalk": (CROSSWALK_COLUMNS, ("posting", "reconciled")),
}
#: The schemas in which every feed has a table.
_OF_FEEDS = frozenset({"feed", *_COLUMNS})
#: Columns that have the same name in both and are each table's own.
_NEW = frozenset({"run_id", "reason", "what_to_do", "field"})
#: Columns of a view under another name than in the tables of partitions.
_RENAMED = {"entity": "_entity", "day": "_day"}


def add_metadata(
    settings: Settings, assets: Iterable[dg.AssetsDefinition | dg.AssetSpec]
) -> Sequence[dg.AssetsDefinition | dg.AssetSpec]:
    """Return the assets with owners, tags to filter by, columns, lineage and source code links."""
    names = Names.of(settings)
    applications = {table_name(each.name): each.name.split("/")[0] for each in settings.objects}
    applications |= {each.name: each.needs[0].split("/")[0] for each in ANALYST_VIEWS if each.needs}
    objects = {table_name(each.name): each.name for each in settings.objects}

    def tags_of(key: dg.AssetKey) -> dict[str, str]:
        schema, last = names.table_of(key)
        if last in settings.feeds and schema in _OF_FEEDS:
            return {FEED: last, **names.tags}
        return names.tags | ({APPLICATION: applications[last]} if last in applications else {})

    def columns_of(key: dg.AssetKey) -> dict[str, Any]:
        schema, last = names.table_of(key)
        if schema == "deletes":
            return {
                "dagster/table_name": "meta.tombstones",
                "dagster/relation_identifier": f"{settings.warehouse.stem}.meta.tombstones",
                "dagster/column_schema": column_schema(TOMBSTONE_COLUMNS),
                "dagster/column_lineage": lineage({"key": [(names.raw(objects[last]), "key")]}),
            }
        if schema not in _OF_FEEDS:
            return {}
        feed = settings.feeds[last]
        if schema == "feed":
            return {"dagster/column_schema": column_schema(feed_columns(feed.spec(last)))}
        columns, above = _COLUMNS[schema]
        return {
            "dagster/column_schema": column_schema(columns),
            "dagster/column_lineage": (
                _from_both(names, last, feed)
                if schema == "reconciled"
                else _from(names, last, columns, above)
            ),
        }

    def with_metadata(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(
            owners=[*spec.owners, *settings.owners],
            tags={**spec.tags, **tags_of(spec.key)},
            metadata=in_repository({**columns_of(spec.key), **spec.metadata}, settings.source_code),
        )

    linked: Sequence[dg.AssetsDefinition | dg.AssetSpec] = dg.with_source_code_references(  # type: ignore[assignment]
        list(assets)
    )
    return dg.map_asset_specs(with_metadata, linked)


def _from_both(names: Names, name: str, feed: Feed) -> dg.MetadataValue[Any]:
    """Return the lineage of a reconciliation: columns of the feed and of Intacct."""
    of_feed, of_intacct = names.feed(name), names.current(feed.object)
    return lineage(
        {
            column: [
                *((of_feed, source) for source in feeds),
                *((of_intacct, source) for source in records),
            ]
            for column, (feeds, records) in reconciled_sources(feed.spec(name)).items()
        }
    )


def _from(
    names: Names, name: str, columns: Sequence[TableColumn], above: Sequence[str]
) -> dg.MetadataValue[Any]:
    """Return the lineage of columns that are copied from earlier tables of the feed."""
    found: dict[str, list[tuple[dg.AssetKey, str]]] = {}
    for schema in above:
        known = {each.name for each in _COLUMNS[schema][0]} - _NEW
        for each in columns:
            source = each.name if each.name in known else _RENAMED.get(each.name)
            if source in known:
                found.setdefault(each.name, []).append((names.table(schema, name), source))
    return lineage(found)
