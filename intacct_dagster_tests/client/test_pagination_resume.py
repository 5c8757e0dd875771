"""A pagination that was interrupted goes on where it stopped."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from intacct_dagster_tests.client.pagination_world import (
    World,
    keys_in,
    read,
    second,
)


class Killed(Exception):
    """The process ended here."""


def interrupted(into: Path, world: World, *, at: int) -> None:
    """Begin a pagination that ends when it has asked for `at` pages."""

    def kill(number: int) -> None:
        if number == at:
            raise Killed

    world.before_each = kill
    with pytest.raises(Killed):
        read(world, into, size=12)
    world.before_each = lambda number: None


@pytest.mark.parametrize("at", range(1, 9))
@pytest.mark.parametrize("seconds", [1, 7, 95])
def test_an_interrupted_pagination_goes_on_from_its_last_whole_page(
    tmp_path: Path, at: int, seconds: int
) -> None:
    world = World({f"{n:03}": second(n * seconds // 95) for n in range(95)})
    undisturbed = read(world, tmp_path / "undisturbed", size=12).proof
    world.asked.clear()

    interrupted(tmp_path, world, at=at)
    result = read(world, tmp_path, size=12)
    assert keys_in(result) == set(world.rows)
    assert result.proof == undisturbed
    assert len(world.asked) == undisturbed.requests


def test_a_line_that_was_not_written_to_its_end_is_not_gone_on_from(tmp_path: Path) -> None:
    world = World({f"{n:03}": second(n) for n in range(95)})
    undisturbed = read(world, tmp_path / "undisturbed", size=12).proof
    world.asked.clear()
    interrupted(tmp_path, world, at=4)
    (journal,) = tmp_path.glob("progress.*")
    *_, last = journal.read_bytes().splitlines()
    with journal.open("ab") as file:
        file.write(last[: len(last) // 2])
    world.asked.clear()
    result = read(world, tmp_path, size=12)
    assert keys_in(result) == set(world.rows)
    assert result.proof == undisturbed
    assert len(world.asked) == undisturbed.requests - 4


@pytest.mark.parametrize("damage", [b"", b"[", b"\x28\xb5\x2f\xfd nothing like it"])
def test_what_an_interrupted_pagination_left_damaged_is_read_again(
    tmp_path: Path, damage: bytes
) -> None:
    world = World({f"{n:03}": second(n) for n in range(95)})
    interrupted(tmp_path, world, at=4)
    for page in tmp_path.glob("attempt-1/*"):
        page.write_bytes(damage)
    result = read(world, tmp_path, size=12)
    assert keys_in(result) == set(world.rows)
    assert result.proof.attempts == 2


def test_a_pagination_of_something_else_does_not_go_on_from_an_interrupted_one(
    tmp_path: Path,
) -> None:
    world = World({f"{n:03}": second(n) for n in range(95)})

    interrupted(tmp_path, world, at=3)
    result = read(world, tmp_path, size=12, since=None)
    assert result.proof.requests == len(world.asked) - 3
    assert keys_in(result) == set(world.rows)


@pytest.mark.parametrize("at", range(1, 19, 3))
def test_a_pagination_that_reads_ahead_goes_on_after_it_was_killed(tmp_path: Path, at: int) -> None:
    world = World({f"{n:04}": second(n) for n in range(1500)})

    def kill(number: int) -> None:
        if number == at:
            world.before_each = lambda number: None
            raise Killed

    world.before_each = kill
    with suppress(Killed):  # a page that is never needed may be the one that ends it
        read(world, tmp_path, size=100, ahead=5)
    result = read(world, tmp_path, size=100, ahead=5)
    assert keys_in(result) == set(world.rows)
    assert len(world.asked) <= 1500 / 80 + 2 + 6 + 1
