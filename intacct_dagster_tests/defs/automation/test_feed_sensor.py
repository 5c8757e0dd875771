"""A feed's files become a plan by themselves: which are taken, when, and what they concern."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from intacct_dagster.config import Entity, Posting, Schedules
from intacct_dagster.defs import (
    build_definitions,
    current_key,
    feed_key,
    plan_key,
    raw_key,
    reconciled_key,
)
from intacct_dagster.state import Approvals, open_state
from intacct_dagster.warehouse.reconciliation import plan_hashes, planned_documents
from intacct_dagster_tests.code_location import (
    FEED,
    OBJECTS,
    CodeLocation,
    Tick,
    code_location,
    sandbox_settings,
)
from intacct_sandbox import LAST_DAY

FIRST = LAST_DAY - timedelta(days=3)
ENTITIES = (Entity(id="E110", user="usa"), Entity(id="E120", user="can"))
FILES = f"files_of_{FEED}"
PLAN = f"plan_of_{FEED}"
POSTING = f"posting_of_{FEED}"
HEADER = (
    "invoice_ref,line_no,entity_id,customer_id,invoice_date,due_date,amount,account,department_id,"
    "description,line_amount\n"
)


@pytest.fixture
def location(tmp_path: Path) -> Iterator[CodeLocation]:
    """Without Intacct: nothing was read from there, so a tick launches the feed alone."""
    settings = sandbox_settings("http://127.0.0.1:9", tmp_path, start_date=FIRST, entities=ENTITIES)
    (tmp_path / f"data/feeds/{FEED}").mkdir(parents=True)
    with dg.DagsterInstance.ephemeral() as instance:
        yield CodeLocation(settings, instance)


def sell(
    location: CodeLocation, name: str, *documents: tuple[str, str, date], end: str = ""
) -> Path:
    """Writes a file of the feed with a document of 10.00 for each (id, entity, day)."""
    file = location.settings.directory / f"data/feeds/{FEED}/{name}"
    lines = (
        f"{ref},1,{entity},C-10052,{day},{day},10.00,40200,320,Support,10.00\n"
        for ref, entity, day in documents
    )
    file.write_text(HEADER + "".join(lines) + end, encoding="utf-8")
    return file


def done(location: CodeLocation, tick: Tick) -> None:
    assert all(each.success for each in location.launch(tick))


def test_a_new_file_is_read_and_exactly_its_partitions(location: CodeLocation) -> None:
    sell(location, "a.csv", ("A1", "E110", FIRST), ("A2", "E110", LAST_DAY), ("A3", "E120", FIRST))
    tick = location.tick(FILES)
    assert tick.ranges == [
        f"E110 {FIRST}..{FIRST}",
        f"E120 {FIRST}..{FIRST}",
        f"E110 {LAST_DAY}..{LAST_DAY}",
    ]
    assert "a.csv is new or changed" in tick.told
    assert "accounts-receivable/invoice was not read yet" in tick.told
    done(location, tick)
    assert location.materialized(feed_key(FEED)) == {
        f"{FIRST}|E110",
        f"{LAST_DAY}|E110",
        f"{FIRST}|E120",
    }
    assert location.rows(f"SELECT count(*) FROM feed.{FEED}") == [(3,)]

    again = location.tick(FILES)
    assert again.requests == []
    assert again.told.strip() == "1 files seen; none is new, changed or gone"


def test_a_file_that_still_grows_waits_until_it_was_the_same_for_a_while(
    location: CodeLocation,
) -> None:
    half = ("A1", "E110", FIRST)
    sell(location, "a.csv", half)
    tick = location.tick(FILES, meanwhile=lambda: sell(location, "a.csv", half, half))
    assert tick.requests == []
    assert "a.csv changed just now, and may be half-written" in tick.told
    whole = (half, ("A2", "E120", FIRST))
    tick = location.tick(FILES, meanwhile=lambda: sell(location, "a.csv", *whole))
    assert tick.requests == []
    # Dagster was not there for a while; what was seen then is the same now.
    location.now += timedelta(hours=1)
    tick = location.tick(FILES, meanwhile=lambda: pytest.fail("it need not wait any more"))
    assert tick.ranges == [f"E110 {FIRST}..{FIRST}", f"E120 {FIRST}..{FIRST}"]


def test_a_file_that_vanishes_for_a_moment_while_it_is_replaced_is_not_gone(
    location: CodeLocation,
) -> None:
    file = sell(location, "a.csv", ("A1", "E110", FIRST))
    done(location, location.tick(FILES))
    kept = file.rename(file.with_name(".a.csv"))
    tick = location.tick(FILES, meanwhile=lambda: kept.rename(file))
    assert tick.requests == []
    assert tick.told.strip() == "1 files seen; none is new, changed or gone"


def test_where_files_settle_longer_than_a_tick_may_last_later_ticks_take_them(
    location: CodeLocation,
) -> None:
    slow = Schedules(feed_settle_seconds=60)
    location.settings = location.settings.model_copy(update={"schedules": slow})
    sell(location, "a.csv", ("A1", "E110", FIRST))
    for seconds in (0, 30, 59):
        at = location.now + timedelta(seconds=seconds)
        # soon enough to wait for it within the tick only when most of the minute is over
        tick = location.tick(FILES, now=at)
        assert tick.requests == [] or seconds == 59
    assert tick.ranges == [f"E110 {FIRST}..{FIRST}"]


def test_the_same_content_again_does_nothing_touched_renamed_or_copied(
    location: CodeLocation,
) -> None:
    file = sell(location, "a.csv", ("A1", "E110", FIRST))
    done(location, location.tick(FILES))

    os.utime(file, (1_700_000_000, 1_700_000_000))
    assert "a.csv has a content that was acted on before" in location.tick(FILES).told
    shutil.copy2(file, file.with_name("copy.csv"))
    assert "copy.csv has a content that was acted on before" in location.tick(FILES).told
    file.rename(file.with_name("renamed.csv"))
    assert location.tick(FILES).requests == []
    file.with_name("copy.csv").unlink()
    assert location.tick(FILES).requests == []

    # Its lines are known by the name that they were read under.
    file.with_name("renamed.csv").unlink()
    tick = location.tick(FILES)
    assert tick.ranges == [f"E110 {FIRST}..{FIRST}"]
    done(location, tick)
    assert location.rows(f"SELECT count(*) FROM feed.{FEED}") == [(0,)]


def test_a_changed_file_concerns_what_it_held_before_and_what_it_holds_now(
    location: CodeLocation,
) -> None:
    sell(location, "a.csv", ("A1", "E110", FIRST), ("A2", "E110", LAST_DAY))
    sell(location, "b.csv", ("B1", "E120", LAST_DAY))
    done(location, location.tick(FILES))
    moved = FIRST + timedelta(days=1)
    sell(location, "a.csv", ("A1", "E110", moved), ("A2", "E110", LAST_DAY))
    tick = location.tick(FILES)
    # Its old day and its new one touch, and so are one run; the day that stays as it was is read
    # too, because the file is.
    assert tick.ranges == [f"E110 {FIRST}..{moved}", f"E110 {LAST_DAY}..{LAST_DAY}"]
    done(location, tick)
    assert location.rows(f"SELECT _day FROM feed.{FEED} WHERE invoice_ref = 'A1'") == [(moved,)]


def test_a_document_that_another_file_contradicts_is_judged_anew(location: CodeLocation) -> None:
    sell(location, "a.csv", ("A1", "E110", FIRST))
    done(location, location.tick(FILES))
    file = sell(location, "b.csv", ("A1", "E110", LAST_DAY))
    tick = location.tick(FILES)
    assert tick.ranges == [f"E110 {FIRST}..{FIRST}", f"E110 {LAST_DAY}..{LAST_DAY}"]
    done(location, tick)
    invalid = f"SELECT DISTINCT _day FROM feed.{FEED} WHERE _invalid IS NOT NULL ORDER BY ALL"
    assert location.rows(invalid) == [(FIRST,), (LAST_DAY,)]
    file.unlink()
    done(location, location.tick(FILES))
    assert location.rows(invalid) == []


def test_a_file_of_which_nothing_can_be_used_is_read_so_that_the_quarantine_tells(
    location: CodeLocation,
) -> None:
    sell(location, "a.csv", end="no,line\n")
    tick = location.tick(FILES)
    assert "no line of it can be used: see feed.quarantine" in tick.told
    done(location, tick)
    assert location.rows("SELECT file, line FROM feed.quarantine") == [
        (f"data/feeds/{FEED}/a.csv", 2)
    ]


def test_days_without_a_partition_and_retired_entities_are_told_and_left(
    location: CodeLocation,
) -> None:
    retired = (ENTITIES[0], ENTITIES[1].model_copy(update={"retired": True}))
    location.settings = location.settings.model_copy(update={"entities": retired, "end_date": None})
    early, late = FIRST - timedelta(days=9), LAST_DAY + timedelta(days=3)
    sell(
        location,
        "a.csv",
        ("A1", "E110", early),
        ("A2", "E110", FIRST),
        ("A3", "E110", late),
        ("A4", "E120", FIRST),
    )
    tick = location.tick(FILES)
    assert tick.ranges == [f"E110 {FIRST}..{FIRST}"]
    assert f"left out, before start_date: E110 {early}" in tick.told
    assert f"left out, of retired entities: E120 {FIRST}" in tick.told
    assert f"planned when the day has a partition: E110 {late}" in tick.told

    assert location.tick(FILES).requests == []
    after = location.now + timedelta(days=2)
    assert location.tick(FILES, now=after).ranges == [f"E110 {late}..{late}"]


def test_no_more_runs_than_may_be_under_way_and_the_rest_at_later_ticks(
    location: CodeLocation,
) -> None:
    one = Schedules(max_concurrent_runs=1)
    location.settings = location.settings.model_copy(update={"schedules": one})
    sell(location, "a.csv", ("A1", "E110", FIRST), ("A2", "E120", LAST_DAY))
    first = location.tick(FILES)
    assert first.ranges == [f"E110 {FIRST}..{FIRST}"]
    assert "1 ranges wait for runs that are under way" in first.told
    location.begin(first)
    assert location.tick(FILES).requests == []
    location.end()
    assert location.tick(FILES).ranges == [f"E120 {LAST_DAY}..{LAST_DAY}"]
    assert location.tick(FILES).requests == []


def test_files_that_lie_elsewhere_are_looked_at_and_copied(
    location: CodeLocation, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    feed = location.settings.feeds[FEED].model_copy(
        update={"files": (f"local://{elsewhere}/*.csv",)}
    )
    location.settings = location.settings.model_copy(update={"feeds": {FEED: feed}})
    sell(location, "a.csv", ("A1", "E110", FIRST)).rename(elsewhere / "a.csv")
    tick = location.tick(FILES)
    assert tick.ranges == [f"E110 {FIRST}..{FIRST}"]
    done(location, tick)
    assert location.rows(f"SELECT _file FROM feed.{FEED}") == [("a.csv",)]
    (elsewhere / "a.csv").unlink()
    done(location, location.tick(FILES))
    assert location.rows(f"SELECT count(*) FROM feed.{FEED}") == [(0,)]


def test_a_place_that_cannot_be_reached_is_told_and_forgets_nothing(location: CodeLocation) -> None:
    sell(location, "a.csv", ("A1", "E110", FIRST))
    done(location, location.tick(FILES))
    here = location.settings
    feed = here.feeds[FEED].model_copy(update={"files": ("nowhere://me:pass@host/*.csv",)})
    location.settings = here.model_copy(update={"feeds": {FEED: feed}})
    told = location.tick(FILES).told
    assert "nowhere://…@host/*.csv cannot be reached" in told
    assert "pass" not in told
    definitions = build_definitions(location.settings)
    about = [spec.description for spec in definitions.resolve_all_asset_specs()]
    about += [each.description for each in definitions.sensors or ()]
    assert any("nowhere://…@host/" in str(each) for each in about)
    assert not any("me:pass" in str(each) for each in about)
    location.settings = here
    assert location.tick(FILES).requests == []


# -- with Intacct ------------------------------------------------------------------------------


@pytest.fixture
def company(tmp_path: Path) -> Iterator[CodeLocation]:
    with code_location(
        tmp_path,
        start_date=FIRST,
        entities=ENTITIES[:1],
        posting=Posting(enabled=True, approval="required"),
    ) as location:
        for file in location.settings.directory.glob(f"data/feeds/{FEED}/*"):
            file.unlink()
        yield location


def extract(location: CodeLocation) -> None:
    keys = [raw_key(name) for name in OBJECTS]
    assert location.run(keys, entity="E110", first=FIRST).success
    assert location.run([current_key(name) for name in OBJECTS]).success


def test_from_a_file_to_a_posted_document_without_a_person_but_the_one_who_approves(
    company: CodeLocation,
) -> None:
    here = f"{LAST_DAY}|E110"
    sell(company, "a.csv", ("A1", "E110", LAST_DAY))
    # Intacct was not read yet: the plan waits for it, and comes when it was.
    done(company, company.tick(FILES))
    assert company.materialized(plan_key(FEED)) == set()
    assert "accounts-receivable/invoice of E110 was not read yet" in company.tick(PLAN).told
    extract(company)
    tick = company.tick(PLAN)
    assert tick.ranges == [f"E110 {LAST_DAY}..{LAST_DAY}"]
    assert tick.requests[0].asset_selection == [reconciled_key(FEED), plan_key(FEED)]
    done(company, tick)
    assert company.materialized(plan_key(FEED)) == {here}
    assert company.tick(PLAN).told.strip() == "every plan is up to date"

    # A second file, and Intacct is known: the plan is there in the run of one tick.
    sell(company, "b.csv", ("B1", "E110", FIRST))
    done(company, company.tick(FILES))
    assert company.materialized(plan_key(FEED)) == {here, f"{FIRST}|E110"}
    assert company.tick(PLAN).requests == []

    # Nothing is posted before a person approved it, and then the approved plan alone.
    tick = company.tick(POSTING)
    assert tick.requests == []
    assert "a person has to approve E110" in tick.told
    engine = open_state(company.settings.state)
    planned = planned_documents(company.warehouse, FEED, [("E110", LAST_DAY)])
    approvals = Approvals(engine, company.settings.company)
    approvals.approve(FEED, plan_hashes(planned), by="an accountant")
    engine.dispose()
    tick = company.tick(POSTING)
    assert tick.ranges == [f"E110 {LAST_DAY}..{LAST_DAY}"]
    assert tick.requests[0].tags["dagster/priority"] == "10"
    done(company, tick)
    posted = f"SELECT source_id FROM posting.{FEED} WHERE state = 'posted'"
    assert company.rows(posted) == [("A1",)]
    assert company.rows("SELECT sum(posted) FROM intacct.posted_against_source") == [(1,)]
    assert company.tick(POSTING).requests == []

    # Of what was never answered, Intacct is asked by itself.
    with company.warehouse.connect() as connection:
        connection.execute(f"UPDATE posting.{FEED} SET state = 'uncertain'")
    tick = company.tick(POSTING)
    assert tick.ranges == [f"E110 {LAST_DAY}..{LAST_DAY}"]
    assert f"what became of documents of E110 {LAST_DAY} is not known" in tick.told
    done(company, tick)
    assert company.rows(posted) == [("A1",)]

    # Intacct shows it at the next extraction: its plan is renewed, and no other.
    extract(company)
    tick = company.tick(PLAN)
    assert tick.ranges == [f"E110 {LAST_DAY}..{LAST_DAY}"]
    assert "Intacct changed since" in tick.requests[0].tags["intacct/cause"]


def test_a_plan_is_posted_by_itself_only_where_the_settings_say_so(company: CodeLocation) -> None:
    extract(company)
    sell(company, "a.csv", ("A1", "E110", LAST_DAY))
    done(company, company.tick(FILES))
    here = company.settings
    for posting, launched in (
        (Posting(), 0),
        (Posting(enabled=True, approval="required"), 0),
        (Posting(enabled=True), 1),
    ):
        company.settings = here.model_copy(update={"posting": posting})
        assert len(company.tick(POSTING).requests) == launched


def test_what_a_gate_holds_is_planned_again_once_a_night(company: CodeLocation) -> None:
    extract(company)
    file = sell(company, "a.csv", ("A1", "E110", LAST_DAY))
    file.write_text(file.read_text(encoding="utf-8").replace("C-10052", "C-nobody"))
    done(company, company.tick(FILES))
    assert company.rows(f"SELECT action FROM plan.{FEED}") == [("held",)]
    assert company.tick(PLAN).requests == []
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    (request,) = company.tick(PLAN, now=tomorrow).requests
    assert request.tags["intacct/cause"] == "what is held may have been corrected"


def test_in_maintenance_nothing_asks_intacct_and_the_tick_says_so(company: CodeLocation) -> None:
    always = ("mon 00:00 - sun 23:59",)
    schedules = Schedules(maintenance=always, time_zone="Europe/London")
    company.settings = company.settings.model_copy(update={"schedules": schedules})
    for sensor in (PLAN, POSTING):
        assert company.tick(sensor).told.strip() == f"Sage's maintenance: {always[0]}"
