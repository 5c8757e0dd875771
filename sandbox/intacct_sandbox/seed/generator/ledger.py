"""Journal entries and their lines: every entry balances within its entity."""

from __future__ import annotations

from datetime import date
from random import Random
from typing import TypeAlias

from intacct_sandbox.company import ENTITIES, LegalEntity

from .masters import Masters
from .receivables import quiet
from .writer import CALENDAR, Writer, money, period_key, touched

_ENTRIES_A_WEEKDAY = {"E110": 18, "E120": 10, "E130": 6, "E140": 8}

Pattern: TypeAlias = tuple[str, str, tuple[str, ...], tuple[str, ...]]
"""Journal, what for, accounts that are debited, accounts that are credited."""

PATTERNS: tuple[Pattern, ...] = (
    ("GJ", "Accrued expenses", ("60310", "60320", "60700", "60720"), ("20100",)),
    ("GJ", "Expense reclassification", ("60500", "60510", "60520"), ("60340", "60400")),
    ("PYRL", "Payroll", ("60100", "60110", "60130"), ("10020", "20200", "20300")),
    ("ADJ", "Prepaid amortization", ("60900", "60400"), ("14100", "14200")),
    ("CRJ", "Customer receipts", ("10010", "10100"), ("12000", "22000")),
    ("CDJ", "Vendor payments", ("20000", "20500"), ("10010",)),
    ("FAJ", "Depreciation", ("61000",), ("15500", "15510", "15520")),
    ("REV", "Revenue recognition", ("21000",), ("40300", "40400", "40600")),
)
"""What is entered by hand and by routine."""

DEPARTMENTS = ("310", "320", "400", "500", "600")
"""What entries are charged to."""


def write_entries(writer: Writer, random: Random, masters: Masters) -> None:
    """Write all journal entries, day by day."""
    for day in CALENDAR:
        for entity in ENTITIES.values():
            for _ in range(quiet(day, _ENTRIES_A_WEEKDAY[entity.id])):
                _write_entry(writer, random, masters, entity, day)


def _shares(random: Random, total: int, parts: int) -> list[int]:
    """`total` cents cut into parts of at least one cent."""
    cuts = sorted(random.sample(range(1, total), parts - 1))
    return [after - before for before, after in zip([0, *cuts], [*cuts, total], strict=True)]


def _write_entry(
    writer: Writer, random: Random, masters: Masters, entity: LegalEntity, day: date
) -> None:
    journal, what, debits, credits_ = random.choice(PATTERNS)
    total = random.randrange(10_000, 2_500_000)
    sides = [
        ("debit", random.choices(debits, k=random.randint(1, 3))),
        ("credit", random.choices(credits_, k=random.randint(1, 3))),
    ]
    made, changed = touched(random, day)
    audit = {"entity": entity.key, "made": made, "changed": changed, "by": "1"}
    table = writer.tables["general-ledger/journal-entry"]
    key = table.take_key()
    writer.add(
        "general-ledger/journal-entry",
        {
            "glJournal.key": masters.journals[journal],
            "postingDate": day.isoformat(),
            "description": f"{what} {day:%d %b}",
            "referenceNumber": f"{journal}-{key}",
            "txnNumber": int(key),
            "baseLocation.key": entity.key,
        },
        key=key,
        **audit,
    )
    place = random.choice(masters.places[entity.key])
    number = 0
    for side, accounts in sides:
        shares = _shares(random, total, len(accounts))
        for account, cents in zip(accounts, shares, strict=True):
            number += 1
            writer.add(
                "general-ledger/journal-entry-line",
                {
                    "journalEntry.key": key,
                    "lineNumber": number,
                    "txnType": side,
                    "txnAmount": money(cents),
                    "baseAmount": money(cents),
                    "entryDate": day.isoformat(),
                    "description": what,
                    "glAccount.key": masters.accounts[account],
                    "accountingPeriod.key": period_key(day),
                    "currency.baseCurrency": entity.currency,
                    "currency.txnCurrency": entity.currency,
                    "currency.exchangeRate": 1,
                    "currency.exchangeRateDate": day.isoformat(),
                    "dimensions.location.key": place,
                    "dimensions.department.key": masters.departments[random.choice(DEPARTMENTS)],
                },
                **audit,
            )
