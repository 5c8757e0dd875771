"""A ledger that version 0.1.0 wrote can be used, and the same work still writes the same rows.

`store_of_0_1_0.sql` is what `sqlite3`'s `.dump` printed after version 0.1.0 had done `work`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from intacct_dagster.state.ledger import (
    Accepted,
    Chunk,
    Item,
    ItemState,
    Ledger,
    Rejected,
)
from intacct_dagster.state.store import open_state

DUMP = Path(__file__).with_name("store_of_0_1_0.sql")
INVOICE = "accounts-receivable/invoice"
DAY = date(2026, 10, 13)
TABLES = ("posting_chunks", "posting_items", "posting_changes")


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 10, 13, 18, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.time += timedelta(milliseconds=1)
        return self.time


def creation(source_id: str) -> Item:
    return Item(source_id, DAY, "1.00", b'{"amount":"1.00"}')


def change(source_id: str, key: str, amount: bytes) -> Item:
    return Item(
        source_id,
        DAY,
        amount.decode(),
        b'{"key":"' + key.encode() + b'","amount":"' + amount + b'"}',
        key=key,
        document=b'{"amount":"' + amount + b'"}',
        as_of="2026-10-13T17:00:00Z",
    )


def planned(ledger: Ledger, *items: Item) -> Chunk:
    (chunk,) = ledger.plan(INVOICE, "E110", "sales", items, run_id="run-1")
    return chunk


def sent(ledger: Ledger, *items: Item) -> str:
    chunk = planned(ledger, *items)
    assert ledger.start_sending(chunk.chunk_id)
    return chunk.chunk_id


def work(engine: sa.Engine) -> None:
    """Bring documents into every state that a ledger has."""
    ledger = Ledger(engine, "demo", now=Clock())
    answered = sent(ledger, creation("A"), creation("B"), creation("C"))
    rejected = Rejected(
        *(1, "The customer is unknown.", "Correct the customer."),
        *("bad-reference", "customer.id", "S-1"),
    )
    outcomes: list[Accepted | Rejected] = [
        *(Accepted(0, "30", "SI-30"), rejected, Accepted(2, "31", "SI-31")),
    ]
    ledger.record(answered, outcomes, http_status=207)
    ledger.agreed([each for each in ledger.posted([answered]) if each.source_id == "A"])
    ledger.uncertain(sent(ledger, creation("D")), "the connection was cut")
    sent(ledger, creation("E"))
    planned(ledger, creation("F"), creation("G"))
    planned(ledger, creation("F"))
    whole = sent(ledger, creation("H"), creation("I"))
    ledger.split(whole, into=2, http_status=400, note="refused in one piece, and halved")
    amendments = ledger.amendments
    made = sent(amendments, change("A", "30", b"2.00"))
    amendments.record(made, [Accepted(0, "30")], http_status=200)
    closed = sent(amendments, change("C", "31", b"3.00"))
    amendments.record(closed, [Rejected(0, "The period is closed.", "Open it.")], http_status=400)


@pytest.fixture
def old(tmp_path: Path) -> Iterator[sa.Engine]:
    """A state store that version 0.1.0 made, opened by this one."""
    connection = sqlite3.connect(tmp_path / "old.db")
    connection.executescript(DUMP.read_text(encoding="ascii"))
    connection.close()
    engine = open_state(f"sqlite:///{tmp_path}/old.db")
    yield engine
    engine.dispose()


@pytest.fixture
def new(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = open_state(f"sqlite:///{tmp_path}/new.db")
    yield engine
    engine.dispose()


def rows(engine: sa.Engine, table: str) -> list[dict[str, object]]:
    with engine.connect() as connection:
        found = connection.exec_driver_sql(f"SELECT * FROM {table}").mappings().all()
    return [dict(row) for row in found]


@pytest.mark.parametrize("table", TABLES)
def test_the_same_work_writes_the_same_rows_bytes_and_keys(
    old: sa.Engine, new: sa.Engine, table: str
) -> None:
    work(new)
    written, before = rows(new, table), rows(old, table)
    assert len(written) == len(before) > 0
    for now, then in zip(written, before, strict=True):
        assert {name: now[name] for name in then} == then


@pytest.mark.parametrize("table", TABLES[1:])
def test_the_transitions_that_the_database_allows_are_those_of_old_databases(
    old: sa.Engine, new: sa.Engine, table: str
) -> None:
    def condition(engine: sa.Engine) -> str:
        with engine.connect() as connection:
            trigger = connection.exec_driver_sql(
                f"SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = '{table}_ways'"
            ).scalar_one()
        return str(trigger).partition("WHEN NOT")[2].partition("BEGIN")[0]

    assert condition(new) == condition(old) != ""


def test_what_was_planned_is_sent_and_what_was_left_unanswered_is_asked_for(
    old: sa.Engine,
) -> None:
    ledger = Ledger(old, "demo")
    unanswered = ledger.unresolved(INVOICE, "E110")
    assert [ledger.source_ids(each.chunk_id) for each in unanswered] == [["D"], ["E"]]
    ledger.resolve_by_read_back(unanswered[0].chunk_id, {"D": ("32", None)}, "read back")
    ledger.resolve_by_read_back(unanswered[1].chunk_id, {}, "read back")
    again = [creation(source_id) for source_id in "ABCDEFGHI"]
    (chunk,) = ledger.plan(INVOICE, "E110", "sales", again, run_id="run-2")
    assert ledger.source_ids(chunk.chunk_id) == ["E", "F", "G", "H", "I"]
    assert ledger.start_sending(chunk.chunk_id)
    assert ledger.posted_keys(INVOICE, "E110", "sales") == {"A": "30", "C": "31", "D": "32"}
    amended = ledger.last_amendments(INVOICE, "E110", "sales")
    assert {name: each.state for name, each in amended.items()} == {
        "A": ItemState.POSTED,
        "C": ItemState.REJECTED,
    }


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE posting_items SET state = 'sending' WHERE source_id = 'B'", "no such way"),
        ("DELETE FROM posting_changes", "forgets nothing"),
    ],
)
def test_an_old_database_keeps_its_triggers(old: sa.Engine, statement: str, words: str) -> None:
    with pytest.raises(IntegrityError, match=words), old.begin() as connection:
        connection.execute(sa.text(statement))
