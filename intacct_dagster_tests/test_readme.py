"""What the README tells a reader to type exists, and what it points to is there."""

from __future__ import annotations

import re
import shlex

import pytest
from click.testing import CliRunner

from intacct_dagster.cli import main
from intacct_dagster_tests.code_location import PROJECT

README = (PROJECT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]


def test_there_are_commands() -> None:
    assert {"make demo", "make dev", "make test"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_exists(command: str) -> None:
    program, *words = shlex.split(command)
    if program == "make":
        targets = re.findall(r"^(\w+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
        assert words[0] in targets
    elif program == "export":
        configuration = (PROJECT / "intacct.yaml").read_text(encoding="utf-8")
        for word in words:
            assert f"${{{word.split('=')[0]}:-" in configuration
    else:
        assert program == ".venv/bin/intacct-dagster"
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


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_what_the_readme_points_to_is_there(target: str) -> None:
    assert (PROJECT / target).exists()
