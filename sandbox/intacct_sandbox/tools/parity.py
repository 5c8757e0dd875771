"""The parity table: what the sandbox does as Sage Intacct does it, how that is known, and the test
that proves it. The rows are in `parity.yaml`; this makes a page of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from intacct_sandbox.objects.catalogue import load_catalogue
from intacct_sandbox.server.serving import serve

from .recordings import read_recordings
from .replay import Difference, Replay

EVIDENCE = ("documented", "recorded", "observed", "guessed")
"""From Sage's documentation; from a recording of the live API; by a named client; nobody knows."""

_HEAD = """\
# What the sandbox simulates

Made by `intacct-dagster sandbox parity`; do not edit. The rows are in
`sandbox/intacct_sandbox/tools/parity.yaml`.

*Evidence*: **documented** by Sage (documentation, OpenAPI); **recorded** from the live API;
**observed** by clients that run against it, or their authors; **guessed**: the sandbox's own
choice. *Test*: the test that proves it, in `intacct_dagster_tests/`.

Where an object's fields are *documented*, their names are those of Sage's OpenAPI and its examples;
the type of a field whose example is empty is a guess, and so is a field that no example shows.
"""


@functools.cache
def load_parity() -> Mapping[str, Any]:
    """The rows, as `parity.yaml` has them."""
    text = resources.files(__package__).joinpath("parity.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    return content if isinstance(content, dict) else {}


def named_tests(row: Mapping[str, Any]) -> list[str]:
    """The tests that a row names: `sandbox.query.test_query.test_…`."""
    named = row["test"]
    return [named] if isinstance(named, str) else list(named)


def meant(exchange: str, difference: Difference) -> str | None:
    """Why a difference between a recording and the sandbox is meant; None if it is not."""
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


def render() -> str:
    """The page, in Markdown."""
    return "\n".join([_HEAD, *_sections()])


def _sections() -> Iterator[str]:
    parity = load_parity()
    for section in parity["sections"]:
        yield f"## {section['title']}\n"
        yield _table(
            ("What", "Route", "Evidence", "Test", "Not simulated"),
            (
                (
                    row["what"],
                    f"`{row['route']}`" if "route" in row else "",
                    row["evidence"],
                    _tests(row),
                    row.get("not", ""),
                )
                for row in section["rows"]
            ),
        )
    yield "## Limits\n"
    yield _table(
        ("What", "Limit", "Evidence", "Test"),
        ((row["what"], row["value"], row["evidence"], _tests(row)) for row in parity["limits"]),
    )
    yield "## Errors\n\nIds that begin with `SBX-` are the sandbox's own: Sage's are not known.\n"
    yield _table(
        ("Id", "When", "Evidence", "Test"),
        (
            (f"`{id_}`", row["when"], row["evidence"], _tests(row))
            for id_, row in parity["errors"].items()
        ),
    )
    yield "## Objects\n"
    yield _table(("Object", "Methods", "Fields", "How its fields are known"), _objects())
    yield "## Not simulated\n"
    yield _table(
        ("What", "What happens instead"),
        ((row["what"], row["instead"]) for row in parity["not_simulated"]),
    )
    yield "## Known differences from recordings\n"
    yield _table(
        ("Exchange", "Where", "Why"),
        ((row["exchange"], f"`{row['where']}`", row["why"]) for row in parity["known_differences"]),
    )


def _objects() -> Iterator[Sequence[object]]:
    known = {
        name: evidence for evidence, names in load_parity()["objects"].items() for name in names
    }
    for name, type_ in sorted(load_catalogue().items()):
        fields = len(type_.fields) + len(type_.refs)
        methods = ", ".join(type_.methods)
        yield f"`{name}`", methods, fields, known.get(name.partition("::")[0], "guessed")


def _tests(row: Mapping[str, Any]) -> str:
    return ", ".join(f"`{one}`" for one in named_tests(row))


def _table(head: Sequence[str], rows: Iterator[Sequence[object]] | Any) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [
        f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in rows
    ]
    return "\n".join(lines) + "\n"
