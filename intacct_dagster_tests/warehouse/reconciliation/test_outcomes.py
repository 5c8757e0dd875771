"""What became of posted documents: replaced by partition, exact, and counted as it stands."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from intacct_dagster.warehouse import Partition, Warehouse
from intacct_dagster.warehouse.reconciliation import (
    Outcomes,
    PostingPermission,
    ReadBackProof,
    replace_outcomes,
)
from intacct_dagster.warehouse.reporting import ANALYST_VIEWS, refresh_analysts
from intacct_dagster_tests.warehouse.warehouse_rows import DAY, NEXT_DAY, READ_AT

FEED = "sales_invoices"
HERE: Partition = ("E110", DAY)
THERE: Partition = ("E110", NEXT_DAY)
LEAVE = PostingPermission("held", waiting="waiting", approved=[("E110", DAY, "plan-1")])


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """Reconciled: five documents of one day, one of the next; only the first day is approved."""
    warehouse = Warehouse(tmp_path / "warehouse.duckdb")
    with warehouse.connect() as connection:
        connection.execute("CREATE SCHEMA reconciled")
        connection.execute("CREATE SCHEMA plan")
        connection.execute(
            f"CREATE TABLE reconciled.{FEED} AS SELECT * FROM (VALUES"
            " ('E110', $day, 'S1', 1, 'missing', 10.00, 'a.csv', 2),"
            " ('E110', $day, 'S1', 2, 'duplicate', 10.00, 'b.csv', 2),"
            " ('E110', $day, 'S2', 1, 'missing', 20.00, 'a.csv', 3),"
            " ('E110', $day, 'S3', 1, 'missing', 30.00, 'a.csv', 4),"
            " ('E110', $day, 'S4', 1, 'matched', 40.00, 'a.csv', 5),"
            " ('E110', $next, 'S5', 1, 'missing', 50.00, 'a.csv', 6)"
            ") AS r(_entity, _day, source_id, occurrence, status, amount, file, line)",
            {"day": DAY, "next": NEXT_DAY},
        )
        connection.execute(
            f"CREATE TABLE plan.{FEED} AS SELECT * FROM (VALUES"
            " ('E110', $day, 'S1', NULL, 'plan-1'), ('E110', $day, 'S2', NULL, 'plan-1'),"
            " ('E110', $day, 'S3', 'period_open', 'plan-1'),"
            " ('E110', $next, 'S5', NULL, 'plan-2')"
            ") AS p(_entity, _day, source_id, gate, plan)",
            {"day": DAY, "next": NEXT_DAY},
        )
    return warehouse


def in_ledger(source_id: str, state: str, *, day: date = DAY, amount: str = "10.00") -> bytes:
    """A row as the ledger gives it."""
    key = f"7{source_id}" if state == "posted" else None
    reason = 'It said "no"\nand stopped' if state == "rejected" else None
    reported = (reason, reason and "Correct it", None, None, None)
    sent = ("chunk", 0, "run", READ_AT.isoformat())
    row = ("E110", source_id, day.isoformat(), amount, state, key, *reported, *sent)
    return json.dumps(row).encode()


def replaced(
    warehouse: Warehouse, *ledger: bytes, partitions: Iterable[Partition] = (HERE,)
) -> dict[Partition, Outcomes]:
    return replace_outcomes(
        warehouse,
        FEED,
        list(partitions),
        ledger,
        leave=LEAVE,
        statuses=("missing", "uncertain", "posted", "rejected"),
        shown=100,
        proof=lambda: ReadBackProof(
            unread=[("E110", "S1"), ("E110", "S2"), ("E110", "elsewhere")],
            differing=[("E110", "S1"), ("E110", "S9")],
        ),
    )


def held(warehouse: Warehouse) -> list[tuple[object, ...]]:
    with warehouse.connect(read_only=True) as connection:
        return connection.execute(
            "SELECT source_id, state, intacct_key, reason, amount, position, recorded_at"
            f" FROM posting.{FEED} ORDER BY 1"
        ).fetchall()


def test_what_became_of_each_document_is_kept_and_counted(warehouse: Warehouse) -> None:
    amount = "12345678901234567890.10"
    found = replaced(
        warehouse,
        in_ledger("S1", "posted", amount=amount),
        in_ledger("S2", "rejected", amount="20.00"),
        in_ledger("gone", "posted", amount="7.00"),
        in_ledger("elsewhere", "posted", day=NEXT_DAY),
    )

    assert held(warehouse) == [
        ("S1", "posted", "7S1", None, Decimal("10.00"), 0, READ_AT),
        ("S2", "rejected", None, 'It said "no"\nand stopped', Decimal("20.00"), 0, READ_AT),
        ("S3", "not sent", None, "held", Decimal("30.00"), None, None),
        ("gone", "posted", "7gone", None, Decimal("7.00"), 0, READ_AT),
    ]
    of_day = found[HERE]
    assert (of_day.documents, of_day.amount) == (4, Decimal("67.00"))
    assert of_day.states == {
        None: (1, Decimal(0)),
        "posted": (2, Decimal(amount) + 7),
        "rejected": (1, Decimal("20.00")),
    }
    assert of_day.aside == {"held": (1, Decimal("30.00"))}
    assert of_day.rejections == {'It said "no"\nand stopped': 1}
    assert (of_day.not_read_back, of_day.differing) == (1, (("E110", "S1"),))
    assert [(each.source_id, each.file, each.line) for each in of_day.shown] == [("S2", "a.csv", 3)]


def test_a_document_that_0_1_0_stored_as_refused_is_shown_as_rejected(warehouse: Warehouse) -> None:
    replaced(warehouse, in_ledger("S1", "posted"))
    with warehouse.connect() as connection:
        connection.execute(
            f"UPDATE reconciled.{FEED} SET status = 'refused' WHERE source_id = 'S4'"
        )
        connection.execute(f"ALTER TABLE plan.{FEED} ADD COLUMN action VARCHAR DEFAULT 'create'")
    (view,) = [each for each in ANALYST_VIEWS if each.of_feeds]

    refresh_analysts(warehouse, view, [FEED])

    with warehouse.connect(read_only=True) as connection:
        counts = connection.execute(
            "SELECT documents, posted, rejected, matched FROM intacct.posted_against_source"
            " WHERE day = $day",
            {"day": DAY},
        ).fetchall()
    assert counts == [(5, 1, 1, 0)]


def test_partitions_are_replaced_and_others_stay(warehouse: Warehouse) -> None:
    both = replaced(warehouse, in_ledger("S1", "posted"), partitions=(HERE, THERE))
    assert [each.source_id for each in both[HERE].shown] == ["S2"], "approved, and not sent"
    assert both[THERE].aside == {"waiting": (1, Decimal("50.00"))}
    assert (both[HERE] + both[THERE]).documents == 4

    replaced(warehouse, in_ledger("S5", "posted", day=NEXT_DAY), partitions=(THERE,))

    assert [(row[0], row[1]) for row in held(warehouse)] == [
        ("S1", "posted"),
        ("S2", "not sent"),
        ("S3", "not sent"),
        ("S5", "posted"),
    ]


def test_only_so_many_of_a_kind_are_shown(warehouse: Warehouse) -> None:
    rows = [in_ledger(f"S{n}", "rejected") for n in range(1, 5)]
    found = replace_outcomes(
        warehouse, FEED, [HERE], rows, leave=LEAVE, statuses=("missing",), shown=2
    )
    assert found[HERE].count("rejected") == 4
    assert [each.source_id for each in found[HERE].shown] == ["S1", "S2"]


def test_without_a_plan_nothing_is_aside(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        connection.execute(f"DROP TABLE plan.{FEED}")
    of_day = replaced(warehouse)[HERE]
    assert (of_day.documents, of_day.aside) == (3, {})
    with warehouse.connect() as connection:
        connection.execute(f"DROP TABLE reconciled.{FEED}")
    assert replaced(warehouse)[HERE] == Outcomes()
