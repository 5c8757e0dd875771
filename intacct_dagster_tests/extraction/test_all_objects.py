"""Every object of the sandbox's catalogue is read with its default fields."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from intacct_dagster.client import ClientCredentials, Intacct
from intacct_dagster.config import ObjectSettings, Reading
from intacct_dagster.extraction.extract import Extractor
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import table_name
from intacct_dagster_tests.extraction.test_lines import Through
from intacct_dagster_tests.sandbox.caller import calling
from intacct_sandbox import LAST_DAY

#: Objects that clashed: two of their fields would have been one column.
CLASHED = {"projects/task", "order-entry/document::Sales Invoice"}


@pytest.mark.slow
def test_every_object_of_the_catalogue_is_read_with_its_default_fields(tmp_path: Path) -> None:
    with calling() as caller:
        grant = ClientCredentials("sandbox.app.sage.com", "sandbox-secret")
        intacct = Intacct(
            "demo",
            "https://sandbox/ia/api/v1",
            grant,
            {"E110": "usa"},
            transport=Through(caller),
        )
        warehouse = Warehouse(tmp_path / "warehouse.duckdb")
        extractor = Extractor(
            intacct,
            warehouse,
            start_date=LAST_DAY - timedelta(days=30),
            run_id="run",
            reading=Reading(settle_seconds=0),
            now=caller.books.clock.now,
        )
        names = intacct.entity("E110").objects()
        failed: dict[str, str] = {}
        rows: dict[str, int] = {}
        for name in names:
            what = ObjectSettings(name=name, history="all")
            days = [LAST_DAY - timedelta(days=n) for n in range(30, -1, -1)]
            try:
                rows[name] = extractor.extract(what, "E110", days).distinct_keys
            except Exception as error:  # all of them are reported, and not the first
                failed[name] = f"{type(error).__name__}: {error}"
        print("\n".join(f"{count:8,} {name}" for name, count in sorted(rows.items())))
        assert failed == {}
        assert set(names) >= CLASHED
        with warehouse.connect(read_only=True) as connection:
            for name, count in rows.items():
                shown = connection.execute(
                    f"SELECT count(*) FROM intacct.{table_name(name)}"
                ).fetchall()
                assert shown == [(count,)], name
