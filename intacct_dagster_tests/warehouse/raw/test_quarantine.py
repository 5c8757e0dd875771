"""Quarantine: what counts is what is wrong in the current table now, once, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from intacct_dagster.warehouse import Warehouse, column_for
from intacct_dagster.warehouse.raw.entities import know_entities
from intacct_dagster.warehouse.raw.forget import forget_object
from intacct_dagster.warehouse.raw.load import load_raw
from intacct_dagster.warehouse.raw.maintenance import maintain
from intacct_dagster.warehouse.raw.quarantine import quarantined
from intacct_dagster.warehouse.raw.status import object_status
from intacct_dagster_tests.warehouse.warehouse_rows import (
    COLUMNS,
    INVOICE,
    READ_AT,
    invoice,
    load_of,
)

TYPED = (*COLUMNS, column_for("dueDate", "string", "date"), column_for("count", "integer"))
NEVER = "0000-00-00"


class Books:
    """An object that is read again and again, each time an hour later."""

    def __init__(self, warehouse: Warehouse, folder: Path) -> None:
        self.warehouse = warehouse
        self._folder = folder
        self._reads = 0

    def read(
        self, *rows: Mapping[str, object], entity: str = "E110", snapshot: bool = False
    ) -> None:
        at = READ_AT + timedelta(hours=self._reads)
        self._reads += 1
        load = load_of(self._folder, rows, entity=entity, columns=TYPED, run_id=f"r{self._reads}")
        lag = timedelta(days=1)
        load_raw(self.warehouse, replace(load, extracted_at=at, snapshot=snapshot, lag=lag))

    def wrong(self) -> list[tuple[str, int, str | None]]:
        """Fields with values that are not as they were sent: how many, and why."""
        found = quarantined(self.warehouse, [INVOICE])
        (status,) = object_status(self.warehouse, [INVOICE])
        assert status.quarantined == sum(each.values for each in found)
        return [(each.path, each.values, each.reason) for each in found]

    def rows(self) -> int:
        with self.warehouse.connect(read_only=True) as connection:
            return int(connection.execute("SELECT count(*) FROM raw.quarantine").fetchall()[0][0])


@pytest.fixture
def books(warehouse: Warehouse, tmp_path: Path) -> Books:
    return Books(warehouse, tmp_path / "pages")


def corrected(hour: int = 13) -> dict[str, object]:
    time = f"2026-10-01T{hour}:00:00Z"
    return invoice("1", dueDate="2026-10-31", **{"audit.modifiedDateTime": time})


def test_it_is_counted_by_field_and_reason(books: Books) -> None:
    books.read(
        invoice("1", dueDate=NEVER),
        invoice("2", dueDate="2026-02-30", count="many"),
        invoice("3", dueDate="soon"),
    )
    assert sorted(books.wrong()) == [
        ("count", 1, "not a number"),
        ("dueDate", 1, "not written as YYYY-MM-DD"),
        ("dueDate", 2, "no such date"),
    ]


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_value_that_is_read_again_is_one_row_and_counts_until_it_is_corrected(
    books: Books, snapshot: bool
) -> None:
    for _ in range(3):
        books.read(invoice("1", dueDate=NEVER), snapshot=snapshot)
        assert books.wrong() == [("dueDate", 1, "no such date")]
    assert books.rows() == 1
    books.read(corrected(), snapshot=snapshot)
    assert books.wrong() == []
    books.read(invoice("1", dueDate=NEVER) | {"audit.modifiedDateTime": "2026-10-01T14:00:00Z"})
    assert books.wrong() == [("dueDate", 1, "no such date")]
    assert books.rows() == 2


def test_it_counts_again_when_the_correction_is_forgotten(books: Books) -> None:
    books.read(invoice("1", dueDate=NEVER))
    books.read(invoice("1", dueDate=NEVER))
    books.read(corrected(), entity="E110")
    assert books.wrong() == []
    with books.warehouse.staging() as staging, staging.transaction() as connection:
        connection.execute("UPDATE warehouse.meta.loads SET entity = 'E999' WHERE load_id = 3")
    forget_object(
        books.warehouse, INVOICE, entities=["E999"], now=datetime(2026, 10, 20, tzinfo=UTC)
    )
    assert books.wrong() == [("dueDate", 1, "no such date")]


def test_a_version_met_twice_counts_as_the_one_that_is_kept(books: Books) -> None:
    books.read(invoice("1", dueDate=NEVER), corrected())
    assert books.wrong() == []


def test_only_the_entity_whose_version_counts_is_asked(books: Books) -> None:
    shared = {"entity.id": None}
    know_entities(books.warehouse, ["E110", "E120"])
    books.read(invoice("1", dueDate="2026-10-31", **shared))
    books.read(invoice("1", dueDate=NEVER, **shared), entity="E120")
    assert books.wrong() == []


def test_it_counts_after_maintenance_and_after_a_rename(books: Books) -> None:
    know_entities(books.warehouse, ["E110"])
    for _ in range(4):
        books.read(invoice("1", dueDate=NEVER))
    maintained = maintain(books.warehouse, INVOICE, at_least=1)
    assert maintained is not None
    assert maintained.repeats == 2
    assert books.wrong() == [("dueDate", 1, "no such date")]
    know_entities(books.warehouse, ["E111"], {"E110": "E111"})
    assert books.wrong() == [("dueDate", 1, "no such date")]


def test_rows_that_an_older_version_stored_count_without_a_reason(books: Books) -> None:
    books.read(invoice("1", dueDate=NEVER))
    with books.warehouse.staging() as staging, staging.transaction() as connection:
        connection.execute("ALTER TABLE warehouse.raw.quarantine DROP COLUMN reason")
        connection.execute("ALTER TABLE warehouse.raw.quarantine DROP COLUMN first_load_id")
    assert books.wrong() == [("dueDate", 1, None)]
    books.read(invoice("1", dueDate=NEVER))
    assert books.wrong() == [("dueDate", 1, "no such date")]
    assert books.rows() == 1
