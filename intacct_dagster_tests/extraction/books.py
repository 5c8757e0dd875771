"""The books of a company with several entities, in this process, and a clock for them.

A session of an entity sees the records of its entity and the shared ones, but not those that are
hidden from its user. Every answer says when it was given, by the clock of the books.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx

INVOICE = "accounts-receivable/invoice"
BILL = "accounts-payable/bill"
LINE = "accounts-payable/bill-line"
COLOUR = "company-config/colour"

_TEXT = {"type": "string", "readOnly": False, "writeOnly": False, "nullable": True}
_AUDIT = {"audit": {"fields": {"modifiedDateTime": {**_TEXT, "format": "date-time"}}}}
_ENTITY = {"apiObject": "company-config/entity", "fields": {"id": _TEXT}}


def _model(fields: Mapping[str, Any], *, dated: bool, **refs: Any) -> dict[str, Any]:
    return {
        "fields": {"key": _TEXT, **fields},
        "groups": _AUDIT if dated else {},
        "refs": {"entity": _ENTITY, **refs},
        "lists": [],
    }


_MODELS = {
    INVOICE: _model({"total": {**_TEXT, "format": "decimal-precision-2"}}, dated=True),
    BILL: _model({}, dated=True),
    LINE: _model(
        {"memo": _TEXT},
        dated=False,
        bill={"apiObject": BILL, "isOwner": True, "fields": {"key": _TEXT}},
    ),
    COLOUR: _model({"memo": _TEXT}, dated=False),
}


@dataclass
class Record:
    """A record as it is now. `version` counts its changes, `lines` are those of a document.

    `modified` is when anything of it changed last, also what left its change time as it was.
    `restricted` are the entities whose users are not shown its value.
    """

    key: str
    entity: str | None
    changed: datetime
    modified: datetime
    version: int = 0
    hidden: set[str] = field(default_factory=set)
    restricted: set[str] = field(default_factory=set)
    lines: dict[str, int] = field(default_factory=dict)

    def seen_by(self, entity: str) -> bool:
        """Return whether a session of the entity sees it."""
        return self.entity in (entity, None) and entity not in self.hidden


def wire_time(moment: datetime) -> str:
    """Return a moment as answers have it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Books(httpx.BaseTransport):
    """The records of one object by key, and what goes wrong.

    `object` is what is read; bills if it is lines, and then `reached` says whether queries of lines
    reach through `bill`. `refused` has the entities that get 403 for the object, `down` those whose
    connections fail. `before_answer` is called before each answer to a query.
    """

    object: str
    now: datetime
    reached: bool = False
    records: dict[str, Record] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    down: set[str] = field(default_factory=set)
    before_answer: Callable[[str, Mapping[str, Any]], Any] = lambda _entity, _query: None
    queries: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._turn = threading.RLock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer as Intacct does, at the time of the books."""
        request.read()
        with self._turn:
            response = self._respond(request)
            response.headers["Date"] = format_datetime(self.now, usegmt=True)
            return response

    def _respond(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/oauth2/token"):
            token = {"access_token": "a", "refresh_token": "r", "expires_in": 43200}
            return httpx.Response(200, json={"token_type": "Bearer", **token})
        entity = request.headers["x-ia-api-param-entity"]
        if entity in self.down:
            raise httpx.ConnectError("no route", request=request)
        if request.url.path.endswith("/services/core/model"):
            found = _MODELS[request.url.params["name"]]
            return httpx.Response(200, json={"ia::result": found, "ia::meta": {"totalCount": 1}})
        query = json.loads(request.content)
        if query["object"] not in _MODELS:
            return _error(400, "invalidRequest", "no such object", "REST-1")
        if entity in self.refused and query["object"] in (self.object, BILL):
            return _error(403, "permissionDenied", "You do not have permission", "REST-1005")
        if not self.reached and query["object"] == LINE and "bill.audit" in str(query):
            return _error(400, "invalidRequest", "no such field", "REST-1106")
        self.queries.append((entity, query))
        self.before_answer(entity, query)
        return httpx.Response(200, json=self._answer(entity, query))

    def _answer(self, entity: str, query: Mapping[str, Any]) -> dict[str, Any]:
        rows = [
            row
            for record in self.records.values()
            if record.seen_by(entity)
            for row in self.rows(record, query["object"], entity)
            if _holds(row, query.get("filters", []))
        ]
        order = [next(iter(each)) for each in query.get("orderBy", [])]
        rows.sort(key=lambda row: [row[name] or "" for name in order])
        start, size = query["start"], query["size"]
        following = start + size if start + size <= len(rows) else None
        page = [
            {name: row[name] for name in query["fields"]}
            for row in rows[start - 1 : start - 1 + size]
        ]
        meta = {"totalCount": len(rows), "start": start, "pageSize": size, "next": following}
        return {"ia::result": page, "ia::meta": meta}

    def rows(self, record: Record, object: str, entity: str) -> list[dict[str, Any]]:
        """Return the rows of an object that a record is, as a session of the entity sees them."""
        shown = entity not in record.restricted
        row = {"key": record.key, "entity.id": record.entity}
        dated = {"audit.modifiedDateTime": wire_time(record.changed)}
        if object == INVOICE:
            return [{**row, **dated, "total": f"{record.version}.50" if shown else None}]
        if object == BILL:
            return [{**row, **dated}]
        if object == COLOUR:
            return [{**row, "memo": f"v{record.version}" if shown else None}]
        return [
            {
                **row,
                "key": key,
                "memo": f"v{version}" if shown else None,
                "bill.key": record.key,
                "bill.audit.modifiedDateTime": wire_time(record.changed),
            }
            for key, version in record.lines.items()
        ]

    def put(self, key: str, entity: str | None, changed: datetime, **more: Any) -> Record:
        """Add a record that was last changed then, as of now."""
        self.records[key] = Record(key, entity, changed, self.now, **more)
        return self.records[key]

    def touch(self, key: str, at: datetime | None = None) -> Record:
        """Change a record, with this change time or that of now."""
        record = self.edit(key)
        record.changed = (at if at is not None else self.now).replace(microsecond=0)
        return record

    def edit(self, key: str) -> Record:
        """Change a record, and not its change time."""
        record = self.records[key]
        record.version += 1
        record.modified = self.now
        return record

    def pass_time(self, seconds: float) -> None:
        """Let the clock of the books go on."""
        self.now += timedelta(seconds=seconds)


def _error(status: int, code: str, message: str, number: str) -> httpx.Response:
    error = {"code": code, "message": message, "errorId": number}
    return httpx.Response(status, json={"ia::result": {"ia::error": error}})


def _holds(row: Mapping[str, Any], filters: list[dict[str, dict[str, Any]]]) -> bool:
    for condition in filters:
        ((operator, operand),) = condition.items()
        ((name, value),) = operand.items()
        if not _HOLDS[operator](row[name], value):
            return False
    return True


_HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "$gte": lambda held, value: held is not None and bool(held >= value),
    "$lt": lambda held, value: held is not None and bool(held < value),
    "$eq": lambda held, value: bool(held == value),
    "$ne": lambda held, value: bool(held != value),
    "$in": lambda held, value: held in value,
}
