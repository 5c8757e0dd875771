"""The small services, and what the wider catalogue brings."""

from __future__ import annotations

from typing import Any

import pytest

from intacct_dagster_tests.sandbox.caller import (
    CUSTOMER,
    INVOICE,
    Caller,
    invoice,
    invoice_line,
    messages,
)
from intacct_sandbox.objects.catalogue import load_catalogue

USER = "usa@demo|E110"


def test_a_session_id_for_the_xml_api_is_given(caller: Caller) -> None:
    answer = caller.call("GET", "/services/core/session/id", user=USER).json()["ia::result"]
    assert answer.keys() == {"sessionId", "expiresIn"}
    assert answer["expiresIn"] == 21600


def test_dimensions_are_listed_with_the_companys_own(caller: Caller) -> None:
    path = "/services/company-config/dimensions/list"
    answer = caller.call("GET", path, user=USER).json()
    listed = {one["dimensionName"]: one for one in answer["ia::result"]}
    assert answer["ia::meta"]["totalCount"] == len(listed)
    assert listed["PROJECT"] == {
        "dimensionName": "PROJECT",
        "dimensionLabel": "Project",
        "termName": "Project",
        "isUserDefinedDimension": False,
        "isEnabledInGL": True,
        "dimensionEndpoint": "/objects/projects/project",
    }
    assert listed["nsp::grant"]["isUserDefinedDimension"] is True


def _allowed(caller: Caller, user: str, object_: str, keys: list[str]) -> Any:
    body = {"object": object_, "keys": keys}
    path = "/services/core/allowed-operations/list"
    return caller.call("POST", path, user=user, json=body)


def test_allowed_operations_are_those_that_work(caller: Caller) -> None:
    made = caller.call("POST", f"/objects/{INVOICE}", user=USER, json=invoice()).json()
    key = made["ia::result"]["key"]
    everything = ["canView", "canEdit", "canDelete"]
    answer = _allowed(caller, USER, INVOICE, [key, "999999"]).json()["ia::result"]
    assert answer == [{"key": key, "operations": everything}, {"key": "999999", "operations": []}]
    shared = caller.query("top@demo", CUSTOMER, ["key"], size=1)["ia::result"][0]["key"]
    (seen,) = _allowed(caller, USER, CUSTOMER, [shared]).json()["ia::result"]
    assert seen["operations"] == ["canView"]
    (seen,) = _allowed(caller, "top@demo", CUSTOMER, [shared]).json()["ia::result"]
    assert seen["operations"] == everything


def test_allowed_operations_takes_a_thousand_keys(caller: Caller) -> None:
    assert _allowed(caller, USER, INVOICE, ["1"] * 1000).status_code == 200
    for keys in (["1"] * 1001, [], [1]):
        assert _allowed(caller, USER, INVOICE, keys).status_code == 400  # type: ignore[arg-type]
    assert "does not exist" in messages(_allowed(caller, USER, "a/b", ["1"]))


def test_a_document_type_is_an_object_of_its_own(caller: Caller) -> None:
    fields = ["key", "id", "documentType", "vendor.id", "total"]
    base = caller.query(USER, "purchasing/document", fields, size=4000)["ia::result"]
    orders = caller.query(USER, "purchasing/document::Purchase Order", fields, size=4000)
    keys = {row["key"] for row in base if row["documentType"] == "Purchase Order"}
    assert {row["key"] for row in orders["ia::result"]} == keys
    assert 0 < len(keys) < len(base)
    path = f"/objects/purchasing/document::Purchase%20Order/{min(keys)}"
    record = caller.call("GET", path, user=USER).json()["ia::result"]
    assert record["id"].startswith("Purchase Order-PO")
    assert record["lines"][0]["dimensions"]["item"]["id"].startswith("ITM-")
    assert caller.call("DELETE", path, user=USER).status_code == 405


def test_custom_fields_and_dimensions_are_written_and_queried(caller: Caller) -> None:
    body = {"name": "New", "nsp::SEGMENT": "Small", "nsp::r10007": {"id": "GOLD"}}
    made = caller.call("POST", f"/objects/{CUSTOMER}", user=USER, json=body).json()["ia::result"]
    found = caller.query(
        USER,
        CUSTOMER,
        ["nsp::SEGMENT", "nsp::r10007.key"],
        filters=[{"$eq": {"nsp::SEGMENT": "Small"}}, {"$eq": {"key": made["key"]}}],
    )
    assert found["ia::result"] == [{"nsp::SEGMENT": "Small", "nsp::r10007.key": "1"}]
    line = invoice_line()
    line["dimensions"]["nsp::grant"] = {"id": "G-003"}
    caller.call("POST", f"/objects/{INVOICE}", user=USER, json=invoice(lines=[line]))
    rows = caller.query(
        USER,
        f"{INVOICE}-line",
        ["dimensions.nsp::grant.id", "dimensions.nsp::grant.name"],
        filters=[{"$eq": {"dimensions.nsp::grant.id": "G-003"}}],
        orderBy=[{"key": "desc"}],
    )["ia::result"]
    assert rows[0] == {
        "dimensions.nsp::grant.id": "G-003",
        "dimensions.nsp::grant.name": "Harbour Foundation grant",
    }


