"""AR invoices and their lines. About a quarter came from the billing system and say so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from random import Random

from intacct_sandbox.company import ENTITIES, LegalEntity
from intacct_sandbox.control.clock import LAST_DAY
from intacct_sandbox.objects.catalogue import Json

from .chart_of_accounts import DELIVERING_DEPARTMENTS, REVENUE_WITH_DEPARTMENT, REVENUE_WITHOUT
from .masters import Masters
from .names import SERVICES
from .writer import CALENDAR, Writer, amounts, money, touched

INVOICES_A_WEEKDAY = {"E110": 54, "E120": 29, "E130": 19, "E140": 23}
"""How many each entity writes; on a day of the weekend two fifths of it."""

BILLING_NUMBERS_A_DAY = 500
"""The billing system numbers its invoices by day: this many numbers are set apart for each."""

_FROM_BILLING = 0.24


def billing_number(day: date, place: int) -> str:
    """`BR-` and a number; `place` counts within the day, below `BILLING_NUMBERS_A_DAY`."""
    since = (day - CALENDAR[0]).days
    return f"BR-{100_000 + since * BILLING_NUMBERS_A_DAY + place}"


def quiet(day: date, count: int) -> int:
    """Return how many documents a day sees: fewer on weekends."""
    return count if day.weekday() < 5 else count * 2 // 5


def invoice_lines(random: Random) -> Iterator[tuple[str, str | None, str, int]]:
    """Yield one to four lines: account, department (both as ids), what it is for, cents."""
    for _ in range(random.choices((1, 2, 3, 4), weights=(45, 32, 15, 8))[0]):
        department = random.choice(DELIVERING_DEPARTMENTS)
        if random.random() < 0.45:
            account = random.choice(REVENUE_WITH_DEPARTMENT)
        else:
            account = random.choice(REVENUE_WITHOUT)
            if random.random() < 0.3:
                yield account, None, random.choice(SERVICES), random.randrange(5_000, 900_000)
                continue
        yield account, department, random.choice(SERVICES), random.randrange(5_000, 900_000)


def write_invoices(writer: Writer, random: Random, masters: Masters) -> None:
    """Write all invoices, day by day."""
    for day in CALENDAR:
        numbers = random.sample(range(BILLING_NUMBERS_A_DAY), k=120)
        for entity in ENTITIES.values():
            for _ in range(quiet(day, INVOICES_A_WEEKDAY[entity.id])):
                from_billing = random.random() < _FROM_BILLING
                number = billing_number(day, numbers.pop()) if from_billing else None
                _write_invoice(writer, random, masters, entity, day, number)


def _write_invoice(
    writer: Writer,
    random: Random,
    masters: Masters,
    entity: LegalEntity,
    day: date,
    billing: str | None,
) -> None:
    lines = list(invoice_lines(random))
    total = sum(cents for *_, cents in lines)
    made, changed = touched(random, day)
    by = random.choice(("1", str(int(entity.key) + 1)))
    due = day + timedelta(days=30)
    paid = (LAST_DAY - day).days > 21 and random.random() < 0.4
    key = writer.tables["accounts-receivable/invoice"].take_key()
    values: dict[str, Json] = {
        "invoiceNumber": f"INV-{int(key):06d}",
        "invoiceDate": day.isoformat(),
        "dueDate": due.isoformat(),
        "discountCutOffDate": day.isoformat(),
        "description": lines[0][2],
        "customer.key": random.choice(masters.customers[entity.key]),
        "state": "paid" if paid else "posted",
        **amounts(entity.currency, day, total, changed[:10] if paid else None),
    }
    if billing:
        values["referenceNumber"] = billing
    audit = {"entity": entity.key, "made": made, "changed": changed, "by": by}
    writer.add("accounts-receivable/invoice", values, key=key, **audit)
    place = random.choice(masters.places[entity.key])
    for number, (account, department, what, cents) in enumerate(lines, start=1):
        line: dict[str, Json] = {
            "invoice.key": key,
            "lineNumber": number,
            "txnAmount": money(cents),
            "baseAmount": money(cents),
            "memo": what,
            "glAccount.key": masters.accounts[account],
            "currency.baseCurrency": entity.currency,
            "currency.txnCurrency": entity.currency,
            "dimensions.location.key": place,
            "dimensions.customer.key": values["customer.key"],
        }
        if department:
            line["dimensions.department.key"] = masters.departments[department]
        writer.add("accounts-receivable/invoice-line", line, **audit)
