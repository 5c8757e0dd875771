"""CI finds what tests leave in the project, and nothing that installs and tools leave there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from intacct_dagster_tests.code_location import PROJECT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A git repository with the project's script and .gitignore, and a `data` that is there."""
    project = tmp_path / "project"
    (project / ".ci").mkdir(parents=True)
    shutil.copy(PROJECT / ".ci/left-behind", project / ".ci")
    shutil.copy(PROJECT / ".gitignore", project)
    (project / "module.py").write_text("x = 1\n")
    for words in (
        ["init", "--quiet"],
        ["add", "--all"],
        ["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "-m", "all"],
    ):
        subprocess.run(["git", *words], cwd=project, check=True, capture_output=True)
    (project / "data").mkdir()
    (project / "data/warehouse.duckdb").write_text("from a demo")
    return project


def left_behind(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [project / ".ci/left-behind", *words], check=False, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("token.key", "!! token.key"),
        ("data/state.db", "!! data/state.db"),
        (".tmp_dagster_home_x/history.db", "!! .tmp_dagster_home_x/history.db"),
        ("out.csv", "?? out.csv"),
        ("tests/with space.csv", "tests/with space.csv"),
        ("module.py", " M module.py"),
    ],
)
def test_what_is_new_is_printed_and_fails(
    project: Path, file: str, said: str, tmp_path: Path
) -> None:
    before = tmp_path / "before"
    before.write_text(left_behind(project).stdout)
    (project / file).parent.mkdir(exist_ok=True)
    (project / file).write_text("left by a test")
    found = left_behind(project, str(before))
    assert found.returncode == 1
    assert said in found.stderr
    assert "warehouse.duckdb" not in found.stderr


def test_what_tools_leave_and_what_was_there_is_not(project: Path, tmp_path: Path) -> None:
    before = tmp_path / "before"
    before.write_text(left_behind(project).stdout)
    assert "data/warehouse.duckdb" in before.read_text()
    for folder in (".venv/bin", "a/__pycache__", ".pytest_cache", "x.egg-info", ".mypy_cache/3"):
        (project / folder).mkdir(parents=True)
        (project / folder / "file").write_text("of a tool")
    found = left_behind(project, str(before))
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
