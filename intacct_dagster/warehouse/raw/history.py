"""`intacct.<object>_history`: each version of a record, by Intacct's time and by ours."""

from __future__ import annotations

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG
from intacct_dagster.warehouse.raw.log import ObjectLog
from intacct_dagster.warehouse.raw.names import INTACCT, KEY, RAW, documents_name, table_name
from intacct_dagster.warehouse.sql import identifier, literal, statement
from intacct_dagster.warehouse.tables import existing_columns
from intacct_dagster.warehouse.types import column_name


def history_name(object: str) -> str:
    """Return the view of an object's history, in `intacct`."""
    return f"{table_name(object)}_history"


def ensure_history(connection: DuckDBPyConnection, log: ObjectLog) -> None:
    """Make the view of an object's history with every column of its raw table."""
    columns = existing_columns(connection, CATALOG, RAW, table_name(log.object))
    own = [c.name for c in columns if not c.name.startswith("_")]
    changed = identifier(log.changed) if log.changed is not None else "NULL"
    view = identifier(CATALOG, INTACCT, history_name(log.object))
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(CATALOG, INTACCT)}")
    connection.execute(
        statement(
            __name__,
            "history_view",
            view=view,
            raw=identifier(RAW, table_name(log.object)),
            current=identifier(table_name(log.object)),
            object=literal(log.object),
            key=identifier(column_name(KEY)),
            changed=f"CAST({changed} AS TIMESTAMP WITH TIME ZONE)",
            content=", ".join(f"read.{identifier(name)}" for name in own),
            next_valid=_next(log, "changed", "coalesce(_valid_from, _read_at)"),
            next_known=_next(log, "_read_at", "_read_at"),
            named=", ".join(f"ends.{identifier(name)}" for name in own),
        )
    )
    about = (
        f"{log.object}: a row is a version of a record that a reading saw. It held in Intacct from "
        "valid_from to before valid_to, and was known here from known_from to before known_to."
    )
    connection.execute(f"COMMENT ON VIEW {view} IS {literal(about)}")


def _next(log: ObjectLog, column: str, moment: str) -> str:
    """Return when the next version was: of lines that of their document, which may be without."""
    if log.kind != "lines":
        return f"lead({moment}) OVER by_time"
    documents = identifier(RAW, documents_name(log.object))
    return (
        f"(SELECT min(later.{column}) FROM {documents} AS later"
        f" WHERE later.key = news.{identifier(log.unit)} AND later.changed > news._valid_from)"
    )
