"""A state store says which version of the program wrote to it last."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from intacct_dagster.state import open_state
from intacct_dagster.state.store import SCHEMA_VERSION, StateStoreUnusable


def held(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.exec_driver_sql("SELECT version FROM state_version").scalar_one())


def set_version(engine: sa.Engine, version: int) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE state_version SET version = {version}")


def test_a_store_has_the_version_of_the_newest_program_that_wrote_to_it(state: str) -> None:
    engine = open_state(state)
    assert held(engine) == SCHEMA_VERSION
    set_version(engine, 1)
    engine.dispose()
    engine = open_state(state)
    assert held(engine) == SCHEMA_VERSION
    engine.dispose()


def test_a_store_that_a_newer_program_wrote_to_is_refused_and_left(state: str) -> None:
    engine = open_state(state)
    set_version(engine, SCHEMA_VERSION + 1)
    with pytest.raises(StateStoreUnusable, match="newer version") as refused:
        open_state(state)
    assert "backup" in str(refused.value)
    assert held(engine) == SCHEMA_VERSION + 1
    engine.dispose()
