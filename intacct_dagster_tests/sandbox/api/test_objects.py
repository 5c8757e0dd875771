from __future__ import annotations

from typing import Any

import pytest

from intacct_dagster_tests.sandbox.caller import (
    CUSTOMER,
    INVOICE,
    Caller,
    error_of,
    invoice,
    invoice_line,
    messages,
)

USER = "usa@demo"


def _post(caller: Caller, object_: str, body: Any, user: str = USER) -> Any:
    return caller.call("POST", f"/objects/{object_}", user=user, json=body)


def _get(caller: Caller, object_: str, key: str, user: str = USER) -> dict[str, Any]:
    response = caller.call("GET", f"/objects/{object_}/{key}", user=user)
    assert response.status_code == 200, response.text
    record: dict[str, Any] = response.json()["ia::result"]
    return record


def _side(side: str, amount: str, place: str = "E110", account: str = "60310") -> dict[str, Any]:
    return {**invoice_line(account, place, amount), "txnType": side}


def test_a_new_invoice_is_answered_by_reference_and_completed(caller: Caller) -> None:
    lines = [
        invoice_line(amount="12.50"),
        invoice_line(amount="7"),
        invoice_line(amount="-2.25"),
    ]
    response = _post(caller, INVOICE, invoice(referenceNumber="BR-1", lines=lines))
    assert response.status_code == 201
    answer = response.json()
    key = answer["ia::result"]["key"]
    assert answer == {
        "ia::result": {"key": key, "id": key, "href": f"/objects/{INVOICE}/{key}"},
        "ia::meta": {"totalCount": 1, "totalSuccess": 1, "totalError": 0},
    }
    record = _get(caller, INVOICE, key)
    assert record["totalTxnAmount"] == record["totalBaseAmountDue"] == "17.25"
    assert (record["state"], record["recordType"]) == ("posted", "ri")
    assert record["currency"]["txnCurrency"] == "USD"
    assert record["invoiceNumber"] == f"INV-{int(key):06d}"
    assert record["customer"]["id"] == "C-10001"
    assert record["audit"]["createdDateTime"] == "2026-10-13T18:00:00Z"
    assert [line["lineNumber"] for line in record["lines"]] == [1, 2, 3]
    assert [line["txnAmount"] for line in record["lines"]] == ["12.50", "7.00", "-2.25"]
    assert record["lines"][0]["invoice"]["key"] == key
    assert "createAPBill" not in record


def test_new_lines_can_be_queried_with_their_invoice(caller: Caller) -> None:
    key = _post(caller, INVOICE, invoice()).json()["ia::result"]["key"]
    answer = caller.query(
        USER,
        "accounts-receivable/invoice-line",
        ["invoice.id", "txnAmount", "glAccount.id", "entity.id"],
        filters=[{"$eq": {"invoice.id": key}}],
    )
    assert answer["ia::result"] == [
        {"invoice.id": key, "txnAmount": "12.50", "glAccount.id": "40300", "entity.id": "E110"}
    ]


def test_the_list_shows_references_only_and_a_hundred_at_most(caller: Caller) -> None:
    answer = caller.call("GET", f"/objects/{INVOICE}", user=USER).json()
    assert len(answer["ia::result"]) == 100
    assert set(answer["ia::result"][0]) == {"key", "id", "href"}
    assert answer["ia::meta"]["totalCount"] > 2000


def test_several_keys_are_read_at_once_and_a_missing_one_is_reported(caller: Caller) -> None:
    rows = caller.query(USER, INVOICE, ["key"], size=2)["ia::result"]
    first, second = (row["key"] for row in rows)
    both = caller.call("GET", f"/objects/{INVOICE}/{first},{second}", user=USER)
    assert both.status_code == 200
    assert [one["key"] for one in both.json()["ia::result"]] == [first, second]
    mixed = caller.call("GET", f"/objects/{INVOICE}/{first},0", user=USER)
    assert mixed.status_code == 207
    assert [one["ia::status"] for one in mixed.json()["ia::result"]] == [200, 404]
    assert mixed.json()["ia::meta"] == {"totalCount": 2, "totalSuccess": 1, "totalError": 1}


def test_a_patch_changes_what_it_names_and_the_audit_and_nothing_else(caller: Caller) -> None:
    key = _post(caller, INVOICE, invoice(description="before")).json()["ia::result"]["key"]
    before = _get(caller, INVOICE, key)
    body = {"description": "after", "dueDate": "2026-12-01"}
    response = caller.call("PATCH", f"/objects/{INVOICE}/{key}", user="top@demo", json=body)
    assert response.status_code == 200
    after = _get(caller, INVOICE, key)
    assert (after["description"], after["dueDate"]) == ("after", "2026-12-01")
    assert after["audit"]["modifiedByUser"]["id"] == "top"
    assert after["audit"]["createdByUser"]["id"] == "usa"
    for changed in ("description", "dueDate", "dueInDays", "audit"):
        before.pop(changed)
        after.pop(changed)
    for line in before["lines"] + after["lines"]:
        line.pop("audit")
    assert after == before


