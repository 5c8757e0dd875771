"""`make demo`, as the README has it: twice, with the docs' commands, and with odd books."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from intacct_dagster.cli.demo.sandbox_company import SANDBOX_FOLDER, sandbox_beside
from intacct_dagster.cli.dev.run import run_dev
from intacct_dagster.cli.dev.ui_guard import UIError
from intacct_dagster_tests.code_location import PROJECT
from intacct_dagster_tests.docs_commands import run_commands
from intacct_sandbox import SalesFeedFacts, SandboxError, write_sales_feed

DAYS = 14
#: Days of the demo in `make test`; `make slow` runs the one whose table is in the README.
SHORT = 2
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


def make_demo(project: Path, *, days: int = DAYS) -> tuple[dict[str, Any], str]:
    """Run the README's command in a copy of the project with the environment that is there."""
    environment = Path(sys.executable).parent.parent  # this very interpreter
    path = project / "summary.json"
    ran = run(project, "make", "demo", f"VENV={environment}", f"ARGS=--json {path} --days {days}")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(path.read_text(encoding="utf-8")), ran.stdout


def copy_project(folder: Path) -> None:
    """Copy what `make demo` reads."""
    for name in (*CONFIGURATION, "Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy2(PROJECT / name, folder)


def agrees(summary: dict[str, Any], facts: SalesFeedFacts) -> None:
    """Compare the outcome of each document of the entities with what is known of the feed."""
    assert summary["books_agree"]
    for entity, found in summary["documents"].items():
        expected = facts.entities[entity]
        assert found == {
            "source": expected.documents,
            "matched": expected.matched,
            "different": expected.different,
            "duplicate": expected.duplicate,
            "invalid": expected.invalid,
            "held": found["held"],
            "posted": expected.missing_good,
            "rejected": sum(expected.rejected.values()) - found["held"],
            "uncertain": 0,
        }
    assert summary["transactions"] > summary["posted"]
    assert set(summary["seconds"]) == {
        "extract",
        "current",
        "reconcile",
        "plan",
        "post",
        "crosswalk",
    }


def shown_in_readme() -> list[str]:
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- what `make demo` prints last.*?```text\n(.*?)```", text, re.DOTALL)
    assert block is not None
    return without_measures(block[1])


def without_measures(text: str) -> list[str]:
    # Seconds differ from machine to machine, and a request more or less says nothing.
    return [
        line.rstrip() for line in text.splitlines() if not re.match(r"[\d,]+ requests, which", line)
    ]


@pytest.mark.slow
def test_the_first_run_posts_what_is_missing_the_second_nothing_and_the_docs_go_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_project(tmp_path)
    facts = write_sales_feed(tmp_path / "facts", seed=1, days=DAYS)
    first, printed = make_demo(tmp_path)

    agrees(first, facts)
    assert set(first["documents"]) == set(facts.entities)
    assert first["posted"] > 2000
    assert set(first["held"]) == {"period_open", "references_usable"}
    assert len(first["rejected"]) == 1, "Intacct rejects what the checks before it cannot know"
    assert first["lines_in_quarantine"] == sum(facts.malformed_lines.values())
    shown = shown_in_readme()
    assert without_measures(printed)[-len(shown) :] == shown

    second, printed = make_demo(tmp_path)
    assert second["books_agree"]
    assert second["posted"] == 0
    assert second["rejected"] == first["rejected"]
    assert second["held"] == first["held"]
    assert "Nothing was posted" in printed

    with sandbox_beside(tmp_path / SANDBOX_FOLDER, port=0) as base_url:
        run_commands(tmp_path, base_url, monkeypatch, rejected=4)


@dataclass(frozen=True)
class ShortDemo:
    """The folder and the summary of a demo of two days and two entities. Copy it before use."""

    folder: Path
    summary: dict[str, Any]

    def copy(self, folder: Path) -> Path:
        """Copy the folder, so that a test may go on from there."""
        return Path(shutil.copytree(self.folder, folder, dirs_exist_ok=True))


@pytest.fixture(scope="module")
def short_demo(tmp_path_factory: pytest.TempPathFactory) -> ShortDemo:
    """Run the demo once for the tests that go on from it."""
    folder = tmp_path_factory.mktemp("short_demo")
    copy_project(folder)
    configuration = folder / "intacct.yaml"
    text = configuration.read_text(encoding="utf-8")
    configuration.write_text(re.sub(r"  - \{id: E1[24]0,.*\n", "", text), encoding="utf-8")
    summary, _ = make_demo(folder, days=SHORT)
    return ShortDemo(folder, summary)


def test_a_short_demo_posts_what_is_missing_and_its_second_run_nothing(
    short_demo: ShortDemo, tmp_path: Path
) -> None:
    facts = write_sales_feed(tmp_path / "facts", seed=1, days=SHORT)
    first = short_demo.summary
    agrees(first, facts)
    assert set(first["documents"]) == {"E110", "E130"}
    assert first["posted"] > 200
    assert set(first["held"]) == {"references_usable"}
    assert len(first["rejected"]) == 1, "Intacct rejects what the checks before it cannot know"

    second, printed = make_demo(short_demo.copy(tmp_path / "again"), days=SHORT)

    assert second["books_agree"]
    assert second["posted"] == 0
    assert second["rejected"] == first["rejected"]
    assert second["held"] == first["held"]
    assert "Nothing was posted" in printed


def test_the_commands_of_the_docs_go_on_from_the_demo(
    short_demo: ShortDemo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = short_demo.copy(tmp_path / "project")
    with sandbox_beside(project / SANDBOX_FOLDER, port=0) as base_url:
        run_commands(project, base_url, monkeypatch, rejected=2)


def test_books_that_hold_what_no_ledger_accounts_for_fail_the_demo(
    short_demo: ShortDemo, tmp_path: Path
) -> None:
    project = short_demo.copy(tmp_path / "project")
    for lost in (project / "data").glob("*"):
        if lost.is_file() and lost.name.startswith(("state.db", "warehouse")):
            lost.unlink()
    configuration = project / "intacct.yaml"
    text = configuration.read_text(encoding="utf-8")
    objects = "objects: [accounts-receivable/invoice]\nwarehouse:"
    configuration.write_text(re.sub(r"objects:.*?\nwarehouse:", objects, text, flags=re.DOTALL))

    ran = run(project, sys.executable, "-m", "intacct_dagster.cli", "demo", "--days", str(SHORT))

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
