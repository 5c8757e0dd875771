"""Whether what the warehouse holds is sound: one statement for all partitions of an object.

What is found is listed, the oldest first, so that whoever reads it knows where to begin.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.raw.names import META, RAW, table_name
from intacct_dagster.warehouse.sql import identifier, statement
from intacct_dagster.warehouse.tables import existing_columns

_ENTITY = "entity_id"


@dataclass(frozen=True, slots=True)
class NotAsLoaded:
    """A load of which the raw table has other rows than it proved (None: rows of no load).

    `day` is the first of the days that it read.
    """

    entity: str
    day: date
    rows: int
    proved: int | None
    of_others: int


@dataclass(frozen=True, slots=True)
class Unusual:
    """A day that has far more or fewer rows than that weekday mostly has, of `weeks` before."""

    entity: str
    day: date
    rows: int
    usual: int
    weeks: int


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far an object of an entity is read: `behind` days short, and `gaps` days before that."""

    entity: str
    object: str
    last_day: date | None
    read_at: datetime | None
    behind: int
    gaps: int


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field that an object got or lost after it was read first."""

    object: str
    path: str
    column: str
    since: datetime
    vanished: bool


def not_as_loaded(file: Warehouse, objects: Collection[str]) -> dict[str, list[NotAsLoaded]]:
    """Of each object, the loads that are not as they were proved; the oldest first."""
    with file.connect(read_only=True) as connection:
        return {each: _not_as_loaded(connection, each) for each in objects}


def _not_as_loaded(connection: DuckDBPyConnection, object: str) -> list[NotAsLoaded]:
    table = table_name(object)
    columns = {each.name for each in existing_columns(connection, CATALOG, RAW, table)}
    if not columns:
        return []
    foreign = f"{_ENTITY} <> _entity" if _ENTITY in columns else "false"
    found = connection.execute(
        statement(__name__, "quality_as_loaded", table=identifier(table), foreign=foreign),
        {"object": object},
    ).fetchall()
    return [NotAsLoaded(*row) for row in found]


def loaded_objects(file: Warehouse) -> frozenset[str]:
    """Return the objects of which anything was loaded yet."""
    if not file.path.exists():
        return frozenset()
    with file.connect(read_only=True) as connection:
        if not _loads(connection):
            return frozenset()
        found = connection.execute("SELECT DISTINCT object FROM meta.raw_loads").fetchall()
    return frozenset(str(name) for (name,) in found)


def unusual_days(file: Warehouse, objects: Collection[str]) -> dict[str, list[Unusual]]:
    """Of each object, the days of the last week that have far more or fewer rows than usual."""
    found: dict[str, list[Unusual]] = {each: [] for each in objects}
    with file.connect(read_only=True) as connection:
        if _loads(connection):
            for each, days in found.items():
                rows = connection.execute(
                    statement(__name__, "quality_unusual"), {"object": each}
                ).fetchall()
                days += [Unusual(*row) for row in rows]
    return found


def freshness(
    file: Warehouse,
    entities: Sequence[str],
    objects: Sequence[str],
    *,
    first: date,
    until: date,
) -> list[Freshness]:
    """How far each object of each entity is read, of the days `first` to `until`; the worst first.

    Before anything was loaded all of them are behind by all days.
    """
    asked = {
        "entities": list(entities),
        "objects": list(objects),
        "first": first.isoformat(),
        "until": until.isoformat(),
    }
    if file.path.exists():
        with file.connect(read_only=True) as connection:
            if _loads(connection):
                found = connection.execute(statement(__name__, "quality_fresh"), asked).fetchall()
                return [Freshness(*row) for row in found]
    days = (until - first).days + 1
    return [Freshness(entity, each, None, None, days, 0) for entity in entities for each in objects]


def field_changes(file: Warehouse, objects: Collection[str]) -> list[FieldChange]:
    """Return fields that came or went after their object was read first; the latest first."""
    with file.connect(read_only=True) as connection:
        if not existing_columns(connection, CATALOG, META, "catalogue"):
            return []
        found = connection.execute(
            "WITH named AS (SELECT *, min(first_seen_at) OVER (PARTITION BY object) AS begun"
            " FROM meta.catalogue WHERE object IN (SELECT unnest(?::VARCHAR[])))"
            " SELECT object, path, column_name, coalesce(vanished_at, first_seen_at) AS since,"
            " vanished_at IS NOT NULL FROM named"
            " WHERE vanished_at IS NOT NULL OR first_seen_at > begun"
            " ORDER BY since DESC, object, path",
            [list(objects)],
        ).fetchall()
    return [FieldChange(*row) for row in found]


def _loads(connection: DuckDBPyConnection) -> bool:
    return bool(existing_columns(connection, CATALOG, META, "raw_loads"))
