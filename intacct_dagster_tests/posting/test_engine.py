"""Posting against the sandbox: once each, whatever becomes of the answers."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
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
from intacct_dagster.posting.engine import MOST_SPLITS, PostingEngine
from intacct_dagster.posting.lookup import IDS_IN_A_QUERY
from intacct_dagster.posting.results import Sent
from intacct_dagster.posting.settlement import REPLAY_WITHIN, SETTLE_AFTER, UNDER_WAY_AT_MOST
from intacct_dagster.state.ledger import Item, ItemState, Ledger
from intacct_dagster_tests.extraction.test_strangers import Strange
from intacct_dagster_tests.posting.posting_world import (
    DAY,
    INVOICE,
    NOBODY,
    SETTLED,
    TARGET,
    World,
    once_each,
)
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
    world.network.fault = world.network.refuse_whole_if_poisoned

    (sent,) = world.engine.send(chunk.chunk_id)

    assert (sent.posted, sent.rejected, sent.uncertain) == (19, 1, 0)
    rejected = [each for each, state in world.states().items() if state is ItemState.REJECTED]
    assert rejected == ["S13-POISON"]
    assert world.created() == sorted(set(world.states()) - set(rejected))
    keys = [key for key, _ in world.network.writes]
    assert len(set(keys)) == len(keys), "a part is another request, so it has another key"


def test_when_many_documents_fail_the_request_the_search_for_them_ends(world: World) -> None:
    chunk = world.chunk(*(world.item(f"S{number:03}-POISON") for number in range(200)))
    world.network.fault = world.network.refuse_whole_if_poisoned

    (sent,) = world.engine.send(chunk.chunk_id)

    assert (sent.posted, sent.rejected, sent.uncertain) == (0, 200, 0)
    assert len(world.network.writes) <= 1 + 8 * MOST_SPLITS


def test_a_half_that_was_not_reached_is_sent_when_the_chunk_is_sent_again(world: World) -> None:
    chunk = world.chunk(world.item("S1-POISON"), world.item("S2"))
    world.network.fault = once_each(
        world.network.refuse_whole_if_poisoned,
        world.network.refuse_whole_if_poisoned,
        *[world.network.refuse_connection] * 5,
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


def test_the_number_of_another_party_does_not_stop_a_document(world: World) -> None:
    _enter(world, world.intacct, world.item("S1", customer=world.other_customer))
    by_party = replace(TARGET, party="customer.id")
    items = [world.item("S1"), world.item("S2")]

    by_number = world.engine.plan(TARGET, items, run_id="run", chunk_size=500)
    planned = world.engine.plan(by_party, items, run_id="run", chunk_size=500)

    assert list(by_number.already_there) == ["S1"]
    assert list(planned.already_there) == []
    world.engine.send(*(chunk.chunk_id for chunk in planned.chunks))
    assert world.created() == ["S1", "S1", "S2"]
    again = world.engine.plan(by_party, items, run_id="run", chunk_size=500)
    assert sorted(again.already_there) == ["S1", "S2"]
    assert {len(keys) for keys in again.already_there.values()} == {1}


def test_of_two_installations_that_post_at_the_same_moment_each_sees_the_other(
    world: World, tmp_path: Path
) -> None:
    """Each has a state store of its own, and both looked before either posted."""
    items = [world.item("S1"), world.item("S2")]
    other = World(world.base_url, f"sqlite:///{tmp_path}/other.db", clock=world.clock)
    # The same request would have the same key, and Intacct would do it once.
    chunks = {world: world.plan(*items), other: other.plan(*items, other.item("S9"))}
    for each, planned in chunks.items():
        each.engine.send(*(chunk.chunk_id for chunk in planned))
    world.post([world.item("S3")])

    for each in (world, other):
        twice = each.engine.standing_twice(TARGET, [DAY])
        assert [found.source_id for found in twice] == ["S1", "S2"]
        keys = dict.fromkeys(key for name, key in each.books() if name == "S1")
        assert {twice[0].key, *twice[0].others} == set(keys)
        assert twice[0].key == {e.source_id: e.intacct_key for e in each.entries()}["S1"]
        each.post([each.item("S4")])
        assert each.engine.standing_twice(TARGET, [DAY]) == twice, "also after another run"
    other.close()


def test_where_nobody_else_posted_one_request_says_so(world: World) -> None:
    world.post([world.item(f"S{number}") for number in range(5)], size=2)
    before = len(world.network.reads)
    assert world.engine.standing_twice(TARGET, [DAY]) == []
    assert len(world.network.reads) - before == 1


def test_a_chunk_is_not_sent_twice(world: World) -> None:
    chunk = world.chunk(world.item("S1"))
    world.engine.send(chunk.chunk_id)
    (again,) = world.engine.send(chunk.chunk_id)

    assert (again.posted, again.note.split(",")[0]) == (1, "sent before")
    assert len(world.network.writes) == 1
    assert world.created() == ["S1"]


def test_a_connection_that_is_refused_leaves_the_chunk_ready(world: World) -> None:
    chunk = world.chunk(world.item("S1"))
    world.network.fault = world.network.refuse_connection
    with pytest.raises(NotReached):
        world.engine.send(chunk.chunk_id)
    assert world.states() == {"S1": ItemState.PLANNED}

    world.network.fault = None
    (sent,) = world.engine.send(chunk.chunk_id)
    assert sent.posted == 1
    assert world.created() == ["S1"]


UNTRUSTED = ("lose_request", "lose_answer", "cut_answer", "fail_after_commit", "answer_one_short")


@pytest.mark.parametrize("fault", UNTRUSTED)
def test_an_answer_that_cannot_be_trusted_is_uncertain_and_not_repeated_blindly(
    world: World, fault: str
) -> None:
    chunk = world.chunk(world.item("S1"), world.item("S2", customer=NOBODY), world.item("S3"))
    world.network.fault = getattr(world.network, fault)
    (sent,) = world.engine.send(chunk.chunk_id)
    assert (sent.posted, sent.rejected, sent.uncertain) == (0, 0, 3)
    assert set(world.states().values()) == {ItemState.UNCERTAIN}
    world.network.fault = None

    for _ in range(2):
        (waiting,) = world.resolve()
        assert waiting.uncertain == 3
    assert len(world.network.writes) == 1, "not before what was created shows"


def test_of_what_intacct_does_not_hold_the_same_bytes_go_out_again(world: World) -> None:
    chunk = world.chunk(world.item("S1"), world.item("S2", customer=NOBODY), world.item("S3"))
    world.network.fault = once_each(world.network.lose_request)
    world.engine.send(chunk.chunk_id)

    world.clock.time += SETTLED
    (looked,) = world.resolve()
    assert looked.uncertain == 3
    assert len(world.network.writes) == 1, "one look may be too early"
    world.clock.time += SETTLED
    (settled,) = world.resolve()

    assert (settled.posted, settled.rejected, settled.uncertain) == (2, 1, 0)
    assert world.network.writes[0] == world.network.writes[1]
    assert world.created() == ["S1", "S3"]
    assert world.resolve() == []


@pytest.mark.parametrize("fault", UNTRUSTED[1:])
def test_of_what_intacct_holds_in_part_nothing_goes_out_again(world: World, fault: str) -> None:
    items = [world.item("S1"), world.item("S2", customer=NOBODY), world.item("S3")]
    chunk = world.chunk(*items)
    world.network.fault = once_each(getattr(world.network, fault))
    world.engine.send(chunk.chunk_id)

    world.clock.time += UNDER_WAY_AT_MOST
    world.resolve()
    world.clock.time += SETTLED
    (settled,) = world.resolve()

    assert (settled.posted, settled.uncertain) == (2, 0)
    assert world.states()["S2"] is ItemState.PLANNED
    assert len(world.network.writes) == 1
    world.post(items)
    assert world.network.writes[0][0] != world.network.writes[1][0], "under another key"
    world.assert_exactly_once([items[0], items[2]], [items[1]])


@pytest.mark.parametrize("fault", UNTRUSTED[1:])
def test_what_intacct_holds_whole_is_posted_at_the_first_look(world: World, fault: str) -> None:
    chunk = world.chunk(world.item("S1"), world.item("S2"))
    world.network.fault = once_each(getattr(world.network, fault))
    world.engine.send(chunk.chunk_id)

    world.clock.time += SETTLED
    (settled,) = world.resolve()

    assert (settled.posted, settled.uncertain) == (2, 0)
    assert len(world.network.writes) == 1
    world.assert_exactly_once([world.item("S1"), world.item("S2")], [])


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("size", [1, 3])
def test_a_refusal_is_no_proof_that_nothing_was_created(
    world: World, status: int, size: int
) -> None:
    items = [world.item(f"S{number}") for number in range(size)]
    chunk = world.chunk(*items)
    world.network.fault = once_each(
        lambda request: world.network.refuse_after_commit(request, status)
    )
    started = world.clock.time

    (sent,) = world.engine.send(chunk.chunk_id)

    assert (sent.posted, sent.rejected, sent.uncertain) == (size, 0, 0)
    assert world.clock.time - started == SETTLE_AFTER, "it waits once, and then it looks"
    world.assert_exactly_once(items, [])


def test_a_wrong_address_refuses_no_document(world: World) -> None:
    chunk = world.chunk(world.item("S1"), world.item("S2"))
    world.network.fault = world.network.no_such_place
    with pytest.raises(RequestRefused, match=r"intacct\.yaml"):
        world.engine.send(chunk.chunk_id)
    assert set(world.states().values()) == {ItemState.PLANNED}

    world.network.fault = None
    world.post([world.item("S1"), world.item("S2")])
    assert world.created() == ["S1", "S2"]
    assert world.network.writes[0][0] != world.network.writes[1][0], "another attempt, another key"


def test_a_process_that_died_while_sending_is_cleared_up_after(world: World) -> None:
    chunk = world.chunk(world.item("S1"))
    world.ledger.start_sending(chunk.chunk_id)  # and then it died, before or after the request

    for _ in range(2):
        world.clock.time += SETTLED
        (settled,) = world.resolve()

    assert settled.posted == 1
    assert world.created() == ["S1"]


def test_while_intacct_cannot_be_reached_nothing_is_settled(world: World) -> None:
    chunk = world.chunk(world.item("S1"))
    world.network.fault = world.network.lose_answer
    world.engine.send(chunk.chunk_id)
    world.network.fault = world.network.refuse_connection
    world.network.unreachable = True
    world.clock.time += SETTLED

    (settled,) = world.resolve()

    assert settled.uncertain == 1
    assert world.states() == {"S1": ItemState.UNCERTAIN}


def test_after_the_replay_time_what_intacct_holds_decides(world: World) -> None:
    world.post([world.item("S0")])  # found by its id, so looking proves something
    chunk = world.chunk(world.item("S1"), world.item("S2"))
    world.network.fault = once_each(world.network.lose_request)
    world.engine.send(chunk.chunk_id)
    sends = len(world.network.writes)
    world.clock.time += REPLAY_WITHIN

    world.resolve()
    world.clock.time += SETTLED
    (settled,) = world.resolve()

    assert (settled.posted, settled.uncertain) == (0, 0)
    assert len(world.network.writes) == sends, "only read back, nothing sent"
    again = world.chunk(world.item("S1"), world.item("S2"))
    assert again.size == 2
    (sent,) = world.engine.send(again.chunk_id)
    assert sent.posted == 2
    assert world.created() == ["S0", "S1", "S2"]


@pytest.mark.parametrize("after", [timedelta(hours=1), REPLAY_WITHIN])
def test_where_no_document_can_be_found_by_its_id_looking_proves_nothing(
    world: World, after: timedelta
) -> None:
    """Intacct gives the numbers itself: the id that was sent is not kept."""
    world.post([world.item("S0")])
    world.network.numbers_itself = True
    chunk = world.chunk(world.item("S1"))
    world.network.fault = once_each(world.network.lose_answer)
    world.engine.send(chunk.chunk_id)
    world.clock.time += after

    (settled,) = world.resolve()

    if after < REPLAY_WITHIN:
        assert settled.posted == 1
        assert world.network.writes[-2] == world.network.writes[-1], "the key tells"
    else:
        assert settled.uncertain == 1
        assert "A person must" in settled.note
        assert len(world.network.writes) == 2
    assert world.created() == ["S0", "S1"]


def test_before_any_document_was_found_by_its_id_none_is_planned_again(world: World) -> None:
    chunk = world.chunk(world.item("S1"))
    world.network.fault = once_each(world.network.lose_request)
    world.engine.send(chunk.chunk_id)
    world.clock.time += REPLAY_WITHIN

    for _ in range(3):
        (settled,) = world.resolve()
        world.clock.time += SETTLED

    assert settled.uncertain == 1
    assert "A person must" in settled.note


def test_of_a_request_that_may_be_under_way_nothing_is_planned_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An object that does not support idempotence has only the look.
    monkeypatch.setattr("intacct_dagster.posting.settlement.REPLAY_WITHIN", timedelta(0))
    world.post([world.item("S0")])
    chunk = world.chunk(world.item("S1"))
    world.network.fault = world.network.lose_request
    world.engine.send(chunk.chunk_id)
    world.network.fault = None

    world.clock.time += SETTLED
    world.resolve()
    world.clock.time += UNDER_WAY_AT_MOST - SETTLED - timedelta(seconds=1)
    (early,) = world.resolve()
    assert early.uncertain == 1

    world.clock.time += timedelta(seconds=30)
    (late,) = world.resolve()
    assert late.uncertain == 0
    assert world.states()["S1"] is ItemState.PLANNED


def test_while_the_key_is_taken_and_no_answer_given_looking_decides(world: World) -> None:
    """Intacct keeps the key of a request whose answer was lost, and never tells the answer."""
    world.post([world.item("S0")])
    chunk = world.chunk(world.item("S1", customer=NOBODY))
    world.network.fault = once_each(world.network.lose_request, world.network.conflict)
    world.engine.send(chunk.chunk_id)

    for _ in range(8):
        world.clock.time += SETTLED
        world.resolve()

    assert world.states()["S1"] is ItemState.PLANNED


def test_several_chunks_are_under_way_at_once_and_never_more_than_were_allowed(
    world: World,
) -> None:
    items = [world.item(f"S{number:02}") for number in range(24)]
    chunks = world.plan(*items, size=2)
    under_way, most = 0, 0
    counting, met = threading.Lock(), threading.Barrier(3, timeout=20)

    def fault(request: httpx.Request) -> None:
        nonlocal under_way, most
        with counting:
            under_way += 1
            most = max(most, under_way)
        met.wait()  # goes on only when three are here
        with counting:
            under_way -= 1

    world.network.fault = fault
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
    world.network.fault = world.network.refuse_connection
    engine = PostingEngine(world.intacct.entity("E110"), world.ledger, in_flight=2, now=world.clock)
    with pytest.raises(NotReached):
        engine.send(*(chunk.chunk_id for chunk in chunks))
    tried = len({key for key, _ in world.network.writes})
    assert tried < len(chunks)
    assert set(world.states().values()) == {ItemState.PLANNED}

    world.network.fault = None
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
    asked = [json.loads(body) for _, body in world.network.reads]
    assert not any("$in" in str(query.get("filters")) for query in asked), "by change, not by id"


@pytest.mark.parametrize("scope", ["|E120", ""], ids=["another entity", "the top level"])
def test_a_session_that_is_not_in_its_entity_posts_nothing(world: World, scope: str) -> None:
    (chunk,) = world.plan(world.item("S1"))
    elsewhere = Intacct(
        COMPANY,
        world.base_url,
        ClientCredentials(CLIENT_ID, CLIENT_SECRET),
        {"E110": "top"},
        transport=Strange(world.network, scope),
    )
    engine = PostingEngine(elsewhere.entity("E110"), world.ledger, now=world.clock)
    with pytest.raises(WrongEntity):
        engine.send(chunk.chunk_id)
    with pytest.raises(WrongEntity):
        engine.plan(TARGET, [world.item("S2")], run_id="run", chunk_size=500)
    elsewhere.close()
    assert world.network.writes == []
    assert world.states() == {"S1": ItemState.PLANNED}


def test_a_person_may_say_which_of_two_records_is_the_documents(world: World) -> None:
    chunk = world.chunk(world.item("S1"), world.item("S2"))
    world.network.fault = once_each(world.network.lose_request)
    world.engine.send(chunk.chunk_id)
    # Two other installations enter S1 as the same user.
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
    assert all(str(key) in unsure.note for key in keys)
    for _ in range(2):
        (settled,) = world.engine.resolve(INVOICE, "referenceNumber", chosen={"S1": str(keys[1])})
        world.clock.time += SETTLED

    assert settled.uncertain == 0
    entries = {each.source_id: each for each in world.entries()}
    assert entries["S1"].intacct_key == keys[1]
    assert entries["S2"].state is ItemState.PLANNED, "it was never created, and goes out again"


def _of_another_user(world: World, item: Item) -> None:
    elsewhere = Intacct(
        COMPANY,
        world.base_url,
        ClientCredentials(CLIENT_ID, CLIENT_SECRET),
        {"E110": "top"},
    )
    _enter(world, elsewhere, item)


def _of_another_amount(world: World, item: Item) -> None:
    payload = json.loads(item.payload)
    payload["lines"][0]["txnAmount"] = "99.00"
    other = Item(item.source_id, item.day, "99.00", json.dumps(payload).encode())
    _enter(world, world.intacct, other)


def _enter(world: World, intacct: Intacct, item: Item) -> None:
    ledger = Ledger(world.state, "by hand", now=world.clock)
    engine = PostingEngine(intacct.entity("E110"), ledger, now=world.clock)
    (entered,) = ledger.plan(INVOICE, "E110", "sales", [item], run_id="hand")
    (sent,) = engine.send(entered.chunk_id)
    assert sent.posted == 1


@pytest.mark.parametrize(
    ("enter", "why"), [(_of_another_user, "created by"), (_of_another_amount, "99.00")]
)
def test_a_record_that_is_not_ours_is_left_to_a_person(
    world: World, enter: Callable[[World, Item], None], why: str
) -> None:
    chunk = world.chunk(world.item("S1"))
    world.network.fault = once_each(world.network.lose_request)
    world.engine.send(chunk.chunk_id)
    enter(world, world.item("S1"))
    world.clock.time += UNDER_WAY_AT_MOST

    for _ in range(2):
        (unsure,) = world.resolve()
        world.clock.time += SETTLED

    assert unsure.uncertain == 1
    assert why in unsure.note
    assert "a person must decide" in unsure.note
    assert world.created() == ["S1"]


def test_the_number_of_another_customer_is_another_document(world: World) -> None:
    chunk = world.chunk(world.item("S1"))
    world.network.fault = once_each(world.network.lose_request)
    world.engine.send(chunk.chunk_id)
    _enter(world, world.intacct, world.item("S1", customer=world.other_customer))

    for _ in range(2):
        world.clock.time += SETTLED
        (settled,) = world.resolve()

    assert settled.posted == 1
    assert world.created() == ["S1", "S1"], "each customer has one"


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
