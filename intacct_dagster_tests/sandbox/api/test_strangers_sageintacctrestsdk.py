"""A client that others wrote for the real API, in production at Fyle, works on the sandbox with
nothing changed but its base URL."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import intacctsdk.apis.api_base
import intacctsdk.intacctsdk
import pytest
from intacctsdk import IntacctRESTSDK
from intacctsdk.apis import ApiBase
from intacctsdk.exceptions import BadRequestError, InvalidTokenError

from intacct_sandbox import CLIENT_ID, CLIENT_SECRET, serve
from intacct_sandbox.objects.catalogue import load_catalogue

# What the SDK has that is no object of the query service.
_SERVICES = {"sessions", "dimensions", "multi_entity_preferences", "api_base"}

_LINE = {
    "txnAmount": "12.50",
    "glAccount": {"id": "60400"},
    "dimensions": {"location": {"id": "E110"}, "department": {"id": "310"}},
}
_BILL = {
    "billNumber": "S-1",
    "vendor": {"id": "V-10001"},
    "createdDate": "2026-10-05",
    "dueDate": "2026-11-04",
    "currency": {"txnCurrency": "USD"},
    "lines": [_LINE],
}
# By attribute of the SDK: what a user creates with it, and what is then changed.
_WRITES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bills": (
        {
            **_BILL,
            "currency": {"baseCurrency": "USD", "txnCurrency": "USD"},
            "attachment": {"id": None},
            "isTaxInclusive": False,
            "taxSolution": {"id": "Australia - GST"},
            "lines": [
                {
                    **_LINE,
                    "totalTxnAmount": "13.75",
                    "memo": "Books",
                    "allocation": {"id": None},
                    "project": {"isBillable": None},
                    "taxEntries": [{"purchasingTaxDetail": {"id": "AU Purchase GST 10"}}],
                }
            ],
        },
        {"description": "changed"},
    ),
    "tasks": ({"name": "Dig", "project": {"id": "PRJ-0001"}}, {"name": "Dig deeper"}),
    "items": ({"id": "S-1", "name": "Shovel"}, {"name": "Spade"}),
    "users": (
        {"id": "S-1", "accountEmail": "s@demo.example", "contact": {"id": "Integration, Canada"}},
        {"userName": "changed"},
    ),
    "roles": ({"id": "S-1"}, {"description": "changed"}),
    "classes": ({"id": "S-1", "name": "One"}, {"name": "Two"}),
    "vendors": ({"id": "S-1", "name": "Stranger"}, {"creditLimit": 1000}),
    "accounts": ({"id": "69999", "name": "Stranger"}, {"name": "Less strange"}),
    "contacts": ({"id": "S-1", "printAs": "Stranger"}, {"email1": "s@demo.example"}),
    "journals": ({"id": "FYLE_JE", "name": "Stranger"}, {"name": "Less strange"}),
    "projects": ({"name": "Strange", "category": "Contract"}, {"description": "changed"}),
    "customers": ({"name": "Stranger"}, {"notes": "changed"}),
    "employees": (
        {"id": "S-1", "primaryContact": {"id": "Integration, Canada"}},
        {"jobTitle": "changed"},
    ),
    "locations": ({"id": "S-1", "name": "Annex"}, {"name": "Annex 2"}),
    "cost_types": ({"id": "S-1", "name": "Odd"}, {"name": "Odder"}),
    "tax_details": ({"id": "S-1"}, {"description": "changed"}),
    "ap_payments": (
        {
            "financialEntity": {"id": "CHK-E110"},
            "vendor": {"id": "V-10001"},
            "paymentMethod": "Cash",
            "paymentDate": "2026-10-12",
            "baseCurrency": {"currency": "USD"},
            "txnCurrency": {"currency": "USD"},
            "details": [{"bill": {"key": ""}, "txnCurrency": {"paymentAmount": "2.50"}}],
        },
        {"description": "changed"},
    ),
    "departments": ({"id": "S-1", "name": "Odd jobs"}, {"name": "Odder jobs"}),
    "attachments": (
        {
            "name": "Scan",
            "folder": {"id": "Bills"},
            "files": [{"name": "a.txt", "data": base64.b64encode(b"one").decode()}],
        },
        {"files": [{"name": "b.txt", "data": base64.b64encode(b"two").decode()}]},
    ),
    "allocations": ({"id": "S-1"}, {"description": "changed"}),
    "expense_types": ({"id": "S-1"}, {"description": "changed"}),
    "role_user_maps": (
        {"user": {"id": "can"}, "role": {"id": "Auditor"}},
        {"role": {"id": "Accountant"}},
    ),
    "expense_reports": (
        {
            "state": "submitted",
            "createdDate": "2026-10-05",
            "employee": {"key": ""},
            "attachment": {"id": None},
            "basePayment": {"baseCurrency": "USD"},
            "reimbursement": {"reimbursementCurrency": "USD"},
            "lines": [
                {
                    "expenseType": {"id": None},
                    "glAccount": {"id": "60500"},
                    "paymentType": {"id": "Cash"},
                    "isBillable": False,
                    "txnAmount": "31.4",
                    "entryDate": "2026-10-05",
                    "paidTo": "Airline",
                    "dimensions": {
                        "location": {"id": "E110"},
                        "project": {"id": None},
                        "nsp::grant": {"id": "G-001"},
                    },
                }
            ],
        },
        {"description": "changed"},
    ),
    "journal_entries": (
        {
            "glJournal": {"id": "GJ"},
            "postingDate": "2026-10-05",
            "description": "Strange",
            "attachment": {"id": None},
            "baseLocation": {"id": "E110"},
            "tax": {"taxImplication": "inbound"},
            "lines": [
                {
                    **_LINE,
                    "txnType": side,
                    "isBillable": None,
                    "allocation": {"id": None},
                    "taxEntries": [{"txnTaxAmount": None, "taxDetail": {"id": "Exempt"}}],
                }
                for side in ("debit", "credit")
            ],
        },
        {"description": "Less strange"},
    ),
    "savings_accounts": ({"id": "S-1"}, {"bankAccountDetails": {"bankName": "changed"}}),
    "checking_accounts": ({"id": "S-2"}, {"bankAccountDetails": {"bankName": "changed"}}),
    "attachment_folders": ({"id": "FyleAttachments"}, {"description": "changed"}),
    "charge_card_accounts": ({"id": "S-3"}, {"description": "changed"}),
    "expense_payment_types": ({"id": "S-1"}, {"description": "changed"}),
    "charge_card_transactions": (
        {
            "creditCardAccount": {"id": "CARD-E110"},
            "txnDate": "2026-10-05",
            "payee": "Shop",
            "attachment": {"id": None},
            "currency": {"baseCurrency": "USD", "txnCurrency": "USD"},
            "isInclusiveTax": False,
            "lines": [
                _LINE
                | {
                    "totalTxnAmount": "12.50",
                    "taxEntries": [{"purchasingTaxDetail": {"id": "Exempt"}}],
                    "isBillable": None,
                }
            ],
        },
        {"description": "changed"},
    ),
    "role_permission_assignments": (
        {"role": {"id": "Auditor"}, "permission": {"key": ""}, "accessRights": ["list"]},
        {"accessRights": ["list", "readonly"]},
    ),
    "reporting_periods": (
        {"id": "Week 41", "startDate": "2026-10-05", "endDate": "2026-10-11"},
        {"columnHeader1": "changed"},
    ),
}
# What the sandbox, or Sage, lets nobody write.
_READ_ONLY = {"permissions", "location_entities"}


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with serve() as running, pytest.MonkeyPatch.context() as patch:
        for module in (intacctsdk.intacctsdk, intacctsdk.apis.api_base):
            patch.setattr(module, "BASE_URL", running.base_url)
        yield running.base_url


def _log_in(entity: str | None = "E110", **other: Any) -> IntacctRESTSDK:
    given = {"username": "top@demo", **other}
    return IntacctRESTSDK(
        client_id=CLIENT_ID, client_secret=CLIENT_SECRET, entity_id=entity, **given
    )


@pytest.fixture(scope="module")
def sdk(base_url: str) -> IntacctRESTSDK:
    return _log_in()


def _classes() -> list[str]:
    # Without a log-in: only the names are wanted, when tests are collected.
    names = set(_WRITES) | _READ_ONLY
    return sorted(names)


def _name(api: ApiBase) -> str:
    return str(api._object_path).removeprefix("/objects/")


def test_every_object_class_of_the_sdk_is_tried_and_in_the_catalogue(sdk: IntacctRESTSDK) -> None:
    found = {name: api for name, api in vars(sdk).items() if isinstance(api, ApiBase)}
    assert set(found) - _SERVICES == set(_classes())
    catalogue = load_catalogue()
    assert [name for name in _classes() if _name(found[name]) not in catalogue] == []


@pytest.mark.parametrize("name", _classes())
def test_a_class_reads(sdk: IntacctRESTSDK, name: str) -> None:
    api = getattr(sdk, name)
    pages = list(api.get_all_generator(fields=["key", "id", "audit.modifiedDateTime"]))
    rows = [row for page in pages for row in page]
    assert rows
    assert api.count() == len(rows)
    assert api.count(filters=[{"$eq": {"key": rows[0]["key"]}}]) == 1
    record = api.get_by_key(rows[0]["key"])["ia::result"]
    assert (record["key"], record["id"]) == (rows[0]["key"], rows[0]["id"])
    assert record["audit"]["modifiedDateTime"] == rows[0]["audit.modifiedDateTime"]
    model = api.get_model()["ia::result"]
    assert model["apiObject"] == f"objects/{_name(api)}"
    assert {"key", "id"} <= model["fields"].keys()


def _fill(sdk: IntacctRESTSDK, name: str, body: dict[str, Any]) -> dict[str, Any]:
    """The body with the keys that are only known now."""
    if name == "ap_payments":
        number = f"S-paid-{sdk.bills.count()}"
        bill = sdk.bills.post({**_BILL, "billNumber": number})["ia::result"]["key"]
        return {**body, "details": [{**body["details"][0], "bill": {"key": bill}}]}
    if name == "expense_reports":
        first = next(sdk.employees.get_all_generator(["key"], [{"$eq": {"entity.id": "E110"}}]))
        return {**body, "employee": {"key": first[0]["key"]}}
    if name == "role_permission_assignments":
        role = sdk.roles.post({"id": "S-bare"})["ia::result"]["key"]
        permission = next(sdk.permissions.get_all_generator(["key"]))[0]["key"]
        return {**body, "role": {"key": role}, "permission": {"key": permission}}
    return body


@pytest.mark.parametrize("name", sorted(_WRITES))
def test_a_class_creates_changes_and_deletes(sdk: IntacctRESTSDK, name: str) -> None:
    api = getattr(sdk, name)
    body, change = _WRITES[name]
    before = api.count()
    made = api.post(_fill(sdk, name, body))["ia::result"]
    assert made["href"] == f"/objects/{_name(api)}/{made['key']}"
    shown = api.get_by_key(made["key"])["ia::result"]
    assert shown["entity"]["id"] == "E110"
    assert api.count() == before + 1
    assert api.update(made["key"], change)["ia::result"]["key"] == made["key"]
    after = api.get_by_key(made["key"])["ia::result"]
    assert after != shown
    for path, value in change.items():
        if path == "files":
            assert [file["name"] for file in after["files"]] == ["a.txt", "b.txt"]
        elif isinstance(value, dict):
            assert value.items() <= after[path].items()
        else:
            assert after[path] == value
    assert api.delete(made["key"]) is None
    assert api.count() == before
    with pytest.raises(BadRequestError, match="404"):
        api.get_by_key(made["key"])


def test_what_cannot_be_written_is_rejected_in_words(sdk: IntacctRESTSDK) -> None:
    for name in _READ_ONLY:
        with pytest.raises(BadRequestError, match="405"):
            getattr(sdk, name).post({"id": "S-1"})


def test_it_logs_in_with_a_refresh_token_as_well(sdk: IntacctRESTSDK) -> None:
    again = _log_in(
        username=None, refresh_token=sdk.refresh_token, use_client_credentials_auth=False
    )
    assert again.access_token_expires_in == 43200
    assert again.refresh_token != sdk.refresh_token
    assert again.departments.count() == sdk.departments.count()
    spare = _log_in(username=None, access_token=again.access_token)
    assert spare.departments.count() == sdk.departments.count()


def test_a_dead_token_is_its_invalid_token_error(base_url: str) -> None:
    with pytest.raises((InvalidTokenError, BadRequestError)):
        _log_in(username=None, access_token="dead").departments.count()


def test_its_services_answer(sdk: IntacctRESTSDK) -> None:
    assert sdk.sessions.get_session_id()["sessionId"]
    listed = {one["dimensionEndpoint"]: one for one in sdk.dimensions.list()}
    assert listed["/objects/platform-apps/nsp::grant"]["isUserDefinedDimension"] is True
    assert listed["/objects/company-config/location"]["isUserDefinedDimension"] is False
    assert sdk.multi_entity_preferences.get()["enableMultiEntity"] is True


def test_a_user_defined_dimension_is_queried_by_its_name(sdk: IntacctRESTSDK) -> None:
    pages = sdk.dimensions.get_all_generator(["key", "id", "name"], dimension_name="grant")
    assert {row["id"] for page in pages for row in page} >= {"G-001", "G-005"}
    assert sdk.dimensions.count(dimension_name="grant") == 5


def test_a_file_is_attached_to_a_bill(sdk: IntacctRESTSDK) -> None:
    file = {"name": "a.pdf", "data": base64.b64encode(b"%PDF").decode()}
    sdk.attachments.post({"id": "S-77", "name": "S-77", "folder": {"id": "Bills"}, "files": [file]})
    bill = sdk.bills.post({**_BILL, "billNumber": "S-attached"})["ia::result"]["key"]
    sdk.bills.update_attachment(bill, "S-77")
    assert sdk.bills.get_by_key(bill)["ia::result"]["attachment"]["id"] == "S-77"


def test_a_bill_with_tax_comes_to_what_its_lines_say(sdk: IntacctRESTSDK) -> None:
    body = {**_WRITES["bills"][0], "billNumber": "S-tax"}
    key = sdk.bills.post(body)["ia::result"]["key"]
    bill = sdk.bills.get_by_key(key)["ia::result"]
    assert bill["totalTxnAmount"] == bill["totalTxnAmountDue"] == "13.75"
    (line,) = bill["lines"]
    assert (line["txnAmount"], line["totalTxnAmount"]) == ("12.50", "13.75")
    assert line["taxEntries"] == [{"purchasingTaxDetail": {"id": "AU Purchase GST 10"}}]


def test_permissions_are_given_to_a_role_once_each(sdk: IntacctRESTSDK) -> None:
    role = sdk.roles.post({"id": "S-rights"})["ia::result"]["key"]
    permission = next(sdk.permissions.get_all_generator(["key"]))[0]["key"]
    for rights in (["list"], ["list", "add"]):
        given = [{"permission_key": permission, "access_rights": rights}]
        sdk.roles.update_permission_assignments(role, given)
    (assignment,) = sdk.roles.get_by_key(role)["ia::result"]["rolePermissionAssignments"]
    assert assignment["accessRights"] == ["list", "add"]


def test_payments_are_posted_as_a_list_and_reduce_what_is_due(sdk: IntacctRESTSDK) -> None:
    bill = sdk.bills.post({**_BILL, "billNumber": "S-batch", "state": "posted"})["ia::result"][
        "key"
    ]
    one = _fill(sdk, "ap_payments", _WRITES["ap_payments"][0])
    answer = sdk.ap_payments.post(
        [{**one, "details": [{**one["details"][0], "bill": {"key": bill}}]}]
    )
    assert answer["ia::meta"]["totalSuccess"] == 1
    due = sdk.bills.get_by_key(bill)["ia::result"]["totalTxnAmountDue"]
    assert due == "10.00"
