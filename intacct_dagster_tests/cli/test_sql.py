"""`intacct-dagster sql`: a question in SQL, and the answer as a person or a program wants it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pandas as pd  # type: ignore[import-untyped]
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

MACROS = """
CREATE MACRO intacct.by_number(wanted) AS TABLE FROM intacct.invoice WHERE number = wanted;
CREATE MACRO intacct.in_thousands(amount) AS amount / 1000;
CREATE VIEW intacct.large_invoices AS FROM intacct.invoice WHERE amount > 1000;
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
    ("statement", "message"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nothing FROM intacct.invoice", 'column "nothing" not found'),
        ("SELECT CAST(number AS INTEGER) FROM intacct.invoice", "Could not convert string"),
        ("DELETE FROM intacct.invoice", "DELETE is not allowed here"),
        (" ;", "There is no statement"),
    ],
)
def test_what_duckdb_refuses_is_reported_without_a_traceback(
    warehouse: Warehouse, statement: str, message: str
) -> None:
    Snapshot(warehouse).publish()
    answer = ask(statement)
    assert message.lower() in answer.stderr.lower()
    assert answer.exit_code == 1
    assert isinstance(answer.exception, SystemExit)
    assert "Traceback" not in answer.output


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT number FROM intacct.by_number('INV-1')",
        "SELECT intacct.in_thousands(amount) FROM intacct.invoice",
        "FROM intacct.large_invoices",
        "WITH i AS (FROM intacct.invoice) SELECT count(*) FROM i",
        "TABLE intacct.invoice",
        "VALUES (1)",
        "SHOW ALL TABLES",
        "DESCRIBE intacct.invoice",
        "SUMMARIZE intacct.invoice",
        "PIVOT intacct.invoice ON number USING sum(amount)",
        "SELECT * FROM (PIVOT intacct.invoice ON number USING sum(amount) GROUP BY day)",
        "EXPLAIN SELECT * FROM intacct.invoice",
        "explain (ANALYZE, FORMAT json) SELECT * FROM intacct.invoice",
        "EXPLAIN ANALYZE (SELECT 1)",
        "EXPLAIN (SELECT 1)",
        "-- COPY\n/* SET */ (SELECT 1);;",
    ],
)
def test_everything_that_reads_the_snapshot_works_without_external_access(
    warehouse: Warehouse, statement: str
) -> None:
    with warehouse.connect() as connection:
        connection.execute(MACROS)
    Snapshot(warehouse).publish()
    answer = ask("-", "--json", given=statement)
    assert answer.exit_code == 0, answer.stderr
    assert json.loads(answer.stdout)


