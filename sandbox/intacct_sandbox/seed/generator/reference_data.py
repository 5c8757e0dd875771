"""What the rest refers to: terms, types, contacts, currencies, periods, projects, items, banks.

All of it is shared by the entities. Nothing here changes a record that was written before, but for
the custom fields and the grants of some of them.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

from intacct_sandbox.company import ENTITIES, USERS
from intacct_sandbox.control.clock import FIRST_DAY, LAST_DAY
from intacct_sandbox.objects.catalogue import Json
from intacct_sandbox.objects.tables import Row

from .masters import USER_CONTACTS, VENDOR_CONTACTS, Masters
from .names import SERVICES, person
from .writer import FIRST_PERIOD_YEAR, LAST_PERIOD_YEAR, Writer, moment, money, period_key

_TERMS = (("Net 30", 30), ("Net 15", 15), ("Net 45", 45), ("Due on receipt", 0), ("Net 60", 60))
_CURRENCIES = (
    ("USD", "US Dollar", "$"),
    ("CAD", "Canadian Dollar", "$"),
    ("GBP", "Pound Sterling", "£"),
    ("AUD", "Australian Dollar", "$"),
    ("EUR", "Euro", "€"),
    ("NZD", "New Zealand Dollar", "$"),
    ("JPY", "Japanese Yen", "¥"),
    ("CHF", "Swiss Franc", "CHF"),
)
_TO_USD = {"CAD": 0.7312, "GBP": 1.3064, "AUD": 0.6588, "EUR": 1.1127}
_CITIES = {
    "E110": (("New York", "NY", "10001", "US"), ("Chicago", "IL", "60601", "US")),
    "E120": (("Toronto", "ON", "M5H 2N2", "CA"), ("Vancouver", "BC", "V6B 1A1", "CA")),
    "E130": (("London", "", "EC1A 1BB", "GB"), ("Manchester", "", "M1 1AE", "GB")),
    "E140": (("Sydney", "NSW", "2000", "AU"), ("Melbourne", "VIC", "3000", "AU")),
}
_STREETS = ("High Street", "Market Street", "Station Road", "Queen Street", "Mill Lane", "Park Row")
_PERMISSIONS = tuple(
    (module, what)
    for module, subjects in {
        "Accounts Payable": ("Bills", "Vendors", "Payments", "Adjustments"),
        "Accounts Receivable": ("Invoices", "Customers", "Payments", "Adjustments"),
        "General Ledger": ("Accounts", "Journal entries", "Reporting periods", "Budgets"),
        "Cash Management": ("Bank accounts", "Credit card transactions"),
        "Company": ("Entities", "Users", "Roles", "Attachments"),
        "Time and Expenses": ("Timesheets", "Expense reports"),
    }.items()
    for what in subjects
)
_RIGHTS = ("list", "readonly", "add", "modify", "delete")


@dataclass
class _Shared:
    """Writes records of the top level, each made on some day before the 60 and perhaps changed."""

    writer: Writer
    random: Random

    def add(self, object_: str, values: Row, key: str | None = None) -> str:
        made_on = FIRST_DAY - timedelta(days=self.random.randrange(1, 700))
        made = moment(self.random, made_on)
        changed = made
        if self.random.random() < 0.3:
            days = (LAST_DAY - FIRST_DAY).days + 1
            changed_on = FIRST_DAY + timedelta(days=self.random.randrange(days))
            changed = moment(self.random, changed_on)
        return self.writer.add(
            object_, values, entity=None, made=made, changed=changed, by="1", key=key
        )

    def all(self, object_: str, rows: Iterable[Row]) -> list[str]:
        return [self.add(object_, row) for row in rows]

    def lines(self, object_: str, owner: str, key: str, rows: Iterable[Row]) -> None:
        for number, row in enumerate(rows, start=1):
            self.add(object_, {f"{owner}.key": key, "lineNumber": number, **row})


def write_reference_data(writer: Writer, random: Random, masters: Masters) -> None:
    """Write everything that transactions and masters refer to."""
    shared = _Shared(writer, random)
    _write_lists(shared, masters)
    _write_contacts(shared)
    _write_calendar(shared, masters)
    _write_people_and_rights(shared)
    _write_banks(shared, masters)
    _write_receipt_batches(shared, masters)
    _write_work(shared, masters)
    _write_custom_values(writer, random)


def _write_lists(shared: _Shared, masters: Masters) -> None:
    accounts = masters.accounts
    for application in ("accounts-payable", "accounts-receivable"):
        for id_, days in _TERMS:
            shared.add(
                f"{application}/term",
                {"id": id_, "description": f"Due in {days} days", "due.days": days},
            )
    shared.all(
        "accounts-payable/vendor-type",
        ({"id": one} for one in ("Supplier", "Subcontractor", "Landlord", "Utility", "Government")),
    )
    shared.all(
        "accounts-receivable/customer-type",
        ({"id": one} for one in ("Enterprise", "Public sector", "Reseller", "Non-profit")),
    )
    for application, account_ids in (
        ("accounts-payable", ("60300", "60400", "60700", "60800")),
        ("accounts-receivable", ("40300", "40400", "40500", "42000")),
    ):
        names = _account_names(shared, account_ids, masters)
        shared.all(
            f"{application}/account-label",
            (
                {
                    "id": name,
                    "description": f"{name} label",
                    "status": "active",
                    "glAccount.key": accounts[id_],
                }
                for id_, name in names
            ),
        )
    for id_, name, symbol in _CURRENCIES:
        shared.add("company-config/txn-currency", {"id": id_, "name": name, "symbol": symbol})
    type_key = shared.add(
        "company-config/exchange-rate-type",
        {"id": "Intacct Daily Rate", "description": "Daily rate", "isDefault": True},
    )
    for currency, rate in _TO_USD.items():
        key = shared.add(
            "company-config/exchange-rate",
            {
                "id": f"{currency}-USD",
                "fromCurrency": currency,
                "toCurrency": "USD",
                "exchangeRateType.key": type_key,
            },
        )
        rates: list[Row] = []
        for month in (6, 7, 8, 9, 10):
            now = rate * (1 + shared.random.uniform(-0.02, 0.02))
            rates.append(
                {
                    "effectiveDate": date(2026, month, 1).isoformat(),
                    "rate": f"{now:.10f}",
                    "reciprocalRate": f"{1 / now:.10f}",
                }
            )
        shared.lines("company-config/exchange-rate-line", "exchangeRate", key, rates)
    shared.all(
        "tax/tax-detail",
        (
            {
                "id": id_,
                "description": id_,
                "taxType": type_,
                "taxPercent": percent,
                "purchaseGLAccount.key": accounts["20400"],
                "salesGLAccount.key": accounts["20400"],
            }
            for id_, type_, percent in (
                ("UK Purchase Standard 20", "purchase", "20.0000000000"),
                ("UK Sale Standard 20", "sale", "20.0000000000"),
                ("AU Purchase GST 10", "purchase", "10.0000000000"),
                ("AU Sale GST 10", "sale", "10.0000000000"),
                ("CA GST 5", "purchase", "5.0000000000"),
                ("Exempt", "purchase", "0.0000000000"),
            )
        ),
    )
    shared.all(
        "time/time-type",
        (
            {"id": id_, "description": f"{id_} hours"}
            for id_ in ("Regular", "Overtime", "Leave", "Training")
        ),
    )
    shared.all(
        "expenses/employee-expense-type",
        (
            {"id": id_, "description": id_, "glAccount.key": accounts[account]}
            for id_, account in (
                ("Airfare", "60500"),
                ("Hotel", "60510"),
                ("Meals", "60520"),
                ("Mileage", "60500"),
                ("Telephone", "60320"),
                ("Office", "60340"),
            )
        ),
    )
    shared.all(
        "expenses/employee-expense-payment-type",
        (
            {"id": id_, "description": id_, "isNonReimbursable": not paid_back}
            for id_, paid_back in (("Cash", True), ("Personal card", True), ("Company card", False))
        ),
    )
    shared.all(
        "company-config/class",
        (
            {"id": id_, "name": name}
            for id_, name in (
                ("100", "Core"),
                ("200", "Growth"),
                ("300", "Public sector"),
                ("400", "Partners"),
            )
        ),
    )


def _account_names(shared: _Shared, ids: Iterable[str], masters: Masters) -> list[tuple[str, str]]:
    """Accounts by id, with their names."""
    rows = shared.writer.tables["general-ledger/account"].rows
    return [(id_, str(rows[masters.accounts[id_]]["name"])) for id_ in ids]


def _write_contacts(shared: _Shared) -> None:
    tables, random = shared.writer.tables, shared.random
    cities = list(_CITIES)

    def contact(key: str, id_: str, home: str, **values: Json) -> None:
        city, state, code, country = random.choice(_CITIES[home])
        shared.add(
            "company-config/contact",
            {
                "id": id_,
                "mailingAddress.addressLine1": f"{random.randrange(1, 400)} "
                f"{random.choice(_STREETS)}",
                "mailingAddress.city": city,
                "mailingAddress.state": state or None,
                "mailingAddress.postCode": code,
                "mailingAddress.isoCountryCode": country,
                "phone1": f"+{random.randrange(10**9, 10**10)}",
                **values,
            },
            key=key,
        )

    for object_, offset in (
        ("accounts-receivable/customer", 0),
        ("accounts-payable/vendor", VENDOR_CONTACTS),
    ):
        for row in tables[object_].rows.values():
            name = str(row["name"])
            home = cities[int(str(row.get("entity.key") or random.randrange(1, 5))) - 1]
            id_ = f"{name} ({row['id']})" if offset else name
            mail = "".join(one for one in name.lower() if one.isalnum())
            contact(
                str(row["contacts.default.key"]),
                id_,
                home,
                printAs=name,
                companyName=name,
                email1=f"accounts@{mail}.example",
            )
    for user in USERS.values():
        contact(
            str(USER_CONTACTS + int(user.key)),
            user.name,
            "E110",
            printAs=user.name,
            email1=f"{user.id}@demo.example",
        )
    for row in tables["company-config/employee"].rows.values():
        id_ = str(row["primaryContact.id"])
        first, last = id_.split(" (")[0].split(" ", 1)
        home = cities[int(str(row["entity.key"])) - 1]
        contact(
            str(row["primaryContact.key"]),
            id_,
            home,
            printAs=f"{first} {last}",
            firstName=first,
            lastName=last,
            email1=f"{first}.{last}@demo.example".lower(),
        )


def _write_calendar(shared: _Shared, masters: Masters) -> None:
    """Reporting periods, budgets, groups of accounts, allocations."""
    for year in range(FIRST_PERIOD_YEAR, LAST_PERIOD_YEAR + 1):
        for month in range(1, 13):
            first = date(year, month, 1)
            last = date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)
            shared.add(
                "general-ledger/reporting-period",
                {
                    "id": f"{first:%B %Y}",
                    "columnHeader1": f"{first:%B}",
                    "columnHeader2": f"{year}",
                    "startDate": first.isoformat(),
                    "endDate": last.isoformat(),
                },
                key=period_key(first),
            )
    accounts = shared.writer.tables["general-ledger/account"].rows.values()
    by_category: dict[str, str] = {
        str(one["category"]): str(one["normalBalance"]) for one in accounts
    }
    shared.all(
        "general-ledger/account-group",
        (
            {"id": name, "title": name, "totalTitle": f"Total {name}", "normalBalance": balance}
            for name, balance in list(by_category.items())[:16]
        ),
    )
    shared.all(
        "general-ledger/statistical-account",
        (
            {"id": id_, "name": name, "reportType": type_}
            for id_, name, type_ in (
                ("S100", "Headcount", "cumulative"),
                ("S200", "Square metres", "cumulative"),
                ("S300", "Billable hours", "forPeriod"),
                ("S400", "Licences in use", "cumulative"),
            )
        ),
    )
    for id_, name in (("FY2026", "Budget 2026"), ("FY2027", "Budget 2027, first draft")):
        year = int(id_[2:])
        key = shared.add(
            "general-ledger/budget",
            {"id": id_, "description": name, "isDefault": year == 2026, "currency": "USD"},
        )
        shared.lines(
            "general-ledger/budget-detail",
            "budget",
            key,
            (
                {
                    "amount": money(shared.random.randrange(100_000, 9_000_000)),
                    "glAccount.key": masters.accounts[account],
                    "reportingPeriod.key": period_key(date(year, month, 1)),
                    "dimensions.department.key": masters.departments[department],
                    "dimensions.location.key": "1",
                }
                for account, department in (
                    ("40300", "310"),
                    ("60100", "310"),
                    ("60300", "600"),
                    ("60400", "400"),
                )
                for month in range(1, 13)
            ),
        )
    for id_, shares in (("By headcount", (40, 35, 25)), ("Half and half", (50, 50))):
        key = shared.add("general-ledger/txn-allocation-template", {"id": id_, "description": id_})
        shared.lines(
            "general-ledger/txn-allocation-template-line",
            "txnAllocationTemplate",
            key,
            (
                {"percentage": share, "dimensions.department.key": masters.departments[department]}
                for share, department in zip(shares, ("310", "400", "600"), strict=False)
            ),
        )


def _write_people_and_rights(shared: _Shared) -> None:
    permissions = shared.all(
        "company-config/permission",
        (
            {
                "id": f"{module}: {what}",
                "name": what,
                "category": module,
                "module": module,
                "policyType": "standard",
                "accessRights": list(_RIGHTS),
            }
            for module, what in _PERMISSIONS
        ),
    )
    roles = {}
    for id_, rights in (
        ("Integration", _RIGHTS[:4]),
        ("Accountant", _RIGHTS),
        ("Auditor", _RIGHTS[:2]),
    ):
        roles[id_] = key = shared.add(
            "company-config/role", {"id": id_, "description": f"{id_} role"}
        )
        shared.lines(
            "company-config/role-permission-assignment",
            "role",
            key,
            (
                {"permission.key": permission, "accessRights": list(rights)}
                for permission in permissions
            ),
        )
    shared.all(
        "company-config/role-user-map",
        ({"user.key": user.key, "role.key": roles["Integration"]} for user in USERS.values()),
    )
    folders = shared.all(
        "company-config/folder",
        ({"id": id_, "description": f"{id_} papers"} for id_ in ("Bills", "Invoices", "Expenses")),
    )
    for number in range(1, 25):
        text = f"Scan {number}\nMade for the demo company.\n"
        key = shared.add(
            "company-config/attachment",
            {
                "id": f"ATT-{number:06d}",
                "name": f"Scan {number}",
                "folder.key": folders[number % 3],
            },
        )
        data = binascii.b2a_base64(text.encode(), newline=False).decode()
        shared.lines(
            "company-config/attachment-file",
            "attachment",
            key,
            [{"name": f"scan-{number}.txt", "size": len(text), "data": data}],
        )
    shared.add("company-config/multi-entity-preference/setup", {"id": "1", "rootCurrency": "USD"})
    shared.add(
        "core/user-view",
        {
            "name": "Active vendors",
            "query.object": "accounts-payable/vendor",
            "query.fields": ["id", "name", "status", "href"],
            "query.filters": [{"$eq": {"status": "active"}}],
            "query.orderBy": [{"id": "asc"}],
        },
    )


def _write_banks(shared: _Shared, masters: Masters) -> None:
    bank = "cash-management/bank-account"
    for object_, type_, id_, account in (
        ("cash-management/checking-account", "checking", "CHK", "10010"),
        ("cash-management/savings-account", "savings", "SAV", "10030"),
        ("cash-management/credit-card-account", "creditCard", "CARD", "20500"),
    ):
        for entity in ENTITIES.values():
            values: Row = {
                "id": f"{id_}-{entity.id}",
                "name": f"{entity.name} {type_.removesuffix('Card')}",
                "currency": entity.currency,
            }
            more: Row = {
                "glAccount.key": masters.accounts[account],
                "location.key": entity.key,
            }
            if type_ != "creditCard":
                more["bankAccountDetails.bankName"] = f"Bank of {entity.country}"
                number = shared.random.randrange(10**8, 10**9)
                more["bankAccountDetails.accountNumber"] = str(number)
            key = shared.add(object_, values | more)
            shared.add(bank, {**values, "referenceKey": key, "accountType": type_})


def _write_receipt_batches(shared: _Shared, masters: Masters) -> None:
    for number in range(1, 7):
        day = LAST_DAY - timedelta(days=number)
        shared.add(
            "accounts-receivable/payment-summary",
            {
                "id": f"PS-{number:06d}",
                "name": f"Receipts {day:%Y/%m/%d}",
                "glPostingDate": day.isoformat(),
                "undepositedGLAccount.key": masters.accounts["10100"],
                "totalAmount": "0.00",
            },
        )


def _write_work(shared: _Shared, masters: Masters) -> None:
    """Items, warehouses, projects with tasks, grants and plans."""
    random = shared.random
    items = shared.all(
        "inventory-control/item",
        (
            {
                "id": f"ITM-{100 + number}",
                "name": what,
                "itemType": "nonInventory",
                "basePrice": f"{random.randrange(50, 4000)}.0000000000",
                "unitOfMeasure": "Each",
            }
            for number, what in enumerate(SERVICES, start=1)
        ),
    )
    shared.all(
        "inventory-control/warehouse",
        (
            {
                "id": f"WH-{entity.id}",
                "name": f"{entity.name} warehouse",
                "location.key": entity.key,
            }
            for entity in ENTITIES.values()
        ),
    )
    shared.all(
        "platform-apps/nsp::grant",
        (
            {
                "id": f"G-{number:03d}",
                "name": f"{name} grant",
                "nsp::FUNDER": name,
                "nsp::AWARDED": money(random.randrange(10**6, 10**8)),
                "nsp::ENDS_ON": date(2027, number, 1).isoformat(),
            }
            for number, name in enumerate(
                (
                    "Alder Trust",
                    "Civic Fund",
                    "Harbour Foundation",
                    "Open Science",
                    "Skills Council",
                ),
                start=1,
            )
        ),
    )
    shared.all(
        "platform-apps/nsp::service_plan",
        (
            {
                "id": id_,
                "name": name,
                "nsp::RESPONSE_HOURS": hours,
                "nsp::MONTHLY_FEE": fee,
                "nsp::r10021.key": items[number],
            }
            for number, (id_, name, hours, fee) in enumerate(
                (
                    ("GOLD", "Gold plan", 2, "900.00"),
                    ("SILVER", "Silver plan", 8, "450.00"),
                    ("BRONZE", "Bronze plan", 24, "150.00"),
                )
            )
        ),
    )
    shared.all(
        "construction/cost-type",
        (
            {"id": id_, "name": name}
            for id_, name in (
                ("LAB", "Labour"),
                ("MAT", "Material"),
                ("SUB", "Subcontract"),
                ("EQP", "Equipment"),
            )
        ),
    )
    for number in range(1, 41):
        entity = random.choice(list(masters.customers))
        begin = FIRST_DAY - timedelta(days=random.randrange(10, 400))
        project = shared.add(
            "projects/project",
            {
                "id": f"PRJ-{number:04d}",
                "name": f"{random.choice(SERVICES)} for {person(random).split()[1]}",
                "category": random.choice(("Contract", "Internal", "Capitalized")),
                "startDate": begin.isoformat(),
                "endDate": (begin + timedelta(days=random.randrange(90, 700))).isoformat(),
                "budgetAmount": money(random.randrange(10**6, 10**8)),
                "billingType": random.choice(("timeAndMaterial", "fixedFee")),
                "projectStatus": random.choice(("In progress", "Planned", "Completed")),
                "customer.key": random.choice(masters.customers[entity]),
                "location.key": entity,
                "department.key": masters.departments[random.choice(("310", "320"))],
                "nsp::RISK": random.choice(("Low", "Medium", "High")),
                "nsp::STEERING_DATE": (LAST_DAY - timedelta(days=number)).isoformat(),
            },
        )
        shared.add(
            "projects/project-resource",
            {
                "project.key": project,
                "employee.key": random.choice(masters.employees[entity]),
                "startDate": begin.isoformat(),
                "billingRate": money(random.randrange(9_000, 25_000)),
            },
        )
        for step, name in enumerate(("Design", "Build", "Handover"), start=1):
            shared.add(
                "projects/task",
                {
                    "id": f"T-{number:04d}-{step}",
                    "name": name,
                    "project.key": project,
                    "plannedStartDate": begin.isoformat(),
                    "plannedDuration": 20 * step,
                    "taskStatus": random.choice(("notStarted", "inProgress", "completed")),
                    "item.key": random.choice(items),
                },
            )


def _write_custom_values(writer: Writer, random: Random) -> None:
    """The custom fields of some customers and vendors, the grants of some lines. Their change
    times stay what they were."""
    for object_, choices in (
        ("accounts-receivable/customer", ("nsp::SEGMENT", ("Enterprise", "Mid-market", "Small"))),
        ("accounts-payable/vendor", ("nsp::DIVERSITY_STATUS", ("Certified", "Pending"))),
    ):
        table = writer.tables[object_]
        path, values = choices
        day = "nsp::RENEWAL_DATE" if object_.endswith("customer") else "nsp::ONBOARDED_ON"
        for row in list(table.rows.values()):
            if random.random() < 0.5:
                when = FIRST_DAY + timedelta(days=random.randrange(-400, 400))
                more: Row = {path: random.choice(values), day: when.isoformat()}
                if object_.endswith("customer") and random.random() < 0.4:
                    more["nsp::r10007.key"] = random.choice(("1", "2", "3"))
                table.put({**row, **more})
    customers = writer.tables["accounts-receivable/customer"]
    for row in list(customers.rows.values())[::12]:
        customers.put({**row, "retainagePercentage": random.choice((5, 10))})
    # Invoices that came out of order entry name their document.
    invoices = writer.tables["accounts-receivable/invoice"]
    for number, row in enumerate(list(invoices.rows.values())[::60], start=1):
        invoices.put({**row, "documentId": f"Sales Invoice-SI{number:04d}"})
    grants = list(writer.tables["platform-apps/nsp::grant"].rows)
    for object_ in (
        "accounts-receivable/invoice-line",
        "accounts-payable/bill-line",
        "general-ledger/journal-entry-line",
    ):
        table = writer.tables[object_]
        for row in list(table.rows.values())[:: random.randrange(30, 50)]:
            table.put({**row, "dimensions.nsp::grant.key": random.choice(grants)})
