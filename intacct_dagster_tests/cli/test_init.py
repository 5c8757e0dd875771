"""`init`: what it asks, what it counts, and that it overwrites and tells nothing unasked."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from intacct_dagster.cli.app import main
from intacct_dagster.config import load_settings
from intacct_dagster_tests.consent import Person
from intacct_sandbox import CLIENT_ID, CLIENT_SECRET, RunningSandbox

CUSTOMER = "accounts-receivable/customer"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INTACCT_CONFIG", raising=False)
    monkeypatch.setenv("INTACCT_CLIENT_ID", "")
    monkeypatch.delenv("INTACCT_CLIENT_ID")
    monkeypatch.setenv("INTACCT_CLIENT_SECRET", CLIENT_SECRET)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def init(sandbox: RunningSandbox, *more: str, asked: str | None = None) -> Result:
    words = ["init", "--company", "demo", "--base-url", sandbox.base_url, "--client-id", CLIENT_ID]
    if asked is None:
        words.append("--no-input")
    result = CliRunner().invoke(main, [*words, *more], input=asked)
    assert "Traceback" not in result.output
    assert CLIENT_SECRET not in result.output
    return result


def test_entities_are_discovered_and_each_object_costs_one_count(
    sandbox: RunningSandbox, folder: Path
) -> None:
    def queries() -> int:
        control = sandbox.base_url.removesuffix("/ia/api/v1") + "/_sandbox/requests"
        return int(httpx.get(control).json()["requests"].get("query POST", 0))

    before = queries()
    result = init(
        sandbox, "--discover", "top", "--object", CUSTOMER, "--object", "general-ledger/account",
        "--start-date", "2026-10-01",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert queries() - before == 1 + 2, "the entities, and a count for each object"
    assert "History from 2026-10-01 on" in result.output
    settings = load_settings()
    assert settings.users == dict.fromkeys(("E110", "E120", "E130", "E140"), "top")
    assert [each.name for each in settings.objects] == [CUSTOMER, "general-ledger/account"]
    assert not settings.posting.enabled


def test_what_a_person_answers_is_what_is_written(sandbox: RunningSandbox, folder: Path) -> None:
    asked = "\n".join(
        [
            *("non-production", "client_credentials", "2026-10-01"),
            *("top", "usa", "can", "-", "-"),  # the top-level user, and one of each entity
            *("time", "time/timesheet-line"),  # the module, and what to leave out of it
        ]
    )
    result = init(sandbox, asked=asked + "\n")
    assert result.exit_code == 0, result.output
    assert "User of E110 (United States)" in result.output
    settings = load_settings()
    assert settings.users == {"E110": "usa", "E120": "can"}
    names = [each.name for each in settings.objects]
    assert "time/timesheet" in names
    assert "time/timesheet-line" not in names


@pytest.fixture
def back(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Options for a consent that comes back to this machine, over a port that is free."""
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}/callback"
    return "--grant", "authorization_code", "--discover", "top", "--redirect-uri", uri


def consenting(monkeypatch: pytest.MonkeyPatch, *users: str) -> Person:
    person = Person(*users)
    monkeypatch.setattr("webbrowser.open", person.open)
    return person


def test_a_top_level_user_consents_to_the_discovery_and_to_nothing_more(
    sandbox: RunningSandbox,
    folder: Path,
    back: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    revoked: list[str] = []
    revoke = sandbox.books.tokens.revoke

    def watched(asked: Mapping[str, str]) -> None:
        revoked.append(asked["token"])
        revoke(asked)

    monkeypatch.setattr(sandbox.books.tokens, "revoke", watched)
    person = consenting(monkeypatch, "top")
    asked = "\n".join(["non-production", "2026-10-01", "usa", "can", "-", "-"])
    with person.waited_for():
        result = init(sandbox, *back, "--object", CUSTOMER, asked=asked + "\n")
    assert result.exit_code == 0, result.output
    assert "User of E110 (United States)" in result.output
    assert "History from 2026-10-01 on" in result.output, "objects are counted as well"
    settings = load_settings()
    assert settings.users == {"E110": "usa", "E120": "can"}
    assert settings.auth.redirect_uri == back[-1]
    assert len(revoked) == 1
    assert sorted(path.name for path in folder.iterdir()) == [".env", "intacct.yaml"]


@pytest.mark.parametrize(
    ("who", "printed"),
    [
        ("top", "The company has: E110 (United States), E120 (Canada)"),
        ("usa", "usa consented, and not top"),
    ],
)
def test_a_consent_that_does_not_lead_to_users_leads_on(
    sandbox: RunningSandbox,
    folder: Path,
    back: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    who: str,
    printed: str,
) -> None:
    person = consenting(monkeypatch, who)
    with person.waited_for():
        result = init(sandbox, *back)
    assert result.exit_code == 1
    assert printed in " ".join(result.output.split())
    assert list(folder.iterdir()) == []


def test_nothing_is_overwritten_unasked(sandbox: RunningSandbox, folder: Path) -> None:
    file = folder / "intacct.yaml"
    file.write_text("mine\n")
    words = ("--entity", "E110=usa", "--object", CUSTOMER)
    refused = init(sandbox, *words)
    assert refused.exit_code == 1
    assert "Say --force" in refused.output
    assert init(sandbox, *words, asked="n\n").exit_code == 1
    assert file.read_text() == "mine\n"
    assert init(sandbox, *words, "--force").exit_code == 0
    assert load_settings().users == {"E110": "usa"}


def test_only_its_owner_may_read_the_secret_and_any_secret_comes_back(
    sandbox: RunningSandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = "a'b\\c\"d #e $F"
    monkeypatch.setenv("INTACCT_CLIENT_SECRET", strange)
    result = init(
        sandbox, "--grant", "authorization_code", "--entity", "E110=usa", "--object", CUSTOMER
    )
    assert result.exit_code == 0, result.output
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    assert strange not in (folder / "intacct.yaml").read_text()
    assert sorted(path.name for path in folder.iterdir()) == [".env", "intacct.yaml"]
    monkeypatch.setenv("INTACCT_CLIENT_SECRET", "exported long ago")
    assert load_settings().auth.client_secret == strange


@pytest.mark.parametrize(
    ("more", "printed"),
    [
        ((), "name them with --entity E110=user, or --discover TOP_USER"),
        (("--entity", "E110"), "say it like --entity E110=reporting-usa"),
        (("--discover", "top", "--entity", "E999"), "the company has: E110, E120, E130, E140"),
        (("--discover", "nobody"), "Check the company id"),
        (("--entity", "E120=usa"), "Company > Admin > Users > usa > User entities"),
        (("--entity", "E110=usa", "--module", "nothing"), "There is no module nothing"),
        (
            ("--entity", "E110=usa", "--object", "accounts-receivable/custmer"),
            "Did you mean accounts-receivable/customer",
        ),
    ],
    ids=lambda value: "-".join(value).strip("-") if isinstance(value, tuple) else "",
)
def test_a_mistake_leads_on_and_nothing_is_written(
    sandbox: RunningSandbox, folder: Path, more: tuple[str, ...], printed: str
) -> None:
    result = init(sandbox, *more)
    assert result.exit_code == 1
    assert printed in " ".join(result.output.split())
    assert list(folder.iterdir()) == []


def test_no_option_takes_a_secret() -> None:
    shown = CliRunner().invoke(main, ["init", "--help"]).output
    assert "--client-secret" not in shown
    assert "INTACCT_CLIENT_SECRET" in shown
