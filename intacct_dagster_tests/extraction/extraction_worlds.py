"""Worlds to extract from: an Intacct in this process whose books change between any two answers.

Everything a world does follows from its seed: how keys sort, how many records share a second, what
changes when, which answers are cut, repeated or lack a row, and when the process is killed.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from intacct_dagster.client import ClientCredentials, Intacct, IntacctError
from intacct_dagster.config import ObjectSettings, Reading
from intacct_dagster.extraction.extract import Extractor
from intacct_dagster.extraction.extracted import Extracted
from intacct_dagster.locks import LockError
from intacct_dagster.state import StateError
from intacct_dagster.warehouse import Warehouse, WarehouseError

OBJECT = "accounts-receivable/invoice"
ENTITY = "E110"
OTHER = "E120"
START = date(2026, 10, 1)
NOW = datetime(2026, 10, 5, 10, 0, tzinfo=UTC)
SETTLE = 300
LATEST = 270  # seconds after its change time until a record shows
PAGE_SIZE = 8

Version = tuple[str, str | None, int]
"""(key, change time, version number) of a record."""


class Killed(BaseException):
    """The process ends here: nothing catches it."""


@dataclass
class Record:
    """A record of the books; `version` counts its changes."""

    key: str
    entity: str | None
    changed: datetime
    version: int = 0

    def wire(self) -> dict[str, object]:
        """The record as a query answers with it."""
        return {
            "key": self.key,
            "audit.modifiedDateTime": _wire(self.changed),
            "entity.id": self.entity,
            "totalTxnAmount": f"{self.version}.50",
        }

    @property
    def seen(self) -> Version:
        """What a reader can know of it."""
        return self.key, _wire(self.changed), self.version


def _wire(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


_FIELD = {"readOnly": False, "writeOnly": False, "nullable": True}
_MODEL = {
    "fields": {
        "key": {"type": "string", **_FIELD},
        "totalTxnAmount": {"type": "string", "format": "decimal-precision-2", **_FIELD},
    },
    "groups": {
        "audit": {
            "fields": {"modifiedDateTime": {"type": "string", "format": "date-time", **_FIELD}}
        }
    },
    "refs": {"entity": {"fields": {"id": {"type": "string", **_FIELD}}}},
    "lists": [],
}


class Shuffled:
    """An executor in which any of the waiting calls may be the next, as the seed has it."""

    def __init__(self, number: int, chance: random.Random) -> None:
        self.number = number
        self._chance = chance
        self._waiting: dict[Future[Any], Callable[[], Any]] = {}

    def rank(self) -> int:
        """Of no meaning here."""
        return 0

    def submit(self, rank: int, call: Callable[[], Any]) -> Future[Any]:
        """Made when somebody waits for this call or another one."""
        future = _Deferred(self)
        self._waiting[future] = call
        return future

    def run_until(self, wanted: Future[Any]) -> None:
        """Makes calls in any order until one is done."""
        while not wanted.done():
            future = self._chance.choice(list(self._waiting))
            call = self._waiting.pop(future)
            if future.cancelled():
                continue
            try:
                future.set_result(call())
            except Exception as error:
                future.set_exception(error)

    def close(self) -> None:
        """Nothing waits any more."""
        self._waiting.clear()


class _Deferred(Future[Any]):
    def __init__(self, executor: Shuffled) -> None:
        super().__init__()
        self._executor = executor

    def result(self, timeout: float | None = None) -> Any:
        self._executor.run_until(self)
        return super().result(timeout)


@dataclass
class World(httpx.BaseTransport):
    """The books, their clock, and what goes wrong; answers as Intacct does."""

    seed: int
    now: datetime = NOW
    restless: bool = True
    faulty: bool = True
    records: dict[str, Record] = field(default_factory=dict)
    ever_seen: set[Version] = field(default_factory=set)
    queries: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._turn = threading.Lock()
        self._numeric = self.random.random() < 0.5
        self._next_key = 1
        self._last: dict[str, Any] | None = None
        seconds = self.random.choice([3, 20, 4000])
        for _ in range(self.random.randrange(60)):
            self._insert(
                datetime(2026, 10, 1, tzinfo=UTC)
                + timedelta(seconds=self.random.randrange(seconds) * (4 * 86400 // seconds))
            )

    def visible(self) -> set[Version]:
        """What a session of the entity can see now."""
        return {each.seen for each in self.records.values() if each.entity in (ENTITY, None)}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Time passes, the books change, and the answer is given, or goes wrong."""
        with self._turn:  # blocks of lines are asked for from several threads
            return self._handle(request)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        request.read()
        if request.url.path.endswith("/oauth2/token"):
            self._last = None  # another process, another connection: only one's own answers repeat
            token = {"access_token": "a", "refresh_token": "r", "expires_in": 43200}
            return httpx.Response(200, json={"token_type": "Bearer", **token})
        if request.url.path.endswith("/services/core/model"):
            model = self._model(request.url.params["name"])
            return httpx.Response(200, json={"ia::result": model, "ia::meta": {"totalCount": 1}})
        self.queries += 1
        self._pass_time()
        if self.faulty:
            chance = self.random.random()
            if chance < 0.02:
                raise Killed
            if chance < 0.04:
                return httpx.Response(500, json={"error": "try again"})
            if chance < 0.05:
                raise httpx.ReadTimeout("no answer", request=request)
        query = json.loads(request.content)
        if self.refuses(query):
            error = {"code": "invalidRequest", "message": "no such field", "errorId": "REST-1106"}
            return httpx.Response(400, json={"ia::result": {"ia::error": error}})
        answer = self._answer(query)
        if self.faulty:
            answer = self._damage(answer)
        self._last = answer
        content = json.dumps(answer).encode()
        if self.faulty and self.random.random() < 0.01:
            content = content[: self.random.randrange(len(content))]
        self.ever_seen |= self.visible()
        return httpx.Response(200, content=content)

    def refuses(self, query: dict[str, Any]) -> bool:
        """Whether a query asks for what there is not."""
        return False

    def _model(self, name: str) -> dict[str, Any]:
        assert name == OBJECT
        return _MODEL

    def _pass_time(self) -> None:
        self.now += timedelta(seconds=self.random.randrange(1, 20))
        self.ever_seen |= self.visible()
        if self.restless:
            for _ in range(self.random.choice([0, 0, 1, 1, 2, 6])):
                self._change()
        self.ever_seen |= self.visible()

    def _change(self) -> None:
        what = self.random.choice(["touch", "touch", "delete", "insert", "late"])
        if what == "insert":
            self._insert(self.now)
        elif what == "late":  # shows only now, as of a while ago
            self._insert(self.now - timedelta(seconds=self.random.randrange(LATEST)))
        elif self.records:
            key = self.random.choice(sorted(self.records))
            if what == "delete":
                del self.records[key]
            else:
                record = self.records[key]
                record.changed, record.version = self.now, record.version + 1

    def _insert(self, changed: datetime) -> None:
        key = str(self._next_key)
        self._next_key += self.random.randrange(1, 30)
        entity = self.random.choice([ENTITY, ENTITY, ENTITY, None, OTHER])
        self.records[key] = Record(key, entity, changed.replace(microsecond=0))

    def _answer(self, query: dict[str, Any]) -> dict[str, Any]:
        private = query.get("filterParameters", {}).get("includePrivate")
        assert private in (None, True)
        found = [
            each
            for each in self.records.values()
            if each.entity in (ENTITY, None) and _matches(each, query.get("filters", []))
        ]
        if query.get("orderBy"):
            found.sort(key=lambda each: (each.changed, self._sorted_as(each.key)))
        else:
            self.random.shuffle(found)
        start, size = query["start"], query["size"]
        following = start + size if start + size <= len(found) else None
        return {
            "ia::result": [each.wire() for each in found[start - 1 : start - 1 + size]],
            "ia::meta": {
                "totalCount": len(found),
                "start": start,
                "pageSize": size,
                "next": following,
                "previous": None,
            },
        }

    def _sorted_as(self, key: str) -> tuple[int, str]:
        return (int(key), "") if self._numeric else (0, key)

    def _damage(self, answer: dict[str, Any]) -> dict[str, Any]:
        chance = self.random.random()
        rows = answer["ia::result"]
        if chance < 0.02 and self._last is not None:
            return self._last
        if chance < 0.04 and rows:
            lost = self.random.randrange(len(rows))
            return {**answer, "ia::result": rows[:lost] + rows[lost + 1 :]}
        if chance < 0.05:
            lie = answer["ia::meta"]["totalCount"] + self.random.choice([-2, -1, 1, 7])
            return {**answer, "ia::meta": {**answer["ia::meta"], "totalCount": lie}}
        return answer


