"""The instances that are shipped: Dagster takes them, and the queue does what they say."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
import time_machine
import yaml

# Dagster has no public way to run one iteration of its daemon.
from dagster._core.workspace.context import IWorkspaceProcessContext
from dagster._daemon.monitoring.concurrency import execute_concurrency_slots_iteration

from intacct_dagster.config import Entity
from intacct_dagster.defs import raw_key, reconciled_key
from intacct_dagster.defs.extraction.progress import PROGRESS_TAG, Progress
from intacct_dagster.defs.extraction.raw import attempts_before
from intacct_dagster.defs.failures import RETRIED
from intacct_dagster.instance.run_queue import EntityRunCoordinator, entity_of
from intacct_dagster.naming import ENTITY_TAG, Names
from intacct_dagster_tests.code_location import (
    FEED,
    OBJECTS,
    PROJECT,
    CodeLocation,
    code_location,
    sandbox_settings,
)
from intacct_sandbox import LAST_DAY

POOL = Names().pool
FILES = ("dagster.yaml", "deploy/dagster.yaml")


def config(file: str) -> dict[str, Any]:
    return dict(yaml.safe_load((PROJECT / file).read_text(encoding="utf-8")))


@pytest.fixture
def instance_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], dg.DagsterInstance]:
    """Open an instance that is shipped, in a folder of its own, on SQLite."""

    def opened(file: str) -> dg.DagsterInstance:
        given = config(file) | {"storage": {"sqlite": {"base_dir": ".dagster"}}}
        (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
        monkeypatch.setenv("DAGSTER_LOGS", str(tmp_path / "logs"))
        monkeypatch.chdir(tmp_path)
        return dg.DagsterInstance.from_config(str(tmp_path))

    return opened


@pytest.mark.parametrize("file", FILES)
def test_dagster_takes_every_key_and_its_own_queue_keeps_the_order_of_an_entity(
    file: str, instance_of: Callable[[str], dg.DagsterInstance]
) -> None:
    with instance_of(file) as instance:
        assert type(instance.run_coordinator) is dg.QueuedRunCoordinator
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.max_concurrent_runs == {"dagster.yaml": 2, "deploy/dagster.yaml": 4}[file]
        # Without it a run that a busy machine did not start within a minute has failed for good.
        assert queue.max_user_code_failure_retries > 0
        (limit,) = queue.tag_concurrency_limits
        assert limit == {
            "key": ENTITY_TAG,
            "value": {"applyLimitPerUniqueValue": True},
            "limit": 1,
        }
        assert instance.get_settings("run_retries")["retry_on_asset_or_op_failure"] is False
        # Dagster's default of 180 s killed runs of a backfill of years that were still being made.
        assert instance.get_settings("run_monitoring")["start_timeout_seconds"] >= 3600


@dg.op(pool=POOL)
def in_the_pool() -> None: ...


@dg.job
def job_in_the_pool() -> None:
    in_the_pool()


@pytest.mark.parametrize("file", FILES)
def test_no_op_waits_in_its_process_for_a_pool(
    file: str, instance_of: Callable[[str], dg.DagsterInstance]
) -> None:
    """Dagster's executor in one process (1.13) does not sleep while it waits."""
    with instance_of(file) as instance:
        pools = instance.get_concurrency_config().pool_config
        assert pools.default_pool_limit is None
        # With a limit, what does not fit waits in the queue: an op that has begun goes on.
        assert pools.pool_granularity is not None
        assert pools.pool_granularity.value == "run"
        storage = instance.event_log_storage
        storage.set_concurrency_slots(POOL, 1)
        assert storage.claim_concurrency_slot(POOL, "another run", "extract").is_claimed
        assert job_in_the_pool.execute_in_process(instance=instance).success


@pytest.mark.parametrize("file", FILES)
def test_the_opt_in_queue_is_one_that_dagster_takes(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = (PROJECT / file).read_text(encoding="utf-8").splitlines()
    at = lines.index("  module: dagster", lines.index("run_coordinator:"))
    commented = [each for each in lines if each.startswith(("  # module:", "  # class:"))]
    lines[at : at + 2] = [each.replace("# ", "", 1) for each in commented]
    text = "\n".join(lines)
    coordinator = yaml.safe_load(text)["run_coordinator"]
    given = {"run_coordinator": coordinator, "storage": {"sqlite": {"base_dir": ".dagster"}}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert type(instance.run_coordinator) is EntityRunCoordinator


@dg.op
def nothing() -> None: ...


@dg.job
def any_job() -> None:
    nothing()


@pytest.mark.parametrize("file", FILES)
def test_what_a_run_that_was_killed_held_of_the_pool_is_given_back(
    file: str, tmp_path: Path
) -> None:
    given = config(file)
    overrides = {name: given[name] for name in ("run_monitoring", "concurrency")}
    home = tmp_path / "home"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home), overrides=overrides) as instance:
        storage = instance.event_log_storage
        killed = instance.create_run_for_job(any_job)
        storage.set_concurrency_slots(POOL, 1)  # as somebody sets it in the UI
        assert storage.claim_concurrency_slot(POOL, killed.run_id, "extract").is_claimed
        instance.report_run_failed(killed)
        daemon = cast(IWorkspaceProcessContext[Any], SimpleNamespace(instance=instance))
        with time_machine.travel(datetime.now(UTC) + timedelta(minutes=2)):
            list(execute_concurrency_slots_iteration(daemon, logging.getLogger()))
        # Else no run reads anything any more, the retry of this one included.
        assert not storage.get_concurrency_info(POOL).claimed_slots


