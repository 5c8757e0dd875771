"""The entities as they are configured: their order, and what a renamed one is called now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.raw.log import ensure_meta
from intacct_dagster.warehouse.raw.names import ENTITY, INTACCT, META, table_name
from intacct_dagster.warehouse.sql import identifier
from intacct_dagster.warehouse.tables import existing_columns
from intacct_dagster.warehouse.types import column_name

#: The rank of an entity that is no longer configured.
_LAST = 1_000_000
_PER_ENTITY = ("loads", "raw_loads", "as_of", "tombstones")


def know_entities(
    file: Warehouse, entities: Sequence[str], renamed: Mapping[str, str] | None = None
) -> None:
    """Record the entities in their order, and those of `renamed`, by their former ids.

    What was read under a former id counts from then on as that of the entity: in `intacct`, and in
    the tables of `meta`. Versions in `raw` keep the id under which they were read. Nothing is
    written if all of it is known.
    """
    wanted = {entity: (entity, rank) for rank, entity in enumerate(entities)}
    for was, now in (renamed or {}).items():
        wanted[was] = (now, wanted[now][1] if now in wanted else _LAST)
    if file.path.exists():
        with file.connect(read_only=True) as connection:
            if _known(connection).items() >= wanted.items():
                return
    with file.staging() as staging, staging.transaction() as connection:
        ensure_meta(connection)
        known = _known(connection)
        gone = {
            entity: (name, _LAST) for entity, (name, _) in known.items() if entity not in wanted
        }
        connection.execute("DELETE FROM warehouse.meta.entities")
        for entity, (name, rank) in (gone | wanted).items():
            connection.execute(
                "INSERT INTO warehouse.meta.entities VALUES (?, ?, ?)", [entity, name, rank]
            )
        for was, now in (renamed or {}).items():
            if known.get(was, (was, 0))[0] != now:
                _rename(connection, was, now)


def _known(connection: DuckDBPyConnection) -> dict[str, tuple[str, int]]:
    if not existing_columns(connection, CATALOG, META, "entities"):
        return {}
    rows = connection.execute("SELECT entity, name, rank FROM warehouse.meta.entities").fetchall()
    return {entity: (name, rank) for entity, name, rank in rows}


def _rename(connection: DuckDBPyConnection, was: str, now: str) -> None:
    """Call an entity by its new id wherever it is not the id under which something was read."""
    values = {"was": was, "now": now}
    for table in _PER_ENTITY:
        connection.execute(
            f"UPDATE warehouse.meta.{identifier(table)} SET entity = $now WHERE entity = $was",
            values,
        )
    objects = connection.execute("SELECT object FROM warehouse.meta.objects").fetchall()
    for (name,) in objects:
        current = identifier(CATALOG, INTACCT, table_name(name))
        columns = existing_columns(connection, CATALOG, INTACCT, table_name(name))
        for column in ("_entity", column_name(ENTITY)):
            if column in {each.name for each in columns}:
                connection.execute(
                    f"UPDATE {current} SET {identifier(column)} = $now"
                    f" WHERE {identifier(column)} = $was",
                    values,
                )
