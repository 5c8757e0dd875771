"""The hooks of pre-commit: the project's own tools and nothing from elsewhere."""

from __future__ import annotations

import re
import shlex
from typing import Any

import yaml

from intacct_dagster_tests.code_location import PROJECT

REPOSITORIES: list[dict[str, Any]] = yaml.safe_load(
    (PROJECT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
)["repos"]


def test_hooks_are_local_and_download_nothing() -> None:
    assert [each["repo"] for each in REPOSITORIES] == ["local"]
    assert {hook["language"] for hook in REPOSITORIES[0]["hooks"]} == {"system"}


def test_hooks_run_what_make_lint_runs() -> None:
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    linted = [line.split("$(BIN)/")[1].removesuffix(" .") for line in recipe[1].splitlines()]
    hooks = [shlex.split(hook["entry"]) for hook in REPOSITORIES[0]["hooks"]]
    tools = [" ".join(words).removeprefix(".venv/bin/").split(" --")[0] for words in hooks]
    assert tools == [line.split(" --")[0] for line in linted]
