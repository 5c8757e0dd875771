"""What runs by the clock, and what is made up for when it did not; time is passed in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import dagster as dg
import httpx
import pytest

from intacct_dagster.config import Entity, Feed, Limits
from intacct_dagster.defs import build_definitions, current_key, deletes_key, raw_key
from intacct_dagster.defs.automation.assemble import build_automation
from intacct_dagster.defs.checks.closing import CLOSED, closing_check
from intacct_dagster.defs.run_requests import last_night
from intacct_dagster.naming import Names
from intacct_dagster.state import open_state
from intacct_dagster.state.api_usage import ApiUsage
from intacct_dagster_tests.code_location import (
    FEED,
    OBJECTS,
    CodeLocation,
    code_location,
    sandbox_settings,
)
from intacct_sandbox import LAST_DAY

SAGE_INTACCT = Names().sage_intacct
FIRST = LAST_DAY - timedelta(days=9)
ENTITIES = (
    Entity(id="E110", user="usa"),
    Entity(id="E120", user="can"),
    Entity(id="E130", user="gbr", retired=True),
)
INVOICE, CUSTOMER = OBJECTS
CHANGES = "changes_in_intacct"


def night(day: int) -> datetime:
    """Two o'clock, the time of the nightly schedule, so many days after the first."""
    return datetime.combine(FIRST + timedelta(days=day), time(2), UTC)


@pytest.mark.parametrize(
    ("at", "last"),
    [
        ("2026-06-01T00:29:59+00:00", "2026-05-31T00:30:00+00:00"),
        ("2026-06-01T00:30:00+00:00", "2026-06-01T00:30:00+00:00"),
        # the clocks go from 02:00 to 03:00, and Dagster ticks then
        ("2026-03-29T00:59:00+00:00", "2026-03-28T01:30:00+00:00"),
        ("2026-03-29T01:00:00+00:00", "2026-03-29T01:00:00+00:00"),
        # half past two comes twice, and Dagster ticks at the second
        ("2026-10-25T01:29:00+00:00", "2026-10-24T00:30:00+00:00"),
        ("2026-10-25T01:30:00+00:00", "2026-10-25T01:30:00+00:00"),
    ],
)
def test_the_last_night_is_the_last_tick_also_where_the_clocks_change(
    location: CodeLocation, at: str, last: str
) -> None:
    with_schedules(location, nightly="02:30", time_zone="Europe/Berlin")
    found = last_night(location.settings, datetime.fromisoformat(at))
    assert found == datetime.fromisoformat(last)


def span(entity: str, first: int, last: int) -> str:
    return f"{entity} {FIRST + timedelta(days=first)}..{FIRST + timedelta(days=last)}"


@pytest.fixture
def location(tmp_path: Path) -> Iterator[CodeLocation]:
    """Without Intacct, for what launches nothing that is run."""
    settings = sandbox_settings(
        "http://127.0.0.1:9", tmp_path, start_date=FIRST, end_date=None, entities=ENTITIES
    )
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield CodeLocation(settings, instance)


def with_schedules(location: CodeLocation, **changes: object) -> None:
    schedules = location.settings.schedules.model_copy(update=changes)
    location.settings = location.settings.model_copy(update={"schedules": schedules})


def test_a_laptop_that_was_closed_for_a_week_reads_exactly_what_is_missing_in_order(
    tmp_path: Path,
) -> None:
    with code_location(
        tmp_path, persistent=True, start_date=FIRST, end_date=None, entities=ENTITIES
    ) as location:
        tick = location.schedule("nightly", night(2))
        assert tick.ranges == [span("E110", 0, 1), span("E120", 0, 1)]
        assert all(each.success for each in location.launch(tick))
        assert location.tick("catch_up", now=night(2) + timedelta(hours=2)).told.startswith(
            "nothing is missing"
        )

        # A week later, at noon, one run may be under way at a time.
        with_schedules(location, max_concurrent_runs=1)
        noon = night(9) + timedelta(hours=10)
        for entity in ("E110", "E120"):
            tick = location.tick("catch_up", now=noon)
            assert tick.ranges == [span(entity, 2, 8)]
            location.begin(tick)
            assert location.tick("catch_up", now=noon).requests == []
            location.end()
            assert all(each.success for each in location.launch(tick))
        assert location.tick("catch_up", now=noon).told.startswith("nothing is missing")
        wanted = {
            f"{FIRST + timedelta(days=n)}|{entity}" for n in range(9) for entity in ("E110", "E120")
        }
        assert location.materialized(raw_key(INVOICE)) == wanted
        for view in (current_key(INVOICE), dg.AssetKey(["intacct", "ar_ageing"])):
            assert location.instance.get_latest_materialization_event(view)

        # A day that was read before it was over is missing as well, and yesterday is read anew.
        with location.warehouse.connect() as connection:
            connection.execute(
                "UPDATE meta.raw_loads SET read_until = extracted_at"
                " WHERE day = ? AND entity = 'E120' AND object = ?",
                [FIRST + timedelta(days=4), CUSTOMER],
            )
        (request,) = location.tick("catch_up", now=noon).requests
        assert request.asset_selection is not None
        assert raw_key(CUSTOMER) in request.asset_selection
        assert raw_key(INVOICE) not in request.asset_selection
        with_schedules(location, max_concurrent_runs=20)
        assert location.schedule("nightly", night(9)).ranges == [
            span("E120", 4, 4),
            span("E110", 8, 8),
            span("E120", 8, 8),
            span("E120", 8, 8),
        ]


