"""What follows from the rest: payments of what is paid, adjustments, cards, expenses, orders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from random import Random

from intacct_sandbox.company import ENTITIES, LegalEntity
from intacct_sandbox.control.clock import LAST_DAY
from intacct_sandbox.objects.tables import Row

from .chart_of_accounts import BILLED_EXPENSES, REVENUE_WITHOUT
from .masters import Masters
from .names import PURCHASES, SERVICES
from .writer import CALENDAR, Writer, moment, money, touched


def write_settlements(writer: Writer, random: Random, masters: Masters) -> None:
    """Write the payments, then everything else, a subject at a time."""
    _write_payments(writer, random, "accounts-payable", "bill", "vendor")
    _write_payments(writer, random, "accounts-receivable", "invoice", "customer")
    _write_adjustments(writer, random, masters)
    _write_advances(writer, random, masters)
    _write_card_txns(writer, random, masters)
    _write_expenses(writer, random, masters)
    _write_orders(writer, random, masters)
    _write_summaries(writer, random)
    _write_audit_history(writer, random)


def _bank(writer: Writer, entity: str) -> str:
    """Return the bank account that is an entity's checking account."""
    rows = writer.tables["cash-management/bank-account"].rows
    id_ = f"CHK-{list(ENTITIES)[int(entity) - 1]}"
    return next(key for key, row in rows.items() if row["id"] == id_)


def _write_payments(
    writer: Writer, random: Random, application: str, paid: str, party: str
) -> None:
    """Write a payment for what one party paid, or was paid, on one day in one entity."""
    together: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in writer.tables[f"{application}/{paid}"].rows.values():
        if row["state"] == "paid":
            day = str(row["paymentInformation.fullyPaidDate"])
            together[day, str(row["entity.key"]), str(row[f"{party}.key"])].append(row)
    ref = "bill" if paid == "bill" else "arInvoice"
    for (day, entity, party_key), documents in sorted(together.items()):
        currency = documents[0]["currency.baseCurrency"]
        total = sum((Decimal(str(one["totalTxnAmount"])) for one in documents), Decimal(0))
        made = moment(random, date.fromisoformat(day))
        audit = {"entity": entity, "made": made, "changed": made, "by": "1"}
        values: Row = {
            f"{party}.key": party_key,
            "financialEntity.key": _bank(writer, entity),
            "baseCurrency.currency": currency,
            "txnCurrency.currency": currency,
            "baseCurrency.totalPaid": f"{total:.2f}",
            "txnCurrency.totalPaid": f"{total:.2f}",
        }
        if paid == "bill":
            method = random.choice(("Printed Check", "ACH", "EFT"))
            values |= {"paymentMethod": method, "paymentDate": day, "documentDate": day}
            values["state"] = "confirmed"
        else:
            values |= {"paymentMethod": random.choice(("eft", "printedCheck", "cash"))}
            values["paymentSummary.receiptDate"] = day
        key = writer.add(f"{application}/payment", values, **audit)
        for number, document in enumerate(documents, start=1):
            writer.add(
                f"{application}/payment-detail",
                {
                    "payment.key": key,
                    "lineNumber": number,
                    f"{ref}.key": document["key"],
                    "txnCurrency.paymentAmount": document["totalTxnAmount"],
                    "baseCurrency.paymentAmount": document["totalBaseAmount"],
                },
                **audit,
            )


def _some_days(random: Random, entity: LegalEntity, count: int) -> Iterable[date]:
    return sorted(random.choices([day for day in CALENDAR if day >= entity.open_from], k=count))


def _document(
    writer: Writer,
    object_: str,
    line_object: str,
    owner: str,
    values: Row,
    lines: list[Row],
    *,
    entity: LegalEntity,
    when: tuple[str, str],
) -> str:
    """Return a document in its entity's currency, with totals of its lines' `txnAmount`."""
    total = sum((Decimal(str(line["txnAmount"])) for line in lines), Decimal(0))
    fields = writer.tables[object_].type.fields
    totals: Row = {
        path: f"{total:.2f}"
        for path in ("totalTxnAmount", "totalBaseAmount", "totalTxnAmountDue", "totalBaseAmountDue")
        if path in fields
    }
    audit = {"entity": entity.key, "made": when[0], "changed": when[1], "by": "1"}
    key = writer.add(
        object_,
        {
            "currency.baseCurrency": entity.currency,
            "currency.txnCurrency": entity.currency,
            "currency.exchangeRate.rate": 1,
            **totals,
            **values,
        },
        **audit,
    )
    for number, line in enumerate(lines, start=1):
        base = (
            {"baseAmount": line["txnAmount"]}
            if "baseAmount" in writer.tables[line_object].type.fields
            else {}
        )
        writer.add(
            line_object, {f"{owner}.key": key, "lineNumber": number, **base, **line}, **audit
        )
    return key


