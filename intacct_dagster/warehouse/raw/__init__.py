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
    loaded_objects,
    not_as_loaded,
    unusual_days,
)
from intacct_dagster.warehouse.raw.delete_scans import (
    ScannedPages,
    compare_keys,
    readers_of,
    seen_by,
    store_delete_scan,
)
from intacct_dagster.warehouse.raw.deletes import (
    TOMBSTONE_COLUMNS,
    DeleteScan,
    KeyComparison,
    tombstones,
)
from intacct_dagster.warehouse.raw.details import (
    CompleteRows,
    join_records,
)
from intacct_dagster.warehouse.raw.lines import (
    LinesOfDocuments,
    join_lines,
)
from intacct_dagster.warehouse.raw.log import (
    RAW_COLUMNS,
)
from intacct_dagster.warehouse.raw.names import (
    table_name,
)
from intacct_dagster.warehouse.raw.page_archive import (
    PageArchive,
    rebuild,
)
from intacct_dagster.warehouse.raw.raw_load import (
    LoadProof,
    RawLoad,
)
from intacct_dagster.warehouse.raw.schema import (
    AskedFields,
    SchemaField,
    read_asked_fields,
    read_schemas,
    store_schemas,
)

__all__ = [
    "RAW_COLUMNS",
    "TOMBSTONE_COLUMNS",
    "AskedFields",
    "CompleteRows",
    "DeleteScan",
    "FieldChange",
    "Freshness",
    "KeyComparison",
    "LinesOfDocuments",
    "LoadProof",
    "NotAsLoaded",
    "PageArchive",
    "RawLoad",
    "ScannedPages",
    "SchemaField",
    "Unusual",
    "compare_keys",
    "field_changes",
    "freshness",
    "join_lines",
    "join_records",
    "loaded_objects",
    "not_as_loaded",
    "read_asked_fields",
    "read_schemas",
    "readers_of",
    "rebuild",
    "sample_rows",
    "seen_by",
    "store_delete_scan",
    "store_schemas",
    "table_name",
    "tombstones",
    "unusual_days",
]
