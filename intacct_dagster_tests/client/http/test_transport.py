"""What is repeated and what never is, how long we wait, and what a failure is called."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from intacct_dagster.client import (
    AccessDenied,
    AnswerNotUnderstood,
    ClientCredentials,
    Intacct,
    IntacctClient,
    NotReached,
    OutcomeUnknown,
    Query,
    RequestRefused,
    ServerFailed,
    Throttled,
    Usage,
)
from intacct_dagster.client.errors import AddressRefused
from intacct_dagster.client.http.transport import _wait_before_another_try, asked_to_wait
from intacct_dagster_tests.client.intacct_wire import (
    BASE_URL,
    Reply,
    Wire,
    error_reply,
    page_reply,
    reply,
)

BILL = "accounts-payable/bill"
CREATED = reply(
    201,
    {
        "ia::result": [{"key": "1", "id": "1", "href": "/objects/accounts-payable/bill/1"}],
        "ia::meta": {"totalCount": 1, "totalSuccess": 1, "totalError": 0},
    },
)


def client(wire: Wire) -> IntacctClient:
    grant = ClientCredentials("app.sage.com", "secret")
    return Intacct("demo", BASE_URL, grant, {"E110": "usa"}, transport=wire).entity("E110")


def create(wire: Wire) -> None:
    client(wire).create_batch(BILL, b'[{"a":1}]', 1, "key-1")


FAILURES: list[Reply] = [
    httpx.ConnectError("refused"),
    httpx.ReadTimeout("slow"),
    httpx.RemoteProtocolError("cut"),
    httpx.WriteError("broken pipe"),
    reply(500, ""),
    reply(503, "", {"Retry-After": "1"}),
    error_reply(429, "GW-0010", "API rate limit exceeded"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_a_read_is_repeated_after_any_failure(failure: Reply) -> None:
    wire = Wire(failure, failure, page_reply([], total=7))
    assert client(wire).count(BILL) == 7
    assert len(wire.requests) == 3


@pytest.mark.parametrize(
    ("failure", "kind"),
    list(
        zip(
            FAILURES,
            [NotReached, *[ServerFailed] * 4, Throttled, Throttled],
            strict=True,
        )
    ),
    ids=str,
)
def test_a_read_that_never_succeeds_is_given_up_after_five_tries(
    failure: Reply, kind: type[Exception]
) -> None:
    wire = Wire(failure)
    with pytest.raises(kind) as caught:
        client(wire).count(BILL)
    assert len(wire.requests) == 5
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ReadTimeout("slow"),
        httpx.WriteTimeout("slow"),
        httpx.ReadError("cut"),
        httpx.WriteError("cut"),
        httpx.RemoteProtocolError("cut"),
        httpx.DecodingError("gzip"),
        reply(408, ""),
        reply(500, ""),
        reply(502, "<html>"),
        reply(503, "", {"Retry-After": "1"}),
        reply(504, ""),
    ],
    ids=str,
)
def test_a_write_that_may_have_arrived_is_never_repeated(failure: Reply) -> None:
    wire = Wire(failure, CREATED)
    with pytest.raises(OutcomeUnknown):
        create(wire)
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.PoolTimeout("busy"),
        reply(429, "", {"X-IA-Throttle-Limit-RetryAfter": "60"}),
        reply(401, ""),
    ],
    ids=str,
)
def test_a_write_that_certainly_did_nothing_is_repeated_with_the_same_bytes(
    failure: Reply,
) -> None:
    wire = Wire(failure, CREATED)
    create(wire)
    first, second = wire.requests
    assert first.content == second.content
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"] == "key-1"


def test_a_write_without_a_session_was_never_sent() -> None:
    wire = Wire(CREATED)
    wire.token_script = [reply(500, "")] * 5
    with pytest.raises(NotReached, match="No session for user usa"):
        create(wire)
    assert wire.requests == []


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"X-IA-Throttle-Limit-RetryAfter": "60"}, 60),
        ({"X-IA-Hour-Rate-Limit-Retry-After": "90", "retry-after": "5"}, 90),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
    ],
)
def test_every_spelling_of_retry_after_is_read(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert asked_to_wait(httpx.Headers(headers)) == seconds


def test_a_retry_after_date_is_read() -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    waited = asked_to_wait(httpx.Headers({"Retry-After": moment}))
    assert waited is not None
    assert 90 <= waited <= 100


def test_a_wait_is_as_long_as_asked_for_and_never_longer_than_two_minutes() -> None:
    short = _wait_before_another_try(Throttled("", retry_after=30))
    long = _wait_before_another_try(Throttled("", retry_after=86400))
    assert 30 <= short <= 31
    assert 120 <= long <= 121


def test_one_line_says_where_we_could_not_connect() -> None:
    with pytest.raises(NotReached) as caught:
        client(Wire(httpx.ConnectError("Connection refused"))).count(BILL)
    assert "api.intacct.test: Connection refused" in str(caught.value)
    assert "Check base_url" in str(caught.value)


def test_a_base_url_that_is_none_is_reported_as_such() -> None:
    with pytest.raises(AddressRefused, match="Correct base_url"):
        Intacct("demo", "localhost:8765", ClientCredentials("a", "b"), {"E110": "usa"})


def test_a_user_without_access_to_the_entity_is_shown_where_to_give_it() -> None:
    wire = Wire(error_reply(403, "x", "The user has no access to the entity E110"))
    with pytest.raises(AccessDenied) as caught:
        client(wire).count(BILL)
    assert str(caught.value).startswith("User usa has no access to entity E110")
    assert "Company > Admin > Users > usa > User entities" in str(caught.value)


def test_an_unknown_field_is_named_with_what_to_do() -> None:
    message = (
        "The action field in accounts-payable/bill object cannot be used in query in version 1"
    )
    wire = Wire(error_reply(400, "REST-1106", message))
    with pytest.raises(RequestRefused) as caught:
        client(wire).query(Query(BILL, ("action",)))
    assert message in str(caught.value)
    assert "Take the field out of `fields`" in str(caught.value)
    assert (caught.value.entity, caught.value.object) == ("E110", BILL)
    assert (caught.value.http_status, caught.value.error_id) == (400, "REST-1106")


@pytest.mark.parametrize(
    "body",
    [
        "<html>",
        b"\xff\xfe",
        {"ia::result": []},
        {"ia::result": [], "ia::meta": {"totalCount": "3", "pageSize": 1}},
        [],
    ],
    ids=["html", "bytes", "no meta", "text for a count", "a list"],
)
def test_an_answer_that_is_no_query_page_is_not_used(body: object) -> None:
    with pytest.raises(AnswerNotUnderstood, match=r"accounts-payable/bill of entity E110"):
        client(Wire(reply(200, body))).count(BILL)


def test_a_redirect_is_not_followed_with_our_token() -> None:
    wire = Wire(reply(302, "", {"Location": "https://evil.test/"}))
    with pytest.raises(RequestRefused):
        client(wire).count(BILL)
    assert len(wire.requests) == 1


def test_usage_counts_what_was_sent_and_what_it_costs() -> None:
    wire = Wire(reply(503, ""), page_reply([]), CREATED)
    grant = ClientCredentials("app.sage.com", "secret")
    intacct = Intacct("demo", BASE_URL, grant, {"E110": "usa"}, transport=wire)
    ours = intacct.entity("E110")
    ours.count(BILL)
    before = ours.usage
    ours.create_batch(BILL, b'[{"a":1}]', 1, "key-1")
    assert (before.requests, before.retries, before.pages, before.transactions) == (2, 1, 1, 1)
    assert ours.usage - before == Usage(requests=1, transactions=1)
    assert intacct.usage.requests == 4  # with the one for the token


def test_an_entity_that_is_not_configured_is_named_with_those_that_are() -> None:
    intacct = Intacct("demo", BASE_URL, ClientCredentials("a", "b"), {"E110": "usa", "E120": "can"})
    with intacct, pytest.raises(RequestRefused, match=r"E999 is not configured.\n.*E110, E120"):
        intacct.entity("E999")


class Held(httpx.BaseTransport):
    """Tokens at once; queries arrive, and are answered when `answer` is set."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self.answer = threading.Event()
        self._tokens = Wire(page_reply([], total=7))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/oauth2/token"):
            self.arrived.release()
            self.answer.wait(10)
        return self._tokens.handle_request(request)


def test_no_more_requests_are_in_flight_than_the_plan_allows() -> None:
    held = Held()
    grant = ClientCredentials("app.sage.com", "secret")
    intacct = Intacct("demo", BASE_URL, grant, {"E110": "usa"}, transport=held, concurrency=2)
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(intacct.entity("E110").count, BILL) for _ in range(5)]
        assert held.arrived.acquire(timeout=10)
        assert held.arrived.acquire(timeout=10)
        assert not held.arrived.acquire(timeout=0.2)
        held.answer.set()
        assert [each.result(10) for each in asked] == [7] * 5
