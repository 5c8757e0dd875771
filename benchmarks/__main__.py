"""`make bench`: how near we are to what is possible. Each figure is a ratio in one run.

Reads ROWS (default 200000) and, with LARGE=1, 2 million rows of 20 columns, and has the sandbox
serve 500,000 or, with LARGE=1, 5 million; prints tables and writes data/benchmarks.json.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from page_server import make_rows
from posting import posting_results
from rich.console import Console
from rich.table import Table
from sandbox_scale import scale_results

HERE = Path(__file__).parent
ROWS_A_PAGE = 4000
IN_FLIGHT = 6
LATENCY = 0.3


@contextmanager
def served(folder: Path, rows: int, latency: float) -> Iterator[str]:
    """The port of a page server, for the length of the block."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "page_server.py"), str(folder), str(rows), str(latency)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)


def measured(*arguments: object) -> dict[str, Any]:
    """What `measured.py` tells."""
    done = subprocess.run(
        [sys.executable, str(HERE / "measured.py"), *map(str, arguments)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=900,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def write_pages(data: Path, rows: int, into: Path) -> None:
    """The same bytes as pages on disk, as the walk would spool them."""
    file, offsets = make_rows(data, rows)
    into.mkdir()
    with file.open("rb") as opened:
        for number, first in enumerate(range(0, rows, ROWS_A_PAGE)):
            last = min(first + ROWS_A_PAGE, rows)
            text = opened.read(offsets[last] - offsets[first])[:-1]
            (into / f"{number:06}.json").write_bytes(b"[" + text + b"]")


def at_zero_latency(data: Path, rows: int) -> dict[str, Any]:
    """(a), (b): REST to DuckDB against the bare reading of the same bytes from disk."""
    with tempfile.TemporaryDirectory(dir=data) as scratch, served(data, rows, 0.0) as port:
        folder = Path(scratch)
        write_pages(data, rows, folder / "pages")
        limit = measured("bare", folder / "pages", folder)
        ours = measured("extract", port, rows, 1, folder)
    return {
        "what": f"(a) {rows:,} rows at zero latency",
        "ours": ours,
        "bare": limit,
        "ratio": ours["seconds"] / limit["seconds"],
        "target": 1.5,
        "transactions_per_million": ours["transactions"] * 1e6 / rows,
    }


def at_real_latency(data: Path, rows: int, objects: int) -> dict[str, Any]:
    """(c): wall time at 300 ms a request and six in flight against requests x latency / 6."""
    with tempfile.TemporaryDirectory(dir=data) as scratch, served(data, rows, LATENCY) as port:
        ours = measured("extract", port, rows, objects, Path(scratch))
    ideal = ours["requests"] * LATENCY / IN_FLIGHT
    return {
        "what": f"(c) {objects} objects of {rows:,} rows at 300 ms",
        "ours": ours,
        "ideal": ideal,
        "ratio": ours["seconds"] / ideal,
        "target": 1.15,
    }


def main() -> None:
    """Runs all, prints a table, writes the JSON."""
    data = Path("data") / "benchmarks"
    data.mkdir(parents=True, exist_ok=True)
    sizes = [int(os.environ.get("ROWS", "200000"))]
    if os.environ.get("LARGE"):
        sizes.append(2_000_000)
    results = [at_zero_latency(data, rows) for rows in sizes]
    results.append(at_real_latency(data, 100_000, 12))
    results.append(at_real_latency(data, 200_000, 1))
    table = Table("what", "s", "rows/s", "CPU s", "MB over idle", "limit s", "ratio", "target")
    for each in results:
        ours = each["ours"]
        limit = each["bare"]["seconds"] if "bare" in each else each["ideal"]
        table.add_row(
            each["what"],
            f"{ours['seconds']:.2f}",
            f"{ours['rows'] / ours['seconds']:,.0f}",
            f"{ours['cpu_seconds']:.2f}",
            f"{ours['megabytes_over_idle']:.0f}",
            f"{limit:.2f}",
            f"{each['ratio']:.2f}",
            f"{each['target']}",
        )
    for each in results:
        if "transactions_per_million" in each:
            per = each["transactions_per_million"]
            table.add_row("(b) transactions a million rows", *[""] * 5, f"{per:.0f}", "260")
    Console(width=130).print(table)
    results += posting_results(data)
    results += scale_results(data)
    out = data.parent / "benchmarks.json"
    out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
