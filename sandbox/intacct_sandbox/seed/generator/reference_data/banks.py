"""Bank accounts and receipt batches."""

from __future__ import annotations

from datetime import timedelta

from intacct_sandbox.company import ENTITIES
from intacct_sandbox.control.clock import LAST_DAY
from intacct_sandbox.objects.tables import Row
from intacct_sandbox.seed.generator.masters import Masters

from .shared_records import SharedRecords


def write_banks(shared: SharedRecords, masters: Masters) -> None:
    """Write each entity's checking, savings and credit card account."""
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


def write_receipt_batches(shared: SharedRecords, masters: Masters) -> None:
    """Write the batches that receipts are collected in."""
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
