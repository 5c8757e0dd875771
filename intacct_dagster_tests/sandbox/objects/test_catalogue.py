from __future__ import annotations

import pytest

from intacct_dagster_tests.sandbox.caller import calling
from intacct_sandbox import Behaviours
from intacct_sandbox.api.model import object_model as model_service
from intacct_sandbox.objects.catalogue import CatalogueMistake, load_catalogue
from intacct_sandbox.objects.catalogue.notation import read_field, read_ref

# Sage's OpenAPI: what a POST must bring.
_REQUIRED = {
    "general-ledger/account": {"id", "name"},
    "general-ledger/journal": {"id", "name"},
    "general-ledger/journal-entry": {"glJournal", "postingDate", "description"},
    "general-ledger/journal-entry-line": {"txnAmount", "txnType", "glAccount"},
    "accounts-payable/vendor": {"id", "name"},
    "accounts-payable/bill": {"dueDate", "createdDate", "vendor", "currency.txnCurrency"},
    "accounts-payable/bill-line": {"txnAmount", "glAccount", "dimensions.location"},
    "accounts-receivable/customer": {"name"},
    "accounts-receivable/invoice": {"invoiceDate", "dueDate", "customer"},
    "accounts-receivable/invoice-line": {"txnAmount", "glAccount", "dimensions.location"},
    "company-config/entity": {"id", "name", "federalId"},
    "company-config/location": {"id", "name"},
    "company-config/department": {"id", "name"},
    "company-config/employee": {"id", "primaryContact"},
    "time/timesheet": {"beginDate"},
    "time/time-type": {"id"},
    "accounts-payable/account-label": {"id", "description", "status", "glAccount"},
    "accounts-payable/advance-line": {"txnAmount", "accountLabel", "dimensions.location"},
    "accounts-payable/payment": {
        *("financialEntity", "vendor", "paymentMethod", "paymentDate", "txnCurrency.currency"),
    },
    "accounts-payable/payment-detail": {"bill", "txnCurrency.paymentAmount"},
    "accounts-payable/vendor-type": {"id"},
    "accounts-receivable/payment": {"paymentSummary.receiptDate", "txnCurrency.currency"},
    "accounts-receivable/payment-detail": {"arInvoice", "txnCurrency.paymentAmount"},
    "accounts-receivable/payment-summary": {"name", "glPostingDate"},
    "cash-management/credit-card-txn": {"txnDate", "creditCardAccount", "currency.txnCurrency"},
    "cash-management/credit-card-txn-line": {"txnAmount", "glAccount"},
    "company-config/attachment": {"name", "folder"},
    "company-config/contact": {"id", "printAs"},
    "company-config/role": {"id"},
    "company-config/user": {"id", "accountEmail", "contact"},
    "expenses/employee-expense": set(),
    "projects/project": {"name", "category"},
    "projects/project-resource": {"project"},
}

# Sage's OpenAPI: what a field may hold; `null` for nothing.
_ENUMS = """
general-ledger/account closingType nonClosingAccount closingAccount closedToAccount
general-ledger/account alternativeGLAccount none payablesAccount receivablesAccount
general-ledger/journal bookType accrual cash cashAndAccrual consolidation
general-ledger/journal-entry tax.taxImplication null none inbound outbound
general-ledger/journal-entry-line txnType debit credit
general-ledger/journal-entry-line reconciliationGroup.cleared true false matched
accounts-payable/vendor billingType null openItem balanceForward
accounts-payable/vendor status null active activeNonPosting inactive
accounts-payable/bill paymentPriority urgent high normal low
accounts-payable/bill anomalyCode null email amount multiple
accounts-payable/payment cleared cleared uncleared matched
accounts-receivable/invoice state reversed reversal draft noValue posted paid partiallyPaid selected
accounts-receivable/invoice-line isSubtotal null subtotal tax
accounts-receivable/payment state complete reconciled draft reversed reversal
accounts-receivable/payment-summary state open closed
company-config/location locationType entity elimination location
company-config/employee gender null female male
company-config/user trustedDevices companyDefault always never
projects/project billingOverMax doNothing issueAWarningMessage preventBilling
time/timesheet-line isBilled true false partial
"""


@pytest.mark.parametrize("name", sorted(_REQUIRED))
def test_required_fields_are_those_of_sages_openapi(name: str) -> None:
    type_ = load_catalogue()[name]
    required = {one.path for one in type_.fields.values() if one.required}
    required |= {one.path for one in type_.refs.values() if one.required}
    assert required == _REQUIRED[name]


@pytest.mark.parametrize("line", _ENUMS.strip().splitlines())
def test_enumerations_are_those_of_sages_openapi(line: str) -> None:
    name, path, *values = line.split()
    enum = load_catalogue()[name].fields[path].enum
    assert enum is not None
    assert {one or "null" for one in enum} == set(values)