def test_the_night_launches_one_run_for_each_entity_and_none_for_a_retired_one(
    location: CodeLocation,
) -> None:
    tick = location.schedule("nightly", night(1))
    assert tick.ranges == [span("E110", 0, 0), span("E120", 0, 0)]
    for request in tick.requests:
        assert request.tags["dagster/priority"] == "5"
        assert request.tags["intacct/cause"] == "the night's work"


def test_a_day_is_missed_only_when_its_night_is_past(location: CodeLocation) -> None:
    assert "no day is due" in location.tick("catch_up", now=night(1)).told
    assert location.tick("catch_up", now=night(1) + timedelta(hours=1)).ranges == [
        span("E110", 0, 0),
        span("E120", 0, 0),
    ]


def test_what_is_missing_from_before_the_catch_up_days_is_for_a_backfill(
    location: CodeLocation,
) -> None:
    with_schedules(location, catch_up_days=3)
    assert location.schedule("nightly", night(9)).ranges == [span("E110", 6, 8), span("E120", 6, 8)]


def test_an_entity_with_a_run_under_way_waits_also_where_it_is_a_backfill(
    location: CodeLocation,
) -> None:
    backfill = dg.DagsterRun(
        job_name="__ASSET_JOB",
        run_id="backfill",
        status=dg.DagsterRunStatus.STARTED,
        tags={
            "dagster/asset_partition_range_start": f"{FIRST}|E110",
            "dagster/asset_partition_range_end": f"{LAST_DAY}|E110",
        },
    )
    location.instance.add_run(backfill)
    tick = location.tick("catch_up", now=night(2))
    assert tick.ranges == [span("E120", 0, 0)]
    assert "a run is under way for E110" in tick.told


def test_in_maintenance_nothing_is_launched_and_the_night_after_makes_up_for_it(
    location: CodeLocation,
) -> None:
    day = f"{night(2):%a}".lower()
    with_schedules(location, maintenance=(f"{day} 01:00 - {day} 05:00",))
    for told in (
        location.schedule("nightly", night(2)).told,
        location.tick("catch_up", now=night(2)).told,
        location.schedule("weekly_sweep", night(2)).told,
        location.tick(CHANGES, now=night(2)).told,
    ):
        assert f"Sage's maintenance: {day} 01:00 - {day} 05:00" in told
    assert location.schedule("nightly", night(3)).ranges == [span("E110", 0, 2), span("E120", 0, 2)]


def test_the_weekly_sweep_is_one_run_for_each_entity(location: CodeLocation) -> None:
    tick = location.schedule("weekly_sweep", night(1))
    assert [each.partition_key for each in tick.requests] == ["E110", "E120"]
    job = build_definitions(location.settings).resolve_job_def(str(tick.job))
    assert set(job.asset_layer.selected_asset_keys) == {deletes_key(each) for each in OBJECTS}


def test_a_company_that_stands_still_is_not_read_every_night(location: CodeLocation) -> None:
    end = FIRST + timedelta(days=1)
    location.settings = location.settings.model_copy(update={"end_date": end})
    assert location.schedule("nightly", night(2)).ranges == [span("E110", 0, 1), span("E120", 0, 1)]
    # What is missing is: the end alone makes nothing due.
    with_schedules(location, catch_up_days=1)
    assert "no day is due" in location.schedule("nightly", night(5)).told