def _write_adjustments(writer: Writer, random: Random, masters: Masters) -> None:
    for application, party, parties, accounts, whats in (
        ("accounts-payable", "vendor", masters.vendors, BILLED_EXPENSES, PURCHASES),
        ("accounts-receivable", "customer", masters.customers, REVENUE_WITHOUT, SERVICES),
    ):
        for entity in ENTITIES.values():
            for day in _some_days(random, entity, 20):
                party_key = random.choice(parties[entity.key])
                lines: list[Row] = [
                    {
                        "txnAmount": money(-random.randrange(1_000, 90_000)),
                        "memo": random.choice(whats),
                        "glAccount.key": masters.accounts[random.choice(accounts)],
                        "dimensions.location.key": random.choice(masters.places[entity.key]),
                        f"dimensions.{party}.key": party_key,
                    }
                    for _ in range(random.choice((1, 1, 2)))
                ]
                object_ = f"{application}/adjustment"
                number = writer.tables[object_].next_key
                prefix = "ADJ" if party == "vendor" else "CM"
                _document(
                    writer,
                    object_,
                    f"{object_}-line",
                    "adjustment",
                    {
                        f"{party}.key": party_key,
                        "adjustmentNumber": f"{prefix}-{number:06d}",
                        "createdDate": day.isoformat(),
                        "postingDate": day.isoformat(),
                        "dueDate": day.isoformat(),
                        "description": lines[0]["memo"],
                    },
                    lines,
                    entity=entity,
                    when=touched(random, day),
                )


def _write_advances(writer: Writer, random: Random, masters: Masters) -> None:
    labels = list(writer.tables["accounts-payable/account-label"].rows)
    for entity in ENTITIES.values():
        for day in _some_days(random, entity, 6):
            vendor = random.choice(masters.vendors[entity.key])
            _document(
                writer,
                "accounts-payable/advance",
                "accounts-payable/advance-line",
                "apAdvance",
                {
                    "vendor.key": vendor,
                    "paymentDate": day.isoformat(),
                    "paymentMethod": "EFT",
                    "financialEntity.key": _bank(writer, entity.key),
                },
                [
                    {
                        "txnAmount": money(random.randrange(10_000, 900_000)),
                        "accountLabel.key": random.choice(labels),
                        "dimensions.location.key": entity.key,
                        "dimensions.vendor.key": vendor,
                    }
                ],
                entity=entity,
                when=touched(random, day),
            )


def _write_card_txns(writer: Writer, random: Random, masters: Masters) -> None:
    cards = list(writer.tables["cash-management/credit-card-account"].rows)
    for entity in ENTITIES.values():
        for day in _some_days(random, entity, 50):
            what = random.choice(PURCHASES)
            amount = money(random.randrange(900, 150_000))
            _document(
                writer,
                "cash-management/credit-card-txn",
                "cash-management/credit-card-txn-line",
                "creditCardTxn",
                {
                    "txnDate": day.isoformat(),
                    "payee": f"{what} Co",
                    "description": what,
                    "creditCardAccount.key": cards[int(entity.key) - 1],
                },
                [
                    {
                        "txnAmount": amount,
                        "totalTxnAmount": amount,
                        "description": what,
                        "glAccount.key": masters.accounts[random.choice(BILLED_EXPENSES)],
                        "dimensions.location.key": entity.key,
                    }
                ],
                entity=entity,
                when=touched(random, day),
            )


def _write_expenses(writer: Writer, random: Random, masters: Masters) -> None:
    types = writer.tables["expenses/employee-expense-type"].rows
    for entity in ENTITIES.values():
        for day in _some_days(random, entity, 40):
            employee = random.choice(masters.employees[entity.key])
            lines: list[Row] = []
            for _ in range(random.choice((1, 2, 3))):
                type_ = random.choice(list(types.values()))
                lines.append(
                    {
                        "txnAmount": money(random.randrange(800, 90_000)),
                        "entryDate": day.isoformat(),
                        "paidTo": random.choice(("Hotel", "Airline", "Restaurant", "Taxi")),
                        "expenseType.key": type_["key"],
                        "glAccount.key": type_["glAccount.key"],
                        "paymentType.key": random.choice(("1", "2")),
                        "dimensions.location.key": entity.key,
                        "dimensions.employee.key": employee,
                    }
                )
            number = writer.tables["expenses/employee-expense"].next_key
            _document(
                writer,
                "expenses/employee-expense",
                "expenses/employee-expense-line",
                "employeeExpense",
                {
                    "expenseReportNumber": f"EXP-{number:06d}",
                    "employee.key": employee,
                    "createdDate": day.isoformat(),
                    "postingDate": day.isoformat(),
                    "state": random.choice(("submitted", "approved", "posted")),
                    "basePayment.baseCurrency": entity.currency,
                    "reimbursement.reimbursementCurrency": entity.currency,
                },
                lines,
                entity=entity,
                when=touched(random, day),
            )


