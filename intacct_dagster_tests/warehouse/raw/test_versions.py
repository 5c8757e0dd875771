"""Which version of a record counts, whatever the order in which readings are committed."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.errors import NotMaterialized
from intacct_dagster.warehouse.raw import not_as_loaded
from intacct_dagster.warehouse.raw.delete_scans import store_delete_scan
from intacct_dagster.warehouse.raw.deletes import DeleteScan
from intacct_dagster.warehouse.raw.entities import know_entities
from intacct_dagster.warehouse.raw.forget import forget_object
from intacct_dagster.warehouse.raw.load import load_raw
from intacct_dagster.warehouse.raw.log import read_log
from intacct_dagster.warehouse.raw.maintenance import maintain
from intacct_dagster.warehouse.raw.versions import recompute_all
from intacct_dagster_tests.warehouse.warehouse_rows import DAY, INVOICE, NEXT_DAY, invoice, load_of

CURRENT = "intacct.accounts_receivable_invoice"
NOON = datetime(2026, 10, 13, 12, tzinfo=UTC)
LAG = timedelta(days=1)


def at(day: int, hour: int = 12) -> str:
    return f"2026-10-{day:02}T{hour:02}:00:00Z"


class Readings:
    """Loads of invoices, each read at an hour that the test says."""

    def __init__(self, folder: Path, warehouse: Warehouse) -> None:
        self.folder = folder
        self.warehouse = warehouse
        self.number = 0

    def load(
        self,
        *rows: dict[str, object],
        read_at: datetime = NOON,
        entity: str = "E110",
        days: tuple[date, ...] = (DAY, NEXT_DAY),
    ) -> None:
        self.number += 1
        load = load_of(
            self.folder / str(self.number), list(rows), entity=entity, days=days, takes_older=True
        )
        load_raw(
            self.warehouse,
            replace(
                load,
                run_id=f"run-{self.number}",
                extracted_at=read_at,
                read_at=(read_at,),
                lag=LAG,
                read_until=datetime(2026, 11, 1, tzinfo=UTC),
            ),
        )

    def shown(self, columns: str = "key, total_txn_amount::VARCHAR") -> list[tuple[object, ...]]:
        with self.warehouse.connect(read_only=True) as connection:
            return connection.execute(f"SELECT {columns} FROM {CURRENT} ORDER BY ALL").fetchall()

    def scan(self, *gone: str, found_at: datetime, entity: str = "E110", all_: bool = True) -> None:
        scan = DeleteScan(
            INVOICE,
            entity,
            deleted=gone if all_ else (),
            out_of_sight=() if all_ else gone,
            found_at=found_at,
            run_id="scan",
        )
        store_delete_scan(self.warehouse, scan)


@pytest.fixture
def readings(tmp_path: Path, warehouse: Warehouse) -> Readings:
    return Readings(tmp_path / "pages", warehouse)


def changed(key: str, day: int, amount: str, entity: str | None = "E110") -> dict[str, object]:
    return invoice(
        key, **{"audit.modifiedDateTime": at(day), "totalTxnAmount": amount, "entity.id": entity}
    )


def test_a_record_stays_when_its_day_is_read_again_without_it(readings: Readings) -> None:
    readings.load(changed("1", 1, "10.00"), changed("2", 1, "20.00"))
    readings.load(changed("2", 1, "20.00"), read_at=NOON + LAG)  # 1 was touched: it left the day
    assert readings.shown() == [("1", "10.00"), ("2", "20.00")]


def test_a_reading_that_is_committed_late_does_not_bring_back_what_was(readings: Readings) -> None:
    readings.load(changed("1", 1, "11.00"), read_at=NOON + timedelta(hours=1))
    readings.load(changed("1", 1, "10.00"), read_at=NOON)
    assert readings.shown() == [("1", "11.00")]


def test_within_the_lag_the_later_change_counts_and_after_it_the_later_reading(
    readings: Readings,
) -> None:
    readings.load(changed("1", 2, "12.00"))
    readings.load(changed("1", 1, "10.00"), read_at=NOON + LAG)
    assert readings.shown() == [("1", "12.00")]
    readings.load(changed("1", 1, "10.00"), read_at=NOON + LAG + timedelta(seconds=1))
    assert readings.shown() == [("1", "10.00")]
    with readings.warehouse.connect(read_only=True) as connection:
        reported = connection.execute("SELECT went_back FROM meta.loads ORDER BY load_id")
        assert reported.fetchall() == [(0,), (1,), (1,)]


def test_the_owner_s_row_counts_then_the_first_entity_s(readings: Readings) -> None:
    know_entities(readings.warehouse, ["E110", "E120"])
    readings.load(changed("1", 1, "10.00", None))
    readings.load(changed("1", 1, "0.00", None), entity="E120", read_at=NOON + timedelta(hours=1))
    assert readings.shown("key, total_txn_amount::VARCHAR, _entity") == [("1", "10.00", "E110")]
    readings.scan("1", found_at=NOON + timedelta(hours=2), all_=False)
    assert readings.shown("key, total_txn_amount::VARCHAR, _entity") == [("1", "0.00", "E120")]


def test_a_record_that_is_gone_everywhere_does_not_come_back_from_another_entity(
    readings: Readings,
) -> None:
    readings.load(changed("1", 1, "10.00", None), changed("2", 1, "1.00", None))
    readings.load(changed("1", 1, "10.00", None), entity="E120")
    readings.scan("1", found_at=NOON + timedelta(hours=1))
    assert readings.shown("key") == [("2",)]
    readings.load(changed("1", 1, "10.00", None), entity="E120", read_at=NOON)  # committed late
    assert readings.shown("key") == [("2",)]
    readings.load(changed("1", 1, "9.00", None), read_at=NOON + timedelta(hours=2))  # undone
    assert readings.shown() == [("1", "9.00"), ("2", "1.00")]


def test_a_record_that_moves_to_another_entity_is_there_once(readings: Readings) -> None:
    readings.load(changed("1", 1, "10.00"))
    readings.load(
        changed("1", 2, "10.00", "E120"), entity="E120", read_at=NOON + timedelta(hours=1)
    )
    assert readings.shown("key, _entity") == [("1", "E120")]


def test_a_renamed_entity_keeps_what_was_read_under_its_former_id(readings: Readings) -> None:
    readings.load(changed("1", 1, "10.00"))
    know_entities(readings.warehouse, ["E110N"], {"E110": "E110N"})
    assert readings.shown("key, _entity, entity_id") == [("1", "E110N", "E110N")]
    readings.scan("1", found_at=NOON + timedelta(hours=1), entity="E110N", all_=False)
    assert readings.shown() == []


@pytest.mark.parametrize("seed", range(6))
def test_the_table_is_what_the_whole_log_comes_to(readings: Readings, seed: int) -> None:
    """In whatever order readings, scans, maintenance and withdrawals come."""
    chance = random.Random(seed)
    know_entities(readings.warehouse, ["E110", "E120"])
    readings.load(changed("1", 1, "0.00", None))
    for _ in range(14):
        read_at = NOON + timedelta(minutes=chance.randrange(4000))
        keys = chance.sample(["1", "2", "3", "4", "5"], chance.randrange(1, 5))
        entity = chance.choice(["E110", "E120"])
        if chance.random() < 0.2:
            readings.scan(*keys[:1], found_at=read_at, all_=chance.random() < 0.5)
        elif chance.random() < 0.1:
            maintain(readings.warehouse, INVOICE, at_least=0)
        else:
            rows = [
                changed(key, chance.randrange(1, 3), f"{chance.randrange(3)}.00", None)
                for key in keys
            ]
            readings.load(*rows, entity=entity, read_at=read_at)
    before = readings.shown("*")
    with readings.warehouse.staging() as staging, staging.transaction() as connection:
        log = read_log(connection, INVOICE)
        assert log is not None
        recompute_all(connection, log)
    assert readings.shown("*") == before


def test_maintenance_drops_exact_repeats_and_changes_nothing_else(readings: Readings) -> None:
    for hour in range(5):
        amount = "10.00" if hour < 4 else "11.00"
        readings.load(
            changed("1", 1, amount),
            changed("2", 1, "2.00"),
            read_at=NOON + timedelta(hours=hour),
        )
    before = readings.shown("*")
    done = maintain(readings.warehouse, INVOICE, at_least=0)
    assert done is not None
    assert done.repeats == 2 + 3  # of 1 the second and third of four; of 2 three of five
    assert readings.shown("*") == before
    assert not_as_loaded(readings.warehouse, [INVOICE]) == {INVOICE: []}
    assert maintain(readings.warehouse, INVOICE) is None


def test_what_was_forgotten_counts_no_more_and_is_to_be_read_again(readings: Readings) -> None:
    with pytest.raises(NotMaterialized):
        forget_object(readings.warehouse, INVOICE, now=NOON)
    readings.load(changed("1", 1, "10.00"))
    readings.load(changed("2", 1, "20.00", "E120"), entity="E120")
    assert forget_object(readings.warehouse, INVOICE, entities=["E110"], now=NOON) == 1
    assert readings.shown() == [("2", "20.00")]
    with readings.warehouse.connect(read_only=True) as connection:
        days = connection.execute("SELECT DISTINCT entity FROM meta.raw_loads").fetchall()
        known = connection.execute("SELECT DISTINCT entity FROM meta.as_of").fetchall()
    assert (days, known) == ([("E120",)], [("E120",)])
    readings.load(changed("1", 1, "11.00"), read_at=NOON + timedelta(hours=1))
    assert readings.shown() == [("1", "11.00"), ("2", "20.00")]


def test_history_says_what_was_known_and_what_held(readings: Readings) -> None:
    readings.load(changed("1", 1, "10.00"))
    readings.load(changed("1", 2, "12.00"), read_at=NOON + timedelta(hours=1))
    readings.load(changed("1", 2, "12.00"), read_at=NOON + timedelta(hours=2))
    with readings.warehouse.connect(read_only=True) as connection:
        rows = connection.execute(
            "SELECT total_txn_amount::VARCHAR, valid_from, valid_to, known_from, known_to"
            f" FROM {CURRENT}_history ORDER BY known_from"
        ).fetchall()
    first, second = (datetime(2026, 10, day, 12, tzinfo=UTC) for day in (1, 2))
    later = NOON + timedelta(hours=1)
    assert rows == [
        ("10.00", first, second, NOON, later),
        ("12.00", second, None, later, None),
    ]
