"""A process that posts, and is killed on the way.

The stories lead between them to every step of posting. The same process plays a story to its end if
the step does not come.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from multiprocessing.synchronize import Event

import stamina

from intacct_dagster.client import IntacctError
from intacct_dagster.posting.settlement import UNDER_WAY_AT_MOST
from intacct_dagster.posting.steps import Step
from intacct_dagster.state.ledger import Item
from intacct_dagster_tests.posting.posting_world import NOBODY, POISON, SETTLED, World, once_each


def documents(world: World, story: str) -> tuple[list[Item], list[Item]]:
    """The good and the bad documents of a story. There are always several chunks of two."""
    taken = [world.item(f"S{number}") for number in range(1, 5)]
    if story == "poisoned":
        return taken, [world.item(f"S2-{POISON}")]
    return taken, [world.item("S2-bad", customer=NOBODY)]


def play(world: World, story: str, items: Sequence[Item]) -> None:
    """Posts, over the network of the story."""
    network = world.network
    match story:
        case "calm":
            world.post(items, size=2)
        case "lost answer":
            network.fault = once_each(network.lose_answer)
            world.post(items, size=2)
            world.clock.time += SETTLED
            world.post(items, size=2)
        case "lost request":
            network.fault = once_each(network.lose_request)
            for _ in range(3):
                world.post(items, size=2)
                world.clock.time += SETTLED
        case "no connection":
            network.fault = once_each(*[network.refuse_connection] * 2)
            with suppress(IntacctError):
                world.post(items, size=2)
            world.post(items, size=2)
        case "poisoned":
            network.fault = network.refuse_whole_if_poisoned
            world.post(items, size=5)
        case "wrong address":
            network.fault = once_each(network.no_such_place)
            with suppress(IntacctError):
                world.post(items, size=2)
            world.post(items, size=2)
        case "change":
            world.post(items)
            world.change([world.otherwise(item) for item in good(items)], size=2)
        case "lost change" | "change that did not arrive":
            world.post(items)
            lose = network.lose_answer if story == "lost change" else network.lose_request
            network.fault = once_each(lose)
            later = [world.otherwise(item) for item in good(items)]
            for _ in range(3):
                world.change(later, size=2)
                world.clock.time += UNDER_WAY_AT_MOST + timedelta(minutes=1)
        case _:
            raise ValueError(story)


def good(items: Sequence[Item]) -> list[Item]:
    """Those that Intacct takes."""
    return [item for item in items if NOBODY.encode() not in item.payload]


def post_slowly(base_url: str, state: str, prefix: str, under_way: Event, go_on: Event) -> None:
    """Posts, and keeps its first request waiting until it may go on."""

    def watch(reached: Step, when: str) -> None:
        if reached is Step.SEND and when == "before":
            under_way.set()
            if not go_on.wait(60):
                raise TimeoutError

    world = World(base_url, state, prefix=prefix, watch=watch)
    taken, _ = documents(world, "calm")
    world.post(taken, size=2)


def main(base_url: str, state: str, prefix: str, story: str, step: str, moment: str) -> None:
    """Plays the story until (step, moment), and dies there."""

    def watch(reached: Step, when: str) -> None:
        if reached.name == step and when == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    with stamina.set_testing(True, attempts=2):
        if "change" in story:
            world = World(base_url, state, prefix=prefix, watch_changes=watch)
        else:
            world = World(base_url, state, prefix=prefix, watch=watch)
        taken, refused = documents(world, story)
        play(world, story, [*taken, *refused])
