"""Whatever happens while lines are read: what is stored of a document is one version, and whole."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import stamina
from duckdb import DuckDBPyConnection

from intacct_dagster.extraction import keys, lines
from intacct_dagster.warehouse.database import CATALOG
from intacct_dagster.warehouse.raw import join_lines, versions
from intacct_dagster.warehouse.raw import load as raw
from intacct_dagster.warehouse.raw.log import ObjectLog
from intacct_dagster_tests.extraction.lines_worlds import LinesWorld, extract_lines
from intacct_dagster_tests.random_worlds import FIRST_SEED, WORLDS

IN_A_TEST = 5
DAYS = [date(2026, 10, 1) + timedelta(n) for n in range(5)]


@pytest.fixture(autouse=True)
def _one_after_another(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(keys, "KEYS_IN_A_QUERY", 4)
    monkeypatch.setattr(keys, "_BLOCKS_AT_ONCE", 1)
    with stamina.set_testing(True, attempts=4):
        yield


def judged(seed: int, folder: Path) -> str | None:
    """Extracts the lines of a world, lets hours pass in which it changes, and extracts again."""
    folder.mkdir(parents=True)
    world = LinesWorld(seed, reached=seed % 2 == 0)
    done, stored = extract_lines(world, folder, DAYS)
    verdict = stored.judge(world, done)
    if verdict is None:
        world.faulty = True
        for _ in range(12):
            world.now += timedelta(minutes=20)
            world._change()
        done, stored = extract_lines(world, folder, DAYS[seed % 5 :])
        verdict = stored.judge(world, done)
    return verdict


@pytest.mark.worlds
@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + WORLDS // 4, IN_A_TEST))
def test_what_is_stored_of_a_document_is_one_version_of_it(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + IN_A_TEST):
        verdict = judged(seed, tmp_path / str(seed))
        assert verdict is None, f"world {seed}: {verdict}"


def _red(tmp_path: Path) -> int | None:
    for seed in range(1, 61):
        if judged(seed, tmp_path / str(seed)) is not None:
            return seed
    return None


def test_without_a_second_look_at_the_documents_a_world_goes_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unchecked(file: Any, **given: Any) -> Any:
        if given["before"] is not None:
            given["after"] = given["before"]
        return join_lines(file, **given)

    monkeypatch.setattr(lines, "join_lines", unchecked)
    assert _red(tmp_path) is not None


def _only_added(connection: DuckDBPyConnection, log: ObjectLog, load_id: int) -> int:
    current = versions.current_relation(log.object)
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {CATALOG}.intacct")
    connection.execute(f"CREATE TABLE IF NOT EXISTS {current} AS FROM {log.raw} LIMIT 0")
    connection.execute(f"INSERT INTO {current} FROM {log.raw} WHERE _load_id = ?", [load_id])
    return 0


def test_without_choosing_the_version_that_counts_a_world_goes_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "apply_load", _only_added)
    assert _red(tmp_path) is not None
