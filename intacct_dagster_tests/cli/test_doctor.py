"""The doctor: all well on the sandbox, and each thing that is wrong, once, with its remedy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from intacct_dagster.cli.app import main
from intacct_dagster.client import ClientCredentials, Intacct
from intacct_dagster.state import ApiUsage, open_state
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import read_schemas
from intacct_dagster_tests.code_location import PROJECT
from intacct_dagster_tests.consent import write_project
from intacct_sandbox import RunningSandbox

CUSTOMER = "accounts-receivable/customer"


@dataclass
class Examined:
    """What the doctor said."""

    exit_code: int
    findings: list[dict[str, Any]]

    def of(self, verdict: str) -> list[dict[str, Any]]:
        return [each for each in self.findings if each["verdict"] == verdict]

    def only(self, verdict: str) -> dict[str, Any]:
        (found,) = self.of(verdict)
        return found


class Practice:
    """A project in a folder, and the doctor called to it."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self.folder, self.base_url = folder, base_url
        write_project(folder, base_url, grant="client_credentials", port=8766)

    def change(self, old: str, new: str) -> None:
        file = self.folder / "intacct.yaml"
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")

    def examine(self, *options: str) -> Examined:
        result = CliRunner().invoke(main, ["doctor", "--json", *options])
        assert "Traceback" not in result.output
        assert "sandbox-secret" not in result.output
        report = json.loads(result.output)
        assert report["well"] == (result.exit_code == 0)
        return Examined(result.exit_code, report["findings"])


