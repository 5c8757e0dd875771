"""Current assets: the version of each record that counts, as analysts query it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.defs.extraction.failed_parts import FailedPart, fail, log_defect
from intacct_dagster.defs.resources import WarehouseResource, warehouse_in
from intacct_dagster.defs.tables import column_schema, lineage, relation, table_of
from intacct_dagster.naming import Names
from intacct_dagster.warehouse.raw import sample_rows
from intacct_dagster.warehouse.raw.current import refresh_current
from intacct_dagster.warehouse.raw.status import ObjectStatus, object_status

GROUP = "current"


def current_assets(settings: Settings) -> dg.AssetsDefinition:
    """Build the op that maintains the current tables, and says as of when they are known.

    They are not partitioned: each load brings its table up to date, for all entities and days.
    """
    names = Names.of(settings)
    objects = {names.current(each.name): each.name for each in settings.objects}

    @dg.multi_asset(
        name=names.refresh_current,
        specs=[
            dg.AssetSpec(
                key,
                deps=[names.raw(name)],
                group_name=names.group(GROUP),
                kinds={"duckdb", "table"},
                description=f"`{name}`: the version that counts of each record, of all entities.",
                metadata=relation(settings, key),
            )
            for key, name in objects.items()
        ],
        can_subset=True,
        required_resource_keys={names.warehouse},
    )
    def refresh(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        warehouse = warehouse_in(context, settings)
        failed: list[FailedPart] = []
        done: list[str] = []
        for key, name in objects.items():
            if key not in context.selected_asset_keys:
                continue
            try:
                result = _refreshed(warehouse, names, key, name)
            except Exception as error:  # the tables of the other objects are refreshed all the same
                part = FailedPart("refresh", (name,), "", error)
                log_defect(context.log, part)
                failed.append(part)
            else:
                done.append(name)
                yield result
        if failed:
            fail(settings, failed, done, "tables")

    return refresh


def _refreshed(
    warehouse: WarehouseResource, names: Names, key: dg.AssetKey, name: str
) -> dg.MaterializeResult[None]:
    view = refresh_current(warehouse.warehouse, name)
    return dg.MaterializeResult(
        asset_key=key,
        metadata={
            "dagster/row_count": view.rows,
            "dagster/column_schema": column_schema(view.columns),
            "dagster/column_lineage": lineage(
                {each.name: [(names.raw(name), each.name)] for each in view.columns}
            ),
            **_known(object_status(warehouse.warehouse, [name])[0]),
            **_sample(sample_rows(warehouse.warehouse, name, view.columns)),
        },
    )


def _known(status: ObjectStatus) -> dict[str, dg.MetadataValue[Any]]:
    """Return as of when the entities' records are known, the least of them."""
    if not status.entities:
        return {}
    moments = {
        "as_of": min(each.as_of for each in status.entities),
        "complete_since": _latest([each.complete_since for each in status.entities]),
        "deletes_as_of": _earliest([each.deletes_as_of for each in status.entities]),
    }
    return {
        name: dg.MetadataValue.text("not proven" if moment is None else moment.isoformat())
        for name, moment in moments.items()
    }


def _latest(moments: Sequence[datetime | None]) -> datetime | None:
    """Return the latest moment; None if one of them is not known."""
    known = [each for each in moments if each is not None]
    return max(known) if len(known) == len(moments) else None


def _earliest(moments: Sequence[datetime | None]) -> datetime | None:
    """Return the earliest moment; None if one of them is not known."""
    known = [each for each in moments if each is not None]
    return min(known) if len(known) == len(moments) else None


def _sample(rows: Sequence[Mapping[str, object]]) -> dict[str, dg.MetadataValue[Any]]:
    if not rows:
        return {}
    return {"sample_without_personal_data": table_of(rows, dict.fromkeys(rows[0], "string"))}
