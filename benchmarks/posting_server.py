"""An Intacct that takes any batch: every document is created, after the time that a request takes.

`python posting_server.py LATENCY` prints its port and serves until it is ended. LATENCY is in
seconds, for each request, however many are in flight. What was created can be read back.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

OBJECT = "accounts-receivable/invoice"
LINE = "accounts-receivable/invoice-line"
_FIELD = {"type": "string", "readOnly": False, "writeOnly": False, "nullable": True}
_DATE = {**_FIELD, "format": "date"}
_DECIMAL = {**_FIELD, "format": "decimal-precision-2"}


def _reference(object: str) -> dict[str, Any]:
    return {"apiObject": object, "fields": {"key": _FIELD, "id": _FIELD}}


_MODELS: dict[str, dict[str, Any]] = {
    OBJECT: {
        "fields": {
            **dict.fromkeys(("key", "id", "referenceNumber", "state"), _FIELD),
            **dict.fromkeys(("invoiceDate", "dueDate"), _DATE),
            "totalTxnAmount": _DECIMAL,
        },
        "groups": {
            "audit": {"fields": {"modifiedDateTime": {**_FIELD, "format": "date-time"}}},
        },
        "refs": {
            "customer": _reference("accounts-receivable/customer"),
            "entity": _reference("company-config/entity"),
        },
        "lists": {"lines": {"apiObject": LINE}},
        "idempotenceSupported": True,
    },
    LINE: {
        "fields": {"key": _FIELD, "txnAmount": _DECIMAL},
        "groups": {"dimensions": {"refs": {"location": _reference("company-config/location")}}},
        "refs": {"glAccount": _reference("general-ledger/account")},
        "lists": [],
    },
}


class Books:
    """What was created: records as JSON, by key."""

    def __init__(self) -> None:
        self._records: dict[str, bytes] = {}

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        """The status and body of the answer to a request."""
        path = urlsplit(target).path
        if path.endswith("/oauth2/token"):
            token = {"token_type": "Bearer", "access_token": "a", "expires_in": 43200}
            return 200, json.dumps(token).encode()
        if path.endswith("/services/core/model"):
            name = parse_qs(urlsplit(target).query)["name"][0]
            return 200, _result(_MODELS[name], {"totalCount": 1})
        if path.endswith("/services/core/query"):
            asked = json.loads(body)
            rows = _master_data(asked)
            page = {"start": asked.get("start", 1), "pageSize": asked.get("size", 100)}
            meta = {"totalCount": len(rows), **page, "next": None, "previous": None}
            return 200, _result(rows, meta)
        if method == "GET":
            keys = unquote(path.rpartition("/")[2]).split(",")
            records = b",".join(self._records[key] for key in keys)
            meta = {"totalCount": len(keys), "totalSuccess": len(keys), "totalError": 0}
            return 200, b'{"ia::result":[%s],"ia::meta":%s}' % (records, json.dumps(meta).encode())
        return 201, self._create(body)

    def _create(self, body: bytes) -> bytes:
        created = []
        for document in msgspec.json.decode(body, type=list[msgspec.Raw]):
            key = str(100_000 + len(self._records))
            self._records[key] = b'{"key":"%s","id":"%s",' % (key.encode(), key.encode()) + bytes(
                document
            ).lstrip(b"{")
            created.append({"key": key, "id": key, "href": f"/objects/{OBJECT}/{key}"})
        meta = {"totalCount": len(created), "totalSuccess": len(created), "totalError": 0}
        return _result(created, meta)


def _master_data(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Whatever master data is asked for by id is there and active; of the rest there is nothing."""
    if asked["object"] == OBJECT:
        return []
    ids = [
        name
        for condition in asked.get("filters", [])
        for operand in condition.values()
        for name in (operand.get("id") or ())
        if isinstance(operand.get("id"), list)
    ]
    opened = {"openBooksStartDate": "2020-01-01", "baseCurrency.id": "USD"}
    if asked["object"] == "company-config/entity":
        ids = [condition["$eq"]["id"] for condition in asked["filters"] if "$eq" in condition]
    return [{"id": name, "key": name, "status": "active", **opened} for name in ids]


def _result(result: Any, meta: dict[str, Any]) -> bytes:
    return json.dumps({"ia::result": result, "ia::meta": meta}).encode()


class Requests(asyncio.Protocol):
    """One connection: HTTP/1.1, one request after another."""

    def __init__(self, books: Books, latency: float) -> None:
        self._books, self._latency = books, latency
        self._got = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        lengths = [
            int(line[15:])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ]
        if not found or len(body) < sum(lengths):
            return
        self._got = b""
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        status, answer = self._books.answer(method, target, body)
        asyncio.get_running_loop().call_later(self._latency, self._send, status, answer)

    def _send(self, status: int, answer: bytes) -> None:
        head = f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\n"
        self._transport.write(f"{head}Content-Length: {len(answer)}\r\n\r\n".encode() + answer)


async def serve(latency: float) -> None:
    """Serves until the process is ended."""
    books = Books()
    server = await asyncio.get_running_loop().create_server(
        lambda: Requests(books, latency), "127.0.0.1", 0
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
