"""Answer with the rows of a query as a file, CSV or XLSX.

The layout of Intacct's files is not documented: here one column a field, its name on top.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import xlsxwriter
from starlette.requests import Request
from starlette.responses import Response

from intacct_sandbox import query
from intacct_sandbox.api.gateway import Gateway
from intacct_sandbox.api.json_bodies import read_json
from intacct_sandbox.errors import rejections
from intacct_sandbox.objects.catalogue import Json

_CSV = "text/csv; charset=utf-8"
# Characters that XML cannot hold, and the length of a cell that Excel reads.
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_LONGEST_CELL = 32_767
LARGEST_SHEET = 1_048_576
"""Rows of a sheet, its heading included (a limit of the format)."""

_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def ask_export(gateway: Gateway, request: Request, body: bytes) -> Response:
    """POST /services/core/export: a query's rows as a file, all pages of it."""
    session = gateway.session(request)
    payload = read_json("POST", body)
    if not isinstance(payload, dict) or "query" not in payload:
        raise rejections.bad_request("An export takes fileType and query")
    kind = payload.get("fileType")
    if kind in ("pdf", "word", "xml"):
        raise rejections.not_simulated(f"exports to {kind}")
    if kind not in ("csv", "xlsx"):
        raise rejections.bad_request("fileType must be pdf, csv, word, xml or xlsx")
    books = gateway.books
    asked = query.read_query(payload["query"], books)
    with books.lock:
        rows = query.everything(asked, books, session.entity)
        table = [list(asked.fields), *([_text(value) for value in row.values()] for row in rows)]
    if kind == "xlsx" and len(table) > LARGEST_SHEET:
        raise rejections.bad_request(
            f"An XLSX sheet holds {LARGEST_SHEET:,} rows, and the query matches "
            f"{len(table) - 1:,}: export to csv, or filter the query"
        )
    count = len(table) - 1
    books.audit_log.bill(-(-count // query.LARGEST_PAGE) or 1, rows=count)
    name = asked.object.rpartition("/")[2]
    return Response(
        _as_csv(table) if kind == "csv" else _as_xlsx(table),
        media_type=_CSV if kind == "csv" else _XLSX,
        headers={"Content-Disposition": f'attachment; filename="{name}.{kind}"'},
    )


def _text(value: Json) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _as_csv(table: Sequence[Sequence[str]]) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file).writerows(table)
    return file.getvalue().encode()


def _as_xlsx(table: Sequence[Sequence[str]]) -> bytes:
    file = io.BytesIO()
    # Cells are texts, whatever they look like; a fixed date makes the same rows the same bytes.
    options = {
        "in_memory": True,
        "strings_to_formulas": False,
        "strings_to_numbers": False,
        "strings_to_urls": False,
    }
    with xlsxwriter.Workbook(file, options) as book:
        book.set_properties({"created": datetime(2026, 1, 1, tzinfo=UTC)})
        sheet = book.add_worksheet("Export")
        for number, row in enumerate(table):
            for column, cell in enumerate(row):
                sheet.write_string(number, column, _NOT_IN_XML.sub("", cell)[:_LONGEST_CELL])
    return file.getvalue()
