"""Runs of partitioned assets on the project's instance, with the stock or the batched history."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from intacct_dagster_tests.code_location import PROJECT

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")
TABLES = ("raw_bill", "raw_invoice")


@dg.multi_asset(
    specs=[
        dg.AssetSpec(name, partitions_def=dg.StaticPartitionsDefinition(list(DAYS)))
        for name in TABLES
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def tables() -> Iterator[dg.MaterializeResult[None]]:
    for name in TABLES:
        yield dg.MaterializeResult(asset_key=name)


def run_of_all_days(instance: dg.DagsterInstance) -> str:
    """Run all partitions, and return the id of the run."""
    definitions = dg.Definitions([tables], executor=dg.in_process_executor)
    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        tags={
            "dagster/asset_partition_range_start": DAYS[0],
            "dagster/asset_partition_range_end": DAYS[-1],
        },
    )
    assert result.success
    return result.run_id


def events_of(
    instance: dg.DagsterInstance, run_id: str
) -> list[tuple[str, dg.AssetKey | None, str | None]]:
    """Return type, asset and partition of each event of a run, in order."""
    found = []
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event is not None:
            found.append((event.event_type_value, event.asset_key, event.partition))
    return found


def stock_instance(folder: Path) -> dg.DagsterInstance:
    """Open the project's instance as it is shipped."""
    shutil.copy(PROJECT / "dagster.yaml", folder / "dagster.yaml")
    return dg.DagsterInstance.from_config(str(folder))


def batched_instance(folder: Path) -> dg.DagsterInstance:
    """Open the project's instance with the block of `storage:` that is commented out in it."""
    lines = (PROJECT / "dagster.yaml").read_text(encoding="utf-8").splitlines()
    stock = lines.index("storage:")
    opted_in = lines.index("# storage:")
    end = next(n for n in range(opted_in, len(lines)) if not lines[n].startswith("# "))
    block = [line.removeprefix("# ") for line in lines[opted_in:end]]
    text = "\n".join([*lines[:stock], *block, *lines[end:]])
    (folder / "dagster.yaml").write_text(text, encoding="utf-8")
    return dg.DagsterInstance.from_config(str(folder))
