"""Lines of a document, changed with it and by themselves."""

from __future__ import annotations

from typing import Any

import pytest

from intacct_dagster_tests.sandbox.caller import (
    INVOICE,
    Caller,
    invoice,
    invoice_line,
    messages,
)

USER = "usa@demo|E110"
LINE = f"{INVOICE}-line"


def _call(caller: Caller, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    given = {} if body is None else {"json": body}
    response = caller.call(method, f"/objects/{path}", user=USER, **given)
    assert response.status_code == status, response.text
    return response.json()["ia::result"] if response.content else None


def _new(caller: Caller) -> str:
    lines = [invoice_line(amount=amount) for amount in ("10.00", "20.00", "30.00")]
    key: str = _call(caller, "POST", INVOICE, invoice(lines=lines), 201)["key"]
    return key


def _get(caller: Caller, key: str) -> dict[str, Any]:
    record: dict[str, Any] = _call(caller, "GET", f"{INVOICE}/{key}")
    return record


def test_lines_without_a_key_are_added_with_one_changed_and_named_ones_deleted(
    caller: Caller,
) -> None:
    key = _new(caller)
    first, second, third = _get(caller, key)["lines"]
    change = [
        {"key": first["key"], "memo": "changed"},
        {"key": second["key"], "ia::operation": "delete"},
        invoice_line(amount="5.50"),
    ]
    _call(caller, "PATCH", f"{INVOICE}/{key}", {"lines": change})
    after = _get(caller, key)
    assert [line["txnAmount"] for line in after["lines"]] == ["10.00", "30.00", "5.50"]
    assert [line["lineNumber"] for line in after["lines"]] == [1, 2, 3]
    assert [line["key"] for line in after["lines"][:2]] == [first["key"], third["key"]]
    assert [line["memo"] for line in after["lines"]] == ["changed", None, None]
    assert (after["totalTxnAmount"], after["totalTxnAmountDue"]) == ("45.50", "45.50")


def test_a_document_keeps_all_of_its_lines_when_one_of_a_change_is_rejected(caller: Caller) -> None:
    key = _new(caller)
    before = _get(caller, key)
    change = [
        {"key": before["lines"][0]["key"], "ia::operation": "delete"},
        invoice_line(account="99999"),
    ]
    response = caller.call("PATCH", f"/objects/{INVOICE}/{key}", user=USER, json={"lines": change})
    assert "The account '99999' is invalid." in messages(response)
    assert _get(caller, key) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": "999999", "memo": "x"}, "is not that of a line of this record"),
        ({"key": 5}, "/lines/0/key must be a text"),
        ({"ia::operation": "delete"}, "beside the key of a line"),
        ({"key": "1", "ia::operation": "drop"}, "beside the key of a line"),
        ({"memo": "x"}, "/lines/0/txnAmount is missing"),
    ],
)
def test_a_line_that_makes_no_sense_is_rejected(
    caller: Caller, change: dict[str, Any], said: str
) -> None:
    key = _new(caller)
    response = caller.call(
        "PATCH", f"/objects/{INVOICE}/{key}", user=USER, json={"lines": [change]}
    )
    assert response.status_code in (400, 422)
    assert said in messages(response)


def test_the_last_line_stays(caller: Caller) -> None:
    key = _new(caller)
    gone = [{"key": one["key"], "ia::operation": "delete"} for one in _get(caller, key)["lines"]]
    response = caller.call("PATCH", f"/objects/{INVOICE}/{key}", user=USER, json={"lines": gone})
    assert "At least 1 of lines must be left" in messages(response)


def test_a_line_is_written_by_itself_and_its_document_adds_up(caller: Caller) -> None:
    key = _new(caller)
    made = _call(
        caller, "POST", LINE, {"invoice": {"key": key}, **invoice_line(amount="4.00")}, 201
    )
    assert _get(caller, key)["totalTxnAmount"] == "64.00"
    _call(caller, "PATCH", f"{LINE}/{made['key']}", {"txnAmount": "3.00"})
    assert _get(caller, key)["totalTxnAmount"] == "63.00"
    assert _call(caller, "GET", f"{LINE}/{made['key']}")["invoice"]["key"] == key
    _call(caller, "DELETE", f"{LINE}/{made['key']}", status=204)
    assert _get(caller, key)["totalTxnAmount"] == "60.00"
    got = caller.call("GET", "/_sandbox/books").json()["changes"]
    assert {one["object"] for one in got} == {INVOICE}


def test_lines_of_journal_entries_and_payments_are_not_written_by_themselves(
    caller: Caller,
) -> None:
    for object_ in ("general-ledger/journal-entry-line", "accounts-payable/payment-detail"):
        response = caller.call("POST", f"/objects/{object_}", user=USER, json={})
        assert response.status_code == 405


def test_a_line_of_which_there_may_be_one_changes_the_one_that_is_there(caller: Caller) -> None:
    role = _call(caller, "POST", "company-config/role", {"id": "New"}, 201)["key"]
    path = "company-config/role-permission-assignment"
    body = {"role": {"key": role}, "permission": {"key": "1"}, "accessRights": ["list"]}
    first = _call(caller, "POST", path, body, 201)
    again = _call(caller, "POST", path, {**body, "accessRights": ["add"]}, 201)
    assert again == first
    assert _call(caller, "GET", f"{path}/{first['key']}")["accessRights"] == ["add"]
