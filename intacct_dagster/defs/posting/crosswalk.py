"""Crosswalk assets: which record in Intacct stands for which source document."""

import dagster as dg

from intacct_dagster.config import Feed, Settings
from intacct_dagster.defs.failures import as_dagster_failure
from intacct_dagster.defs.posting.post import GROUP
from intacct_dagster.defs.resources import warehouse_in
from intacct_dagster.defs.tables import column_schema, relation
from intacct_dagster.naming import Names
from intacct_dagster.warehouse.reconciliation import refresh_crosswalk


def crosswalk_asset(settings: Settings, name: str, feed: Feed) -> dg.AssetsDefinition:
    """Build the asset that updates the crosswalk, a view of all partitions without its own."""
    names = Names.of(settings)
    key = names.crosswalk(name)

    @dg.asset(
        key=key,
        deps=[names.posted(name), names.reconciled(name)],
        group_name=names.group(GROUP),
        kinds={"duckdb", "view"},
        description=(
            f"Which record of Intacct's `{feed.object}` stands for which document of `{name}`: "
            "posted from here, or found there by its id."
        ),
        metadata=relation(settings, key),
        required_resource_keys={names.warehouse},
    )
    def crosswalk(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        warehouse = warehouse_in(context, settings)
        view = as_dagster_failure(settings, refresh_crosswalk, warehouse.warehouse, name)
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": view.posted + view.found,
                "posted": view.posted,
                "found_in_intacct": view.found,
                "dagster/column_schema": column_schema(view.columns),
            }
        )

    return crosswalk
