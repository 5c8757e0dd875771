"""The main job on the sandbox company: what `intacct-dagster demo` and `intacct-dagster dev` do."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import httpx
from rich.console import Console
from rich.table import Table

from intacct_dagster.cli.ui_guard import UIError, answers, blocked_port, guarded
from intacct_dagster.config import ConfigError, Settings, load_settings
from intacct_dagster.defs import (
    analyst_keys,
    build_definitions,
    crosswalk_key,
    current_key,
    feed_key,
    plan_key,
    posted_key,
    raw_key,
    reconciled_key,
)
from intacct_dagster.defs.partitions import partition_key
from intacct_dagster.state import open_state
from intacct_dagster.state.ledger import Entry, ItemState, Ledger
from intacct_dagster.warehouse import Warehouse
from intacct_sandbox import LAST_DAY, SandboxError, write_sales_feed

SEED = 1
FEED = "sales_invoices"
SANDBOX_FOLDER = Path("data/sandbox")
START_SECONDS = 60
STOP_SECONDS = 15


class DemoFailed(Exception):
    """A stage did not succeed; the message is what the run reported."""


# -- the sandbox beside us ---------------------------------------------------------------------


@contextmanager
def sandbox_beside(folder: Path, *, port: int) -> Iterator[str]:
    """The base URL of a sandbox whose books are in `folder`: one that runs already, or our own.

    Our own is a process of its own, so that client and server do not share an interpreter, and it
    ends with the block. Raises SandboxError if it does not start.
    """
    running = _running_sandbox(folder)
    if running is not None:
        yield running
        return
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [
            *(sys.executable, "-m", "intacct_sandbox"),
            *("--port", str(port), "--seed", str(SEED), "--state", str(folder)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield _ready_line(process)["base_url"]
    finally:
        _end(process)


def _running_sandbox(folder: Path) -> str | None:
    try:
        info = json.loads((folder / "sandbox.json").read_text(encoding="utf-8"))
        base_url = str(info["base_url"])
        httpx.get(_control(base_url, "health"), timeout=2).raise_for_status()
    except (OSError, ValueError, KeyError, httpx.HTTPError):
        return None  # not running, or left behind by one that was killed
    return base_url


def _ready_line(process: subprocess.Popen[str]) -> dict[str, Any]:
    if process.stdout is None or process.stderr is None:
        raise AssertionError("the sandbox was started with pipes")
    timer = threading.Timer(START_SECONDS, process.kill)
    timer.start()
    try:
        line = process.stdout.readline()
    finally:
        timer.cancel()
    if line.startswith("{"):
        ready: dict[str, Any] = json.loads(line)
        return ready

    process.kill()
    told = process.stderr.read().strip().removeprefix("Error: ")
    raise SandboxError(told or f"The sandbox was not ready within {START_SECONDS} s.")


def _control(base_url: str, what: str) -> str:
    """An address of the sandbox's control API, which no Intacct has."""
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc}/_sandbox/{what}"


def _sandbox_settings() -> Settings:
    settings = load_settings()
    if not settings.is_sandbox:
        raise ConfigError(
            f"intacct.yaml is set for {settings.base_url}. The demo posts invented invoices and "
            "runs only on the sandbox: unset INTACCT_BASE_URL, or use the project's own file."
        )
    if FEED not in settings.feeds:
        raise ConfigError(f"intacct.yaml has no feed {FEED}, which the demo posts.")
    # dagster.yaml and the feeds' files are relative to the project.
    os.chdir(settings.directory)
    return settings


def _write_feed(settings: Settings, days: int) -> None:

    folder = Path(settings.feeds[FEED].files[0]).parent
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("sales_*.csv"):
        old.unlink()
    write_sales_feed(folder, seed=SEED, days=days)


# -- demo --------------------------------------------------------------------------------------


