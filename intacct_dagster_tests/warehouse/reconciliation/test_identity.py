"""A record is a document's only if its number and its party agree."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

from intacct_dagster.warehouse import Warehouse, column_for
from intacct_dagster.warehouse.feeds import FeedSpec, read_feed
from intacct_dagster.warehouse.raw.current import refresh_current
from intacct_dagster.warehouse.raw.load import load_raw
from intacct_dagster.warehouse.reconciliation import LedgerState, reconcile
from intacct_dagster_tests.warehouse.warehouse_rows import (
    COLUMNS,
    DAY,
    HEADER,
    INVOICE,
    READ_AT,
    SALES,
    invoice,
    load_of,
)

BY_PARTY = replace(SALES, party="customer.id", compare={})
BY_NUMBER = replace(SALES, partner="customer.id", compare={})
ENTITIES = ("E110", "E120")


def line(ref: str, entity: str, party: str) -> str:
    return f"{ref},1,{entity},{party},{DAY},{DAY},10.00,40100,D1,Widget,10.00\n"


def statuses(
    warehouse: Warehouse,
    folder: Path,
    spec: FeedSpec,
    lines: str,
    *ledger: LedgerState,
    records: tuple[dict[str, object], ...] = (),
) -> dict[tuple[str, str], str]:
    (folder / "feed").mkdir(exist_ok=True)
    (folder / "feed/a.csv").write_text(HEADER + lines, encoding="utf-8")
    asked = [(entity, DAY) for entity in ENTITIES]
    read_feed(warehouse, spec, asked, ENTITIES, folder / "feed", "run-1", read_at=READ_AT)
    columns = (*COLUMNS, column_for("customer.id", "string"))
    for entity in ENTITIES:
        rows = [each for each in records if each["entity.id"] == entity]
        load_raw(warehouse, load_of(folder / "pages", rows, entity=entity, columns=columns))
    refresh_current(warehouse, INVOICE)
    reconcile(warehouse, spec, INVOICE, asked, ledger, "run-1", at=READ_AT)
    with warehouse.connect(read_only=True) as connection:
        found = connection.execute(
            "SELECT _entity, source_id, status FROM reconciled.sales_invoices"
        ).fetchall()
    return {(entity, source_id): status for entity, source_id, status in found}


def record(key: str, number: str, party: str, entity: str = "E110") -> dict[str, object]:
    fields = {"entity.id": entity, "referenceNumber": number, "customer.id": party}
    return invoice(key, **fields)


def test_the_number_of_another_party_is_no_match(warehouse: Warehouse, tmp_path: Path) -> None:
    found = statuses(
        warehouse,
        tmp_path,
        BY_PARTY,
        line("D-1", "E110", "C1") + line("D-2", "E110", "C1"),
        records=(record("1", "D-1", "C2"), record("2", "D-2", "C1"), record("3", "D-2", "C2")),
    )
    assert found == {("E110", "D-1 · C1"): "missing", ("E110", "D-2 · C1"): "matched"}


def test_where_a_number_is_enough_another_party_is_a_difference(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    found = statuses(
        warehouse,
        tmp_path,
        BY_NUMBER,
        line("D-1", "E110", "C1") + line("D-2", "E110", "C1"),
        records=(record("1", "D-1", "C2"), record("2", "D-2", "C1")),
    )
    assert found == {("E110", "D-1"): "different", ("E110", "D-2"): "matched"}


def test_what_one_entity_was_sent_is_no_document_of_another(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    posted = LedgerState("E120", "D-1", "posted", "x")
    both = line("D-1", "E110", "C1") + line("D-1", "E120", "C1")
    assert statuses(warehouse, tmp_path, BY_NUMBER, both, posted)["E110", "D-1"] == "missing"
    moved = line("D-1", "E110", "C1")
    assert statuses(warehouse, tmp_path, BY_NUMBER, moved, posted) == {("E110", "D-1"): "different"}


def test_a_record_that_was_posted_and_stands_twice_says_which_is_ours(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    posted = LedgerState("E110", "D-1", "posted", "x", day=DAY, intacct_key="2")
    found = statuses(
        warehouse,
        tmp_path,
        BY_NUMBER,
        line("D-1", "E110", "C1"),
        posted,
        records=(record("1", "D-1", "C1"), record("2", "D-1", "C1")),
    )
    assert found == {("E110", "D-1"): "duplicate_in_intacct"}
    assert flagged(warehouse) == [
        ("D-1", "2 records in Intacct carry this id: keys 1, 2; posted from here is 2")
    ]


def test_what_was_posted_and_left_its_source_is_cancelled(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    ledger = (
        LedgerState("E110", "D-1", "posted", "x", day=DAY, amount="7.50", intacct_key="1"),
        LedgerState("E110", "D-2", "posted", day=DAY, amount="1.00", intacct_key="2"),
        LedgerState("E110", "D-3", "rejected", "x", "why", day=DAY, amount="1.00"),
        LedgerState("E110", "D-4", "posted", "x", day=date(2026, 9, 1), intacct_key="4"),
    )
    found = statuses(
        warehouse,
        tmp_path,
        BY_NUMBER,
        line("D-2", "E110", "C1"),
        *ledger,
        records=(record("1", "D-1", "C1"), record("2", "D-2", "C1")),
    )
    assert found == {("E110", "D-1"): "cancelled", ("E110", "D-2"): "matched"}
    assert flagged(warehouse) == [
        ("D-1", "it was posted as record 1, and its source has it no longer")
    ]


def flagged(warehouse: Warehouse) -> list[tuple[object, ...]]:
    with warehouse.connect(read_only=True) as connection:
        return connection.execute(
            "SELECT source_id, reason FROM reconciled.sales_invoices WHERE reason IS NOT NULL"
            " ORDER BY ALL"
        ).fetchall()