@pytest.mark.parametrize(
    ("path", "length"),
    [
        ("general-ledger/account name", 80),
        ("accounts-receivable/payment referenceNumber", 21),
        ("accounts-receivable/payment description", 1000),
        ("company-config/entity id", 20),
        ("time/timesheet description", 400),
    ],
)
def test_texts_are_as_long_as_sages_openapi_says(path: str, length: int) -> None:
    name, _, field = path.partition(" ")
    assert load_catalogue()[name].fields[field].max_length == length


def test_every_line_object_knows_its_owner_and_every_field_it_shows_exists() -> None:
    catalogue = load_catalogue()
    for name, type_ in catalogue.items():
        if type_.kind == "line":
            assert type_.owner is not None
            document = catalogue[type_.refs[type_.owner].object]
            assert document.lines is not None
            assert document.lines.object == name
        for one in type_.fields.values():
            if one.same_as:
                ref, _, member = one.same_as.rpartition(".")
                assert one.same_as in type_.fields or member in type_.refs[ref].members
        for ref_ in type_.refs.values():
            for shown in ref_.shown.values():
                assert ref_.object not in catalogue or shown in catalogue[ref_.object].fields


def test_every_object_tells_when_it_changed_and_whose_it_is() -> None:
    for type_ in load_catalogue().values():
        assert "audit.modifiedDateTime" in type_.fields
        assert "entity.id" in type_.members


def test_a_model_has_the_recorded_shape() -> None:
    answer = model_service.answer(
        load_catalogue(), Behaviours(), {"name": "objects/accounts-receivable/invoice"}
    )
    model = answer["ia::result"]
    assert isinstance(model, dict)
    assert set(model) == {
        *("fields", "groups", "refs", "lists", "httpMethods", "idempotenceSupported"),
        *("apiObject", "type", "href"),
    }
    fields = model["fields"]
    assert isinstance(fields, dict)
    assert fields["totalTxnAmount"] == {
        "format": "decimal-precision-2",
        "type": "string",
        "readOnly": True,
        "writeOnly": False,
        "required": False,
        "nullable": True,
        "mutable": False,
    }
    assert model["lists"] == {"lines": {"apiObject": "accounts-receivable/invoice-line"}}
    assert model["apiObject"] == "objects/accounts-receivable/invoice"


def test_a_model_calls_no_field_required_and_empty_lists_are_an_array() -> None:
    catalogue = load_catalogue()
    for name in catalogue:
        model = model_service.answer(catalogue, Behaviours(), {"name": name})["ia::result"]
        assert isinstance(model, dict)
        fields = model["fields"]
        assert isinstance(fields, dict)
        assert all(isinstance(one, dict) and one["required"] is False for one in fields.values())
        assert catalogue[name].root.lists or model["lists"] == []


def test_an_unknown_object_has_an_empty_model() -> None:
    answer = model_service.answer(
        load_catalogue(), Behaviours(), {"name": "accounts-receivable/nothing"}
    )
    assert answer["ia::result"] == []
    assert answer["ia::meta"] == {"totalCount": 0, "totalSuccess": 0, "totalError": 0}


@pytest.mark.parametrize("line", ["texts", "string requierd", "string maximum=3"])
def test_a_mistake_in_the_catalogue_names_the_field(line: str) -> None:
    with pytest.raises(CatalogueMistake, match=r"^a\.b: "):
        read_field("a.b", line)


def test_a_mistake_in_a_reference_names_it() -> None:
    with pytest.raises(CatalogueMistake, match=r"^customer: "):
        read_ref("customer", "accounts-receivable/customer named", is_owner=False)


def test_models_are_chosen_by_type_and_by_a_pattern_of_names() -> None:
    with calling() as caller:

        def names(**asked: str) -> set[str]:
            answer = caller.call("GET", "/services/core/model", user="usa@demo", params=asked)
            assert answer.status_code == 200, answer.text
            return {one["apiObject"] for one in answer.json()["ia::result"]}

        everything = names()
        assert names(type="object") == everything
        assert names(type="rootObject,ownedObject") == everything
        lines = names(type="ownedObject")
        assert "accounts-payable/bill-line" in lines
        assert "accounts-payable/bill" not in lines
        assert names(filter=r".*company-config\/cla.*") == {"company-config/class"}
        assert names(type="workflow") == set()
        for asked in ({"filter": "("}, {"filter": "(a+)+"}, {"version": "v9"}):
            answer = caller.call("GET", "/services/core/model", user="usa@demo", params=asked)
            assert answer.status_code == 400