@pytest.fixture
def practice(sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Practice:
    monkeypatch.chdir(tmp_path)
    for name in ("DAGSTER_HOME", "INTACCT_CONFIG", "INTACCT_TOKEN_KEY"):
        monkeypatch.delenv(name, raising=False)
    return Practice(tmp_path, sandbox.base_url)


def test_a_company_without_a_partition_is_not_well(practice: Practice) -> None:
    practice.change("start_date: 2026-10-13", "start_date: 2031-01-01")
    seen = practice.examine()
    assert seen.exit_code == 1
    assert "start_date: there is no partition yet" in seen.only("error")["seen"]


def test_a_company_that_is_well_has_a_line_for_each_thing_looked_at(practice: Practice) -> None:
    shutil.copy(PROJECT / "dagster.yaml", practice.folder)
    seen = practice.examine()
    assert seen.exit_code == 0
    assert {each["check"] for each in seen.findings} == {
        *("configuration", "scope", "state store", "warehouse", "disk", "company", "clock"),
        *("session", "permission", "fields", "drift", "period", "limits", "allowance"),
        *("dagster", "daemons", "time zone", "pair"),
    }
    assert seen.only("warning")["check"] == "daemons", "none is running here"
    assert practice.examine("--strict").exit_code == 1
    shown = CliRunner().invoke(main, ["doctor", "--entity", "E120"])
    assert shown.exit_code == 0
    assert "can works in E120" in shown.output
    assert "E110" not in shown.output


def test_an_old_name_of_a_key_is_a_warning_with_its_line(practice: Practice) -> None:
    practice.change("company:", "dagster_url: http://dagster.example\ncompany:")
    result = CliRunner().invoke(main, ["doctor", "--json"])
    findings = json.loads(result.stdout)["findings"]
    text = (practice.folder / "intacct.yaml").read_text(encoding="utf-8")
    line = next(n for n, each in enumerate(text.splitlines(), 1) if "dagster_url" in each)
    (found,) = [each for each in findings if "dagster_url" in each["seen"]]
    assert found["verdict"] == "warning"
    assert found["seen"].startswith(f"intacct.yaml:{line}: dagster_url is an old name")
    assert found["remedy"] == "Rename it to webserver_url."


def test_what_the_doctor_asks_is_counted(practice: Practice) -> None:
    practice.examine()
    state = open_state(f"sqlite:///{practice.folder}/data/state.db")
    spent = ApiUsage(state, "demo").spent(datetime.now(UTC))
    state.dispose()
    assert spent > 0


def _no_file(practice: Practice) -> None:
    (practice.folder / "intacct.yaml").unlink()


def _secret(practice: Practice) -> None:
    practice.change("client_secret: sandbox-secret", "client_secret: no-such-secret")


def _user_of_another(practice: Practice) -> None:
    practice.change("{id: E120, user: can}", "{id: E120, user: usa}")


def _object(practice: Practice) -> None:
    practice.change(CUSTOMER, "accounts-receivable/custmer")


def _field(practice: Practice) -> None:
    practice.change(f"- {CUSTOMER}", f"- {{name: {CUSTOMER}, fields: [id, totlDue]}}")


def _address(practice: Practice) -> None:
    practice.change(practice.base_url, "http://127.0.0.1:9/ia/api/v1")


def _dagster_file(practice: Practice) -> None:
    (practice.folder / "dagster.yaml").write_text("run_launcher: {module: nowhere, class: No}\n")


@pytest.mark.parametrize(
    ("break_it", "check", "words"),
    [
        (_no_file, "configuration", "there is no such file"),
        (_secret, "session", "Check client_id and client_secret"),
        (_user_of_another, "session", "Company > Admin > Users > usa > User entities"),
        (_object, "fields", "Did you mean accounts-receivable/customer"),
        (_field, "fields", "did you mean totalDue"),
        (_address, "company", "Check base_url"),
        (_dagster_file, "dagster", "Correct dagster.yaml"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_each_mistake_is_an_error_with_a_remedy_and_hides_what_needs_it(
    practice: Practice, break_it: Callable[[Practice], None], check: str, words: str
) -> None:
    break_it(practice)
    seen = practice.examine()
    assert seen.exit_code == 1
    errors = seen.of("error")
    assert check in {each["check"] for each in errors}
    assert words in " ".join(f"{each['seen']} {each['remedy']}" for each in errors)
    assert all(each["remedy"] for each in errors)


def test_where_the_first_thing_is_wrong_nothing_else_is_called_wrong(practice: Practice) -> None:
    _no_file(practice)
    seen = practice.examine()
    assert seen.only("error")["check"] == "configuration"
    assert {each["seen"] for each in seen.of("not looked at")} == {"first correct: configuration"}


def test_an_entity_without_a_session_does_not_hide_the_others(practice: Practice) -> None:
    _user_of_another(practice)
    seen = practice.examine()
    assert seen.only("error")["entity"] == "E120"
    assert not seen.of("not looked at")
    (permission,) = [each for each in seen.findings if each["check"] == "permission"]
    assert permission["seen"] == "1 objects may be read in each of 1 entities"


def test_a_field_that_came_and_one_that_went_are_drift(practice: Practice) -> None:
    warehouse = Warehouse(practice.folder / "data/warehouse.duckdb")
    assert CliRunner().invoke(main, ["doctor"]).exit_code == 0
    learn(practice)
    fields = list(read_schemas(warehouse)[CUSTOMER].values())
    with warehouse.connect() as connection:
        connection.execute(
            "UPDATE meta.catalogue SET path = 'gone' WHERE object = ? AND path = 'totalDue'",
            [CUSTOMER],
        )
    assert fields
    drift = [each for each in practice.examine().of("warning") if each["check"] == "drift"]
    assert [each["seen"] for each in drift] == [
        "new since it was read last: totalDue",
        "vanished since it was read last: gone",
    ]


def learn(practice: Practice) -> None:
    """Have the warehouse know what the sandbox offers, as after a run."""
    from intacct_dagster.company import company_of
    from intacct_dagster.config import load_settings
    from intacct_dagster.extraction.schema import CompanySchema

    settings = load_settings()
    with company_of(settings) as intacct:
        schemas = CompanySchema(Warehouse(settings.warehouse), lambda: datetime.now(UTC))
        schemas.learn(intacct.entity("E110"), settings.objects)


def test_more_requests_at_once_than_intacct_allows(practice: Practice) -> None:
    practice.change("start_date:", "limits: {concurrency: 30}\nstart_date:")
    limits = [each for each in practice.examine().of("warning") if each["check"] == "limits"]
    assert limits[0]["remedy"] == "Set `limits: {concurrency: 6}`."


def test_an_allowance_that_is_used_up(practice: Practice) -> None:
    practice.change("start_date:", "limits: {monthly_transactions: 1}\nstart_date:")
    practice.examine()
    assert practice.examine().only("error")["check"] == "allowance"


def test_a_clock_that_is_off(practice: Practice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Intacct, "clock_skew", lambda _self: timedelta(minutes=10))
    seen = practice.examine()
    assert seen.only("error")["seen"] == "this machine is 600 s ahead"
    assert "NTP" in seen.only("error")["remedy"]


def test_the_clocks_are_compared_by_the_date_of_an_answer(sandbox: RunningSandbox) -> None:
    grant = ClientCredentials("none", "none")

    def fast() -> datetime:
        return datetime.now(UTC) + timedelta(hours=1)

    with Intacct("demo", sandbox.base_url, grant, {}, now=fast) as intacct:
        skew = intacct.clock_skew()
    assert skew is not None
    assert abs(skew - timedelta(hours=1)) < timedelta(seconds=30)


def test_files_that_others_may_read_and_a_key_that_is_another(
    practice: Practice, monkeypatch: pytest.MonkeyPatch
) -> None:
    practice.examine()
    (practice.folder / ".env").write_text("UNUSED=1\n")
    (practice.folder / ".env").chmod(0o644)
    (practice.folder / "data/state.db").chmod(0o664)
    open_to_others = [each for each in practice.examine().of("warning") if "mode" in each["seen"]]
    assert [each["seen"].split()[0] for each in open_to_others] == [".env", "state.db"]
    assert all(each["remedy"].startswith("chmod 600") for each in open_to_others)
    monkeypatch.setenv("INTACCT_TOKEN_KEY", "A" * 43 + "=")
    wrong = practice.examine().only("error")
    assert wrong["check"] == "state store"
    assert "nothing was changed" in wrong["seen"] + wrong["remedy"]


def test_objects_of_the_xml_api_are_tried_as_they_are_read(practice: Practice) -> None:
    practice.change("objects:\n", "objects:\n  - xml/gl-detail\n  - xml/gl-account-balance\n")
    practice.change("company:", "xml: {sender_id: sandbox, sender_password: a-sender}\ncompany:")
    wrong = practice.examine()
    refused = {each["object"] for each in wrong.of("error")}
    assert refused == {"xml/gl-detail", "xml/gl-account-balance"}
    assert all("xml.sender_password" in each["remedy"] for each in wrong.of("error"))
    practice.change("a-sender", "sandbox-sender")
    assert practice.examine().of("error") == []
