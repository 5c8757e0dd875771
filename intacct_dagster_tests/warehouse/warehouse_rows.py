"""Rows, pages and feed files for the warehouse's tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from intacct_dagster.warehouse import Column, Warehouse, column_for
from intacct_dagster.warehouse.feeds import FeedSpec
from intacct_dagster.warehouse.raw import LoadProof, RawLoad
from intacct_dagster.warehouse.raw.current import refresh_current
from intacct_dagster.warehouse.raw.load import load_raw

INVOICE = "accounts-receivable/invoice"
DAY = date(2026, 10, 1)
NEXT_DAY = date(2026, 10, 2)
READ_AT = datetime(2026, 10, 13, 18, 0, tzinfo=UTC)

COLUMNS = (
    column_for("key", "string"),
    column_for("audit.modifiedDateTime", "string", "date-time", "When it changed last"),
    column_for("entity.id", "string"),
    column_for("referenceNumber", "string"),
    column_for("totalTxnAmount", "string", "decimal-precision-2"),
)

SALES = FeedSpec(
    name="sales_invoices",
    files=["*.csv"],
    source_id="invoice_ref",
    line_id="line_no",
    entity="entity_id",
    date="invoice_date",
    types={"line_no": "integer", "due_date": "date"},
    control_totals={"amount": "line_amount"},
    match_on="referenceNumber",
    compare={"totalTxnAmount": "amount"},
    payload={
        "referenceNumber": "invoice_ref",
        "customer.id": "customer_id",
        "invoiceDate": "invoice_date",
        "dueDate": "due_date",
        "lines": {
            "txnAmount": "line_amount",
            "glAccount.id": "account",
            "memo": "description",
            "dimensions.location.id": "entity_id",
            "dimensions.department.id": "department_id",
        },
    },
)

HEADER = (
    "invoice_ref,line_no,entity_id,customer_id,invoice_date,due_date,"
    "amount,account,department_id,description,line_amount\n"
)


def invoice(key: str, **fields: object) -> dict[str, object]:
    """A row of an invoice as Intacct's query gives it; entity E110, changed on DAY at noon."""
    return {
        "key": key,
        "audit.modifiedDateTime": "2026-10-01T12:00:00Z",
        "entity.id": "E110",
        "referenceNumber": None,
        "totalTxnAmount": "10.00",
        **fields,
    }


def load_of(
    folder: Path,
    rows: Sequence[Mapping[str, object]] | str,
    *,
    entity: str = "E110",
    days: Sequence[date] = (DAY,),
    columns: Sequence[Column] = COLUMNS,
    takes_older: bool = True,
    distinct_keys: int | None = None,
    run_id: str = "run-1",
) -> RawLoad:
    """A load of one page with these rows; a text is the page's content as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"page-{sum(1 for _ in folder.iterdir())}.json"
    page.write_text(rows if isinstance(rows, str) else json.dumps(rows), encoding="utf-8")
    keys = 0 if isinstance(rows, str) else len({row["key"] for row in rows})
    counted = keys if distinct_keys is None else distinct_keys
    return RawLoad(
        object=INVOICE,
        columns=columns,
        entity=entity,
        days=days,
        files=[page],
        run_id=run_id,
        extracted_at=READ_AT,
        takes_older=takes_older,
        proof=LoadProof(distinct_keys=counted, total_count=counted, requests=1),
    )


def load_invoices(
    warehouse: Warehouse,
    folder: Path,
    rows: Sequence[Mapping[str, object]],
    *,
    entity: str = "E110",
    days: Sequence[date] = (DAY,),
) -> None:
    """Load the rows and show them in `intacct.accounts_receivable_invoice`."""
    load_raw(warehouse, load_of(folder, rows, entity=entity, days=days))
    refresh_current(warehouse, INVOICE)


def line(
    ref: str,
    number: object = 1,
    amount: object = "10.00",
    line_amount: object = None,
    *,
    entity: str = "E110",
    day: object = DAY,
    department: str = "D1",
    description: str = "Widget",
) -> str:
    """A line of a sales file; a document of one line unless `line_amount` says otherwise."""
    cells = [
        ref,
        number,
        entity,
        "C1",
        day,
        "2026-11-01",
        amount,
        "40100",
        department,
        description,
        amount if line_amount is None else line_amount,
    ]
    return ",".join(str(cell) for cell in cells) + "\n"


def write_sales(folder: Path, *lines: str, name: str = "sales.csv") -> Path:
    """Write a sales file with the header and these lines."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(HEADER + "".join(lines), encoding="utf-8")
    return path
