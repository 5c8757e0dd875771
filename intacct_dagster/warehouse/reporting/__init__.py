from intacct_dagster.warehouse.reporting.control import (
    CONTROL_COLUMNS,
    Break,
    ControlTotals,
    control_general_ledger,
)
from intacct_dagster.warehouse.reporting.finance import (
    ANALYST_VIEWS,
    AnalystView,
    posted_by_day,
    refresh_analysts,
)

__all__ = [
    "ANALYST_VIEWS",
    "CONTROL_COLUMNS",
    "AnalystView",
    "Break",
    "ControlTotals",
    "control_general_ledger",
    "posted_by_day",
    "refresh_analysts",
]
