"""What a code location costs: to load, against an empty one, and to look at in the UI.

100 entities x 1,500 days x 40 objects; one object gets its whole history, 150,000 partitions, in
100 runs of 1,500: an entity's each. The questions are those that the page of an asset's partitions
asks (Dagster 1.13), and are asked after every run. A run's history is the two events of one
partition, planned and materialized, copied for each of the others in Dagster's SQLite file.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import dagster as dg
import httpx
from rich.console import Console
from rich.table import Table

from intacct_dagster.config import read_settings
from intacct_dagster.defs import raw_key
from intacct_dagster.defs.partitions import entity_days, partition_key

HERE = Path(__file__).resolve().parent
ENTITIES, DAYS, OBJECTS = 100, 1500, 40
FIRST = date(2020, 1, 1)
_UP_SECONDS = 300

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
        "DAGSTER_GRPC_TIMEOUT_SECONDS": "300",  # as `intacct-dagster dev` and docs/operations.md
    }


class History:
    """The history of the first object, an entity's run at a time."""

    def __init__(self, folder: Path) -> None:
        settings = read_settings(settings_text(), file=folder / "intacct.yaml")
        self.key = raw_key(settings.objects[0].name)
        self.entities = [each.id for each in settings.entities]
        self._days = [FIRST + timedelta(n) for n in range(DAYS)]
        self._instance = dg.DagsterInstance.from_config(str(folder))

        @dg.asset(key=self.key, partitions_def=entity_days(settings))
        def one() -> None: ...

        # Not a partition of any entity's run: this one is there before, and has only to be copied.
        dg.materialize(
            [one],
            partition_key=partition_key(self.entities[0], self._days[0]),
            instance=self._instance,
        )
        (self._file,) = (path for path in folder.rglob("index.db") if path.parent.name == "runs")
        with closing(sqlite3.connect(self._file)) as connection:
            columns = [row[1] for row in connection.execute("PRAGMA table_info(event_logs)")]
            self._copied = ", ".join(
                each for each in columns if each not in ("id", "partition", "run_id")
            )
            self._events = [
                number
                for (number,) in connection.execute(
                    "SELECT id FROM event_logs WHERE partition IS NOT NULL ORDER BY id"
                )
            ]

    def add_run(self, entity: str) -> None:
        """All days of an entity, planned and then materialized by one run."""
        run_id, keys = str(uuid.uuid4()), [partition_key(entity, day) for day in self._days]
        with closing(sqlite3.connect(self._file)) as connection, connection:
            for number in self._events:
                connection.executemany(
                    f"INSERT INTO event_logs ({self._copied}, partition, run_id)"
                    f" SELECT {self._copied}, ?, ? FROM event_logs WHERE id = ?",
                    [(str(each), run_id, number) for each in keys],
                )
        # the last of them, which Dagster keeps as the asset's latest
        self._instance.report_runless_asset_event(
            dg.AssetMaterialization(self.key, partition=keys[-1])
        )

    def forget_the_sum(self) -> None:
        """Dagster has never looked at this history."""
        with closing(sqlite3.connect(self._file)) as connection, connection:
            connection.execute("UPDATE asset_keys SET cached_status_data = NULL")

    def close(self) -> None:
        """Ends the instance."""
        self._instance.dispose()


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
    """(its GraphQL address, seconds until it knew so many assets) of a webserver.

    Its code has a process of its own, which others find by the folder's workspace.yaml.
    """
    code, port = free_port(), free_port()
    server = {"host": "127.0.0.1", "port": code, "location_name": "bench"}
    # JSON is YAML
    (folder / "workspace.yaml").write_text(json.dumps({"load_from": [{"grpc_server": server}]}))
    began = time.perf_counter()
    address = f"http://127.0.0.1:{port}/graphql"
    served = (*("api", "grpc", "-m", module), *("-h", "127.0.0.1", "-p", str(code)))
    where = ("-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port))
    with process_of(folder, (sys.executable, "-m", "dagster", *served)):
        until_it_listens(code)
        with process_of(folder, (sys.executable, "-m", "dagster_webserver", *where)):
            while time.perf_counter() - began < _UP_SECONDS:
                try:
                    if len(asked(address, _NODES)["assetNodes"]) >= assets:
                        break
                except (httpx.HTTPError, KeyError):
                    time.sleep(0.1)
            yield address, time.perf_counter() - began


def free_port() -> int:
    """A port that nobody listens at."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def until_it_listens(port: int) -> None:
    """Waits for a server of this machine."""
    deadline = time.monotonic() + _UP_SECONDS
    while time.monotonic() < deadline:
        with closing(socket.socket()) as caller:
            if caller.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)


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
    key = {"path": ["raw", "accounts_receivable_invoice"]}
    after_runs: list[float] = []
    with closing(History(folder)) as history, webserver(folder) as (address, _):
        for entity in history.entities:
            history.add_run(entity)
            after_runs.append(seconds_of(address, _DIMENSIONS, key=key))
    with webserver(folder) as (address, up):
        page = seconds_of(address, _DIMENSIONS, key=key)
        graph = seconds_of(address, _NODES)
        node = asked(address, _DIMENSIONS, key=key)["assetNodeOrError"]
    history.forget_the_sum()
    with webserver(folder) as (address, _):
        summed_up = seconds_of(address, _DIMENSIONS, key=key)
    partitions = ENTITIES * DAYS
    assert node["partitionStats"]["numMaterialized"] == partitions, node["partitionStats"]
    size = f"{ENTITIES} entities x {DAYS:,} days x {OBJECTS} objects"
    page_of = f"the partitions page of {partitions:,}"
    results = [
        {
            "what": f"`dagster definitions validate`, {size}: more than an empty project",
            "seconds": ours - empty,
            "target": 3.0,
        },
        {"what": "the webserver, until it knows all assets", "seconds": up, "target": None},
        {"what": "all assets of the graph", "seconds": graph, "target": 2.0},
        {
            "what": f"the partitions page, asked after each of {ENTITIES} runs of {DAYS:,}: median",
            "seconds": median(after_runs),
            "target": 2.0,
        },
        {"what": "the slowest of them", "seconds": max(after_runs), "target": 2.0},
        {"what": f"{page_of}, after a start", "seconds": page, "target": 2.0},
        {
            "what": f"{page_of}, asked for the first time when all of it is there",
            "seconds": summed_up,
            "target": 2.0,
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
