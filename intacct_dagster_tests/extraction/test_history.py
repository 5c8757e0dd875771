"""What was known when: `intacct.<object>_history` by Intacct's time and by ours."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from intacct_dagster_tests.extraction.books import COLOUR, LINE
from intacct_dagster_tests.extraction.desk import ONE, BooksDesk, at


def known(desk: BooksDesk, moment: datetime) -> list[tuple[Any, ...]]:
    """Return keys and values as they were known here at a moment."""
    value = "CAST(total AS VARCHAR)" if "invoice" in desk.relation else "memo"
    return desk.rows(
        f"SELECT key, {value} FROM {desk.relation}_history"
        " WHERE known_from <= $1::TIMESTAMPTZ AND coalesce(known_to > $1::TIMESTAMPTZ, true)"
        " ORDER BY key",
        moment.isoformat(),
    )


def valid(desk: BooksDesk, moment: datetime) -> list[tuple[Any, ...]]:
    """Return keys and values as they were in Intacct at a moment, as far as is known now."""
    return desk.rows(
        f"SELECT key, CAST(total AS VARCHAR) FROM {desk.relation}_history"
        " WHERE valid_from <= $1::TIMESTAMPTZ AND coalesce(valid_to > $1::TIMESTAMPTZ, true)"
        " ORDER BY key",
        moment.isoformat(),
    )


def test_what_was_known_on_a_day_is_what_was_read_until_then(tmp_path: Path) -> None:
    desk = BooksDesk(tmp_path, entities=[ONE])
    desk.books.put("1", ONE, at(1))
    desk.books.put("2", ONE, at(1))
    desk.night(2)
    desk.night(3)  # the same once more is no version
    desk.books.now = at(3)
    desk.books.touch("1")
    desk.night(4)
    del desk.books.records["2"]
    desk.books.now = at(5)
    desk.scan()
    assert known(desk, at(1, 23)) == []
    assert known(desk, at(3, 23)) == [("1", "0.50"), ("2", "0.50")]
    assert known(desk, at(4, 23)) == [("1", "1.50"), ("2", "0.50")]
    assert known(desk, at(5, 23)) == [("1", "1.50")]
    assert valid(desk, at(3, 9)) == [("1", "0.50"), ("2", "0.50")]
    assert valid(desk, at(3, 11)) == [("1", "1.50"), ("2", "0.50")]
    assert valid(desk, at(6)) == [("1", "1.50")]


def test_an_edit_without_a_change_time_is_known_since_it_was_read(tmp_path: Path) -> None:
    desk = BooksDesk(tmp_path, entities=[ONE])
    desk.books.put("1", ONE, at(1))
    desk.night(2)
    desk.books.edit("1")
    desk.night(3)
    assert known(desk, at(2, 23)) == [("1", "0.50")]
    assert known(desk, at(3, 23)) == [("1", "1.50")]


def test_the_lines_that_were_known_are_those_of_one_version(tmp_path: Path) -> None:
    desk = BooksDesk(tmp_path, LINE, entities=[ONE])
    desk.books.put("A", ONE, at(1), lines={"A1": 0, "A2": 0})
    desk.night(2)
    desk.books.now = at(2)
    document = desk.books.touch("A")
    document.lines = {"A1": 1, "A3": 0}
    desk.night(3)
    desk.books.now = at(3)
    desk.books.touch("A").lines.clear()
    desk.night(4)
    assert known(desk, at(2, 23)) == [("A1", "v0"), ("A2", "v0")]
    assert known(desk, at(3, 23)) == [("A1", "v1"), ("A3", "v0")]
    assert known(desk, at(4, 23)) == []


def test_what_was_read_whole_was_known_until_a_reading_lacked_it(tmp_path: Path) -> None:
    desk = BooksDesk(tmp_path, COLOUR, entities=[ONE])
    desk.books.put("1", ONE, at(1))
    desk.books.put("2", ONE, at(1))
    desk.night(2)
    desk.books.edit("1")
    del desk.books.records["2"]
    desk.night(3)
    assert known(desk, at(2, 23)) == [("1", "v0"), ("2", "v0")]
    assert known(desk, at(3, 23)) == [("1", "v1")]
