"""The checks on what was read and on the books: each can fail, and says where and what to do."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import dagster as dg
import pytest

from intacct_dagster.config import ObjectSettings, Reading, load_settings
from intacct_dagster.defs import analyst_keys, build_definitions, current_key, raw_key
from intacct_dagster.defs.checks.closing import CLOSED
from intacct_dagster.defs.checks.data_quality import (
    ANOMALY,
    FRESH,
    ROW_COUNT,
    SCHEMA_DRIFT,
    check_anomalies,
    check_freshness,
    check_row_count,
    check_schema_drift,
    last_day_over,
)
from intacct_dagster.defs.pictures import BAD, GOOD, bars
from intacct_dagster.defs.reporting.control import CONTROL_CHECKS
from intacct_dagster.naming import Names
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import (
    field_changes,
    freshness,
    not_as_loaded,
    unusual_days,
)
from intacct_dagster_tests.code_location import (
    PROJECT,
    CodeLocation,
    code_location,
    sandbox_settings,
)
from intacct_sandbox import LAST_DAY

ENTRY, LINE = "general-ledger/journal-entry", "general-ledger/journal-entry-line"
CONTROL, LOOK, SAGE_INTACCT = Names().control, Names().look_job, Names().sage_intacct
LEDGER = (ENTRY, LINE, "general-ledger/journal", "general-ledger/account")
RAW = [raw_key(name) for name in LEDGER]
CURRENT = [current_key(name) for name in LEDGER]
FIRST = LAST_DAY - timedelta(days=1)
MONDAY = date(2026, 10, 12)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodeLocation]:
    objects = load_settings(PROJECT / "intacct.yaml").objects
    wanted = tuple(each for each in objects if each.name in LEDGER)
    folder = tmp_path_factory.mktemp("ledger")
    # without looking back, a run reads no day but its own
    changes: dict[str, Any] = {"objects": wanted, "feeds": {}, "reading": Reading(look_back_days=0)}
    with code_location(folder, start_date=FIRST, **changes) as location:
        for entity in ("E110", "E120"):
            assert location.run(RAW, entity=entity, first=FIRST).success
        assert location.run([*CURRENT, *analyst_keys(location.settings)]).success
        shutil.copy2(location.settings.warehouse, folder / "as-read.duckdb")
        yield location


@pytest.fixture
def location(ledger: CodeLocation) -> CodeLocation:
    """Return it with the warehouse as it was read, whatever a test before did to it."""
    shutil.copy2(ledger.settings.directory / "as-read.duckdb", ledger.settings.warehouse)
    return ledger


def last(location: CodeLocation, key: dg.AssetKey, check: str) -> dg.AssetCheckEvaluation:
    """The last evaluation of all that a run was about."""
    return by_partition(location, key, check)[None]


def by_partition(
    location: CodeLocation, key: dg.AssetKey, check: str
) -> dict[str | None, dg.AssetCheckEvaluation]:
    history = location.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(key, check), limit=100
    )
    found: dict[str | None, dg.AssetCheckEvaluation] = {}
    for record in reversed(history):
        event = record.event
        data = event.dagster_event.event_specific_data if event and event.dagster_event else None
        if isinstance(data, dg.AssetCheckEvaluation):
            found[record.partition] = data
    return found


def change(location: CodeLocation, sql: str) -> None:
    with location.warehouse.connect() as connection:
        connection.execute(sql)


def lose(location: CodeLocation, object: str, where: str) -> None:
    """Delete rows from the log of an object and from its current table, as something else might."""
    for key in (raw_key(object), current_key(object)):
        change(location, f"DELETE FROM {'.'.join(key.path)} WHERE {where}")


def test_the_books_of_the_sandbox_are_in_order_by_partition(location: CodeLocation) -> None:
    assert location.run([CONTROL], entity="E110", first=FIRST).success
    for check in CONTROL_CHECKS:
        found = by_partition(location, CONTROL, check.name)
        assert found.keys() == {None, f"{FIRST}|E110", f"{LAST_DAY}|E110"}
        assert all(each.passed for each in found.values())
    rows = location.rows(
        "SELECT sum(entries)::BIGINT, sum(lines)::BIGINT, sum(debit) - sum(credit)"
        " FROM control.general_ledger WHERE _entity = 'E110'"
    )
    assert rows == location.rows(
        "SELECT count(DISTINCT entry_key), count(*), 0 FROM intacct.general_ledger"
        " WHERE entity_id = 'E110'"
    )


def test_a_line_that_is_lost_breaks_its_day_and_the_check_says_which_entry(
    location: CodeLocation,
) -> None:
    [(key, entry, reference, amount)] = location.rows(
        "SELECT line_key, entry_key, reference_number, amount FROM intacct.general_ledger"
        " WHERE entity_id = 'E110' AND entry_key IN (SELECT key FROM"
        f" intacct.general_ledger_journal_entry WHERE _day = '{LAST_DAY}')"
        " ORDER BY line_key LIMIT 1"
    )
    lose(location, LINE, f"key = '{key}'")
    assert location.run([CONTROL], entity="E110", first=FIRST).success

    for check in ("entries_balance", "trial_balance_is_zero"):
        found = by_partition(location, CONTROL, check)
        broken = found[f"{LAST_DAY}|E110"]
        assert not broken.passed
        assert broken.severity is dg.AssetCheckSeverity.ERROR
        assert f"by {abs(amount):,.2f} together" in str(broken.description)
        assert "E110" in str(broken.description)
        assert "Read both objects" in str(broken.description)
    entries = by_partition(location, CONTROL, "entries_balance")
    assert entries[f"{FIRST}|E110"].passed
    assert f"entry {reference}" in str(entries[None].description)
    assert by_partition(location, CONTROL, "lines_and_entries_belong_together")[None].passed

    lose(location, ENTRY, f"key = '{entry}'")
    assert location.run([CONTROL], entity="E110", first=FIRST).success
    apart = by_partition(location, CONTROL, "lines_and_entries_belong_together")
    assert not apart[f"{LAST_DAY}|E110"].passed
    assert apart[f"{LAST_DAY}|E110"].severity is dg.AssetCheckSeverity.WARN
    assert "1 entries that lines name are not there" in str(apart[None].description)


def test_rows_that_went_after_they_were_loaded_stop_what_comes_after(
    location: CodeLocation,
) -> None:
    assert last(location, raw_key(ENTRY), ROW_COUNT).passed
    change(
        location,
        "DELETE FROM raw.general_ledger_journal_entry WHERE key IN (SELECT key FROM"
        f" raw.general_ledger_journal_entry WHERE _entity = 'E120' AND _day = '{FIRST}' LIMIT 3)",
    )
    [lost] = not_as_loaded(location.warehouse, [ENTRY])[ENTRY]
    assert (lost.entity, lost.day, lost.proved) == ("E120", FIRST, lost.rows + 3)
    # A run of the same entity, which does not read that day again, goes no further.
    before = location.instance.get_latest_materialization_event(current_key(ENTRY))
    assert not location.run([*RAW, *CURRENT], entity="E120").success
    check = last(location, raw_key(ENTRY), ROW_COUNT)
    assert check.severity is dg.AssetCheckSeverity.ERROR
    assert f"the oldest is of E120, {FIRST}: {lost.rows} rows, {lost.proved} proved" in str(
        check.description
    )
    assert f"intacct-dagster objects reload {ENTRY}" in str(check.description)
    assert location.instance.get_latest_materialization_event(current_key(ENTRY)) == before
    assert last(location, raw_key(LINE), ROW_COUNT).passed
    # Another entity's run gets a warning, and is not stopped. Reading the day again adds a load,
    # and does not restore the one that something else wrote to.
    assert location.run([*RAW, *CURRENT], entity="E110").success
    assert last(location, raw_key(ENTRY), ROW_COUNT).severity is dg.AssetCheckSeverity.WARN
    assert not last(location, raw_key(ENTRY), ROW_COUNT).passed
    location.run(RAW, entity="E120", first=FIRST)
    assert not last(location, raw_key(ENTRY), ROW_COUNT).passed


def test_rows_of_another_entity_are_reported(location: CodeLocation) -> None:
    change(
        location,
        "UPDATE raw.general_ledger_journal_entry SET entity_id = 'E140'"
        f" WHERE _entity = 'E110' AND _day = '{LAST_DAY}'",
    )
    found = not_as_loaded(location.warehouse, [ENTRY])[ENTRY]
    verdict = check_row_count(found, ENTRY, {"E110"})
    assert not verdict.passed
    assert found[0].of_others > 0
    assert f"{found[0].of_others} rows are of another entity" in verdict.description


def test_checks_of_what_was_read_are_few_whatever_the_number_of_partitions(
    location: CodeLocation,
) -> None:
    result = location.run(RAW, entity="E110", first=FIRST)
    judged = [
        event for event in result.all_events if event.event_type_value == "ASSET_CHECK_EVALUATION"
    ]
    assert len(judged) == 2 * len(LEDGER)


# -- from meta alone -----------------------------------------------------------------------------


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    warehouse = Warehouse(tmp_path / "warehouse.duckdb")
    with warehouse.connect() as connection:
        connection.execute(
            "CREATE SCHEMA meta; CREATE TABLE meta.raw_loads (object VARCHAR, entity VARCHAR,"
            " day DATE, rows BIGINT, takes_older BOOLEAN DEFAULT false, snapshot BOOLEAN,"
            " read_until TIMESTAMPTZ, extracted_at TIMESTAMPTZ DEFAULT '2026-10-14 02:00:00+00');"
            " CREATE TABLE meta.catalogue (object VARCHAR, path VARCHAR, column_name VARCHAR,"
            " first_seen_at TIMESTAMPTZ, vanished_at TIMESTAMPTZ)"
        )
    return warehouse


def loaded(warehouse: Warehouse, entity: str, rows: dict[date, int], object: str = ENTRY) -> None:
    with warehouse.connect() as connection:
        for day, count in rows.items():
            connection.execute(
                "INSERT INTO meta.raw_loads (object, entity, day, rows) VALUES (?, ?, ?, ?)",
                [object, entity, day, count],
            )


def mondays(*counts: int) -> dict[date, int]:
    """Counts of the Mondays up to MONDAY."""
    return {
        MONDAY - timedelta(weeks=len(counts) - 1 - week): rows for week, rows in enumerate(counts)
    }


@pytest.mark.parametrize(
    ("counts", "unusual"),
    [
        ((100, 110, 90, 100, 10), True),
        ((100, 110, 90, 100, 600), True),
        ((100, 110, 90, 100, 30), False),
        ((100, 110, 90, 100, 450), False),
        ((0, 0, 0, 0, 30), True),
        ((0, 1, 0, 2, 15), False),  # too few to say anything
        ((100, 110, 90, 10), False),  # too few weeks
        ((100, 100, 100, 100, 5, 100, 100), False),  # longer ago than a week
    ],
)
def test_a_day_is_unusual_against_the_same_day_of_other_weeks(
    warehouse: Warehouse, counts: tuple[int, ...], unusual: bool
) -> None:
    loaded(warehouse, "E110", mondays(*counts))
    loaded(warehouse, "E120", mondays(100, 100, 100, 100, 100))
    found = unusual_days(warehouse, [ENTRY])[ENTRY]
    verdict = check_anomalies(found)
    assert verdict.passed is not unusual
    assert verdict.severity is dg.AssetCheckSeverity.WARN
    if unusual:
        [one] = found
        assert (one.entity, one.day, one.rows) == ("E110", MONDAY, counts[-1])
        assert f"E110 on {MONDAY}: {counts[-1]} rows" in verdict.description


def test_freshness_tells_who_is_furthest_behind_and_what_was_left_out(
    warehouse: Warehouse,
) -> None:
    days = [date(2026, 10, 1) + timedelta(days=number) for number in range(13)]
    loaded(warehouse, "E110", dict.fromkeys(days, 1))
    loaded(warehouse, "E110", dict.fromkeys(days[:-1], 1), LINE)
    loaded(warehouse, "E120", dict.fromkeys(days[:9], 1))
    loaded(warehouse, "E120", dict.fromkeys([*days[:3], *days[5:]], 1), LINE)
    found = freshness(warehouse, ["E110", "E120"], [ENTRY, LINE], first=days[0], until=days[-1])
    assert [(each.entity, each.object, each.behind, each.gaps) for each in found] == [
        ("E120", ENTRY, 4, 0),
        ("E110", LINE, 1, 0),
        ("E120", LINE, 0, 2),
        ("E110", ENTRY, 0, 0),
    ]
    verdict = check_freshness(found, days[-1])
    assert not verdict.passed
    assert verdict.description.startswith(
        "1 of 2 entities are not read as they should be, up to 2026-10-13. Furthest behind is "
        f"E120, {ENTRY}: read up to 2026-10-09, 4 days behind."
    )
    assert verdict.metadata["days_behind"].value == 4
    assert "data:image/svg+xml" in str(verdict.metadata["freshness"].value)
    assert check_freshness([each for each in found if each.entity == "E110"], days[-1]).passed


def test_a_day_that_was_not_read_to_its_end_is_not_read(warehouse: Warehouse) -> None:
    days = [date(2026, 10, 1) + timedelta(days=number) for number in range(4)]
    loaded(warehouse, "E110", dict.fromkeys(days, 1))
    change = "UPDATE meta.raw_loads SET read_until = day + INTERVAL 5 HOUR WHERE day = '2026-10-02'"
    with warehouse.connect() as connection:
        connection.execute(change)
    [found] = freshness(warehouse, ["E110"], [ENTRY], first=days[0], until=days[-1])
    assert (found.behind, found.gaps) == (0, 1)
    assert not check_freshness([found], days[-1]).passed


def test_freshness_that_judges_nothing_does_not_pass() -> None:
    verdict = check_freshness([], date(2026, 10, 13))
    assert not verdict.passed
    assert verdict.description.startswith("Nothing was judged.")


def test_before_anything_is_read_all_is_behind(tmp_path: Path) -> None:
    nowhere = Warehouse(tmp_path / "none.duckdb")
    days = {"first": date(2026, 10, 1), "until": date(2026, 10, 13)}
    found = freshness(nowhere, ["E110"], [ENTRY], **days)
    assert "read not at all, 13 days behind" in check_freshness(found, days["until"]).description


def evaluations(location: CodeLocation) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    """Return the evaluations of all checks that judge what was read, run by themselves."""
    keys = [dg.AssetCheckKey(key, name) for key in RAW for name in (ROW_COUNT, ANOMALY)]
    keys += [dg.AssetCheckKey(SAGE_INTACCT, name) for name in (FRESH, SCHEMA_DRIFT, CLOSED)]
    job = dg.define_asset_job("checks", selection=dg.AssetSelection.checks(*keys))
    definitions = dg.Definitions.merge(
        build_definitions(location.settings), dg.Definitions(jobs=[job])
    )
    result = definitions.resolve_job_def("checks").execute_in_process(instance=location.instance)
    return {
        (each.asset_key.to_user_string(), each.check_name): each
        for each in result.get_asset_check_evaluations()
    }


@pytest.mark.parametrize("start", [FIRST, date(2031, 1, 1)])
def test_no_check_passes_that_judged_nothing(tmp_path: Path, start: date) -> None:
    settings = sandbox_settings("http://127.0.0.1:9/ia/api/v1", tmp_path, feeds={})
    wanted = tuple(ObjectSettings(name=each) for each in LEDGER)
    last = {"start_date": start, "end_date": None, "objects": wanted}
    with dg.DagsterInstance.ephemeral() as instance:
        found = evaluations(CodeLocation(settings.model_copy(update=last), instance))
    assert len(found) == 2 * len(LEDGER) + 3
    assert {name for name, each in found.items() if each.passed} == set()


def test_the_last_day_that_should_be_read_is_yesterday_or_the_settings_last() -> None:
    settings = load_settings(PROJECT / "intacct.yaml")
    now = datetime(2026, 10, 10, 1, tzinfo=UTC)
    assert last_day_over(settings, now) == date(2026, 10, 9)
    assert last_day_over(settings, now + timedelta(days=30)) == settings.end_date


def test_fields_that_came_or_went_are_reported_for_two_weeks(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        connection.execute(
            "INSERT INTO meta.catalogue VALUES"
            f" ('{ENTRY}', 'key', 'key', '2026-01-01', NULL),"
            f" ('{ENTRY}', 'balance', 'balance', '2026-01-01', '2026-10-10'),"
            f" ('{ENTRY}', 'nsp::GRANT', 'nsp_grant', '2026-10-12', NULL)"
        )
    found = field_changes(warehouse, [ENTRY])
    assert [(each.path, each.vanished) for each in found] == [
        ("nsp::GRANT", False),
        ("balance", True),
    ]
    verdict = check_schema_drift(found, datetime(2026, 10, 13, tzinfo=UTC))
    assert not verdict.passed
    assert verdict.description.startswith(
        f"1 fields went and 1 came; the first was {ENTRY} balance, on 2026-10-10."
    )
    assert check_schema_drift(found, datetime(2026, 11, 13, tzinfo=UTC)).passed


def test_the_checks_of_the_company_run_under_dagster(location: CodeLocation) -> None:
    definitions = build_definitions(location.settings)
    result = definitions.resolve_job_def(LOOK).execute_in_process(instance=location.instance)
    assert result.success
    assert last(location, SAGE_INTACCT, SCHEMA_DRIFT).passed
    evaluation = last(location, SAGE_INTACCT, FRESH)
    assert not evaluation.passed, "two of the four entities were never read"
    assert "2 of 4 entities" in str(evaluation.description)


def svg_of(picture: dg.MarkdownMetadataValue) -> ET.Element:
    match = re.fullmatch(r"!\[.*\]\(data:image/svg\+xml;base64,(.*)\)", str(picture.value))
    assert match is not None
    return ET.fromstring(base64.b64decode(match[1]))


def bars_in(svg: ET.Element) -> list[ET.Element]:
    found = svg.iter("{http://www.w3.org/2000/svg}rect")
    return [each for each in found if each.get("height") != "12"]  # those are of the legend


def test_a_picture_has_a_bar_for_each_part_in_proportion() -> None:
    picture = bars("A <title>", [("E110", {"good": 30, "bad": 10})], {"good": GOOD, "bad": BAD})
    svg = svg_of(picture)
    good, bad = (float(each.attrib["width"]) for each in bars_in(svg))
    assert good == pytest.approx(3 * bad, rel=0.01)
    texts = [each.text for each in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "A <title>", "a person sees what it is a picture of"


def test_a_long_label_does_not_run_into_its_bar() -> None:
    label = "general-ledger/journal-entry-line"
    svg = svg_of(bars("Rows", [(label, {"rows": 4})], {"rows": GOOD}))
    (bar,) = bars_in(svg)
    assert float(bar.attrib["x"]) > 6 * len(label)
    assert float(bar.attrib["x"]) + float(bar.attrib["width"]) < float(svg.attrib["width"])
