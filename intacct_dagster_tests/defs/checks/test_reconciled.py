"""A document that stands twice in Intacct, or that its source dropped, fails a check by name."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from intacct_dagster.defs.checks.reconciled import STANDS_ONCE, STILL_IN_SOURCE
from intacct_dagster.warehouse.reconciliation import FlaggedDocument

DAY = date(2026, 10, 1)


def test_what_stands_twice_is_named_with_both_records() -> None:
    why = "2 records in Intacct carry this id: keys 1, 2; posted from here is 2"
    found = STANDS_ONCE.judge(
        1, [FlaggedDocument("E110", DAY, "duplicate_in_intacct", "BR-1", why, Decimal("10.00"))]
    )
    assert not found.passed
    assert "BR-1 of E110" in found.description
    assert why in found.description
    assert found.metadata["amount_listed"].value == "10.00"


def test_where_nothing_is_amiss_they_pass() -> None:
    for check in (STANDS_ONCE, STILL_IN_SOURCE):
        found = check.judge(0, [])
        assert found.passed
        assert found.metadata["documents"].value == 0
