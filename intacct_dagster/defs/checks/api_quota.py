"""The month's API transactions, compared with what the company's Sage plan allows."""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.defs.pictures import GOOD, PLAIN, bars
from intacct_dagster.defs.resources import warehouse_in
from intacct_dagster.defs.tables import table_of
from intacct_dagster.naming import Names

API_QUOTA = "api_quota"
#: The part of the quota from which on the check warns.
WARN_AT = 0.8

#: Objects in a picture; the table has more.
_SHOWN = 15
_BY_OBJECT = {"object": "string", "requests": "int", "api_transactions": "int"}


def api_quota_check(settings: Settings) -> dg.AssetChecksDefinition:
    """Build the check that warns before the month's API transactions are used up.

    Sage bills what exceeds them.
    """
    allowed = settings.limits.monthly_transactions
    names = Names.of(settings)

    @dg.asset_check(
        asset=names.sage_intacct,
        name=API_QUOTA,
        description=(
            f"Fewer than {WARN_AT:.0%} of the {allowed:,} API transactions that the plan allows a "
            "month were spent, by all runs of this instance together."
        ),
        required_resource_keys={names.warehouse},
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        warehouse = warehouse_in(context, settings)
        now = datetime.now(UTC)
        account = warehouse.api_usage(settings.company)
        found = check_quota(account.spent(now), allowed, now)
        return found._replace(metadata={**found.metadata, **_by_object(account.by_object(now))})

    return check


def check_quota(spent: int, allowed: int, now: datetime) -> dg.AssetCheckResult:
    """Return the result on a day: passed while less than WARN_AT of what is allowed is spent."""
    return dg.AssetCheckResult(
        passed=spent < WARN_AT * allowed,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"{spent:,} of {allowed:,} API transactions ({spent / allowed:.0%}) spent in "
            f"{now:%B %Y} by the {now.day}."
        ),
        metadata={"month_to_date": spent, "allowance": allowed},
    )


def _by_object(spent: Sequence[tuple[str, int, int]]) -> dict[str, dg.MetadataValue]:
    """Return the cost of the month by object, the highest first, as a picture and as a table."""
    if not spent:
        return {}
    rows = (
        {"object": name, "requests": requests, "api_transactions": billed}
        for name, requests, billed in spent
    )
    return {
        "cost_by_object": bars(
            "API transactions of the month, by object",
            [(name, {"API transactions": billed}) for name, _, billed in spent[:_SHOWN]],
            {"API transactions": PLAIN},
        ),
        "requests_by_object": bars(
            "Requests of the month, by object",
            [(name, {"requests": requests}) for name, requests, _ in spent[:_SHOWN]],
            {"requests": GOOD},
        ),
        "by_object": table_of(rows, _BY_OBJECT),
    }
