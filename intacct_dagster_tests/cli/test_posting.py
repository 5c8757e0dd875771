"""`intacct-dagster posting`: what a person sees of the ledger, and what their word changes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from intacct_dagster.cli.app import main
from intacct_dagster_tests.code_location import FEED, PROJECT, CodeLocation
from intacct_dagster_tests.golden_company import (
    copy_company,
    extract,
    open_company,
    reconcile_and_post,
)
from intacct_sandbox import CLIENT_ID, CLIENT_SECRET, COMPANY, LAST_DAY


def posting(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "300"}).invoke(main, ["posting", *arguments])


@pytest.fixture
def location(
    posted_company: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CodeLocation]:
    with open_company(copy_company(posted_company, tmp_path)) as location:
        shutil.copy(PROJECT / "intacct.yaml", tmp_path)
        monkeypatch.chdir(tmp_path)
        yield location


def run(location: CodeLocation) -> None:
    extract(location)
    reconcile_and_post(location)


def rejected(location: CodeLocation) -> dict[str, str]:
    return dict(
        location.rows(
            f"SELECT source_id, what_to_do FROM posting.{FEED} WHERE state = 'rejected'"
            " ORDER BY source_id"
        )
    )


@contextmanager
def accountant(location: CodeLocation, user: str = f"usa@{COMPANY}|E110") -> Iterator[httpx.Client]:
    """A person in the company, who mends what is wrong there."""
    token = httpx.post(
        f"{location.settings.base_url}/oauth2/token",
        data={
            "grant_type": "client_credentials",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "username": user,
        },
    ).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=location.settings.base_url, headers=headers) as client:
        yield client


def test_what_was_mended_in_intacct_is_posted_when_a_person_says_so(
    location: CodeLocation,
) -> None:
    source_id, what_to_do = next(iter(rejected(location).items()))
    account = re.search(r"Account (\S+) needs a Department", what_to_do)
    assert account is not None
    # Accounts are the company's, not the entity's.
    with accountant(location, f"top@{COMPANY}") as client:
        asked = {
            "object": "general-ledger/account",
            "fields": ["key"],
            "filters": [{"$eq": {"id": account[1]}}],
        }
        found = client.post("/services/core/query", json=asked).json()["ia::result"]
        client.patch(
            f"/objects/general-ledger/account/{found[0]['key']}",
            json={"requireDimensions": {"department": False}},
        ).raise_for_status()
    run(location)
    assert source_id in rejected(location), "unchanged, and nobody said that it may go again"

    told = posting("retry", source_id)
    assert told.exit_code == 0, told.output
    assert told.output.startswith("1 rejected documents will be sent once more.")
    assert "E110: 2026-10-1" in told.output
    run(location)

    assert source_id not in rejected(location)
    listed = posting("list", "--state", "posted", source_id)
    assert f"{source_id}" in listed.output
    assert listed.output.endswith("1 documents posted.\n")


def test_what_a_gate_held_is_posted_by_itself_when_it_was_mended(location: CodeLocation) -> None:
    (source_id, what_to_do), *_ = location.rows(
        f"SELECT source_id, what_to_do FROM plan.{FEED} WHERE gate = 'references_usable'"
        " ORDER BY source_id"
    )
    customer = re.search(r"Enter customer (\S+) in Intacct", what_to_do)
    assert customer is not None
    with accountant(location) as client:
        client.post(
            "/objects/accounts-receivable/customer",
            json={"id": customer[1], "name": "Entered after all"},
        ).raise_for_status()
    run(location)
    listed = posting("list", "--state", "posted", source_id)
    assert listed.output.endswith("1 documents posted.\n")


def test_the_list_shows_reason_and_remedy_and_can_be_narrowed(location: CodeLocation) -> None:
    found = rejected(location)
    listed = posting("list", "--state", "rejected", "--entity", "E110", "--reason", "department")
    assert listed.exit_code == 0, listed.output
    for source_id, what_to_do in found.items():
        assert source_id in listed.output
        assert what_to_do in listed.output
    assert listed.output.endswith(f"{len(found)} documents rejected.\n")
    nothing = posting("list", "--state", "rejected", "--entity", "E120")
    assert nothing.output == "0 documents rejected.\n"


def test_the_old_word_for_rejected_is_accepted_with_a_warning(location: CodeLocation) -> None:
    before = CliRunner().invoke(main, ["posting", "list", "--state", "refused"])
    now = CliRunner().invoke(main, ["posting", "list", "--state", "rejected"])
    assert (before.exit_code, now.exit_code) == (0, 0), before.output
    assert before.stdout == now.stdout
    assert "--state rejected" in before.stderr
    assert now.stderr == ""
    assert "refused" not in CliRunner().invoke(main, ["posting", "list", "--help"]).output


def test_one_document_is_shown_with_its_request_and_its_payload_only_when_asked(
    location: CodeLocation,
) -> None:
    ((source_id, key),) = location.rows(
        f"SELECT source_id, intacct_key FROM posting.{FEED} WHERE state = 'posted'"
        " ORDER BY source_id LIMIT 1"
    )
    shown = posting("show", source_id)
    assert shown.exit_code == 0, shown.output
    assert f"/objects/accounts-receivable/invoice/{key}" in shown.output
    assert "answered, planned" in shown.output
    assert "referenceNumber" not in shown.output
    assert '"referenceNumber"' in posting("show", "--payload", source_id).output
    nothing = posting("show", "never-seen")
    assert nothing.exit_code == 1
    assert "it was never planned" in nothing.output


def test_a_plan_is_approved_by_its_hash_with_the_same_options(location: CodeLocation) -> None:
    days = ("--entity", "E110", "--from", LAST_DAY.isoformat(), "--to", LAST_DAY.isoformat())
    shown = posting("plan", *days)
    assert shown.exit_code == 0, shown.output
    plan = re.search(r"All of it together is plan (\w{12});", shown.output)
    assert plan is not None
    assert "yes" not in shown.output
    wrong = posting("approve", "0123456789ab", *days)
    assert wrong.exit_code == 1
    assert f"No plan of these partitions is 0123456789ab: {FEED} is {plan[1]}" in wrong.output
    assert posting("approve", plan[1], "--entity", "E120").exit_code == 1, "another selection"
    said = posting("approve", plan[1], *days, "--by", "the controller")
    assert said.exit_code == 0, said.output
    assert "the plan of 1 partitions is approved by the controller" in said.output
    assert "yes" in posting("plan", *days).output


def test_a_reversal_is_planned_and_never_sent(location: CodeLocation, tmp_path: Path) -> None:
    before = location.control("books")["changes"]
    source_id = next(change["document"] for change in before if change["operation"] == "create")
    into = tmp_path / "reversal.json"
    arguments = ("reverse-plan", source_id, "--on", "2026-10-14", "--json", str(into))
    told = posting(*arguments)
    assert told.exit_code == 0, told.output
    assert "Nothing was sent" in told.output
    (request,) = json.loads(into.read_text(encoding="utf-8"))
    key = next(change["key"] for change in before if change["document"] == source_id)
    assert request["path"] == "/workflows/accounts-receivable/invoice/reverse"
    assert request["body"] == {"key": key, "reversedDate": "2026-10-14"}
    assert location.control("books")["changes"] == before
    with accountant(location) as client:
        done = client.post(request["path"], json=request["body"]).raise_for_status().json()
    assert done["ia::result"]["state"] in ("reversed", "reversal")


def test_where_nothing_is_uncertain_resolving_says_so(location: CodeLocation) -> None:
    told = posting("resolve")
    assert (told.exit_code, told.output) == (0, "Nothing is uncertain.\n")
    assert posting("resolve", "--key", "7").exit_code == 2


def test_a_retry_of_everything_has_to_be_said(location: CodeLocation) -> None:
    before = rejected(location)
    told = posting("retry")
    assert told.exit_code == 2
    assert "--all" in told.output
    assert posting("list", "--state", "rejected", "--reason", "Department").output.endswith(
        f"{len(before)} documents rejected.\n"
    )
    wrong = posting("retry", "--all", "--entity", "E999")
    assert wrong.exit_code == 1
    assert "There is no entity E999; intacct.yaml has: E110, E120, E130, E140." in wrong.output
    assert posting("retry", "--all", "--entity", "E110").exit_code == 0
    assert posting("list", "--state", "rejected").output == "0 documents rejected.\n"
