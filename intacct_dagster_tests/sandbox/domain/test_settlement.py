"""Payments: what they take from what is due, and what gives it back."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intacct_dagster_tests.sandbox.caller import (
    CUSTOMER,
    INVOICE,
    Caller,
    invoice,
    invoice_line,
    messages,
)
from intacct_sandbox.seed.generator import generate

USER = "usa@demo|E110"
BILL = "accounts-payable/bill"


def _call(caller: Caller, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    given = {} if body is None else {"json": body}
    response = caller.call(method, f"/objects/{path}", user=USER, **given)
    assert response.status_code == status, response.text
    return response.json()["ia::result"] if response.content else None


def _invoice(caller: Caller) -> str:
    body = invoice(lines=[invoice_line(amount="100.00")])
    key: str = _call(caller, "POST", INVOICE, body, 201)["key"]
    return key


def _receipt(key: str, amount: str, **changed: Any) -> dict[str, Any]:
    return {
        "customer": {"id": "C-10001"},
        "financialEntity": {"entityId": "CHK-E110"},
        "paymentSummary": {"receiptDate": "2026-10-12"},
        "txnCurrency": {"currency": "USD"},
        "paymentDetails": [{"arInvoice": {"key": key}, "txnCurrency": {"paymentAmount": amount}}],
        **changed,
    }


def _bill(caller: Caller) -> str:
    body = {
        "billNumber": "B-1",
        "vendor": {"id": "V-10001"},
        "createdDate": "2026-10-05",
        "dueDate": "2026-11-04",
        "currency": {"txnCurrency": "USD"},
        "lines": [invoice_line("60400", amount="80.00")],
        "state": "posted",
    }
    key: str = _call(caller, "POST", BILL, body, 201)["key"]
    return key


def _cheque(key: str, amount: str, **changed: Any) -> dict[str, Any]:
    return {
        "financialEntity": {"entityId": "CHK-E110"},
        "vendor": {"id": "V-10001"},
        "paymentMethod": "Printed Check",
        "paymentDate": "2026-10-12",
        "txnCurrency": {"currency": "USD"},
        "details": [{"bill": {"key": key}, "txnCurrency": {"paymentAmount": amount}}],
        **changed,
    }


def _due(caller: Caller, path: str) -> tuple[str, str, str]:
    record = _call(caller, "GET", path)
    paid = record["paymentInformation"]["totalTxnAmountPaid"]
    return record["totalTxnAmountDue"], paid, record["state"]


def test_receipts_reduce_what_an_invoice_and_its_customer_owe(caller: Caller) -> None:
    key = _invoice(caller)
    first = f"{CUSTOMER}/{_call(caller, 'GET', f'{INVOICE}/{key}')['customer']['key']}"
    owed = Decimal(_call(caller, "GET", first)["totalDue"])
    _call(caller, "POST", "accounts-receivable/payment", _receipt(key, "40.00"), 201)
    assert _due(caller, f"{INVOICE}/{key}") == ("60.00", "40.00", "partiallyPaid")
    assert Decimal(_call(caller, "GET", first)["totalDue"]) == owed - 40
    _call(caller, "POST", "accounts-receivable/payment", _receipt(key, "60.00"), 201)
    assert _due(caller, f"{INVOICE}/{key}") == ("0.00", "100.00", "paid")
    record = _call(caller, "GET", f"{INVOICE}/{key}")
    assert record["paymentInformation"]["fullyPaidDate"] == "2026-10-12"


def test_a_deleted_receipt_is_due_again(caller: Caller) -> None:
    key = _invoice(caller)
    made = _call(caller, "POST", "accounts-receivable/payment", _receipt(key, "100.00"), 201)
    response = caller.call("DELETE", f"/objects/{INVOICE}/{key}", user=USER)
    assert "payment-detail" in messages(response) or "payment" in messages(response)
    _call(caller, "DELETE", f"accounts-receivable/payment/{made['key']}", status=204)
    assert _due(caller, f"{INVOICE}/{key}") == ("100.00", "0.00", "posted")
    _call(caller, "DELETE", f"{INVOICE}/{key}", status=204)


def test_a_submitted_payment_pays_a_bill_and_a_draft_selects_it(caller: Caller) -> None:
    key = _bill(caller)
    path = f"{BILL}/{key}"
    draft = _call(caller, "POST", "accounts-payable/payment", _cheque(key, "30.00"), 201)["key"]
    assert _due(caller, path) == ("50.00", "0.00", "selected")
    made = _call(
        caller, "POST", "accounts-payable/payment", _cheque(key, "50.00", state="submitted"), 201
    )
    payment = _call(caller, "GET", f"accounts-payable/payment/{made['key']}")
    assert (payment["state"], payment["documentDate"]) == ("confirmed", "2026-10-12")
    assert payment["financialEntity"]["entityId"] == "CHK-E110"
    assert "paymentDate" not in payment
    _call(caller, "PATCH", f"accounts-payable/payment/{draft}", {"description": "later"})
    _call(caller, "DELETE", f"accounts-payable/payment/{draft}", status=204)
    assert _due(caller, path) == ("30.00", "50.00", "partiallyPaid")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"amount": "100.01"}, "100.00 of the invoice"),
        ({"amount": "0.00"}, "The payment amount 0.00 is not valid"),
        ({"amount": "-5.00"}, "is not valid"),
        ({"customer": {"id": "C-10002"}}, "belongs to another customer"),
        ({"customer": None}, "/customer is missing"),
        ({"financialEntity": None}, "/financialEntity is missing"),
        ({"financialEntity": {"entityId": "none"}}, "The bank account 'none' is invalid."),
        ({"paymentSummary": {"receiptDate": "2026-07-01"}}, "period is closed"),
    ],
)
def test_a_payment_that_cannot_be_changes_nothing(
    caller: Caller, changed: dict[str, Any], said: str
) -> None:
    key = _invoice(caller)
    amount = changed.pop("amount", "10.00")
    body = _receipt(key, amount, **changed)
    response = caller.call("POST", "/objects/accounts-receivable/payment", user=USER, json=body)
    assert response.status_code in (400, 422)
    assert said in messages(response)
    assert _due(caller, f"{INVOICE}/{key}") == ("100.00", "0.00", "posted")


def test_two_lines_of_a_payment_share_what_is_due(caller: Caller) -> None:
    key = _invoice(caller)
    body = _receipt(key, "60.00")
    body["paymentDetails"] *= 2
    response = caller.call("POST", "/objects/accounts-receivable/payment", user=USER, json=body)
    assert "40.00 of the invoice" in messages(response)


def test_an_invoice_in_another_currency_is_paid_to_the_last_cent(caller: Caller) -> None:
    lines = [invoice_line(amount="10.01")]
    body = invoice(currency={"txnCurrency": "EUR", "exchangeRate": {"rate": 1.113}}, lines=lines)
    key = _call(caller, "POST", INVOICE, body, 201)["key"]
    for amount in ("3.33", "3.33", "3.35"):
        _call(caller, "POST", "accounts-receivable/payment", _receipt(key, amount), 201)
    record = _call(caller, "GET", f"{INVOICE}/{key}")
    assert (record["totalBaseAmountDue"], record["state"]) == ("0.00", "paid")
    assert record["paymentInformation"]["totalBaseAmountPaid"] == record["totalBaseAmount"]


def test_every_generated_payment_explains_what_is_paid() -> None:
    tables = generate(1)
    for application, ref, object_ in (
        ("accounts-payable", "bill", "accounts-payable/bill"),
        ("accounts-receivable", "arInvoice", "accounts-receivable/invoice"),
    ):
        paid: dict[object, Decimal] = defaultdict(Decimal)
        for line in tables[f"{application}/payment-detail"].rows.values():
            paid[line[f"{ref}.key"]] += Decimal(str(line["txnCurrency.paymentAmount"]))
        assert paid
        for key, row in tables[object_].rows.items():
            said = Decimal(str(row["paymentInformation.totalTxnAmountPaid"]))
            assert paid.get(key, Decimal(0)) == said


def test_nothing_is_due_in_days_of_what_is_paid(caller: Caller) -> None:
    key = _invoice(caller)
    assert _call(caller, "GET", f"{INVOICE}/{key}")["dueInDays"] == -22
    _call(caller, "POST", "accounts-receivable/payment", _receipt(key, "100.00"), 201)
    assert _call(caller, "GET", f"{INVOICE}/{key}")["dueInDays"] is None


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["pay", "draft", "delete"]), st.integers(1, 6000)), max_size=12
    )
)
def test_what_is_due_paid_and_selected_always_adds_up(
    caller: Caller, steps: list[tuple[str, int]]
) -> None:
    key = _invoice(caller)
    standing: dict[str, tuple[str, int]] = {}
    for what, cents in steps:
        if what == "delete":
            if standing:
                payment = sorted(standing)[cents % len(standing)]
                del standing[payment]
                _call(caller, "DELETE", f"accounts-receivable/payment/{payment}", status=204)
            continue
        left = 10_000 - sum(amount for _, amount in standing.values())
        state = "complete" if what == "pay" else "draft"
        body = _receipt(key, f"{cents / 100:.2f}", state=state)
        path = "/objects/accounts-receivable/payment"
        answer = caller.call("POST", path, user=USER, json=body)
        assert (answer.status_code == 201) == (cents <= left)
        if answer.status_code == 201:
            standing[answer.json()["ia::result"]["key"]] = (what, cents)
    record = _call(caller, "GET", f"{INVOICE}/{key}")
    paid = sum(cents for what, cents in standing.values() if what == "pay")
    chosen = sum(cents for what, cents in standing.values() if what == "draft")
    settled = record["paymentInformation"]
    assert Decimal(record["totalTxnAmountDue"]) * 100 == 10_000 - paid - chosen
    assert Decimal(settled["totalTxnAmountPaid"]) * 100 == paid
    assert Decimal(settled["totalTxnAmountSelectedForPayment"] or "0") * 100 == chosen
    states = {"selected": chosen > 0, "posted": not standing, "paid": paid == 10_000}
    expected = next((state for state, holds in states.items() if holds), "partiallyPaid")
    assert record["state"] == expected
