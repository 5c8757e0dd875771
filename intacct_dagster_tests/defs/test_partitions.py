"""What a run tells of its partitions, however many there are."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from intacct_dagster.defs.partitions import (
    EntityDays,
    entity_days,
    partition_key,
    tell_partitions,
)
from intacct_dagster_tests.code_location import sandbox_settings

FIRST = date(2020, 1, 1)


def test_all_keys_are_made_once_a_day_and_are_those_of_dagster(tmp_path: Path) -> None:
    settings = sandbox_settings("http://127.0.0.1:9", tmp_path, start_date=FIRST)
    partitions = entity_days(settings)
    dagsters_own = dg.MultiPartitionsDefinition(
        {each.name: each.partitions_def for each in partitions.partitions_defs}
    )
    made = []
    for day in (3, 4):
        morning = datetime(2020, 1, day, 8, tzinfo=UTC)
        keys = partitions.get_partition_keys(morning)
        assert keys == dagsters_own.get_partition_keys(morning)
        assert partitions.get_partition_keys(morning + timedelta(hours=3)) is keys
        made.append(len(keys))
    assert made[1] - made[0] == len(settings.entities)


def test_the_keys_of_each_range_are_those_of_dagster(tmp_path: Path) -> None:
    settings = sandbox_settings("http://127.0.0.1:9", tmp_path, start_date=FIRST)
    partitions = entity_days(settings)
    dagsters_own = dg.MultiPartitionsDefinition(
        {each.name: each.partitions_def for each in partitions.partitions_defs}
    )
    first, last = settings.entities[0].id, settings.entities[-1].id
    for days, end in ((1, first), (3, first), (3, last)):
        found = dg.PartitionKeyRange(
            partition_key(first, FIRST), partition_key(end, FIRST + timedelta(days))
        )
        expected = dagsters_own.get_partition_keys_in_range(found)
        assert partitions.get_partition_keys_in_range(found) == expected


def test_the_keys_of_a_range_are_made_as_often_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unfolded: list[dg.PartitionKeyRange] = []
    unfold = dg.MultiPartitionsDefinition.get_partition_keys_in_range

    def counted(
        self: dg.MultiPartitionsDefinition, found: dg.PartitionKeyRange, *more: Any
    ) -> Sequence[str]:
        unfolded.append(found)
        return unfold(self, found, *more)

    monkeypatch.setattr(dg.MultiPartitionsDefinition, "get_partition_keys_in_range", counted)
    times = set()
    for days in (2, 40):
        made = made_of(days)
        assert made == {
            str(partition_key("E000", FIRST + timedelta(day))): {"all": True, "day": day, "more": 1}
            for day in range(days)
        }
        times.add(len(unfolded))
        unfolded.clear()
    assert len(times) == 1


def made_of(days: int) -> dict[str, dict[str, Any]]:
    """The metadata of each partition of a run that tells of each its day."""
    partitions = EntityDays(
        {
            "date": dg.DailyPartitionsDefinition(FIRST.isoformat(), timezone="UTC"),
            "entity": dg.StaticPartitionsDefinition(["E000", "E001"]),
        }
    )
    keys = [partition_key("E000", FIRST + timedelta(n)) for n in range(days)]

    @dg.asset(partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run())
    def one(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        key = context.asset_key
        context.add_asset_metadata({"all": True})
        tell_partitions(context, key, {each: {"day": n} for n, each in enumerate(keys)})
        tell_partitions(context, key, {each: {"more": 1} for each in keys})
        return dg.MaterializeResult()

    ends = {"start": str(keys[0]), "end": str(keys[-1])}
    tags = {f"dagster/asset_partition_range_{end}": key for end, key in ends.items()}
    result = dg.materialize([one], tags=tags)
    made = result.asset_materializations_for_node("one")
    return {
        str(each.partition): {name: value.value for name, value in each.metadata.items()}
        for each in made
    }
