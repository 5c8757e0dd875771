"""What all sensors and schedules have in common: windows, failing stores, cursors, and room."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime

import dagster as dg
import pytest

from intacct_dagster.config import Schedules, Settings, load_settings
from intacct_dagster.defs.automation.ticks import (
    SensorSpec,
    TickContext,
    TickResult,
    build_sensor,
    launchable,
)
from intacct_dagster.defs.run_requests import CAUSE_TAG, Range
from intacct_dagster.naming import ENTITY_TAG
from intacct_dagster.warehouse import WarehouseError
from intacct_dagster_tests.code_location import PROJECT

AT = datetime(2026, 10, 14, 2, tzinfo=UTC)
DAY = date(2026, 10, 13)
SPEC = SensorSpec("a_sensor", None, 60, "A sensor.")
WINDOW = "wed 01:00 - wed 05:00"


@pytest.fixture
def settings() -> Settings:
    return load_settings(PROJECT / "intacct.yaml")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def evaluate(
    settings: Settings,
    instance: dg.DagsterInstance,
    spec: SensorSpec,
    result: TickResult | Exception,
) -> tuple[str, str | None]:
    """Return the reason of a tick without runs, and the cursor after it."""

    def work(tick: TickContext) -> TickResult:
        assert tick.at == AT
        if isinstance(result, Exception):
            raise result
        return result

    sensor = build_sensor(settings, spec, work, lambda: AT)
    done = sensor.evaluate_tick(dg.build_sensor_context(instance, cursor="before"))
    assert not done.run_requests
    return str(done.skip_message), done.cursor


def test_a_store_that_fails_launches_nothing_and_the_cursor_stays(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    said, cursor = evaluate(settings, instance, SPEC, WarehouseError("It is locked."))
    assert said == "It is locked.\nNothing was launched; the next tick looks again."
    assert cursor == "before"


def test_an_error_that_nobody_expects_is_not_hidden(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    with pytest.raises(Exception, match="a bug"):
        evaluate(settings, instance, SPEC, ValueError("a bug"))


def test_the_cursor_changes_only_where_the_work_says_so(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    notes = TickResult(notes=["one", "two"])
    assert evaluate(settings, instance, SPEC, notes) == ("one; two", "before")
    assert evaluate(settings, instance, SPEC, replace(notes, cursor="after")) == (
        "one; two",
        "after",
    )


def test_in_maintenance_only_sensors_that_do_not_need_intacct_work(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    schedules = Schedules(maintenance=(WINDOW,), time_zone="UTC")
    settings = settings.model_copy(update={"schedules": schedules})
    result = TickResult(notes=["worked"])
    assert evaluate(settings, instance, SPEC, result)[0] == f"Sage's maintenance: {WINDOW}"
    without = replace(SPEC, in_maintenance=True)
    assert evaluate(settings, instance, without, result)[0] == "worked"


def test_what_is_launched_leaves_out_busy_entities_and_what_there_is_no_room_for(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    schedules = Schedules(max_concurrent_runs=2)
    settings = settings.model_copy(update={"schedules": schedules})
    run = dg.DagsterRun(
        job_name="read",
        status=dg.DagsterRunStatus.STARTED,
        tags={CAUSE_TAG: "a test", ENTITY_TAG: "E110"},
    )
    instance.add_run(run)
    tick = TickContext(settings, instance, dg.get_dagster_logger(), AT)
    wanted = [Range(entity, DAY, DAY) for entity in ("E110", "E120", "E130")]

    found = launchable(tick, wanted, {"read"})
    assert [each.entity for each in found.now] == ["E120"], "one run is under way, two may be"
    assert found.busy == ["E110"]
    assert [each.entity for each in found.later] == ["E130"]
    assert found.notes() == [
        "a run is under way for E110",
        "1 ranges wait for runs that are under way",
    ]
    assert [each.entity for each in launchable(tick, wanted, {"other"}).now] == ["E110"]
    assert launchable(tick, wanted).busy == []