def test_a_deleted_invoice_is_gone_with_its_lines(caller: Caller) -> None:
    key = _post(caller, INVOICE, invoice()).json()["ia::result"]["key"]
    response = caller.call("DELETE", f"/objects/{INVOICE}/{key}", user=USER)
    assert (response.status_code, response.content) == (204, b"")
    gone = caller.call("GET", f"/objects/{INVOICE}/{key}", user=USER)
    assert gone.status_code == 404
    assert error_of(gone)["code"] == "invalidKey"
    lines = caller.query(
        USER, "accounts-receivable/invoice-line", ["key"], filters=[{"$eq": {"invoice.key": key}}]
    )
    assert lines["ia::result"] == []


def test_a_customer_that_is_in_use_cannot_be_deleted_and_an_unused_one_can(caller: Caller) -> None:
    used = caller.call("DELETE", f"/objects/{CUSTOMER}/1", user="top@demo")
    assert used.status_code == 422
    assert "refers to it" in messages(used)
    key = _post(caller, CUSTOMER, {"name": "New"}, "top@demo").json()["ia::result"]["key"]
    gone = caller.call("DELETE", f"/objects/{CUSTOMER}/{key}", user="top@demo")
    assert gone.status_code == 204


def test_a_customer_is_numbered_when_it_brings_no_id(caller: Caller) -> None:
    answer = _post(caller, CUSTOMER, {"name": "New"}).json()["ia::result"]
    record = _get(caller, CUSTOMER, answer["key"])
    assert record["id"] == answer["id"] == f"C-{int(answer['key']):06d}"
    assert (record["status"], record["deliveryOptions"]) == ("active", "print")
    assert record["totalDue"] == "0.00"


def test_a_bill_an_entry_and_a_timesheet_are_taken_and_completed(caller: Caller) -> None:
    bill = {
        "vendor": {"id": "V-10002"},
        "createdDate": "2026-10-01",
        "dueDate": "2026-10-31",
        "billNumber": "77",
        "currency": {"txnCurrency": "USD"},
        "lines": [invoice_line("60300", amount="3.10")],
    }
    key = _post(caller, "accounts-payable/bill", bill).json()["ia::result"]["key"]
    record = _get(caller, "accounts-payable/bill", key)
    assert (record["totalTxnAmount"], record["postingDate"]) == ("3.10", "2026-10-01")
    assert record["state"] == "draft"
    assert record["dueInDays"] == "-18"
    entry = {
        "glJournal": {"id": "GJ"},
        "postingDate": "2026-10-02",
        "description": "Accrual",
        "lines": [
            _side("debit", "9.99", account="60310"),
            _side("credit", "9.99", account="20100"),
        ],
    }
    key = _post(caller, "general-ledger/journal-entry", entry).json()["ia::result"]["key"]
    record = _get(caller, "general-ledger/journal-entry", key)
    assert [line["entryDate"] for line in record["lines"]] == ["2026-10-02"] * 2
    employee = caller.query(USER, "company-config/employee", ["id"], size=1)["ia::result"][0]
    sheet = {
        "beginDate": "2026-10-12",
        "employee": {"id": employee["id"]},
        "lines": [{"entryDate": "2026-10-12", "quantity": 7.5}],
    }
    taken = _post(caller, "time/timesheet", sheet)
    assert taken.status_code == 409  # the employee has handed in that week already
    sheet["beginDate"] = "2026-10-19"
    key = _post(caller, "time/timesheet", sheet).json()["ia::result"]["key"]
    record = _get(caller, "time/timesheet", key)
    assert record["endDate"] == "2026-10-25"
    assert (record["state"], record["lines"][0]["quantity"]) == ("draft", 7.5)


