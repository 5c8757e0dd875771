"""The client against the sandbox company, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from intacct_dagster.client import (
    AccessDenied,
    AuthenticationRefused,
    AuthorizationCode,
    ChangeWindow,
    ClientCredentials,
    Created,
    Intacct,
    IntacctClient,
    NotReached,
    OutcomeUnknown,
    Query,
    RequestRefused,
    WrongEntity,
    explain,
)
from intacct_dagster.client.auth.oauth import Grant
from intacct_dagster.client.batch import RejectedItem
from intacct_dagster.pages import page_bytes
from intacct_dagster_tests.client.intacct_wire import encode_batch
from intacct_sandbox import CLIENT_ID, CLIENT_SECRET, COMPANY, RunningSandbox

USERS = {"E110": "usa", "E120": "can", "E130": "gbr", "E140": "aus"}
OBJECTS = [
    "accounts-payable/bill",
    "accounts-payable/bill-line",
    "accounts-payable/vendor",
    "accounts-receivable/customer",
    "accounts-receivable/invoice",
    "accounts-receivable/invoice-line",
    "company-config/department",
    "company-config/employee",
    "company-config/entity",
    "company-config/location",
    "general-ledger/account",
    "general-ledger/journal",
    "general-ledger/journal-entry",
    "general-ledger/journal-entry-line",
    "time/timesheet",
    "time/timesheet-line",
]
INVOICE = "accounts-receivable/invoice"
CUSTOMER = "accounts-receivable/customer"
END = datetime(2026, 10, 14, tzinfo=UTC)


def company(
    sandbox: RunningSandbox, grant: Grant | None = None, users: dict[str, str] | None = None
) -> Intacct:
    grant = grant or ClientCredentials(CLIENT_ID, CLIENT_SECRET)
    return Intacct(COMPANY, sandbox.base_url, grant, USERS if users is None else users)


@pytest.fixture
def intacct(sandbox: RunningSandbox) -> Iterator[Intacct]:
    with company(sandbox) as connected:
        yield connected


def rows_of(
    client: IntacctClient, object: str, window: ChangeWindow, into: Path
) -> list[dict[str, Any]]:
    """The rows of a pagination, each key once, as the loader takes them."""
    result = client.paginate(object, ["id"], window, into=into, page_size=500)
    rows: dict[str, dict[str, Any]] = {}
    for file in result.files:
        rows |= {row["key"]: row for row in json.loads(page_bytes(file))}
    assert len(rows) == result.proof.distinct_keys == result.proof.total_count
    return list(rows.values())


def invoice(client: IntacctClient, reference: str, **other: object) -> bytes:
    customers = Query(CUSTOMER, ("id",), ({"$eq": {"status": "active"}},), size=1)
    departments = Query("company-config/department", ("id",), size=1)
    document = {
        "referenceNumber": reference,
        "customer": {"id": client.query(customers).rows[0]["id"]},
        "invoiceDate": "2026-10-05",
        "dueDate": "2026-11-05",
        "lines": [
            {
                "txnAmount": "12.50",
                "glAccount": {"id": "40100"},
                "dimensions": {
                    "location": {"id": client.entity_id},
                    "department": {"id": client.query(departments).rows[0]["id"]},
                },
            }
        ],
    }
    return json.dumps(document | other).encode()


def references(client: IntacctClient, *wanted: str) -> list[str]:
    query = Query(INVOICE, ("referenceNumber",), ({"$in": {"referenceNumber": list(wanted)}},))
    return sorted(row["referenceNumber"] for row in client.query(query).rows)


@pytest.mark.parametrize("object", OBJECTS)
def test_every_field_of_every_object_can_be_read_in_one_proven_pagination(
    intacct: Intacct, object: str, tmp_path: Path
) -> None:
    client = intacct.entity("E110")
    model = client.model(object)
    fields = [field.path for field in model.fields]
    result = client.paginate(object, fields, ChangeWindow(None, END), into=tmp_path)
    assert result.proof.total_count > 0
    assert result.proof.attempts == 1
    first = json.loads(page_bytes(result.files[0]))[0]
    assert set(fields) <= set(first)


def test_entities_see_their_own_and_the_top_level_sees_all(
    intacct: Intacct, tmp_path: Path
) -> None:
    window = ChangeWindow(None, END)
    own = {
        entity: rows_of(intacct.entity(entity), INVOICE, window, tmp_path / entity)
        for entity in USERS
    }
    for entity, rows in own.items():
        assert {row["entity.id"] for row in rows} == {entity}
    everything = rows_of(intacct.top_level("top"), INVOICE, window, tmp_path / "top")
    assert {row["key"] for row in everything} == {
        row["key"] for rows in own.values() for row in rows
    }


def test_adjacent_windows_add_up_to_the_whole(intacct: Intacct, tmp_path: Path) -> None:
    client = intacct.entity("E120")
    whole = rows_of(client, INVOICE, ChangeWindow(None, END), tmp_path / "whole")
    start = END - timedelta(days=40)
    parts = rows_of(client, INVOICE, ChangeWindow(None, start), tmp_path / "before")
    while start < END:
        window = ChangeWindow(start, start + timedelta(days=8))
        parts += rows_of(client, INVOICE, window, tmp_path / start.date().isoformat())
        start = window.until
    assert sorted(row["key"] for row in parts) == sorted(row["key"] for row in whole)


def test_outcomes_of_a_mixed_batch_are_those_of_the_books(
    sandbox: RunningSandbox, intacct: Intacct
) -> None:
    client = intacct.entity("E110")
    items = [
        invoice(client, "MIX-0"),
        invoice(client, "MIX-1", customer={"id": "NOBODY"}),
        invoice(client, "MIX-2", invoiceDate="2026-07-01"),
        invoice(client, "MIX-3"),
        invoice(client, "MIX-4", colour="red"),
    ]
    answer = client.create_batch(INVOICE, encode_batch(items), len(items), "mixed-1")
    kinds = [type(outcome) for outcome in answer.outcomes]
    assert kinds == [Created, RejectedItem, RejectedItem, Created, RejectedItem]
    assert not answer.whole
    reasons = [explain(each).reason for each in answer.outcomes if isinstance(each, RejectedItem)]
    assert reasons == [
        "customer does not exist in this entity, or is not active",
        "the accounting period of its date is closed in this entity",
        "the payload has a field that Intacct does not know",
    ]
    assert references(client, *(f"MIX-{n}" for n in range(5))) == ["MIX-0", "MIX-3"]
    keys = [each.key for each in answer.outcomes if isinstance(each, Created)]
    records = client.get(INVOICE, [*keys, "987654321"])
    assert [records[key]["referenceNumber"] for key in keys] == ["MIX-0", "MIX-3"]


def test_the_same_bytes_with_the_same_key_create_nothing_again(intacct: Intacct) -> None:
    client = intacct.entity("E110")
    body = encode_batch([invoice(client, "AGAIN")])
    first = client.create_batch(INVOICE, body, 1, "again-1")
    second = client.create_batch(INVOICE, body, 1, "again-1")
    assert second.outcomes == first.outcomes
    assert (first.replayed, second.replayed) == (False, True)
    assert references(client, "AGAIN") == ["AGAIN"]


def test_a_key_used_for_other_bytes_leaves_the_outcome_to_be_read_back(intacct: Intacct) -> None:
    client = intacct.entity("E110")
    client.create_batch(INVOICE, encode_batch([invoice(client, "ONE")]), 1, "reused")
    with pytest.raises(OutcomeUnknown, match="409"):
        client.create_batch(INVOICE, encode_batch([invoice(client, "OTHER")]), 1, "reused")
    assert references(client, "ONE", "OTHER") == ["ONE"]


def test_a_batch_of_refusals_says_why_each_was_refused(intacct: Intacct) -> None:
    client = intacct.entity("E130")
    items = [invoice(client, "BAD-0", invoiceDate="2026-09-30"), invoice(client, "BAD-1", x=1)]
    answer = client.create_batch(INVOICE, encode_batch(items), 2, "all-bad")
    assert [type(outcome) for outcome in answer.outcomes] == [RejectedItem, RejectedItem]
    assert references(client, "BAD-0", "BAD-1") == []


def test_a_large_batch_keeps_its_order(intacct: Intacct) -> None:
    client = intacct.entity("E140")
    document = json.loads(invoice(client, ""))
    items = [json.dumps(document | {"referenceNumber": f"L-{n:03}"}).encode() for n in range(500)]
    answer = client.create_batch(INVOICE, encode_batch(items), 500, "large")
    created = [each.key for each in answer.outcomes if isinstance(each, Created)]
    records = client.get(INVOICE, created)
    assert [records[key]["referenceNumber"] for key in created] == [f"L-{n:03}" for n in range(500)]


def consent(intacct: Intacct, entity: str, user: str) -> None:
    """What the browser does."""
    asked = intacct.ask_consent(entity)
    assert httpx.get(asked.url).status_code == 200
    allowed = httpx.post(asked.url, data={"user": user, "decision": "allow"})
    back = parse_qs(urlsplit(allowed.headers["Location"]).query)
    intacct.exchange_code(entity, asked, code=back["code"][0], state=back["state"][0])


def test_a_consent_in_the_browser_becomes_a_session_of_the_entity(
    sandbox: RunningSandbox, tmp_path: Path
) -> None:
    grant = AuthorizationCode(CLIENT_ID, CLIENT_SECRET, "http://localhost:9/callback")
    with company(sandbox, grant) as intacct:
        consent(intacct, "E110", "usa")
        rows = rows_of(intacct.entity("E110"), INVOICE, ChangeWindow(None, END), tmp_path)
        assert {row["entity.id"] for row in rows} == {"E110"}


def test_what_a_newcomer_can_get_wrong_is_said_in_two_lines(
    sandbox: RunningSandbox, intacct: Intacct
) -> None:
    def count(base_url: str, secret: str, user: str, entity: str) -> None:
        grant = ClientCredentials(CLIENT_ID, secret)
        with Intacct(COMPANY, base_url, grant, {entity: user}) as wrong:
            wrong.entity(entity).count(INVOICE)

    url = sandbox.base_url
    client = intacct.entity("E110")
    with pytest.raises(AuthenticationRefused, match="Check client_id and client_secret") as secret:
        count(url, "wrong", "usa", "E110")
    with pytest.raises(AuthenticationRefused, match="the user id") as user:
        count(url, CLIENT_SECRET, "USA", "E110")
    with pytest.raises(AccessDenied, match="User usa has no access to entity E120") as access:
        count(url, CLIENT_SECRET, "usa", "E120")
    with pytest.raises(AuthenticationRefused, match="entity id E999") as entity:
        count(url, CLIENT_SECRET, "usa", "E999")
    with pytest.raises(AuthenticationRefused, match="it ends in /ia/api/v1") as path:
        count(url.removesuffix("/ia/api/v1"), CLIENT_SECRET, "usa", "E110")
    with pytest.raises(NotReached, match="Check base_url") as port:
        count("http://127.0.0.1:9/ia/api/v1", CLIENT_SECRET, "usa", "E110")
    with pytest.raises(RequestRefused, match="Did you mean accounts-receivable/invoice") as name:
        client.model("accounts-receivable/invoise")
    with pytest.raises(RequestRefused, match="The colour field does not exist") as field:
        client.query(Query(INVOICE, ("key", "colour")))
    for caught in (secret, user, access, entity, path, port, name, field):
        assert len(str(caught.value).splitlines()) == 2


class TopLevel(httpx.BaseTransport):
    """Something between us and Intacct that makes every session one of the top level."""

    def __init__(self, *, token: bool) -> None:
        self._token = token
        self._network = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.headers.pop("X-IA-API-Param-Entity", None)
        if self._token and request.url.path.endswith("/oauth2/token"):
            body = request.content.replace(b"%7CE110", b"")
            del request.headers["Content-Length"]
            request = httpx.Request("POST", request.url, headers=request.headers, content=body)
        return self._network.handle_request(request)

    def close(self) -> None:
        self._network.close()


@pytest.mark.parametrize("object", [CUSTOMER, INVOICE])
def test_a_session_at_the_top_level_is_distinguished_from_an_empty_day(
    sandbox: RunningSandbox, tmp_path: Path, object: str
) -> None:
    grant = ClientCredentials(CLIENT_ID, CLIENT_SECRET)
    with (
        Intacct(
            COMPANY, sandbox.base_url, grant, {"E110": "top"}, transport=TopLevel(token=True)
        ) as intacct,
        pytest.raises(WrongEntity) as caught,
    ):
        intacct.entity("E110").paginate(object, ["id"], ChangeWindow(None, END), into=tmp_path)
    message = str(caught.value)
    assert "at the top level of the company" in message
    assert "X-IA-API-Param-Entity" in message
    assert list(tmp_path.iterdir()) == []


def test_a_header_that_is_dropped_does_no_harm_where_the_token_is_of_the_entity(
    sandbox: RunningSandbox, tmp_path: Path
) -> None:
    grant = ClientCredentials(CLIENT_ID, CLIENT_SECRET)
    with Intacct(
        COMPANY, sandbox.base_url, grant, {"E110": "top"}, transport=TopLevel(token=False)
    ) as intacct:
        rows = rows_of(intacct.entity("E110"), INVOICE, ChangeWindow(None, END), tmp_path)
    assert {row["entity.id"] for row in rows} == {"E110"}


def test_the_scope_is_proven_once_where_the_rows_do_not_show_it(
    intacct: Intacct, tmp_path: Path
) -> None:
    client = intacct.entity("E110")
    shared = "company-config/department"
    first = client.paginate(shared, ["id"], ChangeWindow(None, END), into=tmp_path / "1")
    assert not first.proof.own_rows
    client.paginate(INVOICE, ["id"], ChangeWindow(None, END), into=tmp_path / "2")
    before = client.usage.requests
    again = client.paginate(shared, ["id"], ChangeWindow(None, END), into=tmp_path / "3")
    assert client.usage.requests - before == again.proof.requests


def test_keys_that_exist_are_distinguished_from_those_that_do_not(intacct: Intacct) -> None:
    client = intacct.entity("E110")
    keys = [row["key"] for row in client.query(Query(INVOICE, ("key",), size=5)).rows]
    assert client.existing(INVOICE, [*keys, "99999999"]) == set(keys)
    assert client.existing(INVOICE, []) == set()
