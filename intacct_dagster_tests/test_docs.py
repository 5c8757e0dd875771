"""What README and docs/ tell a reader to type exists, their settings load, their links lead on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from intacct_dagster.cli.app import main
from intacct_dagster.config import Settings, read_settings
from intacct_dagster_tests.code_location import PROJECT
from intacct_dagster_tests.docs_commands import COMMANDS, Elsewhere, in_the_docs

PAGES = {
    str(page.relative_to(PROJECT)): page.read_text(encoding="utf-8")
    for page in (
        PROJECT / "README.md",
        PROJECT / "CONTRIBUTING.md",
        *sorted((PROJECT / "docs").rglob("*.md")),
    )
}


def _blocks(language: str) -> Iterator[tuple[str, str]]:
    for page, text in PAGES.items():
        for block in re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            yield page, block


TYPED = {
    in_the_docs(line)
    for _, block in _blocks("console")
    for line in block.splitlines()
    if line.startswith("$ ")
}
LINKED = PAGES | {
    page: (PROJECT / page).read_text(encoding="utf-8")
    for page in ("CHANGELOG.md", "sandbox/README.md")
}
LINKS = sorted(
    {(page, to) for page, text in LINKED.items() for to in re.findall(r"\]\(([^)\s]+)\)", text)}
)
#: what a page shows of intacct.yaml: each of its keys is one of the file
SETTINGS = [
    pytest.param(block, id=f"{page}-{number}")
    for number, (page, block) in enumerate(_blocks("yaml"))
    if isinstance(given := yaml.safe_load(block), dict)
    and given.keys() <= Settings.model_fields.keys()
]


def test_there_are_links_and_settings() -> None:
    assert LINKS
    assert SETTINGS


def test_every_command_is_run_or_there_is_a_reason_why_not() -> None:
    assert sorted(TYPED) == sorted(COMMANDS)
    for command, said in COMMANDS.items():
        if isinstance(said, Elsewhere):
            for file in re.findall(r"[\w/]*test_\w+\.py", said.by):
                assert list((PROJECT / "intacct_dagster_tests").rglob(file)), command


@pytest.mark.parametrize("command", sorted(c for c in COMMANDS if c.startswith("make ")))
def test_make_has_the_target(command: str) -> None:
    targets = re.findall(r"^(\w+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert command.split()[1] in targets


def test_the_sandbox_is_asked_what_the_parity_table_names() -> None:
    asked = {command.split()[2] for command in COMMANDS if command.startswith("curl ")}
    assert asked
    for address in asked:
        assert f"POST {address.removeprefix('localhost:8765')}`" in PAGES["docs/sandbox-parity.md"]


@pytest.mark.parametrize("command", sorted(c for c in COMMANDS if c.startswith("intacct-dagster ")))
def test_a_command_has_its_options(command: str) -> None:
    words = shlex.split(command)[1:]
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
