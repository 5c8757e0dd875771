"""The check on values that could not be converted: null in their column, the text in quarantine."""

from collections.abc import Sequence

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.defs.checks.results import CheckResult, result
from intacct_dagster.defs.failures import as_dagster_failure
from intacct_dagster.defs.resources import warehouse_in
from intacct_dagster.defs.tables import table_of
from intacct_dagster.naming import Names
from intacct_dagster.warehouse.raw.quarantine import Quarantined, quarantined

CONVERTED = "values_are_converted"

_VALUES = {
    "object": "string",
    "path": "string",
    "column_type": "string",
    "values": "int",
    "key": "string",
    "value": "string",
    "reason": "string",
}


def quarantined_values_check(settings: Settings) -> dg.AssetChecksDefinition:
    """Build the check that each value of the last loads is in its column as it was sent."""
    objects = [each.name for each in settings.objects]
    names = Names.of(settings)

    @dg.asset_check(
        asset=names.sage_intacct,
        name=CONVERTED,
        description=(
            "Every value in `intacct.<object>` is there as Intacct sent it. Others are null or "
            "rounded, and as they were sent in `raw.quarantine`, with the reason."
        ),
        required_resource_keys={names.warehouse},
    )
    def converted(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        warehouse = warehouse_in(context, settings)
        found = as_dagster_failure(settings, quarantined, warehouse.warehouse, objects)
        return result(names.sage_intacct, CONVERTED, check_converted(found))

    return converted


def check_converted(found: Sequence[Quarantined]) -> CheckResult:
    """Return the result for the values that are in quarantine, by field."""
    if not found:
        return CheckResult(
            passed=True,
            severity=dg.AssetCheckSeverity.WARN,
            description="Every value is in its column as it was sent.",
            metadata={"values": dg.MetadataValue.int(0)},
        )
    first = found[0]
    count = sum(each.values for each in found)
    reason = f" ({first.reason})" if first.reason else ""
    rows = [{name: getattr(each, name) for name in _VALUES} for each in found]
    return CheckResult(
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"{count:,} values could not be converted as they are, most of them of {first.path} of "
            f"{first.object}: '{first.value}' of the record with key {first.key} is not a "
            f"{first.column_type}{reason}. raw.quarantine has all of them. Correct them in "
            f"Intacct, or give the field another type: `types: {{{first.path}: text}}` of "
            f"{first.object} in intacct.yaml."
        ),
        metadata={"values": dg.MetadataValue.int(count), "fields": table_of(rows, _VALUES)},
    )