# --- the form of a body -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "error_id", "target"),
    [
        ({"newDate": "2026-10-01"}, "REST-1043", "/newDate"),
        ({"lines": [{**invoice_line(), "isTax": True}]}, "REST-1043", "/lines/0/isTax"),
        ({"totalTxnAmount": "5.00"}, "REST-1050", "/totalTxnAmount"),
        ({"lines": [{**invoice_line(), "isSubtotal": "tax"}]}, "REST-1050", "/lines/0/isSubtotal"),
        ({"customer": {"id": "C-10001", "name": "X"}}, "REST-1050", "/customer/name"),
        ({"customer": {"id": ""}}, "SBX-1110", "/customer/id"),
        ({"customer": ["C-10001"]}, "SBX-1110", "/customer"),
        ({"customer": {"id": None}}, "SBX-1111", "/customer"),
        ({"invoiceDate": "2026-13-01"}, "SBX-1110", "/invoiceDate"),
        ({"invoiceDate": "2026-W41-2"}, "SBX-1110", "/invoiceDate"),
        ({"invoiceDate": None}, "SBX-1111", "/invoiceDate"),
        ({"description": 5}, "SBX-1110", "/description"),
        ({"invoiceType": "paper"}, "SBX-1110", "/invoiceType"),
        ({"lines": []}, "SBX-1111", "/lines"),
        ({"lines": {}}, "SBX-1110", "/lines"),
        ({"lines": [5]}, "SBX-1110", "/lines/0"),
        ({"lines": [invoice_line(amount="1.005")]}, "SBX-1110", "/lines/0/txnAmount"),
        ({"lines": [invoice_line(amount="1_000")]}, "SBX-1110", "/lines/0/txnAmount"),
        ({"lines": [invoice_line(amount="NaN")]}, "SBX-1110", "/lines/0/txnAmount"),
        ({"lines": [invoice_line(), {"txnAmount": "1"}]}, "SBX-1111", "/lines/1/glAccount"),
        ({"state": "posted"}, "SBX-1113", "/state"),
    ],
)
def test_a_body_of_the_wrong_form_is_rejected_with_the_place(
    caller: Caller, changed: dict[str, Any], error_id: str, target: str
) -> None:
    response = _post(caller, INVOICE, invoice(**changed))
    assert response.status_code == 400
    error = error_of(response)
    assert (error["errorId"], error["message"]) == ("REST-1064", "Payload contains errors")
    assert (error_id, target) in [(one["errorId"], one["target"]) for one in error["details"]]


def test_all_that_is_wrong_with_a_form_is_reported_at_once(caller: Caller) -> None:
    details = error_of(_post(caller, INVOICE, {"foo": 1, "invoiceDate": "x"}))["details"]
    assert {one["target"] for one in details} == {
        *("/foo", "/invoiceDate", "/dueDate", "/customer", "/lines"),
    }


def test_a_patch_cannot_touch_what_is_fixed(caller: Caller) -> None:
    key = _post(caller, INVOICE, invoice()).json()["ia::result"]["key"]
    path = f"/objects/{INVOICE}/{key}"
    for body, text in (
        ({"state": "paid"}, "The state cannot be changed"),
        ({"id": "5"}, "/id is a read-only field"),
        ({"customer": None}, "/customer cannot be empty"),
        ({"invoiceDate": None}, "/invoiceDate cannot be empty"),
    ):
        response = caller.call("PATCH", path, user=USER, json=body)
        assert response.status_code == 400
        assert text in messages(response)


# --- business rules ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "text", "target"),
    [
        ({"customer": {"id": "C-99"}}, "The customer 'C-99' is invalid.", "/customer"),
        ({"customer": {"id": "C-10025"}}, "The customer 'C-10025' is invalid.", "/customer"),
        ({"customer": {"key": "0"}}, "The customer '0' is invalid.", "/customer"),
        (
            {"customer": {"id": "C-10001", "key": "2"}},
            "The customer 'C-10001' is invalid.",
            "/customer",
        ),
        (
            {"lines": [invoice_line(account="49999")]},
            "The account '49999' is invalid.",
            "/lines/0/glAccount",
        ),
        (
            {"lines": [invoice_line(), invoice_line(account="40100")]},
            "This transaction is missing the Department dimension for the Account 40100",
            "/lines/1/dimensions/department",
        ),
        (
            {"lines": [invoice_line(place="E120")]},
            "The location 'E120' is invalid.",
            "/lines/0/dimensions/location",
        ),
        (
            {"lines": [invoice_line(place="120-TOR")]},
            "The location '120-TOR' is invalid.",
            "/lines/0/dimensions/location",
        ),
        ({"invoiceDate": "2026-07-31"}, "period is closed", "/invoiceDate"),
    ],
)
def test_an_invoice_that_breaks_a_rule_is_rejected_in_intaccts_words(
    caller: Caller, changed: dict[str, Any], text: str, target: str
) -> None:
    response = _post(caller, INVOICE, invoice(**changed))
    assert response.status_code == 422
    error = error_of(response)
    assert (error["errorId"], error["code"]) == ("REST-7001", "operationFailed")
    assert text in messages(response)
    assert [one["target"] for one in error["details"]] == [target]


def test_a_location_inside_the_entity_is_as_good_as_the_entity(caller: Caller) -> None:
    assert _post(caller, INVOICE, invoice(lines=[invoice_line(place="110-NYC")])).status_code == 201


