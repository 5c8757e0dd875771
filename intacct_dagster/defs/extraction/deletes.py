"""Deletes: no query shows them, so all keys are read and compared with those in the warehouse."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import dagster as dg

from intacct_dagster.client import Usage, xml_object
from intacct_dagster.config import ObjectSettings, Settings
from intacct_dagster.defs.extraction.failed_parts import FailedPart, fail, log_defect
from intacct_dagster.defs.extraction.raw import extractor_of
from intacct_dagster.defs.failures import as_dagster_failure
from intacct_dagster.defs.resources import WarehouseResource, intacct_in, warehouse_in
from intacct_dagster.defs.tables import spent
from intacct_dagster.extraction.delete_scan import DeleteScanResult
from intacct_dagster.extraction.extract import Extractor
from intacct_dagster.naming import Names
from intacct_dagster.warehouse.raw import tombstones

GROUP = "deletes"


def scanned_objects(settings: Settings) -> list[ObjectSettings]:
    """Return the objects whose keys are scanned.

    Objects that are read by reporting period are not among them: they are replaced at each read.
    """
    found = [(each, xml_object(each.name)) for each in settings.objects]
    return [each for each, only_xml in found if only_xml is None or not only_xml.by_period]


def deletes_assets(settings: Settings) -> dg.AssetsDefinition:
    """Build the op that scans the keys of the objects, for the entities of a run.

    Current views leave out a record from the moment that it is found deleted.
    """
    names = Names.of(settings)
    objects = {names.deletes(each.name): each for each in scanned_objects(settings)}
    months = settings.reading.delete_scan_months
    covers = f"of the last {months} months" if months else "there are"

    @dg.multi_asset(
        name=names.delete_scan,
        specs=[
            dg.AssetSpec(
                key,
                deps=[names.raw(each.name)],
                group_name=names.group(GROUP),
                kinds={"intacct", "duckdb"},
                description=(
                    f"`{each.name}`: records that Intacct no longer has, found by reading all keys "
                    f"{covers}. They are in `meta.tombstones`, and not in the current view."
                ),
            )
            for key, each in objects.items()
        ],
        partitions_def=dg.StaticPartitionsDefinition([each.id for each in settings.entities]),
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
        pool=names.pool,
        required_resource_keys={names.intacct, names.warehouse},
    )
    def delete_scan(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        intacct, warehouse = intacct_in(context, settings), warehouse_in(context, settings)
        selected = {
            key: each for key, each in objects.items() if key in context.selected_asset_keys
        }
        extractor = extractor_of(settings, intacct, warehouse, context.run.run_id)
        run = _ScanRun(context, settings, warehouse, extractor, selected)
        try:
            _scan(run)
            if run.failed:
                fail(settings, run.failed, run.names_of_done, "scans")
            gone = as_dagster_failure(settings, tombstones, warehouse.warehouse)
            for key in list(run.done):
                result = _result(context, key, objects[key].name, run.done[key], gone)
                del run.done[key]  # it is reported from here on
                yield result
        except BaseException:  # also where the run is cancelled, or this code has a defect
            _report_scanned(run)
            raise

    return delete_scan


@dataclass
class _ScanRun:
    """A run that scans objects for deletes: what it scans, what was done, and what failed."""

    context: dg.AssetExecutionContext
    settings: Settings
    warehouse: WarehouseResource
    extractor: Extractor
    objects: Mapping[dg.AssetKey, ObjectSettings]
    failed: list[FailedPart] = field(default_factory=list)
    done: dict[dg.AssetKey, list[DeleteScanResult]] = field(init=False)

    def __post_init__(self) -> None:
        self.done = {key: [] for key in self.objects}

    @property
    def names_of_done(self) -> list[str]:
        """What was scanned, each as "entity object"."""
        return [f"{each.entity} {each.object}" for found in self.done.values() for each in found]


def _scan(run: _ScanRun) -> None:
    """Scan the objects, entity by entity. An object or an entity that fails does so alone."""
    log = run.context.log
    for key, what in run.objects.items():
        for entity in run.context.partition_keys:
            try:
                with run.warehouse.reading(run.settings.company, entity, log.info):
                    run.done[key].append(run.extractor.delete_scan(what, entity))
            except Exception as error:  # the scans of the others go on
                part = FailedPart("delete scan", (what.name,), entity, error)
                log_defect(log, part)
                run.failed.append(part)


def _report_scanned(run: _ScanRun) -> None:
    """Report what was scanned as materialized, of a run that does not come to its end."""
    for key, found in run.done.items():
        for each in found:
            run.context.log_event(
                dg.AssetMaterialization(key, partition=each.entity, metadata=_metadata([each]))
            )


def _result(
    context: dg.AssetExecutionContext,
    key: dg.AssetKey,
    object: str,
    done: list[DeleteScanResult],
    tombstones: Mapping[tuple[str, str], int],
) -> dg.MaterializeResult[None]:
    """Return the result of an object's scans; `tombstones` counts them by object and entity."""
    for each in done:
        context.add_asset_metadata(
            {"dagster/partition_row_count": tombstones.get((object, each.entity), 0)},
            asset_key=key,
            partition_key=each.entity,
        )
    every = sum(count for (name, _), count in tombstones.items() if name == object)
    return dg.MaterializeResult(
        asset_key=key, metadata={**_metadata(done), "dagster/row_count": every}
    )


def _metadata(done: list[DeleteScanResult]) -> dict[str, dg.MetadataValue]:
    usage = sum((each.usage for each in done), Usage())
    return {
        "keys_in_intacct": dg.MetadataValue.int(sum(each.seen for each in done)),
        "keys_known": dg.MetadataValue.int(sum(each.known for each in done)),
        "deleted": dg.MetadataValue.int(sum(each.deleted for each in done)),
        "out_of_sight_of_the_entity": dg.MetadataValue.int(sum(each.out_of_sight for each in done)),
        "fetched_by_key": dg.MetadataValue.int(sum(each.fetched for each in done)),
        "covers": dg.MetadataValue.text(
            f"changes since {done[0].since:%Y-%m-%d}" if done[0].since else "all records"
        ),
        **spent(usage),
    }