def test_three_objects_carry_values_in_the_user_defined_dimension(caller: Caller) -> None:
    for object_ in (
        "accounts-receivable/invoice-line",
        "accounts-payable/bill-line",
        "general-ledger/journal-entry-line",
    ):
        filters = [{"$ne": {"dimensions.nsp::grant.key": None}}]
        answer = caller.query(USER, object_, ["key"], filters=filters, size=1)
        assert answer["ia::meta"]["totalCount"] > 10


def test_an_expense_needs_a_type_or_an_account(caller: Caller) -> None:
    line = {"txnAmount": "3.00", "dimensions": {"location": {"id": "E110"}}}
    body = {"createdDate": "2026-10-05", "lines": [line]}
    path = "/objects/expenses/employee-expense"
    response = caller.call("POST", path, user=USER, json=body)
    assert "needs an expense type or an account" in messages(response)
    line["expenseType"] = {"id": "Airfare"}
    made = caller.call("POST", path, user=USER, json=body)
    assert made.status_code == 201
    key = made.json()["ia::result"]["key"]
    record = caller.call("GET", f"{path}/{key}", user=USER).json()["ia::result"]
    assert record["lines"][0]["glAccount"]["id"] == "60500"


def test_an_account_that_closes_needs_one_to_close_to(caller: Caller) -> None:
    body: dict[str, Any] = {"id": "69998", "name": "New", "closingType": "closingAccount"}
    path = "/objects/general-ledger/account"
    response = caller.call("POST", path, user=USER, json=body)
    assert "/closeToGLAccount is missing" in messages(response)
    body["closeToGLAccount"] = {"id": "35000"}
    assert caller.call("POST", path, user=USER, json=body).status_code == 201


def test_files_are_base64_and_their_size_is_counted(caller: Caller) -> None:
    file = {"name": "a.txt", "data": "aGVsbG8="}
    body = {"name": "Scan", "folder": {"id": "Bills"}, "files": [file]}
    path = "/objects/company-config/attachment"
    made = caller.call("POST", path, user=USER, json=body).json()["ia::result"]
    assert made["id"].startswith("ATT-")
    record = caller.call("GET", f"{path}/{made['key']}", user=USER).json()["ia::result"]
    assert [(one["name"], one["size"], one["data"]) for one in record["files"]] == [
        ("a.txt", 5, "aGVsbG8=")
    ]
    file["data"] = "no base64"
    assert "must be base64" in messages(caller.call("POST", path, user=USER, json=body))


def test_the_catalogue_is_broad_and_every_object_has_records(caller: Caller) -> None:
    catalogue = load_catalogue()
    assert len(catalogue) >= 80
    assert [name for name in catalogue if not caller.books.tables[name].rows] == []
    for name, type_ in catalogue.items():
        if type_.singleton:
            continue
        fields = [path for path, one in type_.fields.items() if not one.write_only]
        fields += [path for path in type_.members if not path.endswith("href")]
        answer = caller.query(
            "top@demo", name, fields, size=3, filterParameters={"includePrivate": True}
        )
        assert answer["ia::result"], name
        key = caller.query(
            "top@demo", name, ["key"], size=1, filterParameters={"includePrivate": True}
        )["ia::result"][0]["key"]
        response = caller.call("GET", f"/objects/{name}/{key}", user="top@demo")
        assert response.status_code == 200, name


