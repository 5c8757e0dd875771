"""`make bench`: how near extraction and posting are to what is possible. Each figure is a ratio in
one run.

Reads ROWS (default 200000; LARGE=1: 2 million as well) of 20 columns, and backfills BACKFILL
(default 1x365: entities x days, five objects each). Prints tables and writes data/benchmarks.json.
`python benchmarks extraction` (or `backfill`, `loading`, `entities`, `posting`, `sandbox`) runs a
part; FROM_THE_UI (default 2x730) is what `backfill` launches in the UI.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from from_the_ui import backfill_results
from loading import loading_results
from many_entities import entities_results
from page_server import make_rows
from posting import posting_results, served_by
from rich.console import Console
from rich.table import Table
from rivals import rival
from sandbox_scale import scale_results

HERE = Path(__file__).parent
ROWS_A_PAGE = 4000
IN_FLIGHT = 6
LATENCY = 0.3
ROWS_OF_A_BACKFILL = 20_000
RIVALS = {
    "dlt": ("dlt's rest_api source", 30),
    "sdk": ("sageintacctrestsdk + pandas, typed as ours", 4),
    "sdk-text": ("sageintacctrestsdk + pandas, all texts", 4),
}


def served(folder: Path, rows: int, latency: float) -> AbstractContextManager[str]:
    """The port of a page server, for the length of the block."""
    return served_by("page_server.py", folder, rows, latency)


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
    with (
        tempfile.TemporaryDirectory(dir=data) as scratch,
        served(data, rows, 0.0) as port,
    ):
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


def against_rivals(data: Path, rows: int) -> list[dict[str, Any]]:
    """(a): dlt and the SDK at the same rows, against ours in the same minutes."""
    results = []
    for which, (name, target) in RIVALS.items():
        with (
            tempfile.TemporaryDirectory(dir=data) as scratch,
            served(data, rows, 0.0) as port,
        ):
            theirs = rival(data, which, port, rows, Path(scratch))
            ours = measured("extract", port, rows, 1, Path(scratch))
        results.append(
            {
                "what": f"(a) {rows:,} rows: {name}, so many times as long",
                "ours": ours,
                "limit": theirs["seconds"],
                "theirs": theirs,
                "ratio": theirs["seconds"] / ours["seconds"],
                "target": target,
                "at_least": True,
            }
        )
    return results


def backfilled(data: Path, which: str, port: str, entities: int, days: int) -> dict[str, Any]:
    """What `backfill.py` tells."""
    with tempfile.TemporaryDirectory(dir=data) as scratch:
        done = subprocess.run(
            [
                *(sys.executable, str(HERE / "backfill.py"), which, port),
                *(str(entities), str(days), scratch),
            ],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=3600,
        )
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def through_dagster(data: Path, entities: int, days: int) -> list[dict[str, Any]]:
    """(d): a backfill, against the same pull without Dagster plus Dagster without the pull; in
    seconds, and in seconds of the processor, which other work on the machine changes less.

    Each of the three once unmeasured, then three times in turn: the best of each.
    """
    parts = ("floor", "pull", "dagster")
    measured: dict[str, list[dict[str, Any]]] = {which: [] for which in parts}
    with served(data, ROWS_OF_A_BACKFILL, 0.0) as port:
        for which in parts:  # Python compiles what it imports
            backfilled(data, which, port, 1, 1)
        for _ in range(3):
            for which in parts:
                measured[which].append(backfilled(data, which, port, entities, days))
    results = []
    for measure, unit in (("seconds", ""), ("cpu_seconds", ", of the processor")):
        best = {which: min(measured[which], key=lambda each: each[measure]) for which in parts}
        limit = best["floor"][measure] + best["pull"][measure]
        results.append(
            {
                "what": f"(d) backfill of {entities} x {days} x 5{unit}",
                **best,
                "ours": {**best["dagster"], "seconds": best["dagster"][measure]},
                "limit": limit,
                "ratio": best["dagster"][measure] / limit,
                "target": 1.2,
            }
        )
    return results


def at_real_latency(data: Path, rows: int, objects: int) -> dict[str, Any]:
    """(c): wall time at 300 ms a request and six in flight against requests x latency / 6."""
    with (
        tempfile.TemporaryDirectory(dir=data) as scratch,
        served(data, rows, LATENCY) as port,
    ):
        ours = measured("extract", port, rows, objects, Path(scratch))
    ideal = ours["requests"] * LATENCY / IN_FLIGHT
    return {
        "what": f"(c) {objects} objects of {rows:,} rows at 300 ms",
        "ours": ours,
        "ideal": ideal,
        "ratio": ours["seconds"] / ideal,
        "target": 1.15,
    }


def extraction_results(data: Path) -> list[dict[str, Any]]:
    """Measures (a) to (d), prints a table, and returns its rows."""
    rows = int(os.environ.get("ROWS", "200000"))
    large = bool(os.environ.get("LARGE"))
    results = [at_zero_latency(data, each) for each in (rows, *((2_000_000,) if large else ()))]
    results += against_rivals(data, rows)
    results.append(at_real_latency(data, 100_000, 12))
    results.append(at_real_latency(data, 2_000_000 if large else rows, 1))
    entities, days = os.environ.get("BACKFILL", "1x365").split("x")
    results += through_dagster(data, int(entities), int(days))
    table = Table("what", "s", "CPU s", "MB over idle", "against s", "ratio", "target")
    for each in results:
        ours = each["ours"]
        limit = each["bare"]["seconds"] if "bare" in each else each.get("ideal", each.get("limit"))
        memory = ours.get("megabytes_over_idle")
        table.add_row(
            each["what"],
            f"{ours['seconds']:.2f}",
            f"{ours['cpu_seconds']:.2f}",
            "" if memory is None else f"{memory:.0f}",
            f"{limit:.2f}",
            f"{each['ratio']:.2f}",
            f"{'>=' if each.get('at_least') else '<='} {each['target']}",
        )
    for each in results:
        if "transactions_per_million" in each:
            per = each["transactions_per_million"]
            table.add_row("(b) transactions a million rows", *[""] * 4, f"{per:.0f}", "<= 260")
    Console(width=130).print(table)
    return results


def many_entities_results(data: Path) -> list[dict[str, Any]]:
    """(e): one entity's night in a company of hundreds."""
    lines = int(os.environ.get("LINES", "11000000" if os.environ.get("LARGE") else "2000000"))
    with tempfile.TemporaryDirectory(dir=data) as scratch:
        return entities_results(Path(scratch), lines)


#: Each measures, prints its table and returns its rows; all of them are written to one file.
SECTIONS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "extraction": extraction_results,
    "backfill": backfill_results,
    "loading": loading_results,
    "entities": many_entities_results,
    "posting": posting_results,
    "sandbox": scale_results,
}


def main() -> None:
    """Runs the sections that are named, or all of them, and writes the JSON."""
    # Some machines are set to forget what Python compiled: a process then compiles all that it
    # imports, for seconds, which nobody's own machine does.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    data = Path("data") / "benchmarks"
    data.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:] or list(SECTIONS)
    results = [row for name in wanted for row in SECTIONS[name](data)]
    out = data.parent / "benchmarks.json"
    out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
