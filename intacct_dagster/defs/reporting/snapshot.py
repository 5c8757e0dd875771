"""The readers' copy as an asset: runs make it as they end, and a person may at any time."""

from collections.abc import Sequence

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.defs.failures import as_dagster_failure
from intacct_dagster.defs.resources import published, warehouse_in
from intacct_dagster.naming import Names
from intacct_dagster.warehouse import Snapshot, snapshot_path

GROUP = "analysts"


def snapshot_asset(settings: Settings, shows: Sequence[dg.AssetKey]) -> dg.AssetsDefinition:
    """Build the asset that makes the copy now; `shows` are the assets that it contains."""
    names = Names.of(settings)
    path = snapshot_path(settings.warehouse)

    @dg.asset(
        key=names.snapshot,
        deps=shows,
        group_name=names.group(GROUP),
        kinds={"duckdb", "file"},
        required_resource_keys={names.warehouse},
        description=(
            f"`{path.name}`: the warehouse for analysts, who may keep it open as long as they "
            "like. Runs replace it as they end, so nobody has to materialize it; `as_of` says of "
            "when it is, and so does `meta.published` in it. Open it read-only."
        ),
    )
    def warehouse_reader(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        warehouse = warehouse_in(context, settings)
        copy = Snapshot(warehouse.warehouse)
        done = as_dagster_failure(settings, copy.publish)
        if done is not None:
            return dg.MaterializeResult(metadata=published(done))
        if copy.as_of is None:
            raise dg.Failure("There is no warehouse to copy yet: materialize a raw asset first.")
        return dg.MaterializeResult(
            metadata={"path": dg.MetadataValue.path(str(copy.path)), "as_of": copy.as_of}
        )

    return warehouse_reader
