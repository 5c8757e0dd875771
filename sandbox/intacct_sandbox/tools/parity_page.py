"""Make the page docs/sandbox-parity.md from the parity table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from intacct_sandbox.objects.catalogue import load_catalogue

from .parity import load_parity, named_tests

_HEAD = """\
# What the sandbox simulates

Made by `make parity`; do not edit. The rows are in `sandbox/intacct_sandbox/tools/parity.yaml`.

*Evidence*: **documented** by Sage (documentation, OpenAPI); **recorded** from the live API;
**observed** by clients that run against it, or their authors; **guessed**: the sandbox's own
choice. *Test*: the test that proves it, in `intacct_dagster_tests/`.

Where an object's fields are *documented*, their names are those of Sage's OpenAPI and its examples;
the type of a field whose example is empty is a guess, and so is a field that no example shows.
"""


def render() -> str:
    """Return the page in Markdown."""
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
