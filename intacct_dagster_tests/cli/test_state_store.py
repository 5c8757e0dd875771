"""`intacct-dagster state`: a backup is whole, and one that is put back is checked first."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from intacct_dagster.cli.app import main
from intacct_dagster.config import Settings
from intacct_dagster.state import open_state
from intacct_dagster.state.ledger import Ledger
from intacct_dagster_tests.code_location import sandbox_settings
from intacct_dagster_tests.state.test_ledger_of_0_1_0 import creation


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = sandbox_settings("http://127.0.0.1:1/ia/api/v1", tmp_path)
    monkeypatch.setattr("intacct_dagster.cli.state_store.load_settings", lambda: settings)
    return settings


def state(*arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(main, ["state", *arguments])
    assert result.exit_code == exit_code, result.output
    return result.output


def plan(settings: Settings, source_id: str) -> None:
    engine = open_state(settings.state)
    Ledger(engine, settings.company).plan(
        "accounts-receivable/invoice", "E110", "sales", [creation(source_id)], run_id="run"
    )
    engine.dispose()


def planned(settings: Settings) -> list[str]:
    engine = open_state(settings.state)
    entries = Ledger(engine, settings.company).entries("accounts-receivable/invoice", "E110")
    engine.dispose()
    return [each.source_id for each in entries]


def test_a_backup_that_is_put_back_is_as_it_was(settings: Settings, tmp_path: Path) -> None:
    plan(settings, "A")
    copy = tmp_path / "kept/state.backup"
    assert str(copy) in state("backup", str(copy))
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    plan(settings, "B")

    said = state("restore", str(copy), "--yes")

    assert planned(settings) == ["A"]
    assert "state compare" in said
    (before,) = (settings.directory / "data").glob("*.before-*")
    with closing(sqlite3.connect(before)) as connection:
        held = connection.execute("SELECT source_id FROM posting_items ORDER BY 1").fetchall()
    assert held == [("A",), ("B",)]


def test_a_backup_overwrites_nothing(settings: Settings, tmp_path: Path) -> None:
    plan(settings, "A")
    (tmp_path / "x").write_text("mine")
    assert "exists" in state("backup", str(tmp_path / "x"), exit_code=1)
    assert (tmp_path / "x").read_text() == "mine"


@pytest.mark.parametrize("damage", ["cut", "no database", "another database"])
def test_a_damaged_backup_is_not_put_back(settings: Settings, tmp_path: Path, damage: str) -> None:
    plan(settings, "A")
    copy = tmp_path / "state.backup"
    state("backup", str(copy))
    if damage == "cut":
        copy.write_bytes(copy.read_bytes()[: copy.stat().st_size // 2])
    elif damage == "no database":
        copy.write_bytes(b"no database" * 1000)
    else:
        copy.unlink()
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute("CREATE TABLE t (x)")

    said = state("restore", str(copy), "--yes", exit_code=1)

    assert str(copy) in said
    assert "Traceback" not in said
    assert planned(settings) == ["A"]


def test_a_damaged_state_store_is_named(settings: Settings) -> None:
    plan(settings, "A")
    assert "whole" in state("check")
    (path,) = (settings.directory / "data").glob("*.db")
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 6] = b"\xff" * (4096 * 5)
    path.write_bytes(content)
    said = state("check", exit_code=1)
    assert "state restore" in said
    assert "Traceback" not in said


def test_of_a_database_its_own_tools_make_the_backup(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = settings.model_copy(update={"state": "postgresql+psycopg://me:secret@db/state"})
    monkeypatch.setattr("intacct_dagster.cli.state_store.load_settings", lambda: other)
    said = state("backup", str(tmp_path / "x"), exit_code=1)
    assert "pg_dump" in said
    assert "secret" not in said
