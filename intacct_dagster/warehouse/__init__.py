"""The warehouse: what Intacct holds, what the source says, and how the two agree, in DuckDB.

Knows neither Dagster nor Intacct: it is given files of rows, files of source documents and the
posting ledger's states, and keeps tables that analysts read.
"""

from intacct_dagster.warehouse.database import (
    Warehouse,
)
from intacct_dagster.warehouse.errors import (
    FeedError,
    LoadRefused,
    WarehouseError,
    WarehouseLocked,
    WarehouseUnreadable,
)
from intacct_dagster.warehouse.partitions import (
    Partition,
)
from intacct_dagster.warehouse.snapshot import (
    Published,
    Snapshot,
    snapshot_path,
)
from intacct_dagster.warehouse.tables import (
    TableColumn,
)
from intacct_dagster.warehouse.types import (
    Column,
    column_for,
    column_type,
)

__all__ = [
    "Column",
    "FeedError",
    "LoadRefused",
    "Partition",
    "Published",
    "Snapshot",
    "TableColumn",
    "Warehouse",
    "WarehouseError",
    "WarehouseLocked",
    "WarehouseUnreadable",
    "column_for",
    "column_type",
    "snapshot_path",
]
