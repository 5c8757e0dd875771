"""Several requests in one, and rows as files."""

from __future__ import annotations

import csv
import io
from typing import Any

import openpyxl
import pytest

from intacct_dagster_tests.sandbox.caller import (
    CUSTOMER,
    INVOICE,
    Caller,
    invoice,
    messages,
)

USER = "usa@demo"


def _composite(caller: Caller, steps: Any) -> Any:
    return caller.call("POST", "/services/core/composite", user=USER, json=steps)


def _query(object_: str, **rest: Any) -> dict[str, Any]:
    return {"object": object_, "fields": ["key"], "size": 2, **rest}


# --- composite --------------------------------------------------------------------------------


def test_a_later_request_takes_what_an_earlier_one_answered(caller: Caller) -> None:
    by_key = {"object": INVOICE, "fields": ["key", "customer.id"]}
    answer = _composite(
        caller,
        [
            {
                "method": "POST",
                "path": f"/objects/{INVOICE}",
                "body": [invoice(), invoice(description="second")],
                "resultReference": "made",
            },
            {
                "method": "POST",
                "path": "/services/core/query",
                "body": {**by_key, "filters": [{"$eq": {"key": "@{made.2.key}"}}]},
                "resultReference": "found",
            },
            {"method": "GET", "path": f"/objects/{INVOICE}/@{{found.1.key}}"},
        ],
    )
    assert answer.status_code == 200
    assert answer.json()["ia::meta"] == {"totalCount": 3, "totalSuccess": 3, "totalError": 0}
    made, found, got = answer.json()["ia::result"]
    assert [one["ia::status"] for one in (made, found, got)] == [201, 200, 200]
    assert found["ia::result"][0]["key"] == made["ia::result"][1]["key"]
    assert got["ia::result"]["description"] == "second"


def test_a_failure_stops_the_rest_and_takes_nothing_back(caller: Caller) -> None:
    post = {"method": "POST", "path": f"/objects/{INVOICE}"}
    answer = _composite(
        caller,
        [{**post, "body": invoice()}, {**post, "body": invoice("nobody")}, {**post, "body": {}}],
    )
    assert answer.status_code == 207
    good, bad, skipped = answer.json()["ia::result"]
    assert (good["ia::status"], bad["ia::status"], skipped["ia::status"]) == (201, 422, 422)
    assert skipped["ia::result"]["ia::error"]["code"] == "unprocessed"
    assert answer.json()["ia::meta"] == {"totalCount": 3, "totalSuccess": 1, "totalError": 2}
    assert len(caller.control("GET", "books")["changes"]) == 1


_GET = {"method": "GET", "path": "/services/core/model"}


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([_GET], "2 to 10 requests"),
        ([_GET] * 11, "2 to 10 requests"),
        ([_GET, {"method": "PUT", "path": "/objects/a/b"}], "/1/method"),
        ([_GET, {"method": "GET", "path": "/oauth2/token"}], "/1/path"),
        ([_GET, {"method": "POST", "path": "/services/core/composite"}], "/1/path"),
        ([_GET, {**_GET, "verb": 1}], "/1/verb is not a valid field"),
        ([_GET, 5], "/1 is not a request"),
        ([{**_GET, "resultReference": "a"}] * 2, "/1/resultReference"),
    ],
)
def test_a_composite_that_makes_no_sense_is_rejected(caller: Caller, steps: Any, text: str) -> None:
    response = _composite(caller, steps)
    assert response.status_code == 400
    assert text in messages(response)


def test_a_reference_to_nothing_fails_its_request(caller: Caller) -> None:
    answer = _composite(
        caller, [_GET, {"method": "GET", "path": f"/objects/{INVOICE}/@{{a.1.key}}"}]
    )
    assert answer.status_code == 207
    error = answer.json()["ia::result"][1]["ia::result"]["ia::error"]
    assert "there is no @{a.1.key}" in error["message"]


# --- several objects --------------------------------------------------------------------------


def test_several_objects_are_queried_at_once(caller: Caller) -> None:
    asked = [_query(INVOICE), _query(CUSTOMER), _query("nothing/there")]
    answer = caller.call("POST", "/services/core/query", user=USER, json=asked)
    assert answer.status_code == 207
    assert answer.json()["ia::meta"] == {"totalCount": 3, "totalSuccess": 2, "totalError": 1}
    invoices, customers, nothing = answer.json()["ia::result"]
    assert (len(invoices["ia::result"]), len(customers["ia::result"])) == (2, 2)
    assert (invoices["ia::status"], nothing["ia::status"]) == (200, 400)


# --- export -----------------------------------------------------------------------------------


def _export(caller: Caller, kind: str, **query: Any) -> Any:
    body = {"fileType": kind, "query": {**_query(CUSTOMER), **query}}
    return caller.call("POST", "/services/core/export", user=USER, json=body)


def test_an_export_holds_every_row_in_csv_and_in_xlsx(caller: Caller) -> None:
    fields, order = ["id", "name", "creditLimit", "isOnHold"], [{"id": "asc"}]
    rows = caller.query(USER, CUSTOMER, fields, orderBy=order, size=4000)["ia::result"]
    wanted = [
        fields,
        *(
            [
                ""
                if value is None
                else str(value).lower()
                if value in (True, False)
                else str(value)
                for value in row.values()
            ]
            for row in rows
        ),
    ]
    as_csv = _export(caller, "csv", fields=fields, orderBy=order)
    assert list(csv.reader(io.StringIO(as_csv.text, newline=""))) == wanted
    as_xlsx = _export(caller, "xlsx", fields=fields, orderBy=order)
    book = openpyxl.load_workbook(io.BytesIO(as_xlsx.content))
    cells = [
        ["" if value is None else value for value in row]
        for row in book["Export"].iter_rows(values_only=True)
    ]
    assert cells == wanted
    assert _export(caller, "xlsx", fields=fields, orderBy=order).content == as_xlsx.content


def test_an_export_of_more_rows_than_a_sheet_holds_is_rejected(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intacct_sandbox.api.export.responses.LARGEST_SHEET", 10)
    response = _export(caller, "xlsx", fields=["id"])
    assert response.status_code == 400
    assert "10 rows" in messages(response)
    assert _export(caller, "csv", fields=["id"]).status_code == 200


def test_other_files_are_rejected(caller: Caller) -> None:
    assert _export(caller, "pdf").status_code == 501
    assert _export(caller, "doc").status_code == 400
    assert _export(caller, "csv", object="nothing/there").status_code == 400


def test_a_composite_with_a_key_is_done_once(caller: Caller) -> None:
    steps = [{"method": "POST", "path": f"/objects/{INVOICE}", "body": invoice()}] * 2
    headers = {"Idempotency-Key": "c"}

    def ask(body: Any) -> Any:
        path = "/services/core/composite"
        return caller.call("POST", path, user=USER, json=body, headers=headers)

    first, again = ask(steps), ask(steps)
    assert first.status_code == 200
    assert again.content == first.content
    assert again.headers["x-ia-idempotency-cached-date"]
    assert caller.control("GET", "books")["count"] == 2
    assert ask(steps[:1] * 3).status_code == 409
