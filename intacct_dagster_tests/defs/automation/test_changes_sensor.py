"""A change of a posted document is shown, approved, launched once, and sent again when mended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from intacct_dagster.cli.app import main
from intacct_dagster.config import Entity, Posting
from intacct_dagster.defs import (
    current_key,
    feed_key,
    plan_key,
    posted_key,
    raw_key,
    reconciled_key,
)
from intacct_dagster_tests.code_location import FEED, OBJECTS, PROJECT, CodeLocation, code_location
from intacct_sandbox import CLIENT_ID, CLIENT_SECRET, COMPANY, LAST_DAY

PLAN = f"plan_of_{FEED}"
POSTING = f"posting_of_{FEED}"
HEADER = (
    "invoice_ref,line_no,entity_id,customer_id,invoice_date,due_date,amount,account,department_id,"
    "description,line_amount\n"
)
STAGES = (feed_key, reconciled_key, plan_key, posted_key)


@pytest.fixture
def location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CodeLocation]:
    with code_location(
        tmp_path,
        entities=(Entity(id="E110", user="usa"),),
        posting=Posting(enabled=True, approval="required"),
    ) as location:
        settings = location.settings
        patched = settings.feeds[FEED].model_copy(update={"on_change": "patch"})
        feeds = {**settings.feeds, FEED: patched}
        location.settings = settings.model_copy(update={"feeds": feeds})
        text = (PROJECT / "intacct.yaml").read_text(encoding="utf-8")
        text = text.replace("    match_on:", "    on_change: patch\n    match_on:")
        text = text.replace(
            "{enabled: true}", "{enabled: true, approval: required, settle_seconds: 0}"
        )
        (tmp_path / "intacct.yaml").write_text(text, encoding="utf-8")
        monkeypatch.setenv("INTACCT_BASE_URL", location.settings.base_url)
        monkeypatch.chdir(tmp_path)
        for file in tmp_path.glob(f"data/feeds/{FEED}/*"):
            file.unlink()
        yield location


def posting(*arguments: str) -> str:
    told = CliRunner(env={"COLUMNS": "300"}).invoke(main, ["posting", *arguments])
    assert told.exit_code == 0, told.output
    return told.output


def sell(location: CodeLocation, *, day: date, department: str, memo: str) -> None:
    line = f"A1,1,E110,C-10052,{LAST_DAY},{day},10.00,40200,{department},{memo},10.00\n"
    file = location.settings.directory / f"data/feeds/{FEED}/a.csv"
    file.write_text(HEADER + line, encoding="utf-8")


def run(location: CodeLocation, *stages: str) -> None:
    keys = [key(FEED) for key in STAGES if key(FEED).path[0] in stages]
    assert location.run(keys, entity="E110").success


def approve(location: CodeLocation) -> str:
    """The table of the plan, after a person approved it by the hash that it shows."""
    shown = posting("plan", "--entity", "E110")
    found = re.search(r"All of it together is plan (\w{12});", shown)
    assert found is not None
    posting("approve", found[1], "--entity", "E110")
    return shown


def cells(table: str, first: str) -> list[str]:
    """The row of a printed table that begins so."""
    (row,) = [line for line in table.splitlines() if re.match(rf"\W*{first}\W", line)]
    return [each.strip() for each in re.split("[│┃|]", row)[1:-1]]


CHANGES = "SELECT source_id, state, fields, reason IS NULL, read_back FROM posting.changes"


def post_first(location: CodeLocation) -> None:
    """Read the company, and post the one document of the feed."""
    assert location.run([raw_key(name) for name in OBJECTS], entity="E110").success
    assert location.run([current_key(name) for name in OBJECTS]).success
    sell(location, day=LAST_DAY, department="320", memo="Support")
    run(location, "feed", "reconciled", "plan")
    assert "to change" not in approve(location)
    assert all(each.success for each in location.launch(location.tick(POSTING)))
    assert location.tick(POSTING).requests == []
    assert posting("list").endswith("1 documents.\n")


def test_a_change_is_shown_approved_and_launched_once(location: CodeLocation) -> None:
    post_first(location)

    # A plan of nothing but a change waits for a person, and then is launched once.
    sell(location, day=LAST_DAY.replace(day=LAST_DAY.day + 1), department="320", memo="Support")
    run(location, "feed", "reconciled", "plan")
    tick = location.tick(POSTING)
    assert tick.requests == []
    assert f"a person has to approve E110 {LAST_DAY}" in tick.told
    row = cells(approve(location), "E110")
    assert row[2:8] == ["0", "0.00", "0", "1", "0", "0"], "one to change, none to create"
    tick = location.tick(POSTING)
    assert tick.ranges == [f"E110 {LAST_DAY}..{LAST_DAY}"]
    first = tick.requests[0].run_key
    assert all(each.success for each in location.launch(tick))
    assert location.tick(POSTING).requests == []
    assert location.rows(CHANGES) == [("A1", "posted", "dueDate", True, True)]
    assert cells(posting("plan", "--entity", "E110"), "E110")[5:7] == ["1", "1"]
    assert "1 changes of posted documents made." in posting("list", "--state", "posted")

    # The same there and back again is another plan, with an approval of its own.
    sell(location, day=LAST_DAY, department="320", memo="Support")
    run(location, "feed", "reconciled", "plan")
    approve(location)
    assert all(each.success for each in location.launch(location.tick(POSTING)))
    sell(location, day=LAST_DAY.replace(day=LAST_DAY.day + 1), department="320", memo="Support")
    run(location, "feed", "reconciled", "plan")
    assert "a person has to approve" in location.tick(POSTING).told
    approve(location)
    tick = location.tick(POSTING)
    assert [each.run_key != first for each in tick.requests] == [True]
    assert all(each.success for each in location.launch(tick))
    assert location.rows(CHANGES) == [("A1", "posted", "dueDate", True, True)]


def test_an_uncertain_change_is_resolved_and_a_rejected_one_sent_again_by_a_persons_word(
    location: CodeLocation,
) -> None:
    post_first(location)

    # What became of it is asked for, by the next run or by a person.
    lose_answers(location, 1)
    sell(location, day=LAST_DAY.replace(day=LAST_DAY.day + 2), department="320", memo="Support")
    run(location, "feed", "reconciled", "plan")
    approve(location)
    assert all(each.success for each in location.launch(location.tick(POSTING)))
    assert location.rows(CHANGES) == [("A1", "uncertain", "dueDate", True, False)]
    assert "what became of documents of E110" in location.tick(POSTING).told
    assert "1 changes of posted documents uncertain." in posting("list", "--state", "uncertain")
    assert posting("resolve") == (
        f"changes of {FEED} E110: 1 made, 0 rejected, 0 uncertain of 1"
        " (compared: all were changed)\n"
    )
    assert posting("resolve") == "Nothing is uncertain.\n"
    assert posting("list", "--state", "uncertain") == "0 documents uncertain.\n"

    # What Intacct rejected waits for a person.
    needs_department(location, needed=True)
    sell(location, day=LAST_DAY, department="", memo="Help")
    run(location, "feed", "reconciled", "plan")
    approve(location)
    assert all(each.success for each in location.launch(location.tick(POSTING)))
    assert location.tick(POSTING).requests == []
    told = posting("list", "--state", "rejected")
    assert told.startswith("0 documents rejected.\n")
    assert "dueDate, lines" in told
    shown = posting("show", "A1")
    assert "last change of A1" in shown
    assert "needs a Department" in shown
    assert "Help" not in shown
    assert '"Help"' in posting("show", "A1", "--payload")

    needs_department(location, needed=False)
    run(location, "reconciled", "plan", "posting")
    assert "1 changes of posted documents rejected." in posting("list", "--state", "rejected")
    assert "1 rejected changes will be sent once more." in posting("retry", "A1")
    run(location, "reconciled", "plan")
    approve(location)
    run(location, "posting")
    assert location.rows(CHANGES) == [("A1", "posted", "dueDate, lines", True, True)]
    assert posting("list", "--state", "rejected") == "0 documents rejected.\n"


def lose_answers(location: CodeLocation, times: int) -> None:
    """The next changes are made, and the line goes dead before Intacct says so."""
    fault = {"name": "lost", "method": "PATCH", "route": "objects", "cut": "after", "times": times}
    control = location.settings.base_url.replace("/ia/api/v1", "/_sandbox")
    httpx.put(f"{control}/faults", json={"faults": [fault]}).raise_for_status()


def needs_department(location: CodeLocation, *, needed: bool) -> None:
    """Whether the account of the invoice asks for a department: a person says so in Intacct."""
    base = location.settings.base_url
    form = {
        "grant_type": "client_credentials",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "username": f"top@{COMPANY}",
    }
    token = httpx.post(f"{base}/oauth2/token", data=form).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=base, headers=headers) as client:
        asked = {
            "object": "general-ledger/account",
            "fields": ["key"],
            "filters": [{"$eq": {"id": "40200"}}],
        }
        (found,) = client.post("/services/core/query", json=asked).json()["ia::result"]
        client.patch(
            f"/objects/general-ledger/account/{found['key']}",
            json={"requireDimensions": {"department": needed}},
        ).raise_for_status()
