"""From a fresh clone to the first rows by both grants, with a mistake in every step.

Each mistake is answered by a line that leads on. Afterwards every secret that was about is looked
for in all that was written, printed, logged, or shown in Dagster's UI or to others on the machine.

`make slow` types in this process, and has the clone's make use the environment that is there;
`make rehearsal` installs the clone, and types into processes of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from html import escape
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
import sqlalchemy as sa
import yaml
from click.testing import CliRunner

from intacct_dagster.cli.app import main
from intacct_dagster.defs import (
    crosswalk_key,
    current_key,
    feed_key,
    plan_key,
    posted_key,
    raw_key,
    reconciled_key,
)
from intacct_dagster.state import open_state
from intacct_dagster.warehouse import Warehouse
from intacct_dagster_tests.code_location import PROJECT
from intacct_dagster_tests.consent import Person
from intacct_dagster_tests.ui_pages import UI
from intacct_sandbox import (
    CLIENT_ID,
    CLIENT_SECRET,
    SENDER_ID,
    SENDER_PASSWORD,
    RunningSandbox,
    serve,
    write_sales_feed,
)

CUSTOMER = "accounts-receivable/customer"
INVOICE = "accounts-receivable/invoice"
DETAIL = "xml/gl-detail"
RAW = raw_key(CUSTOMER)
DAY = "2026-10-13"
VARIABLES = ("INTACCT_CLIENT_ID", "INTACCT_CLIENT_SECRET", "INTACCT_SENDER_PASSWORD")
pytestmark = pytest.mark.slow

#: whether the clone is installed as well, and typed at as a person does
INSTALLED = os.environ.get("INTACCT_REHEARSAL") == "install"


def fresh_clone(folder: Path) -> None:
    """What a newcomer gets: the last commit, without anything that was made beside it."""
    if (PROJECT / ".git").exists():
        subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(folder)], check=True)
        return
    warnings.warn(f"{PROJECT} is no git checkout: a copy of it stands for a clone", stacklevel=2)
    made = shutil.ignore_patterns(".*", "data", "build", "dist", "__pycache__", "*.egg-info")
    shutil.copytree(PROJECT, folder, ignore=made, dirs_exist_ok=True)


def _command_lines() -> set[bytes]:
    """What `ps` would show anybody of the processes there are; small machines lack the program."""
    found = set()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has just ended
            found.add(file.read_bytes().replace(b"\0", b" "))
    if found:
        return found
    shown = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, check=True)
    return set(shown.stdout.splitlines())


class Rehearsal:
    """A clone, what is typed in it, and the secrets that were about."""

    def __init__(self, folder: Path, sandbox: RunningSandbox, monkeypatch: Any) -> None:
        self.folder, self.sandbox, self.monkeypatch = folder, sandbox, monkeypatch
        self.cloned = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
        self.venv = folder / ".venv" if INSTALLED else Path(sys.prefix)
        self.secrets = {CLIENT_SECRET, SENDER_PASSWORD}
        self.printed: list[str] = []
        self.shown: dict[str, str] = {}
        self.command_lines: set[bytes] = set()
        tokens = sandbox.books.tokens
        answer, consent, open_session = tokens.answer, tokens.consent, tokens.open_session

        def answered(asked: Mapping[str, str], now: Any) -> dict[str, Any]:
            given = answer(asked, now)
            self.secrets |= {str(given[n]) for n in ("access_token", "refresh_token") if n in given}
            self.secrets |= {asked[n] for n in ("code", "code_verifier") if n in asked}
            return given

        def consented(user: str, asked: Mapping[str, str], now: Any) -> str:
            code = consent(user, asked, now)
            self.secrets.add(code)
            return code

        def opened(*given: Any, **more: Any) -> str:
            self.secrets.add(id_ := open_session(*given, **more))
            return id_

        monkeypatch.setattr(tokens, "open_session", opened)
        monkeypatch.setattr(tokens, "answer", answered)
        monkeypatch.setattr(tokens, "consent", consented)

    def type(self, *words: str, person: Person | None = None) -> tuple[int, str]:
        """A command, as in a new terminal: nothing of an earlier one is in the environment."""
        someone = person or Person()
        if INSTALLED:
            opens = [str(self.venv / "bin/python"), "-m", "intacct_dagster_tests.consent"]
            browser = " ".join([*opens, *someone.users, "%s", "&"])
            status, output = self._run(
                str(self.venv / "bin/intacct-dagster"), *words, BROWSER=browser
            )
        else:
            self.monkeypatch.setattr("webbrowser.open", someone.open)
            with someone.waited_for():
                result = CliRunner().invoke(main, words)
            status, output = result.exit_code, result.output
            self.printed.append(output)
        self.forget()
        assert "Traceback" not in output
        return status, " ".join(output.split())

    def make(self, target: str) -> list[str]:
        """The words that make a target of the clone, with the environment that is there."""
        given = [] if INSTALLED else [f"VENV={self.venv}"]
        return ["make", "--no-print-directory", *given, target]

    def install(self) -> None:
        status, output = self._run(*self.make("install"))
        assert status == 0, output
        assert (self.venv / "bin/intacct-dagster").exists()

    @property
    def environment(self) -> dict[str, str]:
        """That of a new terminal in the clone, whose code it is that runs."""
        return {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(self.folder)}

    def _run(self, *words: str, **variables: str) -> tuple[int, str]:
        """A command in a process of its own, watched by other users: its status and output."""
        process = subprocess.Popen(
            words,
            cwd=self.folder,
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with self._watched(process.pid):
            output, _ = process.communicate(timeout=300)
        self.printed.append(output)
        return process.returncode, output

    def forget(self) -> None:
        for name in VARIABLES:
            os.environ.pop(name, None)

    def wrong(self, *words: str, told: str, **more: Any) -> None:
        status, output = self.type(*words, **more)
        assert status == 1, output
        assert told in output

    def right(self, *words: str, **more: Any) -> str:
        status, output = self.type(*words, **more)
        assert status == 0, output
        return output

    def materialize(self, entity: str, *keys: dg.AssetKey) -> tuple[int, str]:
        """The first day of an entity, in a process of its own, watched by other users."""
        selected = ",".join(f'key:"{key.to_user_string()}"' for key in keys or (RAW,))
        return self._run(
            *(str(self.venv / "bin/python"), "-m", "dagster", "asset", "materialize"),
            *("-m", "intacct_dagster.definitions", "--select", selected),
            *("--partition", f"{DAY}|{entity}"),
        )

    @contextmanager
    def ui(self) -> Iterator[UI]:
        """Dagster's UI over what was done: by `make dev`, its daemon included, where the clone is
        installed; otherwise the webserver alone, which is up sooner."""
        port = free_port()
        alone = [str(self.venv / "bin/dagster-webserver"), "-w", "workspace.yaml", "-p", str(port)]
        log = self.folder.parent / "ui.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [*self.make("dev"), f"ARGS=--port {port}"] if INSTALLED else alone,
                cwd=self.folder,
                env=self.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                ui = UI(f"http://127.0.0.1:{port}")
                with self._watched(process.pid):
                    wait_until(lambda: process.poll() is not None or ui.answers(INSTALLED))
                    assert process.poll() is None, log.read_text()
                    yield ui
            finally:
                # as Ctrl-C does, to all of the terminal's processes
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(30)
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                self.printed.append(log.read_text())

    @contextmanager
    def _watched(self, pid: int) -> Iterator[None]:
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.5):
                self.command_lines |= _command_lines()
            self.command_lines.add(str(pid).encode())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join(10)

    def assert_no_secret_got_out(self) -> None:
        secrets = {each for each in self.secrets if each}
        secrets.add((self.folder / "data/token.key").read_text())
        assert len(secrets) > 4, "there were secrets to be found"
        assert any(b"dagster" in line for line in self.command_lines)
        kept = [p for p in self.folder.rglob("*") if p.is_file() and self._was_made(p)]
        assert {"intacct.yaml", "state.db", "warehouse.duckdb"} <= {path.name for path in kept}
        assert any(path.suffix in (".err", ".out") for path in kept), "there are compute logs"
        places = {str(path.relative_to(self.folder)): path.read_bytes() for path in kept}
        places |= {f"output {n}": text.encode() for n, text in enumerate(self.printed)}
        places["the list of processes"] = b"\n".join(self.command_lines)
        places |= {f"table {name}": text.encode() for name, text in self._tables()}
        places |= {f"UI: {name}": text.encode() for name, text in self.shown.items()}
        found = {p for p, held in places.items() if any(s in held for s in _as_written(secrets))}
        assert found == set()
        if "billing" in self.shown.get("assets", ""):
            self._assert_no_payload_got_out(places)

    def _assert_no_payload_got_out(self, places: Mapping[str, bytes]) -> None:
        # The ledger keeps what it sent, as the proof of it, and `reconciled` what is to be sent:
        # business data, and in no log and on no page.
        payloads = _as_written(self._payloads())
        found = {p for p, held in places.items() if any(s in held for s in payloads)}
        assert "table reconciled.billing" in found, "there were payloads to be found"
        kept_in = ("data/state.db", "data/warehouse", "table reconciled.")
        assert [each for each in found if not each.startswith(kept_in)] == []

    def _was_made(self, path: Path) -> bool:
        """Whether a file is neither the clone's, nor where the secrets are kept."""
        if path.name in (".env", "token.key") or self.venv in path.parents:
            return False
        return self.cloned.get(path) != path.stat().st_mtime_ns

    def _payloads(self) -> set[str]:
        engine = open_state(f"sqlite:///{self.folder}/data/state.db")
        with engine.connect() as connection:
            found = connection.scalars(sa.text("SELECT payload FROM posting_items")).all()
        engine.dispose()
        return {bytes(each).decode() for each in found}

    def _tables(self) -> Iterator[tuple[str, str]]:
        # columns are compressed in the file, so that its bytes alone prove nothing
        with Warehouse(self.folder / "data/warehouse.duckdb").connect(read_only=True) as connection:
            tables = connection.execute(
                "SELECT table_schema, table_name FROM information_schema.tables"
                " WHERE table_catalog = 'warehouse'"
            ).fetchall()
            assert tuple(RAW.path) in tables
            for schema, table in tables:
                rows = connection.execute(f'SELECT t::VARCHAR FROM "{schema}"."{table}" t')
                yield f"{schema}.{table}", "\n".join(str(row[0]) for row in rows.fetchall())


