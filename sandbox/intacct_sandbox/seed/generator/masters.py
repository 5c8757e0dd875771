"""Entities, places, departments, accounts, journals, people, customers and vendors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Protocol

from intacct_sandbox.company import ENTITIES, USERS, LegalEntity
from intacct_sandbox.control.clock import FIRST_DAY, LAST_DAY
from intacct_sandbox.objects.tables import Row

from .chart_of_accounts import ACCOUNTS, DEPARTMENTS, JOURNALS
from .names import firms, person
from .writer import Writer, moment

CUSTOMERS, VENDORS, EMPLOYEES = 420, 180, 150
VENDOR_CONTACTS, USER_CONTACTS, EMPLOYEE_CONTACTS = 1000, 2000, 5000
"""What is added to the number of a vendor, user or employee for the key of its contact; a
customer's contact has the customer's number."""

_TITLES = ("Consultant", "Senior Consultant", "Engineer", "Account Manager", "Analyst", "Trainer")


@dataclass(frozen=True)
class Masters:
    """Keys of the master records, by id, and who trades and works in which entity (by key)."""

    accounts: Mapping[str, str]
    departments: Mapping[str, str]
    journals: Mapping[str, str]
    places: Mapping[str, Sequence[str]]
    """Entity key -> keys of its locations, the entity's own location first."""
    customers: Mapping[str, Sequence[str]]
    """Entity key -> keys of the customers that buy there."""
    vendors: Mapping[str, Sequence[str]]
    employees: Mapping[str, Sequence[str]]


def _when(random: Random) -> tuple[str, str]:
    """Made some time in the two years before, changed since then or in the 60 days."""
    made = FIRST_DAY - timedelta(days=random.randrange(1, 700))
    changed = made
    if random.random() < 0.5:
        changed = FIRST_DAY + timedelta(days=random.randrange((LAST_DAY - FIRST_DAY).days + 1))
    at = moment(random, made)
    return at, max(at, moment(random, changed))


class Add(Protocol):
    """Write one record and return its key."""

    def __call__(self, object_: str, values: Row, entity: str | None = None) -> str:
        """Write it for an entity, or for the top level."""


def write_masters(writer: Writer, random: Random) -> Masters:
    """Write all master records."""

    def add(object_: str, values: Row, entity: str | None = None) -> str:
        made, changed = _when(random)
        key = values.get("key")
        return writer.add(
            object_,
            values,
            entity=entity,
            made=made,
            changed=changed,
            by="1",
            key=str(key) if key else None,
        )

    _write_users(add)
    places = _write_places(add)
    departments = _write_departments(add)
    accounts = _write_accounts(add)
    return Masters(
        accounts=accounts,
        departments=departments,
        journals={
            id_: add("general-ledger/journal", {"id": id_, "name": name}) for id_, name in JOURNALS
        },
        places=places,
        customers=_write_parties(writer, random, "accounts-receivable/customer", "C", CUSTOMERS),
        vendors=_write_parties(writer, random, "accounts-payable/vendor", "V", VENDORS),
        employees=_write_employees(writer, random, departments, places),
    )


def _write_users(add: Add) -> None:
    for user in USERS.values():
        add(
            "company-config/user",
            {
                "key": user.key,
                "id": user.id,
                "userName": user.name,
                "accountEmail": f"{user.id}@demo.example",
                "contact.key": str(USER_CONTACTS + int(user.key)),
                "adminPrivileges": "limited" if user.entities is None else "off",
                "entityAccess.allowUnrestrictedAccess": user.entities is None,
                "entityAccess.allowTopLevelAccess": user.entities is None,
            },
        )


def _write_places(add: Add) -> dict[str, list[str]]:
    places = {one.key: _write_entity(add, one) for one in ENTITIES.values()}
    for entity in ENTITIES.values():
        for id_, name in entity.places:
            parent = {"parent.key": entity.key, "baseCurrency": entity.currency}
            key = add("company-config/location", {"id": id_, "name": name, **parent}, entity.key)
            places[entity.key].append(key)
    return places


def _write_departments(add: Add) -> dict[str, str]:
    departments: dict[str, str] = {}
    for id_, name, above in DEPARTMENTS:
        values: Row = {"id": id_, "name": name}
        if above:
            values["parent.key"] = departments[above]
        departments[id_] = add("company-config/department", values)
    return departments


