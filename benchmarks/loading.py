"""What a code location costs: to load, against an empty one, and to look at in the UI.

100 entities x 1,500 days x 40 objects; one object has its whole history, 150,000 partitions.
The questions are those that the page of an asset's partitions asks (Dagster 1.13). The history is
one event of a run, copied for each partition in Dagster's SQLite file: writing it the usual way
would take half an hour.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
ENTITIES, DAYS, OBJECTS = 100, 1500, 40
FIRST = date(2020, 1, 1)
_UP_SECONDS = 120

_EMPTY = """
import dagster as dg

@dg.asset
def nothing() -> None: ...

defs = dg.Definitions([nothing])
"""
_SETTINGS = """
company: bench
base_url: http://127.0.0.1:9/ia/api/v1
auth: {{grant: client_credentials, client_id: bench, client_secret: bench}}
entities: [{entities}]
start_date: {first}
end_date: {last}
objects: [{objects}]
feeds:
  sales:
    files: sales/*.csv
    object: accounts-receivable/invoice
    source_id: ref
    entity: entity
    date: day
    columns: {{amount: decimal}}
    match_on: referenceNumber
    compare: {{totalTxnAmount: amount}}
    payload: {{referenceNumber: ref, customer.id: customer, lines: {{txnAmount: amount}}}}
"""
_DIMENSIONS = """
query ($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode {
      partitionKeysByDimension { name type partitionKeys }
      assetPartitionStatuses {
        __typename
        ... on MultiPartitionStatuses {
          primaryDimensionName
          ranges {
            primaryDimStartKey
            primaryDimEndKey
            secondaryDim {
              __typename
              ... on DefaultPartitionStatuses { materializedPartitions failedPartitions }
              ... on TimePartitionStatuses { ranges { status startKey endKey } }
            }
          }
        }
      }
      partitionStats { numMaterialized numPartitions numFailed numMaterializing }
    }
  }
}
"""
_NODES = "{ assetNodes { id assetKey { path } groupName isPartitioned kinds } }"


def settings_text() -> str:
    """A company with a lot of everything."""
    names = ["accounts-receivable/invoice", *(f"bench/object-{n}" for n in range(1, OBJECTS))]
    return _SETTINGS.format(
        entities=", ".join(f"{{id: E{n:03}, user: u{n:03}}}" for n in range(ENTITIES)),
        first=FIRST,
        last=FIRST + timedelta(DAYS - 1),
        objects=", ".join(names),
    )


def validated(module: str, folder: Path) -> float:
    """Seconds that `dagster definitions validate` takes: the better of two."""
    best = float("inf")
    for _ in range(2):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "dagster", "definitions", "validate", "-m", module],
            check=True,
            cwd=folder,
            env=environment(folder),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_UP_SECONDS,
        )
        best = min(best, time.perf_counter() - began)
    return best


def environment(folder: Path) -> dict[str, str]:
    """The processes' environment: their settings and history are in the folder."""
    return {
        **os.environ,
        "INTACCT_CONFIG": str(folder / "intacct.yaml"),
        "DAGSTER_HOME": str(folder),
        "PYTHONPATH": os.pathsep.join((str(folder), str(HERE))),
        "PYTHONWARNINGS": "ignore",
    }


def write_history(folder: Path) -> int:
    """All partitions of the first object as materialized; how many there are."""
    from intacct_dagster.config import read_settings
    from intacct_dagster.defs import raw_key
    from intacct_dagster.defs.partitions import entity_days

    settings = read_settings(settings_text(), file=folder / "intacct.yaml")
    key = raw_key(settings.objects[0].name)
    keys = list(entity_days(settings).get_partition_keys())
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=keys[0]))
    files = [
        path for path in folder.rglob("index.db") if "event_log" in str(path) or path.is_file()
    ]
    with closing(sqlite3.connect(files[0])) as connection, connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(event_logs)")]
        copied = [each for each in columns if each not in ("id", "partition")]
        (number,) = connection.execute(
            "SELECT max(id) FROM event_logs WHERE partition IS NOT NULL"
        ).fetchone()
        connection.executemany(
            f"INSERT INTO event_logs ({', '.join(copied)}, partition)"
            f" SELECT {', '.join(copied)}, ? FROM event_logs WHERE id = ?",
            [(each, number) for each in keys[1:]],
        )
    return len(keys)


@contextmanager
def process_of(folder: Path, command: Sequence[str]) -> Iterator[None]:
    """A process over the folder's settings and history, ended with all that it started."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


@contextmanager
def webserver(
    folder: Path, module: str = "intacct_dagster.definitions", assets: int = OBJECTS
) -> Iterator[tuple[str, float]]:
    """(its GraphQL address, seconds until it knew so many assets) of a webserver."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.perf_counter()
    address = f"http://127.0.0.1:{port}/graphql"
    where = ("-m", module, "-h", "127.0.0.1", "-p", str(port))
    with process_of(folder, (sys.executable, "-m", "dagster_webserver", *where)):
        while time.perf_counter() - began < _UP_SECONDS:
            try:
                if len(asked(address, _NODES)["assetNodes"]) >= assets:
                    break
            except (httpx.HTTPError, KeyError):
                time.sleep(0.1)
        yield address, time.perf_counter() - began


def asked(address: str, query: str, **variables: Any) -> dict[str, Any]:
    """The data that a query gives."""
    answer = httpx.post(address, json={"query": query, "variables": variables}, timeout=120).json()
    if "errors" in answer:
        raise KeyError(str(answer["errors"])[:500])
    data: dict[str, Any] = answer["data"]
    return data


def loading_results(data: Path) -> list[dict[str, Any]]:
    """Loading against an empty project, and the page of an asset's partitions."""
    data.mkdir(parents=True, exist_ok=True)
    folder = data.resolve() / "loading"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "empty_location.py").write_text(_EMPTY, encoding="utf-8")
    (folder / "intacct.yaml").write_text(settings_text(), encoding="utf-8")
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    empty = validated("empty_location", folder)
    ours = validated("intacct_dagster.definitions", folder)
    partitions = write_history(folder)
    key = {"path": ["raw", "accounts_receivable_invoice"]}
    with webserver(folder) as (address, _):
        summed_up = seconds_of(address, _DIMENSIONS, key=key)
    with webserver(folder) as (address, up):
        page = seconds_of(address, _DIMENSIONS, key=key)
        graph = seconds_of(address, _NODES)
        node = asked(address, _DIMENSIONS, key=key)["assetNodeOrError"]
    assert node["partitionStats"]["numMaterialized"] == partitions == ENTITIES * DAYS
    size = f"{ENTITIES} entities x {DAYS:,} days x {OBJECTS} objects"
    results = [
        {
            "what": f"`dagster definitions validate`, {size}: more than an empty project",
            "seconds": ours - empty,
            "target": 3.0,
        },
        {"what": "the webserver, until it knows all assets", "seconds": up, "target": None},
        {"what": "all assets of the graph", "seconds": graph, "target": 2.0},
        {
            "what": f"the partitions page of {partitions:,}, after a start",
            "seconds": page,
            "target": 2.0,
        },
        {
            "what": "the same, when Dagster sums up their history for the first time",
            "seconds": summed_up,
            "target": None,
        },
    ]
    table = Table("loading", "seconds", "target", title="Loading", title_justify="left")
    for each in results:
        table.add_row(each["what"], f"{each['seconds']:.2f}", str(each["target"] or ""))
    Console().print(table)
    return results


def seconds_of(address: str, query: str, **variables: Any) -> float:
    """How long the answer to a query takes."""
    began = time.perf_counter()
    asked(address, query, **variables)
    return time.perf_counter() - began
