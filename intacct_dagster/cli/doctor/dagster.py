"""Checks of Dagster: its instance and its daemons."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from intacct_dagster.cli.doctor.examination import Examination, Finding, Verdict


def dagster_instance(examination: Examination) -> Iterator[Finding]:
    home = os.environ.get("DAGSTER_HOME")
    folder = Path(home) if home else examination.settings.directory
    if not (folder / "dagster.yaml").is_file():
        yield Finding(
            "dagster",
            Verdict.WARNING,
            f"{folder} has no dagster.yaml: history is kept for as long as a process lives",
            "Copy dagster.yaml of the project there, or set DAGSTER_HOME.",
        )
        return
    import dagster as dg  # noqa: PLC0415 - two seconds that the checks before need not wait for

    try:
        here = Path.cwd()
        os.chdir(folder)
        try:
            instance = dg.DagsterInstance.from_config(str(folder))
        finally:
            os.chdir(here)
    except Exception as error:
        yield Finding(
            "dagster",
            Verdict.ERROR,
            f"the instance of {folder} cannot be opened: {type(error).__name__}: {error}",
            "Correct dagster.yaml; see docs.dagster.io, Dagster instance.",
        )
        return
    with instance:
        yield Finding("dagster", Verdict.OK, f"the instance of {folder} opens")
        yield from _daemons(instance.get_daemon_heartbeats())


def _daemons(heartbeats: object) -> Iterator[Finding]:
    beats = heartbeats if isinstance(heartbeats, dict) else {}
    latest = max((float(each.timestamp) for each in beats.values()), default=0.0)
    errors = sorted(name for name, each in beats.items() if each.errors)
    if not beats or time.time() - latest > 300:
        yield Finding(
            "daemons",
            Verdict.WARNING,
            "no daemon is running: schedules and sensors do nothing, queued runs wait",
            "Start `dagster-daemon run`, or `intacct-dagster dev` on a laptop.",
        )
    elif errors:
        yield Finding(
            "daemons",
            Verdict.WARNING,
            f"{', '.join(errors)} reported errors",
            "Look at Deployment > Daemons in the UI.",
        )
    else:
        yield Finding("daemons", Verdict.OK, f"{len(beats)} daemons are running")
