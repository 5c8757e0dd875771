"""A process that a command started: ended with everything that it started in turn."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import Any

STOP_SECONDS = 15


def end_process(process: subprocess.Popen[Any]) -> None:
    """End a process that we started in a session of its own, and what it started in turn.

    It is asked to, and after STOP_SECONDS it is made to.
    """
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
