"""The posting ledger: what may be sent, once; and what is written down of the answers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from intacct_dagster.state.errors import LedgerError
from intacct_dagster.state.ledger import (
    Accepted,
    Chunk,
    ChunkState,
    Item,
    ItemState,
    Ledger,
    Rejected,
)
from intacct_dagster.state.store import open_state
from intacct_dagster_tests.state.state_stores import STORES, empty_store

INVOICE = "accounts-receivable/invoice"
DAY = date(2026, 10, 13)


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 10, 13, 18, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.time += timedelta(milliseconds=1)
        return self.time


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with empty_store(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    engine = open_state(url)
    yield engine
    engine.dispose()


@pytest.fixture
def ledger(engine: sa.Engine) -> Ledger:
    return Ledger(engine, "demo", now=Clock())


def item(source_id: str, *, payload: str = "1.00", day: date = DAY) -> Item:
    return Item(source_id, day, payload, b'{"amount":"' + payload.encode() + b'"}')


def plan(ledger: Ledger, *items: Item, size: int = 500) -> list[Chunk]:
    return ledger.plan(INVOICE, "E110", "sales", items, run_id="run", chunk_size=size)


def states(ledger: Ledger) -> dict[str, str]:
    return {each.source_id: each.state.value for each in ledger.entries(INVOICE, "E110")}


def refused(position: int) -> Rejected:
    return Rejected(position, "The customer is unknown.", "Correct the customer.")


def test_a_plan_is_cut_into_chunks_in_a_stable_order(ledger: Ledger) -> None:
    early = date(2026, 10, 12)
    chunks = plan(ledger, item("B"), item("C", day=early), item("A"), size=2)

    assert [chunk.size for chunk in chunks] == [2, 1]
    assert ledger.source_ids(chunks[0].chunk_id) == ["C", "A"]
    assert ledger.source_ids(chunks[1].chunk_id) == ["B"]
    assert chunks[0].body == b'[{"amount":"1.00"},{"amount":"1.00"}]'


def test_the_same_plan_has_the_same_key_and_any_difference_another(
    ledger: Ledger, engine: sa.Engine
) -> None:
    key = plan(ledger, item("A"), item("B"))[0].idempotency_key
    assert len(key) <= 256

    assert plan(ledger, item("A"), item("B"))[0].idempotency_key == key
    assert plan(ledger, item("A"), item("B", payload="2.00"))[0].idempotency_key != key
    other_company = Ledger(engine, "other", now=Clock())
    assert plan(other_company, item("A"), item("B"))[0].idempotency_key != key


def test_a_chunk_is_sent_once(ledger: Ledger) -> None:
    (chunk,) = plan(ledger, item("A"))

    assert ledger.start_sending(chunk.chunk_id)
    assert not ledger.start_sending(chunk.chunk_id)
    assert states(ledger) == {"A": "sending"}


def test_what_may_be_in_intacct_is_known_of_every_entity_and_what_was_posted_byte_for_byte(
    ledger: Ledger,
) -> None:
    (sent,) = plan(ledger, item("A"), item("B", payload="2.00"))
    plan(ledger, item("C"))
    (other,) = ledger.plan(INVOICE, "E120", "sales", [item("D"), item("E")], run_id="run")
    ledger.plan(INVOICE, "E120", "another feed", [item("F")], run_id="run")
    for chunk in (sent, other):
        ledger.start_sending(chunk.chunk_id)
    ledger.record(sent.chunk_id, [Accepted(0, "7"), refused(1)], http_status=207)

    assert sorted(ledger.sent_for(INVOICE, "sales")) == [
        ("E110", "A", ItemState.POSTED),
        ("E120", "D", ItemState.SENDING),
        ("E120", "E", ItemState.SENDING),
    ]
    assert ledger.posted_payloads(INVOICE, "E110", ["A", "B", "C", "D"]) == {
        "A": b'{"amount":"1.00"}'
    }


def test_who_plans_again_takes_the_chunk_away_from_who_planned_before(ledger: Ledger) -> None:
    (first,) = plan(ledger, item("A"), item("B"))
    (second,) = plan(ledger, item("A"), item("B", payload="2.00"))

    assert not ledger.start_sending(first.chunk_id)
    assert ledger.chunk(first.chunk_id).state is ChunkState.SUPERSEDED
    assert ledger.start_sending(second.chunk_id)


def test_a_superseded_chunk_that_is_planned_again_unchanged_may_be_sent(ledger: Ledger) -> None:
    (first,) = plan(ledger, item("A"))
    plan(ledger, item("A", payload="2.00"))
    (third,) = plan(ledger, item("A"))

    assert third.chunk_id == first.chunk_id
    assert ledger.start_sending(third.chunk_id)


def test_items_of_a_superseded_chunk_that_are_not_planned_again_wait_for_their_own_plan(
    ledger: Ledger,
) -> None:
    (first,) = plan(ledger, item("A"), item("B"))
    (second,) = plan(ledger, item("A"))

    assert not ledger.start_sending(first.chunk_id)
    assert ledger.start_sending(second.chunk_id)
    assert states(ledger) == {"A": "sending", "B": "planned"}
    (third,) = plan(ledger, item("B"))
    assert ledger.start_sending(third.chunk_id)


def test_answers_are_recorded_by_position(ledger: Ledger) -> None:
    (chunk,) = plan(ledger, item("A"), item("B"), item("C"))
    ledger.start_sending(chunk.chunk_id)

    assert ledger.record(
        chunk.chunk_id,
        [Accepted(2, "31", "31"), refused(1), Accepted(0, "30", "30")],
        http_status=207,
    )

    entries = {each.source_id: each for each in ledger.entries(INVOICE, "E110")}
    assert (entries["A"].state, entries["A"].intacct_key) == (ItemState.POSTED, "30")
    assert (entries["B"].state, entries["B"].reason) == (
        ItemState.REJECTED,
        "The customer is unknown.",
    )
    assert (entries["C"].state, entries["C"].intacct_key) == (ItemState.POSTED, "31")
    assert ledger.chunk(chunk.chunk_id).state is ChunkState.ANSWERED


@pytest.mark.parametrize(
    "outcomes",
    [
        [Accepted(0, "30")],
        [Accepted(0, "30"), Accepted(0, "31")],
        [Accepted(0, "30"), Accepted(2, "31")],
        [Accepted(0, "30"), Accepted(1, "31"), Accepted(2, "32")],
    ],
    ids=["one short", "a position twice", "a position beyond", "one too many"],
)
def test_answers_that_do_not_fit_the_chunk_are_not_recorded(
    ledger: Ledger, outcomes: list[Accepted | Rejected]
) -> None:
    (chunk,) = plan(ledger, item("A"), item("B"))
    ledger.start_sending(chunk.chunk_id)

    with pytest.raises(LedgerError, match="uncertain"):
        ledger.record(chunk.chunk_id, outcomes, http_status=201)
    assert states(ledger) == {"A": "sending", "B": "sending"}


def test_one_intacct_key_cannot_answer_for_two_documents(ledger: Ledger) -> None:
    (chunk,) = plan(ledger, item("A"), item("B"))
    ledger.start_sending(chunk.chunk_id)

    with pytest.raises(IntegrityError):
        ledger.record(chunk.chunk_id, [Accepted(0, "30"), Accepted(1, "30")], http_status=201)
    assert states(ledger) == {"A": "sending", "B": "sending"}


def test_an_answer_to_what_was_never_sent_is_not_believed(ledger: Ledger) -> None:
    (chunk,) = plan(ledger, item("A"))

    with pytest.raises(LedgerError, match="never sent"):
        ledger.record(chunk.chunk_id, [Accepted(0, "30")], http_status=201)


def test_posted_sending_and_uncertain_items_are_never_planned_again(ledger: Ledger) -> None:
    chunks = plan(ledger, item("A"), item("B"), item("C"), size=1)
    for chunk in chunks:
        ledger.start_sending(chunk.chunk_id)
    ledger.record(chunks[0].chunk_id, [Accepted(0, "30")], http_status=201)
    ledger.uncertain(chunks[1].chunk_id, "the connection was cut")

    changed = [item(source_id, payload="9.00") for source_id in "ABC"]
    assert plan(ledger, *changed) == []
    assert states(ledger) == {"A": "posted", "B": "uncertain", "C": "sending"}


def test_a_refused_item_is_planned_again_only_when_its_payload_changed(ledger: Ledger) -> None:
    (chunk,) = plan(ledger, item("A"))
    ledger.start_sending(chunk.chunk_id)
    ledger.record(chunk.chunk_id, [refused(0)], http_status=207)

    assert plan(ledger, item("A")) == []
    (again,) = plan(ledger, item("A", payload="2.00"))
    assert again.idempotency_key != chunk.idempotency_key
    (entry,) = ledger.entries(INVOICE, "E110")
    assert (entry.state, entry.reason) == (ItemState.PLANNED, None)


def test_a_person_may_have_a_refused_item_sent_again_as_it_is(ledger: Ledger) -> None:
    (chunk,) = plan(ledger, item("A"), item("B"), item("C"))
    ledger.start_sending(chunk.chunk_id)
    ledger.record(chunk.chunk_id, [Accepted(0, "30"), refused(1), refused(2)], http_status=207)

    assert ledger.release(INVOICE, "E110", ["A", "B", "nobody knows"]) == ["B"]
    assert states(ledger) == {"A": "posted", "B": "planned", "C": "rejected"}
    (again,) = plan(ledger, item("A"), item("B"), item("C"))
    assert ledger.source_ids(again.chunk_id) == ["B"]
    assert again.idempotency_key != chunk.idempotency_key


def test_a_request_that_never_arrived_may_be_sent_as_it_was(ledger: Ledger) -> None:
    (chunk,) = plan(ledger, item("A"))
    ledger.start_sending(chunk.chunk_id)
    ledger.never_arrived(chunk.chunk_id, "connection refused")

    assert states(ledger) == {"A": "planned"}
    assert ledger.start_sending(chunk.chunk_id)
    assert ledger.chunk(chunk.chunk_id).idempotency_key == chunk.idempotency_key


def test_a_replay_that_does_not_get_through_is_no_proof_that_the_first_did_not(
    ledger: Ledger,
) -> None:
    (chunk,) = plan(ledger, item("A"))
    ledger.start_sending(chunk.chunk_id)
    assert ledger.start_replay(chunk.chunk_id)
    ledger.never_arrived(chunk.chunk_id, "connection refused")

    assert states(ledger) == {"A": "uncertain"}
    assert not ledger.start_sending(chunk.chunk_id)


def test_an_uncertain_chunk_is_resolved_by_its_answer(ledger: Ledger) -> None:
    (chunk,) = plan(ledger, item("A"), item("B"))
    ledger.start_sending(chunk.chunk_id)
    ledger.uncertain(chunk.chunk_id, "timeout")
    assert [each.chunk_id for each in ledger.unresolved(INVOICE, "E110")] == [chunk.chunk_id]

    assert ledger.start_replay(chunk.chunk_id)
    assert ledger.record(chunk.chunk_id, [Accepted(0, "30"), refused(1)], http_status=207)
    assert not ledger.record(chunk.chunk_id, [Accepted(0, "30"), refused(1)], http_status=207)
    assert states(ledger) == {"A": "posted", "B": "rejected"}
    assert ledger.unresolved(INVOICE, "E110") == []


def test_read_back_posts_what_is_there_and_plans_the_rest_under_another_key(
    ledger: Ledger,
) -> None:
    (chunk,) = plan(ledger, item("A"), item("B"))
    ledger.start_sending(chunk.chunk_id)
    ledger.resolve_by_read_back(chunk.chunk_id, {"B": ("31", "31")}, "read back")

    assert states(ledger) == {"A": "planned", "B": "posted"}
    (again,) = plan(ledger, item("A"), item("B"))
    assert ledger.source_ids(again.chunk_id) == ["A"]
    assert again.idempotency_key != chunk.idempotency_key


def test_the_database_itself_refuses_states_that_cannot_be(
    ledger: Ledger, engine: sa.Engine
) -> None:
    plan(ledger, item("A"))
    for change in (
        "UPDATE posting_items SET state = 'lost'",
        "UPDATE posting_items SET state = 'posted'",
        "UPDATE posting_items SET state = 'rejected'",
        "UPDATE posting_items SET intacct_key = '30'",
        "UPDATE posting_chunks SET state = 'sending'",
    ):
        with pytest.raises(IntegrityError), engine.begin() as connection:
            connection.execute(sa.text(change))


@pytest.mark.parametrize("state", list(ItemState))
def test_the_database_itself_rejects_illegal_transitions_and_deletions(
    ledger: Ledger, engine: sa.Engine, state: ItemState
) -> None:
    (chunk,) = plan(ledger, item("A"))
    ledger.start_sending(chunk.chunk_id)
    ledger.record(chunk.chunk_id, [Accepted(0, "30")], http_status=201)
    if state is ItemState.POSTED:
        with pytest.raises(IntegrityError, match="cannot be deleted"), engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM posting_items"))
        return
    with (
        pytest.raises(IntegrityError, match="illegal state transition"),
        engine.begin() as connection,
    ):
        connection.execute(
            sa.text(f"UPDATE posting_items SET state = '{state}', intacct_key = NULL, reason = 'x'")
        )


def test_a_chunk_is_cut_by_bytes_as_well_and_a_large_item_goes_alone(ledger: Ledger) -> None:
    small = [item(f"S{number}") for number in range(4)]
    large = Item("S9", DAY, "1.00", b'{"amount":"' + b"1" * 100 + b'"}')
    limit = 2 + 2 * len(small[0].payload) + 1
    chunks = ledger.plan(INVOICE, "E110", "sales", [*small, large], run_id="r", chunk_bytes=limit)

    assert [chunk.size for chunk in chunks] == [2, 2, 1]
    assert all(len(chunk.body) <= limit for chunk in chunks[:2])


def test_the_parts_of_a_chunk_are_other_requests_for_the_same_items(ledger: Ledger) -> None:
    (chunk,) = plan(ledger, *(item(source_id) for source_id in "ABC"))
    ledger.start_sending(chunk.chunk_id)

    parts = ledger.split(chunk.chunk_id, into=2, http_status=400, note="refused as a whole")

    assert [ledger.source_ids(part.chunk_id) for part in parts] == [["A", "B"], ["C"]]
    assert ledger.parts(chunk.chunk_id) == parts
    assert len({chunk.idempotency_key, *(part.idempotency_key for part in parts)}) == 3
    assert set(states(ledger).values()) == {"planned"}
    assert ledger.split(chunk.chunk_id, into=2, http_status=400, note="again") == []
    assert all(ledger.start_sending(part.chunk_id) for part in parts)


def test_a_source_id_twice_in_one_plan_is_an_error(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="twice"):
        plan(ledger, item("A"), item("A", payload="2.00"))
    assert states(ledger) == {}


CLAIM = """
import sys
from intacct_dagster.state.ledger import Ledger
from intacct_dagster.state.store import open_state
engine = open_state(sys.argv[1])
sys.stdin.readline()
print(sum(Ledger(engine, "demo").start_sending(chunk) for chunk in sys.argv[2:]))
"""


def test_processes_that_claim_the_same_chunks_share_them_without_overlap(
    url: str, ledger: Ledger
) -> None:
    chunks = plan(ledger, *(item(f"S{n:03}") for n in range(20)), size=1)
    ids = [chunk.chunk_id for chunk in chunks]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM, url, *ids],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    claimed = [int(process.communicate("go\n", timeout=60)[0]) for process in processes]

    assert sum(claimed) == 20
    assert set(states(ledger).values()) == {"sending"}


def test_processes_that_find_no_state_store_make_one(url: str) -> None:
    imports = "import sys; from intacct_dagster.state import open_state"
    made = f"{imports}; open_state(sys.argv[1]); print(1)"
    processes = [
        subprocess.Popen([sys.executable, "-c", made, url], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [each.communicate(timeout=60)[0] for each in processes] == ["1\n"] * 2


def test_a_process_that_does_not_use_the_ledger_makes_its_tables_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    make = "import sys; from intacct_dagster.state.store import open_state; open_state(sys.argv[1])"
    subprocess.run([sys.executable, "-c", make, url], check=True, timeout=60)
    engine = sa.create_engine(url)
    tables = set(sa.inspect(engine).get_table_names())
    engine.dispose()
    assert {"posting_chunks", "posting_items", "posting_changes", "tokens", "api_usage"} <= tables
