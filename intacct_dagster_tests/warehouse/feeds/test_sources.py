"""Where the lines of a feed come from: CSV however it is written, Parquet, a query of SQL."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from intacct_dagster.warehouse import FeedError, Warehouse
from intacct_dagster.warehouse.feeds import (
    Computed,
    CsvForm,
    FeedResult,
    FeedSpec,
    Kind,
    constant,
    read_feed,
)
from intacct_dagster_tests.warehouse.warehouse_rows import (
    DAY,
    SALES,
    invoice,
    line,
    load_invoices,
    write_sales,
)

PAYMENTS = FeedSpec(
    name="payments",
    files=["*.csv"],
    source_id="ref",
    entity="entity",
    date="day",
    types={"amount": "decimal"},
    amount="amount",
    match_on="documentNumber",
    payload={
        "documentNumber": "ref",
        "paymentDetails": [{"arInvoice.key": "invoice", "txnCurrency.paymentAmount": "amount"}],
    },
)
HEADER = "ref,entity,day,invoice,amount\n"
AMOUNTS: Mapping[str, Kind] = {"amount": "decimal", "line_amount": "decimal"}
GERMAN = CsvForm(separator=";", encoding="cp1252", decimal=",", thousands=".", dates="%d.%m.%Y")


def read(warehouse: Warehouse, folder: Path, spec: FeedSpec = PAYMENTS) -> FeedResult:
    return read_feed(warehouse, spec, [("E110", DAY)], ("E110",), folder, "run-1")


def rows(warehouse: Warehouse, sql: str) -> list[tuple[Any, ...]]:
    with warehouse.connect(read_only=True) as connection:
        return connection.execute(sql).fetchall()


def stored(warehouse: Warehouse, feed: str = "payments") -> dict[tuple[str, str, int], Any]:
    """(source id, file, line) -> why it is invalid, or None."""
    found = rows(warehouse, f"SELECT ref, _file, _line, _invalid FROM feed.{feed}")
    return {(ref, file, number): invalid for ref, file, number, invalid in found}


def flaws(warehouse: Warehouse) -> list[tuple[str, int, str]]:
    return rows(warehouse, "SELECT file, line, kind FROM feed.quarantine ORDER BY ALL")


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-8", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_file_is_read_as_it_is_written(
    warehouse: Warehouse, folder: Path, encoding: str, separator: str
) -> None:
    text = "ref;entity;day;invoice;amount\r\nMüller-1;E110;01.10.2026;7;-1.234.567,5\r\n"
    content = text.replace(";", separator).encode(encoding)
    (folder / "zahlungen.csv").write_bytes(content)
    form = replace(GERMAN, separator=separator, encoding=encoding)
    read(warehouse, folder, replace(PAYMENTS, csv=form))
    assert stored(warehouse) == {("Müller-1", "zahlungen.csv", 2): None}
    assert rows(warehouse, "SELECT day, amount FROM feed.payments") == [
        (DAY, Decimal("-1234567.5"))
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_says_more_than_the_configuration(
    warehouse: Warehouse, folder: Path, encoding: str
) -> None:
    (folder / "a.csv").write_bytes((HEADER + f"Ä-1,E110,{DAY},7,1\n").encode(encoding))
    read(warehouse, folder, replace(PAYMENTS, csv=CsvForm(encoding="latin-1")))
    assert stored(warehouse) == {("Ä-1", "a.csv", 2): None}


def test_a_byte_that_the_encoding_does_not_have_costs_its_line(
    warehouse: Warehouse, folder: Path
) -> None:
    text = HEADER.encode() + f"P-1,E110,{DAY},7,1\nP-".encode() + b"\x81,E110,2026-10-01,7,1\n"
    (folder / "a.csv").write_bytes(text)
    read(warehouse, folder, replace(PAYMENTS, csv=CsvForm(encoding="cp1252")))
    assert stored(warehouse) == {("P-1", "a.csv", 2): None}
    assert rows(warehouse, "SELECT line, reason, raw FROM feed.quarantine") == [
        (3, "the line is not CP1252", "P-\\x81,E110,2026-10-01,7,1")
    ]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ("01.10.2026;7;1.50", "bad amount"),  # a thousands mark where none can be
        ("01.10.2026;7;1,234.50", "bad amount"),
        ("01.10.2026;7;12.34,50", "bad amount"),
        ("01.10.2026;7;NaN", "bad amount"),
        ("2026-10-01;7;1,50", "bad date"),
        ("31.02.2026;7;1,50", "bad date"),
        ("01.10.26;7;1,50", "bad date"),
        ("01.10.1926;7;1,50", "bad date"),
    ],
)
def test_what_is_written_otherwise_is_not_guessed(
    warehouse: Warehouse, folder: Path, cells: str, kind: str
) -> None:
    (folder / "a.csv").write_text(f"ref;entity;day;invoice;amount\nP-1;E110;{cells}\n")
    read(warehouse, folder, replace(PAYMENTS, csv=GERMAN))
    assert flaws(warehouse) == [("a.csv", 2, kind)]


def test_without_line_numbers_each_line_is_a_document_and_the_second_the_same_again(
    warehouse: Warehouse, folder: Path
) -> None:
    (folder / "1.csv").write_text(
        HEADER
        + f"P-1,E110,{DAY},7,10\nP-2,E110,{DAY},8,20\nP-1,E110,{DAY},7,10.00\n"
        + f"P-3,E110,{DAY},9,30\nP-3,E110,{DAY},9,31\n"
    )
    read(warehouse, folder)
    found = rows(
        warehouse,
        "SELECT ref, _occurrence, _invalid IS NULL FROM feed.payments ORDER BY _line",
    )
    assert found == [
        ("P-1", 1, True),
        ("P-2", 1, True),
        ("P-1", 2, True),
        ("P-3", 1, False),
        ("P-3", 2, False),
    ]


def parquet(path: Path, select: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")


def test_parquet_goes_the_same_way_with_its_row_as_the_line(
    warehouse: Warehouse, folder: Path
) -> None:
    parquet(
        folder / "p.parquet",
        f"""SELECT * FROM (VALUES
            ('P-1', 'E110', TIMESTAMP '{DAY} 00:00:00', 7, 10.5::DOUBLE),
            ('P-2', 'E110', TIMESTAMP '{DAY} 12:00:00', 7, 10.5),
            ('P-3', 'E110', TIMESTAMP '{DAY} 00:00:00', 7, 'NaN'),
            (NULL, 'E110', TIMESTAMP '{DAY} 00:00:00', 7, 1.5),
            ('P-' || chr(0), 'E110', TIMESTAMP '{DAY} 00:00:00', 7, 1.5),
            ('P-6', 'E110', TIMESTAMP '{DAY} 00:00:00', NULL, 1e400::DOUBLE)
        ) AS t(ref, entity, day, invoice, amount)""".replace("1e400::DOUBLE", "'inf'"),
    )
    (folder / "half.parquet").write_bytes((folder / "p.parquet").read_bytes()[:200])
    parquet(folder / "other.parquet", "SELECT 'P-9' AS ref")
    result = read(warehouse, folder, replace(PAYMENTS, files=["*.parquet"], csv=GERMAN))
    assert stored(warehouse) == {("P-1", "p.parquet", 1): None}
    assert rows(warehouse, "SELECT day, invoice, amount FROM feed.payments") == [
        (DAY, "7", Decimal("10.5"))
    ]
    assert flaws(warehouse) == [
        ("half.parquet", 1, "file"),
        ("other.parquet", 1, "header"),
        ("p.parquet", 2, "bad date"),
        ("p.parquet", 3, "bad amount"),
        ("p.parquet", 4, "empty"),
        ("p.parquet", 5, "encoding"),
        ("p.parquet", 6, "bad amount"),
    ]
    assert result.files == {"half.parquet": 0, "other.parquet": 1, "p.parquet": 6}


def test_a_query_reads_files_and_attached_databases(warehouse: Warehouse, folder: Path) -> None:
    with duckdb.connect(str(folder / "erp.duckdb")) as connection:
        connection.execute(f"CREATE TABLE paid AS SELECT 'P-1' AS ref, DATE '{DAY}' AS day")
    parquet(folder / "amounts.parquet", "SELECT 'P-1' AS ref, 12.5::DECIMAL(18, 2) AS amount")
    spec = replace(
        PAYMENTS,
        files=(),
        attach={"erp": "erp.duckdb"},
        query="SELECT ref, 'E110' AS entity, day, '7' AS invoice, amount"
        " FROM erp.paid JOIN 'amounts.parquet' USING (ref); -- of the ERP",
    )
    result = read(warehouse, folder, spec)
    assert stored(warehouse) == {("P-1", "sql", 1): None}
    assert result.files == {"sql": 1}


def test_a_query_reads_the_warehouse_and_its_rows_are_numbered_in_its_order(
    warehouse: Warehouse, tmp_path: Path, folder: Path
) -> None:
    load_invoices(warehouse, tmp_path / "pages", [invoice("8"), invoice("9"), invoice("11")])
    spec = replace(
        PAYMENTS,
        files=(),
        query=f"SELECT 'P-' || key AS ref, entity_id AS entity, DATE '{DAY}' AS day,"
        " key AS invoice, total_txn_amount AS amount FROM intacct.accounts_receivable_invoice"
        " ORDER BY CAST(key AS INT)",
    )
    read(warehouse, folder, spec)
    assert stored(warehouse) == {
        ("P-8", "sql", 1): None,
        ("P-9", "sql", 2): None,
        ("P-11", "sql", 3): None,
    }


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"query": "SELECT * FROM 'nothing.parquet'"}, "No files found"),
        ({"query": "SELECT 1 AS ref"}, "column entity is missing"),
        ({"query": "SELECT 1 AS ref FROM intacct.nothing"}, "There is no warehouse|nothing"),
        ({"query": "SELECT 1 AS ref", "attach": {"erp": "nowhere.duckdb"}}, "its query fails"),
    ],
)
def test_a_query_that_fails_stops_its_feed_and_says_why(
    warehouse: Warehouse, folder: Path, changes: Mapping[str, Any], told: str
) -> None:
    load_invoices(warehouse, folder / "pages", [invoice("8")])
    with pytest.raises(FeedError, match=told) as refusal:
        read(warehouse, folder, replace(PAYMENTS, files=(), **changes))
    assert "in intacct.yaml" in str(refusal.value)


def test_columns_are_computed_from_the_line_and_its_file(
    warehouse: Warehouse, folder: Path
) -> None:
    (folder / f"paid_{DAY}.csv").write_text("ref,net,tax\nP-1,10.00,2.5\nP-2,1,x\n")
    (folder / "paid_never.csv").write_text("ref,net,tax\nP-3,10.00,2.5\n")
    spec = FeedSpec(
        name="payments",
        files=["*.csv"],
        source_id="ref",
        entity="company",
        date="day",
        types={"net": "decimal", "tax": "decimal"},
        computed={
            "company": constant("E110"),
            "day": Computed(r"CAST(regexp_extract(_file, '\d{4}-\d{2}-\d{2}') AS DATE)"),
            "gross": Computed("net + tax", "decimal"),
        },
        amount="gross",
        match_on="id",
        payload={"id": "ref", "amount": "gross", "name": {"sql": "lower(ref) -- small"}},
    )
    read(warehouse, folder, spec)
    assert rows(warehouse, 'SELECT ref, day, gross, "payload.name" FROM feed.payments') == [
        ("P-1", date(2026, 10, 1), Decimal("12.5"), "p-1")
    ]
    assert rows(warehouse, "SELECT file, line, kind, reason FROM feed.quarantine ORDER BY ALL") == [
        (f"paid_{DAY}.csv", 3, "bad amount", "tax: 'x' is no exact amount (such as 1234.50)"),
        (
            "paid_never.csv",
            2,
            "bad expression",
            r"day: CAST(regexp_extract(_file, '\d{4}-\d{2}-\d{2}') AS DATE) cannot be computed",
        ),
    ]


def test_a_directory_and_a_file_that_may_not_be_read_are_told_and_the_rest_goes_on(
    warehouse: Warehouse, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.csv").mkdir()
    (folder / "b.csv").write_text(HEADER + f"P-1,E110,{DAY},7,1\n")
    (folder / "c.csv").write_text(HEADER + f"P-2,E110,{DAY},7,1\n")
    opened = Path.open

    def refused(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == "b.csv":  # whoever runs the tests may be allowed everything
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refused)
    read(warehouse, folder)
    assert stored(warehouse) == {("P-2", "c.csv", 2): None}
    assert rows(warehouse, "SELECT file, reason FROM feed.quarantine ORDER BY file") == [
        ("a.csv", "the file was left out: it is a directory, not a file"),
        ("b.csv", "the file was left out: it cannot be read (Permission denied)"),
    ]


def test_a_file_that_vanishes_or_changes_while_it_is_read_is_left_out_as_a_whole(
    warehouse: Warehouse, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, ref in (("a.csv", "P-1"), ("b.csv", "P-2"), ("c.csv", "P-3"), ("d.csv", "P-4")):
        (folder / name).write_text(HEADER + f"{ref},E110,{DAY},7,1\n")
    stamps, seen = Path.stat, list[str]()

    def stat(path: Path, *, follow_symlinks: bool = True) -> Any:
        status = stamps(path, follow_symlinks=follow_symlinks)
        seen.append(path.name)
        if path.name == "a.csv" and seen.count("a.csv") == 2:
            path.unlink()  # before it is opened
        if path.name == "b.csv" and seen.count("b.csv") == 2:
            with path.open("a") as out:
                out.write(f"P-5,E110,{DAY},7,1\n")
        if path.name == "c.csv" and seen.count("c.csv") == 3:
            path.unlink()
            return stamps(path, follow_symlinks=follow_symlinks)
        return status

    monkeypatch.setattr(Path, "stat", stat)
    read(warehouse, folder)
    assert stored(warehouse) == {("P-4", "d.csv", 2): None}
    assert [
        reason for (reason,) in rows(warehouse, "SELECT reason FROM feed.quarantine ORDER BY file")
    ] == [
        "the file was left out: it cannot be read (No such file or directory)",
        (
            "the file was left out: it changed while it was read: write files under another name, "
            "then rename them"
        ),
        "the file was left out: it cannot be read (No such file or directory)",
    ]


def test_a_document_that_may_continue_in_a_file_that_is_left_out_waits(
    warehouse: Warehouse, folder: Path
) -> None:
    (folder / "a.csv").mkdir()
    (folder / "sales.csv").write_text(
        "invoice_ref,line_no,entity_id,customer_id,invoice_date,due_date,amount,account,"
        "department_id,description,line_amount\n" + line("BR-1")
    )
    told = "a.csv could not be read, and documents may continue in it"
    for spec, expected in (
        (SALES, None),
        (replace(SALES, control_totals={}, types={**SALES.types, **AMOUNTS}), told),
    ):
        read(warehouse, folder, spec)
        [(invalid,)] = rows(warehouse, "SELECT _invalid FROM feed.sales_invoices")
        assert (invalid is None) if expected is None else str(invalid).startswith(expected)


def test_a_last_line_without_a_line_end_may_be_half_written(
    warehouse: Warehouse, folder: Path
) -> None:
    (folder / "a.csv").write_text(HEADER + f"P-1,E110,{DAY},7,1\nP-2,E110,{DAY},7,10")
    read(warehouse, folder)
    assert stored(warehouse) == {("P-1", "a.csv", 2): None}
    assert flaws(warehouse) == [("a.csv", 3, "half-written")]
    read(warehouse, folder, replace(PAYMENTS, csv=CsvForm(last_line="open")))
    assert len(stored(warehouse)) == 2
    assert flaws(warehouse) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", [("a.csv", 1, "header")]),
        (HEADER.encode(), []),
        (HEADER.encode()[:-1], []),
        (HEADER.encode()[:9], [("a.csv", 1, "header")]),
        (b"\xff\xfer\x00e\x00f", [("a.csv", 1, "file")]),
        (HEADER.encode("utf-16") + b"P", [("a.csv", 1, "file")]),
        (HEADER.encode() + b"P\x00-1,E110,2026-10-01,7,1\n", [("a.csv", 2, "encoding")]),
        (HEADER.encode() + b"=cmd|' /C calc'!A0,E110,2026-10-01,7,1\n", [("a.csv", 2, "formula")]),
        (HEADER.encode() + b"P-1,E110,2026-10-01,7,=1+1\n", [("a.csv", 2, "bad amount")]),
        (HEADER.encode() + b"P-1,E110,2026-10-01,7,1e400\n", [("a.csv", 2, "bad amount")]),
    ],
)
def test_bad_content_costs_what_is_bad_and_nothing_else(
    warehouse: Warehouse, folder: Path, content: bytes, expected: list[tuple[str, int, str]]
) -> None:
    (folder / "a.csv").write_bytes(content)
    (folder / "b.csv").write_text(HEADER + f'"P ""👟"" 1",E110,{DAY},=1+1,1\n')
    read(warehouse, folder)
    assert flaws(warehouse) == expected
    # what looks like a formula in a text is that text
    assert rows(warehouse, "SELECT ref, invoice FROM feed.payments") == [('P "👟" 1', "=1+1")]


def test_a_renamed_copy_of_a_file_adds_no_document(warehouse: Warehouse, folder: Path) -> None:
    (folder / "a.csv").write_text(HEADER + f"P-1,E110,{DAY},7,1\n")
    (folder / "a copy.csv").write_bytes((folder / "a.csv").read_bytes())
    read(warehouse, folder)
    found = rows(warehouse, "SELECT _file, _occurrence, _invalid FROM feed.payments ORDER BY 2")
    assert found == [("a copy.csv", 1, None), ("a.csv", 2, None)]


def test_a_file_without_line_ends_does_not_come_into_memory(
    warehouse: Warehouse, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intacct_dagster.warehouse.feeds.files.LONGEST_LINE", 100)
    (folder / "a.csv").write_text(
        HEADER + "P-1," + "x" * 1000 + f"\nP-2,E110,{DAY},7,1\n" + "y" * 1000
    )
    read(warehouse, folder)
    assert stored(warehouse) == {("P-2", "a.csv", 3): None}
    found = rows(
        warehouse, "SELECT line, kind, reason, length(raw) FROM feed.quarantine ORDER BY 1"
    )
    assert found == [
        (2, "quoting", "a line of more than 100 characters", 100),
        (4, "quoting", "a line of more than 100 characters", 100),
    ]


_READ = """
import resource, sys
from datetime import date
from pathlib import Path
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.feeds import read_feed
from intacct_dagster_tests.warehouse.warehouse_rows import SALES
folder = Path(sys.argv[1])
file = Warehouse(folder / "warehouse.duckdb", memory_limit="150MB")
result = read_feed(file, SALES, [("E110", date(2026, 10, 1))], ("E110",), folder, "run-1")
print(sum(result.rows.values()), result.invalid)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_feed(tmp_path: Path) -> None:
    peaks = {}
    for documents in (5_000, 60_000):
        folder = tmp_path / str(documents)
        lines = [line("{}", n, "40.00", "10.00", description="word " * 9) for n in (1, 2, 3, 4)]
        document = "".join(lines).replace("{},", "{0},")
        write_sales(folder, *(document.format(f"BR-{n:07}") for n in range(documents)))
        command = [sys.executable, "-c", _READ, str(folder)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
        told, peak = ran.stdout.splitlines()
        assert told == f"{documents * 4} 0"
        peaks[documents] = int(peak)
    assert peaks[60_000] < 2 * peaks[5_000], peaks
