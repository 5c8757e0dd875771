"""The DuckDB file: held shortly, waited for with a bound, let go whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from intacct_dagster.warehouse import (
    Warehouse,
    WarehouseError,
    WarehouseLocked,
    WarehouseUnreadable,
)

HOLD = """
import sys
from intacct_dagster.warehouse import Warehouse
with Warehouse(sys.argv[1]).connect(read_only=len(sys.argv) > 2):
    print("held", flush=True)
    sys.stdin.readline()
"""

DIE_WHILE_WRITING = """
import sys, os, signal
from intacct_dagster.warehouse import Warehouse
with Warehouse(sys.argv[1]).staging() as staging, staging.transaction() as connection:
    connection.execute("DELETE FROM warehouse.main.numbers")
    connection.execute("INSERT INTO warehouse.main.numbers VALUES (99)")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@contextmanager
def another_process_holds(path: Path, *mode: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), *mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def with_numbers(path: Path) -> Warehouse:
    warehouse = Warehouse(path)
    with warehouse.connect() as connection:
        connection.execute("CREATE TABLE numbers AS SELECT unnest([1, 2, 3]) AS number")
    return warehouse


def numbers(warehouse: Warehouse) -> list[int]:
    return sorted(int(number) for number in warehouse.frame("SELECT number FROM numbers")["number"])


class Waits:
    """A clock that only sleeping moves; after some sleeps another process lets go."""

    def __init__(self, holder: subprocess.Popen[str] | None = None, after: int = 0) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []
        self._holder = holder
        self._after = after

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps.append(seconds)
        if self._holder is not None and len(self.sleeps) == self._after:
            self._holder.communicate("go\n", timeout=60)


def test_a_warehouse_held_by_another_process_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with_numbers(path)
    with another_process_holds(path) as holder:
        waits = Waits(holder, after=3)
        patient = Warehouse(path, lock_timeout=60, clock=waits.clock, sleep=waits.sleep)
        assert numbers(patient) == [1, 2, 3]
        assert len(waits.sleeps) == 3


@pytest.mark.parametrize("mode", [(), ("read_only",)])
def test_the_wait_is_bounded_and_the_error_says_who_holds_the_file(
    tmp_path: Path, mode: tuple[str, ...]
) -> None:
    path = tmp_path / "warehouse.duckdb"
    with_numbers(path)
    with another_process_holds(path, *mode) as holder:
        waits = Waits()
        warehouse = Warehouse(path, lock_timeout=30, clock=waits.clock, sleep=waits.sleep)
        with pytest.raises(WarehouseLocked) as refusal, warehouse.connect():
            pass
    assert refusal.value.pid == holder.pid
    assert f"pid {holder.pid}" in str(refusal.value)
    assert "python" in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 2
    assert 30 <= waits.now < 31


def test_readers_of_several_processes_do_not_wait_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with_numbers(path)
    with another_process_holds(path, "read_only"):
        assert numbers(Warehouse(path, lock_timeout=0)) == [1, 2, 3]


def test_a_process_killed_while_writing_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    warehouse = with_numbers(path)
    died = subprocess.run(
        [sys.executable, "-c", DIE_WHILE_WRITING, str(path)], check=False, timeout=60
    )
    assert died.returncode == -9
    assert numbers(warehouse) == [1, 2, 3]


