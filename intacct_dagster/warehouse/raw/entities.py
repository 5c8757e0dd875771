"""The entities as they are configured: their order, and what a renamed one is called now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.raw.log import ensure_meta, read_log
from intacct_dagster.warehouse.raw.names import ENTITY, INTACCT, META, table_name
from intacct_dagster.warehouse.raw.versions import recompute
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
    written if all of it is known. Where their order changes, so does whose version of a record
    that several of them share counts.
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
        if _order(known, known) != _order(gone | wanted, known):
            _choose_again(connection)


def former_ids(file: Warehouse) -> dict[str, str]:
    """Return what entities are called now that were called otherwise, by their former id."""
    if not file.path.exists():
        return {}
    with file.connect(read_only=True) as connection:
        return {entity: name for entity, (name, _) in _known(connection).items() if name != entity}


def _known(connection: DuckDBPyConnection) -> dict[str, tuple[str, int]]:
    if not existing_columns(connection, CATALOG, META, "entities"):
        return {}
    rows = connection.execute("SELECT entity, name, rank FROM warehouse.meta.entities").fetchall()
    return {entity: (name, rank) for entity, name, rank in rows}


def _order(entities: Mapping[str, tuple[str, int]], of: Collection[str]) -> list[tuple[bool, str]]:
    """Return these entities as they come one after the other, and whether they are configured."""
    ranks = sorted((entities[entity][1], entity) for entity in of)
    return [(rank == _LAST, entity) for rank, entity in ranks]


def _choose_again(connection: DuckDBPyConnection) -> None:
    """Choose again which versions count of what several entities have read."""
    objects = connection.execute("SELECT object FROM warehouse.meta.objects").fetchall()
    for (name,) in objects:
        log = read_log(connection, name)
        if log is None:
            continue
        lines = log.kind == "lines"
        unit = "key" if lines else identifier(log.unit)
        recompute(
            connection,
            log,
            f"(SELECT {unit} AS key FROM {log.documents if lines else log.raw}"
            f" GROUP BY {unit} HAVING count(DISTINCT _entity) > 1)",
        )


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
