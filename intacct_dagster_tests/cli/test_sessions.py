"""`authorize` and `sessions`: what a person meets who lets the application in."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from intacct_dagster.cli.app import main
from intacct_dagster_tests.consent import Person, sent_back_to, write_project
from intacct_sandbox import RunningSandbox


class Project:
    """A folder with an intacct.yaml, and what is typed in it."""

    def __init__(self, folder: Path, base_url: str, port: int, monkeypatch: object) -> None:
        self.folder, self.base_url, self.port = folder, base_url, port
        assert isinstance(monkeypatch, pytest.MonkeyPatch)
        self._monkeypatch = monkeypatch

    def write(self, grant: str = "authorization_code") -> None:
        write_project(self.folder, self.base_url, grant=grant, port=self.port)

    def change(self, old: str, new: str) -> None:
        file = self.folder / "intacct.yaml"
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")

    def type(self, *words: str, person: Person | None = None, paste: str = "") -> Result:
        someone = person or Person()
        self._monkeypatch.setattr("webbrowser.open", someone.open)
        with someone.waited_for():
            result = CliRunner().invoke(main, words, input=paste)
        assert "Traceback" not in result.output
        assert "sandbox-secret" not in result.output
        return result


@pytest.fixture
def project(sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    httpx.post(sandbox.base_url.removesuffix("/ia/api/v1") + "/_sandbox/reset").raise_for_status()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("SSH_CONNECTION", "INTACCT_CONFIG", "INTACCT_TOKEN_KEY"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    project = Project(tmp_path, sandbox.base_url, port, monkeypatch)
    project.write()
    return project


def test_each_user_consents_once_and_every_entity_has_its_session(project: Project) -> None:
    person = Person("usa", "can")
    result = project.type("authorize", "--all", person=person)
    assert result.exit_code == 0, result.output
    assert "E110: usa is authorized" in result.output
    assert [answer.status_code for answer in person.answers] == [200, 200]
    assert all("code_challenge_method=S256" in url for url in person.urls)
    assert all("scope=offline_access" in url for url in person.urls)
    checked = project.type("sessions", "check")
    assert checked.exit_code == 0
    assert "E120: can works, in E120 and nowhere else." in checked.output
    listed = project.type("sessions", "list")
    assert listed.exit_code == 0
    assert listed.output.count("alive until") == 2
    again = project.type("authorize", "--all")
    assert "nothing to authorize" in again.output


def test_over_ssh_the_address_is_pasted_and_not_shown(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")
    monkeypatch.delenv("DISPLAY", raising=False)
    pasted: list[str] = []

    def prompt(*_args: object, hide_input: bool, **_options: object) -> str:
        assert hide_input
        return pasted.pop(0)

    monkeypatch.setattr("click.prompt", prompt)
    shown: list[str] = []
    echo = __import__("click").echo

    def watch(message: object = "", **options: object) -> None:
        shown.append(str(message))
        if "oauth2/authorize" in str(message):
            url = str(message).split()[-1]
            back = sent_back_to(url, "usa")
            pasted.extend(["https://example.com/", back.replace("state=", "state=x"), back])
        echo(message, **options)

    monkeypatch.setattr("click.echo", watch)
    result = project.type("authorize", "E110")
    assert result.exit_code == 0, result.output
    assert "That is not the address" in result.output
    assert "belongs to another attempt" in result.output
    assert "code=" not in "".join(shown).replace("`code=`", "")
    assert project.type("sessions", "check", "E110").exit_code == 0


def test_a_person_who_says_no_is_told_how_to_say_yes(project: Project) -> None:
    result = project.type("authorize", "E110", person=Person("usa", decision="deny"))
    assert result.exit_code == 1
    assert "The access was not allowed: access_denied." in result.output
    assert "Run the command again" in result.output


def test_an_address_of_another_attempt_is_answered_and_not_counted(project: Project) -> None:
    class Forged(Person):
        def _go(self, url: str, user: str) -> None:
            back = sent_back_to(url, user)
            self.answers.append(httpx.get(back.replace("state=", "state=forged")))
            self.answers.append(httpx.get(back.replace("/callback", "/elsewhere")))
            self.answers.append(httpx.get(back))

    person = Forged("usa")
    result = project.type("authorize", "E110", person=person)
    assert result.exit_code == 0, result.output
    assert [answer.status_code for answer in person.answers] == [400, 404, 200]
    assert "another attempt" in person.answers[0].text


def test_a_browser_of_another_user_changes_nothing_and_costs_that_user_nothing(
    project: Project,
) -> None:
    assert project.type("authorize", "E110", person=Person("usa")).exit_code == 0
    result = project.type("authorize", "E120", person=Person("usa"))
    assert result.exit_code == 1
    assert "usa consented, and the user of E120 is can" in result.output
    assert "private window" in result.output
    # Sage would have ended E110's session silently; the new one took its place.
    assert project.type("sessions", "check", "E110").exit_code == 0
    listed = project.type("sessions", "list")
    assert listed.exit_code == 1
    assert "`intacct-dagster authorize E120`, as can" in listed.output


def test_one_user_is_not_authorized_for_two_entities(project: Project) -> None:
    assert project.type("authorize", "E110", person=Person("usa")).exit_code == 0
    project.change("{id: E120, user: can}", "{id: E120, user: usa}")
    refused = project.type("authorize", "E120")
    assert refused.exit_code == 1
    assert "second consent silently ends the first" in refused.output
    assert "give each entity a Sage user of its own" in refused.output
    # also where the file has forgotten the first, and the store has not
    project.change("  - {id: E110, user: usa}\n", "")
    refused = project.type("authorize", "E120")
    assert refused.exit_code == 1
    assert "User usa is authorized for E110 already" in refused.output
    assert "`intacct-dagster sessions revoke E110`" in refused.output
    revoked = project.type("sessions", "revoke", "E110")
    assert "E110: the session of usa is revoked and forgotten" in revoked.output
    assert "usa" not in project.type("sessions", "list").output.split("E120")[0]


def test_a_revoked_session_names_the_command_that_mends_it_and_others_go_on(
    project: Project, sandbox: RunningSandbox
) -> None:
    assert project.type("authorize", "--all", person=Person("usa", "can")).exit_code == 0
    sandbox.books.tokens.revoke_user("usa")
    checked = project.type("sessions", "check")
    assert checked.exit_code == 1
    assert "Run `intacct-dagster authorize E110`, and consent once more" in checked.output
    assert "E120: can works" in checked.output
    journal = sandbox.base_url.removesuffix("/ia/api/v1") + "/_sandbox/requests"
    before = httpx.get(journal).json()
    checked = project.type("sessions", "check", "E110")
    assert "`intacct-dagster authorize E110`" in checked.output
    assert httpx.get(journal).json() == before, "a session that has ended asks Intacct no more"
    assert project.type("authorize", "--all", person=Person("usa")).exit_code == 0
    assert project.type("sessions", "check").exit_code == 0


def test_a_port_that_is_taken_leads_to_pasting(project: Project) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", project.port))
        taken.listen()
        result = project.type("authorize", "E110")
    assert result.exit_code == 1
    assert "say --paste" in result.output


def test_nobody_who_comes_back_is_not_waited_for_for_ever(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(0, 100_000, 400))
    monkeypatch.setattr("intacct_dagster.client.auth.authorize.time.monotonic", lambda: next(ticks))
    result = project.type("authorize", "E110", "--no-browser")
    assert result.exit_code == 1
    assert "Nobody came back from the browser within 300 s" in result.output


def test_other_mistakes_are_told_with_what_to_do(project: Project) -> None:
    assert "intacct.yaml has: E110, E120" in project.type("authorize", "E999").output
    assert "say --all" in project.type("authorize").output
    project.write(grant="client_credentials")
    assert "which needs nobody's consent" in project.type("authorize", "E110").output
    assert project.type("sessions", "check").exit_code == 0


def test_a_wrong_key_is_told_and_the_sessions_stay(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project.type("authorize", "E110", person=Person("usa")).exit_code == 0
    monkeypatch.setenv("INTACCT_TOKEN_KEY", "A" * 43 + "=")
    told = project.type("sessions", "list")
    assert told.exit_code == 1
    assert "was encrypted with another key" in told.output
    assert "nothing was changed" in told.output
    monkeypatch.delenv("INTACCT_TOKEN_KEY")
    assert project.type("sessions", "check", "E110").exit_code == 0


def test_only_its_owner_may_read_what_is_kept(project: Project) -> None:
    assert project.type("authorize", "E110", person=Person("usa")).exit_code == 0
    files = [path for path in (project.folder / "data").iterdir() if path.is_file()]
    assert {path.name for path in files} >= {"state.db", "token.key"}
    assert {path.name: path.stat().st_mode & 0o777 for path in files} == {
        path.name: 0o600 for path in files
    }