def _write_accounts(add: Add) -> dict[str, str]:
    return {
        account.id: add(
            "general-ledger/account",
            {
                "id": account.id,
                "name": account.name,
                "category": account.category,
                "accountType": "incomeStatement" if account.is_income_statement else "balanceSheet",
                "normalBalance": "credit" if account.is_credit else "debit",
                "closingType": "closedToAccount"
                if account.id == "35000"
                else ("closingAccount" if account.is_income_statement else "nonClosingAccount"),
                "alternativeGLAccount": {
                    "12000": "receivablesAccount",
                    "20000": "payablesAccount",
                }.get(account.id, "none"),
                "requireDimensions.department": account.needs_department,
            },
        )
        for account in ACCOUNTS
    }


def _write_entity(add: Add, entity: LegalEntity) -> list[str]:
    add(
        "company-config/entity",
        {
            "key": entity.key,
            "id": entity.id,
            "name": entity.name,
            "federalId": entity.federal_id,
            # The first four currencies are those of the entities.
            "baseCurrency.key": entity.key,
            "operatingCountry": entity.country,
            "defaultCountryForAddresses": entity.country,
            "openBooksStartDate": entity.open_from.isoformat(),
            "startDate": "2019-01-01",
        },
    )
    # An entity is a location as well, under the same key.
    add(
        "company-config/location",
        {
            "key": entity.key,
            "id": entity.id,
            "name": entity.name,
            "locationType": "entity",
            "baseCurrency": entity.currency,
            "startDate": "2019-01-01",
        },
    )
    return [entity.key]


def _write_parties(
    writer: Writer, random: Random, object_: str, letter: str, count: int
) -> dict[str, list[str]]:
    """Return customers or vendors: most are shared by all entities, some belong to one."""
    trading: dict[str, list[str]] = {entity.key: [] for entity in ENTITIES.values()}
    keys = list(trading)
    for number, name in enumerate(firms(random, count), start=1):
        private = keys[number % 4] if random.random() < 0.15 else None
        home = private or random.choices(keys, weights=(9, 5, 3, 4))[0]
        entity = next(one for one in ENTITIES.values() if one.key == home)
        inactive = number % 25 == 0
        made, changed = _when(random)
        values: Row = {
            "id": f"{letter}-{10000 + number}",
            "name": name,
            "status": "inactive" if inactive else "active",
            "currency": entity.currency,
            "term.key": random.choice(("1", "2", "3")),
            "contacts.default.key": str(number + (VENDOR_CONTACTS if letter == "V" else 0)),
            "creditLimit": random.choice((None, 10000, 25000, 50000)),
        }
        if letter == "V":
            values["vendorAccountNumber"] = f"{random.randrange(10**7):07d}"
        key = writer.add(object_, values, entity=private, made=made, changed=changed, by="1")
        if inactive:
            continue
        trading[home].append(key)
        if private is None and random.random() < 0.3:
            abroad = random.choice([other for other in keys if other != home])
            trading[abroad].append(key)
    return trading


def _write_employees(
    writer: Writer,
    random: Random,
    departments: Mapping[str, str],
    places: Mapping[str, Sequence[str]],
) -> dict[str, list[str]]:
    """Return employees belong to the entity that pays them."""
    staff: dict[str, list[str]] = {key: [] for key in places}
    shares = random.choices(list(places), weights=(9, 5, 3, 4), k=EMPLOYEES)
    for number, entity in enumerate(sorted(shares), start=1):
        made, changed = _when(random)
        values: Row = {
            "id": f"EMP-{1000 + number}",
            "primaryContact.key": str(EMPLOYEE_CONTACTS + number),
            "primaryContact.id": f"{person(random)} ({1000 + number})",
            "jobTitle": random.choice(_TITLES),
            "startDate": made[:10],
            "location.key": random.choice(places[entity]),
            "department.key": departments[random.choice(("310", "320", "330", "410", "500"))],
            "employeeType.id": "Full Time",
        }
        if staff[entity]:
            values["manager.key"] = staff[entity][0]
        key = writer.add(
            "company-config/employee", values, entity=entity, made=made, changed=changed, by="1"
        )
        staff[entity].append(key)
    return staff
