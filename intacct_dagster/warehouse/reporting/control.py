"""Control totals of the journal, by entity and day of change: `control.general_ledger`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.errors import NotMaterialized
from intacct_dagster.warehouse.partitions import Partition, delete_partitions, stage_partitions
from intacct_dagster.warehouse.sql import identifier, statement
from intacct_dagster.warehouse.tables import AMOUNT, TableColumn, ensure_table, existing_columns

CONTROL = "control"
_TABLE = "general_ledger"
_ABOUT = (
    "Control totals of the journal: a row is an entity's day, with the entries in the books that"
    " changed then. What the last four count should be 0."
)
CONTROL_COLUMNS = (
    TableColumn("_entity", "VARCHAR", "The entity: half the partition"),
    TableColumn("_day", "DATE", "The UTC day of change: the partition's other half"),
    TableColumn("entries", "BIGINT", "Entries that changed, or a line of which did"),
    TableColumn("lines", "BIGINT", "Their lines, on whatever day those changed"),
    TableColumn("debit", AMOUNT, "Debits of these lines, in the entity's currency"),
    TableColumn("credit", AMOUNT, "Credits of these lines, in the entity's currency"),
    TableColumn("unbalanced", "BIGINT", "Entries whose debits are not their credits"),
    TableColumn("without_entry", "BIGINT", "Entries that lines name and the warehouse has not"),
    TableColumn("without_lines", "BIGINT", "Entries of which the warehouse has no line"),
    TableColumn("dates_off", "BIGINT", "Posting dates touched whose trial balance is not zero"),
)


@dataclass(frozen=True, slots=True)
class ControlTotals:
    """A partition's row of `control.general_ledger`; see its columns."""

    entity: str
    day: date
    entries: int
    lines: int
    debit: Decimal
    credit: Decimal
    unbalanced: int
    without_entry: int
    without_lines: int
    dates_off: int


@dataclass(frozen=True, slots=True)
class Break:
    """An entry that does not balance, is not there, or has no lines; or a date that does not.

    `kind` is the column of the control totals that counts it. `entry` and `reference` are None of a
    date.
    """

    entity: str
    day: date
    kind: str
    posting_date: date | None
    entry: str | None
    reference: str | None
    difference: Decimal


def control_general_ledger(
    file: Warehouse, partitions: Collection[Partition]
) -> tuple[list[ControlTotals], list[Break]]:
    """Replace the partitions' control totals; what they are, and what breaks them, oldest first.

    One statement for all partitions. Raises NotMaterialized before the view that it needs is made.
    """
    with file.staging() as staging:
        stage_partitions(staging.connection, partitions)
        with staging.attached(read_only=True) as connection:
            if not existing_columns(connection, CATALOG, "intacct", _TABLE):
                raise NotMaterialized(
                    "There is no intacct.general_ledger yet.\nMaterialize it first."
                )
            connection.execute(f"USE {CATALOG}")
            connection.execute(statement(__name__, "control_entries"))
            connection.execute(statement(__name__, "control_days"))
        with staging.transaction() as connection:
            ensure_table(connection, CATALOG, CONTROL, _TABLE, CONTROL_COLUMNS, _ABOUT)
            table = identifier(CATALOG, CONTROL, _TABLE)
            delete_partitions(connection, table)
            connection.execute(
                f"INSERT INTO {table} BY NAME {statement(__name__, 'control_fresh')}"
            )
            names = ", ".join(f"control.{identifier(each.name)}" for each in CONTROL_COLUMNS)
            totals = connection.execute(
                f"SELECT {names} FROM {table} AS control SEMI JOIN memory.main.partitions AS asked"
                " ON asked.entity = _entity AND asked.day = _day ORDER BY _day, _entity"
            ).fetchall()
            breaks = connection.execute(statement(__name__, "control_breaks")).fetchall()
    return [ControlTotals(*row) for row in totals], [Break(*row) for row in breaks]
