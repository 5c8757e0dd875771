"""The key of the stored sessions in the OS keyring: made by a person, used by all, never lost.

The keyring is one in memory, in the place of the machine's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keyring
import keyring.backend
import keyring.errors
import pytest
from click.testing import CliRunner, Result
from cryptography.fernet import Fernet
from keyring.backends.fail import Keyring as NoKeyring

from intacct_dagster.cli.app import main
from intacct_dagster.company import company_of
from intacct_dagster.config import load_settings
from intacct_dagster.defs import raw_key
from intacct_dagster.state import token_key
from intacct_dagster_tests.code_location import code_location, failure
from intacct_dagster_tests.consent import write_project
from intacct_dagster_tests.state.memory_keyring import InMemory
from intacct_sandbox import CLIENT_ID, CLIENT_SECRET, RunningSandbox

RAW = raw_key("accounts-receivable/customer")


@pytest.fixture
def project(sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("INTACCT_CONFIG", "INTACCT_TOKEN_KEY"):
        monkeypatch.delenv(name, raising=False)
    write_project(tmp_path, sandbox.base_url, grant="client_credentials", port=1)
    file = tmp_path / "intacct.yaml"
    file.write_text(file.read_text().replace("auth:\n", "auth:\n  session_key: keyring\n"))
    return tmp_path


def type_(*words: str) -> Result:
    result = CliRunner().invoke(main, words)
    assert "Traceback" not in result.output
    return result


def kept(ring: InMemory) -> str:
    (key,) = ring.kept.values()
    return key


def test_a_key_is_made_once_in_the_keyring_and_opens_the_sessions(
    project: Path, ring: InMemory
) -> None:
    before = type_("sessions", "check", "E110")
    assert before.exit_code == 1
    assert "has no key for the sessions of demo" in before.output
    assert "`intacct-dagster sessions key` makes one" in before.output
    made = type_("sessions", "key")
    assert made.exit_code == 0, made.output
    assert "was made and is in the OS keyring (intacct-dagster, demo)" in made.output
    key = kept(ring)
    assert key not in made.output
    assert type_("sessions", "check", "E110").exit_code == 0
    assert "is in the OS keyring" in type_("sessions", "key").output
    assert kept(ring) == key
    assert {path.name for path in (project / "data").iterdir()} == {"state.db", "state.db.locks"}
    with company_of(load_settings()) as company:
        assert {each.state for each in company.stored_sessions()} == {"alive", "missing"}


def test_a_key_that_a_file_had_goes_on_opening_what_it_encrypted(
    project: Path, ring: InMemory
) -> None:
    file = project / "intacct.yaml"
    in_keyring = file.read_text()
    file.write_text(in_keyring.replace("session_key: keyring", "session_key: file"))
    assert type_("sessions", "check", "E110").exit_code == 0
    assert "Say `auth: {session_key: keyring}`" in type_("sessions", "key").output
    assert ring.kept == {}
    file.write_text(in_keyring)
    moved = " ".join(type_("sessions", "key").output.split())
    assert "token.key is now in the OS keyring (intacct-dagster, demo) as well" in moved
    (project / "data/token.key").unlink()
    listed = type_("sessions", "list")
    assert "alive until" in listed.output


def test_the_environment_goes_before_the_keyring(
    project: Path, ring: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Fernet.generate_key()
    monkeypatch.setenv("INTACCT_TOKEN_KEY", key.decode())
    assert token_key(project, "keyring", "demo") == key
    assert "goes before the OS keyring" in type_("sessions", "key").output
    assert ring.kept == {}


def test_another_key_says_so_and_destroys_nothing(project: Path, ring: InMemory) -> None:
    assert type_("sessions", "key").exit_code == 0
    assert type_("sessions", "check", "E110").exit_code == 0
    right = kept(ring)
    for wrong, told in (
        (Fernet.generate_key().decode(), "was encrypted with another key"),
        ("no key at all", "does not hold a Fernet key"),
    ):
        ring.kept[("intacct-dagster", "demo")] = wrong
        refused = type_("sessions", "list")
        assert refused.exit_code == 1
        assert told in " ".join(refused.output.split())
        assert wrong not in refused.output
        assert (type_("sessions", "key").exit_code == 0) == (wrong != "no key at all")
        assert kept(ring) == wrong, "what is there stays"
    ring.kept[("intacct-dagster", "demo")] = right
    assert "alive until" in type_("sessions", "list").output


@pytest.mark.parametrize(
    "words", [("sessions", "key"), ("sessions", "check"), ("doctor", "--json")]
)
def test_a_machine_without_a_keyring_leads_on(
    project: Path, ring: InMemory, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    ring.locked = True
    told = " ".join(type_(*words).output.split())
    assert "There is no OS keyring here that can be used" in told
    assert "KeyringLocked" in told
    keyring.set_keyring(NoKeyring())  # type: ignore[no-untyped-call]
    told = " ".join(type_(*words).output.split())
    assert "NoKeyringError" in told
    assert "set INTACCT_TOKEN_KEY to the key, or say `auth: {session_key: file}`" in told
    monkeypatch.setitem(sys.modules, "keyring", None)
    told = " ".join(type_(*words).output.split())
    assert "Install `intacct_dagster[keyring]`" in told
    assert "[keyring]" in type_(*(each for each in words if each != "--json")).output


def test_a_keyring_that_keeps_nothing_is_found_out(
    project: Path, ring: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring, "set_password", lambda *_: None)
    refused = type_("sessions", "key")
    assert refused.exit_code == 1
    assert "does not give it back" in refused.output


def test_init_makes_the_key_there_or_writes_nothing(
    sandbox: RunningSandbox, ring: InMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INTACCT_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("INTACCT_CLIENT_SECRET", CLIENT_SECRET)
    words = (
        *("init", "--no-input", "--company", "demo", "--base-url", sandbox.base_url),
        *("--entity", "E110=usa", "--object", "accounts-receivable/customer"),
        *("--session-key", "keyring"),
    )
    ring.locked = True
    assert type_(*words).exit_code == 1
    assert list(tmp_path.iterdir()) == []
    ring.locked = False
    written = type_(*words)
    assert written.exit_code == 0, written.output
    settings = load_settings()
    assert settings.auth.session_key == "keyring"
    assert kept(ring) not in (tmp_path / ".env").read_text()
    assert type_("sessions", "check").exit_code == 0


def test_a_run_without_its_key_is_told_how_to_get_it(ring: InMemory, tmp_path: Path) -> None:
    with code_location(tmp_path) as location:
        auth = location.settings.auth.model_copy(update={"session_key": "keyring"})
        location.settings = location.settings.model_copy(update={"auth": auth})
        told = failure(location.run([RAW], entity="E110"))
    assert "`intacct-dagster sessions key` makes one" in told
