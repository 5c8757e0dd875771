from intacct_dagster.warehouse.feeds.columns import (
    feed_columns,
    reconciled_sources,
)
from intacct_dagster.warehouse.feeds.expression import (
    tables_of,
)
from intacct_dagster.warehouse.feeds.folder import (
    FeedFolder,
    Stamp,
    without_password,
)
from intacct_dagster.warehouse.feeds.payloads import (
    payload_hash,
)
from intacct_dagster.warehouse.feeds.read import (
    FeedResult,
    partitions_of_files,
    quarantined_lines,
    read_feed,
)
from intacct_dagster.warehouse.feeds.spec import (
    BETWEEN,
    Computed,
    CsvForm,
    FeedSpec,
    Kind,
    constant,
)

__all__ = [
    "BETWEEN",
    "Computed",
    "CsvForm",
    "FeedFolder",
    "FeedResult",
    "FeedSpec",
    "Kind",
    "Stamp",
    "constant",
    "feed_columns",
    "partitions_of_files",
    "payload_hash",
    "quarantined_lines",
    "read_feed",
    "reconciled_sources",
    "tables_of",
    "without_password",
]
