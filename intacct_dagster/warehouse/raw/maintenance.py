"""Maintenance of logs: exact repeats go, and the current tables are clustered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.raw.log import ObjectLog, read_log
from intacct_dagster.warehouse.raw.names import INTACCT, KEY, RAW, table_name
from intacct_dagster.warehouse.raw.versions import current_relation
from intacct_dagster.warehouse.sql import identifier, statement
from intacct_dagster.warehouse.tables import ensure_table, existing_columns
from intacct_dagster.warehouse.types import column_name

#: Loads of an object since its maintenance before another is worth its time.
_LOADS_BETWEEN: Final = 200


@dataclass(frozen=True, slots=True)
class Maintained:
    """What the maintenance of an object did: `repeats` versions were dropped."""

    object: str
    repeats: int


def maintain(file: Warehouse, object: str, *, at_least: int = _LOADS_BETWEEN) -> Maintained | None:
    """Drop exact repeats of an object's versions, and cluster its current table.

    A version that was read many times is kept as it was read first and last: the first tells since
    when it is known, the last how long it was seen. Nothing is done, and None returned, before
    `at_least` loads came since the last time.
    """
    if not file.path.exists():
        return None
    with file.connect(read_only=True) as connection:
        log = read_log(connection, object)
        if log is None or _loads_since(connection, object) < at_least:
            return None
    with file.staging() as staging:
        with staging.transaction() as connection:
            repeats = _drop_repeats(connection, log)
        with staging.transaction() as connection:
            _cluster(connection, log)
            connection.execute(
                "UPDATE warehouse.meta.objects SET maintained_load ="
                " (SELECT max(load_id) FROM warehouse.meta.loads) WHERE object = ?",
                [object],
            )
    return Maintained(object, repeats)


def _loads_since(connection: DuckDBPyConnection, object: str) -> int:
    return int(
        connection.execute(
            "SELECT count(*) FROM meta.loads WHERE object = $object AND load_id > coalesce("
            "(SELECT maintained_load FROM meta.objects WHERE object = $object), 0)",
            {"object": object},
        ).fetchall()[0][0]
    )


def _drop_repeats(connection: DuckDBPyConnection, log: ObjectLog) -> int:
    columns = existing_columns(connection, CATALOG, RAW, table_name(log.object))
    own = [c.name for c in columns if not c.name.startswith("_")]
    lines = log.kind == "lines"
    connection.execute(
        statement(
            __name__,
            "maintenance_lines" if lines else "maintenance_repeats",
            raw=log.raw,
            documents=log.documents,
            unit=identifier(log.unit),
            key=identifier(column_name(KEY)),
            content=", ".join(f"read.{identifier(name)}" for name in own),
        )
    )
    dropped = connection.execute(
        "SELECT load_id, count(*) FROM temp.main.repeats GROUP BY load_id"
    ).fetchall()
    connection.execute(
        f"DELETE FROM {log.raw} WHERE rowid IN (SELECT place FROM temp.main.repeats)"
    )
    if lines:
        connection.execute(
            f"DELETE FROM {log.documents}"
            " WHERE rowid IN (SELECT place FROM temp.main.repeated_documents)"
        )
    connection.execute(
        "UPDATE warehouse.meta.loads SET rows = loads.rows - dropped.rows FROM"
        " (SELECT load_id, count(*) AS rows FROM temp.main.repeats GROUP BY load_id) AS dropped"
        " WHERE dropped.load_id = loads.load_id"
    )
    return sum(count for _, count in dropped)


def _cluster(connection: DuckDBPyConnection, log: ObjectLog) -> None:
    """Write the current table again, by entity and key, so that an entity's rows lie together."""
    table = table_name(log.object)
    current = current_relation(log.object)
    fresh = identifier(CATALOG, INTACCT, f"{table}__clustered")
    columns = existing_columns(connection, CATALOG, INTACCT, table)
    about = connection.execute(
        "SELECT comment FROM duckdb_tables() WHERE database_name = ? AND schema_name = ?"
        " AND table_name = ?",
        [CATALOG, INTACCT, table],
    ).fetchall()[0][0]
    key = identifier(column_name(KEY))
    connection.execute(f"CREATE TABLE {fresh} AS FROM {current} ORDER BY _entity, {key}")
    connection.execute(f"DROP TABLE {current}")
    connection.execute(f"ALTER TABLE {fresh} RENAME TO {identifier(table)}")
    ensure_table(connection, CATALOG, INTACCT, table, columns, about or "")
    for column in columns:
        if column.comment is not None:
            connection.execute(
                f"COMMENT ON COLUMN {current}.{identifier(column.name)}"
                f" IS '{column.comment.replace(chr(39), chr(39) * 2)}'"
            )
