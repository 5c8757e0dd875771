"""One measured pull: rows into a warehouse, or the bare reading of the same bytes.

`python measured.py extract PORT ROWS OBJECTS FOLDER` and `python measured.py bare FILES FOLDER`
print one line of JSON: seconds, cpu_seconds, megabytes over the idle process, and what was done.
A process of its own, so that its memory is its own.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
from page_server import COLUMNS, ENTITY, START

from intacct_dagster.client import ClientCredentials, Intacct
from intacct_dagster.config import ObjectSettings, Reading
from intacct_dagster.extraction.extract import Extractor
from intacct_dagster.locks import FileLocks
from intacct_dagster.warehouse import Warehouse, column_type

_NOW = datetime(2028, 1, 1, tzinfo=UTC)


def _megabytes(of: str) -> float:
    """A figure of this process's memory: VmRSS is what it has now, VmHWM the most it had."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(of)) / 1024


class Measure:
    """Seconds, CPU seconds and peak memory of a `with` block."""

    def __enter__(self) -> "Measure":
        self._idle = _megabytes("VmRSS")
        # The system keeps the peak, and 5 resets it: no thread has to look.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._wall
        self.cpu = time.process_time() - self._cpu
        self._peak = _megabytes("VmHWM")

    def as_json(self, **more: Any) -> str:
        """The measures as JSON."""
        return json.dumps(
            {
                "seconds": round(self.seconds, 3),
                "cpu_seconds": round(self.cpu, 3),
                "megabytes_over_idle": round(self._peak - self._idle, 1),
                **more,
            }
        )


def extract(port: int, rows: int, objects: int, folder: Path) -> str:
    """Pulls `rows` rows of each of `objects` objects, six requests at a time."""
    days = [START.date() + timedelta(n) for n in range(rows // 86_400 + 1)]
    names = [ObjectSettings(name=f"bench/object-{n}") for n in range(objects)]
    grant = ClientCredentials("id", "secret")
    # as in production: each request takes a slot that processes share
    slots = FileLocks(folder / "locks").slots("requests", 6)
    address = f"http://127.0.0.1:{port}/ia/api/v1"
    with Intacct("bench", address, grant, {ENTITY: "u"}, slots=slots) as intacct:
        extractor = Extractor(
            intacct,
            Warehouse(folder / "warehouse.duckdb"),
            start_date=date(2020, 1, 1),
            run_id="bench",
            reading=Reading(look_back_days=0),
            now=lambda: _NOW,
        )
        extractor.prepare(names, ENTITY)
        # The first parameter of a process makes DuckDB import pandas: that is idle, not work.
        duckdb.connect().execute("SELECT ?", [1])
        before = intacct.usage
        with Measure() as measure, ThreadPoolExecutor(12) as pool:
            done = list(pool.map(lambda each: extractor.extract(each, ENTITY, days), names))
        spent = intacct.usage - before
    assert all(each.rows == rows for each in done)
    return measure.as_json(
        rows=rows * objects,
        requests=spent.requests,
        transactions=spent.transactions,
        seconds_reading=round(sum(each.seconds_reading for each in done), 2),
    )


def bare(folder: Path, into: Path) -> str:
    """The limit: the same pages from disk into a table, by one statement of DuckDB."""
    spelled = ", ".join(
        # What an expert would write: decimals of 64 bits, which DuckDB casts fastest.
        f"'{path}': '{'DECIMAL(18,2)' if form and 'decimal' in form else column_type(type_, form)}'"
        for path, (type_, form) in COLUMNS.items()
    )
    connection = duckdb.connect(str(into / "bare.duckdb"))
    with Measure() as measure:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f"CREATE TABLE bare AS SELECT * FROM read_json('{folder}/*.json', format = 'array',"
            f" records = true, columns = {{{spelled}}})"
        )
    rows = connection.execute("SELECT count(*) FROM bare").fetchall()[0][0]
    return measure.as_json(rows=rows)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["extract", port, rows, objects, folder]:
            print(extract(int(port), int(rows), int(objects), Path(folder)))
        case ["bare", pages, folder]:
            print(bare(Path(pages), Path(folder)))
        case _:
            sys.exit(__doc__)
