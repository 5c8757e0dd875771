"""Extraction end to end: what is learnt before reading, ranges, the present, deletes, and costs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest
import stamina

from intacct_dagster.client import (
    ClientCredentials,
    Intacct,
    NotReached,
    RequestRefused,
    ServerFailed,
)
from intacct_dagster.config import ObjectSettings, Reading
from intacct_dagster.defs.checks.api_quota import check_quota
from intacct_dagster.extraction.clock import ComparedClock
from intacct_dagster.extraction.extract import Extractor
from intacct_dagster.extraction.schema import CompanySchema
from intacct_dagster.state import ApiUsage, open_state
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw.current import refresh_current

INVOICE = "accounts-receivable/invoice"
CUSTOMER = "accounts-receivable/customer"
COLOUR = "company-config/colour"
NOW = datetime(2026, 10, 5, 10, 0, tzinfo=UTC)
START = date(2026, 10, 1)
_BARE = {"readOnly": False, "writeOnly": False, "nullable": True}


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2):
        yield


def model(*, dated: bool = True, **fields: str | None) -> dict[str, Any]:
    """A model whose own fields have these formats; `action` can only be sent."""
    audit = {"fields": {"modifiedDateTime": {"type": "string", "format": "date-time", **_BARE}}}
    return {
        "fields": {
            "key": {"type": "string", **_BARE},
            "action": {"type": "string", **_BARE, "writeOnly": True},
            **{
                name: {"type": "string", **({"format": form} if form else {}), **_BARE}
                for name, form in fields.items()
            },
        },
        "groups": {"audit": audit} if dated else {},
        "refs": {"entity": {"fields": {"id": {"type": "string", **_BARE}}}},
        "lists": [],
    }


@dataclass
class Company(httpx.BaseTransport):
    """A company that holds still: models, rows by object, and fields that no query gives."""

    models: dict[str, dict[str, Any]]
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    not_in_queries: set[str] = field(default_factory=set)
    asked: list[dict[str, Any]] = field(default_factory=list)
    down_after: int | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        if request.url.path.endswith("/oauth2/token"):
            token = {"access_token": "a", "refresh_token": "r", "expires_in": 43200}
            return httpx.Response(200, json={"token_type": "Bearer", **token})
        if request.url.path.endswith("/services/core/model"):
            name = request.url.params.get("name")
            listed = [{"apiObject": f"objects/{each}"} for each in self.models]
            found = self.models.get(name, []) if name else listed
            return httpx.Response(200, json={"ia::result": found, "ia::meta": {"totalCount": 1}})
        query = json.loads(request.content)
        if query["object"] not in self.models:
            error = {"code": "invalidRequest", "message": "no such object", "errorId": "REST-1"}
            return httpx.Response(400, json={"ia::result": {"ia::error": error}})
        if self.down_after is not None and len(self.asked) >= self.down_after:
            return httpx.Response(500)
        self.asked.append(query)
        for name in query["fields"]:
            if name in self.not_in_queries:
                message = f"The {name} field in {query['object']} object cannot be used in query"
                error = {"code": "invalidRequest", "message": message, "errorId": "REST-1106"}
                return httpx.Response(400, json={"ia::result": {"ia::error": error}})
        found = [row for row in self.rows[query["object"]] if _holds(row, query)]
        found.sort(key=lambda row: (row.get("audit.modifiedDateTime") or "", row["key"]))
        first = query["start"] - 1
        page = [
            {name: row.get(name) for name in query["fields"]}
            for row in found[first : first + query["size"]]
        ]
        following = first + query["size"] + 1
        meta = {
            "totalCount": len(found),
            "pageSize": query["size"],
            "next": following if following <= len(found) else None,
        }
        return httpx.Response(200, json={"ia::result": page, "ia::meta": meta})


def _holds(row: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    for condition in query.get("filters", []):
        ((operator, operand),) = condition.items()
        ((name, value),) = operand.items()
        held = row.get(name)
        if operator == "$in":
            holds = held in value
        elif operator in ("$eq", "$ne"):
            holds = (held == value) == (operator == "$eq")
        else:
            holds = held is not None and (held >= value if operator == "$gte" else held < value)
        if not holds:
            return False
    return True


def row(key: str, changed: str | None, entity: str | None = "E110", **more: Any) -> dict[str, Any]:
    return {"key": key, "audit.modifiedDateTime": changed, "entity.id": entity, **more}


def invoices(*days: int) -> Company:
    """A company with two invoices changed at noon of each of these days of October."""
    rows = [
        row(f"{day}{letter}", f"2026-10-{day:02}T12:00:00Z", total="1.50")
        for day in days
        for letter in "ab"
    ]
    return Company({INVOICE: model(total="decimal-precision-2")}, {INVOICE: rows})


@dataclass
class Desk:
    """An extractor on a company, its warehouse, and what it spent."""

    company: Company
    folder: Path
    reading: Reading = field(default_factory=Reading)
    now: datetime = NOW
    concurrency: int = 6
    transport: httpx.BaseTransport | None = None

    def __post_init__(self) -> None:
        self.warehouse = Warehouse(self.folder / "warehouse.duckdb")
        self.api_usage = ApiUsage(open_state(f"sqlite:///{self.folder}/state.db"), "demo")
        grant = ClientCredentials("id", "secret")
        self._intacct = Intacct(
            "demo",
            "https://company.test/ia/api/v1",
            grant,
            {"E110": "usa"},
            transport=self.transport or self.company,
            concurrency=self.concurrency,
        )

    @property
    def extractor(self) -> Extractor:
        """A new one each time, as each run has."""
        return self.extractor_of("run")

    def extractor_of(self, run: str, *attempts: str) -> Extractor:
        """That of a run which goes on from where others ended."""
        return Extractor(
            self._intacct,
            self.warehouse,
            start_date=START,
            run_id=run,
            attempts=attempts,
            page_size=3,
            reading=self.reading,
            api_usage=self.api_usage,
            now=lambda: self.now,
        )

    def keys(self, relation: str = "raw.accounts_receivable_invoice") -> list[str]:
        with self.warehouse.connect(read_only=True) as connection:
            return [
                str(k)
                for (k,) in connection.execute(f"SELECT key FROM {relation} ORDER BY 1").fetchall()
            ]


def days(first: int, last: int) -> list[date]:
    return [date(2026, 10, day) for day in range(first, last + 1)]


def test_everything_amiss_is_reported_by_object_and_the_others_are_learnt(tmp_path: Path) -> None:
    company = Company(
        {INVOICE: model(total=None, totalDue=None), CUSTOMER: model(name=None), COLOUR: model()},
        {CUSTOMER: [], INVOICE: [], COLOUR: []},
        not_in_queries={"name"},
    )
    wrong = ObjectSettings(name="accounts-receivable/invoise")
    fields = ObjectSettings(name=INVOICE, fields=("totl", "action", "totalDue"))
    refused = ObjectSettings(name=CUSTOMER, fields=("name",))
    right = ObjectSettings(name=COLOUR)
    desk = Desk(company, tmp_path)
    amiss = desk.extractor.prepare([wrong, fields, refused, right], "E110")
    assert list(amiss) == [wrong.name, INVOICE, CUSTOMER]
    assert "Did you mean accounts-receivable/invoice" in str(amiss[wrong.name])
    totl, action, remedy = str(amiss[INVOICE]).splitlines()
    assert "totl is not a field that can be read: did you mean total" in totl
    assert "action can only be sent, not read" in action
    assert remedy == "Correct `objects` in intacct.yaml; nothing of it was read."
    assert "has the field name, but no query may ask for it" in str(amiss[CUSTOMER])
    assert all(query["size"] == 1 for query in company.asked)
    company.asked.clear()
    assert desk.extractor.prepare([right], "E110") == {}
    assert company.asked == []  # it was learnt, and kept


@pytest.mark.parametrize("path", ["key", "entity.id"])
@pytest.mark.parametrize("offered", [True, False])
def test_rows_that_cannot_be_distinguished_are_refused_when_they_are_learnt(
    tmp_path: Path, path: str, offered: bool
) -> None:
    company = invoices(2)
    if offered:
        company.not_in_queries = {path}
    else:
        company.models[INVOICE]["fields"].pop(path, None)
        company.models[INVOICE]["refs"].pop(path.partition(".")[0], None)
    what = ObjectSettings(name=INVOICE)
    desk = Desk(company, tmp_path)
    error = desk.extractor.prepare([what], "E110")[INVOICE]
    assert isinstance(error, RequestRefused)
    assert path.partition(".")[0] in error.what
    assert "cannot be distinguished" in error.what
    amiss = CompanySchema(desk.warehouse, lambda: NOW).look(desk._intacct.entity("E110"), what)
    assert isinstance(amiss, list)
    assert "\n".join(amiss) == error.what


def test_what_concerns_all_objects_is_raised(tmp_path: Path) -> None:
    company = Company({INVOICE: model()})
    desk = Desk(company, tmp_path)
    with mock.patch.object(desk._intacct, "entity") as entity:
        entity.return_value.model.side_effect = NotReached("no connection")
        entity.return_value.usage.requests = 0
        with pytest.raises(NotReached):
            desk.extractor.prepare([ObjectSettings(name=INVOICE)], "E110")


def test_a_defect_of_ours_in_one_object_leaves_the_others(tmp_path: Path) -> None:
    company = Company(
        {INVOICE: {"fields": 7}, CUSTOMER: model(name=None)}, {CUSTOMER: [], INVOICE: []}
    )
    desk = Desk(company, tmp_path)
    wanted = [ObjectSettings(name=INVOICE), ObjectSettings(name=CUSTOMER)]
    assert list(desk.extractor.prepare(wanted, "E110")) == [INVOICE]


def test_what_no_query_gives_is_learnt_once_and_left_out(tmp_path: Path) -> None:
    company = invoices(2)
    company.models[INVOICE]["fields"] |= {name: {"type": "string", **_BARE} for name in "xyz"}
    company.not_in_queries = {"x", "z"}
    desk = Desk(company, tmp_path)
    first = desk.extractor.extract(ObjectSettings(name=INVOICE), "E110", days(2, 2))
    assert first.schema.unreadable == ("x", "z")
    assert first.rows == 2
    company.asked.clear()
    again = desk.extractor.extract(ObjectSettings(name=INVOICE), "E110", days(2, 2))
    assert again.schema.unreadable == ("x", "z")
    # pages of the pagination, and no question about fields
    assert all(len(query["fields"]) > 1 and query["size"] > 1 for query in company.asked)


def test_fields_that_come_and_go_are_told_and_their_columns_stay(tmp_path: Path) -> None:
    company = invoices(2)
    company.models[INVOICE]["fields"]["old"] = {"type": "string", **_BARE}
    for each in company.rows[INVOICE]:
        each["old"] = "o"
    desk = Desk(company, tmp_path)
    what = ObjectSettings(name=INVOICE)
    desk.extractor.extract(what, "E110", days(2, 2))
    del company.models[INVOICE]["fields"]["old"]
    company.models[INVOICE]["fields"]["fresh"] = {"type": "string", **_BARE}
    company.rows[INVOICE].append(row("9", "2026-10-03T00:00:00Z", fresh="f", total="1.00"))
    done = desk.extractor.extract(what, "E110", days(3, 3))
    assert (done.schema.new, done.schema.vanished) == (("fresh",), ("old",))
    desk.reading = Reading(look_back_days=0)
    desk.extractor.extract(what, "E110", days(3, 3))
    frame = desk.warehouse.frame("SELECT key, old, fresh FROM raw.accounts_receivable_invoice")
    assert set(frame[frame["key"] == "9"]["fresh"]) == {"f"}
    vanished = desk.warehouse.frame("SELECT path FROM meta.catalogue WHERE vanished_at IS NOT NULL")
    assert vanished["path"].tolist() == ["old"]


def test_adjacent_days_are_one_pagination_and_the_day_before_is_read_again(tmp_path: Path) -> None:
    company = invoices(1, 2, 3, 4)
    desk = Desk(company, tmp_path)
    done = desk.extractor.extract(ObjectSettings(name=INVOICE), "E110", days(2, 4))
    assert done.rows_by_day == dict.fromkeys(days(2, 4), 2)
    assert done.looked_back == 2
    late = row("late", "2026-10-03T23:00:00Z", total="2.00")
    company.rows[INVOICE].append(late)
    desk.extractor.extract(ObjectSettings(name=INVOICE), "E110", days(4, 4))
    assert desk.keys("intacct.accounts_receivable_invoice").count("late") == 1


def test_a_year_of_days_costs_the_requests_its_rows_need(tmp_path: Path) -> None:
    company = invoices(2, 9, 20)
    desk = Desk(company, tmp_path, now=datetime(2027, 11, 1, tzinfo=UTC))
    year = [START + timedelta(n) for n in range(365)]
    what = ObjectSettings(name=INVOICE)
    desk.extractor.prepare([what], "E110")
    company.asked.clear()
    done = desk.extractor.extract(what, "E110", year)
    assert (done.rows, len(done.rows_by_day)) == (6, 365)
    # pages of 3 with an overlap of one, and one question for what has no change time
    assert len(company.asked) <= 6 / 2 + 1 + 1


def test_what_has_not_settled_is_left_to_the_next_run(tmp_path: Path) -> None:
    company = invoices(4)
    company.rows[INVOICE] += [
        row("settled", "2026-10-05T09:54:59Z", total="1.00"),
        row("fresh", "2026-10-05T09:55:00Z", total="1.00"),
    ]
    desk = Desk(company, tmp_path)
    done = desk.extractor.extract(ObjectSettings(name=INVOICE), "E110", days(5, 5))
    assert done.read_until == NOW - timedelta(seconds=300)
    assert desk.keys("intacct.accounts_receivable_invoice") == ["4a", "4b", "settled"]
    desk.now = NOW + timedelta(days=1)
    done = desk.extractor.extract(ObjectSettings(name=INVOICE), "E110", days(5, 5))
    assert done.read_until is None
    assert desk.keys("intacct.accounts_receivable_invoice") == ["4a", "4b", "fresh", "settled"]


def test_a_day_that_has_not_begun_is_refused(tmp_path: Path) -> None:
    desk = Desk(invoices(4), tmp_path)
    with pytest.raises(RequestRefused, match="nothing of 2026-10-06 can be read before"):
        Extractor(
            desk._intacct,
            desk.warehouse,
            start_date=START,
            run_id="r",
            reading=Reading(look_back_days=0),
            now=lambda: NOW,
        ).extract(ObjectSettings(name=INVOICE), "E110", days(6, 7))


@dataclass
class ClockedCompany(httpx.BaseTransport):
    """A company whose answers have its own time; records show from their change time on."""

    company: Company
    now: datetime

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        whole = self.company.rows
        at = self.now.isoformat()
        self.company.rows = {
            name: [row for row in rows if str(row["audit.modifiedDateTime"]) <= at]
            for name, rows in whole.items()
        }
        try:
            response = self.company.handle_request(request)
        finally:
            self.company.rows = whole
        response.headers["date"] = format_datetime(self.now, usegmt=True)
        return response


def test_a_clock_that_is_two_days_ahead_for_a_night_loses_no_row(tmp_path: Path) -> None:
    company = invoices(3, 4, 5)
    clocked = ClockedCompany(company, datetime(2026, 10, 4, 2, tzinfo=UTC))
    desk = Desk(company, tmp_path, now=datetime(2026, 10, 6, 2, tzinfo=UTC), transport=clocked)
    extractor = desk.extractor
    what = ObjectSettings(name=INVOICE)
    # By this machine the 4th and the 5th are over; by Intacct the 4th has hardly begun.
    done = extractor.extract(what, "E110", days(3, 4))
    assert done.read_until == datetime(2026, 10, 4, 1, 55, tzinfo=UTC)
    assert extractor.clock.skew is not None
    assert round(extractor.clock.skew / timedelta(days=1)) == 2
    assert "s ahead of that of Intacct" in extractor.clock.describe()
    assert extractor.extract(what, "E110", days(5, 5)).read_until == done.read_until
    with pytest.raises(RequestRefused) as caught:
        extractor.extract(what, "E110", days(6, 6))
    assert "set the clock (NTP)" in str(caught.value)
    with desk.warehouse.connect(read_only=True) as connection:
        whole = "SELECT day FROM meta.raw_loads WHERE read_until IS NULL ORDER BY day"
        assert connection.execute(whole).fetchall() == [
            (START + timedelta(days=n),) for n in (1, 2)
        ]

    clocked.now = desk.now = datetime(2026, 10, 6, 2, tzinfo=UTC)  # the clock is right again
    right = desk.extractor
    right.extract(what, "E110", days(5, 5))
    assert right.clock.skew is None
    assert right.clock.describe() == ""
    assert desk.keys() == sorted({str(row["key"]) for row in company.rows[INVOICE]})


@pytest.mark.parametrize(
    ("ahead", "compared"),
    [
        (timedelta(seconds=119), False),
        (timedelta(seconds=-119), False),
        (timedelta(0), False),
        (timedelta(seconds=130), True),
        (timedelta(days=-40), True),
    ],
)
def test_the_earlier_clock_counts_where_they_are_far_apart(
    ahead: timedelta, compared: bool
) -> None:
    clock = ComparedClock(lambda: NOW - ahead)
    assert clock.earlier(NOW) == (min(NOW, NOW - ahead) if compared else NOW)
    assert (clock.skew is not None) is compared
    assert ComparedClock(lambda: None).earlier(NOW) == NOW


def test_an_object_without_change_times_is_kept_as_it_was_read_last(tmp_path: Path) -> None:
    company = Company({COLOUR: model(dated=False, name=None)}, {COLOUR: []})
    company.rows[COLOUR] = [{"key": str(n), "entity.id": None, "name": f"c{n}"} for n in range(8)]
    desk = Desk(company, tmp_path)
    what = ObjectSettings(name=COLOUR)
    done = desk.extractor.extract(what, "E110", days(2, 3))
    assert done.rows_by_day == {date(2026, 10, 2): 0, date(2026, 10, 3): 8}
    company.rows[COLOUR] = company.rows[COLOUR][:6]
    desk.now += timedelta(hours=1)
    desk.extractor.extract(what, "E110", days(4, 4))
    refresh_current(desk.warehouse, COLOUR)
    assert desk.keys("intacct.company_config_colour") == [str(n) for n in range(6)]
    # what it was on the day before stays on record, and what did not change is there once
    assert desk.keys("raw.company_config_colour") == [str(n) for n in range(8)]


def test_a_sweep_finds_what_was_deleted_and_what_came_back(tmp_path: Path) -> None:
    company = invoices(2, 3)
    desk = Desk(company, tmp_path)
    what = ObjectSettings(name=INVOICE)
    desk.extractor.extract(what, "E110", days(2, 4))
    desk.now += timedelta(minutes=10)
    gone = [each for each in company.rows[INVOICE] if each["key"] in ("2a", "3b")]
    for each in gone:
        company.rows[INVOICE].remove(each)
    # changed after the sweep's upper bound: it does not show, and is there all the same
    company.rows[INVOICE][0]["audit.modifiedDateTime"] = "2026-10-05T10:09:59Z"
    scan = desk.extractor.delete_scan(what, "E110")
    assert (scan.known, scan.seen, scan.deleted, scan.fetched) == (4, 1, 2, 1)
    assert refresh_current(desk.warehouse, INVOICE).rows == 2
    assert desk.keys("intacct.accounts_receivable_invoice") == ["2b", "3a"]
    assert sorted(set(desk.keys())) == ["2a", "2b", "3a", "3b"]  # what was read stays
    again = desk.extractor.delete_scan(what, "E110")
    assert (again.deleted, again.fetched) == (0, 1)
    company.rows[INVOICE].append(gone[0])
    desk.now += timedelta(minutes=10)
    back = desk.extractor.delete_scan(what, "E110")
    assert (back.deleted, back.fetched) == (0, 1)
    assert desk.keys("intacct.accounts_receivable_invoice") == ["2a", "2b", "3a"]


def test_a_deleted_record_that_is_read_again_is_there_again(tmp_path: Path) -> None:
    company = invoices(2)
    desk = Desk(company, tmp_path, Reading(look_back_days=0))
    what = ObjectSettings(name=INVOICE)
    desk.extractor.extract(what, "E110", days(2, 2))
    gone = company.rows[INVOICE].pop()
    desk.now += timedelta(minutes=10)
    assert desk.extractor.delete_scan(what, "E110").deleted == 1
    company.rows[INVOICE].append({**gone, "audit.modifiedDateTime": "2026-10-05T10:11:00Z"})
    desk.now += timedelta(minutes=10)
    desk.extractor.extract(what, "E110", days(5, 5))
    refresh_current(desk.warehouse, INVOICE)
    assert desk.keys("intacct.accounts_receivable_invoice") == ["2a", "2b"]


def test_a_sweep_of_some_months_leaves_older_records_alone(tmp_path: Path) -> None:
    company = invoices(2)
    company.rows[INVOICE].append(row("old", "2024-01-01T00:00:00Z", total="1.00"))
    desk = Desk(company, tmp_path, Reading(delete_scan_months=1))
    what = ObjectSettings(name=INVOICE, history="all")
    desk.extractor.extract(what, "E110", days(1, 4))
    company.rows[INVOICE].clear()
    desk.now += timedelta(minutes=10)
    assert desk.extractor.delete_scan(what, "E110").deleted == 2
    refresh_current(desk.warehouse, INVOICE)
    assert desk.keys("intacct.accounts_receivable_invoice") == ["old"]


def test_what_was_spent_counts_also_where_it_failed(tmp_path: Path) -> None:
    company = invoices(2, 3, 4)
    desk = Desk(company, tmp_path)
    what = ObjectSettings(name=INVOICE)
    done = desk.extractor.extract(what, "E110", days(2, 4))
    spent = desk.api_usage.spent(NOW)
    assert spent == done.usage.transactions == len(company.asked)
    company.down_after = len(company.asked) + 2
    with pytest.raises(ServerFailed):
        desk.extractor.extract(what, "E110", days(2, 4))
    assert desk.api_usage.spent(NOW) == len(company.asked) == spent + 2
    assert desk.api_usage.spent(NOW + timedelta(days=31)) == 0


@pytest.mark.parametrize(("spent", "passed"), [(0, True), (79_999, True), (80_000, False)])
def test_the_allowance_warns_before_it_is_used_up(spent: int, passed: bool) -> None:
    result = check_quota(spent, 100_000, NOW)
    assert result.passed is passed
    assert f"{spent:,} of 100,000" in (result.description or "")


def test_an_outage_does_not_cost_the_pages_that_were_read(tmp_path: Path) -> None:
    company = invoices(*range(1, 5))
    desk = Desk(company, tmp_path, concurrency=1)
    what = ObjectSettings(name=INVOICE)
    desk.extractor.prepare([what], "E110")
    company.asked.clear()
    company.down_after = 3
    with pytest.raises(ServerFailed):
        desk.extractor.extract(what, "E110", days(1, 4))
    company.down_after = None
    desk.extractor.extract(what, "E110", days(1, 4))
    assert len(desk.keys()) == 8
    starts = [
        query["filters"][0]["$gte"]["audit.modifiedDateTime"]
        for query in company.asked
        if "$gte" in query["filters"][0]
    ]
    assert starts == sorted(starts)  # it never began anew
    assert list((tmp_path / ".spool").glob("*/")) == []


def test_a_retry_does_not_read_again_what_the_run_before_it_loaded(tmp_path: Path) -> None:
    company = invoices(*range(1, 5))
    desk = Desk(company, tmp_path)
    what = ObjectSettings(name=INVOICE)
    first = desk.extractor_of("first").extract(what, "E110", days(1, 3))

    company.asked.clear()
    again = desk.extractor_of("second", "first").extract(what, "E110", days(1, 3))
    assert company.asked == []
    assert again.rows_by_day == first.rows_by_day == dict.fromkeys(days(1, 3), 2)
    assert again.distinct_keys == first.distinct_keys
    # What it had not loaded, what another run loaded, and what is no retry is read.
    assert (
        sum(desk.extractor_of("2", "first").extract(what, "E110", days(1, 4)).rows_by_day.values())
        == 8
    )
    for run in (desk.extractor_of("3", "first"), desk.extractor_of("4")):
        company.asked.clear()
        run.extract(what, "E110", days(1, 4))
        assert bool(company.asked) is (run is not None)


KILLED = """
import os, signal, sys
from pathlib import Path
from intacct_dagster.config import ObjectSettings
from intacct_dagster_tests.extraction.test_extract import INVOICE, Desk, days, invoices
company = invoices(*range(1, 5))
desk = Desk(company, Path(sys.argv[1]), concurrency=1)  # one page after the other
answer = company.handle_request
def die(request):
    if len(company.asked) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer(request)
company.handle_request = die
desk.extractor.extract(ObjectSettings(name=INVOICE), "E110", days(1, 4))
"""


def test_a_killed_process_is_gone_on_from_by_the_next(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=60,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    company = invoices(*range(1, 5))
    desk = Desk(company, tmp_path)
    desk.extractor.extract(ObjectSettings(name=INVOICE), "E110", days(1, 4))
    assert len(desk.keys()) == 8
    assert company.asked[0]["filters"][0]["$gte"]["audit.modifiedDateTime"] > "2026-10-01T00:00:00Z"
