"""`intacct-dagster sql`: a question in SQL, and the answer as a person or a program wants it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from intacct_dagster.cli.app import main
from intacct_dagster.warehouse import Snapshot, Warehouse
from intacct_dagster_tests.code_location import PROJECT

INVOICES = """
CREATE SCHEMA intacct;
CREATE TABLE intacct.invoice (
    number VARCHAR, amount DECIMAL(38,10), day DATE, changed TIMESTAMP WITH TIME ZONE, lines BIGINT
);
INSERT INTO intacct.invoice VALUES
    ('INV-1', 1234567.5, '2026-10-13', '2026-10-13 18:00:00+02', 2),
    ('INV [2]', 0.123, NULL, NULL, NULL);
"""


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    shutil.copy(PROJECT / "intacct.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INTACCT_CONFIG", raising=False)
    warehouse = Warehouse(tmp_path / "data/warehouse.duckdb")
    with warehouse.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(INVOICES)
    return warehouse


def ask(statement: str, *options: str, given: str | None = None) -> Result:
    return CliRunner().invoke(main, ["sql", statement, *options], input=given)


def test_a_table_shows_amounts_as_people_write_them_and_of_when_they_are(
    warehouse: Warehouse,
) -> None:
    copy = Snapshot(warehouse)
    copy.publish()
    answer = ask("SELECT * FROM intacct.invoice ORDER BY number")
    assert answer.exit_code == 0
    second, first = answer.stdout.splitlines()[2:]
    assert first.split() == ["INV-1", "1,234,567.50", "2026-10-13", "2026-10-13T16:00:00Z", "2"]
    assert second.split() == ["INV", "[2]", "0.123", "null", "null", "null"]
    assert f"2 rows as of {copy.as_of:%Y-%m-%d %H:%M:%S} UTC" in answer.stderr


def test_csv_and_json_have_every_digit_and_all_rows(warehouse: Warehouse) -> None:
    Snapshot(warehouse).publish()
    question = "SELECT number, amount, day FROM intacct.invoice ORDER BY ALL DESC"
    expected: list[dict[str, str | None]] = [
        {"number": "INV-1", "amount": "1234567.5000000000", "day": "2026-10-13"},
        {"number": "INV [2]", "amount": "0.1230000000", "day": None},
    ]
    assert json.loads(ask(question, "--json", "--rows", "1").stdout) == expected
    rows = list(csv.DictReader(io.StringIO(ask(question, "--csv", "--rows", "1").stdout)))
    assert rows == [{**each, "day": each["day"] or ""} for each in expected]
    assert json.loads(ask(f"{question} LIMIT 0", "--json").stdout) == []


def test_a_long_table_is_cut_and_says_so(warehouse: Warehouse) -> None:
    Snapshot(warehouse).publish()
    answer = ask("SELECT * FROM range(2500)", "--rows", "3")
    assert "… and 2,497 rows more: --rows 0 shows all of them" in answer.stdout
    assert "2,500 rows" in answer.stderr
    assert len(ask("SELECT * FROM range(2500)", "--rows", "0").stdout.splitlines()) == 2502


def test_it_reads_the_copy_and_not_the_warehouse(warehouse: Warehouse) -> None:
    Snapshot(warehouse).publish()
    with warehouse.connect() as connection:  # a run at work
        connection.execute("DELETE FROM intacct.invoice")
        answer = ask("SELECT count(*) AS invoices FROM intacct.invoice", "--csv")
    assert answer.stdout == "invoices\n2\n"


def test_without_a_copy_it_reads_the_warehouse_and_says_what_that_means(
    warehouse: Warehouse,
) -> None:
    answer = ask("SELECT count(*) AS invoices FROM intacct.invoice", "--csv")
    assert answer.stdout == "invoices\n2\n"
    assert "there is no warehouse.reader.duckdb yet" in answer.stderr
    assert "Runs wait while this reads" in answer.stderr


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nothing FROM intacct.invoice", 'column "nothing" not found'),
        ("SELECT CAST(number AS INTEGER) FROM intacct.invoice", "Could not convert string"),
        ("DELETE FROM intacct.invoice", "read-only"),
        (" ;", "There is no statement"),
    ],
)
def test_what_duckdb_refuses_is_told_without_a_traceback(
    warehouse: Warehouse, statement: str, told: str
) -> None:
    Snapshot(warehouse).publish()
    answer = ask(statement)
    assert told.lower() in answer.stderr.lower()
    assert answer.exit_code == 1
    assert isinstance(answer.exception, SystemExit)
    assert "Traceback" not in answer.output


def test_a_statement_may_come_from_standard_input(warehouse: Warehouse) -> None:
    Snapshot(warehouse).publish()
    assert ask("-", "--csv", given="SELECT 1 AS one;\n").stdout == "one\n1\n"


def test_before_anything_was_read_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(PROJECT / "intacct.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    answer = ask("SELECT 1")
    assert answer.exit_code == 1
    assert "There is no warehouse" in answer.stderr
    assert "make demo" in answer.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["intacct.yaml"]
