"""What became of posted documents: replaced by partition, exact, checked before it is written."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from intacct_dagster.warehouse import Warehouse
from intacct_dagster_tests.warehouse_rows import DAY, NEXT_DAY, READ_AT


def outcome(source_id: str, **fields: object) -> dict[str, object]:
    return {"entity": "E110", "day": DAY, "source_id": source_id, "state": "posted", **fields}


def test_partitions_are_replaced_and_others_stay(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "warehouse.duckdb")
    full = outcome(
        "BR-1",
        intacct_key="77",
        reason='It said "no"\nand stopped',
        amount=Decimal("12345678901234567890.10"),
        position=0,
        at=READ_AT,
    )
    assert (
        warehouse.replace_outcomes("sales_invoices", [("E110", DAY)], [full, outcome("BR-2")]) == 2
    )
    later = outcome("BR-3", day=NEXT_DAY, state="rejected")
    warehouse.replace_outcomes("sales_invoices", [("E110", NEXT_DAY)], [later])
    warehouse.replace_outcomes("sales_invoices", [("E110", NEXT_DAY)], [])
    with warehouse.connect(read_only=True) as connection:
        found = connection.execute(
            "SELECT source_id, intacct_key, reason, amount, position, recorded_at"
            " FROM posting.sales_invoices ORDER BY 1"
        ).fetchall()
    assert found == [
        (
            "BR-1",
            "77",
            'It said "no"\nand stopped',
            Decimal("12345678901234567890.10"),
            0,
            READ_AT,
        ),
        ("BR-2", None, None, None, None, None),
    ]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (outcome("BR-1", colour="red"), "has no colour"),
        (outcome(""), "lacks its source_id"),
        (outcome("BR-1", day=NEXT_DAY), "not replaced"),
    ],
)
def test_a_row_that_does_not_belong_is_refused(
    tmp_path: Path, row: dict[str, object], told: str
) -> None:
    warehouse = Warehouse(tmp_path / "warehouse.duckdb")
    with pytest.raises(ValueError, match=told):
        warehouse.replace_outcomes("sales_invoices", [("E110", DAY)], [row])
    assert not warehouse.path.exists()
