"""Feeds: good lines go on, broken ones are kept with their reason, and no document is cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from intacct_dagster.warehouse import FeedError, Partition, Warehouse
from intacct_dagster.warehouse.feeds import (
    CsvForm,
    FeedResult,
    FeedSpec,
    read_feed,
)
from intacct_dagster_tests.warehouse.warehouse_rows import (
    DAY,
    HEADER,
    NEXT_DAY,
    READ_AT,
    SALES,
    line,
    write_sales,
)

ENTITIES = ("E110", "E120")
ALL = [(entity, day) for entity in ENTITIES for day in (DAY, NEXT_DAY)]


def read(
    warehouse: Warehouse,
    folder: Path,
    partitions: list[Partition] | None = None,
    spec: FeedSpec = SALES,
) -> FeedResult:
    asked = ALL if partitions is None else partitions
    return read_feed(warehouse, spec, asked, ENTITIES, folder, "run-1", read_at=READ_AT)


def rows(warehouse: Warehouse, sql: str) -> list[tuple[object, ...]]:
    with warehouse.connect(read_only=True) as connection:
        return connection.execute(sql).fetchall()


def verdicts(warehouse: Warehouse) -> dict[tuple[object, object], object]:
    """(source id, occurrence) -> why it is invalid, or None."""
    found = rows(
        warehouse, "SELECT DISTINCT invoice_ref, _occurrence, _invalid FROM feed.sales_invoices"
    )
    result = {(ref, occurrence): invalid for ref, occurrence, invalid in found}
    assert len(result) == len(found), "the lines of one document do not agree"
    return result


def quarantine(warehouse: Warehouse) -> list[tuple[object, ...]]:
    return rows(
        warehouse, "SELECT file, line, kind, source_id FROM feed.quarantine ORDER BY file, line"
    )


@pytest.mark.parametrize(
    ("broken", "kind", "told"),
    [
        (line("BR-2", day="2026-13-01"), "bad date", "invoice_date: '2026-13-01'"),
        (line("BR-2", day="01/10/2026"), "bad date", "invoice_date: '01/10/2026'"),
        (line("BR-2", day="2206-10-01"), "bad date", "is not between"),
        (line("BR-2", amount="ten"), "bad amount", "amount: 'ten'"),
        (line("BR-2", amount="NaN"), "bad amount", "amount: 'NaN'"),
        (line("BR-2", amount="1e400"), "bad amount", "amount: '1e400'"),
        (line("BR-2", amount="=1+1"), "bad amount", "amount: '=1+1'"),
        (line("BR-2", amount="1" + "0" * 18), "bad amount", "amount: '1000"),
        (line("BR-2", amount="0.12345678901"), "bad amount", "amount: '0.12345678901'"),
        (line("BR-2", amount="10", line_amount=""), "empty", "line_amount is empty"),
        (line("BR-2", number="one"), "bad integer", "line_no: 'one'"),
        (line("BR-2", entity="E150"), "unknown entity", "entity_id: 'E150'"),
        (line("BR-2", entity=""), "empty", "entity_id is empty"),
        (line("BR-2", amount='"1,000.00"'), "bad amount", "amount: '1,000.00'"),
        (line("BR-2", amount="1,000.00"), "too many columns", "13 columns, not 11"),
        ("BR-2,1,E110\n", "too few columns", "3 columns, not 11"),
        (line("BR-2", description='"a" b'), "quoting", "expected after"),
        (line("BR-2", description='"never closed'), "quoting", ""),
        (line("BR-2", description="nul \0 byte"), "encoding", "NUL"),
    ],
)
def test_a_broken_line_is_kept_with_its_reason_and_the_rest_goes_on(
    warehouse: Warehouse, folder: Path, broken: str, kind: str, told: str
) -> None:
    write_sales(folder, line("BR-1"), broken, line("BR-3"), line("BR-4"))
    result = read(warehouse, folder)
    assert result.quarantined == {kind: 1}
    assert result.rows["E110", DAY] == 3
    assert quarantine(warehouse) == [("sales.csv", 3, kind, "BR-2")]
    [(reason, raw)] = rows(warehouse, "SELECT reason, raw FROM feed.quarantine")
    assert told in str(reason)
    assert str(raw) == broken.rstrip("\n").replace("\0", "\\x00")
    assert verdicts(warehouse) == {("BR-1", 1): None, ("BR-3", 1): None, ("BR-4", 1): None}


def test_bytes_that_are_not_utf8_cost_their_line_only(warehouse: Warehouse, folder: Path) -> None:
    good = (HEADER + line("BR-1", description="Größe 👟")).encode()
    (folder / "sales.csv").write_bytes(
        good + line("BR-2", description="Gr\xf6\xdfe").encode("latin-1")
    )
    read(warehouse, folder)
    assert quarantine(warehouse) == [("sales.csv", 3, "encoding", "BR-2")]
    [(raw,)] = rows(warehouse, "SELECT raw FROM feed.quarantine")
    assert "Gr\\xf6\\xdfe" in str(raw)
    assert rows(warehouse, "SELECT description FROM feed.sales_invoices") == [("Größe 👟",)]


def test_an_open_quote_does_not_swallow_the_lines_after_it(
    warehouse: Warehouse, folder: Path
) -> None:
    # the next quote, 149 lines on, would close it and hide all that is between
    many = [line(f"BR-{number:03}") for number in range(150)]
    write_sales(folder, 'BR-X,1,E110,C1,"open\n', *many, line("BR-Y", description='"quoted"'))
    result = read(warehouse, folder)
    assert result.rows["E110", DAY] == 151
    assert quarantine(warehouse) == [("sales.csv", 2, "quoting", "BR-X")]
    assert rows(
        warehouse, "SELECT _line FROM feed.sales_invoices WHERE invoice_ref IN ('BR-149', 'BR-Y')"
    ) == [(152,), (153,)]


def test_file_and_line_are_those_of_the_record_s_beginning(
    warehouse: Warehouse, folder: Path
) -> None:
    (folder / "sales.csv").write_bytes(
        b"\xef\xbb\xbf"
        + HEADER.encode().replace(b"\n", b"\r\n")
        + line("BR-1", description='"two\nlines, one field"').encode().replace(b"\n", b"\r\n")
        + b"\r\n , \r\n"
        + line("BR-2").encode()
    )
    result = read(warehouse, folder)
    found = rows(warehouse, "SELECT invoice_ref, _file, _line FROM feed.sales_invoices ORDER BY 1")
    assert found == [("BR-1", "sales.csv", 2), ("BR-2", "sales.csv", 6)]
    assert result.quarantined == {"too few columns": 1}  # " , " is no blank line


def test_a_document_with_a_line_in_quarantine_is_invalid_as_a_whole(
    warehouse: Warehouse, folder: Path
) -> None:
    write_sales(
        folder,
        line("BR-1", 1, "30.00", "10.00"),
        line("BR-1", 2, "30.00", "twenty"),
        line("BR-2"),
    )
    # the good lines add up to what the good lines say; still the document is cut
    write_sales(folder, "BR-2,2\n", name="late.csv")
    result = read(warehouse, folder)
    found = verdicts(warehouse)
    assert "line 3 of sales.csv is in quarantine: line_amount: 'twenty'" in str(found["BR-1", 1])
    assert "line 2 of late.csv is in quarantine" in str(found["BR-2", 1])
    assert result.invalid == 2


def test_without_a_total_a_line_of_nobody_makes_its_file_s_documents_invalid(
    warehouse: Warehouse, folder: Path
) -> None:
    spec = replace(SALES, control_totals={}, types={**SALES.types, "amount": "decimal"})
    write_sales(folder, line("BR-1"), line(""), line("BR-2"))
    write_sales(folder, line("BR-3"), name="other.csv")
    read(warehouse, folder, spec=spec)
    found = verdicts(warehouse)
    assert "may belong to any document" in str(found["BR-1", 1])
    assert "may belong to any document" in str(found["BR-2", 1])
    assert found["BR-3", 1] is None


def test_with_a_total_a_line_of_nobody_cuts_only_the_document_that_lacks_it(
    warehouse: Warehouse, folder: Path
) -> None:
    write_sales(
        folder,
        line("BR-1", 1, "30.00", "10.00"),
        line("", 2, "30.00", "20.00"),
        line("BR-2"),
    )
    read(warehouse, folder)
    assert verdicts(warehouse) == {
        ("BR-1", 1): "amount is 30.00, its lines add up to 10.00",
        ("BR-2", 1): None,
    }


def test_a_document_that_comes_again_is_counted_not_invalid(
    warehouse: Warehouse, folder: Path
) -> None:
    document = (line("BR-1", 1, "30.00", "10.00"), line("BR-1", 2, "30.00", "20.00"))
    write_sales(folder, *document, line("BR-2", amount="5"), *document, name="1.csv")
    # the same amounts, written otherwise, in another order
    again = (
        line("BR-1", 2, "30", "20.0"),
        line("BR-1", 1, "30", "10.0"),
        line("BR-2", amount="5.00"),
    )
    write_sales(folder, *again, name="2.csv")
    read(warehouse, folder)
    assert verdicts(warehouse) == {
        ("BR-1", 1): None,
        ("BR-1", 2): None,
        ("BR-1", 3): None,
        ("BR-2", 1): None,
        ("BR-2", 2): None,
    }


@pytest.mark.parametrize(
    "other",
    [
        line("BR-1", amount="11.00"),
        line("BR-1", day=NEXT_DAY),
        line("BR-1", description="Gadget"),
        line("BR-1", department=""),
        line("BR-1") + line("BR-1", 2, line_amount="0.00"),
    ],
)
def test_one_id_for_two_different_documents_makes_both_invalid(
    warehouse: Warehouse, folder: Path, other: str
) -> None:
    write_sales(folder, line("BR-1"), line("BR-2"), name="1.csv")
    write_sales(folder, other, name="2.csv")
    read(warehouse, folder)
    found = verdicts(warehouse)
    assert found.pop(("BR-2", 1)) is None
    assert found
    for reason in found.values():
        assert "different documents carry this id: 1.csv:2, 2.csv:2" in str(reason)


def test_two_documents_that_share_an_id_but_no_line_number_are_told_by_their_headers(
    warehouse: Warehouse, folder: Path
) -> None:
    write_sales(folder, line("BR-1", 1, "10.00"), line("BR-1", 2, "20.00", day=NEXT_DAY))
    read(warehouse, folder)
    assert set(verdicts(warehouse).values()) == {"its lines differ in invoice_date, amount"}


def test_the_verdict_holds_whichever_partitions_are_read(
    warehouse: Warehouse, folder: Path
) -> None:
    write_sales(folder, line("BR-1"), name="1.csv")
    write_sales(folder, line("BR-1", day=NEXT_DAY), name="2.csv")
    result = read(warehouse, folder, [("E110", NEXT_DAY)])
    assert result.rows == {("E110", NEXT_DAY): 1}
    assert result.elsewhere == {("E110", DAY): 1}
    [reason] = verdicts(warehouse).values()
    assert "1.csv:2, 2.csv:2" in str(reason)


def test_partitions_that_are_not_asked_for_stay_and_empty_ones_are_cleared(
    warehouse: Warehouse, folder: Path
) -> None:
    write_sales(folder, line("BR-1"), line("BR-2", day=NEXT_DAY))
    read(warehouse, folder)
    write_sales(folder, line("BR-3", day=NEXT_DAY))
    result = read(warehouse, folder, [("E110", NEXT_DAY), ("E120", NEXT_DAY)])
    assert result.rows == {("E110", NEXT_DAY): 1, ("E120", NEXT_DAY): 0}
    assert {ref for ref, _ in verdicts(warehouse)} == {"BR-1", "BR-3"}
    (folder / "sales.csv").unlink()
    assert read(warehouse, folder).files == {}
    assert verdicts(warehouse) == {}


def test_reading_twice_changes_nothing(warehouse: Warehouse, folder: Path) -> None:
    write_sales(folder, line("BR-1"), line("BR-2", amount="x"))
    everything = "SELECT * FROM feed.sales_invoices ORDER BY ALL", "SELECT * FROM feed.quarantine"
    first = read(warehouse, folder)
    before = [rows(warehouse, sql) for sql in everything]
    assert read(warehouse, folder) == first
    assert [rows(warehouse, sql) for sql in everything] == before


def test_quarantine_is_of_the_files_that_are_there_now(warehouse: Warehouse, folder: Path) -> None:
    broken = write_sales(folder, line("BR-1", amount="x"), name="broken.csv")
    read(warehouse, folder)
    broken.unlink()
    write_sales(folder, line("BR-1"), name="corrected.csv")
    result = read(warehouse, folder)
    assert quarantine(warehouse) == []
    assert verdicts(warehouse) == {("BR-1", 1): None}
    assert result.quarantined == {}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "the file is empty"),
        (HEADER.replace("amount,", "", 1), "column amount is missing"),
        (HEADER.replace("account", "amount") + line("BR-9"), "column amount is there twice"),
        ("\x00\x01\x02", "is missing"),
    ],
)
def test_a_file_without_the_columns_is_left_out_and_said(
    warehouse: Warehouse, folder: Path, content: str, told: str
) -> None:
    (folder / "other.csv").write_text(content)
    write_sales(folder, line("BR-1"))
    result = read(warehouse, folder)
    assert verdicts(warehouse) == {("BR-1", 1): None}
    assert result.quarantined == {"header": 1}
    [(reason,)] = rows(warehouse, "SELECT reason FROM feed.quarantine")
    assert told in str(reason)


def test_columns_may_come_in_any_order_with_others_between(
    warehouse: Warehouse, folder: Path
) -> None:
    names = HEADER.strip().split(",")
    cells = line("BR-1").strip().split(",")
    table = [[*names[::-1], "note"], [*cells[::-1], "x"]]
    (folder / "sales.csv").write_text("".join(",".join(row) + "\n" for row in table))
    read(warehouse, folder)
    assert verdicts(warehouse) == {("BR-1", 1): None}


def test_ids_are_taken_as_they_are(warehouse: Warehouse, folder: Path) -> None:
    ids = ["O'Brien", '"quoted"', "0042", "42", "👟-1", "a;b", "--", "%_", "\\n"]
    quoted = ('"' + ref.replace('"', '""') + '"' for ref in ids)
    write_sales(folder, *(line(ref) for ref in quoted))
    read(warehouse, folder)
    assert {ref for ref, _ in verdicts(warehouse)} == set(ids)


def test_a_column_that_changed_its_type_is_refused(warehouse: Warehouse, folder: Path) -> None:
    write_sales(folder, line("BR-1"))
    read(warehouse, folder)
    spec = replace(SALES, types={**SALES.types, "account": "integer"})
    with pytest.raises(FeedError, match="account is VARCHAR and would become BIGINT"):
        read(warehouse, folder, spec=spec)
    assert verdicts(warehouse) == {("BR-1", 1): None}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "Sales Invoices"}, "no name for a table"),
        ({"name": "quarantine"}, "has a table of that name"),
        ({"name": "chunks"}, "has a table of that name"),
        ({"files": []}, "names no files"),
        ({"source_id": "_ref"}, "cannot name a column"),
        ({"types": {"Amount": "text"}}, "differ only in case"),
        ({"types": {"amount": "integer"}}, "control_totals: amount is integer"),
        ({"types": {"invoice_date": "text"}}, "its date must be a date"),
        ({"payload": {"customer": "a", "customer.id": "b"}}, "inside another field"),
        ({"payload": {"customer..id": "b"}}, "is no field"),
        (
            {"control_totals": {"line_amount": "amount"}, "compare": {"x": "amount"}},
            "whole document",
        ),
    ],
)
def test_a_definition_that_contradicts_itself_is_refused(
    changes: Mapping[str, object], told: str
) -> None:
    with pytest.raises(FeedError, match=told) as refusal:
        replace(SALES, **changes)  # type: ignore[arg-type]
    assert "intacct.yaml" in str(refusal.value)


def test_the_columns_of_a_feed_follow_from_its_definition() -> None:
    assert SALES.header_columns == (
        "invoice_ref",
        "entity_id",
        "invoice_date",
        "customer_id",
        "due_date",
        "amount",
    )
    assert SALES.line_columns == (
        "line_no",
        "line_amount",
        "account",
        "description",
        "department_id",
    )
    assert SALES.kind("invoice_date") == "date"
    assert SALES.kind("line_amount") == "decimal"
    assert SALES.amount_column == "amount"


def test_a_file_of_another_separator_is_read_when_the_feed_says_so(
    warehouse: Warehouse, folder: Path
) -> None:
    path = write_sales(folder, line("BR-1"))
    path.write_text(path.read_text().replace(",", ";"))
    read(warehouse, folder, spec=replace(SALES, csv=CsvForm(separator=";")))
    assert verdicts(warehouse) == {("BR-1", 1): None}


def test_days_are_dates(warehouse: Warehouse, folder: Path) -> None:
    write_sales(folder, line("BR-1"))
    read(warehouse, folder)
    assert rows(warehouse, "SELECT _entity, _day, due_date FROM feed.sales_invoices") == [
        ("E110", DAY, date(2026, 11, 1))
    ]
