"""The command line answers `--help` without loading what only runs need, and warns in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from intacct_dagster.cli.app import main
from intacct_dagster_tests.code_location import PROJECT


def test_help_loads_neither_dagster_nor_duckdb() -> None:
    code = (
        "import sys; from intacct_dagster.cli.app import main; main(['--help'], standalone_mode=0);"
        "print(sorted({'dagster', 'duckdb', 'pydantic', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_has_a_summary() -> None:
    context = click.Context(main)
    assert set(main.commands) == {
        *("authorize", "coverage", "demo", "dev", "doctor", "init"),
        *("objects", "posting", "rebuild", "sandbox", "sessions", "sql", "state"),
    }
    for name, command in main.commands.items():
        assert command.get_short_help_str(), name
    assert "Commands:" in main.get_help(context)


def test_an_old_name_of_a_key_is_one_line_on_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (PROJECT / "intacct.yaml").read_text(encoding="utf-8")
    file = tmp_path / "intacct.yaml"
    file.write_text(f"keep_pages: 30\n{text}", encoding="utf-8")
    monkeypatch.setenv("INTACCT_CONFIG", str(file))
    for _ in range(2):
        result = CliRunner().invoke(main, ["sessions", "list"])
        assert "Warning" not in result.stdout
        assert result.stderr.splitlines()[0] == (
            f"Warning: {file}:1: keep_pages is an old name that the next release refuses. "
            "Rename it to page_retention_days."
        )
        assert result.stderr.count("Warning") == 1
