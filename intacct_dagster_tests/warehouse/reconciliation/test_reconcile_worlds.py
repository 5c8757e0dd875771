"""In any world the statuses are those of a naive model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intacct_dagster.warehouse import (
    Warehouse,
)
from intacct_dagster.warehouse.reconciliation import (
    LedgerState,
)
from intacct_dagster_tests.warehouse.reconciliation.reconciling import (
    HERE,
    payloads,
    read,
    run,
)
from intacct_dagster_tests.warehouse.warehouse_rows import (
    SALES,
    invoice,
    line,
    load_invoices,
    write_sales,
)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "warehouse.duckdb")


LedgerChoice = Literal[
    "none", "planned", "sending", "posted", "uncertain", "rejected same", "rejected changed"
]


@dataclass(frozen=True)
class World:
    """One document of a random world: how it comes, what Intacct has, what the ledger knows."""

    lines: int
    comes: int
    flaw: Literal["none", "quarantined line", "wrong total", "second one differs"]
    in_intacct: Literal["nothing", "equal", "other amount", "two of them", "of another entity"]
    ledger: LedgerChoice

    def expected(self) -> list[str]:
        """The statuses of its occurrences: a model that shares no code with the SQL."""
        comes = max(self.comes, 2) if self.flaw == "second one differs" else self.comes
        if self.flaw != "none":
            return ["invalid"] * comes
        in_intacct = {
            "equal": "matched",
            "other amount": "different",
            "two of them": "duplicate_in_intacct",
        }.get(self.in_intacct)
        by_ledger: dict[LedgerChoice, str] = {
            "posted": "posted",
            "sending": "uncertain",
            "uncertain": "uncertain",
            "rejected same": "rejected",
        }
        first = in_intacct or by_ledger.get(self.ledger, "missing")
        return [first] + ["duplicate"] * (comes - 1)

    def feed_lines(self, ref: str) -> list[str]:
        total = 10 * self.lines + (1 if self.flaw == "wrong total" else 0)
        text: list[str] = []
        for time in range(max(self.comes, 2) if self.flaw == "second one differs" else self.comes):
            memo = f"time {time}" if self.flaw == "second one differs" else "Widget"
            text += [
                line(ref, number, total, 10, description=memo)
                for number in range(1, self.lines + 1)
            ]
        if self.flaw == "quarantined line":
            text.append(line(ref, self.lines + 1, total, "nothing"))
        return text

    def records(self, ref: str) -> list[dict[str, object]]:
        amount = f"{10 * self.lines}.00"
        equal = invoice(f"{ref}-a", referenceNumber=ref, totalTxnAmount=amount)
        return {
            "nothing": [],
            "equal": [equal],
            "other amount": [{**equal, "totalTxnAmount": "0.01"}],
            "two of them": [equal, {**equal, "key": f"{ref}-b"}],
            "of another entity": [],
        }[self.in_intacct]

    def foreign_records(self, ref: str) -> list[dict[str, object]]:
        if self.in_intacct != "of another entity":
            return []
        return [invoice(f"{ref}-c", referenceNumber=ref, **{"entity.id": "E120"})]


WORLDS = st.lists(
    st.builds(
        World,
        lines=st.integers(1, 3),
        comes=st.integers(1, 3),
        flaw=st.sampled_from(
            ["none", "none", "none", "quarantined line", "wrong total", "second one differs"]
        ),
        in_intacct=st.sampled_from(
            ["nothing", "nothing", "equal", "other amount", "two of them", "of another entity"]
        ),
        ledger=st.sampled_from(
            [
                "none",
                "planned",
                "sending",
                "posted",
                "uncertain",
                "rejected same",
                "rejected changed",
            ]
        ),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=12, deadline=None)
@given(worlds=WORLDS, data=st.data())
def test_statuses_equal_a_naive_model_in_any_world(
    tmp_path_factory: pytest.TempPathFactory, worlds: list[World], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("world")
    warehouse = Warehouse(folder / "warehouse.duckdb")
    named = {f"BR-{number:02}": world for number, world in enumerate(worlds)}
    lines = [text for ref, world in named.items() for text in world.feed_lines(ref)]
    cut = data.draw(st.integers(0, len(lines)), label="lines in the first file")
    write_sales(folder / "feed", *lines[:cut], name="1.csv")
    write_sales(folder / "feed", *lines[cut:], name="2.csv")
    read(warehouse, folder / "feed")
    load_invoices(warehouse, folder / "pages", [])
    run(warehouse)
    hashes = {d.source_id: d.payload_hash for d in payloads(warehouse, SALES, HERE)}
    ours = [record for ref, world in named.items() for record in world.records(ref)]
    theirs = [record for ref, world in named.items() for record in world.foreign_records(ref)]
    load_invoices(warehouse, folder / "pages", ours)
    load_invoices(warehouse, folder / "pages", theirs, entity="E120")
    ledger = [
        LedgerState(
            "E110",
            ref,
            world.ledger.split()[0],
            "changed" if world.ledger == "rejected changed" else hashes.get(ref),
            "said no",
        )
        for ref, world in named.items()
        if world.ledger != "none"
    ]
    statuses = run(warehouse, ledger)
    assert statuses == {
        (ref, occurrence): status
        for ref, world in named.items()
        for occurrence, status in enumerate(world.expected(), start=1)
    }
    missing = [ref for (ref, _), status in statuses.items() if status == "missing"]
    documents = payloads(warehouse, SALES, HERE)
    assert [document.source_id for document in documents] == sorted(missing)
    for document in documents:
        sent = json.loads(document.payload)
        assert len(sent["lines"]) == named[document.source_id].lines
        assert sum(Decimal(entry["txnAmount"]) for entry in sent["lines"]) == document.amount
