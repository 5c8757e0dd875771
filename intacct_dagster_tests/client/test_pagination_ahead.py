"""Pages that are read ahead, in any order, are the same rows; and no row is ever missing."""

from __future__ import annotations

import functools
import itertools
import json
import random
import tempfile
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intacct_dagster.client import (
    ChangeWindow,
    PaginationIncomplete,
    Query,
)
from intacct_dagster.client.pagination import PageSource, paginate
from intacct_dagster.client.query import QueryPage
from intacct_dagster_tests.client.pagination_world import (
    LATER,
    SINCE,
    UNTIL,
    World,
    keys_in,
    page_of,
    read,
    request,
    second,
)
from intacct_dagster_tests.extraction.extraction_worlds import Shuffled


@pytest.mark.parametrize("ahead", [1, 6])
@pytest.mark.parametrize("seed", range(5))
def test_pages_read_ahead_in_any_order_are_the_same_rows_at_the_same_cost(
    tmp_path: Path, ahead: int, seed: int
) -> None:
    world = World({f"{n:05}": second(n // 3) for n in range(4000)})
    result = read(world, tmp_path, size=100, ahead=ahead, chance=random.Random(seed))
    assert keys_in(result) == set(world.rows)
    assert result.proof.attempts == 1
    assert result.proof.requests == result.proof.pages == len(world.asked)
    longest_step = 100 - 12 - 8
    assert len(world.asked) <= 4000 / longest_step + 2
    # offsets stay small, however many rows there are
    assert max(query.start for query in world.asked) <= (ahead + 2) * 100


def test_what_is_asked_for_at_once_is_as_much_as_was_allowed(tmp_path: Path) -> None:
    waiting: list[int] = []
    world = World({f"{n:05}": second(n) for n in range(2000)})
    lanes = Shuffled(4, random.Random(1))

    def submit(query: Query) -> Future[QueryPage]:
        waiting.append(len(lanes._waiting) + 1)
        return lanes.submit(0, functools.partial(world, query))

    paginate(
        PageSource(world, submit, ahead=4, clock=itertools.count().__next__),
        request(ChangeWindow(SINCE, UNTIL), 100),
        into=tmp_path,
    )
    assert max(waiting) == 4


@pytest.mark.parametrize("seed", range(20))
def test_rows_that_leave_while_pages_are_read_ahead_hide_no_others(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    world = World({f"{n:04}": second(n) for n in range(1500)})

    def leave(number: int) -> None:
        there = [key for key, time in world.rows.items() if time != LATER]
        for key in chance.sample(there, chance.choice([0, 0, 1, 30])):
            world.rows[key] = LATER

    world.before_each = leave
    result = read(world, tmp_path, size=100, ahead=5, chance=chance)
    assert keys_in(result) >= {key for key, time in world.rows.items() if time != LATER}
    assert result.proof.attempts == 1


def test_a_row_that_is_hidden_by_a_page_read_ahead_is_noticed_though_others_leave(
    tmp_path: Path,
) -> None:
    world = World({f"{n:04}": second(n) for n in range(1500)})

    def hide(page: QueryPage, query: Query) -> QueryPage:
        rows = json.loads(bytes(page.raw))
        if query.fields == ("key",) or all(row["key"] != "0700" for row in rows):
            return page
        last = max(int(row["key"]) for row in rows)
        rest = [row for row in rows if row["key"] != "0700"] + [world._row(f"{last + 1:04}")]
        return page_of(rest, page.total_count, page.page_size, page.next)

    def touch(number: int) -> None:
        if number == 4:
            world.rows["0000"] = world.rows["1200"] = LATER

    world.before_each, world.after_each = touch, hide
    with pytest.raises(PaginationIncomplete):
        read(world, tmp_path, size=100, ahead=5)


changes = st.lists(
    st.tuples(
        st.integers(1, 8),  # before which request
        st.integers(0, 29),  # which row
        st.sampled_from(["touch", "delete", "insert"]),
    ),
    max_size=6,
)


@settings(max_examples=400, deadline=None)
@given(
    times=st.lists(st.integers(0, 9), min_size=6, max_size=30),
    changed=changes,
    size=st.integers(2, 6),
    numeric=st.booleans(),
    undated=st.booleans(),
    ahead=st.integers(0, 6),
    chance=st.randoms(use_true_random=False),
)
def test_no_row_that_holds_still_is_ever_missing(
    times: list[int],
    changed: list[tuple[int, int, str]],
    size: int,
    numeric: bool,
    undated: bool,
    ahead: int,
    chance: random.Random,
) -> None:
    rows: dict[str, datetime | None] = {
        str(n): None if undated and time == 0 else second(time) for n, time in enumerate(times)
    }
    world = World(dict(rows), numeric_keys=numeric)
    left: set[str] = set()

    def change(number: int) -> None:
        for when, which, how in changed:
            key = str(which)
            if when != number:
                continue
            if how == "insert":
                world.rows[str(1000 + number * 100 + which)] = LATER
            elif key in world.rows:
                left.add(key)
                if how == "touch":
                    world.rows[key] = LATER
                else:
                    del world.rows[key]

    world.before_each = change
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = read(
                world,
                Path(folder),
                size=size,
                since=None if undated else SINCE,
                ahead=ahead,
                chance=chance,
            )
        except PaginationIncomplete:
            assert left  # only a window in motion may fail
            return
        assert keys_in(result) >= set(rows) - left
        assert keys_in(result) <= set(rows)
        assert len(keys_in(result)) == result.proof.distinct_keys == result.proof.total_count
        assert ahead or len(world.asked) == result.proof.requests
        assert len(world.asked) <= result.proof.requests
