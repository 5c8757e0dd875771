"""Sequences of changes and readings that once showed something wrong, each with what is right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina

from intacct_dagster.client import AccessDenied, HistoryWentBack
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import rebuild
from intacct_dagster_tests.extraction.books import BILL, COLOUR, LINE
from intacct_dagster_tests.extraction.desk import ONE, TWO, BooksDesk, at


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2):
        yield


@pytest.fixture
def desk(tmp_path: Path) -> BooksDesk:
    """Two entities, an invoice of each, and one that they share."""
    found = BooksDesk(tmp_path)
    for key, entity in (("1", ONE), ("2", TWO), ("3", None)):
        found.books.put(key, entity, at(1))
    return found


def documents(tmp_path: Path, *, reached: bool) -> BooksDesk:
    """A bill of two lines in each of two entities."""
    found = BooksDesk(tmp_path, LINE, reached=reached)
    found.books.put("A", ONE, at(1), lines={"A1": 0, "A2": 0})
    found.books.put("B", TWO, at(1), lines={"B1": 0, "B2": 0})
    return found


def test_a_record_touched_shortly_before_the_run_stays(desk: BooksDesk) -> None:
    desk.night(2)
    desk.night(3)
    desk.books.now = at(4, 1)
    desk.books.touch("1")
    desk.books.now = at(4, 1, 58)  # too late for the run
    desk.books.touch("2")
    desk.night(4)
    assert desk.table() == {"1": "1.50", "2": "0.50", "3": "0.50"}
    desk.night(5)
    assert desk.table() == {"1": "1.50", "2": "1.50", "3": "0.50"}


def test_a_record_touched_while_its_window_is_read_late_stays(desk: BooksDesk) -> None:
    desk.night(2)
    desk.books.now = at(6)
    desk.books.before_answer = lambda _entity, _query: (
        None if desk.books.records["1"].version else desk.books.touch("1", at(6))
    )
    desk.read(ONE, 1)
    assert desk.table()["1"] == "0.50"
    desk.night(7)
    assert desk.table()["1"] == "1.50"


def test_a_day_that_is_read_again_in_any_order_takes_nothing_back(desk: BooksDesk) -> None:
    desk.night(2)
    desk.books.now = at(3)
    desk.books.touch("1")
    desk.night(4)
    for days in ((1,), (2, 3), (2,), (1, 3)):
        desk.read(ONE, *days)
        assert desk.table() == {"1": "1.50", "2": "0.50", "3": "0.50"}


def test_a_slow_run_does_not_undo_an_edit_without_a_change_time(desk: BooksDesk) -> None:
    desk.night(2)

    def edited_and_read() -> None:
        desk.books.pass_time(60)
        desk.books.edit("1")
        desk.read(ONE, 1, 2)
        assert desk.table()["1"] == "1.50"

    desk.books.now = at(4)
    desk.read(ONE, 1, meanwhile=edited_and_read)
    assert desk.table()["1"] == "1.50"


def test_a_slow_run_does_not_bring_back_what_was_deleted(desk: BooksDesk) -> None:
    desk.night(2)

    def deleted_and_scanned() -> None:
        desk.books.pass_time(60)
        del desk.books.records["1"]
        desk.scan()
        assert "1" not in desk.table()

    desk.books.now = at(4)
    desk.read(ONE, 1, meanwhile=deleted_and_scanned)
    assert desk.table() == {"2": "0.50", "3": "0.50"}


@pytest.mark.parametrize("reached", [True, False])
def test_the_last_line_of_a_document_that_goes_is_gone(tmp_path: Path, reached: bool) -> None:
    desk = documents(tmp_path, reached=reached)
    desk.night(2)
    desk.books.now = at(2)
    desk.books.touch("A").lines.clear()
    desk.night(3)
    assert desk.table() == {"B1": "v0", "B2": "v0"}
    desk.read(ONE, 1)
    assert desk.table() == {"B1": "v0", "B2": "v0"}


def test_a_slow_run_does_not_bring_back_the_last_line_of_a_document(tmp_path: Path) -> None:
    desk = documents(tmp_path, reached=True)
    desk.books.now = at(3)

    def without_lines() -> None:
        desk.books.pass_time(60)
        desk.books.touch("A", at(2)).lines.clear()
        desk.read(ONE, 1, 2)
        assert desk.table() == {}

    desk.read(ONE, 1, meanwhile=without_lines)
    assert desk.table() == {}


@pytest.mark.parametrize("reached", [True, False])
def test_a_document_touched_between_it_and_its_lines_keeps_what_it_had(
    tmp_path: Path, reached: bool
) -> None:
    desk = documents(tmp_path, reached=reached)
    desk.night(2)
    desk.books.now = at(3)
    desk.books.touch("A").lines["A1"] += 1
    desk.books.now = at(4, 2)
    touched: list[object] = []

    def touch(_entity: str, query: object) -> None:
        if LINE in str(query) and not touched:
            touched.append(query)
            desk.books.touch("A").lines["A2"] += 1

    desk.books.before_answer = touch
    desk.read(ONE, 3)
    assert touched
    assert desk.table() == {"A1": "v0", "A2": "v0", "B1": "v0", "B2": "v0"}
    desk.night(5)
    assert desk.table() == {"A1": "v1", "A2": "v1", "B1": "v0", "B2": "v0"}


def test_a_record_that_moved_and_was_read_there_outlives_the_scan_of_its_entity(
    desk: BooksDesk,
) -> None:
    desk.night(2)
    desk.books.now = at(2)
    desk.books.touch("1").entity = TWO
    desk.night(3)
    assert [each.deleted for each in desk.scan()] == [0, 0]
    assert desk.table() == {"1": "1.50", "2": "0.50", "3": "0.50"}
    assert desk.rows(f"SELECT entity_id, _entity FROM {desk.relation} WHERE key = '1'") == [
        (TWO, TWO)
    ]


@pytest.mark.parametrize("silent", [True, False])
def test_a_record_that_moved_and_was_not_read_there_outlives_it(
    desk: BooksDesk, silent: bool
) -> None:
    desk.night(2)
    desk.books.now = at(3, 1, 58)
    (desk.books.edit if silent else desk.books.touch)("1").entity = TWO
    desk.night(3)
    [scan] = desk.scan(ONE)
    assert (scan.deleted, scan.out_of_sight) == (0, 1)
    assert desk.table() == {"1": "1.50", "2": "0.50", "3": "0.50"}


def test_a_record_that_moved_where_nobody_may_ask_outlives_it(desk: BooksDesk) -> None:
    desk.night(2)
    desk.books.now = at(2)
    desk.books.touch("1").entity = TWO
    desk.books.refused = {TWO}
    desk.night(3, ONE)
    with pytest.raises(AccessDenied):
        desk.read(TWO, 2)
    assert desk.scan(ONE)[0].deleted == 0
    assert desk.table() == {"1": "0.50", "2": "0.50", "3": "0.50"}
    desk.books.refused = set()
    desk.night(4)
    desk.scan()
    assert desk.table() == {"1": "1.50", "2": "0.50", "3": "0.50"}


def test_of_an_object_read_whole_a_record_that_moved_stays(tmp_path: Path) -> None:
    desk = BooksDesk(tmp_path, COLOUR)
    desk.books.put("1", ONE, at(1))
    desk.books.put("2", TWO, at(1))
    desk.night(2)
    desk.books.edit("1").entity = TWO
    desk.night(3, ONE)
    assert desk.table() == {"1": "v0", "2": "v0"}
    desk.night(3, TWO)
    desk.night(4)
    assert desk.table() == {"1": "v1", "2": "v0"}


def test_a_shared_record_that_one_user_sees_no_more_is_as_the_other_has_it(
    desk: BooksDesk,
) -> None:
    desk.night(2)
    desk.books.now = at(2)
    desk.books.touch("3").hidden = {ONE}
    desk.night(3)
    desk.scan()
    desk.books.edit("3")
    desk.night(4)
    desk.read(TWO, 1, 2)
    assert desk.table() == {"1": "0.50", "2": "0.50", "3": "2.50"}
    desk.books.records["3"].hidden = {ONE, TWO}
    desk.scan()
    assert desk.table() == {"1": "0.50", "2": "0.50"}


def test_a_user_who_sees_less_and_reads_last_takes_no_value_away(desk: BooksDesk) -> None:
    desk.books.records["3"].restricted = {TWO}
    desk.night(2)
    assert desk.table()["3"] == "0.50"
    desk.read(TWO, 1)
    assert desk.table()["3"] == "0.50"


def test_of_an_object_read_whole_a_user_who_sees_less_takes_no_value_away(
    tmp_path: Path,
) -> None:
    desk = BooksDesk(tmp_path, COLOUR)
    desk.books.put("1", None, at(1), restricted={TWO})
    for day in (2, 3, 4, 5, 6):
        desk.night(day, ONE)
    desk.night(7)
    assert desk.table() == {"1": "v0"}
    desk.books.edit("1")
    desk.night(8)
    assert desk.table() == {"1": "v1"}


def test_an_entity_has_its_new_id_everywhere(desk: BooksDesk) -> None:
    desk.night(2)
    desk.entities, desk.renamed = ["E500", TWO], {ONE: "E500"}
    desk.books.records["1"].entity = "E500"
    desk.books.now = at(2, 12)
    desk.books.put("4", "E500", at(2))
    desk.night(3)
    desk.scan()
    assert desk.table() == {"1": "0.50", "2": "0.50", "3": "0.50", "4": "0.50"}
    for relation in (desk.relation, f"{desk.relation}_history"):
        found = desk.rows(f"SELECT DISTINCT _entity FROM {desk.relation} ORDER BY 1")
        assert found == [(TWO,), ("E500",)], relation
    assert desk.rows(f"SELECT DISTINCT entity_id FROM {desk.relation} ORDER BY 1 NULLS LAST") == [
        (TWO,),
        ("E500",),
        (None,),
    ]
    for table in ("loads", "raw_loads", "as_of"):
        found = desk.rows(f"SELECT DISTINCT entity FROM meta.{table} ORDER BY 1")
        assert found == [(TWO,), ("E500",)], table


@pytest.mark.parametrize("what", ["retired", "renamed", "refused"])
def test_what_was_deleted_does_not_come_back(desk: BooksDesk, what: str) -> None:
    desk.night(2)
    del desk.books.records["3"]
    desk.scan()
    assert desk.table() == {"1": "0.50", "2": "0.50"}
    if what == "retired":
        desk.entities = [TWO]
    elif what == "renamed":
        desk.entities, desk.renamed = ["E500", TWO], {ONE: "E500"}
        desk.books.records["1"].entity = "E500"
    else:
        desk.books.refused = {ONE}
    for day in (3, 4):
        desk.night(day, TWO)
        desk.scan(TWO)
        desk.read(TWO, 1)
        assert desk.table() == {"1": "0.50", "2": "0.50"}


def test_the_order_of_entities_that_changes_changes_whose_row_counts(desk: BooksDesk) -> None:
    desk.books.records["3"].restricted = {TWO}
    desk.night(2)
    desk.entities = [TWO]
    desk.night(6)  # the record is not read again
    assert desk.rows(f"SELECT _entity FROM {desk.relation} WHERE key = '3'") == [(TWO,)]
    assert desk.table() == {"1": "0.50", "2": "0.50", "3": None}


def test_a_company_refreshed_from_a_copy_is_refused(tmp_path: Path) -> None:
    desk = BooksDesk(tmp_path)
    for number in range(20):
        desk.books.put(f"{number:02}", ONE, at(2, 11))
    desk.night(3)
    before = desk.table()
    for record in desk.books.records.values():
        record.changed = at(1)
        record.version = 7
    with pytest.raises(HistoryWentBack, match="refreshed from a copy"):
        desk.scan(ONE)
    assert desk.table() == before


def test_a_record_that_was_restored_follows_when_a_scan_finds_it(desk: BooksDesk) -> None:
    desk.books.now = at(2)
    desk.books.touch("1")
    desk.night(3)
    desk.books.now = at(6)
    desk.books.edit("1").changed = at(1)
    assert desk.scan(ONE)[0].fetched == 1
    assert desk.table()["1"] == "2.50"


def test_what_is_rebuilt_from_kept_pages_is_the_same(desk: BooksDesk) -> None:
    desk.night(2)
    desk.books.now = at(2)
    desk.books.touch("1")
    desk.night(3)
    desk.books.edit("2")
    desk.read(TWO, 1)
    del desk.books.records["3"]
    desk.scan()
    again = Warehouse(desk.folder / "again.duckdb")
    rebuild(again, desk.archive.root)
    rebuild(desk.warehouse, desk.archive.root)
    kept = f"SELECT key, total, _entity, _read_at FROM {desk.relation} ORDER BY key"
    with again.connect(read_only=True) as connection:
        assert connection.execute(kept).fetchall() == desk.rows(kept)
    assert desk.table() == {"1": "1.50", "2": "1.50"}


def test_lines_are_of_the_bills_they_were_read_with(tmp_path: Path) -> None:
    desk = documents(tmp_path, reached=False)
    desk.night(2)
    assert {query["object"] for _, query in desk.books.queries} >= {BILL, LINE}
    assert desk.rows(f"SELECT DISTINCT bill_key FROM {desk.relation} ORDER BY 1") == [
        ("A",),
        ("B",),
    ]
