"""The trouble of one object or entity stops no other, and what was loaded is always reported."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from unittest import mock

import dagster as dg
import pytest

from intacct_dagster.client import (
    AccessDenied,
    IntacctClient,
    IntacctError,
    RequestRefused,
    ServerFailed,
    WrongEntity,
)
from intacct_dagster.config import ObjectSettings
from intacct_dagster.defs import current_key, deletes_key, partitions, raw_key
from intacct_dagster.defs.extraction import current as current_assets
from intacct_dagster.defs.extraction import raw as raw_module
from intacct_dagster.defs.extraction.progress import Progress, ReadStopped
from intacct_dagster.defs.failures import RETRIED
from intacct_dagster.defs.partitions import partition_key
from intacct_dagster.extraction.extract import Extractor
from intacct_dagster.warehouse.raw.current import refresh_current
from intacct_dagster_tests.code_location import CodeLocation, code_location, failure
from intacct_sandbox import LAST_DAY

INVOICE, CUSTOMER = "accounts-receivable/invoice", "accounts-receivable/customer"
VENDOR = "accounts-payable/vendor"
OBJECTS = tuple(ObjectSettings(name=each, history="all") for each in (INVOICE, CUSTOMER, VENDOR))
KEYS = {each.name: raw_key(each.name) for each in OBJECTS}
DAY = f"{LAST_DAY}|"

Trouble = Callable[[str, str], None]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodeLocation]:
    with code_location(
        tmp_path_factory.mktemp("isolation"), objects=OBJECTS, feeds={}, page_retention_days=None
    ) as opened:
        yield opened


@pytest.fixture
def location(shared: CodeLocation) -> Iterator[CodeLocation]:
    """Return it with an instance that remembers nothing."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield CodeLocation(shared.settings, instance)


def two_entities(
    location: CodeLocation, keys: list[dg.AssetKey] | None = None
) -> dg.ExecuteInProcessResult:
    """Run over E110 and E120."""
    return location._everything().execute_in_process(
        instance=location.instance,
        asset_selection=keys or list(KEYS.values()),
        tags={
            "dagster/asset_partition_range_start": partition_key("E110", LAST_DAY),
            "dagster/asset_partition_range_end": partition_key("E120", LAST_DAY),
        },
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
    )


def troubled(monkeypatch: pytest.MonkeyPatch, method: str, trouble: Trouble) -> None:
    """Have a method of the extractor raise what `trouble` raises of (object, entity)."""
    work = getattr(Extractor, method)

    def instead(
        self: Extractor, what: ObjectSettings, entity: str, *more: Any, **named: Any
    ) -> Any:
        trouble(what.name, entity)
        return work(self, what, entity, *more, **named)

    monkeypatch.setattr(Extractor, method, instead)


def landed(location: CodeLocation) -> dict[str, set[str]]:
    return {
        name: {each.removeprefix(DAY) for each in location.materialized(key)}
        for name, key in KEYS.items()
    }


