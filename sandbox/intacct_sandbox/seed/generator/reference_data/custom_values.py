"""Custom fields, and grants of lines."""

from __future__ import annotations

from datetime import timedelta
from random import Random

from intacct_sandbox.control.clock import FIRST_DAY
from intacct_sandbox.objects.tables import Row
from intacct_sandbox.seed.generator.writer import (
    Writer,
)


def write_custom_values(writer: Writer, random: Random) -> None:
    """Write the custom fields of some customers and vendors, the grants of some lines. Their change
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
