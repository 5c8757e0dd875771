"""Posting against a sandbox over a faulty network: what the tests of posting share."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx

from intacct_dagster.client import ClientCredentials, Intacct, IntacctClient, IntacctError, Query
from intacct_dagster.posting.agreement import agrees
from intacct_dagster.posting.amendments import Change, Changed, changes_of
from intacct_dagster.posting.engine import PostingEngine
from intacct_dagster.posting.results import PostingTarget
from intacct_dagster.posting.settlement import SETTLE_AFTER, UNDER_WAY_AT_MOST, Settlement
from intacct_dagster.posting.steps import Watch
from intacct_dagster.state import open_state
from intacct_dagster.state.ledger import (
    Chunk,
    Entry,
    Item,
    ItemState,
    Ledger,
)
from intacct_sandbox import CLIENT_ID, CLIENT_SECRET, COMPANY

INVOICE = "accounts-receivable/invoice"
TARGET = PostingTarget("sales", INVOICE, "referenceNumber")
DAY = date(2026, 10, 13)
POISON = "POISON"
#: After this long what was created shows, however long its request took.
SETTLED = SETTLE_AFTER + timedelta(minutes=1)
NOBODY = "no such customer"

Fault = Callable[[httpx.Request], httpx.Response | None]


class Clock:
    """Ours, not the sandbox's: it moves when a test says so."""

    def __init__(self) -> None:
        self.time = datetime(2026, 10, 13, 18, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def pause(self, span: timedelta) -> None:
        self.time += span


class FaultyNetwork(httpx.BaseTransport):
    """The network, with a switch for what becomes of a request that writes.

    A fault answers in Intacct's place, raises, or returns None and lets the request through.
    """

    def __init__(self) -> None:
        self._http = httpx.HTTPTransport()
        self.fault: Fault | None = None
        self.unreachable = False
        self.numbers_itself = False
        self.writes: list[tuple[str, bytes]] = []
        self.reads: list[tuple[str, bytes]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.unreachable:
            raise httpx.ConnectError("no route to host", request=request)
        if request.url.path.endswith("/services/core/query"):
            self.reads.append((request.url.path, request.read()))
        if "/objects/" in request.url.path and request.method in ("POST", "PATCH"):
            request.read()
            self.writes.append((request.headers.get("Idempotency-Key", ""), request.content))
            answer = self.fault(request) if self.fault else None
            if answer is not None:
                return answer
        if self.numbers_itself and request.url.path.endswith("/services/core/query"):
            request = _without_ids(request)
        answer = self._http.handle_request(request)
        if self.numbers_itself and request.method == "GET":
            body = re.sub(rb'("referenceNumber":\s*)"[^"]*"', rb'\1"SEQ-1"', answer.read())
            return httpx.Response(answer.status_code, content=body, request=request)
        return answer

    def close(self) -> None:
        self._http.close()

    def let_through(self, request: httpx.Request) -> None:
        """What it does anyway."""

    def refuse_connection(self, request: httpx.Request) -> httpx.Response:
        """Nothing leaves this machine."""
        raise httpx.ConnectError("connection refused", request=request)

    def lose_request(self, request: httpx.Request) -> httpx.Response:
        """It leaves, and never arrives."""
        raise httpx.ReadTimeout("no answer", request=request)

    def lose_answer(self, request: httpx.Request) -> httpx.Response:
        """Intacct does it, and nobody hears of it."""
        self._http.handle_request(request).read()
        raise httpx.ReadError("connection reset", request=request)

    def cut_answer(self, request: httpx.Request) -> httpx.Response:
        """Intacct does it, and half of the answer arrives."""
        answer = self._http.handle_request(request)
        body = answer.read()
        return httpx.Response(answer.status_code, content=body[: len(body) // 2], request=request)

    def fail_before_commit(self, request: httpx.Request) -> httpx.Response:
        """An overloaded server does nothing."""
        return httpx.Response(503, text="<html>Service Unavailable</html>", request=request)

    def fail_after_commit(self, request: httpx.Request) -> httpx.Response:
        """An overloaded server does it, and says that it failed."""
        self._http.handle_request(request).read()
        return httpx.Response(503, text="<html>Service Unavailable</html>", request=request)

    def throttle(self, request: httpx.Request) -> httpx.Response:
        """Refused at the door."""
        error = {"code": "GW-0010", "message": "API rate limit exceeded"}
        return httpx.Response(429, json={"ia::error": error}, request=request)

    def revoke_token(self, request: httpx.Request) -> httpx.Response:
        """The session has ended."""
        error = {"code": "GW-0040", "message": "Expired token"}
        return httpx.Response(401, json={"ia::error": error}, request=request)

    def deliver_twice(self, request: httpx.Request) -> httpx.Response:
        """Something on the way sends the same request again."""
        self._http.handle_request(request).read()
        return self._http.handle_request(request)

    def answer_one_short(self, request: httpx.Request) -> httpx.Response:
        """Intacct does it, and the answer lacks an item."""
        answer = self._http.handle_request(request)
        body = json.loads(answer.read())
        if isinstance(body.get("ia::result"), list):
            body["ia::result"].pop()
        return httpx.Response(answer.status_code, json=body, request=request)

    def conflict(self, request: httpx.Request) -> httpx.Response:
        """The key is taken, and its answer is not given again."""
        return _whole(request, 409)

    def refuse_after_commit(self, request: httpx.Request, status: int = 400) -> httpx.Response:
        """Intacct does it, and says that it refuses all of it."""
        self._http.handle_request(request).read()
        return _whole(request, status)

    def refuse_whole_if_poisoned(self, request: httpx.Request) -> httpx.Response | None:
        """One document fails the whole request, and Intacct does not say which."""
        if POISON.encode() not in request.content:
            return None
        return _whole(request, 400)

    def no_such_place(self, request: httpx.Request) -> httpx.Response:
        """The address is wrong."""
        return _whole(request, 404)


def _without_ids(request: httpx.Request) -> httpx.Request:
    """The query as one that looks for ids that no record has."""
    body = json.loads(request.read())
    for each in body.get("filters", []):
        if "referenceNumber" in each.get("$in", {}):
            each["$in"]["referenceNumber"] = ["none"]
    headers = {name: value for name, value in request.headers.items() if name != "content-length"}
    return httpx.Request(request.method, request.url, headers=headers, json=body)


def _whole(request: httpx.Request, status: int) -> httpx.Response:
    error = {"code": "invalidRequest", "message": "Payload contains errors"}
    meta = {"totalCount": 1, "totalSuccess": 0, "totalError": 1}
    body = {"ia::result": {"ia::error": error}, "ia::meta": meta}
    return httpx.Response(status, json=body, request=request)


def once_each(*faults: Fault) -> Fault:
    """Faults that come in this order, and then none."""
    left = list(faults)
    return lambda request: left.pop(0)(request) if left else None


def _unwatched(step: object, moment: str) -> None:
    pass


class World:
    """A ledger, an engine, and the network between it and a sandbox.

    `prefix` begins every source id, so that several worlds can share one sandbox.
    """

    def __init__(  # noqa: PLR0913 - what a world may have of its own, each by its name
        self,
        base_url: str,
        state: str,
        *,
        prefix: str = "",
        watch: Watch = _unwatched,
        clock: Clock | None = None,
        network: type[FaultyNetwork] = FaultyNetwork,
        watch_changes: Watch = _unwatched,
        engine: type[PostingEngine] = PostingEngine,
        settlement: type[Settlement] = Settlement,
    ) -> None:
        self.base_url = base_url
        self.prefix = prefix
        self.network = network()
        self.clock = clock or Clock()
        self.state = open_state(state)
        self.ledger = Ledger(self.state, COMPANY, now=self.clock)
        self.intacct = Intacct(
            COMPANY,
            base_url,
            ClientCredentials(CLIENT_ID, CLIENT_SECRET),
            {"E110": "usa"},
            transport=self.network,
        )
        client = self.intacct.entity("E110")
        self.client = client
        self.engine = engine(
            client,
            self.ledger,
            now=self.clock,
            pause=self.clock.pause,
            watch=watch,
            settlement=settlement,
        )
        self.changes = engine(
            client,
            self.ledger.amendments,
            now=self.clock,
            pause=self.clock.pause,
            watch=watch_changes,
            settlement=settlement,
        )
        self.customer, self.other_customer = self._two_customers(client)

    @staticmethod
    def _two_customers(client: IntacctClient) -> list[str]:
        page = client.query(
            Query(
                "accounts-receivable/customer",
                ("id",),
                ({"$eq": {"status": "active"}},),
                order_by=({"id": "asc"},),
                size=2,
            )
        )
        return [str(row["id"]) for row in page.rows]

    def close(self) -> None:
        self.intacct.close()
        self.state.dispose()

    def item(self, source_id: str, *, customer: str | None = None) -> Item:
        """An invoice that Intacct takes, unless it is for a customer that there is not."""
        source_id = self.prefix + source_id
        payload = {
            "referenceNumber": source_id,
            "customer": {"id": customer or self.customer},
            "invoiceDate": DAY.isoformat(),
            "dueDate": (DAY + timedelta(days=30)).isoformat(),
            "lines": [
                {
                    "txnAmount": "12.50",
                    "glAccount": {"id": "40100"},
                    "dimensions": {"location": {"id": "E110"}, "department": {"id": "310"}},
                }
            ],
        }
        return Item(source_id, DAY, "12.50", json.dumps(payload).encode())

    def plan(self, *items: Item, size: int = 500) -> list[Chunk]:
        """The engine's plan for these items."""
        planned = self.engine.plan(TARGET, items, run_id="run", chunk_size=size)
        return list(planned.chunks)

    def chunk(self, *items: Item) -> Chunk:
        """The one chunk of a plan, straight from the ledger."""
        (chunk,) = self.ledger.plan(
            INVOICE, "E110", "sales", items, run_id="run", match_on="referenceNumber"
        )
        return chunk

    def resolve(self) -> list[Any]:
        """What the engine finds out about what was left."""
        return self.engine.resolve(INVOICE, "referenceNumber")

    def post(self, items: Sequence[Item], *, size: int = 500) -> None:
        """A whole run, as Dagster has it; what certainly did not happen ends it."""
        self.resolve()
        self.engine.post(
            TARGET,
            sorted(items, key=lambda item: item.source_id),
            documents=len(items),
            run_id="run",
            chunk_size=size,
        )

    def recover(self, items: Sequence[Item], *, size: int = 500) -> None:
        """Run without faults until every outcome is known. Bounded."""
        for _ in range(8):
            try:
                self.post(items, size=size)
            except IntacctError:
                self.clock.time += UNDER_WAY_AT_MOST
                continue
            if {each.state for each in self.entries()} <= {ItemState.POSTED, ItemState.REJECTED}:
                return
            self.clock.time += UNDER_WAY_AT_MOST + timedelta(minutes=1)
        raise AssertionError(f"after 8 runs: {self.states()}")

    def otherwise(self, item: Item) -> Item:
        """The same document as its source has it later: another day, a line more, one less."""
        payload = json.loads(item.payload)
        payload["dueDate"] = (DAY + timedelta(days=45)).isoformat()
        (line,) = payload["lines"]
        payload["lines"] = [{**line, "txnAmount": "10.00"}, {**line, "txnAmount": "4.25"}]
        return Item(item.source_id, DAY, "14.25", json.dumps(payload).encode())

    def change(self, items: Sequence[Item], *, size: int = 500) -> None:
        """A whole run of changes: what is posted otherwise than these items, is changed."""
        self.changes.resolve(INVOICE, "referenceNumber")
        keys = self.ledger.posted_keys(INVOICE, "E110", "sales")
        posted = self.ledger.posted_payloads(INVOICE, "E110", list(keys))
        by_id = {item.source_id: item for item in items}
        made = changes_of(
            self.client,
            INVOICE,
            [
                Changed(name, keys[name], posted[name], item.payload)
                for name, item in sorted(by_id.items())
                if posted[name] != item.payload
            ],
        )
        changes = [each for each in made if isinstance(each, Change)]
        self.changes.post(
            TARGET,
            [
                Item(
                    each.source_id,
                    DAY,
                    by_id[each.source_id].amount,
                    each.body,
                    each.key,
                    by_id[each.source_id].payload,
                    each.as_of,
                )
                for each in changes
            ],
            documents=len(changes),
            run_id="run",
            chunk_size=size,
        )

    def recover_changes(self, items: Sequence[Item], *, size: int = 500) -> None:
        """Run without faults until every change is made. Bounded."""
        names = {item.source_id: item.payload for item in items}
        for _ in range(8):
            try:
                self.change(items, size=size)
            except IntacctError:
                self.clock.time += UNDER_WAY_AT_MOST
                continue
            if self.ledger.posted_payloads(INVOICE, "E110", list(names)) == names:
                return
            self.clock.time += UNDER_WAY_AT_MOST + timedelta(minutes=1)
        raise AssertionError("after 8 runs not all is changed")

    def assert_changed(self, items: Sequence[Item]) -> None:
        """Intacct holds each of these documents exactly so, and none twice."""
        keys = dict(self.books())
        records = self.client.get(INVOICE, [keys[item.source_id] for item in items])
        for item in items:
            assert agrees(item.payload, records[keys[item.source_id]]), item.source_id
        assert sorted(self.created()) == sorted(set(self.created()))

    def entries(self) -> list[Entry]:
        """The ledger's entries of this world."""
        found = self.ledger.entries(INVOICE, "E110")
        return [each for each in found if each.source_id.startswith(self.prefix)]

    def states(self) -> dict[str, ItemState]:
        """The ledger's states by source id."""
        return {each.source_id: each.state for each in self.entries()}

    def books(self) -> list[tuple[str, str]]:
        """(source id, key) of all that the sandbox's books say was created; doubles stand twice."""
        control = self.base_url.removesuffix("/ia/api/v1") + "/_sandbox/books"
        return sorted(
            (str(change["document"]), str(change["key"]))
            for change in httpx.get(control).json()["changes"]
            if change["object"] == INVOICE
            and change["operation"] == "create"
            and str(change["document"]).startswith(self.prefix)
        )

    def created(self) -> list[str]:
        """The source ids that the sandbox's books say were created."""
        return [source_id for source_id, _ in self.books()]

    def assert_exactly_once(self, good: Sequence[Item], bad: Sequence[Item]) -> None:
        """The books have every good item once, under the ledger's key, and no bad one."""
        posted = sorted(
            (each.source_id, each.intacct_key or "")
            for each in self.entries()
            if each.state is ItemState.POSTED
        )
        assert self.books() == posted
        assert [source_id for source_id, _ in posted] == sorted(item.source_id for item in good)
        rejected = {each for each, state in self.states().items() if state is ItemState.REJECTED}
        assert rejected == {item.source_id for item in bad}
