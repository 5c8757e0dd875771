"""docs/feeds.md does what it says: every example, from the file to what Intacct holds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import httpx
import pytest
import yaml

from intacct_dagster.config import read_settings
from intacct_dagster.defs import (
    crosswalk_key,
    current_key,
    feed_key,
    posted_key,
    raw_key,
    reconciled_key,
)
from intacct_dagster.sandbox import LAST_DAY
from intacct_dagster.warehouse import Entry, Ledger, open_state
from intacct_dagster_tests.code_location import PROJECT, CodeLocation, code_location

TEXT = (PROJECT / "docs/feeds.md").read_text(encoding="utf-8")
CONFIGURATIONS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
FILES = dict(re.findall(r"```csv (\S+)\n(.*?)```", TEXT, re.DOTALL))
FEEDS: Mapping[str, Any] = {
    name: feed for text in CONFIGURATIONS for name, feed in yaml.safe_load(text).items()
}
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
        keys = [key(feed) for feed in feeds for key in (feed_key, reconciled_key, posted_key)]
        result = location.run(keys, entity="E110", first=FIRST)
        assert result.success
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


def test_the_examples_are_posted_once_and_read_back(location: CodeLocation) -> None:
    extract(location)
    reconcile_and_post(location)
    assert location.rows("SELECT * FROM feed.quarantine") == []
    for feed in FEEDS:
        fates = location.rows(f"SELECT state, reason FROM posting.{feed}")
        assert fates == [("posted", None)] * 2, feed
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

    # Everything once more: Intacct has them all now, as they were sent, and none is sent again.
    extract(location)
    reconcile_and_post(location)
    for feed in FEEDS:
        found = location.rows(f"SELECT status, reason, differences FROM reconciled.{feed}")
        assert found == [("matched", None, None)] * 2, feed
    assert created(location) == posted


def created(location: CodeLocation) -> Counter[tuple[str, str]]:
    """What the sandbox's books say was created, and how often."""
    control = location.settings.base_url.removesuffix("/ia/api/v1") + "/_sandbox/books"
    return Counter(
        (change["object"], change["key"])
        for change in httpx.get(control).json()["changes"]
        if change["operation"] == "create"
    )


def entries(location: CodeLocation) -> list[Entry]:
    """What the ledger knows of every document."""
    engine = open_state(location.settings.state)
    ledger = Ledger(engine, location.settings.company)
    found = [each for name in sorted(TARGETS) for each in ledger.entries(name, "E110")]
    engine.dispose()
    return found
