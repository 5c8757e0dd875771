"""Payloads: exact amounts, the mapping's order, nothing empty, always the same bytes."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intacct_dagster.warehouse import amount_text, payload, payload_hash
from intacct_dagster_tests.warehouse_rows import SALES

LINE = {
    "invoice_ref": 'BR-"1"',
    "entity_id": "E110",
    "customer_id": "C1",
    "invoice_date": date(2026, 10, 1),
    "due_date": None,
    "amount": Decimal("30.00"),
    "line_no": 1,
    "line_amount": Decimal("10.0000000000"),
    "account": "40100",
    "description": "",
    "department_id": None,
}


def test_a_payload_nests_its_fields_and_leaves_out_what_is_empty() -> None:
    second = {**LINE, "line_no": 2, "line_amount": Decimal("19.995"), "department_id": "D1"}
    assert payload(SALES, [LINE, second]) == (
        b'{"referenceNumber":"BR-\\"1\\"","customer":{"id":"C1"},"invoiceDate":"2026-10-01",'
        b'"lines":[{"txnAmount":"10.00","glAccount":{"id":"40100"},'
        b'"dimensions":{"location":{"id":"E110"}}},'
        b'{"txnAmount":"19.995","glAccount":{"id":"40100"},'
        b'"dimensions":{"location":{"id":"E110"},"department":{"id":"D1"}}}]}'
    )


def test_a_hash_tells_any_change() -> None:
    changed = {**LINE, "line_amount": Decimal("10.01")}
    hashes = {payload_hash(payload(SALES, [line])) for line in (LINE, changed)}
    assert len(hashes) == 2
    assert {len(value) for value in hashes} == {64}


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00"),
        ("-5", "-5.00"),
        ("12.5000000000", "12.50"),
        ("1E+3", "1000.00"),
        ("1E-7", "0.0000001"),
    ],
)
def test_amounts_are_written_as_intacct_writes_them(amount: str, text: str) -> None:
    assert amount_text(Decimal(amount)) == text


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, min_value=-(10**27), max_value=10**27, places=10
    )
)
def test_the_text_of_an_amount_is_the_amount(amount: Decimal) -> None:
    text = amount_text(amount)
    assert Decimal(text) == amount
    assert len(text.partition(".")[2]) >= 2
    assert "E" not in text
