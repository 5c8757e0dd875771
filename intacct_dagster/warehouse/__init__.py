"""The warehouse: what Intacct holds, what the source says, and how the two agree, in DuckDB.

Knows neither Dagster nor Intacct: it is given files of rows, files of source documents and the
posting ledger's states, and keeps tables that analysts read.
"""

from intacct_dagster.warehouse.allowance import Allowance
from intacct_dagster.warehouse.analysts import (
    ANALYST_VIEWS,
    AnalystView,
    posted_by_day,
    refresh_analysts,
)
from intacct_dagster.warehouse.approvals import Approvals
from intacct_dagster.warehouse.catalogue import (
    CatalogueField,
    read_catalogue,
    store_catalogue,
)
from intacct_dagster.warehouse.control import (
    CONTROL_COLUMNS,
    Break,
    ControlTotals,
    control_general_ledger,
)
from intacct_dagster.warehouse.crosswalk import CROSSWALK_COLUMNS, Crosswalk, refresh_crosswalk
from intacct_dagster.warehouse.current import CurrentView, sample_rows
from intacct_dagster.warehouse.duckdb_file import DuckDBFile, Workbench
from intacct_dagster.warehouse.duckdb_warehouse import Warehouse
from intacct_dagster.warehouse.due import (
    DuePlan,
    OpenDocuments,
    due_plans,
    open_documents,
    uncertain_partitions,
    unposted_plans,
    unread_days,
)
from intacct_dagster.warehouse.errors import (
    FeedError,
    KeptPagesUnreadable,
    LoadRefused,
    NotMaterialized,
    ReconciliationRefused,
    SchemaChanged,
    WarehouseError,
    WarehouseLocked,
    WarehouseUnreadable,
)
from intacct_dagster.warehouse.expression import tables_of
from intacct_dagster.warehouse.feed import (
    FeedResult,
    partitions_of_files,
    quarantined_lines,
    read_feed,
)
from intacct_dagster.warehouse.feed_folder import FeedFolder, Stamp
from intacct_dagster.warehouse.feed_spec import Computed, CsvForm, FeedSpec, Kind, constant
from intacct_dagster.warehouse.kept_pages import KeptLoad, KeptPages, kept_loads, rebuild
from intacct_dagster.warehouse.ledger import (
    Accepted,
    Chunk,
    ChunkState,
    Entry,
    Item,
    ItemState,
    LastChange,
    Ledger,
    LedgerError,
    Posted,
    Rejected,
    Request,
)
from intacct_dagster.warehouse.lines import LinesOfDocuments, Parents, join_lines
from intacct_dagster.warehouse.outcomes import (
    OUTCOME_COLUMNS,
    Leave,
    Outcome,
    Outcomes,
    Proof,
    replace_changes,
    replace_outcomes,
)
from intacct_dagster.warehouse.partitions import Partition
from intacct_dagster.warehouse.payload import amount_text, payload, payload_hash
from intacct_dagster.warehouse.plan import (
    PLAN_COLUMNS,
    SHOWN_HASH,
    Mark,
    PlanHash,
    PlannedDocument,
    ToPost,
    by_partition,
    find_twins,
    plan_hash,
    plan_hashes,
    planned_documents,
    replace_plan,
    to_post,
)
from intacct_dagster.warehouse.raw import LoadResult, RawLoad, WalkProof, table_name
from intacct_dagster.warehouse.reader import Published, ReaderCopy, reader_path
from intacct_dagster.warehouse.reconcile import (
    RECONCILED_COLUMNS,
    STATUSES,
    Document,
    Documents,
    LedgerState,
    PostedPayloads,
    ReconcileResult,
    documents,
    reconcile,
)
from intacct_dagster.warehouse.records import CompleteRows, join_records
from intacct_dagster.warehouse.soundness import (
    FieldChange,
    Freshness,
    NotAsLoaded,
    Unusual,
    field_changes,
    freshness,
    not_as_loaded,
    unusual_days,
)
from intacct_dagster.warehouse.state import StateStoreUnusable, open_state
from intacct_dagster.warehouse.tables import TableColumn
from intacct_dagster.warehouse.token_key import (
    TokenKeyMissing,
    TokenKeyWrong,
    keep_token_key,
    token_key,
)
from intacct_dagster.warehouse.tokens import EncryptedTokenStore, TokenLockTimeout
from intacct_dagster.warehouse.tombstones import (
    TOMBSTONE_COLUMNS,
    SweepFindings,
    compare_keys,
    store_sweep,
)
from intacct_dagster.warehouse.turns import TurnTimeout
from intacct_dagster.warehouse.wire import Column, column_for, column_name, column_type

