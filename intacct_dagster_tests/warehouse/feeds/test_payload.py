"""Payloads: exact amounts, the mapping's order, nothing empty, always the same bytes."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intacct_dagster.warehouse.feeds import (
    FeedSpec,
    payload_hash,
)
from intacct_dagster.warehouse.feeds.payloads import amount_text, payload
from intacct_dagster_tests.warehouse.warehouse_rows import SALES

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


def a_feed(payload: dict[str, object], **changes: object) -> FeedSpec:
    """A feed with this payload; `id` is its source id."""
    given: dict[str, Any] = {"types": {"hours": "number", "open": "boolean", "count": "integer"}}
    return FeedSpec(
        name="things",
        files=["*.csv"],
        source_id="id",
        entity="entity",
        date="day",
        match_on="id",
        payload={"id": "id", **payload},
        **given | changes,
    )


def test_constants_numbers_flags_and_lists_have_their_own_json_types() -> None:
    spec = a_feed(
        {
            "currency.txnCurrency": {"value": "USD"},
            "isOnHold": {"value": False},
            "level": {"value": 3},
            "since": {"value": date(2026, 10, 1)},
            "places": {"value": ["E110", "E120"]},
            "quantity": "hours",
            "open": "open",
            "count": "count",
            "tags": {"sql": "string_split(id, ' ')"},
        }
    )
    line: dict[str, object] = {
        "id": "a b",
        "hours": Decimal("7.5000000000"),
        "open": True,
        "count": 12,
    }
    assert payload(spec, [{**line, "payload.tags": ["a", "b"]}]) == (
        b'{"id":"a b","currency":{"txnCurrency":"USD"},"isOnHold":false,"level":3,'
        b'"since":"2026-10-01","places":["E110","E120"],"quantity":7.5,"open":true,"count":12,'
        b'"tags":["a","b"]}'
    )


@pytest.mark.parametrize(("hours", "text"), [("8", b"8"), ("-0.25", b"-0.25"), ("1E+3", b"1000")])
def test_numbers_are_exact(hours: str, text: bytes) -> None:
    line = {"id": "a", "hours": Decimal(hours), "open": None, "count": None}
    assert payload(a_feed({"n": "hours"}), [line]) == b'{"id":"a","n":' + text + b"}"


def test_a_list_may_have_fixed_items_and_several_lists_may_follow_the_lines() -> None:
    spec = a_feed(
        {
            "lines": [
                {"txnType": {"value": "debit"}, "dimensions.location.id": "entity"},
                {"each": {"txnType": {"value": "credit"}, "memo": "memo"}, "where": "count > 1"},
            ],
            "details": {"bill.key": "bill"},
            "contacts": ["memo", {"value": "fixed"}],
        },
        line_id="count",
    )
    assert spec.header_columns == ("id", "entity", "day", "memo")
    where = "payload.lines[1].where"
    lines: list[dict[str, object]] = [
        {"id": "a", "entity": "E110", "memo": "x", "bill": "7", "count": 1, where: False},
        {"id": "a", "entity": "E110", "memo": "y", "bill": "8", "count": 2, where: True},
        {"id": "a", "entity": "E110", "memo": "z", "bill": None, "count": 3, where: None},
    ]
    assert payload(spec, lines) == (
        b'{"id":"a","lines":[{"txnType":"debit","dimensions":{"location":{"id":"E110"}}},'
        b'{"txnType":"credit","memo":"y"}],'
        b'"details":[{"bill":{"key":"7"}},{"bill":{"key":"8"}},{}],"contacts":["x","fixed"]}'
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
