"""Every command that README and docs/ tell a reader to type: run here, or why it is not.

They are typed on what `make demo` left, in the order of this table. A command of the docs that is
not in it, or is in it and in no page, turns `test_docs.py` red.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import httpx
import pytest
import yaml
from click.testing import CliRunner

from intacct_dagster.cli.app import main
from intacct_dagster.config import load_settings
from intacct_dagster.defs import raw_key
from intacct_dagster_tests.code_location import PROJECT, CodeLocation
from intacct_sandbox import LAST_DAY

OURS = "intacct-dagster "
INVOICE = "accounts-receivable/invoice"


@dataclass(frozen=True)
class Run:
    """A command that is run: what it has to print, and how it ends."""

    printed: str
    status: int = 0


@dataclass(frozen=True)
class Server:
    """A command that serves until it is stopped, with `--port 0` for whatever port it names."""


@dataclass(frozen=True)
class Elsewhere:
    """A command that is not run here, and why; `by` says what tests the same."""

    why: str
    by: str = ""


_AR_AGEING = 'sql "SELECT * FROM intacct.ar_ageing ORDER BY due DESC LIMIT 10"'
_CLOCK = "curl -s localhost:8765/_sandbox/clock -d "
_SWITCH = "curl -s localhost:8765/_sandbox/behaviours -d "
_PERSON = Elsewhere("needs a person at a browser", "test_rehearsal.py")
_WHEELS = Elsewhere("builds and installs", "sandbox/test_wheels.py")
_TEAM = Elsewhere("needs a machine with PostgreSQL, and a supervisor for its services")

COMMANDS: dict[str, Run | Server | Elsewhere] = {
    "make demo": Elsewhere("is what comes first", "cli/demo/test_demo.py"),
    "make test": Elsewhere("is what runs this table"),
    "make dev": Elsewhere("serves a UI and a daemon until it is stopped", "`make rehearsal`"),
    "make install": Elsewhere("installs from the registry", "`make rehearsal`, and CI itself"),
    OURS + _AR_AGEING: Run("due"),
    OURS + "doctor": Run("ok"),
    OURS + "doctor --json --strict": Run('"findings"', status=1),  # the demo's daemon does not run
    # GLDETAIL is only to be had with a sender of the XML API, which the demo has not
    OURS + "coverage needs.yaml": Run("XML only", status=1),
    OURS + "coverage needs.csv --entity E110 --json": Run('"complete":true'),
    OURS + "posting plan --entity E130 --from 2026-10-01": Run("sales_invoices"),
    # nothing is planned any more after a demo; test_posting.py approves a plan that there is
    OURS + "posting approve 6eccc1a0e746 --entity E130 --from 2026-10-01": Run(
        "No plan of these partitions is 6eccc1a0e746", status=1
    ),
    OURS + "posting list --state rejected --entity E130": Run("Department"),
    OURS + "posting retry --entity E130 --reason department --all": Run("<rejected>"),
    OURS + "rebuild": Run(INVOICE),
    OURS + f"rebuild --object {INVOICE}": Run("loads of 1 objects are in"),
    OURS + "sessions list": Run("alive until"),
    OURS + "sessions check E110": Run("usa works, in E110 and nowhere else"),
    OURS + "sessions revoke E110": Run("the session of usa is revoked"),
    OURS + "sessions key": Run("The key of the stored sessions is in a file", status=1),
    OURS + "sessions key --new": Run("A new key for the sessions is in"),
    OURS + "init": Elsewhere("asks a person", "test_init.py, test_rehearsal.py"),
    OURS + "init --no-input --company acme --client-id 1a2b.app.sage.com --discover reporting"
    " --module general-ledger --start-date 2026-01-01 --force": Elsewhere(
        "asks Sage about a company of yours", "test_rehearsal.py, with --base-url"
    ),
    OURS + "authorize --all": _PERSON,
    OURS + "authorize E110": _PERSON,
    OURS + "sandbox --port 8765": Server(),
    OURS + "sandbox --behaviour refresh_rotation=grace --faults plan.yaml": Server(),
    OURS + "sandbox --behaviour refresh_rotation=grace --behaviour batch_created=status_207": (
        Server()
    ),
    OURS + "sandbox behaviours": Run("refresh_rotation"),
    OURS + "sandbox replay path/to/recordings": Run("exchanges"),
    OURS + "sandbox --size large --state large": Elsewhere(
        "generates 5 million lines for a minute", "sandbox/seed/test_archive.py, with fewer"
    ),
    OURS + "sandbox --entities 20 --years 2 --lines 400000 --state smaller": Elsewhere(
        "generates 400,000 lines for some seconds", "sandbox/seed/test_archive.py, with fewer"
    ),
    _CLOCK + """'{"advance": "12h"}'""": Run('"now"'),
    _CLOCK + """'{"to": "2026-11-01T00:00:00Z", "running": false}'""": Run("2026-11-01T00:00:00"),
    _SWITCH + """'{"idempotency_after_timeout": "conflict"}'""": Run("conflict"),
    "export INTACCT_CLIENT_SECRET=…": Elsewhere("has your secret", "test_rehearsal.py"),
    "export INTACCT_CONFIG=/srv/books/intacct.yaml": _TEAM,
    "export DAGSTER_HOME=/srv/dagster DAGSTER_LOGS=/srv/dagster/logs": _TEAM,
    "export DAGSTER_POSTGRES_URL=postgresql+psycopg2://dagster:…@localhost/dagster": _TEAM,
    "pip install '.[ui]' dagster-postgres": _TEAM,
    "pip wheel --no-deps --wheel-dir dist . ./sandbox": _WHEELS,
    "pip install --find-links dist 'intacct_dagster[sandbox]'": _WHEELS,
    "pre-commit install": Elsewhere("changes the clone's .git", "test_pre_commit.py"),
    "export DAGSTER_GRPC_TIMEOUT_SECONDS=300": _TEAM,
    "cp deploy/dagster.yaml deploy/workspace.yaml $DAGSTER_HOME/": Elsewhere(
        _TEAM.why, "test_deploy.py"
    ),
    "dagster instance migrate": _TEAM,
    "dagster api grpc -m intacct_dagster.definitions -h 127.0.0.1 -p 4266 &": _TEAM,
    "dagster-daemon run -w $DAGSTER_HOME/workspace.yaml &": _TEAM,
    "dagster-webserver -w $DAGSTER_HOME/workspace.yaml -h 127.0.0.1 -p 3000": _TEAM,
}


def in_the_docs(line: str) -> str:
    """A command as the table has it: without the folder of the program, and without a comment."""
    return re.sub(r"\s{2,}#.*", "", line.removeprefix("$ ").removeprefix(".venv/bin/"))


def run_commands(
    project: Path, base_url: str, monkeypatch: pytest.MonkeyPatch, *, rejected: int
) -> None:
    """Type all that are run, in `project` after a demo, whose sandbox is at `base_url`.

    `rejected` is how many documents of E130 the demo left for want of a department.
    """
    monkeypatch.chdir(project)
    monkeypatch.setenv("INTACCT_BASE_URL", base_url)
    monkeypatch.setenv("COLUMNS", "200")
    _prepare(project)
    with httpx.Client(base_url=base_url.removesuffix("/ia/api/v1")) as sandbox:
        for command, expected in COMMANDS.items():
            match expected:
                case Server():
                    _serve(project, shlex.split(command))
                case Run():
                    words = shlex.split(command)
                    status, output = _ask(sandbox, words) if words[0] == "curl" else _type(words)
                    assert status == expected.status, f"{command}\n{output}"
                    wanted = expected.printed.replace("<rejected>", str(rejected))
                    assert wanted in output, f"{command}\n{output}"


def _prepare(project: Path) -> None:
    """The files that the commands name, as the pages show them, and kept pages."""
    needs = _block("docs/coverage.md", "yaml")
    (project / "needs.yaml").write_text(needs, encoding="utf-8")
    rows = [f"{name},{each}" for name, all_ in yaml.safe_load(needs).items() for each in all_]
    (project / "needs.csv").write_text("\n".join(["object,field", *rows]), encoding="utf-8")
    (project / "plan.yaml").write_text(_block("docs/sandbox-control.md", "yaml"), encoding="utf-8")
    shutil.copytree(
        PROJECT / "intacct_dagster_tests/sandbox/recordings", project / "path/to/recordings"
    )
    own = project / "intacct.yaml"
    own.write_text(
        own.read_text(encoding="utf-8") + "\npage_retention_days: 30\n", encoding="utf-8"
    )
    with dg.DagsterInstance.ephemeral() as instance:
        location = CodeLocation(load_settings(), instance)
        assert location.run([raw_key(INVOICE)], entity="E110", first=LAST_DAY).success


def _block(page: str, language: str) -> str:
    text = (PROJECT / page).read_text(encoding="utf-8")
    found = re.search(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def _type(words: list[str]) -> tuple[int, str]:
    result = CliRunner().invoke(main, words[1:])
    assert "Traceback" not in result.output
    return result.exit_code, " ".join(result.output.split())


def _ask(sandbox: httpx.Client, words: list[str]) -> tuple[int, str]:
    _, _, address, _, body = words
    answer = sandbox.post(address.removeprefix("localhost:8765"), content=body)
    return (0 if answer.is_success else 1), answer.text


def _serve(project: Path, words: list[str]) -> None:
    """Starts it, waits until it says that it is ready, and stops it."""
    with subprocess.Popen(
        [sys.executable, "-m", "intacct_dagster.cli", *words[1:], "--port", "0"],
        cwd=project,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert '"base_url"' in process.stdout.readline(), words
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
