"""Partitions, an entity on a day, as a table that statements join with."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

from duckdb import DuckDBPyConnection

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
