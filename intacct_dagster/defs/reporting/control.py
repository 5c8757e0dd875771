"""Control totals of the journal, by entity and day, with the checks that an accountant makes.

These are judged by partition, because a person mends a day: three evaluations for a partition of
this one asset, whatever the number of objects.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.defs.checks.results import Verdict, evaluation, result
from intacct_dagster.defs.extraction.raw import raw_key
from intacct_dagster.defs.failures import plainly
from intacct_dagster.defs.partitions import (
    days_by_entity,
    entity_days,
    partition_key,
    partitions_of,
    tell_partitions,
)
from intacct_dagster.defs.reporting.analysts import analyst_keys
from intacct_dagster.defs.resources import WarehouseResource
from intacct_dagster.defs.tables import column_schema, lineage, relation, table_of, table_rows
from intacct_dagster.warehouse.reporting import (
    CONTROL_COLUMNS,
    Break,
    ControlTotals,
    control_general_ledger,
)

GROUP = "control"
CONTROL = dg.AssetKey(["control", "general_ledger"])
_ENTRY = "general-ledger/journal-entry"
_LINE = "general-ledger/journal-entry-line"
LEDGER = dg.AssetKey(["intacct", "general_ledger"])

_BREAKS = {
    "entity": "string",
    "day": "string",
    "posting_date": "string",
    "entry": "string",
    "reference": "string",
    "difference": "string",
}


@dataclass(frozen=True)
class _Check:
    """A check of the control totals: what it promises, which breaks count, and what is said."""

    name: str
    promise: str
    kinds: tuple[str, ...]
    severity: dg.AssetCheckSeverity
    good: str
    bad: Callable[[Sequence[Break]], str]

    def judge(self, totals: Sequence[ControlTotals], breaks: Sequence[Break]) -> Verdict:
        found = [each for each in breaks if each.kind in self.kinds]
        entries = sum(each.entries for each in totals)
        told = (
            f"{self.bad(found)} The oldest is {_where(found[0])}. {_REMEDY}"
            if found
            else self.good.format(entries=f"{entries:,}")
        )
        rows = (
            {
                **{name: getattr(each, name) for name in _BREAKS},
                "difference": f"{each.difference:.2f}",
            }
            for each in found
        )
        return Verdict(
            not found,
            self.severity,
            told,
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
    _Check(
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
    _Check(
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
    _Check(
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


def _lineage() -> dg.MetadataValue[Any]:
    entry, line = raw_key(_ENTRY), raw_key(_LINE)
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
            "dates_off": [(LEDGER, "posting_date"), (LEDGER, "amount")],
        }
    )


def control_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """The control totals, where the settings have all objects of the general ledger; else none."""
    if LEDGER not in analyst_keys(settings):
        return []
    partitions = entity_days(settings)

    @dg.asset(
        key=CONTROL,
        deps=[raw_key(_ENTRY), raw_key(_LINE), LEDGER],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=GROUP,
        kinds={"duckdb"},
        description=(
            "Control totals of the journal: entries, lines, debits and credits of what changed in "
            "a partition, and what is amiss with it."
        ),
        metadata={
            **relation(settings, CONTROL),
            "dagster/column_schema": column_schema(CONTROL_COLUMNS),
            "dagster/column_lineage": _lineage(),
        },
        check_specs=[
            dg.AssetCheckSpec(
                check.name, asset=CONTROL, description=check.promise, partitions_def=partitions
            )
            for check in CONTROL_CHECKS
        ],
    )
    def control(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        days = days_by_entity(context.partition_keys)
        totals, breaks = plainly(
            settings, control_general_ledger, warehouse.warehouse, partitions_of(days)
        )
        broken: dict[tuple[str, str], list[Break]] = {}
        for each in breaks:
            broken.setdefault((each.entity, each.day.isoformat()), []).append(each)
        tell_partitions(
            context,
            CONTROL,
            {
                partition_key(each.entity, each.day): {
                    "dagster/partition_row_count": 1,
                    "entries": each.entries,
                    "lines": each.lines,
                    "debit": f"{each.debit:.2f}",
                    "credit": f"{each.credit:.2f}",
                }
                for each in totals
            },
        )
        yield dg.MaterializeResult(metadata=table_rows(settings, warehouse, [CONTROL])[CONTROL])
        for check in CONTROL_CHECKS:
            if not context.has_partition_key:
                for each_total in totals:
                    mine = broken.get((each_total.entity, each_total.day.isoformat()), [])
                    context.log_event(
                        evaluation(
                            CONTROL,
                            check.name,
                            check.judge([each_total], mine),
                            partition_key(each_total.entity, each_total.day),
                        )
                    )
            yield result(CONTROL, check.name, check.judge(totals, breaks))

    return [control]


def _where(each: Break) -> str:
    what = f"entry {each.reference or each.entry}" if each.entry else "the date as a whole"
    dated = f" of {each.posting_date}" if each.posting_date else ""
    off = f", {each.difference:,.2f} off" if each.difference else ""
    return f"{what}{dated} in {each.entity}{off} (it changed on {each.day})"