def _write_orders(writer: Writer, random: Random, masters: Masters) -> None:
    items = list(writer.tables["inventory-control/item"].rows)
    for application, party, parties, types in (
        ("purchasing", "vendor", masters.vendors, ("Purchase Order", "Vendor Invoice")),
        ("order-entry", "customer", masters.customers, ("Sales Order", "Sales Invoice")),
    ):
        for type_ in types:
            for entity in ENTITIES.values():
                for day in _some_days(random, entity, 15):
                    lines: list[Row] = []
                    for _ in range(random.choice((1, 2, 3))):
                        price, many = random.randrange(50, 2_000), random.randrange(1, 20)
                        lines.append(
                            {
                                "unit": "Each",
                                "unitQuantity": f"{many}.0000000000",
                                "unitPrice": f"{price}.0000000000",
                                "txnAmount": f"{price * many}.00",
                                "dimensions.item.key": random.choice(items),
                                "dimensions.location.key": entity.key,
                                "dimensions.warehouse.key": entity.key,
                            }
                        )
                    total = sum(int(str(line["txnAmount"])[:-3]) for line in lines)
                    table = writer.tables[f"{application}/document"]
                    number = f"{''.join(word[0] for word in type_.split())}{table.next_key:05d}"
                    key = _document(
                        writer,
                        f"{application}/document",
                        f"{application}/document-line",
                        "document",
                        {
                            "id": f"{type_}-{number}",
                            "documentNumber": number,
                            "documentType": type_,
                            "txnDate": day.isoformat(),
                            "dueDate": (day + timedelta(days=30)).isoformat(),
                            "state": random.choice(("pending", "closed", "converted")),
                            "subtotal": f"{total}.00",
                            "total": f"{total}.00",
                            f"{party}.key": random.choice(parties[entity.key]),
                            "term.key": "1",
                        },
                        lines,
                        entity=entity,
                        when=touched(random, day),
                    )
                    # A document type is an object of its own, with the same records.
                    writer.tables[f"{application}/document::{type_}"].put(table.rows[key])


def _write_summaries(writer: Writer, random: Random) -> None:
    """Write a batch of documents a week and an entity; nothing new is put into them."""
    for application, type_ in (("accounts-payable", "bill"), ("accounts-receivable", "invoice")):
        for entity in ENTITIES.values():
            for monday in (day for day in CALENDAR if day.weekday() == 0):
                made = moment(random, monday)
                table = writer.tables[f"{application}/summary"]
                writer.add(
                    f"{application}/summary",
                    {
                        "id": str(table.next_key),
                        "name": f"{type_.capitalize()}s: {monday:%Y/%m/%d} batch",
                        "summaryType": type_,
                        "glPostingDate": monday.isoformat(),
                        "state": "closed" if monday < LAST_DAY - timedelta(days=14) else "open",
                    },
                    entity=entity.key,
                    made=made,
                    changed=made,
                    by="1",
                )


def _write_audit_history(writer: Writer, random: Random) -> None:
    """Changes of masters within the 60 days, as the audit trail tells them."""
    for object_, field in (
        ("accounts-receivable/customer", "creditLimit"),
        ("accounts-payable/vendor", "paymentPriority"),
    ):
        for row in list(writer.tables[object_].rows.values())[::4]:
            made = str(row["audit.modifiedDateTime"])
            writer.add(
                "company-config/audit-history",
                {
                    "changeDetails.objectName": object_.rpartition("/")[2],
                    "changeDetails.objectId": row["id"],
                    "changeDetails.fieldName": field,
                    "changeDetails.previousValue": None,
                    "changeDetails.newValue": None if row.get(field) is None else str(row[field]),
                    "changeSource.completedBy": random.choice(("top", "usa")),
                    "changeSource.accessDateTime": made,
                    "changeSource.actionPerformed": "modify",
                    "changeSource.clientIPAddress": "192.0.2.10",
                    "changeSource.source": "Web Services",
                },
                entity=None,
                made=made,
                changed=made,
                by="1",
            )
