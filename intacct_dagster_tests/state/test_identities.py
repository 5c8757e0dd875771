"""Documents that an older version knew by their number are known by their party as well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date

import pytest
import sqlalchemy as sa

from intacct_dagster.state import open_state
from intacct_dagster.state.errors import LedgerError
from intacct_dagster.state.ledger import Accepted, Item, ItemState, Ledger, Rejected

BILL = "accounts-payable/bill"
DAY = date(2026, 10, 1)


@pytest.fixture
def store(state: str) -> Iterator[sa.Engine]:
    engine = open_state(state)
    yield engine
    engine.dispose()


def bill(number: str, vendor: str | None = "V1") -> Item:
    payload = {"billNumber": number} | ({} if vendor is None else {"vendor": {"id": vendor}})
    return Item(number, DAY, "1.00", json.dumps(payload).encode())


def identity(source_id: str, payload: bytes) -> str | None:
    vendor = json.loads(payload).get("vendor", {}).get("id")
    return None if vendor is None else f"{source_id} · {vendor}"


def adopt(ledger: Ledger) -> int:
    return ledger.adopt_identities(BILL, "E110", "bills", identity, unless=" · ")


def sent(ledger: Ledger, *items: Item) -> str:
    (chunk,) = ledger.plan(BILL, "E110", "bills", items, run_id="run")
    assert ledger.start_sending(chunk.chunk_id)
    return chunk.chunk_id


def test_every_state_keeps_its_request_and_nothing_is_planned_again(store: sa.Engine) -> None:
    ledger = Ledger(store, "acme")
    answered = sent(ledger, bill("A"), bill("B"))
    ledger.record(answered, [Accepted(0, "30"), Rejected(1, "closed", "open it")], http_status=207)
    ledger.uncertain(sent(ledger, bill("C")), "cut")
    changed = Item("A", DAY, "2.00", b'{"key":"30"}', "30", bill("A").payload)
    (change,) = ledger.amendments.plan(BILL, "E110", "bills", [changed], run_id="run")
    ledger.plan(BILL, "E110", "bills", [bill("D")], run_id="run")
    requests = ledger.requests(BILL, "E110")

    assert adopt(ledger) == 4
    assert adopt(ledger) == 0

    states = {each.source_id: each.state for each in ledger.entries(BILL, "E110")}
    assert states == {
        "A · V1": ItemState.POSTED,
        "B · V1": ItemState.REJECTED,
        "C · V1": ItemState.UNCERTAIN,
        "D · V1": ItemState.PLANNED,
    }
    assert ledger.requests(BILL, "E110") == requests
    assert ledger.amendments.source_ids(change.chunk_id) == ["A · V1"]
    again = [
        Item(f"{each.source_id} · V1", DAY, each.amount, each.payload)
        for each in (bill("A"), bill("B"), bill("C"))
    ]
    assert ledger.plan(BILL, "E110", "bills", again, run_id="run-2") == []


def test_a_document_that_does_not_tell_its_party_holds_the_feed(store: sa.Engine) -> None:
    ledger = Ledger(store, "acme")
    ledger.uncertain(sent(ledger, bill("A"), bill("B", None)), "cut")
    with pytest.raises(LedgerError, match="identity: number"):
        adopt(ledger)
    assert {each.source_id for each in ledger.entries(BILL, "E110")} == {"A", "B"}
