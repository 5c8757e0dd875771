"""The opt-in history: what Dagster's own SQLite storage keeps, written in batches."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from intacct_dagster.instance.history.batched import BatchedEvents
from intacct_dagster_tests.instance.history_runs import (
    DAYS,
    TABLES,
    batched_instance,
    events_of,
    run_of_all_days,
    stock_instance,
)


def test_the_projects_history_says_what_dagsters_own_does(in_folder: Path) -> None:
    with dg.DagsterInstance.local_temp() as own:
        expected = events_of(own, run_of_all_days(own))
    with batched_instance(in_folder) as instance:
        assert isinstance(instance.event_log_storage, BatchedEvents)
        run_id = run_of_all_days(instance)
        assert events_of(instance, run_id) == expected
        for name in TABLES:
            assert instance.get_materialized_partitions(dg.AssetKey(name)) == set(DAYS)
            latest = instance.get_latest_materialization_event(dg.AssetKey(name))
            assert latest is not None
            assert latest.run_id == run_id
    # … and Dagster's own storage goes on with its files, should somebody go back to it.
    with stock_instance(in_folder) as stock:
        assert not isinstance(stock.event_log_storage, BatchedEvents)
        assert stock.get_materialized_partitions(dg.AssetKey(TABLES[0])) == set(DAYS)
        assert events_of(stock, run_id) == expected


def test_the_partitions_of_an_asset_are_one_transaction(
    in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    store = BatchedEvents.store_event_batch

    def counted(storage: BatchedEvents, events: Sequence[dg.EventLogEntry]) -> None:
        batches.append(len(events))
        store(storage, events)

    monkeypatch.setattr(BatchedEvents, "store_event_batch", counted)
    with batched_instance(in_folder) as instance:
        run_of_all_days(instance)
    # planned, of both tables together; then made, of one table after the other
    assert batches == [len(TABLES) * len(DAYS), len(DAYS), len(DAYS)]


def test_a_batch_that_fails_leaves_nothing_and_its_events_are_written_once(
    in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, failed = BatchedEvents._store_asset_event_tags, set[str]()

    def failing(
        storage: BatchedEvents,
        connection: Connection,
        events: Sequence[dg.EventLogEntry],
        numbers: Sequence[int],
    ) -> None:
        stored(storage, connection, events, numbers)
        (kind,) = {each.get_dagster_event().event_type_value for each in events}
        if kind not in failed:
            failed.add(kind)
            raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(BatchedEvents, "_store_asset_event_tags", failing)
    with batched_instance(in_folder) as instance:
        run_id = run_of_all_days(instance)
        made = [each for each in events_of(instance, run_id) if each[0] == "ASSET_MATERIALIZATION"]
    assert failed == {"ASSET_MATERIALIZATION_PLANNED", "ASSET_MATERIALIZATION"}
    assert len(made) == len(set(made)) == len(TABLES) * len(DAYS)
    with closing(sqlite3.connect(in_folder / ".dagster/history/runs/index.db")) as index:
        (rows,) = index.execute(
            "SELECT count(*) FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'"
        ).fetchone()
    assert rows == len(TABLES) * len(DAYS)


def test_every_process_of_an_instance_opens_the_same_history(in_folder: Path) -> None:
    with batched_instance(in_folder) as instance:
        run_id = run_of_all_days(instance)
        # what the daemon hands to the process of a run
        with dg.DagsterInstance.from_ref(instance.get_ref()) as other:
            assert isinstance(other.event_log_storage, BatchedEvents)
            assert events_of(other, run_id) == events_of(instance, run_id)


def test_a_history_that_is_there_is_opened_without_reading_dagsters_migrations(
    in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with batched_instance(in_folder) as instance:
        run_id = run_of_all_days(instance)
        expected = events_of(instance, run_id)

    def read(*_: object) -> None:
        raise AssertionError("Dagster's migrations were read")

    monkeypatch.setattr(ScriptDirectory, "from_config", read)
    with batched_instance(in_folder) as again:
        assert events_of(again, run_id) == expected
        assert [each.run_id for each in again.get_runs()] == [run_id]
        assert again.get_materialized_partitions(dg.AssetKey(TABLES[0])) == set(DAYS)
        assert again.all_instigator_state() == []
