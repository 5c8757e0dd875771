"""Runs that read one entity follow each other, whatever queue and launcher Dagster has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import dagster as dg
import pytest

from intacct_dagster.defs import build_definitions, deletes_key, raw_key, resources
from intacct_dagster.defs.partitions import partition_key
from intacct_dagster.extraction.extract import Extractor
from intacct_dagster.locks import LockTimeout
from intacct_dagster.state import open_state
from intacct_dagster.state.locks import state_locks
from intacct_dagster_tests.code_location import OBJECTS, CodeLocation, code_location, failure
from intacct_sandbox import LAST_DAY

FREE, BUSY = "E110", "E120"
KEYS = [raw_key(each) for each in OBJECTS]


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodeLocation]:
    with code_location(tmp_path_factory.mktemp("order")) as found:
        yield found


def reading(location: CodeLocation, entity: str) -> AbstractContextManager[None]:
    """What another process holds while it reads an entity. Raises LockTimeout if one does."""
    engine = open_state(location.settings.state)
    name = f"reading {entity} of {location.settings.company}"
    return state_locks(engine).exclusive(name, wait_seconds=0)


def run(location: CodeLocation, keys: Sequence[dg.AssetKey], **how: Any) -> Any:
    """A run over a sweep's partition or a range."""
    job = build_definitions(location.settings).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=location.instance, asset_selection=list(keys), raise_on_error=False, **how
    )


def test_a_run_holds_the_entity_while_it_reads_and_loads_or_sweeps_it(
    location: CodeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[str] = []

    def watched(name: str) -> Callable[..., Any]:
        work = getattr(Extractor, name)

        def watch(self: Extractor, what: Any, entity: str, *more: Any, **named: Any) -> Any:
            with reading(location, FREE if entity == BUSY else BUSY):
                pass  # the other entity is free
            with pytest.raises(LockTimeout), reading(location, entity):
                pass
            held.append(name)
            return work(self, what, entity, *more, **named)

        return watch

    for name in ("extract", "delete_scan"):
        monkeypatch.setattr(Extractor, name, watched(name))
    sweeps = [deletes_key(each) for each in OBJECTS]
    assert location.run(KEYS, entity=BUSY).success
    assert run(location, sweeps, partition_key=BUSY).success
    assert held == ["extract"] * len(OBJECTS) + ["delete_scan"] * len(OBJECTS)
    with reading(location, BUSY):
        pass  # and gives it back


def test_a_run_waits_for_an_entity_that_another_reads_and_reads_the_others_meanwhile(
    location: CodeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "ENTITY_WAIT_SECONDS", 0.0)
    ends = {"start": partition_key(FREE, LAST_DAY), "end": partition_key(BUSY, LAST_DAY)}
    with reading(location, BUSY):
        result = run(
            location,
            KEYS,
            tags={f"dagster/asset_partition_range_{end}": key for end, key in ends.items()},
        )
    assert f"reading {BUSY} of {location.settings.company}" in failure(result)
    logs = location.instance.all_logs(result.run_id)
    assert sum(f"Another run reads {BUSY}" in each.user_message for each in logs) == 1
    landed = {each.asset_materialization.partition for each in logs if each.asset_materialization}
    assert landed == {partition_key(FREE, LAST_DAY)}
    assert location.run(KEYS, entity=BUSY).success
