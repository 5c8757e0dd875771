"""What README and docs/ tell a reader to type exists, their settings load, their links lead on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from intacct_dagster.cli import main
from intacct_dagster.config import Settings, read_settings
from intacct_dagster_tests.code_location import PROJECT

PAGES = {
    str(page.relative_to(PROJECT)): page.read_text(encoding="utf-8")
    for page in (PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")))
}


def _blocks(language: str) -> Iterator[tuple[str, str]]:
    for page, text in PAGES.items():
        for block in re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            yield page, block


COMMANDS = sorted(
    {
        line.removeprefix("$ ")
        for _, block in _blocks("console")
        for line in block.splitlines()
        if line.startswith("$ ")
    }
)
LINKS = sorted(
    {(page, to) for page, text in PAGES.items() for to in re.findall(r"\]\(([^)\s]+)\)", text)}
)
#: what a page shows of intacct.yaml: each of its keys is one of the file
SETTINGS = [
    pytest.param(block, id=f"{page}-{number}")
    for number, (page, block) in enumerate(_blocks("yaml"))
    if isinstance(given := yaml.safe_load(block), dict)
    and given.keys() <= Settings.model_fields.keys()
]


def test_there_are_commands_links_and_settings() -> None:
    assert {"make demo", "make dev", "make test"} <= set(COMMANDS)
    assert LINKS
    assert SETTINGS


def _makes(words: Sequence[str]) -> None:
    targets = re.findall(r"^(\w+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert words[0] in targets


def _exports(words: Sequence[str]) -> None:
    read_by = [PROJECT / "intacct.yaml", *PROJECT.glob("deploy/*"), *PROJECT.glob("*/*.py")]
    text = "\n".join(each.read_text(encoding="utf-8") for each in read_by if each.is_file())
    for word in words:
        assert word.split("=")[0] in text


def _copies(words: Sequence[str]) -> None:
    assert (PROJECT / words[0]).exists()


def _asks_the_sandbox(words: Sequence[str]) -> None:
    # its control API, whose routes the parity table names with their tests
    (address,) = (word for word in words if word.startswith("localhost:8765/_sandbox/"))
    assert f"POST {address.removeprefix('localhost:8765')}`" in PAGES["docs/sandbox-parity.md"]


def _is_ours(words: Sequence[str]) -> None:
    options = [word for word in words if word.startswith("--")]
    names = words[: words.index(options[0])] if options else words
    # the words before the options are the command, or the command and its arguments
    help_text = next(
        shown.output
        for end in range(len(names), 0, -1)
        if (shown := CliRunner().invoke(main, [*names[:end], "--help"])).exit_code == 0
    )
    for option in options:
        assert option in help_text


_HOW = {
    "make": _makes,
    "export": _exports,
    "cp": _copies,
    "curl": _asks_the_sandbox,
    "intacct-dagster": _is_ours,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_exists(command: str) -> None:
    program, *words = shlex.split(command, comments=True)
    name = program.removeprefix(".venv/bin/")
    if name in _HOW:
        _HOW[name](words)
    else:
        assert name in {each.name for each in entry_points(group="console_scripts")} | {"pip"}


@pytest.mark.parametrize(("page", "to"), LINKS)
def test_a_link_leads_to_what_is_there(page: str, to: str) -> None:
    target, _, heading = to.partition("#")
    if target.startswith("http"):
        return  # nothing outside is asked for in a test
    file = PROJECT / Path(page).parent / target if target else PROJECT / page
    assert file.exists()
    if heading:
        headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert heading in {
            re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings
        }


@pytest.mark.parametrize("block", SETTINGS)
def test_what_a_page_shows_of_the_settings_loads(
    block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in re.findall(r"\$\{([A-Z_]+)\}", block):
        monkeypatch.setenv(name, "from-the-environment")
    own = yaml.safe_load((PROJECT / "intacct.yaml").read_text(encoding="utf-8"))
    text = yaml.safe_dump(own | yaml.safe_load(block), allow_unicode=True)
    read_settings(text, file=PROJECT / "intacct.yaml")