__all__ = [
    "ANALYST_VIEWS",
    "CONTROL_COLUMNS",
    "CROSSWALK_COLUMNS",
    "OUTCOME_COLUMNS",
    "PLAN_COLUMNS",
    "RECONCILED_COLUMNS",
    "SHOWN_HASH",
    "STATUSES",
    "TOMBSTONE_COLUMNS",
    "Accepted",
    "Allowance",
    "AnalystView",
    "Approvals",
    "Break",
    "CatalogueField",
    "Chunk",
    "ChunkState",
    "Column",
    "CompleteRows",
    "Computed",
    "ControlTotals",
    "Crosswalk",
    "CsvForm",
    "CurrentView",
    "Document",
    "Documents",
    "DuckDBFile",
    "DuePlan",
    "EncryptedTokenStore",
    "Entry",
    "FeedError",
    "FeedFolder",
    "FeedResult",
    "FeedSpec",
    "FieldChange",
    "Freshness",
    "Item",
    "ItemState",
    "KeptLoad",
    "KeptPages",
    "KeptPagesUnreadable",
    "Kind",
    "LastChange",
    "Leave",
    "Ledger",
    "LedgerError",
    "LedgerState",
    "LinesOfDocuments",
    "LoadRefused",
    "LoadResult",
    "Mark",
    "NotAsLoaded",
    "NotMaterialized",
    "OpenDocuments",
    "Outcome",
    "Outcomes",
    "Parents",
    "Partition",
    "PlanHash",
    "PlannedDocument",
    "Posted",
    "PostedPayloads",
    "Proof",
    "Published",
    "RawLoad",
    "ReaderCopy",
    "ReconcileResult",
    "ReconciliationRefused",
    "Rejected",
    "Request",
    "SchemaChanged",
    "Stamp",
    "StateStoreUnusable",
    "SweepFindings",
    "TableColumn",
    "ToPost",
    "TokenKeyMissing",
    "TokenKeyWrong",
    "TokenLockTimeout",
    "TurnTimeout",
    "Unusual",
    "WalkProof",
    "Warehouse",
    "WarehouseError",
    "WarehouseLocked",
    "WarehouseUnreadable",
    "Workbench",
    "amount_text",
    "by_partition",
    "column_for",
    "column_name",
    "column_type",
    "compare_keys",
    "constant",
    "control_general_ledger",
    "documents",
    "due_plans",
    "field_changes",
    "find_twins",
    "freshness",
    "join_lines",
    "join_records",
    "keep_token_key",
    "kept_loads",
    "not_as_loaded",
    "open_documents",
    "open_state",
    "partitions_of_files",
    "payload",
    "payload_hash",
    "plan_hash",
    "plan_hashes",
    "planned_documents",
    "posted_by_day",
    "quarantined_lines",
    "read_catalogue",
    "read_feed",
    "reader_path",
    "rebuild",
    "reconcile",
    "refresh_analysts",
    "refresh_crosswalk",
    "replace_changes",
    "replace_outcomes",
    "replace_plan",
    "sample_rows",
    "store_catalogue",
    "store_sweep",
    "table_name",
    "tables_of",
    "to_post",
    "token_key",
    "uncertain_partitions",
    "unposted_plans",
    "unread_days",
    "unusual_days",
]