def test_a_feed_that_is_a_query_is_asked_every_night_for_the_last_days(
    location: CodeLocation,
) -> None:
    held = location.settings.feeds[FEED].model_dump()
    feed = Feed.model_validate({**held, "files": (), "sql": "SELECT 1 AS invoice_ref"})
    location.settings = location.settings.model_copy(update={"feeds": {FEED: feed}})
    tick = location.schedule(f"nightly_{FEED}", night(4))
    assert tick.ranges == [span("E110", 2, 3), span("E120", 2, 3)]
    sensors = {each.name for each in build_automation(location.settings).sensors}
    assert f"files_of_{FEED}" not in sensors


@pytest.mark.parametrize("running", [False, True])
def test_nothing_runs_by_itself_unless_the_settings_say_so(
    location: CodeLocation, running: bool
) -> None:
    with_schedules(location, running=running)
    automation = build_automation(location.settings)
    # What reports dead runs launches nothing, and is always on.
    sensors = [each for each in automation.sensors if each.name != "dead_runs"]
    assert len(sensors) == len(automation.sensors) - 1
    statuses = {each.default_status.name for each in sensors}
    statuses |= {each.default_status.name for each in automation.schedules}
    assert statuses == {"RUNNING" if running else "STOPPED"}


def test_the_closing_check_tells_what_was_not_read_and_what_is_not_settled(
    location: CodeLocation,
) -> None:
    next_month = datetime.combine(LAST_DAY.replace(day=28) + timedelta(days=9), time(6), UTC)

    def evaluate() -> dg.AssetCheckEvaluation:
        check = closing_check(location.settings, now=lambda: next_month)
        job = dg.define_asset_job(
            "closing", selection=dg.AssetSelection.checks(dg.AssetCheckKey(SAGE_INTACCT, CLOSED))
        )
        definitions = dg.Definitions(
            assets=[dg.AssetSpec(SAGE_INTACCT)],
            asset_checks=[check],
            jobs=[job],
            resources=build_definitions(location.settings).resources or {},
        )
        run = definitions.resolve_job_def("closing").execute_in_process(instance=location.instance)
        (found,) = run.get_asset_check_evaluations()
        return found

    days = (next_month.replace(day=1).date() - FIRST).days
    found = evaluate()
    assert not found.passed
    assert found.metadata["days_not_read"].value == days * len(OBJECTS) * 2
    assert f"the oldest {FIRST}" in str(found.description)

    with location.warehouse.connect() as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS meta; CREATE SCHEMA reconciled")
        connection.execute(
            "CREATE TABLE meta.raw_loads AS SELECT object, entity,"
            " CAST(day AS DATE) AS day, CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS read_until"
            " FROM unnest(?) AS o (object), unnest(['E110', 'E120']) AS e (entity),"
            " generate_series(CAST(? AS DATE), CAST(? AS DATE), INTERVAL 1 DAY) AS d (day)",
            [list(OBJECTS), FIRST, next_month.date()],
        )
    assert evaluate().passed

    with location.warehouse.connect() as connection:
        connection.execute(
            f"CREATE TABLE reconciled.{FEED} AS SELECT * FROM (VALUES"
            " ('E110', CAST($day AS DATE), 'missing', 12.50::DECIMAL(38, 10), NULL),"
            " ('E110', CAST($day AS DATE), 'posted', 1, NULL),"
            " ('E120', CAST($day AS DATE) + 40, 'missing', 1, NULL))"
            " AS t (_entity, _day, status, amount, source_id)",
            {"day": LAST_DAY},
        )
    found = evaluate()
    assert not found.passed
    table = found.metadata["not_settled"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data for record in table.records] == [
        {
            "feed": FEED,
            "entity": "E110",
            "status": "missing",
            "documents": 1,
            "amount": "12.50",
            "oldest": str(LAST_DAY),
        }
    ]


# -- changes in Intacct --------------------------------------------------------------------------

NOON = datetime.combine(LAST_DAY, time(12), UTC)


@pytest.fixture
def company(tmp_path: Path) -> Iterator[CodeLocation]:
    """A company in which it is the last day, which has a partition though it is not over."""
    with code_location(tmp_path, start_date=FIRST, entities=ENTITIES[:2], end_offset=1) as location:
        location.now = datetime.combine(LAST_DAY, time(23), UTC)
        yield location


def known(location: CodeLocation, *, since: datetime) -> None:
    """Has the sensor remember that invoices are known up to a moment."""
    pairs = {f"{INVOICE}|{entity}": since.isoformat() for entity in ("E110", "E120")}
    location.remember(CHANGES, json.dumps(pairs))


