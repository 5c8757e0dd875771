"""How fast the sandbox serves a large company from disk: pages of 4,000 rows of 20 fields, on one
core, as the walk asks for them. Beside it the plain page server, which only copies bytes.

`LARGE=1 make bench` takes 100 entities, 3 years and 5 million lines; else it is a tenth of that.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from page_server import COLUMNS
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
ROWS_A_PAGE = 4000
PAGES = 60
TARGET = 100_000  # rows a second
LINE = "general-ledger/journal-entry-line"
FIELDS = (
    *("key", "audit.modifiedDateTime", "entity.id", "id", "journalEntry.id", "lineNumber"),
    *("txnType", "txnAmount", "baseAmount", "entryDate", "description", "glAccount.id"),
    *("glAccount.name", "currency.txnCurrency", "currency.exchangeRate"),
    *("dimensions.location.id", "dimensions.department.id", "dimensions.customer.id"),
    *("audit.createdDateTime", "accountingPeriod.id"),
)
_CHANGED = re.compile(rb'"audit\.modifiedDateTime":"([^"]+)"')
_BEGINNING = "2000-01-01T00:00:00Z"


@dataclass
class Server:
    """A server process on a core of its own, where the system can say so."""

    process: subprocess.Popen[str]
    port: int

    def cpu(self) -> float:
        """Seconds of processor time that it has used."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii")
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def megabytes(self, what: str) -> float:
        """`VmRSS` now, `VmHWM` at most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"{what}:\s+(\d+)", status)
        return int(found[1]) / 1024 if found else 0.0


@contextmanager
def _on_one_core(*command: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the first line that it prints: then it is ready."""

    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    # Before it has any threads: they will be where it is.
    os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline()
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def _sandbox(state: Path, size: dict[str, int]) -> Iterator[Server]:
    options = [f"--{name}={value}" for name, value in size.items()]
    command = (sys.executable, "-m", "intacct_sandbox", "--port=0", "--tier=none")
    with _on_one_core(*command, f"--state={state}", *options) as (process, ready):
        yield Server(process, int(json.loads(ready)["base_url"].split(":")[2].split("/")[0]))


@contextmanager
def _page_server(data: Path, rows: int) -> Iterator[Server]:
    command = (sys.executable, str(HERE / "page_server.py"), str(data), str(rows), "0")
    with _on_one_core(*command) as (process, ready):
        yield Server(process, int(ready))


class _Client:
    """Asks for pages over one connection, and looks at nothing but the end of each."""

    def __init__(self, port: int, username: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        form = {
            "grant_type": "client_credentials",
            "client_id": "sandbox.app.sage.com",
            "client_secret": "sandbox-secret",
            "username": username,
        }
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = json.loads(self._post("/oauth2/token", urlencode(form).encode(), kind))
        self._headers = {
            "Authorization": f"Bearer {answer['access_token']}",
            "Content-Type": "application/json",
        }

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        self._connection.request("POST", f"/ia/api/v1{path}", body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content[:300]
        return content

    def page(self, **query: Any) -> bytes:
        """The answer to a query."""
        return self._post("/services/core/query", json.dumps(query).encode(), self._headers)


def _walk(server: Server, client: _Client, *, private: bool) -> dict[str, Any]:
    """Pages from the beginning, each at the change time that the one before ends with."""
    since, rows, pages = _BEGINNING, 0, 0
    cpu, wall = server.cpu(), time.perf_counter()
    while pages < PAGES:
        answer = client.page(
            object=LINE,
            fields=FIELDS,
            filters=[{"$gte": {"audit.modifiedDateTime": since}}],
            orderBy=[{"audit.modifiedDateTime": "asc"}, {"key": "asc"}],
            size=ROWS_A_PAGE,
            filterParameters={"includePrivate": private},
        )
        pages += 1
        left = int(answer[answer.rindex(b'"totalCount":') + 13 :].split(b",")[0])
        rows += min(left, ROWS_A_PAGE)
        since = _CHANGED.findall(answer[-4000:])[-1].decode()
        if left <= ROWS_A_PAGE:
            since = _BEGINNING
    return _result(rows, time.perf_counter() - wall, server.cpu() - cpu)


def _plain(data: Path) -> dict[str, Any]:
    """As many rows of as many columns from a server that has them ready as bytes."""
    rows = PAGES * ROWS_A_PAGE
    with _page_server(data, rows) as server:
        client = _Client(server.port, "bench@bench")
        cpu, wall = server.cpu(), time.perf_counter()
        for start in range(1, rows, ROWS_A_PAGE):
            client.page(object="bench", fields=list(COLUMNS), start=start, size=ROWS_A_PAGE)
        return _result(rows, time.perf_counter() - wall, server.cpu() - cpu)


def _result(rows: int, wall: float, cpu: float) -> dict[str, Any]:
    return {
        "rows": rows,
        "seconds": round(wall, 3),
        "cpu_seconds": round(cpu, 3),
        "rows_per_second": round(rows / wall),
        "rows_per_cpu_second": round(rows / max(cpu, 0.01)),
    }


def scale_results(data: Path) -> list[dict[str, Any]]:
    """Generates a large company, serves it, and prints what that took."""
    large = bool(os.environ.get("LARGE"))
    size = {"entities": 100, "years": 3, "lines": 5_000_000 if large else 500_000}
    if not large:
        size |= {"entities": 10, "years": 1}
    with tempfile.TemporaryDirectory(dir=data) as folder:
        state = Path(folder)
        begun = time.perf_counter()
        with _sandbox(state, size) as server:
            generated = time.perf_counter() - begun
            most_generating = server.megabytes("VmHWM")
        disk = sum(file.stat().st_size for file in state.rglob("*") if file.is_file()) / 1e6
        begun = time.perf_counter()
        with _sandbox(state, size) as server:
            started = time.perf_counter() - begun
            idle = server.megabytes("VmRSS")
            entity = _walk(server, _Client(server.port, "usa@demo|E110"), private=False)
            top = _walk(server, _Client(server.port, "top@demo"), private=True)
            most_serving = server.megabytes("VmHWM")
    plain = _plain(data)
    made = {
        "what": f"sandbox: {size['lines']:,} lines of {size['entities']} entities",
        "seconds_to_generate": round(generated, 1),
        "seconds_to_start_again": round(started, 1),
        "megabytes_on_disk": round(disk),
        "megabytes_at_most_generating": round(most_generating),
        "megabytes_idle": round(idle),
        "megabytes_over_idle": round(most_serving - idle),
    }
    served = [
        {"what": "sandbox: an entity's lines", **entity, "target": TARGET},
        {"what": "sandbox: all entities' lines", **top, "target": TARGET},
        {"what": "plain page server, bytes at hand", **plain},
    ]
    _print(made, served)
    return [made, *served]


def _print(made: dict[str, Any], served: list[dict[str, Any]]) -> None:
    console = Console(width=130)
    table = Table("pages of 4,000 on one core", "rows", "rows/s", "rows/CPU s", "target")
    for each in served:
        numbers = (each["rows"], each["rows_per_second"], each["rows_per_cpu_second"])
        table.add_row(each["what"], *(f"{one:,}" for one in numbers), f"{each.get('target', '')}")
    console.print(table)
    for name, value in made.items():
        console.print(f"{name.replace('_', ' ')}: {value}", highlight=False)


if __name__ == "__main__":
    folder = Path("data") / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    scale_results(folder)
