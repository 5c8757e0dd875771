from intacct_dagster.warehouse.raw.current import (
    sample_rows,
)
from intacct_dagster.warehouse.raw.data_quality import (
    FieldChange,
    Freshness,
    NotAsLoaded,
    Unusual,
    field_changes,
    freshness,
    not_as_loaded,
    unusual_days,
)
from intacct_dagster.warehouse.raw.deletes import (
    TOMBSTONE_COLUMNS,
    Sweep,
    compare_keys,
    store_sweep,
    tombstones,
)
from intacct_dagster.warehouse.raw.details import (
    CompleteRows,
    join_records,
)
from intacct_dagster.warehouse.raw.lines import (
    LinesOfDocuments,
    Parents,
    join_lines,
)
from intacct_dagster.warehouse.raw.load import (
    RAW_COLUMNS,
    LoadResult,
    RawLoad,
    WalkProof,
    table_name,
)
from intacct_dagster.warehouse.raw.page_archive import (
    KeptPages,
    kept_loads,
    kept_sweeps,
    rebuild,
)
from intacct_dagster.warehouse.raw.schema import (
    CatalogueField,
    read_catalogue,
    store_catalogue,
)

__all__ = [
    "RAW_COLUMNS",
    "TOMBSTONE_COLUMNS",
    "CatalogueField",
    "CompleteRows",
    "FieldChange",
    "Freshness",
    "KeptPages",
    "LinesOfDocuments",
    "LoadResult",
    "NotAsLoaded",
    "Parents",
    "RawLoad",
    "Sweep",
    "Unusual",
    "WalkProof",
    "compare_keys",
    "field_changes",
    "freshness",
    "join_lines",
    "join_records",
    "kept_loads",
    "kept_sweeps",
    "not_as_loaded",
    "read_catalogue",
    "rebuild",
    "sample_rows",
    "store_catalogue",
    "store_sweep",
    "table_name",
    "tombstones",
    "unusual_days",
]
