"""Named locks and slots: bounded over processes, fair, and free when their holder dies."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from intacct_dagster.locks import FileLock, FileLocks, LockError, LockTimeout
from intacct_dagster.locks import files as module
from intacct_dagster.locks import slots as slots_module
from intacct_dagster.locks.base import Locks
from intacct_dagster.state import open_state
from intacct_dagster.state.locks import AdvisoryLocks, state_locks
from intacct_dagster_tests.locks import lock_child

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([lock_child.__name__])

#: Of this process: others may try the same database at the same time.
NAME = f"what process {os.getpid()} tests"

#: Ends the connections of this process that hold advisory locks.
CUT = f"""
SELECT count(pg_terminate_backend(pid)) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND application_name LIKE '%process {os.getpid()} on%'
"""


@pytest.fixture
def engine(state: str) -> Iterator[sa.Engine]:
    engine = open_state(state)
    yield engine
    engine.dispose()


@pytest.fixture
def locks(engine: sa.Engine) -> Locks:
    return state_locks(engine)


@contextmanager
def holding(state: str, number: int) -> Iterator[int]:
    """Another process that has all slots and a lock; the number of the process."""
    ready = PROCESSES.Barrier(2)
    child = PROCESSES.Process(target=lock_child.hold, args=(state, NAME, number, ready))
    child.start()
    try:
        ready.wait(60)
        assert child.pid is not None
        yield child.pid
    finally:
        child.kill()
        child.join(60)


def test_one_at_a_time_holds_a_lock_and_another_name_is_another_lock(locks: Locks) -> None:
    with locks.exclusive(NAME, wait_seconds=0):
        with locks.exclusive(f"{NAME}, another", wait_seconds=0):
            pass
        with pytest.raises(LockTimeout), locks.exclusive(NAME, wait_seconds=0):
            pass
    with locks.exclusive(NAME, wait_seconds=0):
        pass


def test_a_lock_is_given_back_by_a_block_that_fails(locks: Locks) -> None:
    with pytest.raises(ZeroDivisionError), locks.exclusive(NAME, wait_seconds=0):
        _ = 1 / 0
    with locks.exclusive(NAME, wait_seconds=0):
        pass


def test_who_waits_looks_again_until_the_time_is_over(locks: Locks) -> None:
    pauses: list[float] = []
    with (
        locks.exclusive(NAME, wait_seconds=0),
        pytest.raises(LockTimeout) as caught,
        locks.exclusive(NAME, wait_seconds=60, sleep=pauses.append),
    ):
        pass
    assert 60 <= sum(pauses) < 61
    assert caught.value.waited == pytest.approx(sum(pauses))
    assert "waited 60 s" in str(caught.value)


def test_an_error_names_the_process_that_holds_a_lock_and_its_death_frees_it(
    state: str, locks: Locks
) -> None:
    with holding(state, 3) as pid:
        with pytest.raises(LockTimeout) as lock, locks.exclusive(NAME, wait_seconds=0):
            pass
        slots = locks.slots(NAME, 3, wait_seconds=0)
        with pytest.raises(LockTimeout) as slot, slots.slot():
            pass
    # The process was killed with signal 9.
    for caught in (lock, slot):
        assert f"process {pid}" in caught.value.holder
        what, remedy = str(caught.value).splitlines()
        assert caught.value.holder in what
        assert "start this one again" in remedy
    with locks.exclusive(NAME, wait_seconds=60):
        pass
    with ExitStack() as held:
        freed = locks.slots(NAME, 3, wait_seconds=60)
        for _ in range(3):
            held.enter_context(freed.slot())
    slots.close()
    freed.close()


def test_processes_never_hold_more_slots_together_than_there_are(state: str) -> None:
    open_state(state).dispose()
    counts = [PROCESSES.Value("i", 0), PROCESSES.Value("i", 0)]
    together = PROCESSES.Barrier(3)
    children = [
        PROCESSES.Process(
            target=lock_child.take_often, args=(state, NAME, 3, 4, 50, counts, together)
        )
        for _ in range(3)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0, 0]
    now, most = counts
    assert now.value == 0
    assert most.value <= 3


def test_who_asks_for_fewer_slots_shares_the_first_ones(locks: Locks) -> None:
    one, all_ = locks.slots(NAME, 1, wait_seconds=0), locks.slots(NAME, 3)
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(all_.slot())
        with pytest.raises(LockTimeout), one.slot():
            pass
    with one.slot(), all_.slot(), all_.slot():
        pass
    one.close()
    all_.close()


def test_threads_of_a_process_get_slots_in_the_order_in_which_they_asked(locks: Locks) -> None:
    mine, other = locks.slots(NAME, 1), locks.slots(NAME, 1)
    served: list[int] = []
    line = mine._line

    def take(number: int) -> None:
        with mine.slot():
            served.append(number)

    with ThreadPoolExecutor(8) as pool, other.slot():
        for number in range(8):
            pool.submit(take, number)
            until(lambda number=number: len(line) > number)
    assert served == list(range(8))
    mine.close()
    other.close()


def test_a_slot_goes_to_who_waits_before_who_gave_it_back(locks: Locks) -> None:
    greedy, modest = (locks.slots(NAME, 1, wait_seconds=0) for _ in range(2))
    with greedy.slot():
        assert modest._locks.attempt([0], politely=True) is None  # it waits at the gate
    with pytest.raises(LockTimeout), greedy.slot():
        pass
    assert modest._locks.attempt([0], politely=True) == 0
    modest._locks.release(0)
    with greedy.slot():
        pass
    greedy.close()
    modest.close()


def test_who_takes_slots_without_a_pause_keeps_nobody_out(locks: Locks) -> None:
    greedy, modest = locks.slots(NAME, 1), locks.slots(NAME, 1, wait_seconds=10)
    done = threading.Event()

    def take_all_the_time() -> None:
        while not done.is_set():
            with greedy.slot():
                pass

    with ThreadPoolExecutor(2) as pool:
        busy = [pool.submit(take_all_the_time) for _ in range(2)]
        try:
            for _ in range(10):
                with modest.slot():
                    pass
        finally:
            done.set()
    assert [each.result() for each in busy] == [None, None]
    greedy.close()
    modest.close()


def test_a_process_that_stands_still_at_the_gate_keeps_nobody_from_a_free_slot(
    engine: sa.Engine, locks: Locks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots_module, "_POLITE_SECONDS", 0.05)
    stopped, mine = locks.slots(NAME, 2), locks.slots(NAME, 2, wait_seconds=10)
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(stopped.slot())
        assert stopped._locks.attempt([], politely=True) is None  # it has the gate now
    with mine.slot(), mine.slot():
        pass
    stopped._locks.leave_gate()
    stopped.close()
    mine.close()


def test_a_lock_file_that_somebody_deletes_never_has_two_holders(tmp_path: Path) -> None:
    locks = FileLocks(tmp_path)
    opened = module._opened

    def deleted_meanwhile(path: Path) -> int:
        descriptor = opened(path)
        path.unlink()
        with monkey.context() as once:
            once.setattr(module, "_opened", opened)
            other.append(locks.take("one"))
        return descriptor

    monkey, other = pytest.MonkeyPatch(), list[FileLock | None]()
    with monkey.context() as patch:
        patch.setattr(module, "_opened", deleted_meanwhile)
        assert locks.take("one") is None
    assert other[0] is not None
    other[0].release()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LockError, match="cannot be used: Not a directory") as caught:
        FileLocks(tmp_path / "file").take("one")
    assert str(tmp_path / "file") in str(caught.value)


def test_a_shared_lock_has_many_holders_and_no_exclusive_one(tmp_path: Path) -> None:
    locks = FileLocks(tmp_path)
    with locks.shared("work", wait_seconds=0) as one, locks.shared("work", wait_seconds=0) as two:
        with locks.if_free("work") as alone:
            assert not alone
        one.release()
        two.release()
        with locks.if_free("work") as alone:
            assert alone
            with pytest.raises(LockTimeout), locks.shared("work", wait_seconds=0):
                pass


def test_slots_outlive_a_connection_that_the_server_cuts(engine: sa.Engine, locks: Locks) -> None:
    mine, other = locks.slots(NAME, 2), locks.slots(NAME, 2, wait_seconds=0)
    with ExitStack() as first:
        first.enter_context(mine.slot())
        if engine.dialect.name == "postgresql":  # the locks of files have none
            with engine.connect() as admin:
                cut = admin.scalar(sa.text(CUT))
            assert cut == 1
        with mine.slot():  # over a new connection
            first.close()  # what the old one had is not taken from who has it now
            with other.slot(), pytest.raises(LockTimeout), other.slot():
                pass
    mine.close()
    other.close()


def test_a_database_that_cannot_be_asked_is_named_with_what_to_do(tmp_path: Path) -> None:
    engine = open_state(f"sqlite:///{tmp_path}/state.db")  # has no advisory locks
    slots = AdvisoryLocks(engine).slots(NAME, 2, wait_seconds=0)
    with pytest.raises(LockError, match="cannot be reached") as caught, slots.slot():
        pass
    assert f"{tmp_path}/state.db" in str(caught.value)
    assert "Check that the database of the state store is up" in str(caught.value)
    engine.dispose()


def until(true: object) -> None:
    """Waits, ten seconds at most, for something that another thread does."""
    assert callable(true)
    deadline = time.monotonic() + 10
    ready = threading.Event()
    while not true():
        assert time.monotonic() < deadline
        ready.wait(0.001)
