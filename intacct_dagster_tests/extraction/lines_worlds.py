"""Worlds of documents whose lines have no change times, and change between any two answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from intacct_dagster.client import ClientCredentials, Intacct, IntacctError
from intacct_dagster.config import ObjectSettings, Reading
from intacct_dagster.extraction.extract import Extractor
from intacct_dagster.extraction.extracted import Extracted
from intacct_dagster.locks import LockError
from intacct_dagster.state import StateError
from intacct_dagster.warehouse import Warehouse, WarehouseError
from intacct_dagster_tests.extraction.extraction_worlds import (
    _HOLDS,
    _MODEL,
    ENTITY,
    LATEST,
    OTHER,
    PAGE_SIZE,
    SETTLE,
    START,
    Killed,
    World,
    _wire,
)

DOCUMENT = "accounts-payable/bill"
LINE = "accounts-payable/bill-line"
_FIELD = {"type": "string", "readOnly": False, "writeOnly": False, "nullable": True}
_LINE_MODEL = {
    "fields": {"key": _FIELD, "memo": _FIELD},
    "groups": {},
    "refs": {
        "entity": {"apiObject": "company-config/entity", "fields": {"id": _FIELD}},
        "bill": {"apiObject": DOCUMENT, "isOwner": True, "fields": {"key": _FIELD}},
    },
    "lists": [],
}


@dataclass
class Document:
    """A document as it is now: its lines by key, with the version that each is of."""

    key: str
    entity: str | None
    changed: datetime
    lines: dict[str, int]

    @property
    def version(self) -> tuple[str, str]:
        """What is stored of it is all of one version."""
        return self.key, _wire(self.changed)


@dataclass
class LinesWorld(World):
    """Documents and their lines. `reached`: whether queries of lines reach through `bill`."""

    reached: bool = False
    documents: dict[str, Document] = field(default_factory=dict)
    #: the lines of every version of every document that there ever was
    history: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    _lines: int = 0

    def _model(self, name: str) -> dict[str, Any]:
        return {LINE: _LINE_MODEL, DOCUMENT: _MODEL}[name]

    def _insert(self, changed: datetime) -> None:
        key = f"d{self._next_key}"
        self._next_key += self.random.randrange(1, 30)
        entity = self.random.choice([ENTITY, ENTITY, ENTITY, None, OTHER])
        new = Document(key, entity, changed.replace(microsecond=0), {})
        for _ in range(self.random.choice([0, 1, 2, 3, 12])):
            self._add_line(new)
        self.documents[key] = new
        self.history[new.version] = dict(new.lines)

    def _add_line(self, document: Document) -> None:
        self._lines += 1
        document.lines[str(self._lines)] = 0

    def _change(self) -> None:
        what = self.random.choice(["touch", "add", "drop", "edit", "delete", "insert", "late"])
        if what == "insert":
            self._insert(self.now)
        elif what == "late":
            self._insert(self.now - timedelta(seconds=self.random.randrange(LATEST)))
        elif self.documents:
            document = self.documents[self.random.choice(sorted(self.documents))]
            if what == "delete":
                del self.documents[document.key]
                return
            lines = sorted(document.lines)
            if what == "add":
                self._add_line(document)
            elif what == "drop" and lines:
                del document.lines[self.random.choice(lines)]
            elif what == "edit" and lines:
                document.lines[self.random.choice(lines)] += 1
            document.changed = self.now.replace(microsecond=0)
            self.history[document.version] = dict(document.lines)

    def _answer(self, query: dict[str, Any]) -> dict[str, Any]:
        mine = [each for each in self.documents.values() if each.entity in (ENTITY, None)]
        if query["object"] == DOCUMENT:
            rows = [
                {
                    "key": each.key,
                    "audit.modifiedDateTime": _wire(each.changed),
                    "entity.id": each.entity,
                    "totalTxnAmount": "1.00",
                }
                for each in mine
            ]
        else:
            rows = [
                {
                    "key": key,
                    "memo": f"v{version}",
                    "entity.id": each.entity,
                    "bill.key": each.key,
                    "bill.audit.modifiedDateTime": _wire(each.changed),
                }
                for each in mine
                for key, version in each.lines.items()
            ]
        found = [row for row in rows if _holds(row, query.get("filters", []))]
        order = [next(iter(each)) for each in query.get("orderBy", [])]
        found.sort(key=lambda row: [row[name] or "" for name in order])
        start, size = query["start"], query["size"]
        following = start + size if start + size <= len(found) else None
        page = [
            {name: row[name] for name in query["fields"]}
            for row in found[start - 1 : start - 1 + size]
        ]
        meta = {"totalCount": len(found), "start": start, "pageSize": size, "next": following}
        return {"ia::result": page, "ia::meta": meta}

    def refuses(self, query: dict[str, Any]) -> bool:
        """Whether it reaches where it may not."""
        return not self.reached and query["object"] == LINE and "bill.audit" in str(query)


def _holds(row: dict[str, Any], filters: list[dict[str, dict[str, Any]]]) -> bool:
    for condition in filters:
        ((operator, operand),) = condition.items()
        ((name, value),) = operand.items()
        held = row[name]
        if not (held in value if operator == "$in" else _HOLDS[operator](held, value)):
            return False
    return True


@dataclass
class LinesStored:
    """What is in the raw table of lines: by document and change time, lines with their versions."""

    documents: dict[tuple[str, str], dict[str, int]]
    rows: int
    keys: int

    def judge(self, world: LinesWorld, done: Extracted) -> str | None:
        """What is wrong with it, or None."""
        days, until = sorted(done.rows_by_day), done.read_until
        begin, end = f"{days[0]}T00:00:00Z", _wire(until) if until else f"{days[-1]}T23:59:60Z"
        if self.rows != self.keys:
            return "a line is there twice"
        if len({key for key, _ in self.documents}) != len(self.documents):
            return "a document is there in two versions"
        for version, lines in self.documents.items():
            if world.history.get(version) != lines:
                return f"{version} has {lines} instead of {world.history.get(version)}"
        for document in world.documents.values():
            if document.entity == OTHER or not begin <= _wire(document.changed) < end:
                continue
            stored = self.documents.get(document.version)
            if document.lines and stored is None:
                return f"missing {document.version}"
            if not document.lines and any(key == document.key for key, _ in self.documents):
                return f"{document.key} has no lines any more"
        return None


def stored_lines(warehouse: Warehouse) -> LinesStored:
    """The lines that count."""
    with warehouse.connect(read_only=True) as connection:
        rows = connection.execute(
            "SELECT bill_key, strftime(bill_audit_modified_date_time, '%Y-%m-%dT%H:%M:%SZ'), key,"
            " CAST(substr(memo, 2) AS INTEGER),"
            " _day = CAST(bill_audit_modified_date_time AS DATE)"
            " FROM intacct.accounts_payable_bill_line"
        ).fetchall()
    assert all(row[4] for row in rows)
    documents: dict[tuple[str, str], dict[str, int]] = {}
    for document, changed, key, version, _ in rows:
        documents.setdefault((document, changed), {})[key] = version
    return LinesStored(documents, len(rows), len({row[2] for row in rows}))


def extract_lines(
    world: LinesWorld, folder: Path, days: list[Any], *, tries: int = 25
) -> tuple[Extracted, LinesStored]:
    """Extracts the lines of days of a world, as `extract_world` does; bounded."""
    warehouse = Warehouse(folder / "warehouse.duckdb")
    failures: list[str] = []
    for number in range(tries):
        if number == tries - 5:
            world.faulty = False
        with Intacct(
            "demo",
            "https://world.test/ia/api/v1",
            ClientCredentials("id", "secret"),
            {ENTITY: "usa"},
            transport=world,
            now=lambda: world.now,
        ) as intacct:
            extractor = Extractor(
                intacct,
                warehouse,
                start_date=START,
                run_id=f"run-{number}",
                page_size=PAGE_SIZE,
                reading=Reading(settle_seconds=SETTLE, look_back_days=0),
                now=lambda: world.now,
            )
            try:
                done = extractor.extract(
                    ObjectSettings(name=LINE, history="from_start"), ENTITY, days
                )
            except (Killed, IntacctError, LockError, StateError, WarehouseError) as error:
                failures.append(f"{type(error).__name__} {error}")
                continue
        return done, stored_lines(warehouse)
    raise AssertionError(f"never extracted: {failures}")
