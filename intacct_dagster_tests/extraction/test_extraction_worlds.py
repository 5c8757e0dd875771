"""Whatever happens while an object is read: what is stored is what could be seen, and all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import stamina

from intacct_dagster.client.pagination.attempt import Attempt
from intacct_dagster.client.pagination.page_reader import PageReader
from intacct_dagster.client.pagination.seen import SeenRows
from intacct_dagster_tests.extraction.extraction_worlds import SETTLE, Outcome, World, extract_world
from intacct_dagster_tests.random_worlds import FIRST_SEED, WORLDS

IN_A_TEST = 10
DAYS = [date(2026, 10, 1) + timedelta(n) for n in range(5)]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # As if every answer took long: as many pages are read ahead as there are lanes.
    monkeypatch.setattr("intacct_dagster.client.pagination.prefetch._SECONDS_A_PAGE", 1e-9)
    with stamina.set_testing(True, attempts=4):
        yield


def judged(seed: int, folder: Path, settle: int = SETTLE) -> tuple[Outcome, str | None]:
    """Extracts the world twice, the second time over what the first had stored."""
    folder.mkdir(parents=True)
    world = World(seed)
    outcome, verdict = _round(world, folder, DAYS, settle)
    if verdict is None and seed % 3 == 0:
        world.faulty = True
        outcome, verdict = _round(world, folder, DAYS[2:], settle)
    return outcome, verdict


def _round(
    world: World, folder: Path, days: Sequence[date], settle: int
) -> tuple[Outcome, str | None]:
    outcome = extract_world(world, folder, list(days), settle=settle)
    until = outcome.extracted.read_until
    assert until is not None  # the last day is not over
    return outcome, outcome.judge(days[0], days[-1], until)


@pytest.mark.worlds
@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + WORLDS, IN_A_TEST))
def test_what_is_stored_is_what_was_visible(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + IN_A_TEST):
        outcome, verdict = judged(seed, tmp_path / str(seed))
        assert verdict is None, f"world {seed}: {verdict} after {outcome.failures}"


def _red(tmp_path: Path, *, settle: int = SETTLE, worlds: int = 100) -> int | None:
    """The first world in which a mutant stores something wrong."""
    for seed in range(1, worlds + 1):
        try:
            _, verdict = judged(seed, tmp_path / str(seed), settle)
        except (AssertionError, IndexError):  # it never ends: not what these mutants are about
            continue
        if verdict is not None:
            return seed
    return None


def test_without_the_proof_a_world_goes_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Attempt, "_proven", lambda self: self._progress.distinct)
    monkeypatch.setattr(Attempt, "_recheck", lambda self, segment: None)
    monkeypatch.setattr(PageReader, "_check_length", lambda self, page, rows, start: None)
    assert _red(tmp_path) is not None


def test_with_offset_paging_a_world_goes_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_offset(self: Any) -> None:
        bound = self._progress.bound
        while True:
            page, rows = self._reader.read(bound, self._progress.start)
            self._keep(page, rows)
            self._progress.start += len(rows)
            if self._progress.start > page.total_count:
                return

    monkeypatch.setattr(Attempt, "_read_on", by_offset)
    monkeypatch.setattr(Attempt, "_proven", lambda self: self._progress.distinct)
    assert _red(tmp_path) is not None


def test_taking_pages_read_ahead_as_they_come_a_world_goes_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SeenRows, "leads_to", lambda self, rows: bool(rows))
    monkeypatch.setattr(Attempt, "_proven", lambda self: self._progress.distinct)
    monkeypatch.setattr(Attempt, "_recheck", lambda self, segment: None)
    assert _red(tmp_path) is not None


def test_without_the_settle_time_a_world_goes_wrong(tmp_path: Path) -> None:
    assert _red(tmp_path, settle=0) is not None
