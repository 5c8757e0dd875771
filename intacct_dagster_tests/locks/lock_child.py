"""Processes that hold locks and slots until they are killed, or take slots again and again."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Barrier

from intacct_dagster.state import open_state
from intacct_dagster.state.locks import state_locks


def take_often(
    state: str,
    name: str,
    number: int,
    threads: int,
    times: int,
    counts: Sequence[Synchronized[int]],
    together: Barrier,
) -> None:
    """Takes a slot `times` times in each of some threads; counts how many are held together.

    `counts` are how many are held now, by all processes, and the most that were. Before, each
    process holds one until all do.
    """
    now, most = counts
    engine = open_state(state)
    slots = state_locks(engine).slots(name, number, wait_seconds=60)

    def take(_: int) -> None:
        for _ in range(times):
            with slots.slot():
                with now.get_lock():
                    now.value += 1
                    most.value = max(most.value, now.value)
                with now.get_lock():
                    now.value -= 1

    with slots.slot():
        together.wait(60)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(take, range(threads)))
    slots.close()
    engine.dispose()


def hold(state: str, name: str, number: int, ready: Barrier) -> None:
    """Holds all `number` slots and the lock of that name, until it is killed."""
    locks = state_locks(open_state(state))
    with ExitStack() as held:
        slots = locks.slots(name, number, wait_seconds=60)
        for _ in range(number):
            held.enter_context(slots.slot())
        held.enter_context(locks.exclusive(name, wait_seconds=60))
        ready.wait(60)
        ready.wait(600)  # nobody comes
