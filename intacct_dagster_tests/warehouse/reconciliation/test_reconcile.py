"""Reconciliation: each document has exactly one status; nothing is posted on half a view."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from intacct_dagster.warehouse import (
    Warehouse,
    column_for,
)
from intacct_dagster.warehouse.errors import NotMaterialized, ReconciliationRefused
from intacct_dagster.warehouse.feeds import payload_hash, read_feed
from intacct_dagster.warehouse.raw.current import refresh_current
from intacct_dagster.warehouse.raw.load import load_raw
from intacct_dagster.warehouse.reconciliation import (
    LedgerState,
    reconcile,
)
from intacct_dagster_tests.warehouse.reconciliation.reconciling import (
    ENTITIES,
    HERE,
    payloads,
    read,
    reported,
    run,
)
from intacct_dagster_tests.warehouse.warehouse_rows import (
    COLUMNS,
    DAY,
    INVOICE,
    NEXT_DAY,
    READ_AT,
    SALES,
    invoice,
    line,
    load_invoices,
    load_of,
    write_sales,
)


def test_documents_are_matched_on_their_id_and_compared_as_numbers(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    write_sales(
        tmp_path / "feed",
        line("BR-1", amount="10"),
        line("BR-2", amount="20.00"),
        line("BR-3", amount="30.00"),
        line("BR-4", amount="40.00"),
        line("BR-5"),
    )
    read(warehouse, tmp_path / "feed")
    rows = [
        invoice("1", referenceNumber="BR-1", totalTxnAmount="10.00"),
        invoice("2", referenceNumber="BR-2", totalTxnAmount="20.01"),
        invoice("3", referenceNumber="BR-3", totalTxnAmount=None),
        invoice("4", referenceNumber="BR-4", totalTxnAmount="40.00"),
        invoice("5", referenceNumber="BR-4", totalTxnAmount="40.00"),
        invoice("6", referenceNumber=None),
    ]
    load_invoices(warehouse, tmp_path / "pages", rows)
    assert run(warehouse) == {
        ("BR-1", 1): "matched",
        ("BR-2", 1): "different",
        ("BR-3", 1): "different",
        ("BR-4", 1): "duplicate_in_intacct",
        ("BR-5", 1): "missing",
    }
    assert reported(warehouse, "BR-1") == (None, None, "1")
    assert reported(warehouse, "BR-2") == (
        "differs in totalTxnAmount",
        {"totalTxnAmount": {"source": "20.00", "intacct": "20.01"}},
        "2",
    )
    assert reported(warehouse, "BR-3")[1] == {
        "totalTxnAmount": {"source": "30.00", "intacct": None}
    }
    assert reported(warehouse, "BR-4") == (
        "2 records in Intacct carry this id: keys 4, 5; none was posted from here",
        None,
        None,
    )


def test_texts_and_dates_are_compared_too(tmp_path: Path, warehouse: Warehouse) -> None:
    spec = replace(
        SALES, compare={"totalTxnAmount": "amount", "state": "customer_id", "dueDate": "due_date"}
    )
    columns = [
        *COLUMNS,
        replace(COLUMNS[0], name="state", path="state"),
        replace(COLUMNS[0], name="due_date", path="dueDate", type="DATE"),
    ]
    write_sales(tmp_path / "feed", line("BR-1"), line("BR-2"))
    read(warehouse, tmp_path / "feed")
    rows = [
        invoice("1", referenceNumber="BR-1", state="C1", dueDate="2026-11-01"),
        invoice("2", referenceNumber="BR-2", state='C"2', dueDate="2026-11-02"),
    ]
    load_raw(warehouse, load_of(tmp_path / "pages", rows, columns=columns))
    refresh_current(warehouse, INVOICE)
    result = reconcile(warehouse, spec, INVOICE, HERE, [], "run-1")
    assert result.counts == {("E110", DAY, "matched"): 1, ("E110", DAY, "different"): 1}
    assert reported(warehouse, "BR-2")[1] == {
        "state": {"source": "C1", "intacct": 'C"2'},
        "dueDate": {"source": "2026-11-01", "intacct": "2026-11-02"},
    }


def test_another_entity_s_record_does_not_match_and_a_shared_one_does(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    write_sales(tmp_path / "feed", line("BR-1"), line("BR-2"))
    read(warehouse, tmp_path / "feed")
    load_invoices(warehouse, tmp_path / "pages", [])
    rows = [
        invoice("1", referenceNumber="BR-1", **{"entity.id": "E120"}),
        invoice("2", referenceNumber="BR-2", **{"entity.id": None}),
    ]
    load_invoices(warehouse, tmp_path / "pages", rows, entity="E120")
    assert run(warehouse) == {("BR-1", 1): "missing", ("BR-2", 1): "matched"}


def test_what_the_ledger_knows_is_never_planned_again(tmp_path: Path, warehouse: Warehouse) -> None:
    states = ["planned", "sending", "posted", "rejected", "uncertain"]
    write_sales(tmp_path / "feed", *(line(f"BR-{state}") for state in states), line("BR-new"))
    read(warehouse, tmp_path / "feed")
    load_invoices(warehouse, tmp_path / "pages", [])
    run(warehouse)
    hashes = {d.source_id: d.payload_hash for d in payloads(warehouse, SALES, HERE)}
    ledger = [
        LedgerState("E110", f"BR-{state}", state, hashes[f"BR-{state}"], f"why {state}")
        for state in states
    ]
    # An id belongs to the feed, not to an entity: what moved is the same document all the same,
    # unless Intacct rejected it where it was.
    moved = LedgerState("E120", "BR-new", "posted", "x")
    rejected = LedgerState("E120", "BR-planned", "rejected", "x", "no such entity")
    assert run(warehouse, [*ledger, moved, rejected]) == {
        ("BR-planned", 1): "missing",
        ("BR-sending", 1): "uncertain",
        ("BR-posted", 1): "posted",
        ("BR-rejected", 1): "rejected",
        ("BR-uncertain", 1): "uncertain",
        ("BR-new", 1): "different",
    }
    assert reported(warehouse, "BR-new")[0] == (
        "it was sent for E120 before; the source has it in E110 now"
    )
    assert reported(warehouse, "BR-rejected")[0] == "why rejected"
    assert reported(warehouse, "BR-uncertain")[0] == "why uncertain"


def test_a_refused_document_is_missing_again_once_it_changed(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    write_sales(tmp_path / "feed", line("BR-1", department=""), line("BR-2"))
    read(warehouse, tmp_path / "feed")
    load_invoices(warehouse, tmp_path / "pages", [])
    run(warehouse)
    ledger = [
        LedgerState("E110", document.source_id, "rejected", document.payload_hash, "no department")
        for document in payloads(warehouse, SALES, HERE)
    ]
    write_sales(tmp_path / "feed", line("BR-1", department="D1"), line("BR-2"))
    read(warehouse, tmp_path / "feed")
    assert run(warehouse, ledger) == {("BR-1", 1): "missing", ("BR-2", 1): "rejected"}
    [again] = payloads(warehouse, SALES, HERE)
    assert again.source_id == "BR-1"
    assert b'"department":{"id":"D1"}' in again.payload


def test_a_document_that_changed_after_posting_is_different_and_never_posted_again(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    write_sales(tmp_path / "feed", line("BR-1"), line("BR-2"), line("BR-3"), line("BR-4"))
    read(warehouse, tmp_path / "feed")
    load_invoices(warehouse, tmp_path / "pages", [])
    run(warehouse)
    before = {each.source_id: each for each in payloads(warehouse, SALES, HERE)}
    ledger = [
        LedgerState("E110", each.source_id, "posted", each.payload_hash) for each in before.values()
    ]

    def posted(entity: str, source_ids: Sequence[str]) -> dict[str, bytes]:
        assert (entity, set(source_ids)) == ("E110", {"BR-1", "BR-2", "BR-3"})
        return {source_id: before[source_id].payload for source_id in source_ids}

    # In Intacct by now: all but BR-2; and of BR-3 somebody corrected the total there.
    write_sales(
        tmp_path / "feed",
        line("BR-1", description="Gadget"),
        line("BR-2", department=""),
        line("BR-3", amount="11.00"),
        line("BR-4"),
    )
    read(warehouse, tmp_path / "feed")
    rows = [
        invoice("1", referenceNumber="BR-1"),
        invoice("3", referenceNumber="BR-3", totalTxnAmount="11.00"),
        invoice("4", referenceNumber="BR-4"),
    ]
    load_invoices(warehouse, tmp_path / "pages", rows)
    assert run(warehouse, ledger, posted=posted) == {
        ("BR-1", 1): "different",
        ("BR-2", 1): "different",
        ("BR-3", 1): "different",
        ("BR-4", 1): "matched",
    }
    assert reported(warehouse, "BR-1") == (
        "the source changed after it was posted: lines[0].memo",
        {"lines[0].memo": {"source": "Gadget", "posted": "Widget"}},
        "1",
    )
    assert reported(warehouse, "BR-2")[1] == {
        "lines[0].dimensions.department.id": {"source": None, "posted": "D1"}
    }
    assert reported(warehouse, "BR-3")[1] == {
        "lines[0].txnAmount": {"source": "11.00", "posted": "10.00"}
    }
    assert payloads(warehouse, SALES, HERE, ("missing", "uncertain")) == []


def test_what_is_compared_with_intacct_is_judged_by_what_intacct_has_now(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    spec = replace(SALES, compare={"referenceNumber": "invoice_ref", "dueDate": "due_date"})
    columns = (*COLUMNS, column_for("dueDate", "string", "date"))
    write_sales(tmp_path / "feed", line("BR-1"))
    read_feed(warehouse, spec, HERE, ENTITIES, tmp_path / "feed", "run-1", read_at=READ_AT)
    ledger = [LedgerState("E110", "BR-1", "posted", "0" * 64)]

    def statuses(due: str) -> tuple[str, object]:
        row = {**invoice("1", referenceNumber="BR-1"), "dueDate": due}
        load = load_of(tmp_path / "pages", [row], columns=columns)
        load_raw(warehouse, load)
        refresh_current(warehouse, INVOICE)
        reconcile(warehouse, spec, INVOICE, HERE, ledger, "run-1", posted=lambda *_: {"BR-1": sent})
        with warehouse.connect(read_only=True) as connection:
            return connection.execute(
                "SELECT status, differences FROM reconciled.sales_invoices"
            ).fetchall()[0]

    load_raw(warehouse, load_of(tmp_path / "pages", [], columns=columns))
    refresh_current(warehouse, INVOICE)
    reconcile(warehouse, spec, INVOICE, HERE, (), "run-1")
    with warehouse.connect(read_only=True) as connection:
        [(now,)] = connection.execute("SELECT payload FROM reconciled.sales_invoices").fetchall()
    sent = now.replace("2026-11-01", "2026-10-20").encode()
    assert sent != now.encode()
    status, differences = statuses("2026-10-20")
    assert (status, json.loads(str(differences))) == (
        "different",
        {"dueDate": {"source": "2026-11-01", "intacct": "2026-10-20"}},
    )
    assert statuses("2026-11-01") == ("matched", None), "a person corrected it in Intacct"


def test_payloads_come_in_a_stable_order_and_are_those_that_were_reconciled(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    partitions = [("E120", DAY), ("E110", NEXT_DAY), ("E110", DAY)]
    write_sales(
        tmp_path / "feed",
        line("BR-2", 2, "30.00", "20.00"),
        line("BR-9", entity="E120"),
        line("BR-2", 1, "30.00", "10.00"),
        line("BR-1"),
        line("BR-0", day=NEXT_DAY),
        line("BR-3", amount="1.00", line_amount="2.00"),
    )
    read(warehouse, tmp_path / "feed", partitions)
    for entity in ENTITIES:
        load_invoices(warehouse, tmp_path / "pages", [], entity=entity, days=[DAY, NEXT_DAY])
    run(warehouse, (), partitions)
    first = payloads(warehouse, SALES, partitions)
    assert [(d.entity, d.day, d.source_id, d.amount, d.file, d.line) for d in first] == [
        ("E110", DAY, "BR-1", Decimal(10), "sales.csv", 5),
        ("E110", DAY, "BR-2", Decimal(30), "sales.csv", 2),
        ("E110", NEXT_DAY, "BR-0", Decimal(10), "sales.csv", 6),
        ("E120", DAY, "BR-9", Decimal(10), "sales.csv", 3),
    ]
    amounts = [entry["txnAmount"] for entry in json.loads(first[1].payload)["lines"]]
    assert amounts == ["10.00", "20.00"]  # by line number, wherever the lines stand in the file
    assert first[1].payload_hash == payload_hash(first[1].payload)
    write_sales(tmp_path / "feed", line("BR-1", amount="11.00"))
    read(warehouse, tmp_path / "feed", partitions)
    assert payloads(warehouse, SALES, partitions) == first
    assert payloads(warehouse, SALES, partitions, ["matched", "duplicate", "invalid"]) == []


def test_partitions_that_are_not_asked_for_stay(tmp_path: Path, warehouse: Warehouse) -> None:
    both = [("E110", DAY), ("E110", NEXT_DAY)]
    write_sales(tmp_path / "feed", line("BR-1"), line("BR-2", day=NEXT_DAY))
    read(warehouse, tmp_path / "feed", both)
    load_invoices(warehouse, tmp_path / "pages", [], days=[DAY, NEXT_DAY])
    run(warehouse, (), both)
    (tmp_path / "feed" / "sales.csv").unlink()
    read(warehouse, tmp_path / "feed", both)
    assert run(warehouse, (), HERE) == {}
    assert [d.source_id for d in payloads(warehouse, SALES, both)] == ["BR-2"]


@pytest.mark.parametrize(
    ("days", "named"),
    [
        ([], "its first day for E110"),
        ([(DAY, True)], "1 of its days for E110 are not loaded, the first of them 2026-10-02"),
        ([(NEXT_DAY, False)], "its first day for E110"),
        (
            [(DAY, True), (NEXT_DAY, False), (date(2026, 10, 5), False)],
            "2 of its days for E110 are not loaded, the first of them 2026-10-03",
        ),
    ],
)
def test_what_was_never_loaded_does_not_look_missing(
    tmp_path: Path, warehouse: Warehouse, days: list[tuple[date, bool]], named: str
) -> None:
    write_sales(tmp_path / "feed", line("BR-1", day=NEXT_DAY))
    read(warehouse, tmp_path / "feed", [("E110", NEXT_DAY)])
    load_invoices(warehouse, tmp_path / "pages", [], entity="E120")
    for day, takes_older in days:
        load_raw(warehouse, load_of(tmp_path / "pages", [], days=[day], takes_older=takes_older))
    with pytest.raises(NotMaterialized, match=named):
        run(warehouse, (), [("E110", NEXT_DAY)])


def test_each_thing_that_is_missing_is_said_with_what_to_do(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    write_sales(tmp_path / "feed", line("BR-1"))
    load_invoices(warehouse, tmp_path / "pages", [])
    with pytest.raises(NotMaterialized, match="Materialize the feed sales_invoices first"):
        run(warehouse)
    read(warehouse, tmp_path / "feed")
    with pytest.raises(NotMaterialized, match="Materialize the reconciliation"):
        payloads(warehouse, SALES, HERE)
    with pytest.raises(NotMaterialized, match="raw and current"):
        reconcile(warehouse, SALES, "accounts-payable/bill", HERE, [], "run-1")
    spec = replace(SALES, match_on="documentId", compare={"total": "amount"})
    with pytest.raises(ReconciliationRefused, match="documentId, total"):
        reconcile(warehouse, spec, INVOICE, HERE, [], "run-1")


def test_a_ledger_that_names_a_document_twice_writes_nothing(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    write_sales(tmp_path / "feed", line("BR-1"))
    read(warehouse, tmp_path / "feed")
    load_invoices(warehouse, tmp_path / "pages", [])
    before = run(warehouse)
    twice = [LedgerState("E110", "BR-1", "posted"), LedgerState("E110", "BR-1", "planned")]
    with pytest.raises(ReconciliationRefused, match="1 documents would get 2 statuses"):
        run(warehouse, twice)
    assert before == {("BR-1", 1): "missing"}
    assert [d.source_id for d in payloads(warehouse, SALES, HERE)] == ["BR-1"]
