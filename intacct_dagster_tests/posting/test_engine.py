"""Posting against the sandbox: once each, whatever becomes of the answers."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from intacct_dagster.client import (
    ClientCredentials,
    Intacct,
    NotReached,
    RequestRefused,
    WrongEntity,
)
from intacct_dagster.posting.engine import (
    MOST_SPLITS,
    READ_BACK_AFTER,
    REPLAY_WITHIN,
    PostingEngine,
)
from intacct_dagster.posting.lookup import IDS_IN_A_QUERY
from intacct_dagster.posting.results import Sent
from intacct_dagster.state.ledger import Item, ItemState, Ledger
from intacct_dagster_tests.extraction.test_strangers import Strange
from intacct_dagster_tests.posting.posting_world import INVOICE, NOBODY, TARGET, World, once_each
from intacct_sandbox import CLIENT_ID, CLIENT_SECRET, COMPANY


def test_what_is_accepted_and_refused_is_known_by_position(world: World) -> None:
    chunk = world.chunk(world.item("S1"), world.item("S2", customer=NOBODY), world.item("S3"))
    (sent,) = world.engine.send(chunk.chunk_id)

    assert (sent.posted, sent.rejected, sent.uncertain) == (2, 1, 0)
    assert world.created() == ["S1", "S3"]
    entries = {each.source_id: each for each in world.ledger.entries(INVOICE, "E110")}
    assert entries["S2"].state is ItemState.REJECTED
    assert "customer" in (entries["S2"].reason or "")
    assert NOBODY in (entries["S2"].what_to_do or "")
    client = world.intacct.entity("E110")
    for source_id in ("S1", "S3"):
        key = entries[source_id].intacct_key or ""
        assert client.get(INVOICE, [key])[key]["referenceNumber"] == source_id


def test_a_document_that_fails_the_whole_request_is_told_apart_from_the_others(
    world: World,
) -> None:
    items = [world.item(f"S{number:02}") for number in range(20)]
    items[13] = world.item("S13-POISON")
    chunk = world.chunk(*items)
    world.weather.storm = world.weather.refuse_whole_if_poisoned

    (sent,) = world.engine.send(chunk.chunk_id)

    assert (sent.posted, sent.rejected, sent.uncertain) == (19, 1, 0)
    rejected = [each for each, state in world.states().items() if state is ItemState.REJECTED]
    assert rejected == ["S13-POISON"]
    assert world.created() == sorted(set(world.states()) - set(rejected))
    keys = [key for key, _ in world.weather.writes]
    assert len(set(keys)) == len(keys), "a part is another request, so it has another key"


def test_when_many_documents_fail_the_request_the_search_for_them_ends(world: World) -> None:
    chunk = world.chunk(*(world.item(f"S{number:03}-POISON") for number in range(200)))
    world.weather.storm = world.weather.refuse_whole_if_poisoned

    (sent,) = world.engine.send(chunk.chunk_id)

    assert (sent.posted, sent.rejected, sent.uncertain) == (0, 200, 0)
    assert len(world.weather.writes) <= 1 + 2 * MOST_SPLITS


def test_a_half_that_was_not_reached_is_sent_when_the_chunk_is_sent_again(world: World) -> None:
    chunk = world.chunk(world.item("S1-POISON"), world.item("S2"))
    world.weather.storm = once_each(
        world.weather.refuse_whole_if_poisoned,
        world.weather.refuse_whole_if_poisoned,
        *[world.weather.refuse_connection] * 5,
    )
    with pytest.raises(NotReached):
        world.engine.send(chunk.chunk_id)
    assert world.states() == {"S1-POISON": ItemState.REJECTED, "S2": ItemState.PLANNED}

    (sent,) = world.engine.send(chunk.chunk_id)
    assert sent.posted == 1
    assert world.created() == ["S2"]


def test_what_came_into_intacct_since_reconciliation_is_not_planned(world: World) -> None:
    world.engine.send(world.chunk(world.item("S1")).chunk_id)
    # A ledger that knows nothing of it, as if a person had entered it.
    ledger = Ledger(world.state, "elsewhere", now=world.clock)
    engine = PostingEngine(world.intacct.entity("E110"), ledger, now=world.clock)

    planned = engine.plan(
        TARGET,
        [world.item("S1"), world.item("S2")],
        run_id="run",
        chunk_size=500,
    )

    assert list(planned.already_there) == ["S1"]
    (chunk,) = planned.chunks
    assert ledger.source_ids(chunk.chunk_id) == ["S2"]


def test_a_chunk_is_not_sent_twice(world: World) -> None:
    chunk = world.chunk(world.item("S1"))
    world.engine.send(chunk.chunk_id)
    (again,) = world.engine.send(chunk.chunk_id)

    assert (again.posted, again.note.split(",")[0]) == (1, "sent before")
    assert len(world.weather.writes) == 1
    assert world.created() == ["S1"]


def test_a_connection_that_is_refused_leaves_the_chunk_ready(world: World) -> None:
    chunk = world.chunk(world.item("S1"))
    world.weather.storm = world.weather.refuse_connection
    with pytest.raises(NotReached):
        world.engine.send(chunk.chunk_id)
    assert world.states() == {"S1": ItemState.PLANNED}

    world.weather.storm = None
    (sent,) = world.engine.send(chunk.chunk_id)
    assert sent.posted == 1
    assert world.created() == ["S1"]


@pytest.mark.parametrize(
    "storm",
    ["lose_request", "lose_answer", "cut_answer", "fail_after_commit", "answer_one_short"],
)
def test_an_answer_that_cannot_be_trusted_is_uncertain_and_settled_by_the_same_bytes(
    world: World, storm: str
) -> None:
    chunk = world.chunk(world.item("S1"), world.item("S2", customer=NOBODY), world.item("S3"))
    world.weather.storm = getattr(world.weather, storm)
    (sent,) = world.engine.send(chunk.chunk_id)
    assert (sent.posted, sent.rejected, sent.uncertain) == (0, 0, 3)
    assert set(world.states().values()) == {ItemState.UNCERTAIN}
    sends = len(world.weather.writes)
    assert sends == 1, "a write whose fate is unknown must not be repeated blindly"

    world.weather.storm = None
    (settled,) = world.resolve()

    assert (settled.posted, settled.rejected, settled.uncertain) == (2, 1, 0)
    assert world.weather.writes[0] == world.weather.writes[1]
    assert world.created() == ["S1", "S3"]
    assert world.resolve() == []


def test_a_wrong_address_refuses_no_document(world: World) -> None:
    chunk = world.chunk(world.item("S1"), world.item("S2"))
    world.weather.storm = world.weather.no_such_place
    with pytest.raises(RequestRefused, match=r"intacct\.yaml"):
        world.engine.send(chunk.chunk_id)
    assert set(world.states().values()) == {ItemState.PLANNED}

    world.weather.storm = None
    world.post([world.item("S1"), world.item("S2")])
    assert world.created() == ["S1", "S2"]
    assert world.weather.writes[0][0] != world.weather.writes[1][0], "another attempt, another key"


def test_a_process_that_died_while_sending_is_cleared_up_after(world: World) -> None:
    chunk = world.chunk(world.item("S1"))
    world.ledger.start_sending(chunk.chunk_id)  # and then it died, before or after the request

    (settled,) = world.resolve()

    assert settled.posted == 1
    assert world.created() == ["S1"]


def test_while_intacct_cannot_be_reached_nothing_is_settled(world: World) -> None:
    chunk = world.chunk(world.item("S1"))
    world.weather.storm = world.weather.lose_answer
    world.engine.send(chunk.chunk_id)
    world.weather.storm = world.weather.refuse_connection

    (settled,) = world.resolve()

    assert settled.uncertain == 1
    assert world.states() == {"S1": ItemState.UNCERTAIN}


def test_after_the_replay_time_what_intacct_holds_decides(world: World) -> None:
    chunk = world.chunk(world.item("S1"), world.item("S2"))
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

    (settled,) = world.resolve()

    assert settled.posted == 1
    assert len(world.weather.writes) == sends, "only read back, nothing sent"
    assert world.states() == {"S1": ItemState.PLANNED, "S2": ItemState.POSTED}
    again = world.chunk(world.item("S1"), world.item("S2"))
    assert world.ledger.source_ids(again.chunk_id) == ["S1"]
    assert again.idempotency_key != chunk.idempotency_key
    (sent,) = world.engine.send(again.chunk_id)
    assert sent.posted == 1
    assert world.created() == ["S1", "S2"]


def test_read_back_waits_until_nothing_can_be_under_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An object that does not support idempotence has only the read-back.
    monkeypatch.setattr("intacct_dagster.posting.engine.REPLAY_WITHIN", timedelta(0))
    chunk = world.chunk(world.item("S1"))
    world.weather.storm = world.weather.lose_request
    world.engine.send(chunk.chunk_id)
    world.weather.storm = None

    world.clock.time += READ_BACK_AFTER - timedelta(seconds=1)
    (early,) = world.resolve()
    assert early.uncertain == 1
    assert world.states() == {"S1": ItemState.UNCERTAIN}

    world.clock.time += timedelta(seconds=1)
    (late,) = world.resolve()
    assert late.uncertain == 0
    assert world.states() == {"S1": ItemState.PLANNED}


def test_several_chunks_are_under_way_at_once_and_never_more_than_were_allowed(
    world: World,
) -> None:
    items = [world.item(f"S{number:02}") for number in range(24)]
    chunks = world.plan(*items, size=2)
    under_way, most = 0, 0
    counting, met = threading.Lock(), threading.Barrier(3, timeout=20)

    def storm(request: httpx.Request) -> None:
        nonlocal under_way, most
        with counting:
            under_way += 1
            most = max(most, under_way)
        met.wait()  # goes on only when three are here
        with counting:
            under_way -= 1

    world.weather.storm = storm
    heard: list[Sent] = []
    engine = PostingEngine(world.intacct.entity("E110"), world.ledger, in_flight=3, now=world.clock)
    sent = engine.send(*(chunk.chunk_id for chunk in chunks), on_sent=heard.append)

    assert [each.chunk_id for each in sent] == [chunk.chunk_id for chunk in chunks]
    assert sum(each.posted for each in sent) == 24
    assert {each.chunk_id for each in heard} == {each.chunk_id for each in sent}
    assert most == 3
    world.assert_exactly_once(items, [])


def test_a_request_that_never_arrived_stops_what_was_not_begun(world: World) -> None:
    items = [world.item(f"S{number:02}") for number in range(40)]
    chunks = world.plan(*items, size=2)
    world.weather.storm = world.weather.refuse_connection
    engine = PostingEngine(world.intacct.entity("E110"), world.ledger, in_flight=2, now=world.clock)
    with pytest.raises(NotReached):
        engine.send(*(chunk.chunk_id for chunk in chunks))
    tried = len({key for key, _ in world.weather.writes})
    assert tried < len(chunks)
    assert set(world.states().values()) == {ItemState.PLANNED}

    world.weather.storm = None
    engine.send(*(chunk.chunk_id for chunk in chunks))
    world.assert_exactly_once(items, [])


def test_many_documents_are_looked_for_among_what_changed_since_the_copy(world: World) -> None:
    world.engine.send(world.chunk(world.item("S1")).chunk_id)
    ledger = Ledger(world.state, "elsewhere", now=world.clock)
    client = world.intacct.entity("E110")
    engine = PostingEngine(client, ledger, now=world.clock)
    items = [world.item(f"S{number}") for number in range(3 * IDS_IN_A_QUERY)]

    planned = engine.plan(
        TARGET,
        items,
        run_id="run",
        chunk_size=500,
        known_until=world.clock.time,
    )

    assert list(planned.already_there) == ["S1"]
    assert sum(chunk.size for chunk in planned.chunks) == len(items) - 1
    asked = [json.loads(body) for _, body in world.weather.reads]
    assert not any("$in" in str(query.get("filters")) for query in asked), "by change, not by id"


@pytest.mark.parametrize("scope", ["|E120", ""], ids=["another entity", "the top level"])
def test_a_session_that_is_not_in_its_entity_posts_nothing(world: World, scope: str) -> None:
    (chunk,) = world.plan(world.item("S1"))
    elsewhere = Intacct(
        COMPANY,
        world.base_url,
        ClientCredentials(CLIENT_ID, CLIENT_SECRET),
        {"E110": "top"},
        transport=Strange(world.weather, scope),
    )
    engine = PostingEngine(elsewhere.entity("E110"), world.ledger, now=world.clock)
    with pytest.raises(WrongEntity):
        engine.send(chunk.chunk_id)
    with pytest.raises(WrongEntity):
        engine.plan(TARGET, [world.item("S2")], run_id="run", chunk_size=500)
    elsewhere.close()
    assert world.weather.writes == []
    assert world.states() == {"S1": ItemState.PLANNED}


def test_a_person_may_say_which_of_two_records_is_the_documents(world: World) -> None:
    chunk = world.chunk(world.item("S1"), world.item("S2"))
    world.weather.storm = once_each(world.weather.lose_request)
    world.engine.send(chunk.chunk_id)
    # Somebody enters S1 by hand, and somebody else does so too.
    keys = []
    for number in range(2):
        other = Ledger(world.state, f"by hand {number}", now=world.clock)
        engine = PostingEngine(world.intacct.entity("E110"), other, now=world.clock)
        (entered,) = other.plan(INVOICE, "E110", "sales", [world.item("S1")], run_id="hand")
        engine.send(entered.chunk_id)
        keys += [each.intacct_key for each in other.entries(INVOICE, "E110")]
    world.clock.time += REPLAY_WITHIN

    (unsure,) = world.resolve()
    assert unsure.uncertain == 2
    assert "S1 more than once" in unsure.note
    (settled,) = world.engine.resolve(INVOICE, "referenceNumber", chosen={"S1": str(keys[1])})

    assert settled.uncertain == 0
    entries = {each.source_id: each for each in world.entries()}
    assert entries["S1"].intacct_key == keys[1]
    assert entries["S2"].state is ItemState.PLANNED, "it was never created, and goes out anew"


def test_a_posting_of_any_length_has_the_same_few_documents_in_memory(world: World) -> None:
    alive: weakref.WeakSet[Item] = weakref.WeakSet()
    most = 0

    def documents() -> Iterator[Item]:
        nonlocal most
        for number in range(300):
            item = world.item(f"S{number:03}")
            alive.add(item)
            most = max(most, len(alive))
            yield item

    engine = PostingEngine(world.intacct.entity("E110"), world.ledger, in_flight=2, now=world.clock)
    done = engine.post(
        TARGET,
        documents(),
        documents=300,
        run_id="run",
        chunk_size=3,
    )

    assert sum(each.posted for each in done.sent) == len(world.created()) == 300
    assert most < 30, "some rounds of two chunks, not all hundred"


def test_what_is_in_intacct_by_now_is_told_and_not_posted(world: World, tmp_path: Path) -> None:
    world.post([world.item("S1")])
    other = World(world.base_url, f"sqlite:///{tmp_path}/other.db", clock=world.clock)
    done = other.engine.post(
        TARGET,
        [world.item("S1"), world.item("S2")],
        documents=2,
        run_id="run",
        chunk_size=1,
    )
    other.close()

    assert [each.posted for each in done.sent] == [1]
    assert done.already_there == {"S1": [key for name, key in world.books() if name == "S1"]}
    assert world.created() == ["S1", "S2"]


def test_documents_that_cannot_be_read_end_a_posting_that_goes_on_next_time(world: World) -> None:
    items = [world.item(f"S{number}") for number in range(6)]

    def breaks() -> Iterator[Item]:
        yield from items[:3]
        raise RuntimeError("the file is gone")

    with pytest.raises(RuntimeError, match="gone"):
        world.engine.post(
            TARGET,
            breaks(),
            documents=6,
            run_id="run",
            chunk_size=2,
        )
    world.recover(items, size=2)
    world.assert_exactly_once(items, [])
