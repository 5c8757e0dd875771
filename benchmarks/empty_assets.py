"""A code location with the assets and partitions of intacct.yaml, which do nothing.

It imports nothing of the project: what that costs is the project's, and not Dagster's.
"""

import os
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import yaml


def empty(
    objects: Sequence[str], entities: Sequence[str], first: date, last: date
) -> dg.AssetsDefinition:
    """One op of an asset for each object, with a partition for each entity and day."""
    keys = [dg.AssetKey(["raw", each.replace("/", "_").replace("-", "_")]) for each in objects]
    end = last + timedelta(days=1)

    @dg.multi_asset(
        name="extract",
        specs=[dg.AssetSpec(key) for key in keys],
        partitions_def=dg.MultiPartitionsDefinition(
            {
                "date": dg.DailyPartitionsDefinition(
                    start_date=first.isoformat(), end_date=end.isoformat(), timezone="UTC"
                ),
                "entity": dg.StaticPartitionsDefinition(entities),
            }
        ),
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
    )
    def extract() -> Iterator[dg.MaterializeResult[None]]:
        for key in keys:
            yield dg.MaterializeResult(asset_key=key)

    return extract


@dg.definitions
def defs() -> dg.Definitions:
    """Those of the file that INTACCT_CONFIG names."""
    settings = yaml.safe_load(Path(os.environ["INTACCT_CONFIG"]).read_text(encoding="utf-8"))
    assets = empty(
        [each["name"] for each in settings["objects"]],
        [each["id"] for each in settings["entities"]],
        settings["start_date"],
        settings["end_date"],
    )
    return dg.Definitions([assets], executor=dg.in_process_executor)
