"""What is one document: a number of an entity, and of its party where that numbers by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.feeds import FeedSpec, read_feed
from intacct_dagster_tests.warehouse.warehouse_rows import DAY, HEADER, READ_AT, SALES

#: Without totals, the lines themselves must tell which document they are of.
PLAIN = replace(
    SALES,
    control_totals={},
    types={**SALES.types, "amount": "decimal", "line_amount": "decimal"},
)
BY_PARTY = replace(PLAIN, party="customer.id")
ENTITIES = ("E110", "E120")


def line(ref: str, number: int, entity: str, party: str) -> str:
    return f"{ref},{number},{entity},{party},{DAY},{DAY},10.00,40100,D1,Widget,10.00\n"


def read(warehouse: Warehouse, spec: FeedSpec, folder: Path, **files: str) -> dict[object, object]:
    """(entity, document) -> why it may not be posted."""
    folder.mkdir()
    for name, lines in files.items():
        (folder / f"{name}.csv").write_text(HEADER + lines, encoding="utf-8")
    asked = [(entity, DAY) for entity in ENTITIES]
    read_feed(warehouse, spec, asked, ENTITIES, folder, "run-1", read_at=READ_AT)
    with warehouse.connect(read_only=True) as connection:
        found = connection.execute(
            "SELECT DISTINCT _entity, _document, _invalid FROM feed.sales_invoices"
        ).fetchall()
    assert len({row[:2] for row in found}) == len(found)
    return {(entity, document): invalid for entity, document, invalid in found}


def test_a_number_that_two_entities_use_is_two_documents(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    found = read(
        warehouse,
        PLAIN,
        tmp_path / "feed",
        usa=line("INV-1", 1, "E110", "C1"),
        canada=line("INV-1", 1, "E120", "C1"),
    )
    assert found == {("E110", "INV-1"): None, ("E120", "INV-1"): None}


@pytest.mark.parametrize("files", [1, 2])
def test_a_number_that_two_parties_use_is_two_documents(
    warehouse: Warehouse, tmp_path: Path, files: int
) -> None:
    one = line("INV-1", 1, "E110", "C1") + line("INV-1", 2, "E110", "C1")
    other = line("INV-1", 1, "E110", "C2")
    lines = {"a": one + other} if files == 1 else {"a": one, "b": other}
    found = read(warehouse, BY_PARTY, tmp_path / "feed", **lines)
    assert found == {("E110", "INV-1 · C1"): None, ("E110", "INV-1 · C2"): None}


def test_where_a_number_is_enough_two_parties_contradict_each_other(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    found = read(
        warehouse,
        PLAIN,
        tmp_path / "feed",
        a=line("INV-1", 1, "E110", "C1"),
        b=line("INV-1", 1, "E110", "C2"),
    )
    assert list(found) == [("E110", "INV-1")]
    assert "different documents carry this id" in str(found["E110", "INV-1"])


@pytest.mark.parametrize(
    "stray",
    [line("INV-1", 3, "E120", "C1"), line("INV-1", 3, "E110", "C2")],
    ids=["another entity", "another party"],
)
def test_a_line_that_goes_on_numbering_is_of_the_document_before_it(
    warehouse: Warehouse, tmp_path: Path, stray: str
) -> None:
    """One line of an invoice with a wrong vendor or entity: no part of it may be posted."""
    begun = line("INV-1", 1, "E110", "C1") + line("INV-1", 2, "E110", "C1")
    found = read(warehouse, BY_PARTY, tmp_path / "feed", a=begun + stray)
    assert len(found) == 2
    assert set(found.values()) == {"its lines differ in entity_id or customer_id"}


def test_documents_that_add_up_are_several_whatever_their_lines_number(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    spec = replace(SALES, party="customer.id")
    both = line("INV-1", 1, "E110", "C1") + line("INV-1", 2, "E110", "C2")
    found = read(warehouse, spec, tmp_path / "feed", a=both)
    assert found == {("E110", "INV-1 · C1"): None, ("E110", "INV-1 · C2"): None}


def test_a_broken_line_holds_every_document_of_its_number(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    broken = line("INV-1", 2, "E110", "C1").replace("10.00", "ten", 1)
    lines = line("INV-1", 1, "E110", "C1") + broken + line("INV-1", 1, "E110", "C2")
    found = read(warehouse, BY_PARTY, tmp_path / "feed", a=lines)
    assert len(found) == 2
    assert all("in quarantine" in str(reason) for reason in found.values())
