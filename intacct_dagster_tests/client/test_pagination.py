"""Pagination against a small world whose rows change between any two pages."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from intacct_dagster.client import (
    AnswerNotUnderstood,
    ChangeWindow,
    PaginationIncomplete,
    Query,
    WrongEntity,
)
from intacct_dagster.client.pagination import PageSource, paginate
from intacct_dagster.client.query import QueryPage
from intacct_dagster.pages import page_bytes
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
    wire,
)


def test_every_row_of_the_window_is_read_and_none_outside(tmp_path: Path) -> None:
    rows: dict[str, datetime | None] = {str(n): second(n) for n in range(95)}
    rows |= {"before": SINCE - timedelta(seconds=1), "at until": UNTIL, "undated": None}
    world = World(rows)
    result = read(world, tmp_path)
    assert keys_in(result) == {str(n) for n in range(95)}
    assert result.proof.distinct_keys == result.proof.total_count == 95
    assert result.proof.attempts == 1
    assert result.proof.requests == result.proof.pages == len(world.asked)


def test_a_window_of_one_page_costs_one_request(tmp_path: Path) -> None:
    world = World({str(n): second(n) for n in range(10)})
    result = read(world, tmp_path, size=10)
    assert (result.proof.requests, len(result.files)) == (1, 1)


def test_an_empty_window_is_proven_by_its_count_and_has_no_files(tmp_path: Path) -> None:
    result = read(World({}), tmp_path)
    assert result.files == ()
    assert (result.proof.distinct_keys, result.proof.total_count) == (0, 0)


def test_the_overlap_of_pages_costs_little(tmp_path: Path) -> None:
    # One row in forty is read twice where every row has a second of its own.
    world = World({str(n): second(n) for n in range(1000)})
    result = read(world, tmp_path, size=40)
    assert result.proof.distinct_keys == 1000
    assert result.proof.requests <= 1000 / 39 + 1


@pytest.mark.parametrize("seconds", [1, 9, 200])
@pytest.mark.parametrize("text", ["12.50", 'ü, ["]} €' * 3, "x" * 40_000])
def test_what_two_pages_overlap_by_is_written_once(tmp_path: Path, seconds: int, text: str) -> None:
    world = World({f"{n:03}": second(n * seconds // 200) for n in range(200)})
    spaced = {"separators": (" ,\n", ": "), "ensure_ascii": False}

    def rewritten(page: QueryPage, query: Query) -> QueryPage:
        rows = [{"note": text, **row} for row in json.loads(bytes(page.raw))]
        raw = msgspec.Raw(b" " + json.dumps(rows, **spaced).encode())  # type: ignore[arg-type]
        return QueryPage(raw, page.total_count, page.page_size, page.next)

    world.after_each = rewritten
    result = read(world, tmp_path, size=30)
    written = [row for file in result.files for row in json.loads(page_bytes(file))]
    assert sorted(row["key"] for row in written) == sorted(world.rows)
    assert {row["note"] for row in written} == {text}


def test_the_file_holds_the_exact_bytes_of_the_rows(tmp_path: Path) -> None:
    exact = (
        b'[{"key":"1","audit.modifiedDateTime":"2026-10-01T00:00:00Z", "entity.id":null,'
        b'"rate":1.10000000000000000001}]'
    )
    result = read(lambda _: QueryPage(msgspec.Raw(exact), 1, 10, None), tmp_path)
    assert page_bytes(result.files[0]) == exact


def test_what_the_pagination_needs_is_read_with_what_was_asked_for(tmp_path: Path) -> None:
    world = World({})
    read(world, tmp_path)
    assert world.asked[0].fields == ("key", "audit.modifiedDateTime", "entity.id", "totalDue")


def test_rows_deleted_between_pages_do_not_hide_others(tmp_path: Path) -> None:
    world = World({f"{n:03}": second(n) for n in range(60)})

    def delete_what_was_read(number: int) -> None:
        if number == 2:
            for gone in ("000", "001", "002"):
                del world.rows[gone]

    world.before_each = delete_what_was_read
    result = read(world, tmp_path)
    assert keys_in(result) >= {f"{n:03}" for n in range(3, 60)}
    assert result.proof.attempts == 1  # as many as there were when it began


def test_rows_touched_before_they_were_read_are_settled_by_counting_again(tmp_path: Path) -> None:
    world = World({f"{n:03}": second(n) for n in range(60)})

    def touch(number: int) -> None:
        if number == 1:
            world.rows["050"] = LATER

    world.before_each = touch
    result = read(world, tmp_path)
    assert result.proof.distinct_keys == result.proof.total_count == 59
    assert result.proof.attempts == 1
    assert result.proof.pages < result.proof.requests <= result.proof.pages + 3


def test_rows_leaving_before_and_after_they_were_read_are_settled_by_the_chain_of_counts(
    tmp_path: Path,
) -> None:
    world = World({f"{n:03}": second(n) for n in range(60)})

    def touch(number: int) -> None:
        if number == 3:
            world.rows["000"] = LATER
            world.rows["055"] = LATER

    world.before_each = touch
    result = read(world, tmp_path)
    assert result.proof.attempts == 1
    assert keys_in(result) == {f"{n:03}" for n in range(60)} - {"055"}


def test_a_window_that_never_holds_still_is_read_all_the_same(tmp_path: Path) -> None:
    world = World({f"{n:04}": second(n) for n in range(600)})

    def touch(number: int) -> None:
        remaining = [key for key, time in world.rows.items() if time != LATER]
        world.rows[remaining[0]] = world.rows[remaining[-1]] = LATER

    world.before_each = touch
    result = read(world, tmp_path, size=100)
    assert result.proof.attempts == 1
    assert keys_in(result) >= {key for key, time in world.rows.items() if time != LATER}


def test_rows_that_keep_coming_in_behind_us_end_in_a_clear_error(tmp_path: Path) -> None:
    world = World({f"{n:04}": second(n) for n in range(600)})

    def late(number: int) -> None:
        world.rows[f"late {number}"] = second(1)
        world.rows.pop(f"{599 - number:04}")

    world.before_each = late
    with pytest.raises(PaginationIncomplete) as caught:
        read(world, tmp_path, size=100)
    message = str(caught.value)
    assert "accounts-receivable/invoice of entity E110" in message
    assert "read 3 times" in message
    assert "was not read, and is there" in message
    assert "end the window earlier" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("hidden", [14, 33, 58])
def test_a_row_that_a_page_hides_is_noticed_though_others_leave(
    tmp_path: Path, hidden: int
) -> None:
    # The page is full and its total is right; one row in its midst is left out.
    world = World({f"{n:03}": second(n) for n in range(80)})

    def hide(page: QueryPage, query: Query) -> QueryPage:
        rows = json.loads(bytes(page.raw))
        if query.size == 1 or all(row["key"] != f"{hidden:03}" for row in rows):
            return page
        rest = [row for row in rows if row["key"] != f"{hidden:03}"]
        if len(rows) == query.size:
            behind = sorted(key for key, time in world.rows.items() if time != LATER)
            following = behind[behind.index(rows[-1]["key"]) + 1]
            rest.append(world._row(following))
        return page_of(rest, page.total_count, page.page_size, page.next)

    def touch(number: int) -> None:
        if number == 4:
            world.rows["000"] = world.rows["070"] = LATER

    world.before_each, world.after_each = touch, hide
    with pytest.raises(PaginationIncomplete):
        read(world, tmp_path)


@pytest.mark.parametrize("seconds", [1, 3])
def test_a_row_that_a_page_hides_is_noticed_though_its_neighbour_leaves_before_the_recount(
    tmp_path: Path, seconds: int
) -> None:
    world = World({f"{n:03}": second(n // seconds) for n in range(80)})

    def hide(page: QueryPage, query: Query) -> QueryPage:
        rows = json.loads(bytes(page.raw))
        if query.fields == ("key",) or all(row["key"] != "014" for row in rows):
            return page
        last = rows[-1]["key"]
        rest = [row for row in rows if row["key"] != "014"]
        rest.append(world._row(f"{int(last) + 1:03}"))
        return page_of(rest, page.total_count, page.page_size, page.next)

    before_each = world.asked

    def leave(number: int) -> None:
        if number == 3 and len(before_each) == 3:
            world.rows["013"] = LATER

    world.before_each, world.after_each = leave, hide
    with pytest.raises(PaginationIncomplete, match="key 014"):
        read(world, tmp_path)


def test_a_row_hidden_on_the_last_page_is_noticed_though_another_leaves(tmp_path: Path) -> None:
    world = World({f"{n:03}": second(n) for n in range(28)})

    def hide(page: QueryPage, query: Query) -> QueryPage:
        rows = json.loads(bytes(page.raw))
        if query.fields == ("key",) or all(row["key"] != "025" for row in rows):
            return page
        rest = [row for row in rows if row["key"] != "025"]
        return page_of(rest, page.total_count - 1, page.page_size, page.next)

    def leave(number: int) -> None:
        if number == 3:  # the first question after the last page
            world.rows["026"] = LATER

    world.before_each, world.after_each = leave, hide
    with pytest.raises(PaginationIncomplete, match="key 025"):
        read(world, tmp_path)


@pytest.mark.parametrize("numeric", [False, True])
def test_an_object_without_change_times_is_read_whole_by_key(tmp_path: Path, numeric: bool) -> None:
    world = World({str(n): None for n in range(1, 60)}, numeric_keys=numeric)

    def delete(number: int) -> None:
        if number in (2, 4):
            for key in sorted(world.rows)[:3]:
                del world.rows[key]

    world.before_each = delete
    result = paginate(PageSource(world), request(None, 7), into=tmp_path)
    assert keys_in(result) >= set(world.rows)
    assert all(
        query.order_by == ({"key": "asc"},) and query.filters == ()
        for query in world.asked
        if query.size == 7
    )


@pytest.mark.parametrize("numeric", [False, True])
@pytest.mark.parametrize("size", [2, 3, 7])
def test_a_second_that_fills_several_pages_is_read_whole(
    tmp_path: Path, numeric: bool, size: int
) -> None:
    rows: dict[str, datetime | None] = {str(n): second(n // 40) for n in range(1, 131)}
    result = read(World(rows, numeric_keys=numeric), tmp_path, size=size)
    assert keys_in(result) == set(rows)
    assert result.proof.attempts == 1


def test_rows_leaving_a_second_that_is_paged_by_offset_do_not_hide_others(tmp_path: Path) -> None:
    world = World({f"{n:03}": second(5) for n in range(50)})

    def touch(number: int) -> None:
        if number in (1, 3):
            there = sorted(key for key, time in world.rows.items() if time == second(5))
            world.rows |= dict.fromkeys(there[:3], LATER)

    world.before_each = touch
    result = read(world, tmp_path, size=10)
    assert keys_in(result) == {f"{n:03}" for n in range(50)}
    assert result.proof.attempts == 1  # the second is begun again, not the pagination


def test_a_second_by_offset_continues_at_the_same_bound_with_one_row_of_overlap(
    tmp_path: Path,
) -> None:
    world = World({f"{n:03}": second(5) for n in range(15)})
    read(world, tmp_path, size=10)
    bounds = [query.filters[0]["$gte"]["audit.modifiedDateTime"] for query in world.asked]
    assert [query.start for query in world.asked] == [1, 10]
    assert bounds == [wire(SINCE), wire(second(5))]


def test_without_a_beginning_rows_without_a_change_time_are_read_as_well(tmp_path: Path) -> None:
    rows: dict[str, datetime | None] = {f"d{n}": second(n) for n in range(25)}
    rows |= {f"u{n:02}": None for n in range(25)}
    rows["old"] = datetime(1999, 1, 1, tzinfo=UTC)
    result = read(World(rows), tmp_path, since=None)
    assert keys_in(result) == set(rows)
    assert result.proof.distinct_keys == result.proof.total_count == 51


def test_a_row_of_another_entity_ends_the_pagination_and_leaves_nothing(tmp_path: Path) -> None:
    rows: dict[str, datetime | None] = {f"{n:03}": second(n) for n in range(30)}
    world = World(rows, entity={"001": "E110", "025": "E120"})
    with pytest.raises(WrongEntity) as caught:
        read(world, tmp_path)
    assert "key 025" in str(caught.value)
    assert "entity E120" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_at_top_level_rows_of_every_entity_are_welcome(tmp_path: Path) -> None:
    world = World({"1": second(1), "2": second(2)}, entity={"1": "E110", "2": "E120"})
    assert read(world, tmp_path, entity=None).proof.distinct_keys == 2


def test_an_ignored_order_is_noticed(tmp_path: Path) -> None:
    rows = [
        {"key": str(n), "audit.modifiedDateTime": wire(second(9 - n)), "entity.id": None}
        for n in range(5)
    ]
    with pytest.raises(PaginationIncomplete, match="out of the order or the bounds"):
        read(lambda _: page_of(rows, 5, 10, None), tmp_path)


def test_an_ignored_upper_bound_is_noticed(tmp_path: Path) -> None:
    rows = [{"key": "1", "audit.modifiedDateTime": wire(UNTIL), "entity.id": None}]
    with pytest.raises(PaginationIncomplete, match="out of the order or the bounds"):
        read(lambda _: page_of(rows, 1, 10, None), tmp_path)


def test_a_page_that_repeats_for_ever_ends_in_a_clear_error(tmp_path: Path) -> None:
    asked: list[Query] = []
    rows = [
        {"key": str(n), "audit.modifiedDateTime": wire(second(7)), "entity.id": None}
        for n in range(10)
    ]

    def same_again(query: Query) -> QueryPage:
        asked.append(query)
        return page_of(rows, 1000, 10, 11)

    with pytest.raises(PaginationIncomplete, match="pages brought only 10 rows"):
        read(same_again, tmp_path)
    assert len(asked) < 100


def test_pages_that_never_end_are_stopped(tmp_path: Path) -> None:
    asked: list[Query] = []

    def endless(query: Query) -> QueryPage:
        number = len(asked)
        asked.append(query)
        rows = [
            {
                "key": f"{number}-{n}",
                "audit.modifiedDateTime": wire(second(number * 10 + n)),
                "entity.id": None,
            }
            for n in range(10)
        ]
        return page_of(rows, 30, 10, query.start + 10)

    with pytest.raises(PaginationIncomplete, match="rows came where Intacct counted 30"):
        read(endless, tmp_path)
    assert len(asked) < 100


def test_a_last_page_that_names_a_next_one_is_not_trusted(tmp_path: Path) -> None:
    world = World({str(n): second(n) for n in range(5)})
    world.after_each = lambda page, query: QueryPage(page.raw, page.total_count, 10, 21)
    with pytest.raises(PaginationIncomplete, match="names a next one"):
        read(world, tmp_path)


@pytest.mark.parametrize("lie", [-1, +1, -3, +4000])
def test_a_total_count_that_lies_is_not_trusted(tmp_path: Path, lie: int) -> None:
    world = World({str(n): second(n) for n in range(25)})
    world.after_each = lambda page, query: QueryPage(
        page.raw, page.total_count + lie, page.page_size, page.next
    )
    with pytest.raises(PaginationIncomplete):
        read(world, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_page_cut_short_is_not_taken_for_the_last(tmp_path: Path) -> None:
    world = World({str(n): second(n) for n in range(25)})

    def cut(page: QueryPage, query: Query) -> QueryPage:
        rows = json.loads(bytes(page.raw))[:7]
        return page_of(rows, page.total_count, page.page_size, None)

    world.after_each = cut
    with pytest.raises(PaginationIncomplete, match="7 rows"):
        read(world, tmp_path)


def test_a_server_with_smaller_pages_than_asked_for_is_read_whole(tmp_path: Path) -> None:
    world = World({str(n): second(n // 3) for n in range(100)})

    def at_most_five(query: Query) -> QueryPage:
        smaller = Query(
            query.object, query.fields, query.filters, start=query.start, size=min(5, query.size)
        )
        return world(smaller)

    assert read(at_most_five, tmp_path, size=50).proof.distinct_keys == 100


@pytest.mark.parametrize(
    "row",
    [
        {"key": None, "audit.modifiedDateTime": None, "entity.id": None},
        {"key": "", "audit.modifiedDateTime": "2026-10-01T00:00:00Z", "entity.id": None},
        {"key": "1", "audit.modifiedDateTime": "2026-10-01T00:00:00", "entity.id": None},
        {"key": "1", "audit.modifiedDateTime": "yesterday", "entity.id": None},
        {"key": "1", "audit.modifiedDateTime": "2026-10-01T00:00:00Z"},
        "no object",
    ],
    ids=["null key", "empty key", "no zone", "no time", "no entity", "no object"],
)
def test_rows_of_another_shape_end_the_pagination(tmp_path: Path, row: Any) -> None:
    with pytest.raises(AnswerNotUnderstood, match=r"Page 1 of accounts-receivable/invoice"):
        read(lambda _: page_of([row], 1, 10, None), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (SINCE, SINCE),
        (UNTIL, SINCE),
        (SINCE, datetime(2026, 10, 2)),  # noqa: DTZ001 - the point
        (SINCE, UNTIL.replace(microsecond=1)),
    ],
)
def test_windows_that_mean_nothing_are_refused(since: datetime, until: datetime) -> None:
    with pytest.raises(ValueError):
        ChangeWindow(since, until)
