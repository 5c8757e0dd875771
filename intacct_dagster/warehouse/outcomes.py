"""What became of the documents that were posted, for analysts and accountants: `posting.<feed>`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from intacct_dagster.warehouse.duckdb_file import CATALOG, DuckDBFile
from intacct_dagster.warehouse.errors import FeedError, SchemaChanged
from intacct_dagster.warehouse.partitions import Partition, delete_partitions, stage_partitions
from intacct_dagster.warehouse.sql import identifier
from intacct_dagster.warehouse.tables import (
    AMOUNT,
    TIME,
    TableColumn,
    ensure_table,
    stage_records,
)

POSTING = "posting"

_COLUMNS = (
    TableColumn("_entity", "VARCHAR", "The document's entity: half the partition"),
    TableColumn("_day", "DATE", "The document's date: the partition's other half"),
    TableColumn("source_id", "VARCHAR", "The document's id in the source system"),
    TableColumn("state", "VARCHAR", "planned, sending, posted, rejected or uncertain"),
    TableColumn("intacct_key", "VARCHAR", "Intacct's key of the record that was created"),
    TableColumn("reason", "VARCHAR", "Why Intacct refused it, or why nobody knows"),
    TableColumn("what_to_do", "VARCHAR", "What a person does about it"),
    TableColumn("field", "VARCHAR", "The field that Intacct named"),
    TableColumn("error_id", "VARCHAR", "Intacct's id of the error, e.g. REST-1064"),
    TableColumn("support_id", "VARCHAR", "What Sage support asks for"),
    TableColumn("chunk", "VARCHAR", "The request it went in"),
    TableColumn("position", "BIGINT", "Its place in that request, from 0"),
    TableColumn("amount", AMOUNT, "The document's amount"),
    TableColumn("run_id", "VARCHAR"),
    TableColumn("recorded_at", TIME, "When its state was recorded"),
)
# `at` would have to be quoted in every query: it is a word of DuckDB's SQL
_NAMES = {"_entity": "entity", "_day": "day", "recorded_at": "at"}


def replace_outcomes(
    file: DuckDBFile,
    feed: str,
    partitions: Collection[Partition],
    rows: Sequence[Mapping[str, object]],
) -> int:
    """Replace these partitions of `posting.<feed>` with the rows, in one transaction; their number.

    A row has `entity`, `day`, `source_id` and `state`, and may have `intacct_key`, `reason`,
    `what_to_do`, `field`, `error_id`, `support_id`, `chunk`, `position`, `amount` (Decimal),
    `run_id` and `at` (aware). Raises ValueError for a row with another name, without one it needs,
    or of another partition.
    """
    _check(partitions, rows)
    names = [_NAMES.get(column.name, column.name) for column in _COLUMNS]
    records = ([row.get(name) for name in names] for row in rows)
    about = f"What became of the documents of feed {feed}. A row is a document that was posted."
    with file.workbench() as bench:
        stage_partitions(bench.connection, partitions)
        stage_records(bench.connection, "outcomes", _COLUMNS, records, bench.scratch)
        with bench.transaction() as connection:
            try:
                ensure_table(connection, CATALOG, POSTING, feed, _COLUMNS, about)
            except SchemaChanged as error:
                raise FeedError(feed, error.reason, error.remedy) from error
            table = identifier(CATALOG, POSTING, feed)
            delete_partitions(connection, table)
            connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM memory.main.outcomes")
    return len(rows)


def _check(partitions: Collection[Partition], rows: Sequence[Mapping[str, object]]) -> None:
    known = {_NAMES.get(column.name, column.name) for column in _COLUMNS}
    replaced = set(partitions)
    for row in rows:
        if unknown := set(row) - known:
            raise ValueError(f"an outcome has no {', '.join(sorted(unknown))}")
        for name in ("entity", "day", "source_id", "state"):
            if not row.get(name):
                raise ValueError(f"an outcome lacks its {name}: {row.get('source_id')}")
        if (row["entity"], row["day"]) not in replaced:
            raise ValueError(
                f"the outcome of {row['source_id']} is of {row['entity']} on {row['day']}, a "
                "partition that is not replaced"
            )
