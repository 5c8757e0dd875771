"""What a night costs an entity does not depend on how many rows the other entities have.

Measured is the time of the processor, of which what else runs on the machine takes none.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path

import pytest

from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import (
    DeleteScan,
    ScannedPages,
    compare_keys,
    seen_by,
    store_delete_scan,
)
from intacct_dagster.warehouse.raw.current import refresh_current
from intacct_dagster.warehouse.raw.load import load_raw
from intacct_dagster.warehouse.raw.loads import known_until
from intacct_dagster_tests.warehouse.warehouse_rows import INVOICE, load_of

OWN = "E110"
OTHERS = [f"E{number}" for number in range(200, 209)]
NIGHTS = 8
ROWS = 150
TENFOLD = 10
REPEATED = 8
ALLOWED = 1.3
START = date(2026, 1, 1)


class Company:
    """A warehouse that many nights have filled, of all entities in turn."""

    def __init__(self, folder: Path, times: int) -> None:
        self.folder = folder
        self.warehouse = Warehouse(folder / "warehouse.duckdb")
        self._nights = 0
        for _ in range(NIGHTS):
            for number, entity in enumerate([OWN, *OTHERS]):
                self.load(entity, number, ROWS * (times if entity != OWN else 1))
            self._nights += 1

    def load(self, entity: str, number: int, rows: int) -> None:
        """Load a night of an entity: half of its rows are new, the others changed."""
        day = START + timedelta(days=self._nights)
        first = self._nights * (rows // 2)
        changed = f"{day}T{self._nights % 24:02}:00:00Z"
        page = [
            {
                "key": f"{number:02}{first + row:09}",
                "audit.modifiedDateTime": changed,
                "entity.id": entity,
                "referenceNumber": f"R{row}",
                "totalTxnAmount": "10.00",
            }
            for row in range(rows)
        ]
        load = load_of(
            self.folder / entity, page, entity=entity, days=(day,), run_id=f"run-{self._nights}"
        )
        at = datetime.combine(day + timedelta(days=1), time_of_day(2), tzinfo=UTC)
        load_raw(self.warehouse, replace(load, extracted_at=at, lag=timedelta(days=1, minutes=5)))

    def steps(self) -> Mapping[str, Callable[[], object]]:
        """Return the steps of a night of the entity whose rows are few."""
        self._nights += 1
        keys = [f"00{row:09}" for row in range(5, self._nights * (ROWS // 2))]
        page = self.folder / "scanned.json"
        page.write_text(
            json.dumps(
                [{"key": key, "audit.modifiedDateTime": "2026-01-01T00:00:00Z"} for key in keys]
            )
        )
        scanned = ScannedPages(INVOICE, OWN, [page], None, "audit.modifiedDateTime")
        found_at = datetime.combine(
            START + timedelta(days=self._nights + 1), time_of_day(3), tzinfo=UTC
        )
        scan = DeleteScan(INVOICE, OWN, ("00000000001",), found_at, "run", seen=len(keys))
        return {
            "load": lambda: self.load(OWN, 0, ROWS),
            "compare a scan": lambda: compare_keys(self.warehouse, scanned),
            "who has seen": lambda: seen_by(self.warehouse, INVOICE, keys[:5]),
            "store a scan": lambda: store_delete_scan(self.warehouse, scan),
            "show": lambda: refresh_current(self.warehouse, INVOICE),
            "known until": lambda: known_until(self.warehouse, INVOICE, OWN),
        }


@pytest.mark.slow
def test_no_step_of_a_night_grows_with_the_rows_of_other_entities(tmp_path: Path) -> None:
    companies = {times: Company(tmp_path / str(times), times) for times in (1, TENFOLD)}
    seconds: dict[str, dict[int, list[float]]] = {}
    for _ in range(REPEATED):
        nights = {times: company.steps() for times, company in companies.items()}
        for name in nights[1]:
            for times, steps in nights.items():
                began = time.process_time()
                steps[name]()
                taken = seconds.setdefault(name, {}).setdefault(times, [])
                taken.append(time.process_time() - began)
    ratios = {name: min(taken[TENFOLD]) / min(taken[1]) for name, taken in seconds.items()}
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.2f} ({min(seconds[name][1]) * 1000:.1f} ms)")
    assert all(ratio <= ALLOWED for ratio in ratios.values()), ratios