def _as_written(texts: set[str]) -> set[bytes]:
    """Texts as they stand in text, within JSON, and in HTML."""
    forms = {form for each in texts for form in (each, json.dumps(each)[1:-1], escape(each))}
    return {form.encode() for form in forms}


def free_port() -> int:
    with socket.socket() as free:  # the default port may be somebody's on this machine
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_until(done: Callable[[], bool], seconds: int = 120) -> None:
    """Looks twice a second. Fails after so many seconds."""
    moment = threading.Event()
    for _ in range(2 * seconds):
        if done():
            return
        moment.wait(0.5)
    raise AssertionError(f"it did not come to be within {seconds} s")


@pytest.fixture
def rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearsal]:
    for name in (*VARIABLES, "DAGSTER_HOME", "INTACCT_TOKEN_KEY", "SSH_CONNECTION"):
        monkeypatch.setenv(name, "")  # what a command puts there is gone after the test
        monkeypatch.delenv(name)
    monkeypatch.delenv("INTACCT_CONFIG", raising=False)
    folder = tmp_path / "clone"
    fresh_clone(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    with serve() as sandbox:
        rehearsal = Rehearsal(folder, sandbox, monkeypatch)
        rehearsal.install()
        yield rehearsal


def init_words(rehearsal: Rehearsal, grant: str, *more: str) -> tuple[str, ...]:
    return (
        *("init", "--no-input", "--company", "demo", "--base-url", rehearsal.sandbox.base_url),
        *("--grant", grant, "--client-id", CLIENT_ID, "--start-date", "2026-10-13"),
        *("--object", CUSTOMER, *more),
    )


def add_a_feed(file: Path) -> None:
    """What a person adds to intacct.yaml: the feed of the project's own file, and the XML API."""
    own = yaml.safe_load((PROJECT / "intacct.yaml").read_text(encoding="utf-8"))
    feed = {**own["feeds"]["sales_invoices"], "files": "data/feeds/billing/*.csv"}
    given = yaml.safe_load(file.read_text(encoding="utf-8"))
    given["objects"] += [INVOICE, DETAIL]
    given["xml"] = {"sender_id": SENDER_ID, "sender_password": "${INTACCT_SENDER_PASSWORD}"}
    given |= {"feeds": {"billing": feed}, "posting": {"enabled": True}}
    file.write_text(yaml.safe_dump(given, sort_keys=False), encoding="utf-8")


def test_the_ten_minutes_with_client_credentials(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = init_words(rehearsal, "client_credentials", "--entity", "E110=usa")
    file = rehearsal.folder / "intacct.yaml"
    shipped = file.read_text(encoding="utf-8")
    rehearsal.wrong(*words, told="intacct.yaml of")
    assert "Say --force if they may" in rehearsal.printed[-1]
    words = (*words, "--force")
    rehearsal.wrong(*words, told="put it into INTACCT_CLIENT_SECRET of the environment")
    monkeypatch.setenv("INTACCT_CLIENT_SECRET", "a-typo")
    rehearsal.wrong(*words, told="Check client_id and client_secret")
    assert file.read_text(encoding="utf-8") == shipped
    monkeypatch.setenv("INTACCT_CLIENT_SECRET", CLIENT_SECRET)
    assert "Next: `intacct-dagster doctor`" in rehearsal.right(*words)

    rehearsal.wrong("authorize", "E110", told="needs nobody's consent. `intacct-dagster sessions")
    assert "usa works, in E110" in rehearsal.right("sessions", "check")

    (rehearsal.folder / ".env").chmod(0o644)
    good = file.read_text(encoding="utf-8")
    file.write_text(good.replace("user: usa", "user: can"), encoding="utf-8")
    rehearsal.wrong("doctor", told="Give it access: Company > Admin > Users > can")
    assert "chmod 600" in rehearsal.printed[-1].replace("\n", " ")
    file.write_text(good, encoding="utf-8")
    (rehearsal.folder / ".env").chmod(0o600)
    rehearsal.right("doctor")

    rehearsal.right("sessions", "revoke", "E110")
    secrets = rehearsal.folder / ".env"
    kept = secrets.read_text(encoding="utf-8")
    secrets.write_text(kept.replace(CLIENT_SECRET, "a-typo"), encoding="utf-8")
    status, output = rehearsal.materialize("E110")
    assert status != 0
    assert "Check client_id and client_secret" in output
    secrets.write_text(kept, encoding="utf-8")
    with secrets.open("a") as more:
        more.write(f"INTACCT_SENDER_PASSWORD={SENDER_PASSWORD}\n")
    add_a_feed(file)
    write_sales_feed(rehearsal.folder / "data/feeds/billing", seed=1, days=1)
    fault = [{"route": "query", "nth": 2, "answer": {"status": 500}}]
    control = rehearsal.sandbox.base_url.removesuffix("/ia/api/v1") + "/_sandbox"
    httpx.put(f"{control}/faults", content=json.dumps(fault)).raise_for_status()
    of_the_feed = (feed_key, reconciled_key, plan_key, posted_key, crosswalk_key)
    keys = [key(each) for key in (raw_key, current_key) for each in (CUSTOMER, INVOICE, DETAIL)]
    keys += [key("billing") for key in of_the_feed]
    if not INSTALLED:
        status, output = rehearsal.materialize("E110", *keys)
        assert status == 0, output
    with rehearsal.ui() as ui:
        if INSTALLED:
            ends = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
            run = ui.launch(keys, dict.fromkeys(ends, f"{DAY}|E110"))
            wait_until(lambda: ui.status(run) in ("SUCCESS", "FAILURE", "CANCELED"))
            assert ui.status(run) == "SUCCESS"
        rehearsal.shown = ui.everything()
    assert "accounts_receivable_invoice" in rehearsal.shown["assets"]
    assert "OAuth sessions with one Intacct company" in rehearsal.shown["resources"]
    assert "INTACCT_CLIENT_SECRET" not in rehearsal.shown["resources"], "nor any other setting"
    rehearsal.assert_no_secret_got_out()


def test_the_ten_minutes_with_authorization_code(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = ("--entity", "E110=usa", "--entity", "E120=can")
    monkeypatch.setenv("INTACCT_CLIENT_SECRET", CLIENT_SECRET)
    rehearsal.wrong(
        *init_words(
            *(rehearsal, "authorization_code", "--force"),
            *("--entity", "E110=usa", "--entity", "E120=usa"),
        ),
        told="give each entity a Sage user of its own",
    )
    monkeypatch.setenv("INTACCT_CLIENT_SECRET", CLIENT_SECRET)
    told = rehearsal.right(*init_words(rehearsal, "authorization_code", "--force", *two))
    assert "Next: `intacct-dagster authorize --all`, then `intacct-dagster doctor`" in told
    port = free_port()
    file = rehearsal.folder / "intacct.yaml"
    text = file.read_text(encoding="utf-8")
    uri = f"redirect_uri: http://127.0.0.1:{port}/callback"
    file.write_text(text.replace("auth:\n", f"auth:\n  {uri}\n"), encoding="utf-8")

    rehearsal.right("authorize", "E110", person=Person("usa"))
    rehearsal.wrong(
        "authorize",
        "--all",
        person=Person("usa"),
        told="usa consented, and the user of E120 is can",
    )
    rehearsal.wrong("doctor", told="`intacct-dagster authorize E120`")
    rehearsal.right("authorize", "--all", person=Person("can"))
    rehearsal.right("doctor")

    rehearsal.sandbox.books.tokens.revoke_user("usa")
    status, output = rehearsal.materialize("E110")
    assert status != 0
    assert "`intacct-dagster authorize E110`" in output
    rehearsal.right("authorize", "--all", person=Person("usa"))
    status, output = rehearsal.materialize("E110")
    assert status == 0, output
    rehearsal.assert_no_secret_got_out()
