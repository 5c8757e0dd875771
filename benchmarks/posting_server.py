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
ENTITY = "E110"
LINE = "accounts-receivable/invoice-line"
_FIRST = 100_000  # the first key
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
        "refs": {
            "glAccount": _reference("general-ledger/account"),
            "invoice": {**_reference(OBJECT), "isOwner": True},
        },
        "lists": [],
    },
}


class Books:
    """What was created, as JSON: whole records by key, and the rows that a query shows of them."""

    def __init__(self) -> None:
        self._records: dict[str, bytes] = {}
        self._rows: dict[str, list[bytes]] = {OBJECT: [], LINE: []}
        self._lines_until: list[int] = []  # how many lines the records up to one have

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        """The status and body of the answer to a request."""
        path = urlsplit(target).path
        if path.endswith("/oauth2/token"):
            token = {"token_type": "Bearer", "access_token": "a", "expires_in": 43200}
            return 200, json.dumps(token).encode()
        if path.endswith("/services/core/model"):
            name = parse_qs(urlsplit(target).query)["name"][0]
            return 200, _result(json.dumps(_MODELS[name]).encode(), {"totalCount": 1})
        if path.endswith("/services/core/query"):
            return 200, self._page(json.loads(body))
        if method == "GET":
            keys = unquote(path.rpartition("/")[2]).split(",")
            records = b",".join(self._records[key] for key in keys)
            meta = {"totalCount": len(keys), "totalSuccess": len(keys), "totalError": 0}
            return 200, _result(b"[%s]" % records, meta)
        return 201, self._create(body)

    def _page(self, asked: dict[str, Any]) -> bytes:
        start, size = asked.get("start", 1), asked.get("size", 100)
        bounds = [
            int(next(iter(condition[operator].values()))) - _FIRST
            for operator in ("$gte", "$lte")
            for condition in asked.get("filters", [])
            if operator in condition and asked["object"] in self._rows
            if next(iter(condition[operator])).endswith("key")
        ]
        if len(bounds) == 2:
            first, last = bounds
            if asked["object"] == LINE:
                first = self._lines_until[first - 1] if first else 0
                last = self._lines_until[last] - 1
            rows = self._rows[asked["object"]][first : last + 1]
        else:
            rows = [json.dumps(row).encode() for row in _master_data(asked)]
        meta = {"totalCount": len(rows), "start": start, "pageSize": size, "next": None}
        return _result(b"[%s]" % b",".join(rows[start - 1 : start - 1 + size]), meta)

    def _create(self, body: bytes) -> bytes:
        created = []
        for document in msgspec.json.decode(body, type=list[msgspec.Raw]):
            key = str(_FIRST + len(self._records))
            self._records[key] = b'{"key":"%s","id":"%s",' % (key.encode(), key.encode()) + bytes(
                document
            ).lstrip(b"{")
            sent = msgspec.json.decode(document)
            lines = sent.pop("lines")
            self._rows[OBJECT].append(msgspec.json.encode({"key": key, **_flat(sent)}))
            for line in lines:
                place = {"key": str(len(self._rows[LINE])), "invoice.key": key}
                self._rows[LINE].append(msgspec.json.encode({**place, **_flat(line)}))
            self._lines_until.append(len(self._rows[LINE]))
            created.append({"key": key, "id": key, "href": f"/objects/{OBJECT}/{key}"})
        meta = {"totalCount": len(created), "totalSuccess": len(created), "totalError": 0}
        return _result(json.dumps(created).encode(), meta)


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """As the rows of a query are: a dotted path stays one key."""
    row: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, dict):
            row |= _flat(value, f"{prefix}{name}.")
        else:
            row[prefix + name] = value
    return row


def _master_data(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Whatever master data is asked for by id is there and active; of the rest there is nothing,
    but for one older invoice of the entity, by which a session is seen to be in it."""
    if asked["object"] == OBJECT:
        private = {"$ne": {"entity.id": None}} in asked.get("filters", [])
        return [{"key": "1", "entity.id": ENTITY}] if private else []
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


def _result(result: bytes, meta: dict[str, Any]) -> bytes:
    return b'{"ia::result":%s,"ia::meta":%s}' % (result, json.dumps(meta).encode())


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
        loop = asyncio.get_running_loop()
        due = loop.time() + self._latency  # what this server does meanwhile is part of it
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        status, answer = self._books.answer(method, target, body)
        loop.call_at(due, self._send, status, answer)

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
