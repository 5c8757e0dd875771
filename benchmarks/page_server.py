"""An Intacct that costs nothing: it answers queries from a file of rows, as fast as it can be read.

`python page_server.py FOLDER ROWS LATENCY [APART]` makes the file of rows in FOLDER where it is
missing, prints its port and serves until it is ended. Record n changed n x APART seconds (1 unless
given) after START, so that the change time that a page begins at is the place of its first row. Any
object of any entity has these rows; LATENCY is in seconds, for each request, however many are in
flight.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import sys
from array import array
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2024, 1, 1, tzinfo=UTC)
ENTITY = "E110"
#: The 20 columns of a row: path -> (type, format).
COLUMNS: dict[str, tuple[str, str | None]] = {
    "key": ("string", None),
    "id": ("string", None),
    "audit.modifiedDateTime": ("string", "date-time"),
    "audit.createdDateTime": ("string", "date-time"),
    "entity.id": ("string", None),
    "state": ("string", None),
    "invoiceNumber": ("string", None),
    "referenceNumber": ("string", None),
    "customer.id": ("string", None),
    "customer.name": ("string", None),
    "invoiceDate": ("string", "date"),
    "dueDate": ("string", "date"),
    "totalTxnAmount": ("string", "decimal-precision-2"),
    "totalBaseAmount": ("string", "decimal-precision-2"),
    "totalTxnAmountDue": ("string", "decimal-precision-2"),
    "currency.txnCurrency": ("string", None),
    "description": ("string", None),
    "dunningCount": ("integer", None),
    "isTaxable": ("boolean", None),
    "term.id": ("string", None),
}
_BARE = {"readOnly": False, "writeOnly": False, "nullable": True}


def row(number: int, apart: int = 1) -> dict[str, Any]:
    """Record `number`, as a query gives it."""
    changed = (START + timedelta(seconds=number * apart)).strftime("%Y-%m-%dT%H:%M:%SZ")
    amount = f"{number * 7919 % 1_000_000}.{number % 100:02}"
    return {
        "key": str(100_000 + number),
        "id": str(100_000 + number),
        "audit.modifiedDateTime": changed,
        "audit.createdDateTime": "2023-12-31T08:15:00Z",
        "entity.id": ENTITY,
        "state": "posted",
        "invoiceNumber": f"INV-{number:07}",
        "referenceNumber": f"BR-{number * 31 % 10_000_019}",
        "customer.id": f"C{number % 900}",
        "customer.name": f"Customer {number % 900} Incorporated",
        "invoiceDate": changed[:10],
        "dueDate": "2026-01-31",
        "totalTxnAmount": amount,
        "totalBaseAmount": amount,
        "totalTxnAmountDue": "0.00",
        "currency.txnCurrency": "USD",
        "description": "Services and material as ordered" if number % 3 else None,
        "dunningCount": number % 4,
        "isTaxable": number % 2 == 0,
        "term.id": "Net 30",
    }


def model() -> bytes:
    """The model service's answer for these columns."""
    result: dict[str, Any] = {"fields": {}, "groups": {}, "refs": {}, "lists": []}
    for path, (type_, form) in COLUMNS.items():
        *group, name = path.split(".")
        at = result["groups"].setdefault(group[0], {"fields": {}}) if group else result
        at["fields"][name] = {"type": type_, **({"format": form} if form else {}), **_BARE}
    return json.dumps({"ia::result": result, "ia::meta": {"totalCount": 1}}).encode()


def make_rows(folder: Path, rows: int, apart: int = 1) -> tuple[Path, array[int]]:
    """The file of all rows, parted by commas, and where each begins."""
    name = f"rows-{rows}-{START.date()}-{apart}"
    file, places = folder / f"{name}.json", folder / f"{name}.places"
    offsets = array("Q")
    if not places.exists():
        folder.mkdir(parents=True, exist_ok=True)
        at = 0
        with file.open("wb") as out:
            for number in range(rows):
                text = json.dumps(row(number, apart), separators=(",", ":")).encode() + b","
                offsets.append(at)
                at += out.write(text)
        offsets.append(at)
        places.write_bytes(offsets.tobytes())
    else:
        offsets.frombytes(places.read_bytes())
    return file, offsets


class Pages(asyncio.Protocol):
    """One connection: HTTP/1.1, one request after another."""

    def __init__(self, data: mmap.mmap, offsets: array[int], latency: float, apart: int) -> None:
        self._data, self._offsets, self._latency = data, offsets, latency
        self._apart = apart
        self._got = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        if not found:
            return
        length = next(
            (
                int(line[15:])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            ),
            0,
        )
        if len(body) < length:
            return
        self._got = b""
        entity = next(
            (
                line[23:].strip()
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"x-ia-api-param-entity:")
            ),
            ENTITY.encode(),
        )
        answer = self._answer(head.split(b" ")[1], body)
        if entity != ENTITY.encode():
            mine = b'"entity.id":"%s"' % ENTITY.encode()
            answer = [part.replace(mine, b'"entity.id":"%s"' % entity) for part in answer]
        asyncio.get_running_loop().call_later(self._latency, self._send, answer)

    def _send(self, parts: list[bytes]) -> None:
        length = sum(map(len, parts))
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % length
        )
        self._transport.writelines(parts)

    def _answer(self, path: bytes, body: bytes) -> list[bytes]:
        if path.endswith(b"/oauth2/token"):
            return [b'{"token_type":"Bearer","access_token":"a","expires_in":43200}']
        if b"/services/core/model" in path:
            return [model()]
        query = json.loads(body)
        total = len(self._offsets) - 1
        since, until = 0, total
        for condition in query.get("filters", []):
            ((operator, operand),) = condition.items()
            value = next(iter(operand.values()))
            if operator in ("$gte", "$lt") and value is not None:
                seconds = int((datetime.fromisoformat(value) - START).total_seconds())
                place = min(max(-(-seconds // self._apart), 0), total)
                since, until = (place, until) if operator == "$gte" else (since, place)
        first = min(since + query["start"] - 1, until)
        last = min(first + query["size"], until)
        rows = (
            self._data[self._offsets[first] : max(self._offsets[last] - 1, 0)]
            if last > first
            else b""
        )
        following = query["start"] + query["size"]
        meta = {
            "totalCount": max(until - since, 0),
            "start": query["start"],
            "pageSize": query["size"],
            "next": following if following <= until - since else None,
            "previous": None,
        }
        return [b'{"ia::result":[', rows, b'],"ia::meta":', json.dumps(meta).encode(), b"}"]


async def serve(folder: Path, rows: int, latency: float, apart: int) -> None:
    """Serves until the process is ended."""
    file, offsets = make_rows(folder, rows, apart)
    with file.open("rb") as opened:
        data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        server = await asyncio.get_running_loop().create_server(
            lambda: Pages(data, offsets, latency, apart), "127.0.0.1", 0
        )
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    apart = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), apart))
