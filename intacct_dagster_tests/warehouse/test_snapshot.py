"""The readers' copy: whole, of one moment, and nobody waits for who reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from intacct_dagster.warehouse import (
    Snapshot,
    Warehouse,
    WarehouseError,
    WarehouseLocked,
)
from intacct_dagster.warehouse.partitions import delete_partitions, stage_partitions

#: Rows of every partition, whatever its rows say.
ROWS = 50
DAYS = [date(2026, 10, 1) + timedelta(days=number) for number in range(5)]

# An analyst who asks again and again, on a new connection each time or always on the same.
ANALYST = """
import sys, json, threading, duckdb
path, keeps, ended = sys.argv[1], sys.argv[2] == "keeps", threading.Event()
counts = "SELECT _entity, CAST(_day AS VARCHAR), version, count(*) FROM raw.t GROUP BY ALL"
connection = duckdb.connect(path, read_only=True)
print("open", flush=True)
threading.Thread(target=lambda: (sys.stdin.readline(), ended.set()), daemon=True).start()
seen, asked = [], 0
while asked < 100_000 and not ended.is_set():
    if not keeps:
        connection.close()
        connection = duckdb.connect(path, read_only=True)
    found = sorted(connection.execute(counts).fetchall())
    asked += 1
    if not seen or seen[-1] != found:
        seen.append(found)
print(json.dumps({"asked": asked, "seen": seen}), flush=True)
"""

OPEN = """
import sys
from intacct_dagster.warehouse import Warehouse, WarehouseLocked
try:
    with Warehouse(sys.argv[1], lock_timeout=0).connect(read_only=len(sys.argv) > 2) as connection:
        print(connection.execute("SELECT count(*) FROM raw.t").fetchone()[0])
except WarehouseLocked:
    print("locked")
