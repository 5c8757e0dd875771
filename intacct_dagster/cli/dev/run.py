"""`intacct-dagster dev`: the Dagster UI behind its guard, and the sandbox beside it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from intacct_dagster.cli.child_process import end_process
from intacct_dagster.cli.dagster_instance import open_instance
from intacct_dagster.cli.dev.ui_guard import UIError, answers, blocked_port, guarded
from intacct_dagster.config import load_settings

#: Seconds that Dagster's webserver may take to come up, on a busy machine.
_UI_SECONDS = 300
#: Seconds that Dagster's processes wait for each other's answers. Within the minute that is their
#: default a busy machine did not start runs, which were then held to have failed (seen).
_PATIENT = {"DAGSTER_GRPC_TIMEOUT_SECONDS": "300"}


def run_dev(*, host: str, port: int, hosts: Sequence[str] = ()) -> int:
    """Serve the Dagster UI, and the sandbox beside it if that is the company.

    Args:
        host: The address that the UI listens on.
        port: Its port; 0 takes a free one.
        hosts: Names that the UI is reached by, besides `host` and those of this machine.

    Returns:
        The exit status of Dagster.

    Raises:
        UIError: The address is taken, or the UI is not installed.
    """
    if importlib.util.find_spec("dagster_webserver") is None:
        raise UIError(
            "The Dagster UI needs dagster-webserver, which is not installed.\n"
            "Install it: pip install 'intacct_dagster[ui]'"
        )
    settings = load_settings()
    if settings.webserver_url:
        hosts = [*hosts, urlsplit(settings.webserver_url).hostname or ""]
    os.chdir(settings.directory)
    with open_instance():
        pass  # made once, before several processes open it: a fresh history is not made for a race
    if not settings.is_sandbox:
        return _serve_ui(host, port, hosts)
    # Only here: a real company has no need of the sandbox package.
    from intacct_dagster.cli.demo import sandbox_company

    if sandbox_company.FEED not in settings.feeds:
        # A file of one's own for the sandbox says where it is, and whoever wrote it serves it.
        return _serve_ui(host, port, hosts)
    settings = sandbox_company.sandbox_settings()
    if not list(Path(settings.feeds[sandbox_company.FEED].files[0]).parent.glob("*.csv")):
        sandbox_company.write_feed(settings, sandbox_company.days_to_last(settings))
    wanted = urlsplit(settings.base_url).port or 80
    folder = settings.directory / sandbox_company.SANDBOX_FOLDER
    with sandbox_company.sandbox_beside(folder, port=wanted) as base_url:
        os.environ["INTACCT_BASE_URL"] = base_url
        return _serve_ui(host, port, hosts)


def _serve_ui(host: str, port: int, hosts: Sequence[str]) -> int:
    with guarded(host, port, hosts) as guard:
        behind = blocked_port()
        url = f"http://{f'[{host}]' if ':' in host else host}:{guard.port}"
        print(f"The Dagster UI is coming up at {url} (Ctrl-C stops it)", flush=True)
        command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml"]
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [*command, "-h", "127.0.0.1", "-p", str(behind)],
            # "Use `dg dev` instead": `dagster dev` is what comes with the packages we have
            env={**_PATIENT, **os.environ, "PYTHONWARNINGS": "ignore"},
            start_new_session=True,
        )
        try:
            if _listens(process, behind):
                guard.open(behind)
                # Dagster's own log names the port behind the guard, which no browser opens.
                print(f"The Dagster UI is open at {url}", flush=True)
            return process.wait()
        except KeyboardInterrupt:
            return 0  # Ctrl-C is how it is meant to end
        finally:
            end_process(process)


def _listens(process: subprocess.Popen[Any], port: int) -> bool:
    """Wait until the webserver that `process` starts listens. Return False if `process` ends first.

    Raises:
        UIError: It took too long.
    """
    deadline = time.monotonic() + _UI_SECONDS
    while time.monotonic() < deadline:
        if answers(port):
            return True
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)
            return False
    raise UIError(f"Dagster's webserver did not come up within {_UI_SECONDS} s. Try again.")
