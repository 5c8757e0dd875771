"""Fields that clash, change their type, come, go or are refused: the object is read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import stamina

from intacct_dagster.config import ObjectSettings, Reading
from intacct_dagster.extraction.extracted import Extracted
from intacct_dagster_tests.extraction.test_extract import INVOICE, Company, Desk, model, row

TABLE = "accounts_receivable_invoice"


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2):
        yield


class Nights:
    """A company whose model changes from night to night; a row is changed each day."""

    def __init__(self, folder: Path, **fields: str) -> None:
        self.company = Company({}, {INVOICE: []})
        self.desk = Desk(self.company, folder, Reading(look_back_days=0))
        self.day = 1
        self.offer(**fields)

    def offer(self, **fields: str) -> None:
        """The fields that the model has from now on, each by its type or format."""
        self.company.models[INVOICE] = model()
        for path, kind in fields.items():
            plain = kind in ("string", "integer", "number", "boolean", "array")
            described = {"type": kind} if plain else {"type": "string", "format": kind}
            self.company.models[INVOICE]["fields"][path] = {**described, "nullable": True}

    def night(self, _settings: Any = None, **values: Any) -> Extracted:
        self.day += 1
        self.company.rows[INVOICE].append(
            row(str(self.day), f"2026-10-{self.day:02}T12:00:00Z", **values)
        )
        self.desk.now = datetime(2026, 10, self.day + 1, 2, tzinfo=self.desk.now.tzinfo)
        what = ObjectSettings(name=INVOICE, **(_settings or {}))
        return self.desk.extractor.extract(what, "E110", [date(2026, 10, self.day)])

    def shown(self, *columns: str) -> list[tuple[Any, ...]]:
        with self.desk.warehouse.connect(read_only=True) as connection:
            named = ", ".join(f"{each}::VARCHAR" for each in columns)
            return connection.execute(
                f"SELECT {named} FROM intacct.{TABLE} ORDER BY key::INTEGER"
            ).fetchall()

    def columns(self) -> dict[str, str]:
        with self.desk.warehouse.connect(read_only=True) as connection:
            return dict(
                connection.execute("SELECT path, column_name FROM meta.catalogue").fetchall()
            )


def test_fields_that_would_be_one_column_get_names_of_their_own(tmp_path: Path) -> None:
    paths = {"planned.endDate": "a", "plannedEndDate": "b", "nsp::BILL_TO": "c", "nsp::billTo": "d"}
    paths |= {"北京": "e", "上海": "f", "_loadId": "g", "_entity": "h"}
    at = Nights(tmp_path, **dict.fromkeys(paths, "string"))
    at.night(**paths)
    names = at.columns()
    assert names["planned.endDate"] == "planned_end_date"
    assert len(set(names.values())) == len(names)
    assert all(names[path] and not names[path].startswith("_") for path in paths)
    assert at.shown(*(names[path] for path in paths)) == [tuple(paths.values())]


def test_of_fields_that_differ_only_in_case_one_is_read_and_the_other_reported(
    tmp_path: Path,
) -> None:
    at = Nights(tmp_path, **{"nsp::REGION": "string", "nsp::Region": "string"})
    done = at.night(**{"nsp::REGION": "a", "nsp::Region": "b"})
    assert done.schema.unreadable == ("nsp::Region",)
    assert at.shown("nsp_region") == [("a",)]


def test_a_field_that_is_read_is_not_lost_to_one_that_differs_only_in_case(tmp_path: Path) -> None:
    at = Nights(tmp_path, **{"nsp::Region": "string"})
    at.night(**{"nsp::Region": "a"})
    at.offer(**{"nsp::REGION": "string", "nsp::Region": "string"})
    for value in "bcd":  # also when both have been known for a night
        at.night(**{"nsp::REGION": "other", "nsp::Region": value})
    assert at.shown("nsp_region") == [(value,) for value in "abcd"]


def test_a_field_that_differs_from_the_key_only_in_case_stops_no_object(tmp_path: Path) -> None:
    at = Nights(tmp_path, KEY="string")
    assert at.night(KEY="other").schema.unreadable == ("KEY",)
    assert at.shown("key") == [("2",)]


def test_a_type_that_is_asked_for_later_gets_a_column_of_its_own(tmp_path: Path) -> None:
    at = Nights(tmp_path, x="string")
    at.night(x="1.50")
    at.night({"types": {"x": "decimal"}}, x="2.50")
    assert at.shown("x", "x_2") == [("1.50", None), (None, "2.5000000000")]


def test_a_name_that_was_given_stays_whatever_comes_later(tmp_path: Path) -> None:
    at = Nights(tmp_path, **{"nsp::billTo": "string"})
    at.night(**{"nsp::billTo": "first"})
    at.offer(**{"nsp::BILL_TO": "string", "nsp::billTo": "string"})
    at.night(**{"nsp::BILL_TO": "other", "nsp::billTo": "second"})
    names = at.columns()
    assert names["nsp::billTo"] == "nsp_bill_to"
    assert at.shown("nsp_bill_to", names["nsp::BILL_TO"]) == [("first", None), ("second", "other")]


@pytest.mark.parametrize(
    ("was", "now", "before", "after", "shown"),
    [
        ("decimal-precision-2", "decimal-precision-4", "1.50", "1.2345", ("1.5000", "1.2345")),
        ("decimal-precision-4", "decimal-precision-2", "1.2345", "1.50", ("1.2345", "1.5000")),
        ("integer", "number", 5, 5.5, ("5.0000000000", "5.5000000000")),
        ("string", "number", "five", 5, ("five", "5")),
        ("string", "array", "a", ["b", "c"], ("a", '["b","c"]')),
    ],
)
def test_a_column_takes_both_types_where_no_value_changes(
    tmp_path: Path, was: str, now: str, before: Any, after: Any, shown: tuple[str, str]
) -> None:
    at = Nights(tmp_path, x=was)
    at.night(x=before)
    at.offer(x=now)
    at.night(x=after)
    assert at.shown("x") == [(each,) for each in shown]


@pytest.mark.parametrize(
    ("was", "now", "before", "after"),
    [
        ("date", "date-time", "2026-10-01", "2026-10-02T10:00:00Z"),
        ("number", "string", 5, "five"),
        ("boolean", "integer", True, 7),
    ],
)
def test_another_type_gets_another_column_and_nothing_is_lost(
    tmp_path: Path, was: str, now: str, before: Any, after: Any
) -> None:
    at = Nights(tmp_path, x=was)
    at.night(x=before)
    at.offer(x=now)
    done = at.night(x=after)
    assert done.schema.retyped == ("x",)
    assert at.columns()["x"] == "x_2"
    assert [(a is None, b is None) for a, b in at.shown("x", "x_2")] == [
        (False, True),
        (True, False),
    ]
    at.night(x=after)  # and stays so
    assert at.columns()["x"] == "x_2"


def test_a_field_that_goes_and_comes_back_with_another_type_is_read(tmp_path: Path) -> None:
    at = Nights(tmp_path, x="string")
    at.night(x="text")
    at.offer()
    at.night()
    at.offer(x="date")
    at.night(x="2026-10-03")
    assert at.shown("x") == [("text",), (None,), ("2026-10-03",)]


def test_a_permission_that_is_withdrawn_costs_the_field_and_not_the_object(tmp_path: Path) -> None:
    at = Nights(tmp_path, x="string", y="string")
    at.night(x="1", y="1")
    at.company.not_in_queries = {"x"}
    assert at.night({"fields": ("x", "y")}, x="2", y="2").schema.unreadable == ("x",)
    at.company.not_in_queries = set()  # that user's permission is given again
    at.night(x="3", y="3")
    assert at.shown("x", "y") == [("1", "1"), (None, "2"), ("3", "3")]


def test_a_permission_that_is_given_brings_the_field_within_a_week(tmp_path: Path) -> None:
    at = Nights(tmp_path, x="string")
    at.company.not_in_queries = {"x"}
    at.night(x="1")
    at.company.not_in_queries = set()
    for _ in range(7):
        at.night(x="2")
    assert at.shown("x")[-1] == ("2",)


def test_many_fields_that_no_query_gives_stop_no_object(tmp_path: Path) -> None:
    fields = {f"nsp::C{n:03}": "string" for n in range(120)}
    at = Nights(tmp_path, **fields)
    at.company.not_in_queries = {f"nsp::C{n:03}" for n in range(0, 120, 2)}
    assert len(at.night().schema.unreadable) == 60


def test_fields_can_be_left_out_and_given_another_type(tmp_path: Path) -> None:
    at = Nights(tmp_path, x="string", rate="number")
    settings = {"exclude": ("x",), "types": {"rate": "text"}}
    at.night(settings, x="1", rate="1.07894736842105263157")
    assert at.shown("rate") == [("1.07894736842105263157",)]
    assert not any("x" in query["fields"] for query in at.company.asked if query["size"] > 1)


def test_a_field_that_is_misspelt_is_reported_with_what_may_be_meant(tmp_path: Path) -> None:
    at = Nights(tmp_path, total="string")
    with pytest.raises(Exception, match="did you mean total"):
        at.night({"exclude": ("totl",)})


def test_a_run_that_learnt_the_fields_before_they_changed_rounds_nothing(tmp_path: Path) -> None:
    at = Nights(tmp_path, x="decimal-precision-2")
    at.night(x="1.50")
    what, early = ObjectSettings(name=INVOICE), at.desk.extractor
    early.prepare([what], "E110")
    at.offer(x="decimal-precision-4")
    at.night(x="1.2345")
    at.company.rows[INVOICE].append(row("9", "2026-10-04T12:00:00Z", x="7.00"))
    at.desk.now += timedelta(days=1)
    early.extract(what, "E110", [date(2026, 10, 4)])
    assert at.shown("x") == [("1.5000",), ("1.2345",), ("7.0000",)]


@pytest.mark.parametrize(
    ("path", "kind", "value"),
    [
        ("validFrom", "date", "2020-01-01"),
        ("validFrom", "string", "text"),
        ("validTo", "date-time", "2020-01-01T00:00:00Z"),
        ("knownFrom", "string", "text"),
        ("latestBefore", "string", "text"),
        ("nextValid", "string", "text"),
        ("content", "string", "text"),
    ],
)
def test_no_name_of_a_field_changes_the_history(
    tmp_path: Path, path: str, kind: str, value: str
) -> None:
    at = Nights(tmp_path, **{path: kind})
    at.night(**{path: value})
    at.company.rows[INVOICE][0]["audit.modifiedDateTime"] = "2026-10-03T05:00:00Z"
    at.night(**{path: value})
    with at.desk.warehouse.connect(read_only=True) as connection:
        moments = connection.execute(
            "SELECT key, valid_from::VARCHAR, valid_to::VARCHAR"
            f" FROM intacct.{TABLE}_history ORDER BY key, valid_from"
        ).fetchall()
    assert moments == [
        ("2", "2026-10-02 12:00:00+00", "2026-10-03 05:00:00+00"),
        ("2", "2026-10-03 05:00:00+00", None),
        ("3", "2026-10-03 12:00:00+00", None),
    ]


def test_a_new_field_does_not_get_the_column_that_another_had_for_an_earlier_type(
    tmp_path: Path,
) -> None:
    at = Nights(tmp_path, x="date", line_1="string")
    for kind, value in (("date", "2026-10-01"), ("integer", 5), ("date", "2026-10-02")):
        at.offer(x=kind, line_1="string")
        at.night(x=value, line_1="one")
    at.offer(x="date", line_1="string", x_2="string", line="string")
    at.night(x="2026-10-03", line_1="one", x_2="two", line="none")
    names = at.columns()
    assert (names["x"], names["line"]) == ("x_3", "line")
    assert at.shown("x_2", names["x_2"], "x_3")[-1] == (None, "two", "2026-10-03")
