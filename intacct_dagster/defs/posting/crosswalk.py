"""Crosswalk assets: which record in Intacct stands for which source document."""

import dagster as dg

from intacct_dagster.config import Feed, Settings
from intacct_dagster.defs.failures import as_dagster_failure
from intacct_dagster.defs.posting.post import GROUP, posted_key
from intacct_dagster.defs.posting.reconcile import reconciled_key
from intacct_dagster.defs.resources import WarehouseResource
from intacct_dagster.defs.tables import column_schema, relation
from intacct_dagster.warehouse.reconciliation import refresh_crosswalk


def crosswalk_key(feed: str) -> dg.AssetKey:
    """Return the key of a feed's crosswalk, the view `crosswalk.<feed>`."""
    return dg.AssetKey(["crosswalk", feed])


def crosswalk_asset(settings: Settings, name: str, feed: Feed) -> dg.AssetsDefinition:
    """Build the asset that updates the crosswalk, a view of all partitions without its own."""
    key = crosswalk_key(name)

    @dg.asset(
        key=key,
        deps=[posted_key(name), reconciled_key(name)],
        group_name=GROUP,
        kinds={"duckdb", "view"},
        description=(
            f"Which record of Intacct's `{feed.object}` stands for which document of `{name}`: "
            "posted from here, or found there by its id."
        ),
        metadata=relation(settings, key),
    )
    def crosswalk(warehouse: WarehouseResource) -> dg.MaterializeResult[None]:
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
