"""What is known of each object: as of when, since when, and what could not be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.raw.names import INTACCT, META, table_name
from intacct_dagster.warehouse.raw.quarantine import quarantined_of
from intacct_dagster.warehouse.sql import identifier
from intacct_dagster.warehouse.tables import existing_columns


@dataclass(frozen=True, slots=True)
class EntityStatus:
    """How far an object of an entity is known; see the columns of `meta.as_of`.

    `records` are those of which the entity's version counts. `complete_since` is None if it is not
    proven, and in the year 1 if all is known.
    """

    entity: str
    records: int
    as_of: datetime
    complete_since: datetime | None
    deletes_as_of: datetime | None


@dataclass(frozen=True, slots=True)
class ObjectStatus:
    """What is known of an object, by entity, and what could not be had of it."""

    object: str
    entities: tuple[EntityStatus, ...] = ()
    unreadable: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()
    quarantined: int = 0
    went_back: int = 0


def object_status(file: Warehouse, objects: Sequence[str]) -> list[ObjectStatus]:
    """Return what is known of each of these objects, in their order."""
    if not file.path.exists():
        return [ObjectStatus(each) for each in objects]
    with file.connect(read_only=True) as connection:
        return [_status(connection, each) for each in objects]


def _status(connection: DuckDBPyConnection, object: str) -> ObjectStatus:
    fields = _rows(
        connection,
        META,
        "catalogue",
        "SELECT path, vanished_at IS NOT NULL FROM meta.catalogue"
        " WHERE object = ? AND (NOT selectable OR vanished_at IS NOT NULL) ORDER BY path",
        object,
    )
    went_back = _rows(
        connection,
        META,
        "loads",
        "SELECT coalesce(sum(went_back), 0) FROM meta.loads"
        " WHERE object = ? AND withdrawn_at IS NULL",
        object,
    )
    known = _rows(
        connection,
        META,
        "as_of",
        "SELECT entity, as_of, complete_since, deletes_as_of FROM meta.as_of"
        " WHERE object = ? ORDER BY entity",
        object,
    )
    table = table_name(object)
    records = {}
    if existing_columns(connection, CATALOG, INTACCT, table):
        records = dict(
            connection.execute(
                f"SELECT _entity, count(*) FROM {identifier(INTACCT, table)} GROUP BY _entity"
            ).fetchall()
        )
    return ObjectStatus(
        object,
        tuple(EntityStatus(entity, records.get(entity, 0), *more) for entity, *more in known),
        unreadable=tuple(path for path, gone in fields if not gone),
        vanished=tuple(path for path, gone in fields if gone),
        quarantined=sum(each.values for each in quarantined_of(connection, object)),
        went_back=int(went_back[0][0]) if went_back else 0,
    )


def _rows(
    connection: DuckDBPyConnection, schema: str, table: str, sql: str, object: str
) -> list[tuple[Any, ...]]:
    if not existing_columns(connection, CATALOG, schema, table):
        return []
    return connection.execute(sql, [object]).fetchall()
