"""The sandbox company of the project: its process, its settings and its feed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from intacct_dagster.cli.child_process import end_process
from intacct_dagster.config import CONFIG_VARIABLE, ConfigError, Settings, load_settings
from intacct_sandbox import LAST_DAY, SandboxError, write_sales_feed

SEED = 1
FEED = "sales_invoices"
SANDBOX_FOLDER = Path("data/sandbox")
START_SECONDS = 60
#: What a project that runs by itself consists of.
PROJECT_FILES = ("intacct.yaml", "dagster.yaml", "workspace.yaml")


def write_project(folder: Path) -> list[Path]:
    """Write the sandbox company's settings into a folder that is no project yet.

    Return the files that were written: none in a clone, nor where `INTACCT_CONFIG` names a file.
    """
    files = [folder / name for name in PROJECT_FILES]
    if os.environ.get(CONFIG_VARIABLE) or any(file.exists() for file in files):
        return []
    package = Path(__file__).resolve().parents[2]
    # The wheel has the files; an editable installation leaves them where the package's folder is.
    source = package / "project" if (package / "project").is_dir() else package.parent
    for file in files:
        file.write_bytes((source / file.name).read_bytes())
    return files


@contextmanager
def sandbox_beside(folder: Path, *, port: int) -> Iterator[str]:
    """Yield the base URL of a sandbox with its books in `folder`: a running one, or our own.

    Our own is a process of its own, so that client and server do not share an interpreter, and it
    ends with the block. Raises SandboxError if it does not start.
    """
    running = _running_sandbox(folder)
    if running is not None:
        yield running
        return
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [
            *(sys.executable, "-m", "intacct_sandbox"),
            *("--port", str(port), "--seed", str(SEED), "--state", str(folder)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield _ready_line(process)["base_url"]
    finally:
        end_process(process)


def _running_sandbox(folder: Path) -> str | None:
    try:
        info = json.loads((folder / "sandbox.json").read_text(encoding="utf-8"))
        base_url = str(info["base_url"])
        httpx.get(control_url(base_url, "health"), timeout=2).raise_for_status()
    except (OSError, ValueError, KeyError, httpx.HTTPError):
        return None  # not running, or left behind by one that was killed
    return base_url


def _ready_line(process: subprocess.Popen[str]) -> dict[str, Any]:
    if process.stdout is None or process.stderr is None:
        raise AssertionError("the sandbox was started with pipes")
    timer = threading.Timer(START_SECONDS, process.kill)
    timer.start()
    try:
        line = process.stdout.readline()
    finally:
        timer.cancel()
    if line.startswith("{"):
        ready: dict[str, Any] = json.loads(line)
        return ready

    process.kill()
    message = process.stderr.read().strip().removeprefix("Error: ")
    raise SandboxError(message or f"The sandbox was not ready within {START_SECONDS} s.")


def control_url(base_url: str, what: str) -> str:
    """Return an address of the sandbox's control API, which no Intacct has."""
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc}/_sandbox/{what}"


def sandbox_settings() -> Settings:
    """Return the project's settings, in its folder. Raise ConfigError unless it is the sandbox."""
    settings = load_settings()
    if not settings.is_sandbox:
        raise ConfigError(
            f"intacct.yaml is set for {settings.base_url}. The demo posts invented invoices and "
            "runs only on the sandbox: unset INTACCT_BASE_URL, or use the project's own file."
        )
    if FEED not in settings.feeds:
        raise ConfigError(f"intacct.yaml has no feed {FEED}, which the demo posts.")
    # dagster.yaml and the feeds' files are relative to the project.
    os.chdir(settings.directory)
    return settings


def write_feed(settings: Settings, days: int) -> None:
    """Write the feed's files for the last `days` days in place of those that are there."""
    folder = Path(settings.feeds[FEED].files[0]).parent
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("sales_*.csv"):
        old.unlink()
    write_sales_feed(folder, seed=SEED, days=days)


def days_to_last(settings: Settings) -> int:
    """Return the number of days from the project's first partition to the company's last day."""
    return (LAST_DAY - settings.start_date).days + 1