def test_a_contact_is_written_with_the_vendor_that_has_it(caller: Caller) -> None:
    address = {"addressLine1": "1 High Street", "city": "Oakland", "isoCountryCode": "US"}
    contact: dict[str, Any] = {"email1": "pay@new.example", "mailingAddress": address}
    body = {"id": "NEW", "name": "New Ltd", "contacts": {"default": contact}}
    path = "/objects/accounts-payable/vendor"
    made = caller.call("POST", path, user=USER, json=body).json()["ia::result"]["key"]

    def shown() -> dict[str, Any]:
        answer = caller.call("GET", f"{path}/{made}", user=USER).json()["ia::result"]
        default: dict[str, Any] = answer["contacts"]["default"]
        return default

    first = shown()
    assert (first["printAs"], first["mailingAddress"]["city"]) == ("New Ltd", "Oakland")
    change = {"contacts": {"default": {"mailingAddress": {"city": "Fresno"}}}}
    assert caller.call("PATCH", f"{path}/{made}", user=USER, json=change).status_code == 200
    second = shown()
    assert (second["key"], second["mailingAddress"]["city"]) == (first["key"], "Fresno")
    assert second["email1"] == "pay@new.example"
    row = caller.query(
        USER,
        "accounts-payable/vendor",
        ["contacts.default.email1", "contacts.default.mailingAddress.city"],
        filters=[{"$eq": {"key": made}}],
    )["ia::result"]
    assert list(row[0].values()) == ["pay@new.example", "Fresno"]
    wrong = {"contacts": {"default": {"colour": "red"}}}
    response = caller.call("PATCH", f"{path}/{made}", user=USER, json=wrong)
    assert "/colour is not a valid field" in messages(response)
    taken = {"id": "N2", "name": "N2", "contacts": {"default": {"id": first["id"]}}}
    assert caller.call("POST", path, user=USER, json=taken).status_code == 201


# --- views ------------------------------------------------------------------------------------


def _view(caller: Caller, **asked: Any) -> Any:
    return caller.call("POST", "/services/core/view", user=USER, json=asked)


def test_a_view_is_kept_and_answers_as_its_query_does(caller: Caller) -> None:
    query = {
        "object": INVOICE,
        "fields": ["key", "state"],
        "filters": [{"$eq": {"state": "paid"}}, {"$eq": {"state": "posted"}}],
        "filterExpression": "1 or 2",
        "orderBy": [{"key": "desc"}],
    }
    body = {"name": "Paid or posted", "query": query, "metadata": {"columns": [{"id": "state"}]}}
    made = caller.call("POST", "/objects/core/user-view", user=USER, json=body)
    assert made.status_code == 201, made.text
    key = made.json()["ia::result"]["key"]
    got = caller.call("GET", f"/objects/core/user-view/{key}", user=USER).json()["ia::result"]
    assert (got["object"], got["query"]["filters"]) == (INVOICE, query["filters"])
    page = _view(caller, key=key, viewType="user", start=4, size=3).json()
    asked = {**query, "start": 4, "size": 3}
    assert page == caller.call("POST", "/services/core/query", user=USER, json=asked).json()
    assert page["ia::meta"]["previous"] == 1
    case = {"caseSensitiveComparison": False}
    assert _view(caller, key=key, filterParameters=case).status_code == 200
    broken = {"name": "x", "query": {"object": INVOICE, "fields": ["nothing"]}}
    made = caller.call("POST", "/objects/core/user-view", user=USER, json=broken).json()
    answer = _view(caller, key=made["ia::result"]["key"])
    assert "does not exist" in messages(answer)


def test_every_object_has_two_views_of_the_system(caller: Caller) -> None:
    path = "/objects/core/system-view"
    for object_ in caller.books.catalogue:
        listed = caller.call("GET", path, user=USER, params={"name": object_}).json()
        for view in listed["ia::result"]:
            answer = _view(caller, key=view["key"], viewType="system", size=1)
            assert answer.status_code == 200, (view, answer.text)
    one = caller.call("GET", f"{path}?name={INVOICE}::systemfw2", user=USER).json()
    assert one["ia::result"]["query"]["orderBy"] == [{"audit.modifiedDateTime": "desc"}]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"key": "0"}, 404),
        ({"key": "nothing/there::systemfw1", "viewType": "system"}, 400),
        ({"key": f"{INVOICE}::other", "viewType": "system"}, 404),
        ({"key": "1", "viewType": "other"}, 400),
        ({"key": "1", "colour": "red"}, 400),
        ({"key": f"{INVOICE}::systemfw1", "viewType": "system", "size": 0}, 400),
        ({"key": f"{INVOICE}::systemfw1", "viewType": "system", "filterParameters": 5}, 400),
    ],
)
def test_a_view_that_is_not_there_is_rejected(
    caller: Caller, asked: dict[str, Any], status: int
) -> None:
    assert _view(caller, **asked).status_code == status
    for name in ("nothing/there", f"{INVOICE}::other", ""):
        path = f"/objects/core/system-view?name={name}"
        assert caller.call("GET", path, user=USER).status_code in (400, 404)
