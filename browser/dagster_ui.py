"""The code location after a demo of two days, served by Dagster's UI, for a browser to open."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent
DAYS = 2
ENTITIES = {"E140": "aus", "E110": "usa"}
_START_SECONDS = 120
_RUNS = """
query runs($filter: RunsFilter) {
  runsOrError(filter: $filter) { ... on Runs { results { status } } }
}
"""


class UI:
    """Dagster's UI at `url`, over the project in `folder`."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder

    def query(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """What the UI's own interface answers."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
        assert "errors" not in found, found
        return dict(found["data"])

    def wait_for_runs(self, which: Mapping[str, Any], seconds: int = 300) -> list[str]:
        """How the runs of this filter ended, once there are any and all have ended."""
        ended = {"SUCCESS", "FAILURE", "CANCELED"}
        filtered = {"filter": which}
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            runs = self.query(_RUNS, filtered)["runsOrError"]["results"]
            statuses = [str(each["status"]) for each in runs]
            if statuses and ended.issuperset(statuses):
                return statuses
            time.sleep(1)
        raise AssertionError(f"no run of {which} ended within {seconds} s")

    @contextmanager
    def daemon(self) -> Iterator[None]:
        """Dagster's daemon, which carries out what is asked for in the UI."""
        script = str(Path(sys.executable).with_name("dagster-daemon"))
        with _process(self.folder, script, "run", "-w", "workspace.yaml"):
            yield


@contextmanager
def demo_in_the_ui(folder: Path) -> Iterator[UI]:
    """Runs the demo in a copy of the project, and serves the UI over what it left."""
    for name in ("intacct.yaml", "dagster.yaml", "workspace.yaml"):
        shutil.copy(PROJECT / name, folder)
    settings = folder / "intacct.yaml"
    # The days that the demo reads, of two entities. The check of an asset shows what was judged
    # last, so the one with rejections comes last.
    entities = "".join(f"  - {{id: {name}, user: {user}}}\n" for name, user in ENTITIES.items())
    text = settings.read_text(encoding="utf-8").replace("2026-09-30", "2026-10-12", 1)
    text, found = re.subn(r"(?m)^(entities:.*\n)(  - .*\n)+", rf"\1{entities}", text)
    assert found == 1
    settings.write_text(text, encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "intacct_dagster.cli", "demo", "--days", str(DAYS)],
        cwd=folder,
        env=_environment(folder),
        check=True,
        timeout=300,
        stdout=subprocess.DEVNULL,
    )
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    where = ("-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port))
    with _process(folder, "-m", "dagster_webserver", *where) as process:
        _until_it_answers(f"{url}/server_info", process)
        yield UI(url, folder)


@contextmanager
def _process(folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process in a session of its own, ended with all that it started."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=_environment(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=15)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the UI ended before it answered"
        with suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.5)
    raise AssertionError(f"the UI did not answer within {_START_SECONDS} s")


def _environment(folder: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("INTACCT_", "DAGSTER_"))
    }
    # the daemon, unlike the others, does not look for dagster.yaml where it is started
    ours = {"DAGSTER_HOME": str(folder), "PYTHONPATH": str(PROJECT), "PYTHONWARNINGS": "ignore"}
    return {**kept, **ours}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
