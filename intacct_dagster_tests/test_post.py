"""Posting against the sandbox: once each, whatever becomes of the answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from intacct_dagster.intacct import ClientCredentials, Intacct, NotReached
from intacct_dagster.post import MOST_SPLITS, READ_BACK_AFTER, REPLAY_WITHIN, PostingEngine
from intacct_dagster.sandbox import CLIENT_ID, CLIENT_SECRET, COMPANY, RunningSandbox, serve
from intacct_dagster.warehouse import Chunk, Item, ItemState, Ledger, open_state

INVOICE = "accounts-receivable/invoice"
DAY = date(2026, 10, 13)


class Clock:
    """Ours, not the sandbox's: it moves when a test says so."""

    def __init__(self) -> None:
        self.time = datetime(2026, 10, 13, 18, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


class Weather(httpx.BaseTransport):
    """The network, with a switch for what happens to a request that writes."""

    def __init__(self) -> None:
        self._network = httpx.HTTPTransport()
        self.storm: Callable[[httpx.Request], httpx.Response | None] | None = None
        self.writes: list[tuple[str, bytes]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if "/objects/" in request.url.path and request.method == "POST":
            request.read()
            self.writes.append((request.headers["Idempotency-Key"], request.content))
            if self.storm is not None:
                answer = self.storm(request)
                if answer is not None:
                    return answer
        return self._network.handle_request(request)

    def close(self) -> None:
        self._network.close()

    def refuse_connection(self, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused", request=request)

    def lose_request(self, request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("no answer", request=request)

    def lose_answer(self, request: httpx.Request) -> httpx.Response:
        answer = self._network.handle_request(request)
        answer.read()
        raise httpx.ReadError("connection reset", request=request)

    def fail_after_commit(self, request: httpx.Request) -> httpx.Response:
        self._network.handle_request(request).read()
        return httpx.Response(503, text="<html>Service Unavailable</html>", request=request)

    def refuse_whole_if_poisoned(self, request: httpx.Request) -> httpx.Response | None:
        if b"POISON" not in request.content:
            return None
        error = {"code": "invalidRequest", "message": "Payload contains errors"}
        meta = {"totalCount": 1, "totalSuccess": 0, "totalError": 1}
        body = {"ia::result": {"ia::error": error}, "ia::meta": meta}
        return httpx.Response(400, json=body, request=request)

    def answer_one_short(self, request: httpx.Request) -> httpx.Response:
        answer = self._network.handle_request(request)
        body = json.loads(answer.read())
        body["ia::result"].pop()
        return httpx.Response(answer.status_code, json=body, request=request)


class World:
    """A sandbox, a ledger, an engine, and the weather between them."""

    def __init__(self, sandbox: RunningSandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self.weather = Weather()
        self.clock = Clock()
        self.state = open_state(f"sqlite:///{folder}/state.db")
        self.ledger = Ledger(self.state, COMPANY, now=self.clock)
        self.intacct = Intacct(
            COMPANY,
            sandbox.base_url,
            ClientCredentials(CLIENT_ID, CLIENT_SECRET),
            {"E110": "usa"},
            transport=self.weather,
        )
        self.engine = PostingEngine(self.intacct.entity("E110"), self.ledger, now=self.clock)
        page = httpx.post(
            f"{sandbox.base_url}/oauth2/token",
            data={
                "grant_type": "client_credentials",
                "client_id": CLIENT_ID,
                "client_secret": CLIENT_SECRET,
                "username": f"usa@{COMPANY}|E110",
            },
        ).json()
        rows = httpx.post(
            f"{sandbox.base_url}/services/core/query",
            headers={"Authorization": f"Bearer {page['access_token']}"},
            json={
                "object": "accounts-receivable/customer",
                "fields": ["id"],
                "filters": [{"$eq": {"status": "active"}}],
                "orderBy": [{"id": "asc"}],
                "size": 1,
            },
        ).json()
        self.customer = rows["ia::result"][0]["id"]

    def close(self) -> None:
        self.intacct.close()
        self.state.dispose()

    def item(self, source_id: str, *, customer: str | None = None) -> Item:
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

    def plan(self, *items: Item) -> Chunk:
        (chunk,) = self.ledger.plan(INVOICE, "E110", "sales", items, run_id="run")
        return chunk

    def states(self) -> dict[str, ItemState]:
        return {each.source_id: each.state for each in self.ledger.entries(INVOICE, "E110")}

    def created(self) -> list[str]:
        """What the sandbox's books say was created, by source id; a second copy stands twice."""
        control = self.sandbox.base_url.removesuffix("/ia/api/v1") + "/_sandbox/books"
        return sorted(
            str(change["document"])
            for change in httpx.get(control).json()["changes"]
            if change["object"] == INVOICE and change["operation"] == "create"
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serve() as sandbox:
        world = World(sandbox, tmp_path)
        yield world
        world.close()


def test_what_is_accepted_and_refused_is_known_by_position(world: World) -> None:
    chunk = world.plan(
        world.item("S1"), world.item("S2", customer="no such customer"), world.item("S3")
    )
    sent = world.engine.send(chunk.chunk_id)

    assert (sent.posted, sent.refused, sent.uncertain) == (2, 1, 0)
    assert world.created() == ["S1", "S3"]
    entries = {each.source_id: each for each in world.ledger.entries(INVOICE, "E110")}
    assert entries["S2"].state is ItemState.REJECTED
    assert "customer" in (entries["S2"].reason or "")
    assert "no such customer" in (entries["S2"].what_to_do or "")
    client = world.intacct.entity("E110")
    for source_id in ("S1", "S3"):
        key = entries[source_id].intacct_key or ""
        assert client.get(INVOICE, [key])[key]["referenceNumber"] == source_id


def test_a_document_that_fails_the_whole_request_is_told_apart_from_the_others(
    world: World,
) -> None:
    items = [world.item(f"S{number:02}") for number in range(20)]
    items[13] = world.item("S13-POISON")
    chunk = world.plan(*items)
    world.weather.storm = world.weather.refuse_whole_if_poisoned

    sent = world.engine.send(chunk.chunk_id)

    assert (sent.posted, sent.refused, sent.uncertain) == (19, 1, 0)
    refused = [each for each, state in world.states().items() if state is ItemState.REJECTED]
    assert refused == ["S13-POISON"]
    assert world.created() == sorted(set(world.states()) - set(refused))
    keys = [key for key, _ in world.weather.writes]
    assert len(set(keys)) == len(keys), "a part is another request, so it has another key"


def test_when_many_documents_fail_the_request_the_search_for_them_ends(world: World) -> None:
    chunk = world.plan(*(world.item(f"S{number:03}-POISON") for number in range(200)))
    world.weather.storm = world.weather.refuse_whole_if_poisoned

    sent = world.engine.send(chunk.chunk_id)

    assert (sent.posted, sent.refused, sent.uncertain) == (0, 200, 0)
    assert len(world.weather.writes) <= 1 + 2 * MOST_SPLITS


def test_a_half_that_was_not_reached_is_sent_when_the_chunk_is_sent_again(world: World) -> None:
    chunk = world.plan(world.item("S1-POISON"), world.item("S2"))
    world.weather.storm = _once_each(
        world.weather.refuse_whole_if_poisoned,
        world.weather.refuse_whole_if_poisoned,
        *[world.weather.refuse_connection] * 5,
    )
    with pytest.raises(NotReached):
        world.engine.send(chunk.chunk_id)
    assert world.states() == {"S1-POISON": ItemState.REJECTED, "S2": ItemState.PLANNED}

    assert world.engine.send(chunk.chunk_id).posted == 1
    assert world.created() == ["S2"]


def _once_each(
    *storms: Callable[[httpx.Request], httpx.Response | None],
) -> Callable[[httpx.Request], httpx.Response | None]:
    left = list(storms)
    return lambda request: left.pop(0)(request) if left else None


def test_what_came_into_intacct_since_reconciliation_is_not_planned(world: World) -> None:
    world.engine.send(world.plan(world.item("S1")).chunk_id)
    # A ledger that knows nothing of it, as if a person had entered it.
    ledger = Ledger(world.state, "elsewhere", now=world.clock)
    engine = PostingEngine(world.intacct.entity("E110"), ledger, now=world.clock)

    planned = engine.plan(
        "sales",
        INVOICE,
        "referenceNumber",
        [world.item("S1"), world.item("S2")],
        run_id="run",
        chunk_size=500,
    )

    assert list(planned.already_there) == ["S1"]
    (chunk,) = planned.chunks
    assert ledger.source_ids(chunk.chunk_id) == ["S2"]


def test_a_chunk_is_not_sent_twice(world: World) -> None:
    chunk = world.plan(world.item("S1"))
    world.engine.send(chunk.chunk_id)
    again = world.engine.send(chunk.chunk_id)

    assert (again.posted, again.note) == (0, "not sent: it was planned anew or sent before")
    assert len(world.weather.writes) == 1
    assert world.created() == ["S1"]


def test_a_connection_that_is_refused_leaves_the_chunk_ready(world: World) -> None:
    chunk = world.plan(world.item("S1"))
    world.weather.storm = world.weather.refuse_connection
    with pytest.raises(NotReached):
        world.engine.send(chunk.chunk_id)
    assert world.states() == {"S1": ItemState.PLANNED}

    world.weather.storm = None
    assert world.engine.send(chunk.chunk_id).posted == 1
    assert world.created() == ["S1"]


@pytest.mark.parametrize(
    "storm", ["lose_request", "lose_answer", "fail_after_commit", "answer_one_short"]
)
def test_an_answer_that_cannot_be_trusted_is_uncertain_and_settled_by_the_same_bytes(
    world: World, storm: str
) -> None:
    chunk = world.plan(world.item("S1"), world.item("S2", customer="nobody"), world.item("S3"))
    world.weather.storm = getattr(world.weather, storm)
    sent = world.engine.send(chunk.chunk_id)
    assert (sent.posted, sent.refused, sent.uncertain) == (0, 0, 3)
    assert set(world.states().values()) == {ItemState.UNCERTAIN}
    sends = len(world.weather.writes)
    assert sends == 1, "a write whose fate is unknown must not be repeated blindly"

    world.weather.storm = None
    (settled,) = world.engine.settle(INVOICE, "referenceNumber")

    assert (settled.posted, settled.refused, settled.uncertain) == (2, 1, 0)
    assert world.weather.writes[0] == world.weather.writes[1]
    assert world.created() == ["S1", "S3"]
    assert world.engine.settle(INVOICE, "referenceNumber") == []


def test_a_process_that_died_while_sending_is_cleared_up_after(world: World) -> None:
    chunk = world.plan(world.item("S1"))
    world.ledger.start_sending(chunk.chunk_id)  # and then it died, before or after the request

    (settled,) = world.engine.settle(INVOICE, "referenceNumber")

    assert settled.posted == 1
    assert world.created() == ["S1"]


def test_while_intacct_cannot_be_reached_nothing_is_settled(world: World) -> None:
    chunk = world.plan(world.item("S1"))
    world.weather.storm = world.weather.lose_answer
    world.engine.send(chunk.chunk_id)
    world.weather.storm = world.weather.refuse_connection

    (settled,) = world.engine.settle(INVOICE, "referenceNumber")

    assert settled.uncertain == 1
    assert world.states() == {"S1": ItemState.UNCERTAIN}


def test_after_the_replay_time_what_intacct_holds_decides(world: World) -> None:
    chunk = world.plan(world.item("S1"), world.item("S2"))
    world.weather.storm = world.weather.lose_request
    world.engine.send(chunk.chunk_id)
    # S2 came into Intacct on another way, under the id that we would have given it.
    world.weather.storm = None
    other = PostingEngine(
        world.intacct.entity("E110"), Ledger(world.state, "elsewhere", now=world.clock)
    )
    ledger = Ledger(world.state, "elsewhere", now=world.clock)
    (elsewhere,) = ledger.plan(INVOICE, "E110", "sales", [world.item("S2")], run_id="run")
    other.send(elsewhere.chunk_id)
    world.clock.time += REPLAY_WITHIN
    sends = len(world.weather.writes)

    (settled,) = world.engine.settle(INVOICE, "referenceNumber")

    assert settled.posted == 1
    assert len(world.weather.writes) == sends, "only read back, nothing sent"
    assert world.states() == {"S1": ItemState.PLANNED, "S2": ItemState.POSTED}
    again = world.plan(world.item("S1"), world.item("S2"))
    assert world.ledger.source_ids(again.chunk_id) == ["S1"]
    assert again.idempotency_key != chunk.idempotency_key
    assert world.engine.send(again.chunk_id).posted == 1
    assert world.created() == ["S1", "S2"]


def test_read_back_waits_until_nothing_can_be_under_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An object that does not support idempotence has only the read-back.
    monkeypatch.setattr("intacct_dagster.post.REPLAY_WITHIN", timedelta(0))
    chunk = world.plan(world.item("S1"))
    world.weather.storm = world.weather.lose_request
    world.engine.send(chunk.chunk_id)
    world.weather.storm = None

    world.clock.time += READ_BACK_AFTER - timedelta(seconds=1)
    (early,) = world.engine.settle(INVOICE, "referenceNumber")
    assert early.uncertain == 1
    assert world.states() == {"S1": ItemState.UNCERTAIN}

    world.clock.time += timedelta(seconds=1)
    (late,) = world.engine.settle(INVOICE, "referenceNumber")
    assert late.uncertain == 0
    assert world.states() == {"S1": ItemState.PLANNED}
