"""The month's API transactions against what the company's Sage plan allows."""

from datetime import UTC, datetime

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.defs.raw import SAGE_INTACCT
from intacct_dagster.defs.resources import WarehouseResource

WITHIN_ALLOWANCE = "within_the_months_allowance"
#: From this part of the allowance on, someone should look.
WARN_AT = 0.8


def allowance_check(settings: Settings) -> dg.AssetChecksDefinition:
    """Warns before the month's API transactions are used up; Sage bills what exceeds them."""
    allowed = settings.limits.monthly_transactions

    @dg.asset_check(
        asset=SAGE_INTACCT,
        name=WITHIN_ALLOWANCE,
        description=(
            f"Fewer than {WARN_AT:.0%} of the {allowed:,} API transactions that the plan allows a "
            "month were spent, by all runs of this instance together."
        ),
    )
    def check(warehouse: WarehouseResource) -> dg.AssetCheckResult:
        now = datetime.now(UTC)
        return verdict(warehouse.allowance(settings.company).spent(now), allowed, now)

    return check


def verdict(spent: int, allowed: int, now: datetime) -> dg.AssetCheckResult:
    """What the month's total says on a day: passed below WARN_AT of what is allowed."""
    return dg.AssetCheckResult(
        passed=spent < WARN_AT * allowed,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"{spent:,} of {allowed:,} API transactions ({spent / allowed:.0%}) spent in "
            f"{now:%B %Y} by the {now.day}."
        ),
        metadata={"month_to_date": spent, "allowance": allowed},
    )
