"""`intacct-dagster dev` over a small project, as a person's terminal has it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from intacct_dagster.defs import raw_key
from intacct_dagster_tests.code_location import PROJECT
from intacct_dagster_tests.ui_pages import JOB, LOCATION
from intacct_sandbox import CLIENT_SECRET, LAST_DAY, RunningSandbox

CUSTOMERS = raw_key("accounts-receivable/customer")
PARTITION = {"dagster/partition": f"{LAST_DAY}|E110"}
#: a variable of the environment that nothing of the project names
VARIABLE = "INTACCT_DAGSTER_TESTS_PROBE"
VALUE = "the-value-of-any-variable"
_SECONDS = 180

LAUNCH = """
mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on RunConfigValidationInvalid { errors { message } }
} }
"""


def project(folder: Path, sandbox: RunningSandbox) -> None:
    """The project with one entity and one object, and nothing that runs by itself."""
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(PROJECT / name, folder)
    settings = yaml.safe_load((PROJECT / "intacct.yaml").read_text(encoding="utf-8"))
    settings |= {
        "base_url": sandbox.base_url,
        "entities": settings["entities"][:1],
        "objects": ["accounts-receivable/customer"],
        "start_date": LAST_DAY,
        "feeds": {},
        "schedules": {"running": False},
    }
    (folder / "intacct.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")


class Dev:
    """`intacct-dagster dev` in a folder, as a person's terminal has it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.printed = ""
        self.url = self._until(r"The Dagster UI is open at (\S+)")
        self.behind = int(self._until(r"-webserver on http://127\.0\.0\.1:(\d+)"))

    def _until(self, pattern: str) -> str:
        """What the terminal shows for a pattern; fails when it shows nothing more."""
        timer = threading.Timer(_SECONDS, self.process.kill)
        timer.start()
        assert self.process.stdout is not None
        try:
            while (found := re.search(pattern, self.printed)) is None:
                line = self.process.stdout.readline()
                assert line, self.printed
                self.printed += line
        finally:
            timer.cancel()
        return found[1]

    def interrupt(self) -> int:
        """Press Ctrl-C; the exit status."""
        self.process.send_signal(signal.SIGINT)
        self.printed += self.process.communicate(timeout=60)[0]
        return self.process.returncode


@contextmanager
def dev(folder: Path, *options: str) -> Iterator[Dev]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("INTACCT_", "DAGSTER_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "intacct_dagster.cli", "dev", "--port", "0", *options],
        cwd=folder,
        env={
            **kept,
            "PYTHONPATH": str(PROJECT),
            "DAGSTER_HOME": str(folder),
            "INTACCT_CLIENT_SECRET": CLIENT_SECRET,
            VARIABLE: VALUE,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield Dev(process)
    finally:
        # it ends what it started; killed, it could not
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(subprocess.TimeoutExpired, ValueError):
            process.communicate(timeout=60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def params(resources: Mapping[str, Any]) -> dict[str, Any]:
    """A launch of one partition, with this in the launchpad under `resources`."""
    return {
        "selector": {
            "repositoryName": LOCATION["repositoryName"],
            "repositoryLocationName": LOCATION["repositoryLocationName"],
            "jobName": JOB,
            "assetSelection": [{"path": list(CUSTOMERS.path)}],
        },
        "runConfigData": {"resources": {name: {"config": c} for name, c in resources.items()}},
        "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in PARTITION.items()]},
    }
