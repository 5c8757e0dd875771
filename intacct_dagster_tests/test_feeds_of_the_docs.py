"""docs/feeds.md does what it says: every example, from the file to what Intacct holds."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from intacct_dagster.client import ClientCredentials, Intacct
from intacct_dagster.config import read_settings
from intacct_dagster.defs import (
    crosswalk_key,
    current_key,
    feed_key,
    plan_key,
    posted_key,
    raw_key,
    reconciled_key,
)
from intacct_dagster.posting.engine import PostingEngine
from intacct_dagster.posting.results import PostingTarget
from intacct_dagster.state import open_state
from intacct_dagster.state.ledger import Entry, Item, Ledger
from intacct_dagster_tests.code_location import PROJECT, CodeLocation, code_location, failure
from intacct_dagster_tests.posting.posting_world import Clock
from intacct_sandbox import LAST_DAY

TEXT = (PROJECT / "docs/feeds.md").read_text(encoding="utf-8")
CONFIGURATIONS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
FILES = dict(re.findall(r"```csv (\S+)\n(.*?)```", TEXT, re.DOTALL))
FEEDS: Mapping[str, Any] = {
    name: feed for text in CONFIGURATIONS for name, feed in yaml.safe_load(text).items()
}
STAGES = (feed_key, reconciled_key, plan_key, posted_key)
FIRST = LAST_DAY - timedelta(days=1)  # a Monday, when a week of the timesheets begins
#: what is there before the payments, whose feeds ask for its keys
PAID = ("customers", "vendors", "invoices", "bills", "accruals", "hours")
TARGETS = {
    "accounts-receivable/customer",
    "accounts-payable/vendor",
    "accounts-receivable/invoice",
    "accounts-payable/bill",
    "general-ledger/journal-entry",
    "time/timesheet",
    "accounts-receivable/payment",
    "accounts-payable/payment",
}


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodeLocation]:
    folder = tmp_path_factory.mktemp("feeds")
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding=FEEDS[path.parent.name].get("csv", {}).get("encoding"))
    head = (PROJECT / "intacct.yaml").read_text(encoding="utf-8").partition("objects:")[0]
    text = head + yaml.safe_dump({"objects": sorted(TARGETS), "feeds": FEEDS})
    settings = read_settings(text, file=folder / "intacct.yaml")
    changes: dict[str, Any] = {
        "objects": settings.objects,
        "feeds": settings.feeds,
        "start_date": FIRST,
    }
    with code_location(folder, **changes) as location:
        yield location


def extract(location: CodeLocation) -> None:
    keys = [raw_key(name) for name in sorted(TARGETS)]
    assert location.run(keys, entity="E110", first=FIRST).success
    assert location.run([current_key(name) for name in sorted(TARGETS)]).success


def reconcile_and_post(location: CodeLocation) -> None:
    for feeds in (PAID, [feed for feed in FEEDS if feed not in PAID]):
        keys = [key(feed) for feed in feeds for key in STAGES]
        result = location.run(keys, entity="E110", first=FIRST)
        assert result.success, failure(result)
        failed = [each for each in result.get_asset_check_evaluations() if not each.passed]
        assert not failed, [(each.asset_key, each.description) for each in failed]
        assert location.run([crosswalk_key(feed) for feed in feeds]).success


def test_every_target_and_every_kind_of_source_has_an_example() -> None:
    assert {feed["object"] for feed in FEEDS.values()} == TARGETS
    assert {"files" in feed for feed in FEEDS.values()} == {True, False}
    assert {feed["match_on"] for feed in FEEDS.values()} == {
        "id",
        "referenceNumber",
        "billNumber",
        "documentNumber",
        "nsp::SOURCE_ID",
    }


def test_the_examples_are_posted_once_found_again_and_read_back(
    location: CodeLocation, tmp_path: Path
) -> None:
    extract(location)
    reconcile_and_post(location)
    assert location.rows("SELECT * FROM feed.quarantine") == []
    for feed in FEEDS:
        states = location.rows(f"SELECT state, reason FROM posting.{feed}")
        assert states == [("posted", None)] * 2, feed
    posted = Counter(
        location.rows(
            " UNION ALL ".join(
                f"SELECT '{feed['object']}', intacct_key FROM crosswalk.{name}"
                for name, feed in FEEDS.items()
            )
        )
    )
    assert created(location) == posted
    assert set(posted.values()) == {1}
    assert all(each.read_back_at for each in entries(location))

    for feed in FEEDS:
        is_found_by_its_key(location, feed, tmp_path / f"{feed}.db")

    # Intacct has them all now, as they were sent.
    extract(location)
    assert location.run(
        [reconciled_key(feed) for feed in FEEDS], entity="E110", first=FIRST
    ).success
    for feed in FEEDS:
        found = location.rows(f"SELECT status, reason, differences FROM reconciled.{feed}")
        assert found == [("matched", None, None)] * 2, feed

    # A row that changed is a difference, and no second document.
    path = location.settings.directory / "feeds/accruals/accruals.csv"
    path.write_text(FILES["feeds/accruals/accruals.csv"].replace("310.40", "311.00"))
    keys = [key("accruals") for key in STAGES]
    assert location.run(keys, entity="E110", first=FIRST).success
    found = location.rows("SELECT source_id, status, differences FROM reconciled.accruals")
    changed = {"source": "311.00", "posted": "310.40"}
    assert [
        (id_, status, json.loads(differences or "{}")) for id_, status, differences in sorted(found)
    ] == [
        ("ACC-0042", "different", {f"lines[{n}].txnAmount": changed for n in (0, 1)}),
        ("ACC-0043", "matched", {}),
    ]
    assert created(location) == posted


def is_found_by_its_key(location: CodeLocation, feed: str, other: Path) -> None:
    """Before planning, and after an answer that was lost: another ledger, which knows nothing of
    what was posted, finds all of it in Intacct."""
    target, match_on = FEEDS[feed]["object"], FEEDS[feed]["match_on"]
    posted, keys = sent(location, target)
    settings, clock = location.settings, Clock()
    engine = open_state(f"sqlite:///{other}")
    ledger = Ledger(engine, settings.company, now=clock)
    grant = ClientCredentials(settings.auth.client_id, settings.auth.client_secret)
    with Intacct(settings.company, settings.base_url, grant, settings.users) as intacct:
        posting = PostingEngine(intacct.entity("E110"), ledger, now=clock)
        where = PostingTarget(feed, target, match_on)
        planned = posting.plan(where, posted, run_id="r", chunk_size=500)
        assert planned.chunks == []
        assert {id_: list(found) for id_, found in planned.already_there.items()} == {
            source_id: [key] for source_id, key in keys.items()
        }

        (chunk,) = ledger.plan(target, "E110", feed, posted, run_id="r")
        assert ledger.start_sending(chunk.chunk_id)
        ledger.uncertain(chunk.chunk_id, "no answer")
        clock.time += timedelta(hours=60)  # too late for the same bytes once more
        (settled,) = posting.resolve(target, match_on)
        assert settled.posted == len(posted) > 0
        found = {each.source_id: each.intacct_key for each in ledger.entries(target, "E110")}
        assert found == keys
    engine.dispose()


def sent(location: CodeLocation, target: str) -> tuple[list[Item], dict[str, str | None]]:
    """What was posted of an object, and the keys under which Intacct has it."""
    engine = open_state(location.settings.state)
    ledger = Ledger(engine, location.settings.company)
    entries = {each.source_id: each for each in ledger.entries(target, "E110")}
    chunks = {each.chunk_id for each in entries.values() if each.chunk_id}
    items = [
        Item(
            source_id, entries[source_id].day, entries[source_id].amount, json.dumps(body).encode()
        )
        for chunk_id in sorted(chunks)
        for source_id, body in zip(
            ledger.source_ids(chunk_id), json.loads(ledger.chunk(chunk_id).body), strict=True
        )
    ]
    engine.dispose()
    return items, {each.source_id: each.intacct_key for each in entries.values()}


def created(location: CodeLocation) -> Counter[tuple[str, str]]:
    """What the sandbox's books say was created, and how often."""
    return Counter(
        (change["object"], change["key"])
        for change in location.control("books")["changes"]
        if change["operation"] == "create"
    )


def entries(location: CodeLocation) -> list[Entry]:
    """What the ledger knows of every document."""
    engine = open_state(location.settings.state)
    ledger = Ledger(engine, location.settings.company)
    found = [each for name in sorted(TARGETS) for each in ledger.entries(name, "E110")]
    engine.dispose()
    return found