@pytest.mark.parametrize(
    "error",
    [
        AccessDenied("User usa may not list it.", remedy="Give the user the right.", object=VENDOR),
        KeyError("surprise"),
        MemoryError(),
    ],
    ids=lambda each: type(each).__name__,
)
def test_an_object_that_fails_in_one_entity_leaves_all_others_read_and_reported(
    location: CodeLocation, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def trouble(object: str, entity: str) -> None:
        if (object, entity) == (VENDOR, "E110"):
            raise error

    troubled(monkeypatch, "extract", trouble)
    result = two_entities(location)
    message = failure(result)
    assert landed(location) == {
        INVOICE: {"E110", "E120"},
        CUSTOMER: {"E110", "E120"},
        VENDOR: {"E120"},
    }
    assert message.startswith("1 of 6 reads failed")
    assert f"{VENDOR} | E110 | read | " in message
    assert len(message.splitlines()) == 3
    [metadata] = [
        each.step_failure_data.user_failure_data.metadata
        for each in result.all_events
        if each.is_step_failure and each.step_failure_data.user_failure_data
    ]
    table = metadata["failures"]
    assert isinstance(table, dg.TableMetadataValue)
    [record] = table.records
    assert (record.data["object"], record.data["entity"]) == (VENDOR, "E110")
    assert record.data["why"]
    assert record.data["what_to_do"]
    if not isinstance(error, AccessDenied):
        logged = [each.user_message for each in location.instance.all_logs(result.run_id)]
        assert any("Traceback" in each and type(error).__name__ in each for each in logged)
        assert "report it" in str(record.data["what_to_do"])


def test_objects_that_cannot_be_learnt_fail_alone(
    location: CodeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = ObjectSettings(name="general-ledger/acount", history="all")
    narrow = ObjectSettings(name=INVOICE, fields=("totl",), history="all")
    location.settings = location.settings.model_copy(
        update={"objects": (narrow, *OBJECTS[1:], wrong)}
    )
    message = failure(two_entities(location, [*KEYS.values(), raw_key(wrong.name)]))
    assert landed(location) == {
        INVOICE: set(),
        CUSTOMER: {"E110", "E120"},
        VENDOR: {"E110", "E120"},
    }
    assert "general-ledger/acount | all | read | " in message
    assert "Did you mean general-ledger/account" in message
    assert f"{INVOICE} | all | read | {INVOICE}: totl is not a field" in message


def test_an_object_that_the_first_user_may_not_ask_for_is_learnt_from_the_next(
    location: CodeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn_each = Extractor.prepare

    def prepare(self: Extractor, objects: Any, entity: str) -> Any:
        if entity != "E110":
            return learn_each(self, objects, entity)
        allowed = [each for each in objects if each.name != VENDOR]
        denied = {VENDOR: AccessDenied("User usa may not list it.", object=VENDOR)}
        return {**learn_each(self, allowed, entity), **denied}

    monkeypatch.setattr(Extractor, "prepare", prepare)
    assert two_entities(location).success
    assert landed(location) == {name: {"E110", "E120"} for name in KEYS}


@pytest.mark.parametrize("kind", [AccessDenied, WrongEntity])
def test_an_entity_whose_session_is_refused_fails_alone_after_one_question(
    location: CodeLocation, monkeypatch: pytest.MonkeyPatch, kind: type[IntacctError]
) -> None:
    asked: list[str] = []
    model = IntacctClient.model

    def instead(client: IntacctClient, name: str) -> Any:
        if client.entity_id == "E110":
            asked.append(name)
            raise kind("User usa may not enter E110.", entity="E110")
        return model(client, name)

    monkeypatch.setattr(IntacctClient, "model", instead)
    message = failure(two_entities(location))
    assert landed(location) == {name: {"E120"} for name in KEYS}
    assert "| E110 | read | User usa may not enter E110." in message
    assert len(message.splitlines()) == 3
    assert len(asked) == 1


def test_an_unexpected_error_of_an_entity_leaves_the_others(
    location: CodeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = raw_module._extract_entity

    def instead(run: Any, objects: Any, entity: str, *more: Any) -> None:
        if entity == "E110":
            raise ValueError("no such entity")
        work(run, objects, entity, *more)

    monkeypatch.setattr(raw_module, "_extract_entity", instead)
    assert "E110 | read | ValueError: no such entity" in failure(two_entities(location))
    assert landed(location) == {name: {"E120"} for name in KEYS}


@pytest.mark.parametrize("both", [True, False])
def test_only_what_is_all_transient_has_the_run_retried(
    location: CodeLocation, monkeypatch: pytest.MonkeyPatch, both: bool
) -> None:
    def trouble(object: str, entity: str) -> None:
        if object == VENDOR:
            raise ServerFailed("Intacct failed.")
        if object == CUSTOMER and not both:
            raise RequestRefused("It was refused.")

    troubled(monkeypatch, "extract", trouble)
    result = two_entities(location)
    assert not result.success
    run = location.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert (RETRIED.items() <= run.tags.items()) is both


def test_a_cancelled_run_reports_what_it_loaded_and_is_cancelled(
    location: CodeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trouble(object: str, entity: str) -> None:
        if (object, entity) == (VENDOR, "E120"):
            [run] = location.instance.get_runs()
            location.instance.report_run_canceling(run)
            signal.raise_signal(signal.SIGINT)

    troubled(monkeypatch, "extract", trouble)
    result = two_entities(location)
    assert not result.success
    run = location.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.CANCELED
    found = landed(location)
    assert all("E110" in entities for entities in found.values())


def test_what_was_loaded_is_reported_where_the_end_of_the_run_fails(
    location: CodeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(raw_module, "table_rows", broken)
    assert not two_entities(location).success
    assert landed(location) == {name: {"E110", "E120"} for name in KEYS}


def test_the_reads_of_a_cancelled_run_end_at_their_next_page() -> None:
    progress = Progress(mock.Mock(), parts=1, days=1)
    on_progress = progress.of("E110 " + INVOICE)
    on_progress(1, 10)
    progress.stop()
    with pytest.raises(ReadStopped):
        on_progress(2, 10)


@pytest.mark.parametrize("error", [RequestRefused("It was refused."), KeyError("surprise")])
def test_a_delete_scan_that_fails_leaves_the_others_scanned_and_reported(
    location: CodeLocation, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def trouble(object: str, entity: str) -> None:
        if (object, entity) == (INVOICE, "E110"):
            raise error

    assert two_entities(location).success
    troubled(monkeypatch, "delete_scan", trouble)
    keys = {each.name: deletes_key(each.name) for each in OBJECTS}
    result = location._everything().execute_in_process(
        instance=location.instance,
        asset_selection=list(keys.values()),
        tags={
            "dagster/asset_partition_range_start": "E110",
            "dagster/asset_partition_range_end": "E120",
        },
        raise_on_error=False,
    )
    assert f"{INVOICE} | E110 | delete scan | " in failure(result)
    assert {name: location.materialized(key) for name, key in keys.items()} == {
        INVOICE: {"E120"},
        CUSTOMER: {"E110", "E120"},
        VENDOR: {"E110", "E120"},
    }


def test_a_current_table_that_fails_leaves_the_others_refreshed_and_reported(
    location: CodeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = refresh_current

    def refresh(warehouse: Any, name: str) -> Any:
        if name == INVOICE:
            raise KeyError("surprise")
        return work(warehouse, name)

    assert two_entities(location).success
    monkeypatch.setattr(current_assets, "refresh_current", refresh)
    keys = {each.name: current_key(each.name) for each in OBJECTS}
    assert f"{INVOICE} | all | refresh | KeyError: " in failure(location.run(list(keys.values())))
    reported = {
        name: location.instance.get_latest_materialization_event(key) is not None
        for name, key in keys.items()
    }
    assert reported == {INVOICE: False, CUSTOMER: True, VENDOR: True}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a defect")], ids=repr)
def test_what_was_loaded_is_reported_where_reporting_an_object_is_interrupted(
    location: CodeLocation, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    tell, calls = partitions.tell_partitions, list[int]()

    def interrupted(*given: Any, **named: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise error
        tell(*given, **named)

    monkeypatch.setattr(raw_module, "tell_partitions", interrupted)
    with suppress(KeyboardInterrupt):
        two_entities(location)
    assert landed(location) == {name: {"E110", "E120"} for name in KEYS}


def test_a_defect_in_what_is_learnt_of_an_entity_leaves_the_others_read(
    location: CodeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = Extractor.prepare

    def defective(self: Extractor, objects: Any, entity: str) -> Any:
        if entity == "E110":
            raise ZeroDivisionError
        return prepare(self, objects, entity)

    monkeypatch.setattr(Extractor, "prepare", defective)
    assert "E110" in failure(two_entities(location))
    assert landed(location) == {name: {"E120"} for name in KEYS}
