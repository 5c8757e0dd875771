"""A company of any size: what its code location costs to load, and how its backfills are cut."""

from __future__ import annotations

import time
from datetime import date, timedelta
from pathlib import Path

from intacct_dagster.config import Entity, ObjectSettings
from intacct_dagster.defs import build_definitions, raw_key
from intacct_dagster.defs.partitions import entity_days, partition_key
from intacct_dagster_tests.code_location import sandbox_settings

FIRST = date(2020, 1, 1)


def entities(number: int) -> tuple[Entity, ...]:
    return tuple(Entity(id=f"E{n:03}", user=f"u{n:03}") for n in range(number))


def test_a_hundred_entities_of_forty_objects_and_1500_days_load_in_a_moment(tmp_path: Path) -> None:
    settings = sandbox_settings("http://127.0.0.1:9", tmp_path)
    others = tuple(ObjectSettings(name=f"bench/object-{n}") for n in range(38))
    settings = settings.model_copy(
        update={
            "entities": entities(100),
            "objects": (*settings.objects, *others),
            "start_date": FIRST,
            "end_date": FIRST + timedelta(days=1499),
        }
    )
    began = time.process_time()
    repository = build_definitions(settings).get_repository_def()
    repository.get_all_jobs()
    # of the processor's time; 0.1 s where it was measured
    assert time.process_time() - began < 1
    graph = repository.asset_graph
    assert graph.get(raw_key(settings.objects[0].name)).partitions_def == entity_days(settings)


def test_a_backfill_of_two_years_and_twenty_entities_is_twenty_runs(tmp_path: Path) -> None:
    days = [FIRST + timedelta(days=n) for n in range(730)]
    settings = sandbox_settings(
        "http://127.0.0.1:9",
        tmp_path,
        entities=entities(20),
        start_date=days[0],
        end_date=days[-1],
    )
    definitions = build_definitions(settings)
    graph = definitions.resolve_asset_graph()
    raw = [graph.get(raw_key(each.name)) for each in settings.objects]
    # One op for all objects, one run for each range that Dagster cuts the partitions into.
    assert len({id(each.assets_def) for each in raw}) == 1
    assert all(
        each.backfill_policy and each.backfill_policy.max_partitions_per_run is None for each in raw
    )
    partitions = entity_days(settings)
    keys = [partition_key(each.id, day) for each in settings.entities for day in days]
    ranges = partitions.subset_with_partition_keys(keys).get_partition_key_ranges(partitions)
    assert sorted((each.start, each.end) for each in ranges) == [
        (f"{days[0]}|{each.id}", f"{days[-1]}|{each.id}") for each in settings.entities
    ]
