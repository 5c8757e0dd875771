"""What a newcomer can do wrong: each mistake gets a line or two that lead on, and no traceback."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from intacct_dagster.cli.app import main
from intacct_dagster.cli.demo.sandbox_company import PROJECT_FILES
from intacct_dagster.config import Auth, Limits, ObjectSettings
from intacct_dagster.defs import current_key, raw_key
from intacct_dagster_tests.code_location import (
    OBJECTS,
    PROJECT,
    CodeLocation,
    code_location,
    failure,
)

RAW = [raw_key(name) for name in OBJECTS]


@pytest.fixture
def location(tmp_path: Path) -> Iterator[CodeLocation]:
    with code_location(tmp_path) as location:
        yield location


def changed(location: CodeLocation, **changes: object) -> CodeLocation:
    location.settings = location.settings.model_copy(update=changes)
    return location


def in_project(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    shutil.copy(PROJECT / "dagster.yaml", folder)
    monkeypatch.chdir(folder)
    return CliRunner().invoke(main, arguments)


def assert_plain(result: Result, told: str) -> None:
    assert result.exit_code == 1
    assert told in result.output
    assert "Traceback" not in result.output
    assert len(result.output.splitlines()) <= 2


def test_a_port_that_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = in_project(tmp_path, monkeypatch, "sandbox", "--port", str(port))
    assert_plain(result, f"Port {port} on 127.0.0.1 is taken")
    assert "--port" in result.output


def test_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_plain(in_project(tmp_path, monkeypatch, "demo"), "intacct.yaml: there is no such file")


@pytest.mark.parametrize("there", ["dagster.yaml", "workspace.yaml"])
def test_the_demo_writes_nothing_into_a_project_of_dagster(
    there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(PROJECT / there, tmp_path)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["demo"])
    assert_plain(result, "intacct.yaml: there is no such file")
    assert [file.name for file in tmp_path.iterdir()] == [there]


def test_the_demo_in_an_empty_folder_writes_the_files_of_a_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # The demo ends at this address, once the files are written and read.
    monkeypatch.setenv("INTACCT_BASE_URL", "https://api.intacct.com/ia/api/v1")
    result = CliRunner().invoke(main, ["demo"])
    assert "The demo posts invented invoices and runs only on the sandbox" in result.output
    assert f"Wrote {', '.join(PROJECT_FILES)}" in result.output
    for name in PROJECT_FILES:
        assert (tmp_path / name).read_bytes() == (PROJECT / name).read_bytes()


def test_the_demo_writes_nothing_where_intacct_config_names_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INTACCT_CONFIG", "misspelt.yaml")
    assert_plain(CliRunner().invoke(main, ["demo"]), "misspelt.yaml: there is no such file")
    assert not list(tmp_path.iterdir())


def test_a_malformed_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (PROJECT / "intacct.yaml").read_text(encoding="utf-8")
    (tmp_path / "intacct.yaml").write_text(text.replace("client_id:", "clientid:"))
    result = in_project(tmp_path, monkeypatch, "demo")
    assert_plain(result, "intacct.yaml:9: auth.clientid is not a key that is known here")


def test_the_demo_is_not_run_on_a_real_company(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(PROJECT / "intacct.yaml", tmp_path)
    monkeypatch.setenv("INTACCT_BASE_URL", "https://api.intacct.com/ia/api/v1")
    monkeypatch.setenv("INTACCT_CLIENT_SECRET", "a-real-secret")
    result = in_project(tmp_path, monkeypatch, "demo")
    assert_plain(result, "The demo posts invented invoices and runs only on the sandbox")
    assert "a-real-secret" not in result.output


def test_no_sandbox_is_running(tmp_path: Path) -> None:
    with code_location(tmp_path) as location:
        base_url = location.settings.base_url
    with code_location(tmp_path) as location:
        told = failure(changed(location, base_url=base_url).run(RAW, entity="E110"))
    assert base_url.removesuffix("/ia/api/v1").removeprefix("http://") in told
    assert told.endswith("`intacct-dagster sandbox` starts it.")
    assert len(told.splitlines()) == 3, "once, however many objects"


def test_a_wrong_secret(location: CodeLocation) -> None:
    auth = Auth(client_id="sandbox.app.sage.com", client_secret="not-the-secret")
    told = failure(changed(location, auth=auth).run(RAW[:1], entity="E110"))
    assert "client" in told.lower()
    assert "not-the-secret" not in told
    assert len(told.splitlines()) <= 2


def test_an_unknown_field(location: CodeLocation) -> None:
    settings = ObjectSettings(name=OBJECTS[0], fields=("id", "totalDueTxnAmount"), history="all")
    told = failure(changed(location, objects=(settings,)).run(RAW[:1], entity="E110"))
    assert "totalDueTxnAmount" in told
    assert OBJECTS[0] in told
    assert "intacct.yaml" in told
    assert len(told.splitlines()) <= 2


HOLD = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
"""


def test_a_warehouse_that_another_process_holds(location: CodeLocation) -> None:
    changed(location, limits=Limits(lock_timeout=0.1))
    assert location.run(RAW, entity="E110").success
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(location.settings.warehouse)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        told = failure(location.run([current_key(OBJECTS[0])]))
        assert f"(pid {holder.pid})" in told
        assert "Close what has it open" in told
        # Extraction reads all the same, and fails only where it would store.
        told = failure(location.run(RAW[:1], entity="E110"))
        assert f"(pid {holder.pid})" in told
    finally:
        holder.communicate("\n", timeout=30)
    assert location.run(RAW[:1], entity="E110").success