def test_an_error_inside_the_block_writes_nothing_and_lets_the_file_go(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    warehouse = with_numbers(path)

    def fail_half_way() -> None:
        with warehouse.staging() as staging, staging.transaction() as connection:
            connection.execute("DELETE FROM warehouse.main.numbers")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as kept:  # its traceback refers to the connection
        fail_half_way()
    assert numbers(warehouse) == [1, 2, 3]
    with another_process_holds(path):
        assert kept.value is not None


def test_threads_of_one_process_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with_numbers(path)
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            with Warehouse(path).connect() as connection:
                connection.execute("INSERT INTO numbers VALUES (?)", [number])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(10, 18)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not failures
    assert numbers(Warehouse(path)) == [1, 2, 3, *range(10, 18)]


def test_a_thread_that_would_wait_for_itself_fails_at_once(tmp_path: Path) -> None:
    warehouse = with_numbers(tmp_path / "warehouse.duckdb")
    with (
        warehouse.connect(),
        pytest.raises(WarehouseError, match="already holds"),
        warehouse.connect(),
    ):
        pass
    assert numbers(warehouse) == [1, 2, 3]


def test_reading_before_anything_was_written_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WarehouseUnreadable, match=r"There is no warehouse at .* yet"):
        Warehouse(tmp_path / "none.duckdb").frame("SELECT 1")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_warehouse_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database" * 1000)
    with pytest.raises(WarehouseUnreadable, match="move that file away"), Warehouse(path).connect():
        pass
    assert path.read_text() == "not a database" * 1000


@pytest.mark.parametrize("storage", ["v1.0.0", "latest"])
def test_a_file_of_an_older_or_a_newer_format_is_written_on(tmp_path: Path, storage: str) -> None:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(":memory:") as maker:
        maker.execute(f"ATTACH '{path}' AS made (STORAGE_VERSION '{storage}')")
        maker.execute("CREATE TABLE made.t AS SELECT 1 AS n")
    file = Warehouse(path)
    with file.connect() as connection:
        connection.execute("INSERT INTO t VALUES (2)")
    with file.connect(read_only=True) as connection:
        assert connection.execute("SELECT n FROM t ORDER BY n").fetchall() == [(1,), (2,)]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, not a folder")
    with (
        pytest.raises(WarehouseUnreadable, match="cannot be opened"),
        Warehouse(tmp_path / "data" / "warehouse.duckdb").connect(),
    ):
        pass


def test_a_frame_has_exact_amounts_and_aware_times(tmp_path: Path) -> None:
    warehouse = with_numbers(tmp_path / "warehouse.duckdb")
    frame = warehouse.frame(
        "SELECT CAST('12345678901234567890.0123456789' AS DECIMAL(38,10)) AS amount,"
        " CAST(NULL AS DECIMAL(38,10)) AS nothing, TIMESTAMPTZ '2026-10-01 12:00:00+02' AS moment"
        " WHERE ? = 'x' -- a comment at the end;",
        ["x"],
    )
    assert frame["amount"].tolist() == [Decimal("12345678901234567890.0123456789")]
    assert frame["nothing"].tolist() == [None]
    assert frame["moment"][0].to_pydatetime() == datetime(2026, 10, 1, 10, tzinfo=UTC)


def test_a_file_held_elsewhere_in_this_process_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with_numbers(path)
    waits = Waits()
    warehouse = Warehouse(path, lock_timeout=5, clock=waits.clock, sleep=waits.sleep)
    with duckdb.connect() as notebook:
        notebook.execute(f"ATTACH '{path}' AS mine")
        with pytest.raises(WarehouseLocked, match="another connection of this process"):
            warehouse.frame("SELECT 1")
    assert numbers(warehouse) == [1, 2, 3]


def test_a_frame_shows_what_is_no_query_too(tmp_path: Path) -> None:
    warehouse = with_numbers(tmp_path / "warehouse.duckdb")
    assert warehouse.frame("SHOW TABLES")["name"].tolist() == ["numbers"]


def test_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    numbers(with_numbers(path))
    assert os.listdir(tmp_path) == ["warehouse.duckdb"]


def test_without_pandas_a_frame_is_refused_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = with_numbers(tmp_path / "warehouse.duckdb")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(WarehouseError, match=r"pip install 'intacct_dagster\[pandas\]'"):
        warehouse.frame("SELECT 1")
    with warehouse.connect(read_only=True) as connection:
        assert connection.execute("SELECT ? + 1", [1]).fetchall() == [(2,)]
