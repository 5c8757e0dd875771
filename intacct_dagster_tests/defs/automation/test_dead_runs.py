"""A run whose process is gone is reported as failed; one that is at work is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from intacct_dagster.defs.automation.dead_runs import GRACE, dead_runs_sensor, is_alive

STARTED = dg.DagsterRunStatus.STARTED


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits until it is ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def begin(instance: dg.DagsterInstance, pid: int | None) -> str:
    """A run as Dagster's default launcher has it, in a process with this id."""
    run = instance.create_run_for_job(_job, status=STARTED)
    if pid is not None:
        said = f"Started process for run (pid: {pid})."
        instance.report_engine_event(said, run)
    return run.run_id


@dg.op
def _nothing() -> None:
    pass


@dg.job
def _job() -> None:
    _nothing()


def tick(instance: dg.DagsterInstance, *, later: timedelta = 2 * GRACE) -> str:
    sensor = dead_runs_sensor("dead_runs", now=lambda: datetime.now(UTC) + later)
    with dg.build_sensor_context(instance) as context:
        return sensor.evaluate_tick(context).skip_message or ""


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_run_whose_process_was_killed_is_reported_with_what_to_do(
    instance: dg.DagsterInstance, process: subprocess.Popen[bytes]
) -> None:
    run_id = begin(instance, process.pid)
    assert "has its process" in tick(instance)
    assert status(instance, run_id) is STARTED

    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    assert run_id in tick(instance)
    assert status(instance, run_id) is dg.DagsterRunStatus.FAILURE
    (failure,) = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert "run it again" in (failure.dagster_event.message or "" if failure.dagster_event else "")
    assert "has its process" in tick(instance), "it is reported once"


def test_a_process_that_got_the_id_later_is_another_one(
    process: subprocess.Popen[bytes],
) -> None:
    assert is_alive(process.pid, datetime.now(UTC))
    assert not is_alive(process.pid, datetime.now(UTC) - timedelta(hours=1))


def test_a_young_run_is_left_alone(
    instance: dg.DagsterInstance, process: subprocess.Popen[bytes]
) -> None:
    run_id = begin(instance, process.pid)
    process.kill()
    process.wait()
    tick(instance, later=timedelta(0))
    assert status(instance, run_id) is STARTED


def test_a_run_that_another_launcher_watches_over_is_left_alone(
    instance: dg.DagsterInstance,
) -> None:
    run_id = begin(instance, None)
    tick(instance)
    assert status(instance, run_id) is STARTED


def test_a_run_that_ended_meanwhile_is_left_alone(
    instance: dg.DagsterInstance, process: subprocess.Popen[bytes]
) -> None:
    run_id = begin(instance, process.pid)

    def ends(pid: int, seen_at: datetime) -> bool:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        instance.report_run_canceled(run)
        return False

    sensor = dead_runs_sensor("dead_runs", now=lambda: datetime.now(UTC) + 2 * GRACE, alive=ends)
    with dg.build_sensor_context(instance) as context:
        sensor.evaluate_tick(context)
    assert status(instance, run_id) is dg.DagsterRunStatus.CANCELED
