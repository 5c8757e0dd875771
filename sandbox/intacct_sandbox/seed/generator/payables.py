"""Bills and their lines."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random

from intacct_sandbox.company import ENTITIES, LegalEntity
from intacct_sandbox.control.clock import LAST_DAY
from intacct_sandbox.objects.catalogue import Json

from .chart_of_accounts import BILLED_EXPENSES
from .masters import Masters
from .names import PURCHASES
from .receivables import quiet
from .writer import CALENDAR, Writer, amounts, money, touched

_BILLS_A_WEEKDAY = {"E110": 16, "E120": 9, "E130": 6, "E140": 8}


def write_bills(writer: Writer, random: Random, masters: Masters) -> None:
    """Write all bills, day by day."""
    for day in CALENDAR:
        for entity in ENTITIES.values():
            for _ in range(quiet(day, _BILLS_A_WEEKDAY[entity.id])):
                _write_bill(writer, random, masters, entity, day)


def _write_bill(
    writer: Writer, random: Random, masters: Masters, entity: LegalEntity, day: date
) -> None:
    lines = [
        (random.choice(BILLED_EXPENSES), random.choice(PURCHASES), random.randrange(2_000, 600_000))
        for _ in range(random.choices((1, 2, 3, 4), weights=(4, 3, 2, 1))[0])
    ]
    total = sum(cents for *_, cents in lines)
    made, changed = touched(random, day)
    paid = (LAST_DAY - day).days > 25 and random.random() < 0.6
    vendor = random.choice(masters.vendors[entity.key])
    values: dict[str, Json] = {
        "billNumber": f"{random.choice('ABCDEFGH')}{random.randrange(10**6):06d}",
        "createdDate": day.isoformat(),
        "postingDate": day.isoformat(),
        "dueDate": (day + timedelta(days=30)).isoformat(),
        "description": lines[0][1],
        "vendor.key": vendor,
        "state": "paid" if paid else "posted",
        **amounts(entity.currency, day, total, changed[:10] if paid else None),
    }
    audit = {
        "entity": entity.key,
        "made": made,
        "changed": changed,
        "by": str(int(entity.key) + 1),
    }
    key = writer.add("accounts-payable/bill", values, **audit)
    place = random.choice(masters.places[entity.key])
    department = masters.departments[random.choice(("100", "200", "300", "400", "600", "800"))]
    for number, (account, what, cents) in enumerate(lines, start=1):
        writer.add(
            "accounts-payable/bill-line",
            {
                "bill.key": key,
                "lineNumber": number,
                "txnAmount": money(cents),
                "baseAmount": money(cents),
                "memo": what,
                "glAccount.key": masters.accounts[account],
                "currency.baseCurrency": entity.currency,
                "currency.txnCurrency": entity.currency,
                "dimensions.location.key": place,
                "dimensions.department.key": department,
                "dimensions.vendor.key": vendor,
            },
            **audit,
        )