REFUSED = (
    ("ATTACH '{folder}/new.duckdb' AS other", "ATTACH"),
    ("DETACH memory", "DETACH"),
    ("USE memory", "SET"),
    ("COPY (SELECT 1) TO '{folder}/new.csv'", "COPY"),
    ("COPY intacct.invoice TO '{snapshot}' (USE_TMP_FILE false)", "COPY"),
    ("EXPLAIN ANALYZE COPY (SELECT 1) TO '{snapshot}' (USE_TMP_FILE false)", "EXPLAIN"),
    ("EXPLAIN ANALYZE /* SELECT */ COPY (SELECT 1) TO '{snapshot}'", "EXPLAIN"),
    ("EXPLAIN /* /* */ SELECT 1 -- */ ANALYZE COPY (SELECT 1) TO '{snapshot}'", "EXPLAIN"),
    ("EXPLAIN ANALYZE (SELECT 1) ; COPY (SELECT 1) TO '{snapshot}'", "one statement"),
    ("EXPORT DATABASE '{folder}/new'", "EXPORT"),
    ("IMPORT DATABASE '{folder}/new'", "file system operations are disabled"),
    ("INSTALL httpfs", "LOAD"),
    ("LOAD httpfs", "LOAD"),
    ("SET threads = 1", "SET"),
    ("RESET threads", "SET"),
    ("SET VARIABLE a = 1", "SET"),
    ("PRAGMA enable_profiling", "PRAGMA"),
    ("PRAGMA table_info('intacct.invoice')", "PRAGMA"),
    ("CALL pragma_version()", "CALL"),
    ("CHECKPOINT", "CALL"),
    ("VACUUM", "VACUUM"),
    ("BEGIN", "TRANSACTION"),
    ("PREPARE q AS SELECT 1", "PREPARE"),
    ("EXECUTE q", "EXECUTE"),
    ("CREATE TABLE new AS SELECT 1", "CREATE"),
    ("CREATE TEMP TABLE new AS SELECT 1", "CREATE"),
    ("CREATE TEMP TABLE new AS PIVOT intacct.invoice ON number USING sum(amount)", "one statement"),
    ("CREATE SECRET new (TYPE s3)", "CREATE"),
    ("DROP TABLE intacct.invoice", "DROP"),
    ("UPDATE intacct.invoice SET amount = 0", "UPDATE"),
    ("INSERT INTO intacct.invoice (number) VALUES ('x')", "INSERT"),
    ("SELECT 1; SELECT 2", "one statement"),
    ("SELECT 1; COPY (SELECT 1) TO '{folder}/new.csv'", "one statement"),
    ("PIVOT intacct.invoice ON day USING count(*); SELECT 2", "one statement"),
    ("FROM enable_logging(storage = 'file', storage_path = '{folder}/log.csv')", "enable_logging"),
    ("FROM \"Enable_Logging\"(storage = 'stdout')", "Enable_Logging"),
    ("FROM truncate_duckdb_logs()", "truncate_duckdb_logs"),
    ("-- nothing but a comment", "There is no statement"),
)


@pytest.mark.parametrize(("statement", "said"), REFUSED)
def test_a_statement_that_does_anything_but_read_is_refused(
    warehouse: Warehouse, statement: str, said: str
) -> None:
    copy = Snapshot(warehouse)
    copy.publish()
    folder = warehouse.path.parent
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    answer = ask("-", given=statement.format(folder=folder, snapshot=copy.path))
    assert answer.exit_code == 1
    assert isinstance(answer.exception, SystemExit)
    assert said in answer.stderr
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    "source",
    [
        "read_text('{folder}/secret.txt')",
        "read_blob('{folder}/secret.*')",
        "read_csv('{folder}/secret.txt')",
        "read_json('{folder}/secret.txt')",
        "read_parquet('{folder}/secret.txt')",
        "sniff_csv('{folder}/secret.txt')",
        "parquet_metadata('{folder}/secret.txt')",
        "read_duckdb('{folder}/other.duckdb')",
        "glob('{folder}/*')",
        "'{folder}/secret.txt'",
        "'{folder}/*.csv'",
        "query('FROM read_text(''{folder}/secret.txt'')')",
        "read_text('https://127.0.0.1:9/secret.txt')",
        "read_csv('s3://bucket/secret.csv')",
        "duckdb_secrets()",
        "which_secret('s3://bucket', 's3')",
        "(SELECT getenv('SECRET'))",
        "secret_frame",
    ],
)
def test_a_query_reads_no_file_no_secret_and_nothing_of_the_process(
    warehouse: Warehouse, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "value-of-a-secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    Snapshot(warehouse).publish()
    (tmp_path / "secret.txt").write_text("value-of-a-secret\n")
    (tmp_path / "secret.csv").write_text("value-of-a-secret\n")
    (tmp_path / ".duckdb/stored_secrets").mkdir(parents=True)
    monkeypatch.setattr("intacct_dagster.cli.sql.secret_frame", secret_frame(), raising=False)
    answer = ask(f"SELECT * FROM {source.format(folder=tmp_path)}")
    assert answer.exit_code == 1, answer.output
    assert isinstance(answer.exception, SystemExit)
    assert "value-of-a-secret" not in answer.output


def secret_frame() -> pd.DataFrame:
    """Return a table that a query must not find by the name of a Python variable."""
    return pd.DataFrame({"secret": ["value-of-a-secret"]})


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
