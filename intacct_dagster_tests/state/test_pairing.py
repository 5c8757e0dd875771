"""A state store belongs to one warehouse, and a warehouse to one state store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from intacct_dagster.state import Pairing, StateError, open_state
from intacct_dagster.state.pairing import WarehouseNotPaired
from intacct_dagster.warehouse import Warehouse

COMPANY = "acme"


@pytest.fixture
def store(state: str) -> Iterator[sa.Engine]:
    engine = open_state(state)
    yield engine
    engine.dispose()


def opened(store: sa.Engine, path: Path, company: str = COMPANY) -> Warehouse:
    path = path.resolve()
    return Warehouse(path, paired=Pairing(store, company, path).check)


def write(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS warehouse.main.t AS SELECT 1 AS x")


def test_the_first_warehouse_gets_an_id_that_stays(store: sa.Engine, tmp_path: Path) -> None:
    first = opened(store, tmp_path / "a.duckdb")
    assert first.identity() is None
    write(first)
    identity = first.identity()
    assert identity is not None
    write(opened(store, tmp_path / "a.duckdb"))
    assert first.identity() == identity

    (tmp_path / "a.duckdb").rename(tmp_path / "moved.duckdb")
    write(opened(store, tmp_path / "moved.duckdb"))


def test_a_second_warehouse_is_refused_and_nothing_is_written(
    store: sa.Engine, tmp_path: Path
) -> None:
    write(opened(store, tmp_path / "a.duckdb"))
    other = opened(store, tmp_path / "b.duckdb")
    with pytest.raises(WarehouseNotPaired, match=r"a\.duckdb.*state pair"):
        write(other)
    assert other.identity() is None
    assert other.row_counts([("main", "t")]) in ({}, {("main", "t"): 0})
    write(opened(store, tmp_path / "b.duckdb", "another company"))


def test_a_warehouse_of_another_state_store_is_refused(store: sa.Engine, tmp_path: Path) -> None:
    write(opened(store, tmp_path / "a.duckdb"))
    new = open_state(f"sqlite:///{tmp_path}/new.db")
    with pytest.raises(WarehouseNotPaired, match="belongs to another state store"):
        write(opened(new, tmp_path / "a.duckdb"))
    path = (tmp_path / "a.duckdb").resolve()
    write(Warehouse(path, paired=Pairing(new, COMPANY, path).pair))
    write(opened(new, path))
    new.dispose()


def test_a_process_that_dies_before_the_file_has_its_id_leaves_a_pair(
    store: sa.Engine, tmp_path: Path
) -> None:
    path = (tmp_path / "a.duckdb").resolve()
    given = Pairing(store, COMPANY, path).check(None)  # and then it dies
    with pytest.raises(WarehouseNotPaired):
        write(opened(store, tmp_path / "b.duckdb"))
    write(opened(store, path))
    assert opened(store, path).identity() == given


def test_one_that_takes_its_place_is_the_one_from_then_on(store: sa.Engine, tmp_path: Path) -> None:
    write(opened(store, tmp_path / "a.duckdb"))
    path = (tmp_path / "b.duckdb").resolve()
    write(Warehouse(path, paired=Pairing(store, COMPANY, path).pair))
    write(opened(store, path))
    with pytest.raises(WarehouseNotPaired, match=r"b\.duckdb"):
        write(opened(store, tmp_path / "a.duckdb"))


def test_what_is_rebuilt_keeps_the_id(store: sa.Engine, tmp_path: Path) -> None:
    path = (tmp_path / "a.duckdb").resolve()
    write(opened(store, path))
    identity = opened(store, path).identity()
    path.unlink()
    with pytest.raises(StateError):
        write(opened(store, path))
    write(Warehouse(path, paired=Pairing(store, COMPANY, path).carry_over))
    assert opened(store, path).identity() == identity
