"""What only the XML API has, read by the client from the sandbox over real HTTP."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from intacct_dagster.client import (
    AnswerNotUnderstood,
    AuthenticationRefused,
    ChangeWindow,
    ClientCredentials,
    Intacct,
    IntacctClient,
    PaginationIncomplete,
    PaginationResult,
    Query,
    RequestRefused,
    WrongEntity,
    xml_access,
    xml_object,
)
from intacct_dagster.client.xml.clock import (
    TIME_FORMAT,
    NoSuchTime,
    condition_on,
    moment_of,
    shown_twice,
)
from intacct_dagster.client.xml.response import NotXml, read_answer
from intacct_dagster.pages import page_bytes
from intacct_dagster_tests.client.xml_wire import Spoiled
from intacct_sandbox import (
    CLIENT_ID,
    CLIENT_SECRET,
    COMPANY,
    SENDER_ID,
    SENDER_PASSWORD,
    RunningSandbox,
)

DETAIL = "xml/gl-detail"
BALANCE = "xml/gl-account-balance"
LINE = "general-ledger/journal-entry-line"
ENTRY = "general-ledger/journal-entry"
WINDOW = ChangeWindow(None, datetime(2026, 10, 13, 12, tzinfo=UTC))
AMOUNTS = ("key", "audit.modifiedDateTime", "glAccount.id", "debitAmount", "creditAmount")


@pytest.fixture
def at(sandbox: RunningSandbox) -> Iterator[Callable[..., IntacctClient]]:
    """A client of an entity; what is given differs from what is right."""
    opened: list[Intacct] = []

    def client(
        entity: str = "E110",
        password: str = SENDER_PASSWORD,
        offset: str = "+00:00",
        **given: Any,
    ) -> IntacctClient:
        url = sandbox.base_url
        company = Intacct(
            COMPANY,
            url,
            ClientCredentials(CLIENT_ID, CLIENT_SECRET),
            {"E110": "usa", "E120": "can", "E130": "top"},
            **{"xml": xml_access(url, SENDER_ID, password, None, offset), **given},
        )
        opened.append(company)
        return company.entity(entity)

    yield client
    for each in opened:
        each.close()
    sandbox.books.behaviours.choose({"xml_time_zone": "utc", "xml_session_entity": "token"})
    sandbox.books.faults.replace([])


def rows_of(result: PaginationResult) -> list[dict[str, Any]]:
    return [row for file in result.files for row in json.loads(page_bytes(file))]


def detail_rows(client: IntacctClient, into: Path, **given: Any) -> list[dict[str, Any]]:
    return rows_of(client.paginate(DETAIL, AMOUNTS, WINDOW, into=into, **given))


def test_gl_detail_is_read_by_change_time_and_agrees_with_the_journal_entry_lines(
    at: Callable[..., IntacctClient], tmp_path: Path
) -> None:
    client = at()
    result = client.paginate(DETAIL, AMOUNTS, WINDOW, into=tmp_path / "xml", page_size=500)
    rows = rows_of(result)
    assert result.proof.total_count == result.proof.distinct_keys == len(rows)
    assert result.proof.pages > 5
    fields = ("key", "audit.modifiedDateTime", "glAccount.id", "txnType", "baseAmount")
    lines = rows_of(client.paginate(LINE, fields, WINDOW, into=tmp_path / "rest"))
    told = {
        row["key"]: (
            row["audit.modifiedDateTime"],
            row["glAccount.id"],
            "debit" if Decimal(row["debitAmount"]) else "credit",
            Decimal(row["debitAmount"]) + Decimal(row["creditAmount"]),
        )
        for row in rows
    }
    assert told == {
        row["key"]: (
            row["audit.modifiedDateTime"],
            row["glAccount.id"],
            row["txnType"],
            Decimal(row["baseAmount"]),
        )
        for row in lines
    }
    assert {row["entity.id"] for row in rows} == {"E110"}


def test_every_field_of_the_table_that_the_company_has_comes_typed(
    at: Callable[..., IntacctClient],
) -> None:
    client = at()
    fields = [each.path for each in client.model(DETAIL).fields if each.path != "childEntity"]
    (row,) = client.query(Query(DETAIL, fields, order_by=({"key": "asc"},), size=1)).rows
    assert row.keys() == set(fields)
    assert row["txnType"] in ("debit", "credit")
    assert row["isStatistical"] is False
    assert row["lineNumber"] == int(row["lineNumber"])
    assert date.fromisoformat(row["journalEntry.postingDate"]) <= date(2026, 10, 13)
    assert row["glJournal.id"]
    with pytest.raises(RequestRefused) as refused:
        client.query(Query(DETAIL, ["childEntity"], size=1))
    assert [each.target for each in refused.value.details] == ["childEntity"]


@pytest.mark.parametrize("write", [{"change": 3}, {"delete": 2}, {"insert": 2, "delete": 1}])
def test_rows_that_others_write_meanwhile_do_not_hide_any(
    sandbox: RunningSandbox,
    at: Callable[..., IntacctClient],
    tmp_path: Path,
    write: dict[str, int],
) -> None:
    client = at("E120")
    before = {row["key"] for row in detail_rows(client, tmp_path / "before")}
    meanwhile: dict[str, Any] = {"object": ENTRY, **write}
    sandbox.books.faults.replace([{"route": "xml", "every": 2, "times": 4, "meanwhile": meanwhile}])
    read = {row["key"] for row in detail_rows(client, tmp_path / "while", page_size=200)}
    sandbox.books.faults.replace([])
    after = {row["key"] for row in detail_rows(client, tmp_path / "after")}
    assert before & after <= read


def test_balances_of_the_periods_add_up_to_the_journal_entry_lines(
    at: Callable[..., IntacctClient], tmp_path: Path
) -> None:
    client = at()
    fields = [each.path for each in client.model(BALANCE).fields]
    first, last = date(2026, 8, 15), date(2026, 10, 13)
    result = client.read_periods(BALANCE, fields, first, last, into=tmp_path / "xml")
    rows = rows_of(result)
    assert result.proof.distinct_keys == len(rows) == len({row["key"] for row in rows})
    assert {row["period.id"] for row in rows} == {"August 2026", "September 2026", "October 2026"}
    everything = ChangeWindow(None, datetime(2026, 10, 14, tzinfo=UTC))
    asked = ("entryDate", "glAccount.id", "txnType", "baseAmount")
    lines = rows_of(client.paginate(LINE, asked, everything, into=tmp_path / "rest"))
    at_the_end: dict[str, Decimal] = {}
    for line in lines:
        if line["entryDate"] <= "2026-09-30":
            amount = Decimal(line["baseAmount"]) * (1 if line["txnType"] == "debit" else -1)
            account = line["glAccount.id"]
            at_the_end[account] = at_the_end.get(account, Decimal(0)) + amount
    told: dict[str, Decimal] = {}
    for row in rows:
        if row["period.id"] == "September 2026":
            account = row["glAccount.id"]
            told[account] = told.get(account, Decimal(0)) + Decimal(row["endingBalance"])
    assert told == at_the_end
    assert sum(told.values()) == 0


def test_a_period_that_does_not_add_up_is_read_again_and_then_refused(
    at: Callable[..., IntacctClient], tmp_path: Path
) -> None:
    def without_a_row(body: bytes) -> bytes:
        start = body.find(b"<glaccountbalance>")
        end = body.find(b"</glaccountbalance>") + len(b"</glaccountbalance>")
        return body if start < 0 else body[:start] + body[end:]

    client = at(transport=Spoiled(without_a_row))
    day = date(2026, 9, 1)
    with pytest.raises(PaginationIncomplete, match=r"September 2026 1,000 rows|were left of"):
        client.read_periods(BALANCE, ["book.id"], day, day, into=tmp_path)
    assert list(tmp_path.rglob("*.json")) == []


def test_balances_take_no_queries_and_say_so(at: Callable[..., IntacctClient]) -> None:
    client = at()
    with pytest.raises(RequestRefused, match="takes no queries"):
        client.count(BALANCE)
    client.try_reading(BALANCE)
    client.try_reading(DETAIL)
    with pytest.raises(AuthenticationRefused):
        at(password="a-wrong-password").try_reading(BALANCE)


def test_a_session_that_ended_is_opened_anew_once(
    sandbox: RunningSandbox, at: Callable[..., IntacctClient]
) -> None:
    client = at()
    assert client.count(DETAIL) > 0
    before = client.usage.requests
    assert client.count(DETAIL) > 0
    assert client.usage.requests == before + 1
    sandbox.books.advance(timedelta(hours=6, seconds=1))
    assert client.count(DETAIL) > 0
    # refused, a session of REST, one in the entity, and asked again
    assert client.usage.requests == before + 5


def test_the_session_is_moved_into_the_entity_wherever_it_begins(
    sandbox: RunningSandbox, at: Callable[..., IntacctClient], tmp_path: Path
) -> None:
    sandbox.books.behaviours.choose({"xml_session_entity": "top"})
    rows = detail_rows(at("E130"), tmp_path)
    assert {row["entity.id"] for row in rows} == {"E130"}


@pytest.mark.parametrize("place", [b"", b"E120"])
def test_an_answer_of_another_entity_is_refused(
    at: Callable[..., IntacctClient], tmp_path: Path, place: bytes
) -> None:
    there = b"<locationid>" + place + b"</locationid><sessiontimestamp>"
    client = at(
        transport=Spoiled(
            lambda body: body.replace(b"<locationid>E110</locationid><sessiontimestamp>", there)
        )
    )
    with pytest.raises(WrongEntity, match=place.decode() or "the top level"):
        detail_rows(client, tmp_path)
    assert list(tmp_path.rglob("*.json")) == []


def test_an_answer_to_another_request_is_refused(at: Callable[..., IntacctClient]) -> None:
    kept: list[bytes] = []

    def repeated(body: bytes) -> bytes:
        if b"totalcount" in body:
            kept.append(body)
        return kept[0] if kept else body

    client = at(transport=Spoiled(repeated))
    assert client.count(DETAIL) > 0
    with pytest.raises(AnswerNotUnderstood, match="another request"):
        client.count(DETAIL)


def test_change_times_are_read_and_asked_in_the_time_zone_of_the_users(
    sandbox: RunningSandbox, at: Callable[..., IntacctClient], tmp_path: Path
) -> None:
    window = ChangeWindow(
        datetime(2026, 9, 1, 10, tzinfo=UTC),
        datetime(2026, 9, 2, 10, tzinfo=UTC),
    )

    def read(client: IntacctClient, name: str) -> list[tuple[str, str]]:
        result = client.paginate(DETAIL, ("key",), window, into=tmp_path / name)
        return [(row["key"], row["audit.modifiedDateTime"]) for row in rows_of(result)]

    in_utc = read(at(), "utc")
    sandbox.books.behaviours.choose({"xml_time_zone": "pacific"})
    assert in_utc
    assert read(at(offset="-08:00"), "pacific") == in_utc
    assert read(at(), "wrong") != in_utc


_ANY_TIME = re.compile(rb"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d")
PACIFIC = ZoneInfo("America/Los_Angeles")
SET_BACK = datetime(2026, 11, 1, 9, tzinfo=UTC)  # 01:00 for the second time
SET_FORWARD = datetime(2026, 3, 8, 10, tzinfo=UTC)  # 03:00, a second after 01:59:59


class InZone(httpx.BaseTransport):
    """The sandbox, moved in time by `shift`, as a gateway that writes and reads Pacific time.

    Of a time that clocks show twice it takes the first or, with `fold`, the second.
    """

    def __init__(self, shift: timedelta, fold: int) -> None:
        self._network = httpx.HTTPTransport()
        self._shift, self._fold = shift, fold

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith(".phtml"):
            return self._network.handle_request(request)
        body = _ANY_TIME.sub(self._asked, request.read())
        headers = {**request.headers, "content-length": str(len(body))}
        sent = httpx.Request(request.method, request.url, headers=headers, content=body)
        response = self._network.handle_request(sent)
        answer = _ANY_TIME.sub(self._shown, response.read())
        return httpx.Response(response.status_code, content=answer)

    def close(self) -> None:
        self._network.close()

    def _asked(self, match: re.Match[bytes]) -> bytes:
        shown = datetime.strptime(match[0].decode(), TIME_FORMAT)  # noqa: DTZ007
        moment = shown.replace(tzinfo=PACIFIC, fold=self._fold).astimezone(UTC)
        return (moment - self._shift).strftime(TIME_FORMAT).encode()

    def _shown(self, match: re.Match[bytes]) -> bytes:
        moment = datetime.strptime(match[0].decode(), TIME_FORMAT).replace(tzinfo=UTC)
        return (moment + self._shift).astimezone(PACIFIC).strftime(TIME_FORMAT).encode()


@pytest.mark.parametrize(
    ("change", "fold", "minutes"),
    [(SET_BACK, 0, -15), (SET_BACK, 1, 15), (SET_BACK, 1, -45), (SET_FORWARD, 0, 15)],
)
def test_no_row_is_lost_where_daylight_saving_begins_or_ends(
    sandbox: RunningSandbox,
    at: Callable[..., IntacctClient],
    tmp_path: Path,
    change: datetime,
    fold: int,
    minutes: int,
) -> None:
    day = datetime(2026, 9, 1, tzinfo=UTC)
    window = ChangeWindow(day, day + timedelta(days=2))
    found = rows_of(at().paginate(DETAIL, ("key",), window, into=tmp_path / "utc"))
    times = {row["key"]: datetime.fromisoformat(row["audit.modifiedDateTime"]) for row in found}
    middle = sorted(times.values())[len(times) // 2]
    shift = change + timedelta(minutes=minutes) - middle

    moved = {key: moment + shift for key, moment in times.items()}
    zone = ("+00:00", "America/Los_Angeles")
    access = xml_access(sandbox.base_url, SENDER_ID, SENDER_PASSWORD, None, *zone)
    client = at(transport=InZone(shift, fold), xml=access)

    # Each row in one of the windows on both sides of a bound, wherever the bound is.
    for hours in (-1.0, -0.5, 0.0, 0.5, 1.0):
        bound = change + timedelta(hours=hours)
        sides = []
        for name, since, until in (
            ("before", day + shift, bound),
            ("after", bound, day + shift + timedelta(days=2)),
        ):
            into = tmp_path / f"{hours} {name}"
            part = ChangeWindow(since, until)
            rows = rows_of(client.paginate(DETAIL, ("key",), part, into=into, page_size=40))
            sides += rows
            for row in rows:
                moment = datetime.fromisoformat(row["audit.modifiedDateTime"])
                assert since <= moment < until
                real = moved[row["key"]]
                early = timedelta(hours=2) if abs(real - SET_BACK) <= timedelta(hours=1) else None
                assert real - (early or timedelta()) <= moment <= real
        assert sorted(row["key"] for row in sides) == sorted(times)


@pytest.mark.parametrize(
    ("shown", "moment"),
    [
        ("11/01/2026 00:59:59", datetime(2026, 11, 1, 7, 59, 59, tzinfo=UTC)),
        ("11/01/2026 01:00:00", datetime(2026, 11, 1, 8, tzinfo=UTC)),
        ("11/01/2026 01:59:59", datetime(2026, 11, 1, 8, tzinfo=UTC)),
        ("11/01/2026 02:00:00", datetime(2026, 11, 1, 10, tzinfo=UTC)),
        ("03/08/2026 01:59:59", datetime(2026, 3, 8, 9, 59, 59, tzinfo=UTC)),
        ("03/08/2026 03:00:00", datetime(2026, 3, 8, 10, tzinfo=UTC)),
    ],
)
def test_a_time_that_clocks_show_twice_is_the_first_moment_of_them(
    shown: str, moment: datetime
) -> None:
    assert moment_of(shown, PACIFIC) == moment


def test_a_time_that_clocks_leave_out_is_refused() -> None:
    with pytest.raises(NoSuchTime):
        moment_of("03/08/2026 02:30:00", PACIFIC)
    assert moment_of("03/08/2026 02:30:00", UTC) == datetime(2026, 3, 8, 2, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "name", ["Europe/London", "Atlantic/Azores", "Australia/Lord_Howe", "Asia/Beirut", "UTC"]
)
def test_conditions_agree_with_the_times_that_are_read(name: str) -> None:
    zone = ZoneInfo(name)
    first = datetime(2026, 3, 1, tzinfo=UTC)
    moments = [first + timedelta(minutes=10 * step) for step in range(6 * 24 * 260)]
    twice = [each for each in moments if shown_twice(each, zone)]
    near = [each for each in moments if any(abs(each - one) < timedelta(hours=3) for one in twice)]
    shows = {each: each.astimezone(zone).strftime(TIME_FORMAT) for each in near}
    holds = {f"${each.__name__}": each for each in (operator.gt, operator.lt)}
    holds |= {"$gte": operator.ge, "$lte": operator.le}
    for bound in near:
        for said in ("$gte", "$lt"):
            asked, text = condition_on(said, bound, zone)
            limit = datetime.strptime(text, TIME_FORMAT).replace(tzinfo=zone).astimezone(UTC)
            assert shown_twice(limit, zone) is None
            for real in near:
                read = moment_of(shows[real], zone)
                assert holds[asked](real, limit) == holds[said](read, bound)


def test_a_wrong_sender_is_told_so_without_its_password(at: Callable[..., IntacctClient]) -> None:
    with pytest.raises(AuthenticationRefused, match="sender sandbox") as refused:
        at(password="a-wrong-password").count(DETAIL)
    assert "xml.sender_password" in str(refused.value)
    assert "a-wrong-password" not in str(refused.value)
    assert refused.value.error_id == "XL03000006"
    assert refused.value.support_id
    access = xml_access("http://x/ia/api/v1", "me", "a-wrong-password", None, "+00:00")
    assert "a-wrong-password" not in repr(access)
    assert access.url == "http://x/ia/xml/xmlgw.phtml"


def test_without_a_sender_an_object_of_the_xml_api_is_refused_with_what_to_do(
    at: Callable[..., IntacctClient],
) -> None:
    with pytest.raises(RequestRefused, match="sender_password"):
        at(xml=None).model(DETAIL)
    with pytest.raises(RequestRefused, match=DETAIL):
        at().model("xml/gl-details")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_refusal_at_the_door_is_tried_again(
    sandbox: RunningSandbox, at: Callable[..., IntacctClient], status: int
) -> None:
    client = at()
    sandbox.books.faults.replace([{"route": "xml", "times": 2, "answer": {"status": status}}])
    assert client.count(DETAIL) > 0
    assert client.usage.retries == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body[: len(body) // 2],
        lambda body: b"<html><body>Down for maintenance</body></html>",
        lambda body: b'<?xml version="1.0"?><!DOCTYPE response [<!ENTITY a "a">]><response/>',
        lambda body: body.replace(b'totalcount="', b'totalcount="x'),
    ],
    ids=["cut", "a page", "a document type", "no count"],
)
def test_an_answer_that_is_none_is_not_used(
    at: Callable[..., IntacctClient], spoil: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(AnswerNotUnderstood):
        at(transport=Spoiled(spoil)).count(DETAIL)


def test_times_in_another_form_are_refused_with_the_preference_to_set(
    at: Callable[..., IntacctClient],
) -> None:
    def twelve_hours(body: bytes) -> bytes:
        return body.replace(b"</WHENMODIFIED>", b" PM</WHENMODIFIED>")

    client = at(transport=Spoiled(twelve_hours))
    with pytest.raises(AnswerNotUnderstood, match="24 hours"):
        client.query(Query(DETAIL, ["audit.modifiedDateTime"], size=1))


def test_entities_of_a_document_type_are_never_expanded() -> None:
    bomb = b'<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><response>&b;</response>'
    outside = b'<!DOCTYPE r SYSTEM "file:///etc/passwd"><response/>'
    deep = b"<response>" + b"<a>" * 1000 + b"</a>" * 1000 + b"</response>"
    for document in (bomb, outside, deep, b"<other/>", b"", b"\xff"):
        with pytest.raises(NotXml):
            read_answer(document)


def test_balances_that_differ_in_a_dimension_nobody_named_have_different_keys() -> None:
    balance = xml_object(BALANCE)
    assert balance is not None
    base: dict[str, str | None] = {"BOOKID": "ACCRUAL", "PERIOD": "May", "ACCOUNTNO": "1"}
    rows: Sequence[dict[str, str | None]] = (
        {**base, "CURRENCY": "USD"},
        {**base, "CURRENCY": "CAD"},
        {**base, "CURRENCY": "USD", "GLDIMREGION": "7"},
        {**base, "CURRENCY": "USD", "WAREHOUSEID": "7"},
        {**base, "CURRENCY": "USD", "WAREHOUSEID": "7|GLDIMREGION=7"},
        {**base, "CURRENCY": "USD", "WAREHOUSEID": "7", "GLDIMREGION": "7"},
    )
    assert len({balance.key_of(row) for row in rows}) == len(rows)
    moved = {**base, "CURRENCY": "USD", "ENDBAL": "5.00", "ACCOUNTTITLE": "Cash"}
    assert balance.key_of(moved) == balance.key_of(rows[0])


def test_the_password_is_sent_to_the_gateway_alone(
    sandbox: RunningSandbox, at: Callable[..., IntacctClient]
) -> None:
    sent: list[httpx.Request] = []

    class Watched(Spoiled):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            sent.append(request)
            return super().handle_request(request)

    at(transport=Watched(lambda body: body)).count(DETAIL)
    told = [each for each in sent if SENDER_PASSWORD.encode() in each.read()]
    assert {each.url.path for each in told} == {"/ia/xml/xmlgw.phtml"}
    assert all(SENDER_PASSWORD not in str(each.headers) + str(each.url) for each in sent)
