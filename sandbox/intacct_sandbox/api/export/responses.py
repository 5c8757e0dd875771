"""`/services/core/export`: the rows of a query as a file, CSV or XLSX.

The layout of Intacct's files is not documented: here one column a field, its name on top.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Sequence
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import Response

from intacct_sandbox import query
from intacct_sandbox.api.gateway import FrontDoor, read_json
from intacct_sandbox.errors import rejections
from intacct_sandbox.objects.catalogue import Json

_CSV = "text/csv; charset=utf-8"
_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def ask_export(door: FrontDoor, request: Request, body: bytes) -> Response:
    """POST /services/core/export: a query's rows as a file, all pages of it."""
    session = door.session(request)
    payload = read_json("POST", body)
    if not isinstance(payload, dict) or "query" not in payload:
        raise rejections.bad_request("An export takes fileType and query")
    kind = payload.get("fileType")
    if kind in ("pdf", "word", "xml"):
        raise rejections.not_simulated(f"exports to {kind}")
    if kind not in ("csv", "xlsx"):
        raise rejections.bad_request("fileType must be pdf, csv, word, xml or xlsx")
    books = door.books
    asked = query.read_query(payload["query"], books)
    with books.lock:
        rows = query.everything(asked, books, session.entity)
        table = [list(asked.fields), *([_text(value) for value in row.values()] for row in rows)]
    count = len(table) - 1
    books.referee.bill(-(-count // query.LARGEST_PAGE) or 1, rows=count)
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


_SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
_PART = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
# The four parts without which no program opens a workbook.
_BOOK = {
    "[Content_Types].xml": f'{_XML}<Types xmlns="{_TYPES}">'
    '<Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_PART}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_PART}.worksheet+xml"/>'
    "</Types>",
    "_rels/.rels": f'{_XML}<Relationships xmlns="{_RELATIONS}"><Relationship Id="rId1" '
    f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'{_XML}<workbook xmlns="{_SHEET}" xmlns:r="{_OFFICE}"><sheets>'
    '<sheet name="Export" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'{_XML}<Relationships xmlns="{_RELATIONS}"><Relationship '
    f'Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
}
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def _as_xlsx(table: Sequence[Sequence[str]]) -> bytes:
    rows = "".join(
        "<row>"
        + "".join(
            f'<c t="inlineStr"><is><t xml:space="preserve">{escape(_NOT_IN_XML.sub("", cell))}'
            "</t></is></c>"
            for cell in row
        )
        + "</row>"
        for row in table
    )
    sheet = f'{_XML}<worksheet xmlns="{_SHEET}"><sheetData>{rows}</sheetData></worksheet>'
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in {**_BOOK, "xl/worksheets/sheet1.xml": sheet}.items():
            # A fixed date, so that the same rows give the same bytes.
            archive.writestr(zipfile.ZipInfo(name), part, zipfile.ZIP_DEFLATED)
    return file.getvalue()
