"""Runs whose process died without a word, such as after a power cut: reported, so that they end.

Dagster's default launcher cannot tell whether the process of a run is alive. Without this, such a
run would stay STARTED and keep its place in the pool, and nothing would read from Intacct any more.
"""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from intacct_dagster.defs.run_requests import Clock, clock

_UNDER_WAY = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]

#: A run that is younger is left alone: its process may only be about to say that it is there.
GRACE = timedelta(seconds=30)
_TICK_SECONDS = 30

#: What Dagster's default launcher writes when the process of a run begins.
_STARTED = re.compile(r"Started process for .*\(pid: (\d+)\)")

Alive = Callable[[int, datetime], bool]


def is_alive(pid: int, seen_at: datetime) -> bool:
    """Return whether the process that had this id then is still there.

    Another process that got the same id since is not it. Where the system does not say, it counts
    as alive.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    began = _began(pid)
    return began is None or began <= seen_at + timedelta(seconds=1)


def _began(pid: int) -> datetime | None:
    """Return when a process began; None where the system does not say so in /proc."""
    try:
        # The name of the program is in parentheses, and may have spaces and parentheses itself.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        booted = next(
            int(line.split()[1])
            for line in Path("/proc/stat").read_text().splitlines()
            if line.startswith("btime ")
        )
    except (OSError, StopIteration, ValueError):
        return None
    return datetime.fromtimestamp(booted + int(fields[19]) / os.sysconf("SC_CLK_TCK"), UTC)


def dead_runs_sensor(
    name: str, *, now: Clock = clock, alive: Alive = is_alive
) -> dg.SensorDefinition:
    """Build the sensor that reports runs of this code location whose process is gone.

    Dagster then retries them as dagster.yaml says, and frees their places in the pools.

    Args:
        name: The name of the sensor.
        now: The clock; tests pass their own.
        alive: Whether the process with an id, as it was at a time, is still there.
    """

    @dg.sensor(
        name=name,
        minimum_interval_seconds=_TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Reports runs whose process died, for example in a power cut, as failed: they are "
            "retried, and no longer keep others waiting. Only runs that Dagster's default launcher "
            "started for this code location."
        ),
    )
    def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        found = [
            run.run_id
            for run in context.instance.get_runs(dg.RunsFilter(statuses=_UNDER_WAY))
            if _is_of_this_location(context, run) and _report(context.instance, run, now(), alive)
        ]
        if not found:
            return dg.SkipReason("Every run that is under way has its process.")
        return dg.SkipReason(f"The processes of {len(found)} runs are gone: {', '.join(found)}.")

    return dead_runs


def _is_of_this_location(context: dg.SensorEvaluationContext, run: dg.DagsterRun) -> bool:
    """Return whether a run was started by the code server that evaluates this sensor.

    The ids of processes of another one may be those of another machine.
    """
    here, there = context.code_location_origin, run.remote_job_origin
    return here is None or there is None or here.location_name == there.location_name


def _report(instance: dg.DagsterInstance, run: dg.DagsterRun, at: datetime, alive: Alive) -> bool:
    """Report a run as failed if its process is gone; return whether it was."""
    process = _process(instance, run.run_id)
    if process is None or at - process[1] < GRACE or alive(*process):
        return False
    # It may have ended in good order between the two looks.
    again = instance.get_run_by_id(run.run_id)
    if again is None or again.is_finished:
        return False
    instance.report_run_failed(
        again,
        f"The process of this run (pid {process[0]}) is gone, and left no word why: the machine or "
        "Dagster was stopped, or it ran out of memory. What was loaded and posted until then is "
        "kept; run it again.",
    )
    return True


def _process(instance: dg.DagsterInstance, run_id: str) -> tuple[int, datetime] | None:
    """Return the process that Dagster's default launcher started for a run, and when it said so.

    None where there is none: the run was launched another way, whose launcher watches over it, or
    its process has ended in good order.
    """
    found: tuple[int, datetime] | None = None
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        message = (event.message if event is not None else None) or ""
        started = _STARTED.match(message)
        if started is not None:
            found = int(started[1]), datetime.fromtimestamp(entry.timestamp, UTC)
        elif message.startswith("Process for run exited"):
            found = None
    return found
