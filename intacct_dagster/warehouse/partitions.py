"""Partitions, an entity on a day, as a table that statements join with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date
from typing import Any

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG, StagingSession, Warehouse
from intacct_dagster.warehouse.errors import FeedError, SchemaChanged
from intacct_dagster.warehouse.sql import identifier
from intacct_dagster.warehouse.tables import (
    TableColumn,
    ensure_table,
    existing_columns,
    stage_records,
)

Partition = tuple[str, date]
"""(entity id, day)."""


def stage_partitions(connection: DuckDBPyConnection, partitions: Collection[Partition]) -> None:
    """Make `memory.main.partitions(entity, day)`, a row per partition."""
    ordered = sorted(partitions)
    connection.execute(
        "CREATE TABLE memory.main.partitions AS"
        " SELECT unnest($entities::VARCHAR[]) AS entity, unnest($days::DATE[]) AS day",
        {
            "entities": [entity for entity, _ in ordered],
            "days": [day for _, day in ordered],
        },
    )


def delete_partitions(connection: DuckDBPyConnection, table: str) -> None:
    """Empty the staged partitions of a table that has `_entity` and `_day`; `table` is quoted."""
    connection.execute(
        f"DELETE FROM {table} AS emptied USING memory.main.partitions AS partitions"
        " WHERE emptied._entity = partitions.entity AND emptied._day = partitions.day"
    )


def replace_rows(
    file: Warehouse,
    schema: str,
    feed: str,
    columns: Sequence[TableColumn],
    about: str,
    partitions: Collection[Partition],
    records: Iterable[Sequence[object]],
    *,
    filled: Callable[[StagingSession], None] = lambda staging: None,
) -> None:
    """Replace these partitions of `<schema>.<feed>` with the records, in one transaction.

    The records are in the order of `columns`, of which `_entity` and `_day` are the partition.
    `filled` may change them, in `memory.main.fresh`, when all have come. Raises FeedError if the
    table has other columns.
    """
    with file.staging() as staging:
        stage_partitions(staging.connection, partitions)
        stage_records(staging.connection, "fresh", columns, records, staging.scratch)
        filled(staging)
        with staging.transaction() as connection:
            try:
                ensure_table(connection, CATALOG, schema, feed, columns, about)
            except SchemaChanged as error:
                raise FeedError(feed, error.reason, error.remedy) from error
            table = identifier(CATALOG, schema, feed)
            delete_partitions(connection, table)
            connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM memory.main.fresh")


def rows_of(
    file: Warehouse,
    schema: str,
    feed: str,
    columns: Sequence[str],
    partitions: Collection[Partition],
    *,
    where: str = "true",
) -> list[tuple[Any, ...]]:
    """Return the rows of these partitions of `<schema>.<feed>`, by (entity, day, source id).

    Empty where there is no table with these columns yet. `where` is SQL.
    """
    with file.staging() as staging:
        stage_partitions(staging.connection, partitions)
        with staging.attached(read_only=True) as connection:
            there = {each.name for each in existing_columns(connection, CATALOG, schema, feed)}
            if not there >= set(columns):
                return []
            return connection.execute(
                f"SELECT {', '.join(columns)} FROM {identifier(CATALOG, schema, feed)}"
                " INNER JOIN memory.main.partitions"
                " ON partitions.entity = _entity AND partitions.day = _day"
                f" WHERE {where} ORDER BY _entity, _day, source_id"
            ).fetchall()