def _matches(record: Record, filters: Iterable[dict[str, dict[str, Any]]]) -> bool:
    wire = record.wire()
    for condition in filters:
        ((operator, operand),) = condition.items()
        ((name, value),) = operand.items()
        if not _HOLDS[operator](wire[name], value):
            return False
    return True


_HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "$gte": lambda held, value: held is not None and bool(held >= value),
    "$lt": lambda held, value: held is not None and bool(held < value),
    "$eq": lambda held, value: bool(held == value),
    "$ne": lambda held, value: bool(held != value),
}


@dataclass
class Outcome:
    """What an extraction of a world came to, after as many tries as it took."""

    extracted: Extracted
    failures: list[str]
    stored: set[Version]
    visible: set[Version]
    ever_seen: set[Version]

    def judge(self, first: date, last: date, until: datetime) -> str | None:
        """What is wrong with what was stored, or None: all that stayed, and nothing unseen."""
        begin, end = f"{first}T00:00:00Z", min(f"{last + timedelta(1)}T00:00:00Z", _wire(until))

        def within(versions: set[Version]) -> set[Version]:
            return {each for each in versions if begin <= (each[1] or "") < end}

        if missing := within(self.visible) - self.stored:
            return f"missing {sorted(missing)[:3]}"
        if strange := self.stored - within(self.ever_seen):
            return f"never there {sorted(strange)[:3]}"
        if len({key for key, *_ in self.stored}) != len(self.stored):
            return "a record is there twice"
        return None


