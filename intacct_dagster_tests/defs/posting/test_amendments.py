"""A document that its source has otherwise after it was posted: its record is changed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from intacct_dagster.client import ClientCredentials, Intacct
from intacct_dagster.config import read_settings
from intacct_dagster.defs import crosswalk_key, current_key, posted_key, raw_key, reconciled_key
from intacct_dagster.defs.checks.results import CHANGES_MADE
from intacct_dagster_tests.code_location import PROJECT, CodeLocation, code_location, failure
from intacct_dagster_tests.test_feeds_of_the_docs import (
    FEEDS,
    FILES,
    FIRST,
    PAID,
    STAGES,
    created,
)

#: What the sources have otherwise: feed -> (before, after)
OTHERWISE = {
    "customers": ("Northwind Traders,25000", "Northwind,30000"),
    "vendors": ("Paper & Ink Ltd|check", "Paper Ltd|transfer"),
    "invoices": (
        "1.234,50;234,50;Reisekosten",
        (
            "1.234,50;200,00;Reisekosten\n"
            "R-2026-1;3;E110;NW-1001;13.10.2026;12.11.2026;1.234,50;34,50;Porto"
        ),
    ),
    "bills": (
        (
            "PI-778,1,E110,PAP-1,2026-10-13,2026-11-12,150.00,100.00,60340,\n"
            "PI-778,2,E110,PAP-1,2026-10-13,2026-11-12,150.00,50.00,60350,"
        ),
        "PI-778,1,E110,PAP-1,2026-10-13,2026-11-30,90.00,90.00,60340,310",
    ),
    "accruals": ("310.40", "311.00"),
    "hours": ("2026-10-13,8,", "2026-10-13,6,Support"),
}


#: What receipts pay, and whom: the feeds of `make test`. `make slow` amends those of all targets.
SALES = ("customers", "invoices")


@pytest.fixture(scope="module", params=[SALES, pytest.param(PAID, marks=pytest.mark.slow)], ids=len)
def feeds(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the feeds whose documents are amended."""
    return tuple(request.param)


@pytest.fixture(scope="module")
def location(
    feeds: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CodeLocation]:
    """Yield a company that has posted all of the feeds, which amend what they posted."""
    folder = tmp_path_factory.mktemp("changes")
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    head = (PROJECT / "intacct.yaml").read_text(encoding="utf-8").partition("objects:")[0]
    all_ = {name: {**FEEDS[name], "on_change": "patch"} for name in (*feeds, "receipts")}
    objects = sorted({feed["object"] for feed in all_.values()})
    text = head + yaml.safe_dump({"objects": objects, "feeds": all_})
    settings = read_settings(text, file=folder / "intacct.yaml")
    given: dict[str, Any] = {
        "objects": settings.objects,
        "feeds": settings.feeds,
        "start_date": FIRST,
    }
    with code_location(folder, **given) as location:
        for name in (*feeds, "receipts"):
            write(location, name)
        read(location)
        run(location, *feeds)
        yield location


def read(location: CodeLocation) -> None:
    """Read all objects of the feeds from Intacct."""
    names = [each.name for each in location.settings.objects]
    assert location.run([raw_key(name) for name in names], entity="E110", first=FIRST).success
    assert location.run([current_key(name) for name in names]).success


def write(location: CodeLocation, feed: str, before: str = "", after: str = "") -> None:
    """The file of a feed, with something in it otherwise."""
    for name, content in FILES.items():
        if name.split("/")[1] == feed:
            assert before in content
            path = location.settings.directory / name
            encoding = FEEDS[feed].get("csv", {}).get("encoding")
            path.write_text(content.replace(before, after) if before else content, encoding)


def run(location: CodeLocation, *feeds: str) -> dict[tuple[str, str], bool]:
    """From the files to what Intacct holds; which checks passed, by (feed, check)."""
    keys = [key(feed) for feed in feeds for key in STAGES]
    result = location.run(keys, entity="E110", first=FIRST)
    assert result.success, failure(result)
    assert location.run([crosswalk_key(feed) for feed in feeds]).success
    return {
        (each.asset_key.path[-1], each.check_name): each.passed
        for each in result.get_asset_check_evaluations()
        if each.partition is None
    }


def statuses(location: CodeLocation, feed: str) -> Counter[str]:
    return Counter(status for (status,) in location.rows(f"SELECT status FROM reconciled.{feed}"))


def held(location: CodeLocation, object: str, key: str) -> dict[str, Any]:
    """A record as Intacct has it."""
    settings = location.settings
    grant = ClientCredentials(settings.auth.client_id, settings.auth.client_secret)
    with Intacct(settings.company, settings.base_url, grant, settings.users) as intacct:
        return intacct.entity("E110").get(object, [key])[key]


def key_of(location: CodeLocation, feed: str, source_id: str) -> str:
    sql = f"SELECT intacct_key FROM crosswalk.{feed} WHERE number = ?"
    ((key,),) = location.rows(sql, source_id)
    return str(key)


