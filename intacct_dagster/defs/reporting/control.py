"""Control totals of the journal, by entity and day, with the checks that an accountant makes.

These checks are evaluated by partition, because a person corrects a day: three evaluations for a
partition of this one asset, whatever the number of objects.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.defs.checks.results import CheckResult, result_by_partition
from intacct_dagster.defs.failures import as_dagster_failure
from intacct_dagster.defs.partitions import (
    days_by_entity,
    entity_days,
    partition_key,
    partitions_of,
    tell_partitions,
)
from intacct_dagster.defs.reporting.analysts import analyst_keys
from intacct_dagster.defs.resources import warehouse_in
from intacct_dagster.defs.tables import column_schema, lineage, relation, table_of, table_rows
from intacct_dagster.naming import Names
from intacct_dagster.warehouse import Partition
from intacct_dagster.warehouse.reporting import (
    CONTROL_COLUMNS,
    Break,
    ControlTotals,
    control_general_ledger,
)

GROUP = "control"
_ENTRY = "general-ledger/journal-entry"
_LINE = "general-ledger/journal-entry-line"

_BREAKS = {
    "entity": "string",
    "day": "string",
    "posting_date": "string",
    "entry": "string",
    "reference": "string",
    "difference": "string",
}


@dataclass(frozen=True)
class ControlCheck:
    """A check of the control totals.

    Attributes:
        kinds: The kinds of breaks that fail it.
        good: The text of a passed check.
        bad: Returns the text of a failed check.
    """

    name: str
    description: str
    kinds: tuple[str, ...]
    severity: dg.AssetCheckSeverity
    good: str
    bad: Callable[[Sequence[Break]], str]

    def judge(self, totals: Sequence[ControlTotals], breaks: Sequence[Break]) -> CheckResult:
        """Return the result of the check for these totals and breaks; the oldest break is first."""
        found = [each for each in breaks if each.kind in self.kinds]
        entries = sum(each.entries for each in totals)
        text = (
            f"{self.bad(found)} The oldest is {_where(found[0])}. {_REMEDY}"
            if found
            else self.good.format(entries=f"{entries:,}")
            if entries
            else "No journal entry changed, so there was none to judge."
        )
        rows = (
            {
                **{name: getattr(each, name) for name in _BREAKS},
                "difference": f"{each.difference:.2f}",
            }
            for each in found
        )
        return CheckResult(
            not found,
            self.severity,
            text,
            {
                "entries": dg.MetadataValue.int(entries),
                "breaks": dg.MetadataValue.int(len(found)),
                "debit": dg.MetadataValue.text(f"{sum((t.debit for t in totals), Decimal()):.2f}"),
                "credit": dg.MetadataValue.text(
                    f"{sum((t.credit for t in totals), Decimal()):.2f}"
                ),
                **({"found": table_of(rows, _BREAKS)} if found else {}),
            },
        )


_REMEDY = (
    "Read both objects of the entity again for that day and the days around it; what was last "
    "changed before the first partition is only there with `history: all`. If it stays, look at "
    "the entry in Intacct."
)

CONTROL_CHECKS = (
    ControlCheck(
        "entries_balance",
        "Debits are credits in every journal entry in the books that changed in the partition.",
        ("unbalanced",),
        dg.AssetCheckSeverity.ERROR,
        "Debits are credits in each of {entries} entries.",
        lambda found: (
            f"{len(found):,} entries do not balance, by "
            f"{sum((abs(each.difference) for each in found), Decimal()):,.2f} together."
        ),
    ),
    ControlCheck(
        "trial_balance_is_zero",
        "The trial balance of the entity adds up to zero on every posting date that the entries "
        "of the partition are of.",
        ("dates_off",),
        dg.AssetCheckSeverity.ERROR,
        "All that is posted on the dates of {entries} entries adds up to zero.",
        lambda found: (
            f"{len(found):,} posting dates do not add up to zero, by "
            f"{sum((abs(each.difference) for each in found), Decimal()):,.2f} together."
        ),
    ),
    ControlCheck(
        "lines_and_entries_belong_together",
        "Every line has its entry in the warehouse, and every entry its lines.",
        ("without_entry", "without_lines"),
        # An entry that changed before the first partition is not in the warehouse, by the settings
        dg.AssetCheckSeverity.WARN,
        "{entries} entries have their lines, and all lines their entry.",
        lambda found: (
            f"{sum(each.kind == 'without_entry' for each in found):,} entries that lines name are "
            f"not there, and {sum(each.kind == 'without_lines' for each in found):,} have no line."
        ),
    ),
)


def _lineage(names: Names) -> dg.MetadataValue[Any]:
    entry, line, ledger = names.raw(_ENTRY), names.raw(_LINE), names.general_ledger
    touched = [(entry, "key"), (line, "journal_entry_key")]
    amounts = [(line, "txn_type"), (line, "base_amount")]
    return lineage(
        {
            "_entity": [(entry, "_entity"), (line, "_entity")],
            "_day": [(entry, "_day"), (line, "_day")],
            "entries": [*touched, (entry, "state")],
            "lines": touched,
            "debit": amounts,
            "credit": amounts,
            "unbalanced": amounts,
            "without_entry": touched,
            "without_lines": touched,
            "dates_off": [(ledger, "posting_date"), (ledger, "amount")],
        }
    )


def control_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Build the control totals if the settings have all objects of the general ledger."""
    names = Names.of(settings)
    key = names.control
    if names.general_ledger not in analyst_keys(settings):
        return []
    partitions = entity_days(settings)

    @dg.asset(
        key=key,
        deps=[names.raw(_ENTRY), names.raw(_LINE), names.general_ledger],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=names.group(GROUP),
        kinds={"duckdb"},
        description=(
            "Control totals of the journal: entries, lines, debits and credits of what changed in "
            "a partition, and what is wrong with it."
        ),
        metadata={
            **relation(settings, key),
            "dagster/column_schema": column_schema(CONTROL_COLUMNS),
            "dagster/column_lineage": _lineage(names),
        },
        required_resource_keys={names.warehouse},
        check_specs=[
            dg.AssetCheckSpec(
                check.name, asset=key, description=check.description, partitions_def=partitions
            )
            for check in CONTROL_CHECKS
        ],
    )
    def control(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        warehouse = warehouse_in(context, settings)
        partitions = partitions_of(days_by_entity(context.partition_keys))
        totals, breaks = as_dagster_failure(
            settings, control_general_ledger, warehouse.warehouse, partitions
        )
        tell_partitions(context, key, dict(map(_metadata, totals)))
        yield dg.MaterializeResult(metadata=table_rows(settings, warehouse, [key])[key])
        for check in CONTROL_CHECKS:
            by_partition = dict(_check_partitions(check, totals, breaks))
            together = check.judge(totals, breaks)
            yield result_by_partition(context, key, check.name, together, by_partition)

    return [control]


def _metadata(totals: ControlTotals) -> tuple[dg.MultiPartitionKey, dict[str, Any]]:
    return partition_key(totals.entity, totals.day), {
        "dagster/partition_row_count": 1,
        "entries": totals.entries,
        "lines": totals.lines,
        "debit": f"{totals.debit:.2f}",
        "credit": f"{totals.credit:.2f}",
    }


def _check_partitions(
    check: ControlCheck, totals: Sequence[ControlTotals], breaks: Sequence[Break]
) -> Iterator[tuple[dg.MultiPartitionKey, CheckResult]]:
    by_partition: dict[Partition, list[Break]] = {}
    for each in breaks:
        by_partition.setdefault((each.entity, each.day), []).append(each)
    for total in totals:
        partition = total.entity, total.day
        yield partition_key(*partition), check.judge([total], by_partition.get(partition, []))


def _where(each: Break) -> str:
    what = f"entry {each.reference or each.entry}" if each.entry else "the date as a whole"
    dated = f" of {each.posting_date}" if each.posting_date else ""
    off = f", {each.difference:,.2f} off" if each.difference else ""
    return f"{what}{dated} in {each.entity}{off} (it changed on {each.day})"
