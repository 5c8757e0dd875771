"""Workflows: what they do to the state of a document, and to what is due."""

from __future__ import annotations

from typing import Any

from intacct_dagster_tests.sandbox.caller import (
    INVOICE,
    Caller,
    invoice,
    invoice_line,
    messages,
)

USER = "usa@demo|E110"
DAY = {"reversedDate": "2026-10-12"}


def _act(caller: Caller, path: str, body: Any) -> Any:
    return caller.call("POST", f"/workflows/{path}", user=USER, json=body)


def _new(caller: Caller, **changed: Any) -> str:
    body = invoice(lines=[invoice_line(amount="50.00")], **changed)
    made = caller.call("POST", f"/objects/{INVOICE}", user=USER, json=body)
    key: str = made.json()["ia::result"]["key"]
    return key


def _get(caller: Caller, key: str) -> dict[str, Any]:
    answer = caller.call("GET", f"/objects/{INVOICE}/{key}", user=USER).json()
    record: dict[str, Any] = answer["ia::result"]
    return record


def _pay(caller: Caller, key: str) -> str:
    body = {
        "customer": {"id": "C-10001"},
        "undepositedGLAccount": {"id": "10100"},
        "paymentSummary": {"receiptDate": "2026-10-12"},
        "txnCurrency": {"currency": "USD"},
        "paymentDetails": [{"arInvoice": {"key": key}, "txnCurrency": {"paymentAmount": "50.00"}}],
    }
    path = "/objects/accounts-receivable/payment"
    made: str = caller.call("POST", path, user=USER, json=body).json()["ia::result"]["key"]
    return made


def test_a_draft_is_submitted_and_what_is_posted_reversed(caller: Caller) -> None:
    key = _new(caller, state="draft")
    answer = _act(caller, f"{INVOICE}/submit", {"key": key, "notes": "go"})
    assert answer.status_code == 200
    assert answer.json() == {
        "ia::result": {
            "key": key,
            "id": key,
            "href": f"/objects/{INVOICE}/{key}",
            "state": "posted",
        },
        "ia::meta": {"totalCount": 1, "totalSuccess": 1, "totalError": 0},
    }
    assert _get(caller, key)["state"] == "posted"
    assert _act(caller, f"{INVOICE}/reverse", {"key": key, **DAY}).status_code == 200
    after = _get(caller, key)
    assert (after["state"], after["totalTxnAmountDue"]) == ("reversed", "0.00")
    assert [
        one["operation"] for one in caller.call("GET", "/_sandbox/books").json()["changes"]
    ] == [
        "create",
        "update",
        "update",
    ]


def test_an_action_that_the_state_does_not_allow_is_rejected(caller: Caller) -> None:
    key = _new(caller)
    response = _act(caller, f"{INVOICE}/submit", {"key": key})
    assert response.status_code == 422
    assert "A document that is posted cannot be posted" in messages(response)
    assert _act(caller, f"{INVOICE}/dance", {"key": key}).status_code == 404
    assert _act(caller, f"{INVOICE}/submit", {"key": "999999"}).status_code == 404
    for body in ({}, [], [5], {"key": True}, {"key": key, "why": "x"}):
        assert _act(caller, f"{INVOICE}/submit", body).status_code in (207, 400)


def test_a_reversal_needs_its_date(caller: Caller) -> None:
    key = _new(caller)
    for body in ({"key": key}, {"key": key, "reversedDate": "soon"}):
        assert "/reversedDate is missing" in messages(_act(caller, f"{INVOICE}/reverse", body))
    early = _act(caller, f"{INVOICE}/reverse", {"key": key, "reversedDate": "2026-07-01"})
    assert "period is closed" in messages(early)
    assert _get(caller, key)["state"] == "posted"


def test_a_draft_in_a_closed_period_is_not_submitted(caller: Caller) -> None:
    key = _new(caller, state="draft", invoiceDate="2026-07-01")
    assert "period is closed" in messages(_act(caller, f"{INVOICE}/submit", {"key": key}))
    assert _get(caller, key)["state"] == "draft"


def test_what_is_paid_is_not_reversed(caller: Caller) -> None:
    key = _new(caller)
    _pay(caller, key)
    response = _act(caller, f"{INVOICE}/reverse", {"key": key, **DAY})
    assert "cannot be reversed" in messages(response)


def test_a_reversed_payment_is_due_again(caller: Caller) -> None:
    key = _new(caller)
    payment = _pay(caller, key)
    assert _get(caller, key)["state"] == "paid"
    answer = _act(caller, "accounts-receivable/payment/reverse", {"key": payment, **DAY})
    assert answer.json()["ia::result"]["state"] == "reversed"
    after = _get(caller, key)
    assert (after["state"], after["totalTxnAmountDue"]) == ("posted", "50.00")
    path = f"/objects/accounts-receivable/payment/{payment}"
    assert caller.call("DELETE", path, user=USER).status_code == 204
    assert _get(caller, key)["totalTxnAmountDue"] == "50.00"


def test_a_list_is_answered_by_position(caller: Caller) -> None:
    good, bad = _new(caller, state="draft"), _new(caller)
    answer = _act(caller, f"{INVOICE}/submit", [{"key": bad}, {"key": good}])
    assert answer.status_code == 207
    first, second = answer.json()["ia::result"]
    assert (first["ia::status"], second["ia::status"]) == (422, 200)
    assert (second["key"], second["state"]) == (good, "posted")
    assert answer.json()["ia::meta"] == {"totalCount": 2, "totalSuccess": 1, "totalError": 1}


def test_a_workflow_with_a_key_is_done_once(caller: Caller) -> None:
    key = _new(caller, state="draft")
    path = f"/workflows/{INVOICE}/submit"

    def submit(body: Any) -> Any:
        headers = {"Idempotency-Key": "w"}
        return caller.call("POST", path, user=USER, json=body, headers=headers)

    first, again = submit({"key": key}), submit({"key": key})
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.content == first.content
    assert again.headers["x-ia-idempotency-cached-date"]
    assert submit({"key": _new(caller, state="draft")}).status_code == 409


def test_an_atomic_list_of_workflows_changes_all_or_none(caller: Caller) -> None:
    draft, posted = _new(caller, state="draft"), _new(caller)
    path, body = f"/workflows/{INVOICE}/submit", [{"key": draft}, {"key": posted}]
    headers = {"X-IA-API-Param-Transaction": "true"}
    answer = caller.call("POST", path, user=USER, json=body, headers=headers)
    assert answer.status_code == 422
    codes = [one["ia::error"]["code"] for one in answer.json()["ia::result"]]
    assert codes == ["unprocessed", "operationFailed"]
    got = caller.call("GET", f"/objects/{INVOICE}/{draft}", user=USER).json()
    assert got["ia::result"]["state"] == "draft"
    mixed = caller.call("POST", path, user=USER, json=body)
    assert mixed.status_code == 207
    assert [one["ia::status"] for one in mixed.json()["ia::result"]] == [200, 422]
    assert mixed.json()["ia::result"][0]["state"] == "posted"