def test_the_teams_instance_keeps_its_secret_in_the_environment() -> None:
    storage = config("deploy/dagster.yaml")["storage"]
    assert storage == {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}


def test_the_team_starts_its_code_where_the_others_look_for_it() -> None:
    workspace = yaml.safe_load((PROJECT / "deploy/workspace.yaml").read_text(encoding="utf-8"))
    (location,) = workspace["load_from"]
    server = location["grpc_server"]
    started = f"dagster api grpc -m intacct_dagster.definitions -h {server['host']} -p"
    told = (PROJECT / "docs/operations.md").read_text(encoding="utf-8")
    assert f"{started} {server['port']} &" in told


@pytest.mark.parametrize(
    ("tags", "entity"),
    [
        ({"dagster/asset_partition_range_start": "2026-01-01|E1",
          "dagster/asset_partition_range_end": "2026-12-31|E1"}, "E1"),
        ({"dagster/asset_partition_range_start": "2026-01-01|E1",
          "dagster/asset_partition_range_end": "2026-01-01|E9"}, None),
        ({"dagster/partition/entity": "E2", "dagster/partition": "2026-01-01|E2"}, "E2"),
        ({}, None),
    ],
)  # fmt: skip
def test_a_run_of_a_backfill_is_known_by_its_entity(
    tags: dict[str, str], entity: str | None
) -> None:
    assert entity_of(tags) == entity


def test_a_run_is_retried_where_its_failure_was_transient_and_not_otherwise(tmp_path: Path) -> None:
    retries = {"run_retries": {"enabled": True, "retry_on_asset_or_op_failure": False}}

    def tags_of(location: CodeLocation, key: dg.AssetKey) -> Mapping[str, str]:
        result = location.run([key], entity="E110")
        assert not result.success
        run = location.instance.get_run_by_id(result.run_id)
        assert run is not None
        return run.tags

    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=retries) as instance:
        nowhere = sandbox_settings("http://127.0.0.1:9", tmp_path)
        location = CodeLocation(nowhere, instance)
        tags = tags_of(location, raw_key(OBJECTS[0]))
        assert RETRIED.items() <= tags.items()
        assert tags["dagster/will_retry"] == "true"
        # What was not read yet is not there tomorrow either.
        assert not RETRIED.keys() & tags_of(location, reconciled_key(FEED)).keys()
    with code_location(tmp_path / "other", entities=(Entity(id="E110", user="can"),)) as denied:
        assert not RETRIED.keys() & tags_of(denied, raw_key(OBJECTS[0])).keys()


@pytest.mark.parametrize(
    ("tags", "attempts"),
    [({"dagster/is_resume_retry": "true"}, {"root", "parent"}), ({}, set[str]())],
    ids=["goes on from a failure", "does all of it once more"],
)
def test_only_a_run_that_goes_on_from_a_failure_keeps_what_landed(
    tags: dict[str, str], attempts: set[str]
) -> None:
    run = dg.DagsterRun("job", root_run_id="root", parent_run_id="parent", tags=tags)
    assert attempts_before(run) == attempts


def test_a_run_of_many_days_tells_how_far_it_is_and_what_is_left(tmp_path: Path) -> None:
    with code_location(tmp_path, days=1, start_date=LAST_DAY.replace(day=12)) as location:
        result = location.run(
            [raw_key(each) for each in OBJECTS], entity="E110", first=LAST_DAY.replace(day=12)
        )
        run = location.instance.get_run_by_id(result.run_id)
        assert run is not None
        assert run.tags[PROGRESS_TAG].startswith("2 of 2 parts of 2 days in")


class Told:
    """What is told in the log of a run, and in its tag."""

    run = dg.DagsterRun("job", run_id="one")

    def __init__(self) -> None:
        self.logged: list[str] = []
        self.tags: list[str] = []
        self.log = self.instance = self

    def info(self, text: str) -> None:
        self.logged.append(text)

    def add_run_tags(self, _run: str, tags: dict[str, str]) -> None:
        self.tags.append(tags[PROGRESS_TAG])


def test_of_a_long_walk_rows_and_time_left_are_told_every_few_seconds() -> None:
    context, now = Told(), 0.0
    progress = Progress(context, 2, 1, clock=lambda: now)  # type: ignore[arg-type]
    lines, short = progress.of("E110 lines"), progress.of("E110 short")
    for second in range(41):
        now = float(second)
        lines(4_000 * (1 + second), 1_000_000)
        short(10, 10)
        progress.look()
    assert context.logged[0] == (
        "E110 lines: 24,000 of 1,000,000 rows, 4,000 rows/s, about 4 min left"
    )
    assert len(context.logged) == 40 / 5
    assert context.tags[-1] == context.logged[-1]

    now = 50.0
    lines(4_000, 1_000_000)  # it begins again
    now = 60.0
    lines(8_000, 1_000_000)
    progress.look()
    assert context.logged[-1].endswith("8,000 of 1,000,000 rows, 400 rows/s, about 41 min left")
    progress.one_more("E110 lines")
    now = 90.0
    progress.look()
    assert "8,000 of" in context.logged[-1], "nothing is told of what is over"


def test_what_is_left_is_estimated_from_what_is_done() -> None:
    context = Told()
    told = context.tags
    times = iter([0.0, 60.0, 90.0, 300.0])
    progress = Progress(context, 3, 730, clock=lambda: next(times))  # type: ignore[arg-type]
    for _ in range(3):
        progress.one_more()
    assert told == [
        "1 of 3 parts of 730 days, about 2 min left",
        "2 of 3 parts of 730 days, under a minute left",
        "3 of 3 parts of 730 days in 300 s",
    ]
