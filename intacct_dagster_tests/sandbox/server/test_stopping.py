"""A signal ends a served sandbox, at whatever step it arrives."""

from __future__ import annotations

import subprocess
import sys

#: Serves nothing, so that only the wait is left, and gets the signal at each of its first steps. A
#: wait of fewer steps gets it from a timer.
CHILD = """
import os, signal, sys, threading
from contextlib import contextmanager
from types import SimpleNamespace
from intacct_sandbox.server import serving

@contextmanager
def nothing(**_):
    yield SimpleNamespace(info={})

def stop_once():
    if not sent.is_set():
        sent.set()
        os.kill(os.getpid(), signal.SIGTERM)

serving.serve = nothing
for step in range(1, 20):
    left, sent = step, threading.Event()

    def trace(frame, event, _):
        global left
        left -= event == "line"
        if left == 0:
            stop_once()
        return trace

    def show(_):
        sys.settrace(trace)
        sys._getframe(1).f_trace = trace

    timer = threading.Timer(0.2, stop_once)
    timer.start()
    serving.run(show)
    sys.settrace(None)
    timer.cancel()
    timer.join()
print("ended")
"""


def test_a_signal_at_any_step_of_the_wait_ends_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout == "ended\n", done.stderr