@dataclass
class Summary:
    """What the demo did: the tables it prints, and the JSON it writes."""

    days: list[str]
    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    documents: dict[str, dict[str, int]] = field(default_factory=dict)
    held: dict[str, dict[str, int]] = field(default_factory=dict)
    rejected: dict[str, dict[str, int]] = field(default_factory=dict)
    lines_in_quarantine: int = 0
    requests: int = 0
    transactions: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    disagreements: list[str] = field(default_factory=list)

    @property
    def posted(self) -> int:
        """Documents that this run posted."""
        return sum(each["posted"] for each in self.documents.values())

    def as_json(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return {**self.__dict__, "posted": self.posted, "books_agree": not self.disagreements}


def run_demo(*, days: int, json_file: Path | None) -> bool:
    """Runs the main job for the company's last `days` days. True if the books agree afterwards."""

    console = Console()
    settings = _sandbox_settings()
    first = LAST_DAY - timedelta(days=days - 1)
    settings = settings.model_copy(update={"start_date": first, "end_date": LAST_DAY})
    asked = [first + timedelta(days=number) for number in range(days)]
    _write_feed(settings, days)
    with sandbox_beside(settings.directory / SANDBOX_FOLDER, port=0) as base_url:
        settings = settings.model_copy(update={"base_url": base_url})
        console.print(
            f"Company [bold]{settings.company}[/] on the sandbox at {base_url}: {first} to "
            f"{LAST_DAY}, {len(settings.entities)} entities, each with a session of its own",
            soft_wrap=True,
            highlight=False,
        )
        summary = Summary([day.isoformat() for day in asked])
        before = _requests(base_url)
        started = datetime.now(UTC)
        try:
            with _instance() as instance:
                _run_stages(_Runner(instance, settings, asked, console), summary)
        except DemoFailed as failed:
            console.print(f"[red]{failed}[/]", soft_wrap=True, highlight=False)
            return False
        after = _requests(base_url)
        summary.requests = after["requests"] - before["requests"]
        summary.transactions = after["transactions"] - before["transactions"]
        _collect(summary, settings, asked, started)
        summary.disagreements = _ask_the_books(base_url, settings)
    _print(console, summary)
    if json_file is not None:
        json_file.write_text(json.dumps(summary.as_json(), indent=2) + "\n", encoding="utf-8")
    return not summary.disagreements


def _run_stages(runner: _Runner, summary: Summary) -> None:
    objects = [each.name for each in runner.settings.objects]
    entities = [each.id for each in runner.settings.entities]
    stages: list[tuple[str, list[dg.AssetKey], Sequence[str | None]]] = [
        ("extract", [raw_key(name) for name in objects], entities),
        ("current", [current_key(name) for name in objects], [None]),
        ("reconcile", [feed_key(FEED), reconciled_key(FEED)], entities),
        ("plan", [plan_key(FEED)], entities),
        ("post", [posted_key(FEED)], entities),
        ("crosswalk", [crosswalk_key(FEED), *analyst_keys(runner.settings)], [None]),
    ]
    for stage, assets, each in stages:
        summary.seconds[stage] = runner.run(stage, assets, each)


class _Runner:
    """Runs assets of the code location in this process, recorded in the project's instance."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        settings: Settings,
        days: Sequence[date],
        console: Console,
    ) -> None:
        self.settings = settings
        self._instance = instance
        self._days = days
        self._console = console
        self._job = build_definitions(settings).resolve_implicit_global_asset_job_def()

    def run(
        self, stage: str, assets: Sequence[dg.AssetKey], entities: Sequence[str | None]
    ) -> float:
        """One run for each entity over all days (None: unpartitioned). Seconds it took."""
        started = time.monotonic()
        for entity in entities:
            about = f"{stage:<10} {entity or 'all entities'}"
            if self._console.is_terminal:
                with self._console.status(about):
                    seconds = self._run(assets, entity)
            else:
                seconds = self._run(assets, entity)
            self._console.print(f"{about:<24} {seconds:5.1f} s", highlight=False)
        return round(time.monotonic() - started, 2)

    def _run(self, assets: Sequence[dg.AssetKey], entity: str | None) -> float:
        started = time.monotonic()
        tags = {}
        if entity is not None:
            tags = {
                "dagster/asset_partition_range_start": partition_key(entity, self._days[0]),
                "dagster/asset_partition_range_end": partition_key(entity, self._days[-1]),
                "intacct/entity": entity,
            }
        result = self._job.execute_in_process(
            instance=self._instance,
            asset_selection=list(assets),
            tags=tags,
            # What fails is told below, in its own words and without a traceback.
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
        if not result.success:
            raise DemoFailed(_why(result))
        return time.monotonic() - started


def _why(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data and data.user_failure_data.description:
                return str(data.user_failure_data.description)
            if data.error:
                return data.error.to_string()
    return "The run failed; `intacct-dagster dev` shows it under Runs."


@contextmanager
def _instance() -> Iterator[dg.DagsterInstance]:
    """The instance that DAGSTER_HOME names, else the one that dagster.yaml describes."""
    if os.environ.get("DAGSTER_HOME") or not Path("dagster.yaml").is_file():
        with dg.DagsterInstance.get() as instance:
            yield instance
    else:
        with dg.DagsterInstance.from_config(os.curdir, "dagster.yaml") as instance:
            yield instance


def _requests(base_url: str) -> dict[str, int]:
    answer = httpx.get(_control(base_url, "requests"), timeout=10).raise_for_status().json()
    return {"requests": int(answer["total"]), "transactions": int(answer["transactions"])}


# -- what it did -------------------------------------------------------------------------------


def _collect(summary: Summary, settings: Settings, days: Sequence[date], started: datetime) -> None:
    warehouse = Warehouse(settings.warehouse)
    bounds = [days[0], days[-1]]
    loads = (
        "SELECT object, entity, sum(rows)::BIGINT FROM meta.raw_loads"
        " WHERE day BETWEEN ? AND ? GROUP BY ALL ORDER BY ALL"
    )
    statuses = (
        f"SELECT _entity, status, count(*) FROM reconciled.{FEED}"
        " WHERE _day BETWEEN ? AND ? GROUP BY ALL ORDER BY ALL"
    )
    held = (
        f"SELECT _entity, gate, count(*) FROM plan.{FEED}"
        " WHERE action = 'held' AND _day BETWEEN ? AND ? GROUP BY ALL ORDER BY ALL"
    )
    with warehouse.connect(read_only=True) as connection:
        for entity, gate, count in connection.execute(held, bounds).fetchall():
            summary.held.setdefault(gate, {})[entity] = count
        for name, entity, rows in connection.execute(loads, bounds).fetchall():
            summary.rows.setdefault(name, {})[entity] = rows
        found = connection.execute(statuses, bounds).fetchall()
        (summary.lines_in_quarantine,) = connection.execute(
            "SELECT count(*) FROM feed.quarantine WHERE feed = ?", [FEED]
        ).fetchall()[0]
    with _ledger(settings) as ledger:
        for entity in settings.users:
            entries = ledger.entries(settings.feeds[FEED].object, entity, days=days, feed=FEED)
            counts = {status: count for each, status, count in found if each == entity}
            counts["held"] = sum(each.get(entity, 0) for each in summary.held.values())
            summary.documents[entity] = _documents(counts, entries, started)
            for entry in entries:
                if entry.state is ItemState.REJECTED:
                    by_reason = summary.rejected.setdefault(entry.reason or "", {})
                    by_reason[entity] = by_reason.get(entity, 0) + 1


def _documents(
    counts: Mapping[str, int], entries: Sequence[Entry], started: datetime
) -> dict[str, int]:
    def of(state: ItemState) -> list[Entry]:
        return [entry for entry in entries if entry.state is state]

    return {
        "source": sum(counts.values()) - counts["held"],
        **{
            status: counts.get(status, 0)
            for status in ("matched", "different", "duplicate", "invalid", "held")
        },
        "posted": sum(entry.updated_at >= started for entry in of(ItemState.POSTED)),
        "rejected": len(of(ItemState.REJECTED)),
        "uncertain": len(of(ItemState.UNCERTAIN)),
    }


@contextmanager
def _ledger(settings: Settings) -> Iterator[Ledger]:
    engine = open_state(settings.state)
    try:
        yield Ledger(engine, settings.company)
    finally:
        engine.dispose()


def _ask_the_books(base_url: str, settings: Settings) -> list[str]:
    """Where the sandbox's own books contradict the ledger; an empty list if they agree.

    Each document that the ledger calls posted must have been created exactly once, under the key
    that the ledger has, in the entity it belongs to; and nothing else may have been created.
    """
    answer = httpx.get(_control(base_url, "books"), timeout=30).raise_for_status().json()
    target = settings.feeds[FEED].object
    created: dict[str, list[tuple[str, str]]] = {}
    others: dict[str, int] = {}
    for change in answer["changes"]:
        if change["object"] == target and change["operation"] == "create":
            created.setdefault(str(change["document"]), []).append(
                (change["entity"], change["key"])
            )
        else:
            others[f"{change['object']} {change['operation']}"] = (
                others.get(f"{change['object']} {change['operation']}", 0) + 1
            )
    posted: dict[str, tuple[str, str]] = {}
    with _ledger(settings) as ledger:
        for entity in settings.users:
            for entry in ledger.entries(target, entity, feed=FEED):
                if entry.state is ItemState.POSTED and entry.intacct_key is not None:
                    posted[entry.source_id] = (entity, entry.intacct_key)
    said = []
    for source_id in sorted(created.keys() | posted.keys()):
        places = created.get(source_id, [])
        if source_id not in posted:
            said.append(f"{source_id} was created, and the ledger does not call it posted")
        elif len(places) != 1:
            said.append(f"{source_id} was created {len(places)} times")
        elif places[0] != posted[source_id]:
            said.append(f"{source_id} is {places[0]}, and the ledger says {posted[source_id]}")
    said.extend(f"{count} times {what}, which nobody asked for" for what, count in others.items())
    return said


def _print(console: Console, summary: Summary) -> None:
    entities = list(summary.documents)
    rows = Table("rows", *entities, title="Extracted", title_justify="left")
    for name, by_entity in summary.rows.items():
        rows.add_row(name, *(f"{by_entity.get(entity, 0):,}" for entity in entities))
    rows.add_section()
    rows.add_row(
        "all",
        *(f"{sum(each.get(entity, 0) for each in summary.rows.values()):,}" for entity in entities),
    )
    _justify(rows)
    console.print(rows)

    documents = Table("documents", *entities, "all", title=FEED, title_justify="left")
    for status in next(iter(summary.documents.values()), {}):
        counts = [summary.documents[entity][status] for entity in entities]
        documents.add_row(status, *(f"{count:,}" for count in counts), f"{sum(counts):,}")
    documents.add_section()
    for what, reasons in (("held", summary.held), ("rejected", summary.rejected)):
        for reason, by_entity in sorted(reasons.items()):
            counts = [by_entity.get(entity, 0) for entity in entities]
            documents.add_row(
                f"{what}: {reason}", *(f"{count:,}" for count in counts), f"{sum(counts):,}"
            )
    _justify(documents)
    console.print(documents)

    for line in _closing_lines(summary):
        console.print(line, soft_wrap=True, highlight=False)


def _closing_lines(summary: Summary) -> Iterator[str]:
    if summary.lines_in_quarantine:
        yield (
            f"{summary.lines_in_quarantine} malformed lines are in feed.quarantine, with file, "
            "line and reason."
        )
    seconds = ", ".join(f"{stage} {taken:.1f}" for stage, taken in summary.seconds.items())
    yield (
        f"{summary.requests:,} requests, which Sage would bill as {summary.transactions:,} API "
        f"transactions. Seconds: {seconds}."
    )
    if summary.disagreements:
        yield "[bold red]The sandbox's books do not agree:[/]"
        yield from (f"  {line}" for line in summary.disagreements[:20])
        return
    if summary.posted:
        yield f"[bold green]{summary.posted:,} documents posted.[/]"
    else:
        yield (
            "[bold green]Nothing was posted:[/] what belongs in Intacct is there, and what was "
            "rejected before has not changed."
        )
    yield "The sandbox's books agree: each is there exactly once, and nothing else was created."


def _justify(table: Table) -> None:
    for column in table.columns[1:]:
        column.justify = "right"


# -- dev ---------------------------------------------------------------------------------------


def run_dev(*, host: str, port: int, hosts: Sequence[str] = ()) -> int:
    """Serve the Dagster UI, and the sandbox beside it if that is the company.

    Args:
        host: The address that the UI listens on.
        port: Its port; 0 takes a free one.
        hosts: Names that the UI is reached by, besides `host` and those of this machine.

    Returns:
        The exit status of Dagster.

    Raises:
        UIError: The address is taken, or the UI is not installed.
    """
    if importlib.util.find_spec("dagster_webserver") is None:
        raise UIError(
            "The Dagster UI needs dagster-webserver, which is not installed.\n"
            "Install it: pip install 'intacct_dagster[ui]'"
        )
    settings = load_settings()
    if settings.dagster_url:
        hosts = [*hosts, urlsplit(settings.dagster_url).hostname or ""]
    os.chdir(settings.directory)
    with _instance():
        pass  # made once, before several processes open it: a fresh history is not made for a race
    if not settings.is_sandbox or FEED not in settings.feeds:
        # A file of one's own for the sandbox says where it is, and whoever wrote it serves it.
        return _serve_ui(host, port, hosts)
    settings = _sandbox_settings()
    if not list(Path(settings.feeds[FEED].files[0]).parent.glob("*.csv")):
        _write_feed(settings, (LAST_DAY - settings.start_date).days + 1)
    wanted = urlsplit(settings.base_url).port or 80
    with sandbox_beside(settings.directory / SANDBOX_FOLDER, port=wanted) as base_url:
        os.environ["INTACCT_BASE_URL"] = base_url
        return _serve_ui(host, port, hosts)


def _serve_ui(host: str, port: int, hosts: Sequence[str]) -> int:
    with guarded(host, port, hosts) as guard:
        behind = blocked_port()
        url = f"http://{f'[{host}]' if ':' in host else host}:{guard.port}"
        print(f"The Dagster UI is coming up at {url} (Ctrl-C stops it)", flush=True)
        command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml"]
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [*command, "-h", "127.0.0.1", "-p", str(behind)],
            # "Use `dg dev` instead": `dagster dev` is what comes with the packages we have
            env={**_PATIENT, **os.environ, "PYTHONWARNINGS": "ignore"},
            start_new_session=True,
        )
        try:
            if _listens(process, behind):
                guard.open(behind)
                # Dagster's own log names the port behind the guard, which no browser opens.
                print(f"The Dagster UI is open at {url}", flush=True)
            return process.wait()
        except KeyboardInterrupt:
            return 0  # Ctrl-C is how it is meant to end
        finally:
            _end(process)


def _listens(process: subprocess.Popen[Any], port: int) -> bool:
    """Wait until the webserver that `process` starts listens. Return False if `process` ends first.

    Raises:
        UIError: It took too long.
    """
    deadline = time.monotonic() + _UI_SECONDS
    while time.monotonic() < deadline:
        if answers(port):
            return True
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)
            return False
    raise UIError(f"Dagster's webserver did not come up within {_UI_SECONDS} s. Try again.")


#: Seconds that Dagster's webserver may take to come up, on a busy machine.
_UI_SECONDS = 300


#: Seconds that Dagster's processes wait for each other's answers. Within the minute that is their
#: default a busy machine did not start runs, which were then held to have failed (seen).
_PATIENT = {"DAGSTER_GRPC_TIMEOUT_SECONDS": "300"}


def _end(process: subprocess.Popen[Any]) -> None:
    """Ends a process that we started in a session of its own, and what it started in turn.

    It is asked to, and after STOP_SECONDS it is made to.
    """
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
