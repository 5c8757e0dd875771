"""What became of the documents that were posted, for analysts and accountants: `posting.<feed>`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.duckdb_file import CATALOG, DuckDBFile
from intacct_dagster.warehouse.partitions import Partition, replace_rows
from intacct_dagster.warehouse.sql import identifier, literal
from intacct_dagster.warehouse.tables import (
    AMOUNT,
    TIME,
    TableColumn,
    ensure_table,
    stage_records,
)

POSTING = "posting"

OUTCOME_COLUMNS = (
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
_CHUNKS = (
    TableColumn("feed", "VARCHAR", "The feed that the documents are of"),
    TableColumn("entity", "VARCHAR", "The entity that they were posted to"),
    TableColumn("object", "VARCHAR", "The object that they were posted as"),
    TableColumn("chunk", "VARCHAR", "The request; posting.items names it for each document"),
    TableColumn("state", "VARCHAR", "ready, superseded, sending, uncertain or answered"),
    TableColumn("documents", "BIGINT", "How many documents were in it"),
    TableColumn("bytes", "BIGINT", "How long its body was"),
    TableColumn("planned_at", TIME, "When it was written down"),
    TableColumn("first_sent_at", TIME, "When it went out first; null if it never did"),
    TableColumn("last_sent_at", TIME, "When the same bytes went out last, under the same key"),
    TableColumn("answered_at", TIME, "When the fate of each document in it was known"),
    TableColumn("http_status", "BIGINT", "The status of the answer"),
    TableColumn("note", "VARCHAR", "What should be known of it"),
    TableColumn("run_id", "VARCHAR"),
)
#: Tables of `posting` that are not a feed's.
ITEMS, CHUNKS = "items", "chunks"
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
    names = [_NAMES.get(column.name, column.name) for column in OUTCOME_COLUMNS]
    records = ([row.get(name) for name in names] for row in rows)
    about = f"What became of the documents of feed {feed}. A row is a document that was posted."
    replace_rows(file, POSTING, feed, OUTCOME_COLUMNS, about, partitions, records)
    return len(rows)


def replace_chunks(
    file: DuckDBFile, feed: str, entities: Collection[str], rows: Sequence[Sequence[object]]
) -> None:
    """Replaces a feed's requests of these entities in `posting.chunks`; rows are as its columns.

    Makes the view `posting.items` too, which shows the documents of all feeds together.
    """
    about = "A row is a request that was planned, of at most 500 documents; never what was in it."
    with file.workbench() as bench:
        stage_records(bench.connection, "fresh", _CHUNKS, rows, bench.scratch)
        with bench.transaction() as connection:
            ensure_table(connection, CATALOG, POSTING, CHUNKS, _CHUNKS, about)
            table = identifier(CATALOG, POSTING, CHUNKS)
            connection.execute(
                f"DELETE FROM {table} WHERE feed = $feed AND list_contains($entities, entity)",
                {"feed": feed, "entities": sorted(entities)},
            )
            connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM memory.main.fresh")
            _show_items(connection)


def _show_items(connection: DuckDBPyConnection) -> None:
    feeds = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = ? AND schema_name = ?"
        " AND table_name <> ? ORDER BY table_name",
        [CATALOG, POSTING, CHUNKS],
    ).fetchall()
    if feeds:
        connection.execute(f"USE {CATALOG}")
        connection.execute(
            f"CREATE OR REPLACE VIEW {identifier(CATALOG, POSTING, ITEMS)} AS "
            + " UNION ALL BY NAME ".join(
                f"SELECT {literal(feed)} AS feed, * FROM {identifier(POSTING, feed)}"
                for (feed,) in feeds
            )
        )
        connection.execute(
            f"COMMENT ON VIEW {identifier(CATALOG, POSTING, ITEMS)} IS"
            " 'A row is a document that was to be posted, of whichever feed.'"
        )


def _check(partitions: Collection[Partition], rows: Sequence[Mapping[str, object]]) -> None:
    known = {_NAMES.get(column.name, column.name) for column in OUTCOME_COLUMNS}
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
