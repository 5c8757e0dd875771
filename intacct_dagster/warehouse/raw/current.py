"""Current tables: the version of each record of an object that counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.raw.deletes import not_materialized
from intacct_dagster.warehouse.raw.log import adopt_log, read_log
from intacct_dagster.warehouse.raw.maintenance import maintain
from intacct_dagster.warehouse.raw.names import INTACCT, KEY, table_name
from intacct_dagster.warehouse.raw.versions import recompute_all
from intacct_dagster.warehouse.sql import identifier
from intacct_dagster.warehouse.tables import TableColumn, existing_columns
from intacct_dagster.warehouse.types import column_name


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view for analysts: `relation` is `schema.table`, `rows` its number of rows."""

    relation: str
    rows: int
    columns: tuple[TableColumn, ...]


def refresh_current(file: Warehouse, object: str) -> Relation:
    """Return `intacct.<object>` as it stands; make it first where an older version had a view.

    Every load brings the table up to date itself; here it is maintained, when that is due. A record
    that several entities share (its `entity_id` is null) is one row; `_entity` then is the first
    entity in intacct.yaml that sees it. Raises NotMaterialized when nothing was loaded yet.
    """
    table = table_name(object)
    if not file.path.exists():
        raise not_materialized(object)
    maintain(file, object)
    with file.staging() as staging:
        with staging.attached(read_only=True) as connection:
            log = read_log(connection, object)
            columns = existing_columns(connection, CATALOG, INTACCT, table)
            rows = _rows(connection, table) if log is not None and columns else None
        if rows is None:
            with staging.transaction() as connection:
                adopt_log(connection, object)
                log = read_log(connection, object)
                if log is None:
                    raise not_materialized(object)
                recompute_all(connection, log)
                columns = existing_columns(connection, CATALOG, INTACCT, table)
                rows = _rows(connection, table)
    return Relation(f"{INTACCT}.{table}", rows, columns)


def _rows(connection: DuckDBPyConnection, table: str) -> int:
    name = identifier(CATALOG, INTACCT, table)
    return int(connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0])


def numbers_of(file: Warehouse, object: str, entity: str, column: str) -> dict[str, Decimal]:
    """Return what is not null in a column of numbers, by the keys of an entity's records."""
    table = table_name(object)
    if not file.path.exists():
        return {}
    with file.connect(read_only=True) as connection:
        columns = {each.name for each in existing_columns(connection, CATALOG, INTACCT, table)}
        if column not in columns:
            return {}
        rows = connection.execute(
            f"SELECT {identifier(column_name(KEY))}, {identifier(column)}"
            f" FROM {identifier(INTACCT, table)}"
            f" WHERE _entity = ? AND {identifier(column)} IS NOT NULL",
            [entity],
        ).fetchall()
    return dict(rows)


#: Applications whose documents are the company's, and not a person's.
_SAMPLED = ("general-ledger/", "accounts-receivable/", "accounts-payable/", "cash-management/")
_PARTIES = ("customer", "vendor", "contact", "email", "name", "payment-method")
_WIDEST = 10


def sample_rows(
    file: Warehouse, object: str, columns: Sequence[TableColumn], most: int = 5
) -> list[dict[str, object]]:
    """A few rows of a current table without personal data, as text; empty where it is all personal.

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
