"""Checks of a reconciliation: nothing stands twice in Intacct, and what was posted has a source."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import dagster as dg

from intacct_dagster.defs.checks.results import CheckResult
from intacct_dagster.defs.tables import table_of
from intacct_dagster.warehouse.reconciliation import FlaggedDocument

_DOCUMENTS = {"entity": "string", "source_id": "string", "reason": "string", "amount": "string"}


@dataclass(frozen=True)
class ReconciledCheck:
    """A check that no document has a certain status.

    Attributes:
        name: The name of the check.
        status: The status.
        description: What the check promises.
        passed: What it says where no document has that status.
        remedy: What to do about those that have it.
    """

    name: str
    status: str
    description: str
    passed: str
    remedy: str

    def judge(self, number: int, flagged: Sequence[FlaggedDocument]) -> CheckResult:
        """Return the result for so many documents of the status, the first of them `flagged`."""
        rows = (
            {
                "entity": each.entity,
                "source_id": each.source_id,
                "reason": each.reason,
                "amount": str(each.amount),
            }
            for each in flagged
        )
        shown = sum((each.amount for each in flagged), Decimal())
        return CheckResult(
            not number,
            dg.AssetCheckSeverity.ERROR,
            f"{number:,} {'document' if number == 1 else 'documents'}: {flagged[0].source_id} of "
            f"{flagged[0].entity} ({flagged[0].reason})"
            f"{', and others' if number > 1 else ''}. {self.remedy}"
            if number and flagged
            else self.passed,
            {
                "documents": dg.MetadataValue.int(number),
                **(
                    {
                        "listed": table_of(rows, _DOCUMENTS),
                        "amount_listed": dg.MetadataValue.text(str(shown)),
                    }
                    if number
                    else {}
                ),
            },
        )


STANDS_ONCE = ReconciledCheck(
    "stands_once",
    "duplicate_in_intacct",
    "No document of the source stands twice in Intacct.",
    "No document stands twice in Intacct.",
    "Reverse the one that is too much, in Intacct, and run this again.",
)
STILL_IN_SOURCE = ReconciledCheck(
    "still_in_source",
    "cancelled",
    "Every document that was posted from here is still in its source.",
    "Every document that was posted is still in its source.",
    "If the source cancelled it, reverse it (`intacct-dagster posting reverse`); if a file is "
    "missing, put it back.",
)
RECONCILED_CHECKS = (STANDS_ONCE, STILL_IN_SOURCE)
