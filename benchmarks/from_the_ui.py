"""One backfill of years, from the UI, into an empty warehouse: what it costs beyond the pull and
beyond Dagster itself.

Starts a code server, a webserver and a daemon over the project's dagster.yaml, launches one
backfill of all partitions of all objects by the mutation that the UI's button sends, and waits
until it is over. Then the same with assets that do nothing (Dagster's floor, through the same queue
into the same kind of history), and the same pull without Dagster. The pages come from
`page_server.py`, with rows on all days.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import httpx
from backfill import OBJECTS, settings_of, settings_text
from loading import asked, process_of, webserver
from posting import served_by
from rich.console import Console
from rich.table import Table

from intacct_dagster.defs import raw_key
from intacct_dagster.defs.partitions import entity_days
from intacct_dagster.warehouse.raw import table_name

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
ROWS = 20_000
_PATIENCE_SECONDS = 3 * 3600

_LAUNCH = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
_STATE = """
query ($id: String!, $runs: RunsFilter!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } }
  runsOrError(filter: $runs) { ... on Runs { results { status startTime endTime } } }
}
"""
_COUNTED = """
query ($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode { partitionStats { numMaterialized numFailed numPartitions } }
  }
}
"""


def backfilled(folder: Path, module: str, port: str, entities: int, days: int) -> dict[str, Any]:
    """Launches the backfill of a code location's assets, and tells how it went."""
    folder.mkdir()
    settings = settings_of(port, entities, days, folder)
    (folder / "intacct.yaml").write_text(settings_text(port, entities, days), encoding="utf-8")
    shutil.copy(PROJECT / "dagster.yaml", folder)
    keys = [{"path": list(raw_key(each.name).path)} for each in settings.objects]
    partitions = list(entity_days(settings).get_partition_keys())
    daemon = (str(Path(sys.executable).with_name("dagster-daemon")), "run", "-w", "workspace.yaml")
    before = processor_seconds()
    with webserver(folder, module, OBJECTS) as (address, _), process_of(folder, daemon):
        began = time.time()
        launched = asked(
            address,
            _LAUNCH,
            params={"assetSelection": keys, "partitionNames": partitions, "title": "all of it"},
        )["launchPartitionBackfill"]
        assert "backfillId" in launched, launched
        state, runs = until_over(address, launched["backfillId"])
        over = time.time()
        counted = [
            asked(address, _COUNTED, key=key)["assetNodeOrError"]["partitionStats"] for key in keys
        ]
    assert state == "COMPLETED_SUCCESS", (state, runs)
    assert all(each["numMaterialized"] == len(partitions) for each in counted), counted
    return {
        "seconds": over - began,
        "cpu_seconds": processor_seconds() - before,
        "until_the_last_run_ended": max(each["endTime"] for each in runs) - began,
        "runs": Counter(each["status"] for each in runs),
        "partitions": sum(each["numMaterialized"] for each in counted),
    }


def processor_seconds() -> float:
    """What processes that are over took of the processor, with all that they had started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def until_over(address: str, backfill: str) -> tuple[str, list[dict[str, Any]]]:
    """The state of a backfill that is over, and its runs."""
    runs = {"tags": [{"key": "dagster/backfill", "value": backfill}]}
    deadline = time.monotonic() + _PATIENCE_SECONDS
    printed = ""
    while time.monotonic() < deadline:
        time.sleep(2)
        try:
            found = asked(address, _STATE, id=backfill, runs=runs)
        except httpx.HTTPError:
            continue  # busy
        state = found["partitionBackfillOrError"]["status"]
        results: list[dict[str, Any]] = found["runsOrError"]["results"]
        now = f"{state} {dict(Counter(each['status'] for each in results))}"
        if now != printed:
            print(f"{time.strftime('%H:%M:%S')} {now}", file=sys.stderr, flush=True)
            printed = now
        if state not in ("REQUESTED", "CANCELING", "FAILING"):
            return state, results
    raise TimeoutError(f"the backfill was not over in {_PATIENCE_SECONDS} s: {printed}")


def pulled(port: str, entities: int, days: int) -> dict[str, Any]:
    """The same rows by the extractor alone, in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [
                *(sys.executable, str(HERE / "backfill.py"), "pull", port),
                *(str(entities), str(days), scratch),
            ],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=_PATIENCE_SECONDS,
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def stored(warehouse: Path) -> dict[str, tuple[int, int]]:
    """(rows, distinct keys) of each object in the warehouse, over its entities."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        return {
            name: connection.execute(
                f'SELECT count(*), count(DISTINCT (entity_id, "key")) FROM raw.{name}'
            ).fetchall()[0]
            for name in (table_name(f"bench/object-{n}") for n in range(OBJECTS))
        }


def backfill_results(data: Path) -> list[dict[str, Any]]:
    """Measures the three, prints a table, and returns its row."""
    entities, days = map(int, os.environ.get("FROM_THE_UI", "2x730").split("x"))
    apart = days * 86_400 // ROWS
    with (
        tempfile.TemporaryDirectory(dir=data) as scratch,
        served_by("page_server.py", data, ROWS, 0.0, apart) as port,
    ):
        folder = Path(scratch).resolve()
        ours = backfilled(folder / "ours", "intacct_dagster.definitions", port, entities, days)
        found = stored(folder / "ours" / "warehouse.duckdb")
        floor = backfilled(folder / "floor", "empty_assets", port, entities, days)
        pull = pulled(port, entities, days)
    served = entities * ROWS
    assert set(found.values()) == {(served, served)}, (served, found)
    limit = pull["seconds"] + floor["seconds"]
    result = {
        "what": f"backfill from the UI, {entities} entities x {days} days x {OBJECTS} objects",
        "rows": sum(rows for rows, _ in found.values()),
        "ours": ours,
        "floor": floor,
        "pull": {**pull, "runs": {}},
        "ratio": ours["seconds"] / limit,
        "ratio_of_processor": ours["cpu_seconds"] / (pull["cpu_seconds"] + floor["cpu_seconds"]),
    }
    table = Table(
        *("", "s from click to end", "s of the processor", "runs", "partitions"),
        title=f"{result['what']}: {result['rows']:,} rows, as many as were served",
        title_justify="left",
    )
    for name, each in (
        ("through Dagster, from the UI", ours),
        ("Dagster's floor: assets that do nothing", floor),
        ("the pull without Dagster", result["pull"]),
    ):
        runs = ", ".join(f"{number} {state}" for state, number in (each["runs"]).items())
        table.add_row(
            name,
            f"{each['seconds']:.0f}",
            f"{each['cpu_seconds']:.0f}",
            runs,
            f"{each['partitions']:,}",
        )
    table.add_row(
        "the first, against the sum of the others",
        f"{result['ratio']:.2f}",
        f"{result['ratio_of_processor']:.2f}",
        *("", ""),
    )
    Console(width=120).print(table)
    return [result]
