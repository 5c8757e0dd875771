"""A run in one process, of which an op waits for its pool."""

import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.execution.plan import active, instance_concurrency_context
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

from intacct_dagster import executor
from intacct_dagster.defs.resources import leave_pool
from intacct_dagster.executor import SECONDS, Pools, one_process

OTHER = "a run of somebody else"


@dg.op(pool="only_one")
def alone() -> None: ...


@dg.job(executor_def=one_process)
def waits() -> None:
    alone()


@pytest.fixture
def instance(tmp_path: Path) -> dg.DagsterInstance:
    """An instance whose pool has one place."""
    pools = {"default_limit": 1, "granularity": "op"}
    instance = dg.DagsterInstance.local_temp(
        str(tmp_path), overrides={"concurrency": {"pools": pools}}
    )
    instance.event_log_storage.initialize_concurrency_limit_to_default("only_one")
    return instance


def goes_to_another(instance: dg.DagsterInstance) -> bool:
    """Whether another run gets the pool's place now."""
    storage = instance.event_log_storage
    return bool(storage.claim_concurrency_slot("only_one", OTHER, "its op").is_claimed)


@pytest.fixture
def taken(instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """The same; another run has it."""
    assert goes_to_another(instance)
    return instance


def test_an_op_that_waits_for_its_pool_knows_for_how_long(taken: dg.DagsterInstance) -> None:
    run = taken.create_run_for_job(waits)
    waited = []
    for kind in (InstanceConcurrencyContext, Pools):
        with kind(taken, run) as pools:
            assert not pools.claim("only_one", "alone")
            waited.append(pools.interval_to_next_pending_claim_check())
    dagsters_own, ours = waited
    assert 0 < ours <= SECONDS
    # Should this fail, Dagster has mended it, and ours can go.
    assert dagsters_own == 0


class Clock:
    """The time, which nobody sleeps away: it goes on by itself. The third sleep ends the wait."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.slept: list[float] = []
        self._instance = instance

    def time(self) -> float:
        return time.time() + sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) == 3:
            self._instance.event_log_storage.free_concurrency_slot_for_step(OTHER, "its op")


def test_a_run_sleeps_while_its_op_waits_and_goes_on_when_there_is_room(
    taken: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(taken)
    for module in (active, instance_concurrency_context, executor):
        monkeypatch.setattr(module, "time", clock)
    run = taken.create_run_for_job(waits)
    events = execute_run(InMemoryJob(waits), run, taken).all_events
    assert events[-1].event_type_value == "PIPELINE_SUCCESS"
    assert len(clock.slept) == 3
    assert all(0 < each <= SECONDS for each in clock.slept)


def test_an_op_that_has_asked_all_it_will_lets_the_next_into_the_pool(
    instance: dg.DagsterInstance,
) -> None:
    let_in = []

    @dg.asset(pool="only_one")
    def asks(context: dg.AssetExecutionContext) -> None:
        let_in.append(goes_to_another(context.instance))
        leave_pool(context)
        let_in.append(goes_to_another(context.instance))

    assert dg.materialize([asks], instance=instance).success
    assert let_in == [False, True]
    # … and nobody's place is given away when the op is over
    found = instance.event_log_storage.get_concurrency_info("only_one")
    assert found.claimed_slots[0].run_id == OTHER
