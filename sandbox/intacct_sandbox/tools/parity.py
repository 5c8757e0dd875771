"""The parity table: what the sandbox does as Sage Intacct does it, how that is known, and the test
that proves it. The rows are in `parity.yaml`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from intacct_sandbox.server.serving import serve

from .comparison import ReplayDifference
from .recordings import read_recordings
from .replay import Replay

EVIDENCE = ("documented", "recorded", "observed", "guessed")
"""From Sage's documentation; from a recording of the live API; by a named client; nobody knows."""


@functools.cache
def load_parity() -> Mapping[str, Any]:
    """Return the rows, as `parity.yaml` has them."""
    text = resources.files(__package__).joinpath("parity.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    return content if isinstance(content, dict) else {}


def named_tests(row: Mapping[str, Any]) -> list[str]:
    """Return the tests that a row names: `sandbox.query.test_query.test_…`."""
    named = row["test"]
    return [named] if isinstance(named, str) else list(named)


def meant(exchange: str, difference: ReplayDifference) -> str | None:
    """Return why a difference between a recording and the sandbox is meant; None if it is not."""
    for row in load_parity()["known_differences"]:
        if fnmatchcase(exchange, row["exchange"]) and fnmatchcase(difference.where, row["where"]):
            return str(row["why"])
    return None


def replay_directory(directory: Path, say: Callable[[str], None]) -> bool:
    """Replay the recorded exchanges below a directory against a fresh sandbox.

    Says a verdict on each, and gives whether all differences are meant. Raises `SandboxError` when
    there is nothing to replay.
    """
    exchanges, empty = read_recordings(directory)
    for name in empty:
        say(f"-     {name}: no exchange in it")
    worst = differing = 0
    with serve() as running:
        replay = Replay(running.base_url)
        for exchange in exchanges:
            verdict = replay.run(exchange)
            shown = f"{exchange.source}: {verdict.subject}"
            if verdict.skipped is not None:
                say(f"skip  {shown}: {verdict.skipped}")
                continue
            whys = [(one, meant(verdict.subject, one)) for one in verdict.differences]
            unmeant = [one for one, why in whys if why is None]
            worst += len(unmeant)
            differing += bool(unmeant)
            notes = f" ({'; '.join(verdict.notes)})" if verdict.notes else ""
            label = "DIFF" if unmeant else "named" if whys else "same"
            say(f"{label:5} {shown}{notes}")
            for one in unmeant:
                say(f"        {one}")
            for one, why in whys:
                if why is not None:
                    say(f"        known: {one.where}: {why}")
    say(
        f"{len(exchanges)} exchanges, {differing} of them with differences that the parity table "
        f"does not name ({worst})."
        if worst
        else f"{len(exchanges)} exchanges, no difference that the parity table does not name."
    )
    return not worst
