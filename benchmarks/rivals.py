"""The same rows by what others use: dlt's rest_api source, and Fyle's SDK with pandas.

`python rivals.py dlt|sdk|sdk-text PORT ROWS FOLDER` runs in an environment of its own, which has
both and not this project, and prints one line of JSON. Imports are not counted. `rival` makes the
environment and runs one.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from page_server import COLUMNS

PAGE = 4000
NEEDED = ("dlt[duckdb]", "sageintacctrestsdk", "pandas", "duckdb")


def by_dlt(port: str, rows: int, folder: Path) -> Callable[[], int]:
    """A pipeline as dlt's documentation has it, with the paging that the query service needs."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    import dlt
    from dlt.sources.helpers.rest_client.paginators import BasePaginator
    from dlt.sources.rest_api import rest_api_source

    class NextInMeta(BasePaginator):
        def update_state(self, response: Any, data: Any = None) -> None:
            self.following = response.json()["ia::meta"]["next"]
            self._has_next_page = self.following is not None

        def update_request(self, request: Any) -> None:
            request.json["start"] = self.following

    def work() -> int:
        body = {"object": "bench/object", "fields": list(COLUMNS), "start": 1, "size": PAGE}
        source = rest_api_source(
            {
                "client": {"base_url": f"http://127.0.0.1:{port}/ia/api/v1/"},
                "resources": [
                    {
                        "name": "rows",
                        "endpoint": {
                            "path": "services/core/query",
                            "method": "POST",
                            "json": body,
                            "data_selector": "'ia::result'",
                            "paginator": NextInMeta(),
                        },
                    }
                ],
            }
        )
        pipeline = dlt.pipeline(
            "bench",
            pipelines_dir=str(folder / "dlt"),
            destination=dlt.destinations.duckdb(str(folder / "dlt.duckdb")),
            dataset_name="raw",
        )
        pipeline.run(source)
        with pipeline.sql_client() as client:
            return int(client.execute_sql("SELECT count(*) FROM rows")[0][0])

    return work


def by_sdk(port: str, rows: int, folder: Path, *, typed: bool) -> Callable[[], int]:
    """The SDK's pages into a data frame, and that into DuckDB: as texts, or `typed` as ours are.

    By pandas: it is what amounts that add up, dates and moments take there.
    """
    from decimal import Decimal

    import duckdb
    import intacctsdk.apis.api_base as api
    import pandas as pd

    api.BASE_URL = f"http://127.0.0.1:{port}/ia/api/v1"

    def work() -> int:
        source = api.ApiBase(object_path="/objects/bench/object", page_size=PAGE)
        source.update_access_token("a")
        records: list[dict[str, Any]] = []
        for page in source.get_all_generator(fields=list(COLUMNS)):
            records += page
        frame = pd.DataFrame(records)
        for path, (_, form) in COLUMNS.items() if typed else ():
            if form == "date-time":
                frame[path] = pd.to_datetime(frame[path])
            elif form == "date":
                frame[path] = pd.to_datetime(frame[path]).dt.date
            elif form is not None:
                frame[path] = frame[path].map(Decimal)
        connection = duckdb.connect(str(folder / "sdk.duckdb"))
        connection.execute("CREATE TABLE rows AS SELECT * FROM frame")
        return int(connection.execute("SELECT count(*) FROM rows").fetchall()[0][0])

    return work


def environment(data: Path) -> Path:
    """The Python of an environment with both in it, made where it is missing."""
    folder = data / "venv-rivals"
    python = folder / "bin" / "python"
    stamp = folder / ".installed"
    if not stamp.exists():
        uv = shutil.which("uv")
        if uv:
            subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True)
            install = [uv, "pip", "install", "-q", "--python", str(python)]
        else:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            install = [str(python), "-m", "pip", "install", "-q"]
        subprocess.run([*install, *NEEDED], check=True)
        stamp.touch()
    return python


def rival(data: Path, which: str, port: str, rows: int, folder: Path) -> dict[str, Any]:
    """One rival's measures."""
    done = subprocess.run(
        [environment(data), __file__, which, port, str(rows), folder],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=1800,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["dlt" | "sdk" | "sdk-text" as which, port, rows, folder]:
            given = port, int(rows), Path(folder)
            run = by_dlt(*given) if which == "dlt" else by_sdk(*given, typed=which == "sdk")
            began, cpu = time.perf_counter(), time.process_time()
            got = run()
            assert got == int(rows), got
            print(
                json.dumps(
                    {
                        "seconds": round(time.perf_counter() - began, 3),
                        "cpu_seconds": round(time.process_time() - cpu, 3),
                        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                        "rows": got,
                    }
                )
            )
        case _:
            sys.exit(__doc__)
