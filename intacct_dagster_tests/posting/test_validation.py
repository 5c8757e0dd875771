"""The gates before posting, against the sandbox: each holds what it should, and only that."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from intacct_dagster.client import ClientCredentials, Intacct, IntacctClient, Query
from intacct_dagster.posting.validation import (
    Candidate,
    Held,
    PossibleDuplicate,
    ValidationRule,
    Validator,
)
from intacct_sandbox import CLIENT_ID, CLIENT_SECRET, COMPANY, LAST_DAY, serve

INVOICE = "accounts-receivable/invoice"
ENTRY = "general-ledger/journal-entry"
USERS = {"E110": "usa", "E130": "gbr"}


@pytest.fixture(scope="module")
def company() -> Iterator[Intacct]:
    grant = ClientCredentials(CLIENT_ID, CLIENT_SECRET)
    with serve() as sandbox, Intacct(COMPANY, sandbox.base_url, grant, USERS) as company:
        yield company


@pytest.fixture(scope="module")
def usa(company: Intacct) -> IntacctClient:
    return company.entity("E110")


@pytest.fixture(scope="module")
def customers(usa: IntacctClient) -> dict[str, str]:
    """A customer of each status."""
    rows = usa.query(
        Query(
            "accounts-receivable/customer", ("id", "status"), size=4000, order_by=({"id": "asc"},)
        )
    ).rows
    return {str(row["status"]): str(row["id"]) for row in rows}


def invoice(customer: str, **changes: Any) -> dict[str, Any]:
    line = {
        "txnAmount": "12.50",
        "glAccount": {"id": "40100"},
        "dimensions": {"location": {"id": "E110"}, "department": {"id": "310"}},
    }
    document = {
        "referenceNumber": "S1",
        "customer": {"id": customer},
        "invoiceDate": LAST_DAY.isoformat(),
        "dueDate": "2026-11-12",
        "lines": [line],
    }
    return {**document, **changes}


def entry(*lines: tuple[str, str]) -> dict[str, Any]:
    return {
        "glJournal": {"id": "GJ"},
        "postingDate": LAST_DAY.isoformat(),
        "description": "Accrual",
        "lines": [
            {
                "txnAmount": amount,
                "txnType": side,
                "glAccount": {"id": "40100"},
                "dimensions": {"location": {"id": "E110"}, "department": {"id": "310"}},
            }
            for side, amount in lines
        ],
    }


def held(client: IntacctClient, document: dict[str, Any], target: str = INVOICE) -> list[Held]:
    found, not_judged = judged(Validator(client, target), json.dumps(document).encode())
    assert not_judged == {}
    return found


def judged(
    gates: Validator, payload: bytes, duplicate: PossibleDuplicate | None = None
) -> tuple[list[Held], Mapping[ValidationRule, str]]:
    """Why a document is held, and which gates could not judge."""
    candidate = Candidate("S1", LAST_DAY, payload)
    gates.look([candidate])
    return gates.judge(candidate, duplicate), gates.not_judged


def test_a_good_document_passes_every_gate(usa: IntacctClient, customers: dict[str, str]) -> None:
    assert held(usa, invoice(customers["active"])) == []
    assert held(usa, entry(("debit", "10.00"), ("credit", "10.00")), ENTRY) == []


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"invoiceDate": None}, "invoiceDate", "invoiceDate is required and is empty"),
        ({"dueDate": "13.10.2026"}, "dueDate", "which is no date"),
        ({"dueDate": "2026-02-30"}, "dueDate", "which is no date"),
        ({"referenceNumber": 7}, "referenceNumber", "which is no string"),
        ({"state": "open"}, "state", "and may be"),
        ({"refrenceNumber": "S1"}, "refrenceNumber", "has no field refrenceNumber"),
        ({"totalTxnAmount": "5.00"}, "totalTxnAmount", "Intacct computes it"),
        ({"lines": []}, "lines[].txnAmount", "is required and is empty"),
        ({"lines": [{"txnAmount": "a"}]}, "lines[0].txnAmount", "which is no decimal"),
    ],
)
def test_a_payload_that_the_model_does_not_allow_is_held(
    usa: IntacctClient,
    customers: dict[str, str],
    changes: dict[str, Any],
    field: str,
    reason: str,
) -> None:
    found = held(usa, invoice(customers["active"], **changes))
    assert {each.rule for each in found} == {ValidationRule.PAYLOAD}
    assert any(each.field == field and reason in each.reason for each in found), found


def test_an_entry_that_does_not_balance_is_held_to_the_cent(usa: IntacctClient) -> None:
    (one,) = held(usa, entry(("debit", "0.10"), ("debit", "0.20"), ("credit", "0.31")), ENTRY)
    assert (one.rule, one.field) == (ValidationRule.BALANCED, "lines")
    assert "debits are 0.30 and credits 0.31 in E110" in one.reason
    assert held(usa, entry(("debit", "0.10"), ("debit", "0.20"), ("credit", "0.30")), ENTRY) == []


def test_a_date_in_a_closed_period_is_held_in_the_entity_that_closed_it(
    company: Intacct, usa: IntacctClient, customers: dict[str, str]
) -> None:
    document = invoice(customers["active"], invoiceDate="2026-09-30")
    assert held(usa, document) == []
    found = held(company.entity("E130"), document)
    closed = [each for each in found if each.rule is ValidationRule.PERIOD]
    assert [each.reason for each in closed] == ["the books of E130 are closed before 2026-10-01"]
    assert "Open the period of 2026-09-30" in closed[0].what_to_do


def test_master_data_that_is_not_there_or_not_active_is_named(
    usa: IntacctClient, customers: dict[str, str]
) -> None:
    (one,) = held(usa, invoice("NOBODY"))
    assert (one.rule, one.field) == (ValidationRule.REFERENCES, "customer.id")
    assert one.reason == "customer NOBODY does not exist for entity E110"
    (one,) = held(usa, invoice(customers["inactive"]))
    assert one.reason == f"customer {customers['inactive']} is inactive for entity E110"
    document = invoice(customers["active"])
    document["lines"][0]["glAccount"]["id"] = "99999"
    document["lines"][0]["dimensions"]["department"]["id"] = "999"
    reasons = {each.field: each.reason for each in held(usa, document)}
    assert reasons == {
        "lines[0].glAccount.id": "account 99999 does not exist for entity E110",
        "lines[0].dimensions.department.id": "department 999 does not exist for entity E110",
    }


def test_amounts_have_no_more_decimals_than_their_currency(
    usa: IntacctClient, customers: dict[str, str]
) -> None:
    document = invoice(customers["active"])
    document["lines"][0]["txnAmount"] = "12.505"
    (one,) = held(usa, document)
    assert (one.rule, one.reason) == (
        ValidationRule.PRECISION,
        "lines[0].txnAmount is 12.505, and USD has 2 decimals",
    )
    yen = invoice(customers["active"], currency={"txnCurrency": "JPY"})
    assert [each.rule for each in held(usa, yen)] == [ValidationRule.PRECISION]
    dinar = invoice(customers["active"], currency={"txnCurrency": "KWD"})
    dinar["lines"][0]["txnAmount"] = "12.505"
    assert held(usa, dinar) == []


def test_a_document_that_looks_entered_by_hand_is_held_until_a_person_says_otherwise(
    usa: IntacctClient, customers: dict[str, str]
) -> None:
    body = json.dumps(invoice(customers["active"])).encode()
    duplicate = PossibleDuplicate(
        "S1", "4711", "a record of the same party, amount and date is there"
    )
    (one,), _ = judged(Validator(usa, INVOICE), body, duplicate)
    assert (one.rule, one.source_id) == (ValidationRule.NEW, "S1")
    assert "key 4711" in one.reason
    assert "posting allow" in one.what_to_do


def test_a_gate_that_cannot_look_says_so_and_holds_nothing(customers: dict[str, str]) -> None:
    class Blind:
        """A session that may not see entities and customers."""

        def __init__(self, client: IntacctClient) -> None:
            self.entity_id, self.model = client.entity_id, client.model
            self._client = client

        def query(self, query: Query) -> Any:
            if query.object in ("company-config/entity", "accounts-receivable/customer"):
                return self._client.query(Query("no/such-object", ("id",)))
            return self._client.query(query)

    grant = ClientCredentials(CLIENT_ID, CLIENT_SECRET)
    with serve() as sandbox, Intacct(COMPANY, sandbox.base_url, grant, USERS) as company:
        blind: Any = Blind(company.entity("E110"))
        body = json.dumps(invoice("NOBODY")).encode()
        found, not_judged = judged(Validator(blind, INVOICE), body)
    assert found == []
    assert set(not_judged) == {ValidationRule.PERIOD, ValidationRule.REFERENCES}
    assert "does not show entity E110" in not_judged[ValidationRule.PERIOD]


def test_many_documents_cost_a_question_for_200_ids_and_not_one_each(
    company: Intacct, customers: dict[str, str]
) -> None:
    client = company.entity("E110")
    body = json.dumps(invoice(customers["active"])).encode()
    gates = Validator(client, INVOICE)
    candidates = [Candidate(f"S{number}", LAST_DAY, body) for number in range(1000)]
    gates.look(candidates)
    assert [each for one in candidates for each in gates.judge(one)] == []
    assert client.usage.requests < 10
