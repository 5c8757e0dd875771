"""The readers' copy under Dagster: it comes by itself, and its age shows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from intacct_dagster.config import Reader
from intacct_dagster.defs import raw_key
from intacct_dagster.locks.files import FileLocks
from intacct_dagster.naming import Names
from intacct_dagster.warehouse import Snapshot, snapshot_path
from intacct_dagster.warehouse.snapshot import WarehouseWork
from intacct_dagster_tests.code_location import OBJECTS, CodeLocation, code_location

SNAPSHOT = Names().snapshot
RAW = [raw_key(name) for name in OBJECTS]
COUNTS = "SELECT _entity, count(*) FROM raw.accounts_receivable_invoice GROUP BY ALL ORDER BY ALL"


@pytest.fixture
def location(tmp_path: Path) -> Iterator[CodeLocation]:
    with code_location(tmp_path) as location:
        yield location


def copied(location: CodeLocation) -> list[tuple[object, ...]]:
    path = snapshot_path(location.settings.warehouse)
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(COUNTS).fetchall()


def materialized(location: CodeLocation) -> list[dg.AssetMaterialization]:
    found = location.instance.fetch_materializations(SNAPSHOT, limit=100).records
    return [each.asset_materialization for each in found if each.asset_materialization]


def test_a_run_leaves_a_copy_of_what_it_loaded_and_says_so(location: CodeLocation) -> None:
    for entity in ("E110", "E120"):
        assert location.run(RAW, entity=entity).success
        assert copied(location) == location.rows(COUNTS)
    assert len(copied(location)) == 2
    events = materialized(location)
    assert len(events) == 2
    metadata = events[0].metadata
    as_of = Snapshot(location.warehouse).as_of
    assert as_of is not None
    assert datetime.fromtimestamp(float(str(metadata["as_of"].value)), UTC) == as_of
    assert metadata["bytes"].value == snapshot_path(location.settings.warehouse).stat().st_size


def test_a_run_that_fails_leaves_a_copy_of_what_it_loaded(location: CodeLocation) -> None:
    assert location.run(RAW, entity="E110").success
    # E120 cannot log in; in the same run nothing else is loaded, and the copy stays as it was.
    location.settings = location.settings.model_copy(update={"base_url": "http://127.0.0.1:9/ia"})
    assert not location.run(RAW, entity="E120").success
    assert copied(location) == location.rows(COUNTS)
    assert len(materialized(location)) == 1


def test_while_others_are_at_work_a_copy_is_made_seldom_and_the_last_makes_it(
    location: CodeLocation,
) -> None:
    copy = Snapshot(location.warehouse)
    with copy.working():  # another run, which takes long
        assert location.run(RAW, entity="E110").success
        assert len(copied(location)) == 1, "the first one there is"
        assert location.run(RAW, entity="E120").success
        assert len(copied(location)) == 1
    assert location.run([SNAPSHOT]).success
    assert len(copied(location)) == 2


def test_no_copy_is_made_where_the_settings_want_none(tmp_path: Path) -> None:
    with code_location(tmp_path, reader=Reader(enabled=False)) as location:
        assert location.run(RAW, entity="E110").success
        assert not snapshot_path(location.settings.warehouse).exists()
        assert materialized(location) == []


def unusable(location: CodeLocation, name: str) -> None:
    """Put a folder where the lock file `name` of the copy belongs."""
    warehouse = location.settings.warehouse
    path = FileLocks(warehouse.with_name(f".{warehouse.stem}.reader"))._path(name)
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)


def from_the_start(location: CodeLocation, _: pytest.MonkeyPatch) -> None:
    unusable(location, "work in the warehouse")


def when_the_work_is_done(location: CodeLocation, monkeypatch: pytest.MonkeyPatch) -> None:
    done = WarehouseWork.done

    def broken(work: WarehouseWork) -> bool:
        unusable(location, "work in the warehouse")
        return done(work)

    monkeypatch.setattr(WarehouseWork, "done", broken)


def when_it_is_published(location: CodeLocation, _: pytest.MonkeyPatch) -> None:
    unusable(location, "the copy for readers")


@pytest.mark.parametrize("breaks", [from_the_start, when_the_work_is_done, when_it_is_published])
def test_a_lock_file_that_cannot_be_used_costs_the_copy_and_not_the_run(
    location: CodeLocation,
    monkeypatch: pytest.MonkeyPatch,
    breaks: Callable[[CodeLocation, pytest.MonkeyPatch], None],
) -> None:
    breaks(location, monkeypatch)

    result = location.run(RAW, entity="E110")

    assert result.success
    assert location.rows(COUNTS)
    assert not snapshot_path(location.settings.warehouse).exists()
    warned = [
        each.user_message
        for each in location.instance.all_logs(result.run_id)
        if each.level == logging.WARNING
    ]
    (warning,) = [each for each in warned if "copy for readers" in each]
    assert "cannot be used" in warning
    assert "Check that its folder may be written to" in warning