"""

DIE_AFTER_A_COMMIT = """
import sys, os, signal, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("SET wal_autocheckpoint = '1GB'")
connection.execute("INSERT INTO raw.t SELECT 'E900', DATE '2026-10-01', 1 FROM range(7)")
os.kill(os.getpid(), signal.SIGKILL)
"""


def python(program: str, *arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ran.stdout.strip()


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    warehouse = Warehouse(tmp_path / "warehouse.duckdb")
    with warehouse.connect() as connection:
        connection.execute(
            "CREATE SCHEMA raw; CREATE TABLE raw.t (_entity VARCHAR, _day DATE, version BIGINT);"
            " COMMENT ON COLUMN raw.t.version IS 'which load it came with';"
            " CREATE SCHEMA intacct; CREATE VIEW intacct.t AS SELECT * FROM raw.t;"
            " COMMENT ON VIEW intacct.t IS 'for analysts';"
            " CREATE MACRO intacct.older_than(day) AS TABLE SELECT * FROM raw.t WHERE _day < day"
        )
    return warehouse


def load(warehouse: Warehouse, entity: str, version: int) -> None:
    """Replaces all days of an entity, as a run does."""
    with warehouse.staging() as staging:
        stage_partitions(staging.connection, [(entity, day) for day in DAYS])
        with staging.transaction() as connection:
            delete_partitions(connection, "warehouse.raw.t")
            connection.execute(
                "INSERT INTO warehouse.raw.t SELECT entity, day, ? FROM memory.main.partitions,"
                " range(?)",
                [version, ROWS],
            )


def ask(copy: Snapshot, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(copy.path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


@contextmanager
def an_analyst_at_work(path: Path, how: str) -> Iterator[dict[str, Any]]:
    found: dict[str, Any] = {}
    with subprocess.Popen(
        [sys.executable, "-c", ANALYST, str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            yield found
            printed, _ = process.communicate("done\n", timeout=60)
            found.update(json.loads(printed))
        finally:
            process.kill()


def test_the_copy_stores_no_row_again(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "w.duckdb")
    with warehouse.connect() as connection:
        connection.execute("CREATE TABLE t (n BIGINT, word VARCHAR)")
    for number in range(8):  # as loads are: each a group of rows of its own
        with warehouse.connect() as connection:
            connection.execute(
                "INSERT INTO t SELECT range, hash(range)::VARCHAR FROM range($1, $1 + 20_000)",
                [number * 20_000],
            )
    copy = Snapshot(warehouse)
    copy.publish()

    def places(file: Path) -> list[Any]:
        with duckdb.connect(str(file), read_only=True) as connection:
            return connection.execute(
                "SELECT row_group_id, column_id, segment_id, count, block_id"
                " FROM pragma_storage_info('t') ORDER BY ALL"
            ).fetchall()

    assert places(copy.path) == places(warehouse.path)


def test_an_analyst_who_asks_all_the_time_sees_whole_partitions_and_delays_nobody(
    warehouse: Warehouse,
) -> None:
    for entity in ("E110", "E120"):
        load(warehouse, entity, 0)
    # Who had to wait for anybody would fail at once.
    impatient = Warehouse(warehouse.path, lock_timeout=0)
    copy = Snapshot(impatient)
    assert copy.publish() is not None
    with (
        an_analyst_at_work(copy.path, "keeps") as keeper,
        an_analyst_at_work(copy.path, "asks again") as analyst,
    ):
        for version in range(1, 21):
            for entity in ("E110", "E120"):
                load(impatient, entity, version)
            assert copy.publish() is not None

    assert keeper["asked"] > 1
    assert len(keeper["seen"]) == 1, "an open connection goes on reading what it opened"
    assert len(analyst["seen"]) > 1, "who opens it again sees what is new"
    for found in [*keeper["seen"], *analyst["seen"]]:
        assert [(entity, day, rows) for entity, day, _, rows in found] == [
            (entity, day.isoformat(), ROWS) for entity in ("E110", "E120") for day in DAYS
        ]
        assert len({version for *_, version, _ in found}) == 1, "and all of one moment"


def test_comments_views_and_macros_are_in_the_copy_and_it_says_of_when_it_is(
    warehouse: Warehouse,
) -> None:
    load(warehouse, "E110", 1)
    copy = Snapshot(warehouse, wall=datetime(2026, 10, 13, 18, tzinfo=UTC).timestamp)
    assert copy.as_of is None
    done = copy.publish()
    assert done is not None
    assert done.path == warehouse.path.with_name("warehouse.reader.duckdb")
    assert done.bytes == copy.path.stat().st_size
    assert ask(copy, "SELECT comment FROM duckdb_views() WHERE view_name = 't'") == [
        ("for analysts",)
    ]
    assert ask(copy, "SELECT count(*) FROM intacct.older_than(DATE '2026-10-03')") == [(2 * ROWS,)]
    assert ask(
        copy,
        "SELECT comment FROM duckdb_columns() WHERE schema_name = 'raw' AND column_index = 3",
    ) == [("which load it came with",)]
    [(as_of, published_at)] = ask(copy, "SELECT * FROM meta.published")
    assert as_of == done.as_of == copy.as_of
    assert published_at == datetime(2026, 10, 13, 18, tzinfo=UTC)
    assert warehouse.frame("SELECT * FROM duckdb_tables() WHERE table_name = 'published'").empty


def test_nothing_is_copied_that_was_copied_already_or_a_moment_ago(warehouse: Warehouse) -> None:
    copy = Snapshot(warehouse)
    assert copy.publish() is not None
    assert copy.publish() is None
    load(warehouse, "E110", 1)
    assert copy.publish(unless_within=3600) is None
    later = Snapshot(warehouse, wall=lambda: copy.path.stat().st_ctime + 3601)
    assert later.publish(unless_within=3600) is not None
    assert ask(copy, "SELECT count(*) FROM raw.t") == [(ROWS * len(DAYS),)]


def test_nobody_writes_while_the_file_is_copied_and_anybody_may_read(
    warehouse: Warehouse,
) -> None:
    with warehouse.still():
        assert python(OPEN, str(warehouse.path)) == "locked"
        assert python(OPEN, str(warehouse.path), "read_only") == "0"
    assert python(OPEN, str(warehouse.path)) == "0"


def test_a_copy_waits_for_who_writes_and_fails_with_words(warehouse: Warehouse) -> None:
    program = (
        "import sys, duckdb; connection = duckdb.connect(sys.argv[1]); print('held', flush=True);"
        " sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(warehouse.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(WarehouseLocked):
            Snapshot(Warehouse(warehouse.path, lock_timeout=0)).publish()
        waits: list[float] = []

        def let_go(seconds: float) -> None:
            waits.append(seconds)
            process.communicate("go\n", timeout=60)

        assert Snapshot(Warehouse(warehouse.path, sleep=let_go)).publish() is not None
        assert len(waits) == 1


def test_what_a_process_that_was_killed_had_committed_is_in_the_copy(warehouse: Warehouse) -> None:
    python(DIE_AFTER_A_COMMIT, str(warehouse.path))
    assert warehouse.path.with_name("warehouse.duckdb.wal").stat().st_size > 0
    copy = Snapshot(warehouse)
    assert copy.publish() is not None
    assert ask(copy, "SELECT count(*) FROM raw.t WHERE _entity = 'E900'") == [(7,)]


def test_a_copy_that_cannot_be_made_leaves_the_old_one(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Snapshot(warehouse)
    copy.publish()
    load(warehouse, "E110", 1)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.copy_file_range", full)
    with pytest.raises(WarehouseError, match="No space left on device"):
        copy.publish()
    assert ask(copy, "SELECT count(*) FROM raw.t") == [(0,)]
    monkeypatch.undo()
    assert copy.publish() is not None


def test_of_those_at_work_the_last_to_end_sees_to_the_copy(warehouse: Warehouse) -> None:
    copy = Snapshot(warehouse)
    with copy.working() as one, copy.working() as other:
        assert not one.done()
        with copy.working() as third:
            assert not other.done()
            assert third.done()


def test_there_is_nothing_to_copy_before_the_first_load(tmp_path: Path) -> None:
    assert Snapshot(Warehouse(tmp_path / "none.duckdb")).publish() is None