def create_invoice(location: CodeLocation, user: str, entity: str) -> None:
    settings = location.settings
    token = httpx.post(
        f"{settings.base_url}/oauth2/token",
        data={
            "grant_type": "client_credentials",
            "client_id": settings.auth.client_id,
            "client_secret": settings.auth.client_secret,
            "username": f"{user}@{settings.company}|{entity}",
        },
    ).json()["access_token"]
    answer = httpx.post(
        f"{settings.base_url}/objects/{INVOICE}",
        headers={"Authorization": f"Bearer {token}"},
        json={
            "customer": {"id": "C-10052"},
            "invoiceDate": str(LAST_DAY),
            "dueDate": str(LAST_DAY),
            "lines": [
                {
                    "txnAmount": "10.00",
                    "glAccount": {"id": "40200"},
                    "dimensions": {"location": {"id": entity}, "department": {"id": "320"}},
                }
            ],
        },
    )
    assert answer.status_code < 300, answer.text


def test_what_changed_in_intacct_is_read_and_nothing_else(company: CodeLocation) -> None:
    assert "never read, so not counted" in company.tick(CHANGES).told
    known(company, since=datetime.combine(LAST_DAY, time(18), UTC))
    told = company.tick(CHANGES).told
    assert "2 counts up to" in told
    assert "0 changes" in told

    known(company, since=datetime.combine(LAST_DAY, time(18), UTC))
    create_invoice(company, "usa", "E110")
    tick = company.tick(CHANGES)
    assert tick.ranges == [f"E110 {LAST_DAY}..{LAST_DAY}"]
    assert "2 counts" in tick.told
    assert "1 changes" in tick.told
    (request,) = tick.requests
    assert request.tags["intacct/cause"] == f"changes of {INVOICE}"
    assert {raw_key(INVOICE), current_key(INVOICE)} <= set(request.asset_selection or ())
    assert raw_key(CUSTOMER) not in (request.asset_selection or ())
    assert all(each.success for each in company.launch(tick))
    assert company.materialized(raw_key(INVOICE)) == {f"{LAST_DAY}|E110"}

    again = company.tick(CHANGES)
    assert again.requests == []
    assert "0 counts" in again.told
    assert "2 are known up to the end" in again.told


def test_after_days_without_a_look_only_the_days_with_changes_are_read(
    company: CodeLocation,
) -> None:
    quiet = LAST_DAY - timedelta(days=5)
    known(company, since=datetime.combine(quiet, time(), UTC))
    tick = company.tick(CHANGES)
    engine = open_state(company.settings.state)
    spent = ApiUsage(engine, company.settings.company).spent(company.now)
    engine.dispose()
    # A count over all, and one for each of the six days, of each entity.
    assert spent == 14
    ran = [each.success for each in company.launch(tick)]
    assert ran
    assert all(ran)
    # Every day that was read has something, and nothing that changed lies on another.
    assert company.rows(
        "SELECT count(*) FROM meta.raw_loads WHERE object = ? AND rows = 0", INVOICE
    ) == [(0,)]
    loaded = company.rows("SELECT entity, day FROM meta.raw_loads WHERE object = ?", INVOICE)
    for entity in ("E110", "E120"):
        span = [quiet + timedelta(days=n) for n in range(6)]
        rest = [day for day in span if (entity, day) not in loaded]
        assert len(rest) < len(span)
        for day in rest:
            assert company.run([raw_key(INVOICE)], entity=entity, first=day, last=day).success
    assert company.rows(
        "SELECT count(*) FROM meta.raw_loads WHERE object = ? AND rows > 0", INVOICE
    ) == [(len(loaded),)]


def test_counting_stops_before_it_uses_up_the_months_transactions(company: CodeLocation) -> None:
    known(company, since=NOON)
    limits = Limits(monthly_transactions=2)
    company.settings = company.settings.model_copy(update={"limits": limits})
    company.tick(CHANGES)
    told = company.tick(CHANGES).told
    assert "2 of the month's 2 API transactions are spent" in told


def test_an_intacct_that_cannot_be_reached_is_told_and_nothing_is_forgotten(
    location: CodeLocation,
) -> None:
    location.now = night(5)
    known(location, since=night(3))
    before = location.cursor(CHANGES)
    assert "Cannot reach Sage Intacct" in location.tick(CHANGES).told
    assert location.cursor(CHANGES) == before
