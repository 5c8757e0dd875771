"""`intacct-dagster posting`: what a person sees of the ledger, and what their word changes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from intacct_dagster.cli import main
from intacct_dagster.defs import current_key, feed_key, posted_key, raw_key, reconciled_key
from intacct_dagster.sandbox import CLIENT_ID, CLIENT_SECRET, COMPANY, LAST_DAY
from intacct_dagster_tests.code_location import FEED, OBJECTS, PROJECT, CodeLocation, code_location

FIRST = LAST_DAY - timedelta(days=2)


def posting(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "300"}).invoke(main, ["posting", *arguments])


@pytest.fixture
def location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CodeLocation]:
    with code_location(tmp_path, days=3, start_date=FIRST) as location:
        shutil.copy(PROJECT / "intacct.yaml", tmp_path)
        monkeypatch.chdir(tmp_path)
        run(location)
        yield location


def run(location: CodeLocation) -> None:
    assert location.run([raw_key(name) for name in OBJECTS], entity="E110", first=FIRST).success
    assert location.run([current_key(name) for name in OBJECTS]).success
    keys = [feed_key(FEED), reconciled_key(FEED), posted_key(FEED)]
    assert location.run(keys, entity="E110", first=FIRST).success


def refused(location: CodeLocation) -> dict[str, str]:
    return dict(
        location.rows(
            f"SELECT source_id, what_to_do FROM posting.{FEED} WHERE state = 'rejected'"
            " AND reason LIKE 'customer %' ORDER BY source_id"
        )
    )


def test_what_was_mended_in_intacct_is_posted_when_a_person_says_so(
    location: CodeLocation,
) -> None:
    source_id, what_to_do = next(iter(refused(location).items()))
    customer = re.search(r"customer (\S+) in Intacct", what_to_do)
    assert customer is not None
    token = httpx.post(
        f"{location.settings.base_url}/oauth2/token",
        data={
            "grant_type": "client_credentials",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "username": f"usa@{COMPANY}|E110",
        },
    ).json()["access_token"]
    httpx.post(
        f"{location.settings.base_url}/objects/accounts-receivable/customer",
        headers={"Authorization": f"Bearer {token}"},
        json={"id": customer[1], "name": "Created after all"},
    ).raise_for_status()
    run(location)
    assert source_id in refused(location), "unchanged, and nobody said that it may go again"

    told = posting("retry", source_id)
    assert told.exit_code == 0, told.output
    assert told.output.startswith("1 refused documents will be sent once more.")
    assert "E110: 2026-10-1" in told.output
    run(location)

    assert source_id not in refused(location)
    listed = posting("list", "--state", "posted", source_id)
    assert f"{source_id}" in listed.output
    assert listed.output.endswith("1 documents posted.\n")


def test_the_list_shows_reason_and_remedy_and_can_be_narrowed(location: CodeLocation) -> None:
    found = refused(location)
    listed = posting("list", "--state", "refused", "--entity", "E110", "--reason", "customer")
    assert listed.exit_code == 0, listed.output
    for source_id, what_to_do in found.items():
        assert source_id in listed.output
        assert what_to_do in listed.output
    assert listed.output.endswith(f"{len(found)} documents refused.\n")
    nothing = posting("list", "--state", "refused", "--entity", "E120")
    assert nothing.output == "0 documents refused.\n"


def test_a_retry_of_everything_has_to_be_said(location: CodeLocation) -> None:
    before = refused(location)
    told = posting("retry")
    assert told.exit_code == 2
    assert "--all" in told.output
    assert posting("list", "--state", "refused", "--reason", "customer").output.endswith(
        f"{len(before)} documents refused.\n"
    )
    wrong = posting("retry", "--all", "--entity", "E999")
    assert wrong.exit_code == 1
    assert "There is no entity E999; intacct.yaml has: E110, E120, E130, E140." in wrong.output
    assert posting("retry", "--all", "--entity", "E110").exit_code == 0
    assert posting("list", "--state", "refused").output == "0 documents refused.\n"