def test_what_its_source_has_otherwise_is_changed_and_never_posted_again(
    location: CodeLocation, feeds: tuple[str, ...]
) -> None:
    before = created(location)
    crosswalk = keys_of(location, feeds)
    for feed in feeds:
        write(location, feed, *OTHERWISE[feed])

    checks = run(location, *feeds)

    assert all(checks.values()), [each for each, passed in checks.items() if not passed]
    for feed in feeds:
        assert statuses(location, feed)["changed"] == 1, feed
    assert created(location) == before, "no second document"
    assert keys_of(location, feeds) == crosswalk
    invoice = held(
        location, "accounts-receivable/invoice", key_of(location, "invoices", "R-2026-1")
    )
    lines = [(line["txnAmount"], line["memo"]) for line in invoice["lines"]]
    assert lines == [("1000.00", "Beratung Müller"), ("200.00", "Reisekosten"), ("34.50", "Porto")]
    if "bills" in feeds:
        is_amended(location)
    assert (
        held(location, "accounts-receivable/customer", key_of(location, "customers", "NW-1001"))[
            "name"
        ]
        == "Northwind"
    )

    # the plan is as it was, and once more it changes nothing
    requests = changes_sent(location)
    assert location.run([posted_key(feed) for feed in feeds], entity="E110", first=FIRST).success
    run(location, *feeds)
    assert changes_sent(location) == requests
    for feed in feeds:
        assert statuses(location, feed) in (
            Counter(posted=1, matched=1),
            Counter(matched=2),
            Counter(posted=2),
        )

    read(location)
    assert location.run(
        [reconciled_key(feed) for feed in feeds], entity="E110", first=FIRST
    ).success
    for feed in feeds:
        assert statuses(location, feed) == Counter(matched=2), feed

    # What a payment stands against, what is no longer as it was posted, and what is never changed.
    assert all(run(location, "receipts").values())
    customer = key_of(location, "customers", "NW-1002")
    by_hand(location, "accounts-receivable/customer", customer, {"name": "Contoso"})
    write(location, "invoices", "Beratung", "Rat")
    write(location, "customers", ",,yes", ",5,no")
    write(location, "receipts", "30.00", "31.00")
    checks = run(location, "invoices", "customers", "receipts")
    reasons = {
        (source_id, reason)
        for feed in ("invoices", "customers", "receipts")
        for source_id, reason in location.rows(
            f"SELECT source_id, reason FROM plan.{feed} WHERE gate = 'change_allowed'"
        )
    }
    assert {
        ("NW-1002", "it was changed in Intacct too, since it was posted"),
        ("BANK-9002", "accounts-receivable/payment is not changed once it is posted"),
    } <= reasons
    assert any(id_ == "R-2026-1" and why.startswith("it is paid in") for id_, why in reasons)
    assert not checks["invoices", "change_allowed"]
    # the file of the customers is as it was at first: what was changed is changed back
    assert changes_sent(location) == requests + 2, "the payments, and one change back"
    assert checks["customers", CHANGES_MADE]
    first = key_of(location, "customers", "NW-1001")
    assert held(location, "accounts-receivable/customer", first)["name"] == "Northwind Traders"
    assert created(location) - before == Counter(
        ("accounts-receivable/payment", key)
        for (key,) in location.rows("SELECT intacct_key FROM crosswalk.receipts")
    )


def is_amended(location: CodeLocation) -> None:
    """Check the bill that lost a line, and has another date and another department."""
    bill = held(location, "accounts-payable/bill", key_of(location, "bills", "PI-778"))
    assert (bill["dueDate"], [line["txnAmount"] for line in bill["lines"]]) == (
        "2026-11-30",
        ["90.00"],
    )
    assert bill["lines"][0]["dimensions"]["department"]["id"] == "310"


def by_hand(location: CodeLocation, object: str, key: str, body: dict[str, Any]) -> None:
    """What a person does to a record in Intacct."""
    settings = location.settings
    grant = ClientCredentials(settings.auth.client_id, settings.auth.client_secret)
    change = json.dumps([{"key": key, **body}]).encode()
    with Intacct(settings.company, settings.base_url, grant, settings.users) as intacct:
        done = intacct.entity("E110").create_batch(object, change, 1, "by hand", change=True)
        assert done.created == 1


def keys_of(location: CodeLocation, feeds: tuple[str, ...]) -> Counter[tuple[Any, ...]]:
    """Return the crosswalk of all feeds."""
    return Counter(
        row
        for feed in feeds
        for row in location.rows(f"SELECT * EXCLUDE amount FROM crosswalk.{feed}")
    )


def changes_sent(location: CodeLocation) -> int:
    """How many records the sandbox's books say were changed."""
    ((count,),) = location.rows("SELECT count(*) FROM posting.chunks WHERE state = 'answered'")
    return int(count)
