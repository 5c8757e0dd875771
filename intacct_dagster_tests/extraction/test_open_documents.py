"""What is due of a document changes without its change time, and is right after the next night."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

from intacct_dagster.config import ObjectSettings, Reading
from intacct_dagster_tests.extraction.test_extract import INVOICE, Company, Desk, model, row

DUE = "totalTxnAmountDue"


def company(**due: str) -> Company:
    rows = [row(key, "2026-10-02T12:00:00Z", **{DUE: amount}) for key, amount in due.items()]
    return Company({INVOICE: model(totalTxnAmountDue="decimal-precision-2")}, {INVOICE: rows})


def due(desk: Desk) -> list[tuple[str, str]]:
    with desk.warehouse.connect(read_only=True) as connection:
        return connection.execute(
            "SELECT key, total_txn_amount_due::VARCHAR"
            " FROM intacct.accounts_receivable_invoice ORDER BY 1"
        ).fetchall()


def night(desk: Desk, day: int) -> None:
    desk.now = datetime(2026, 10, day + 1, 2, tzinfo=desk.now.tzinfo)
    desk.extractor.extract(ObjectSettings(name=INVOICE), "E110", [date(2026, 10, day)])


def test_a_payment_without_a_change_of_the_document_is_seen_the_next_night(tmp_path: Path) -> None:
    at = company(a="10.00", b="20.00", c="0.00", d="40.00")
    desk = Desk(at, tmp_path)
    night(desk, 2)
    paid = {"a": "4.00", "b": "0.00", "c": "5.00"}  # in part; in full; a payment was reversed
    for each in at.rows[INVOICE]:
        each[DUE] = paid.get(each["key"], each[DUE])
    for day in (4, 5):  # the second night finds nothing new
        night(desk, day)
        assert due(desk) == [("a", "4.00"), ("b", "0.00"), ("c", "5.00"), ("d", "40.00")]
    assert len(desk.keys()) == 4 + 3  # only what differs was added


def test_it_can_be_left_out_and_costs_a_request_a_night(tmp_path: Path) -> None:
    costs = []
    for number, reading in enumerate((Reading(), Reading(open_documents=False))):
        at = company(a="10.00")
        desk = Desk(at, tmp_path / str(number), reading)
        night(desk, 2)
        at.asked.clear()
        night(desk, 5)
        costs.append(len(at.asked))
    assert costs[0] == costs[1] + 1


def test_a_day_that_is_not_the_newest_reads_no_open_documents(tmp_path: Path) -> None:
    at = company(a="10.00")
    desk = Desk(at, tmp_path)
    night(desk, 2)
    at.rows[INVOICE][0][DUE] = "1.00"
    desk.now += timedelta(days=5)
    desk.extractor.extract(ObjectSettings(name=INVOICE), "E110", [date(2026, 10, 4)])
    assert due(desk) == [("a", "10.00")]
