"""A warehouse of version 0.2.0: its rows are adopted as versions, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from intacct_dagster.warehouse.raw.current import refresh_current
from intacct_dagster.warehouse.raw.names import table_name
from intacct_dagster_tests.extraction.books import COLOUR, INVOICE, LINE
from intacct_dagster_tests.extraction.desk import ONE, TWO, BooksDesk, at


def as_version_0_2_0(desk: BooksDesk, deleted: str | None = None) -> None:
    """Make the warehouse what version 0.2.0 left: no log of loads, and a view of the rows."""
    table = table_name(desk.name)
    with desk.warehouse.connect() as connection:
        connection.execute(f"DROP VIEW intacct.{table}_history")
        connection.execute(f"DROP TABLE intacct.{table}")
        connection.execute(f"CREATE VIEW intacct.{table} AS FROM raw.{table}")
        for column in ("_load_id", "_read_at"):
            connection.execute(f"ALTER TABLE raw.{table} DROP COLUMN {column}")
        for column in ("load_id", "read_to"):
            connection.execute(f"ALTER TABLE meta.raw_loads DROP COLUMN {column}")
        for column in ("load_id", "everywhere"):
            connection.execute(f"ALTER TABLE meta.tombstones DROP COLUMN {column}")
        for name in ("loads", "as_of", "objects", "entities"):
            connection.execute(f"DROP TABLE meta.{name}")
        others = connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'raw'"
            f" AND table_name <> '{table}'"
        ).fetchall()
        for (name,) in others:
            connection.execute(f"DROP TABLE raw.{name}")
        if deleted is not None:
            connection.execute(
                "INSERT INTO meta.tombstones VALUES (?, ?, ?, ?, 'run', NULL)",
                [desk.name, ONE, deleted, at(4, 3).isoformat()],
            )


def filled(tmp_path: Path, name: str) -> BooksDesk:
    """Books of an object that were read some nights: a record has rows of two days."""
    desk = BooksDesk(tmp_path, name)
    for key, entity in (("1", ONE), ("2", TWO), ("3", None), ("4", ONE)):
        desk.books.put(key, entity, at(1), lines={f"{key}a": 0, f"{key}b": 0})
    desk.night(2)
    if name != COLOUR:  # of which version 0.2.0 kept each reading whole
        desk.books.now = at(3)
        desk.books.touch("4")
        desk.night(4)
    return desk


@pytest.mark.parametrize("name", [INVOICE, LINE, COLOUR])
def test_its_rows_are_there_before_anything_is_read(tmp_path: Path, name: str) -> None:
    desk = filled(tmp_path, name)
    before = desk.table()
    as_version_0_2_0(desk)
    assert refresh_current(desk.warehouse, name).rows == len(before)
    assert desk.table() == before


@pytest.mark.parametrize("name", [INVOICE, LINE, COLOUR])
def test_nights_go_on_from_there(tmp_path: Path, name: str) -> None:
    desk = filled(tmp_path, name)
    as_version_0_2_0(desk)
    desk.books.now = at(4)
    desk.books.touch("1").lines = {"1a": 1}
    desk.books.now = at(5, 1, 58)
    desk.books.touch("2").lines["2a"] = 1
    desk.night(5)
    desk.night(6)
    expected = {
        INVOICE: {"1": "1.50", "2": "1.50", "3": "0.50", "4": "1.50"},
        COLOUR: {"1": "v1", "2": "v1", "3": "v0", "4": "v0"},
        LINE: dict.fromkeys(("2b", "3a", "3b", "4a", "4b"), "v0") | {"1a": "v1", "2a": "v1"},
    }
    assert desk.table() == expected[name]
    del desk.books.records["4"]
    desk.books.now = at(6, 3)
    if name == COLOUR:
        desk.night(7)
    else:
        desk.scan()
    assert not {"4", "4a", "4b"} & desk.table().keys()


def test_what_it_had_found_deleted_does_not_come_back(tmp_path: Path) -> None:
    desk = filled(tmp_path, INVOICE)
    del desk.books.records["4"]
    as_version_0_2_0(desk, deleted="4")
    assert refresh_current(desk.warehouse, INVOICE).rows == 3
    desk.night(5)
    desk.scan()
    assert desk.table() == {"1": "0.50", "2": "0.50", "3": "0.50"}


def test_it_is_not_known_since_when_its_rows_are_whole(tmp_path: Path) -> None:
    desk = filled(tmp_path, INVOICE)
    as_version_0_2_0(desk)
    refresh_current(desk.warehouse, INVOICE)
    assert desk.rows("SELECT complete_since FROM meta.as_of") == []
