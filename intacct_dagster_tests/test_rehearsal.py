"""From an empty folder to the first rows by both grants, with a mistake in every step.

Each mistake is answered by a line that leads on. Afterwards every secret that the sandbox gave out
is looked for in all that was written, printed, logged or shown to other users of the machine.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from intacct_dagster.cli import main
from intacct_dagster.defs import raw_key
from intacct_dagster.sandbox import CLIENT_ID, CLIENT_SECRET, RunningSandbox, serve
from intacct_dagster.warehouse import Warehouse
from intacct_dagster_tests.code_location import PROJECT
from intacct_dagster_tests.consent import Person

CUSTOMER = "accounts-receivable/customer"
RAW = raw_key(CUSTOMER)
VARIABLES = ("INTACCT_CLIENT_ID", "INTACCT_CLIENT_SECRET")


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
    """A folder, what is typed in it, and the secrets that were about."""

    def __init__(self, folder: Path, sandbox: RunningSandbox, monkeypatch: Any) -> None:
        self.folder, self.sandbox, self.monkeypatch = folder, sandbox, monkeypatch
        self.secrets = {CLIENT_SECRET}
        self.printed: list[str] = []
        self.command_lines: set[bytes] = set()
        tokens = sandbox.books.tokens
        answer, consent = tokens.answer, tokens.consent

        def answered(asked: Mapping[str, str], now: Any) -> dict[str, Any]:
            given = answer(asked, now)
            self.secrets |= {str(given[n]) for n in ("access_token", "refresh_token") if n in given}
            self.secrets |= {asked[n] for n in ("code", "code_verifier") if n in asked}
            return given

        def consented(user: str, asked: Mapping[str, str], now: Any) -> str:
            code = consent(user, asked, now)
            self.secrets.add(code)
            return code

        monkeypatch.setattr(tokens, "answer", answered)
        monkeypatch.setattr(tokens, "consent", consented)

    def type(self, *words: str, person: Person | None = None) -> tuple[int, str]:
        """A command, as in a new terminal: nothing of an earlier one is in the environment."""
        someone = person or Person()
        self.monkeypatch.setattr("webbrowser.open", someone.open)
        with someone.waited_for():
            result = CliRunner().invoke(main, words)
        self.forget()
        self.printed.append(result.output)
        assert "Traceback" not in result.output
        return result.exit_code, " ".join(result.output.split())

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

    def materialize(self, entity: str) -> tuple[int, str]:
        """The first day of an entity, in a process of its own, watched by other users."""
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "dagster", "asset", "materialize"),
                *("-m", "intacct_dagster.definitions", "--select", RAW.to_user_string()),
                *("--partition", f"2026-10-13|{entity}"),
            ],
            cwd=self.folder,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(process.pid, over))
        watcher.start()
        try:
            output, _ = process.communicate(timeout=120)
        finally:
            over.set()
            watcher.join(10)
        self.printed.append(output)
        return process.returncode, output

    def _watch(self, pid: int, over: threading.Event) -> None:
        while not over.wait(0.5):
            self.command_lines |= _command_lines()
        self.command_lines.add(str(pid).encode())

    def assert_no_secret_got_out(self) -> None:
        secrets = {each.encode() for each in self.secrets}
        assert len(secrets) > 3, "there were secrets to be found"
        assert any(b"dagster" in line for line in self.command_lines)
        kept = [p for p in self.folder.rglob("*") if p.is_file() and p.name != ".env"]
        assert {"intacct.yaml", "state.db", "warehouse.duckdb"} <= {path.name for path in kept}
        assert any(path.suffix in (".err", ".out") for path in kept), "there are compute logs"
        places = {str(path.relative_to(self.folder)): path.read_bytes() for path in kept}
        places |= {f"output {n}": text.encode() for n, text in enumerate(self.printed)}
        places["the list of processes"] = b"\n".join(self.command_lines)
        places |= {f"table {name}": text.encode() for name, text in self._tables()}
        found = {place for place, held in places.items() if any(each in held for each in secrets)}
        assert found == set()

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


@pytest.fixture
def rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearsal]:
    for name in (*VARIABLES, "DAGSTER_HOME", "INTACCT_TOKEN_KEY", "SSH_CONNECTION"):
        monkeypatch.setenv(name, "")  # what a command puts there is gone after the test
        monkeypatch.delenv(name)
    monkeypatch.delenv("INTACCT_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(PROJECT / "dagster.yaml", tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    with serve() as sandbox:
        yield Rehearsal(tmp_path, sandbox, monkeypatch)


def init_words(rehearsal: Rehearsal, grant: str, *more: str) -> tuple[str, ...]:
    return (
        *("init", "--no-input", "--company", "demo", "--base-url", rehearsal.sandbox.base_url),
        *("--grant", grant, "--client-id", CLIENT_ID, "--start-date", "2026-10-13"),
        *("--object", CUSTOMER, *more),
    )


def test_the_ten_minutes_with_client_credentials(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = init_words(rehearsal, "client_credentials", "--entity", "E110=usa")
    rehearsal.wrong(*words, told="put it into INTACCT_CLIENT_SECRET of the environment")
    monkeypatch.setenv("INTACCT_CLIENT_SECRET", "a-typo")
    rehearsal.wrong(*words, told="Check client_id and client_secret")
    assert not (rehearsal.folder / "intacct.yaml").exists()
    monkeypatch.setenv("INTACCT_CLIENT_SECRET", CLIENT_SECRET)
    assert "Next: `intacct-dagster doctor`" in rehearsal.right(*words)

    rehearsal.wrong("authorize", "E110", told="needs nobody's consent. `intacct-dagster sessions")
    assert "usa works, in E110" in rehearsal.right("sessions", "check")

    (rehearsal.folder / ".env").chmod(0o644)
    file = rehearsal.folder / "intacct.yaml"
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
    fault = [{"route": "query", "nth": 2, "answer": {"status": 500}}]
    control = rehearsal.sandbox.base_url.removesuffix("/ia/api/v1") + "/_sandbox"
    httpx.put(f"{control}/faults", content=json.dumps(fault)).raise_for_status()
    status, output = rehearsal.materialize("E110")
    assert status == 0, output
    rehearsal.assert_no_secret_got_out()


def test_the_ten_minutes_with_authorization_code(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = ("--entity", "E110=usa", "--entity", "E120=can")
    monkeypatch.setenv("INTACCT_CLIENT_SECRET", CLIENT_SECRET)
    rehearsal.wrong(
        *init_words(
            rehearsal, "authorization_code", "--entity", "E110=usa", "--entity", "E120=usa"
        ),
        told="give each entity a Sage user of its own",
    )
    monkeypatch.setenv("INTACCT_CLIENT_SECRET", CLIENT_SECRET)
    told = rehearsal.right(*init_words(rehearsal, "authorization_code", *two))
    assert "Next: `intacct-dagster authorize --all`, then `intacct-dagster doctor`" in told
    with socket.socket() as free:  # the default port may be somebody's on this machine
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
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
