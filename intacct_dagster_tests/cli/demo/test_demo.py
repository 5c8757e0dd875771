"""`make demo`, as the README has it: twice, with the docs' commands, and with odd books."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from intacct_dagster.cli.demo.sandbox_company import SANDBOX_FOLDER, sandbox_beside
from intacct_dagster.cli.dev.run import run_dev
from intacct_dagster.cli.dev.ui_guard import UIError
from intacct_dagster_tests.code_location import PROJECT
from intacct_dagster_tests.docs_commands import run_commands
from intacct_sandbox import SandboxError, write_sales_feed

DAYS = 14
CONFIGURATION = ("intacct.yaml", "dagster.yaml")


def run(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        # COLUMNS: the README shows 80, whatever terminal the tests run in
        if not name.startswith(("INTACCT_", "DAGSTER_", "COLUMNS", "MAKE", "MFLAGS"))
    }
    return subprocess.run(
        command,
        cwd=project,
        env={**environment, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def make_demo(project: Path) -> tuple[dict[str, Any], str]:
    """Runs the README's command in a copy of the project with the environment that is there."""
    for name in (*CONFIGURATION, "Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy2(PROJECT / name, project)
    environment = Path(sys.executable).parent.parent  # this very interpreter
    path = project / "summary.json"
    ran = run(project, "make", "demo", f"VENV={environment}", f"ARGS=--json {path}")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(path.read_text(encoding="utf-8")), ran.stdout


def shown_in_readme() -> list[str]:
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- what `make demo` prints last.*?```text\n(.*?)```", text, re.DOTALL)
    assert block is not None
    return without_measures(block[1])


def without_measures(text: str) -> list[str]:
    # Seconds differ from machine to machine, and a request more or less tells nobody anything.
    return [
        line.rstrip() for line in text.splitlines() if not re.match(r"[\d,]+ requests, which", line)
    ]


def test_the_first_run_posts_what_is_missing_the_second_nothing_and_the_docs_go_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = write_sales_feed(tmp_path / "facts", seed=1, days=DAYS)
    first, told = make_demo(tmp_path)

    assert first["books_agree"]
    for entity, expected in facts.entities.items():
        assert first["documents"][entity] == {
            "source": expected.documents,
            "matched": expected.matched,
            "different": expected.different,
            "duplicate": expected.duplicate,
            "invalid": expected.invalid,
            "held": first["documents"][entity]["held"],
            "posted": expected.missing_good,
            "rejected": sum(expected.rejected.values()) - first["documents"][entity]["held"],
            "uncertain": 0,
        }
    assert first["posted"] > 2000
    assert set(first["held"]) == {"period_open", "references_usable"}
    assert len(first["rejected"]) == 1, "what the gates cannot know, Intacct says"
    assert first["lines_in_quarantine"] == sum(facts.malformed_lines.values())
    assert first["transactions"] > first["posted"]
    assert set(first["seconds"]) == {
        "extract",
        "current",
        "reconcile",
        "plan",
        "post",
        "crosswalk",
    }
    shown = shown_in_readme()
    assert without_measures(told)[-len(shown) :] == shown

    second, told = make_demo(tmp_path)
    assert second["books_agree"]
    assert second["posted"] == 0
    assert second["rejected"] == first["rejected"]
    assert second["held"] == first["held"]
    assert "Nothing was posted" in told

    with sandbox_beside(tmp_path / SANDBOX_FOLDER, port=0) as base_url:
        run_commands(tmp_path, base_url, monkeypatch)


def test_books_that_hold_what_no_ledger_accounts_for_fail_the_demo(tmp_path: Path) -> None:
    for name in CONFIGURATION:
        shutil.copy(PROJECT / name, tmp_path)
    configuration = tmp_path / "intacct.yaml"
    text = configuration.read_text(encoding="utf-8")
    objects = "objects: [accounts-receivable/invoice]\nwarehouse:"
    configuration.write_text(re.sub(r"objects:.*?\nwarehouse:", objects, text, flags=re.DOTALL))
    command = (sys.executable, "-m", "intacct_dagster.cli", "demo", "--days", "1")
    assert run(tmp_path, *command).returncode == 0
    (tmp_path / "data/state.db").unlink()

    ran = run(tmp_path, *command)

    assert ran.returncode == 1
    assert "The sandbox's books do not agree" in ran.stdout
    assert "the ledger does not call it posted" in ran.stdout
    assert "Traceback" not in ran.stdout + ran.stderr


def test_a_sandbox_that_runs_already_is_used_and_left_running(tmp_path: Path) -> None:
    with sandbox_beside(tmp_path, port=0) as outer:
        with sandbox_beside(tmp_path, port=0) as inner:
            assert inner == outer
        with sandbox_beside(tmp_path, port=0) as again:
            assert again == outer


def test_a_sandbox_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        sandbox_beside(tmp_path / "one", port=0) as base_url,
        pytest.raises(SandboxError, match="is taken"),
        sandbox_beside(tmp_path / "two", port=int(base_url.split(":")[2].split("/")[0])),
    ):
        pass


def test_without_the_webserver_dev_says_which_command_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "dagster_webserver", None)
    with pytest.raises(UIError, match=r"pip install 'intacct_dagster\[ui\]'"):
        run_dev(host="127.0.0.1", port=0)
