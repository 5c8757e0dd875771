"""`intacct-dagster objects`: how far each object is known; forget one; read it from the start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from intacct_dagster.cli import objects as commands
from intacct_dagster.cli.app import main
from intacct_dagster.defs import raw_key
from intacct_dagster_tests.code_location import CodeLocation, code_location

CUSTOMER = "accounts-receivable/customer"


@pytest.fixture
def location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CodeLocation]:
    with code_location(tmp_path) as opened:
        monkeypatch.setattr(commands, "load_settings", lambda: opened.settings)
        yield opened


def objects(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["objects", *arguments], env={"COLUMNS": "200"})


def records(location: CodeLocation) -> list[tuple[object, ...]]:
    return location.rows("SELECT key FROM intacct.accounts_receivable_customer ORDER BY 1")


def test_an_object_is_shown_forgotten_and_read_from_the_start(location: CodeLocation) -> None:
    before = objects("status")
    assert before.exit_code == 0, before.output
    assert "nothing was read yet" in before.output
    assert location.run([raw_key(CUSTOMER)], entity="E110").success
    there = records(location)
    after = objects("status")
    (line,) = [each for each in after.output.splitlines() if CUSTOMER in each and "E110" in each]
    assert f"{len(there):,}" in line
    assert objects("forget", CUSTOMER, "--yes").exit_code == 0
    assert records(location) == []
    again = objects("reload", CUSTOMER, "--entity", "E110")
    assert again.exit_code == 0, again.output
    assert records(location) == there
    assert objects("reload", CUSTOMER, "--entity", "E110").exit_code == 0
    assert records(location) == there


def test_what_is_not_configured_is_named(location: CodeLocation) -> None:
    wrong = objects("reload", "accounts-receivable/custmer")
    assert wrong.exit_code == 2
    assert "is not among the objects of intacct.yaml" in wrong.output
    wrong = objects("forget", CUSTOMER, "--entity", "E999", "--yes")
    assert wrong.exit_code == 2
    assert "E999 is not among the entities" in wrong.output
