"""The current view of an object, as it is shown to people."""

from __future__ import annotations

from pathlib import Path

from intacct_dagster.warehouse import TableColumn, Warehouse
from intacct_dagster.warehouse.raw.current import sample_rows

INVOICE = "accounts-receivable/invoice"
COLUMNS = (
    TableColumn("key", "VARCHAR"),
    TableColumn("customer_id", "VARCHAR"),
    TableColumn("totalTxnAmount", "DECIMAL(38,10)"),
)


def test_of_an_object_without_records_there_is_no_sample(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "warehouse.duckdb")
    with warehouse.connect() as connection:
        connection.execute("CREATE SCHEMA intacct")
        columns = ", ".join(f'"{each.name}" {each.type}' for each in COLUMNS)
        connection.execute(f"CREATE TABLE intacct.accounts_receivable_invoice ({columns})")

    assert sample_rows(warehouse, INVOICE, COLUMNS) == []
    assert sample_rows(warehouse, INVOICE, COLUMNS[1:2]) == [], "nothing of it may be shown"
