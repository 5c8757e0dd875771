"""How clients of the real API talk: the spellings that were found in public ones, and that the
sandbox has to understand. Each case names where it was seen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from intacct_dagster_tests.sandbox.caller import CLIENT, INVOICE, Caller, invoice

USER = "usa@demo"
_QUERY = {"object": INVOICE, "fields": ["key"], "size": 1}


def _ask(caller: Caller, method: str, path: str, **given: Any) -> Any:
    token = caller.token(USER)
    headers = {"Authorization": f"Bearer {token}", **given.pop("headers", {})}
    return caller.call(method, path, headers=headers, **given)


@pytest.mark.parametrize(
    "headers",
    [
        {"CONTENT-TYPE": "application/json"},  # a gem
        {"Content-Type": "application/json; charset=utf-8", "Accept": "*/*"},  # RestSharp
        {"Content-Type": "application/json;charset=UTF-8", "Accept": "application/json, text/json"},
        {"Accept": "application/json", "User-Agent": "x", "IA-API-Version": "1"},  # a syncer
        {"Content-Type": "text/plain"},
        {"x-ia-api-param-entity": "E110"},
        {"X-IA-API-ParamEntity": "E140"},  # as Sage's table prints it, and as nobody reads it
        {"Accept-Encoding": "gzip, deflate, br", "Connection": "keep-alive"},
    ],
    ids=lambda headers: next(iter(headers.items()))[0],
)
def test_a_query_is_understood_whatever_the_headers(
    shared_caller: Caller, headers: dict[str, str]
) -> None:
    content = json.dumps({**_QUERY, "fields": ["key", "entity.id"]}).encode()
    answer = _ask(shared_caller, "POST", "/services/core/query", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["ia::result"][0]["entity.id"] == "E110"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_of_a_token_may_be_written_in_any_case(
    shared_caller: Caller, scheme: str
) -> None:
    headers = {"Authorization": f"{scheme} {shared_caller.token(USER)}"}
    answer = shared_caller.call("POST", "/services/core/query", json=_QUERY, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "more",
    [
        {"scope": "offline_access"},  # a syncer
        {"scope": ""},
        {"company_id": "demo", "entity_id": ""},
    ],
)
def test_a_log_in_passes_over_what_it_does_not_need(
    shared_caller: Caller, more: dict[str, str]
) -> None:
    asked = {**CLIENT, "grant_type": "client_credentials", "username": USER, **more}
    given: tuple[dict[str, Any], ...] = ({"json": asked}, {"data": asked})
    for how in given:
        answer = shared_caller.call("POST", "/oauth2/token", **how)
        assert answer.status_code == 200, answer.text
    # The gem sends the username with a refresh as well.
    refresh = answer.json()["refresh_token"]
    asked |= {"grant_type": "refresh_token", "refresh_token": refresh}
    assert shared_caller.call("POST", "/oauth2/token", json=asked).status_code == 200


def test_a_body_where_none_is_needed_does_no_harm(shared_caller: Caller) -> None:
    for path in ("/services/core/model", f"/objects/{INVOICE}", "/services/core/session/id"):
        assert _ask(shared_caller, "GET", path, content=b"{}").status_code == 200


@pytest.mark.parametrize("path", [f"/objects/{INVOICE}", "/services/core/model"])
def test_head_and_options_are_answered(shared_caller: Caller, path: str) -> None:
    head = _ask(shared_caller, "HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    options = _ask(shared_caller, "OPTIONS", path)
    assert options.status_code in (204, 405)


def test_keys_may_come_as_numbers(shared_caller: Caller) -> None:
    """As languages send them whose records have whole numbers for keys."""
    made = _ask(shared_caller, "POST", f"/objects/{INVOICE}", json=invoice(state="draft")).json()
    key = int(made["ia::result"]["key"])
    patched = _ask(
        shared_caller, "PATCH", f"/objects/{INVOICE}", json=[{"key": key, "description": "changed"}]
    )
    assert patched.status_code == 200
    done = _ask(shared_caller, "POST", f"/workflows/{INVOICE}/submit", json={"key": key})
    assert done.status_code == 200
    found = {**_QUERY, "fields": ["description"], "filters": [{"$eq": {"key": key}}]}
    rows = _ask(shared_caller, "POST", "/services/core/query", json=found).json()["ia::result"]
    assert [row["description"] for row in rows] == ["changed"]


def test_amounts_may_come_as_numbers(shared_caller: Caller) -> None:
    """As in the examples of Sage's guide to owned objects."""
    line = {**invoice()["lines"][0], "txnAmount": 100}
    made = _ask(shared_caller, "POST", f"/objects/{INVOICE}", json=invoice(lines=[line])).json()
    path = f"/objects/{INVOICE}/{made['ia::result']['key']}"
    got = _ask(shared_caller, "GET", path).json()["ia::result"]
    assert got["totalTxnAmount"] == "100.00"


@pytest.mark.parametrize("part", ["file", "vendors.json", "vendors"])
def test_the_file_of_a_bulk_job_may_be_named_as_job_file_says(
    shared_caller: Caller, part: str
) -> None:
    """A C# client calls the part what `jobFile` says; Sage's guide calls it `file`."""
    asked = {
        "objectName": INVOICE,
        "operation": "create",
        "fileContentType": "json",
        "jobFile": "vendors.json" if part == "file" else part,
        "callbackURL": None,
    }
    answer = _ask(
        shared_caller,
        "POST",
        "/services/bulk/job/create",
        data={"ia::requestBody": json.dumps(asked)},
        files={part: ("vendors.json", b"[]", "application/json")},
    )
    assert answer.status_code == 200, answer.text


def test_document_types_are_named_encoded_or_not(shared_caller: Caller) -> None:
    for path in (
        "/objects/order-entry/document::Sales%20Invoice",
        "/objects/order-entry/document%3A%3ASales%20Invoice",
    ):
        assert _ask(shared_caller, "GET", path).status_code == 200


def test_a_list_of_keys_may_be_encoded(shared_caller: Caller) -> None:
    rows = shared_caller.query(USER, INVOICE, ["key"], size=2)["ia::result"]
    first, second = (row["key"] for row in rows)
    for joint in (",", "%2C", ", "):
        answer = _ask(shared_caller, "GET", f"/objects/{INVOICE}/{first}{joint}{second}")
        assert [one["key"] for one in answer.json()["ia::result"]] == [first, second]