def test_the_united_kingdom_has_closed_september(caller: Caller) -> None:
    def post(day: str) -> Any:
        customer = caller.query(
            "gbr@demo", CUSTOMER, ["id"], filters=[{"$eq": {"status": "active"}}], size=1
        )["ia::result"][0]["id"]
        body = invoice(customer, invoiceDate=day, lines=[invoice_line(place="E130")])
        return _post(caller, INVOICE, body, "gbr@demo")

    assert post("2026-10-01").status_code == 201
    closed = post("2026-09-30")
    assert closed.status_code == 422
    assert "period is closed: the books of E130 are open from 2026-10-01" in messages(closed)


def test_a_document_of_a_closed_period_cannot_be_changed_moved_or_deleted(caller: Caller) -> None:
    old = caller.query(
        "gbr@demo", INVOICE, ["key"], filters=[{"$lt": {"invoiceDate": "2026-10-01"}}], size=1
    )["ia::result"][0]["key"]
    path = f"/objects/{INVOICE}/{old}"
    moved = caller.call("PATCH", path, user="top@demo", json={"invoiceDate": "2026-10-02"})
    deleted = caller.call("DELETE", path, user="gbr@demo")
    for response in (moved, deleted):
        assert response.status_code == 422
        assert "period is closed" in messages(response)


def test_a_document_number_is_taken_once_by_a_customer(caller: Caller) -> None:
    body = invoice(invoiceNumber="A-1")
    assert _post(caller, INVOICE, body).status_code == 201
    again = _post(caller, INVOICE, body)
    assert again.status_code == 409
    assert "Another record with the value already exists" in messages(again)
    assert _post(caller, INVOICE, invoice("C-10002", invoiceNumber="A-1")).status_code == 201


def test_an_id_is_taken_once(caller: Caller) -> None:
    again = _post(caller, CUSTOMER, {"id": "C-10001", "name": "Twin"}, "top@demo")
    assert again.status_code == 409
    assert "Another record with the value already exists: C-10001" in messages(again)


def test_an_entry_that_does_not_balance_is_rejected_as_recorded(caller: Caller) -> None:
    entry = {
        "glJournal": {"id": "GJ"},
        "postingDate": "2026-10-02",
        "description": "Off by a cent",
        "lines": [
            _side("debit", "10.00"),
            _side("credit", "9.99"),
        ],
    }
    response = _post(caller, "general-ledger/journal-entry", entry)
    assert response.status_code == 422
    error = error_of(response)
    assert error["message"] == (
        "POST request on objects/general-ledger/journal-entry object was unsuccessful"
    )
    assert [(one["errorId"], one["code"], one["message"]) for one in error["details"]] == [
        ("GL-0951", "unableToCreateRecordError", "Could not create GLBatch record."),
        ("GL-1009", "invalidConfiguration", "Transactions do not balance for Place ,"),
    ]


def test_an_entry_across_entities_must_balance_in_each(caller: Caller) -> None:
    def entry(*places: str) -> dict[str, Any]:
        return {
            "glJournal": {"id": "IEJ"},
            "postingDate": "2026-10-02",
            "description": "Across",
            "lines": [
                _side(side, "5.00", place)
                for side, place in zip(("debit", "credit"), places, strict=True)
            ],
        }

    across = _post(caller, "general-ledger/journal-entry", entry("E110", "E120"), "top@demo")
    assert "do not balance" in messages(across)
    within = _post(caller, "general-ledger/journal-entry", entry("E120", "120-TOR"), "top@demo")
    assert within.status_code == 201


def test_lines_cannot_be_written_without_their_document(caller: Caller) -> None:
    response = _post(caller, "accounts-receivable/invoice-line", invoice_line())
    assert response.status_code == 400
    assert "The required field /invoice is missing" in messages(response)


def test_the_control_api_tells_what_was_written_and_what_it_would_cost(caller: Caller) -> None:
    key = _post(caller, INVOICE, invoice(referenceNumber="BR-7")).json()["ia::result"]["key"]
    _post(caller, INVOICE, invoice("nobody"))
    caller.call("PATCH", f"/objects/{INVOICE}/{key}", user="top@demo", json={"description": "x"})
    caller.query(USER, INVOICE, ["key"], size=10)
    caller.call("DELETE", f"/objects/{INVOICE}/{key}", user=USER)
    got = caller.call("GET", "/_sandbox/books").json()
    assert [(one["operation"], one["user"], one["document"]) for one in got["changes"]] == [
        ("create", "usa", "BR-7"),
        ("update", "top", "BR-7"),
        ("delete", "usa", "BR-7"),
    ]
    assert {one["key"] for one in got["changes"]} == {key}
    assert got["changes"][0] == {
        "object": INVOICE,
        "key": key,
        "id": key,
        "entity": "E110",
        "operation": "create",
        "at": "2026-10-13T18:00:00Z",
        "user": "usa",
        "document": "BR-7",
    }
    counted = caller.call("GET", "/_sandbox/requests").json()
    assert counted["transactions"] == 4
    assert counted["rows"] == 10
    assert counted["requests"]["objects POST"] == 2