def extract_world(
    world: World, folder: Path, days: list[date], *, settle: int = SETTLE, tries: int = 25
) -> Outcome:
    """Extracts days of a world; after a failure or a kill a new process tries again, bounded."""
    warehouse = Warehouse(folder / "warehouse.duckdb")
    failures: list[str] = []
    world.ever_seen.clear()
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
            lanes = random.Random(world.seed * 1000 + number)
            intacct._executor = Shuffled(1 + world.seed % 6, lanes)  # type: ignore[assignment]
            extractor = Extractor(
                intacct,
                warehouse,
                start_date=START,
                run_id=f"run-{number}",
                page_size=PAGE_SIZE,
                reading=Reading(settle_seconds=settle, look_back_days=0),
                now=lambda: world.now,
            )
            try:
                done = extractor.extract(
                    ObjectSettings(name=OBJECT, history="from_start"), ENTITY, days
                )
            except (Killed, IntacctError, LockError, StateError, WarehouseError) as error:
                failures.append(type(error).__name__)
                continue
        return Outcome(
            done, failures, stored_versions(warehouse, days), world.visible(), world.ever_seen
        )
    raise AssertionError(f"never extracted: {failures}")


def stored_versions(warehouse: Warehouse, days: list[date]) -> set[Version]:
    """The records that the last load brought into the raw partitions of these days."""
    with warehouse.connect(read_only=True) as connection:
        rows = connection.execute(
            "SELECT key, strftime(audit_modified_date_time, '%Y-%m-%dT%H:%M:%SZ'),"
            " CAST(floor(total_txn_amount) AS INTEGER) FROM raw.accounts_receivable_invoice"
            " WHERE list_contains(?::DATE[], _day)"
            " AND _load_id = (SELECT max(load_id) FROM meta.loads)",
            [days],
        ).fetchall()
    return {(str(key), changed, int(version)) for key, changed, version in rows}
