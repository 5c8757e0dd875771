"""How all assets present themselves: owners, tags, and links to the code that makes them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.defs.tables import column_schema, lineage
from intacct_dagster.warehouse import (
    CROSSWALK_COLUMNS,
    OUTCOME_COLUMNS,
    PLAN_COLUMNS,
    RECONCILED_COLUMNS,
    TOMBSTONE_COLUMNS,
    TableColumn,
    table_name,
)

#: The tag that names the application of Intacct that an asset's object belongs to.
APPLICATION = "intacct/application"
#: The tag that names the feed that an asset is of.
FEED = "intacct/feed"

#: What the tables of a feed hold, and which table before them their columns are taken from.
_COLUMNS: Mapping[str, tuple[Sequence[TableColumn], tuple[str, Sequence[TableColumn]] | None]] = {
    "reconciled": (RECONCILED_COLUMNS, None),
    "plan": (PLAN_COLUMNS, ("reconciled", RECONCILED_COLUMNS)),
    "posting": (OUTCOME_COLUMNS, ("plan", PLAN_COLUMNS)),
    "crosswalk": (CROSSWALK_COLUMNS, ("posting", OUTCOME_COLUMNS)),
}
#: Columns that have the same name in both and are each table's own.
_NEW = frozenset({"run_id", "reason", "what_to_do", "field"})


def presented(
    settings: Settings, assets: Iterable[dg.AssetsDefinition | dg.AssetSpec]
) -> Sequence[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets with the settings' owners, with tags to filter by, and with their source code."""
    applications = {table_name(each.name): each.name.split("/")[0] for each in settings.objects}

    def tags_of(key: dg.AssetKey) -> dict[str, str]:
        last = key.path[-1]
        if last in settings.feeds and len(key.path) == 2:
            return {FEED: last}
        return {APPLICATION: applications[last]} if last in applications else {}

    def columns_of(key: dg.AssetKey) -> dict[str, Any]:
        schema, last = key.path[0], key.path[-1]
        if schema == "deletes":
            return {
                "dagster/table_name": "meta.tombstones",
                "dagster/column_schema": column_schema(TOMBSTONE_COLUMNS),
            }
        if last not in settings.feeds or schema not in _COLUMNS:
            return {}
        columns, above = _COLUMNS[schema]
        known = {each.name for each in above[1]} if above else set()
        found: dict[str, Any] = {"dagster/column_schema": column_schema(columns)}
        if above:
            source = dg.AssetKey([above[0], last])
            same = [each.name for each in columns if each.name in known - _NEW]
            found["dagster/column_lineage"] = lineage({name: [(source, name)] for name in same})
        return found

    def present(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(
            owners=[*spec.owners, *settings.owners],
            tags={**spec.tags, **tags_of(spec.key)},
            metadata={**columns_of(spec.key), **spec.metadata},
        )

    linked: Sequence[dg.AssetsDefinition | dg.AssetSpec] = dg.with_source_code_references(  # type: ignore[assignment]
        list(assets)
    )
    return dg.map_asset_specs(present, linked)
