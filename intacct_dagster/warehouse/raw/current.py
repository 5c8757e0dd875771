"""Current views: the latest version of each record of an object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.errors import NotMaterialized
from intacct_dagster.warehouse.raw.deletes import ensure_tombstones
from intacct_dagster.warehouse.raw.names import CHANGED, KEY, META, RAW, table_name
from intacct_dagster.warehouse.sql import identifier, literal, statement
from intacct_dagster.warehouse.tables import TableColumn, existing_columns
from intacct_dagster.warehouse.types import column_name

INTACCT = "intacct"


@dataclass(frozen=True, slots=True)
class CurrentView:
    """A current view as it stands: `relation` is `schema.table`, `rows` its number of records."""

    relation: str
    rows: int
    columns: tuple[TableColumn, ...]


def refresh_current(file: Warehouse, object: str) -> CurrentView:
    """Make `intacct.<object>` show the latest version per key, with every column of the raw table.

    What a delete scan found deleted is left out; of an object without change times, only what the
    last reading of each entity brought is in.

    A record that several entities share (its `entity_id` is null) is one row; `_entity` then is
    the entity whose session read it last. Raises NotMaterialized when nothing was loaded yet.
    """
    table = table_name(object)
    view = identifier(CATALOG, INTACCT, table)
    with file.staging() as staging, staging.transaction() as connection:
        columns = existing_columns(connection, CATALOG, RAW, table)
        if not columns:
            raise NotMaterialized(
                f"There is no raw.{table} yet.\nMaterialize {object} for an entity and a day first."
            )
        connection.execute(f"USE {CATALOG}")
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(CATALOG, INTACCT)}")
        ensure_tombstones(connection)
        names = {column.name for column in columns}
        changed = next((n for n in _dated_by(connection, object) if n in names), None)
        connection.execute(
            statement(
                __name__,
                "current_view",
                table=identifier(table),
                object=literal(object),
                key=identifier(column_name(KEY)),
                changed=identifier(changed) if changed is not None else "_extracted_at",
                latest="true"
                if changed is not None
                else statement(__name__, "current_snapshot", object=literal(object)),
            )
        )
        about = (
            f"{object}: the latest version of each record that Intacct still has, as far as was "
            "read and scanned for deletes. A row is a record, by its key."
        )
        connection.execute(f"COMMENT ON VIEW {view} IS {literal(about)}")
        for column in columns:
            if column.comment is not None:
                connection.execute(
                    f"COMMENT ON COLUMN {view}.{identifier(column.name)}"
                    f" IS {literal(column.comment)}"
                )
        rows = connection.execute(f"SELECT count(*) FROM {view}").fetchall()[0][0]
    return CurrentView(f"{INTACCT}.{table}", rows, columns)


#: Applications whose documents are the company's, and not a person's.
_SAMPLED = ("general-ledger/", "accounts-receivable/", "accounts-payable/", "cash-management/")
_PARTIES = ("customer", "vendor", "contact", "email", "name", "payment-method")
_WIDEST = 10


def sample_rows(
    file: Warehouse, object: str, columns: Sequence[TableColumn], most: int = 5
) -> list[dict[str, object]]:
    """A few rows of a current view without personal data, as text; empty where it is all personal.

    Only documents of the ledgers are shown, and of them only keys, dates, amounts, flags and values
    of a list that the model gives: no text that a person wrote, and nothing that names one.
    """
    kind = object.rpartition("/")[2]
    if not object.startswith(_SAMPLED) or any(each in kind for each in _PARTIES):
        return []
    harmless = [
        column.name
        for column in columns
        if not column.name.startswith(("_", "audit_"))
        and (
            column.name == KEY
            or column.type in ("DATE", "BOOLEAN")
            or column.type.startswith("DECIMAL")
            or ": one of " in (column.comment or "")
        )
    ]
    if not harmless:
        return []
    view = identifier(INTACCT, table_name(object))
    with file.connect(read_only=True) as connection:
        picked = ", ".join(f"count({identifier(name)})" for name in harmless)
        filled = connection.execute(f"SELECT {picked} FROM {view}").fetchall()[0]
        # what is always empty tells a reader nothing
        shown = [name for name, count in zip(harmless, filled, strict=True) if count][:_WIDEST]
        if not shown:
            return []
        rows = connection.execute(
            f"SELECT {', '.join(map(identifier, shown))} FROM {view} ORDER BY {identifier(KEY)}"
            f" DESC LIMIT {most}"
        ).fetchall()
    return [dict(zip(shown, row, strict=True)) for row in rows]


def _dated_by(connection: DuckDBPyConnection, object: str) -> list[str]:
    """Return the columns that may tell how late a version of a record is, the likeliest first."""
    if "dated_by" not in {c.name for c in existing_columns(connection, CATALOG, META, "raw_loads")}:
        return [column_name(CHANGED)]
    last = connection.execute(
        "SELECT dated_by, snapshot FROM warehouse.meta.raw_loads WHERE object = ?"
        " ORDER BY extracted_at DESC LIMIT 1",
        [object],
    ).fetchall()
    if last and last[0][1]:
        return []
    return [column_name(path) for path in (*(row[0] for row in last if row[0]), CHANGED)]
