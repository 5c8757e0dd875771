"""The opt-in history on a Dagster that it does not know: a warning, and the stock storage."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import dagster as dg
import pytest

from intacct_dagster_tests.instance.history_runs import (
    DAYS,
    TABLES,
    batched_instance,
    run_of_all_days,
    stock_instance,
)

PACKAGE = "intacct_dagster.instance.history"
BATCHED = f"{PACKAGE}.batched"


@pytest.fixture
def imported_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the package imported once more, and the one that was there put back afterwards."""
    for name in (PACKAGE, BATCHED):
        monkeypatch.delitem(sys.modules, name, raising=False)


def without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = importlib.import_module("dagster._core.storage.sqlite")
    # what else of Dagster imports the name has it already
    for module in ("sqlite_storage", "event_log.sqlite.consolidated_sqlite_event_log"):
        importlib.import_module(f"dagster._core.storage.{module}")
    monkeypatch.delattr(owner, "SQLITE_BUSY_TIMEOUT_SECONDS", raising=False)


def with_another_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = importlib.import_module("dagster._core.storage.event_log.sqlite.sqlite_event_log")
    storage = owner.SqliteEventLogStorage
    named = storage.conn_string_for_shard

    def conn_string(self: object, shard_name: str, more: int = 0) -> object:
        return named(self, shard_name)

    monkeypatch.setattr(storage, "conn_string_for_shard", conn_string)


def without_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, BATCHED, None)


@pytest.mark.parametrize(
    "unknown",
    [without_a_name, with_another_signature, without_the_module],
    ids=["name", "signature", "module"],
)
@pytest.mark.usefixtures("imported_again")
def test_an_unknown_dagster_gets_its_own_storage_and_a_warning(
    unknown: object,
    in_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert callable(unknown)
    unknown(monkeypatch)
    with batched_instance(in_folder) as instance:
        run_id = run_of_all_days(instance)
        assert type(instance.event_log_storage).__name__ == "SqliteEventLogStorage"
        for name in TABLES:
            assert instance.get_materialized_partitions(dg.AssetKey(name)) == set(DAYS)
    (warning,) = [each for each in caplog.records if each.name == PACKAGE]
    assert f"does not know this Dagster ({dg.__version__})" in warning.getMessage()
    with stock_instance(in_folder) as again:
        assert again.get_run_by_id(run_id) is not None


def test_the_shipped_instance_is_dagsters_own(in_folder: Path) -> None:
    with stock_instance(in_folder) as instance:
        run_of_all_days(instance)
        ours = [
            type(part).__module__
            for part in (
                instance.event_log_storage,
                instance.run_storage,
                instance.schedule_storage,
                instance.run_coordinator,
                instance.run_launcher,
                instance.compute_log_manager,
            )
            if not type(part).__module__.startswith("dagster.")
        ]
    assert not ours
    assert (in_folder / ".dagster" / "logs").is_dir()
