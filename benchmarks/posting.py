"""How near posting is to what is possible: documents in chunks of 500, six requests in flight.

`python posting.py engine PORT ITEMS FOLDER` and `python posting.py graph PORT ITEMS FOLDER` print
one line of JSON about one measured posting; a process of its own, so that its time is its own.
`posting_results` runs both and holds them against the ideal: requests x latency / in flight.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console
from rich.table import Table

from intacct_dagster.client import ClientCredentials, Intacct
from intacct_dagster.config import read_settings
from intacct_dagster.defs import (
    build_definitions,
    current_key,
    feed_key,
    plan_key,
    posted_key,
    raw_key,
    reconciled_key,
)
from intacct_dagster.posting.engine import PostingEngine
from intacct_dagster.posting.results import PostingTarget
from intacct_dagster.state import open_state
from intacct_dagster.state.ledger import Item, Ledger
from intacct_dagster.warehouse import Warehouse

HERE = Path(__file__).parent
DAY = date(2026, 1, 1)
ENTITY = "E110"
OBJECT = "accounts-receivable/invoice"
CHUNK = 500
IN_FLIGHT = 6
LATENCY = 0.3

_SETTINGS = """
company: bench
base_url: http://127.0.0.1:{port}/ia/api/v1
auth: {{grant: client_credentials, client_id: bench, client_secret: bench}}
entities: [{{id: {entity}, user: bench}}]
start_date: {day}
end_date: {day}
objects: [{object}]
feeds:
  sales:
    files: feed/*.csv
    object: {object}
    source_id: ref
    line_id: line_no
    entity: entity
    date: day
    columns: {{day: date, amount: decimal, line_amount: decimal}}
    control_totals: {{amount: line_amount}}
    match_on: referenceNumber
    compare: {{totalTxnAmount: amount}}
    payload:
      referenceNumber: ref
      customer.id: customer
      invoiceDate: day
      dueDate: day
      lines:
        txnAmount: line_amount
        glAccount.id: account
        dimensions.location.id: entity
posting: {{enabled: true}}
"""


def engine(port: str, items: int, folder: Path) -> dict[str, Any]:
    """The engine alone: the plan is in the ledger, and its chunks go out."""
    documents = [Item(f"S{n:07}", DAY, "12.50", _payload(n)) for n in range(items)]
    state = open_state(f"sqlite:///{folder}/state.db")
    ledger = Ledger(state, "bench")
    base_url = f"http://127.0.0.1:{port}/ia/api/v1"
    grant = ClientCredentials("bench", "bench")
    with Intacct("bench", base_url, grant, {ENTITY: "bench"}, concurrency=IN_FLIGHT) as intacct:
        posting = PostingEngine(intacct.entity(ENTITY), ledger, in_flight=IN_FLIGHT)
        began = time.perf_counter()
        plan = posting.plan(
            PostingTarget("sales", OBJECT, "referenceNumber"),
            documents,
            run_id="bench",
            chunk_size=CHUNK,
            known_until=datetime(2026, 1, 1, tzinfo=UTC),
        )
        planned, cpu = time.perf_counter(), time.process_time()
        sent = posting.send(*(chunk.chunk_id for chunk in plan.chunks))
        seconds = time.perf_counter() - planned
        spent = intacct.usage
    state.dispose()
    assert sum(each.posted for each in sent) == items
    return {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu,
        "steps": {"planned before in": planned - began},
        "transactions": spent.transactions,
    }


def _payload(number: int) -> bytes:
    document = {
        "referenceNumber": f"S{number:07}",
        "customer": {"id": f"C{number % 900}"},
        "invoiceDate": DAY.isoformat(),
        "dueDate": DAY.isoformat(),
        "lines": [
            {
                "txnAmount": "12.50",
                "glAccount": {"id": "40100"},
                "dimensions": {"location": {"id": ENTITY}},
            }
        ],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def graph(port: str, items: int, folder: Path) -> dict[str, Any]:
    """The same documents from a file through the assets; what is measured is `posting/sales`."""
    _write_feed(folder / "feed", items)
    text = _SETTINGS.format(port=port, entity=ENTITY, day=DAY, object=OBJECT)
    settings = read_settings(text, file=folder / "intacct.yaml")
    job = build_definitions(settings).resolve_implicit_global_asset_job_def()
    (folder / "dagster").mkdir()

    def run(instance: dg.DagsterInstance, *keys: dg.AssetKey) -> dg.ExecuteInProcessResult:
        result = job.execute_in_process(
            instance=instance,
            asset_selection=list(keys),
            partition_key=f"{DAY}|{ENTITY}" if keys[0] != current_key(OBJECT) else None,
            run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
        )
        assert result.success
        return result

    with dg.DagsterInstance.local_temp(str(folder / "dagster")) as instance:
        run(instance, raw_key(OBJECT))
        run(instance, current_key(OBJECT))
        run(instance, feed_key("sales"))
        run(instance, reconciled_key("sales"))
        run(instance, plan_key("sales"))
        began, cpu = time.perf_counter(), time.process_time()
        result = run(instance, posted_key("sales"))
        seconds = time.perf_counter() - began
        cpu = time.process_time() - cpu
    checks = {each.check_name: each.passed for each in result.get_asset_check_evaluations()}
    assert all(checks.values()), checks
    posted = Warehouse(settings.warehouse).frame(
        "SELECT count(*) AS posted FROM posting.sales WHERE state = 'posted'"
    )
    assert posted["posted"][0] == items, "a posting that posts nothing is soon done"
    steps: dict[str, float] = {}
    for event in result.all_events:
        if event.is_step_success:
            name = str(event.step_key).split(".")[-1].split("[")[0]
            duration = event.step_success_data.duration_ms / 1000
            steps[name] = steps.get(name, 0.0) + duration
    return {"seconds": seconds, "cpu_seconds": cpu, "steps": steps}


def _write_feed(folder: Path, items: int) -> None:
    folder.mkdir()
    with (folder / "sales.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(
            ["ref", "line_no", "entity", "customer", "day", "amount", "account", "line_amount"]
        )
        for n in range(items):
            out.writerow([f"S{n:07}", 1, ENTITY, f"C{n % 900}", DAY, "12.50", "40100", "12.50"])


@contextmanager
def served_by(server: str, *arguments: object) -> Iterator[str]:
    """The port that a server of this folder prints first, for the length of the block."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / server), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)


def posting_results(data: Path, items: int = 100_000) -> list[dict[str, Any]]:
    """Measures both, prints a table, and returns its rows."""
    results: list[dict[str, Any]] = []
    posts = -(-items // CHUNK)
    for what, target in (("engine", 1.15), ("graph", 1.5)):
        with (
            tempfile.TemporaryDirectory(dir=data) as folder,
            served_by("posting_server.py", LATENCY) as port,
        ):
            done = subprocess.run(
                [sys.executable, __file__, what, port, str(items), folder],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                timeout=900,
                # as `definitions.py` has it
                env={**os.environ, "DAGSTER_EVENT_BATCH_SIZE": "1000"},
            )
        measured = json.loads(done.stdout.splitlines()[-1])
        ideal = posts * LATENCY / IN_FLIGHT
        results.append(
            {
                "what": f"{items:,} documents at {LATENCY * 1000:.0f} ms: the {what}",
                "measured": measured,
                "ideal": ideal,
                "ratio": measured["seconds"] / ideal,
                "target": target,
            }
        )
    table = Table("posting", "s", "CPU s", "limit s", "ratio", "target", "of that")
    for each in results:
        measured = each["measured"]
        table.add_row(
            each["what"],
            f"{measured['seconds']:.1f}",
            f"{measured['cpu_seconds']:.1f}",
            f"{each['ideal']:.1f}",
            f"{each['ratio']:.2f}",
            f"{each['target']}",
            ", ".join(f"{name} {seconds:.1f} s" for name, seconds in measured["steps"].items()),
        )
    Console(width=150).print(table)
    return results


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["engine", port, items, folder]:
            print(json.dumps(engine(port, int(items), Path(folder))))
        case ["graph", port, items, folder]:
            print(json.dumps(graph(port, int(items), Path(folder))))
        case _:
            sys.exit(__doc__)
