"""Night after night, whatever happens: the table has every record that Intacct has, as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina
from duckdb import DuckDBPyConnection

from intacct_dagster.extraction import keys
from intacct_dagster.warehouse.raw import load as raw
from intacct_dagster.warehouse.raw.log import ObjectLog
from intacct_dagster.warehouse.raw.versions import recompute_all
from intacct_dagster_tests.extraction.nightly_worlds import NightlyWorld
from intacct_dagster_tests.random_worlds import FIRST_SEED, WORLDS

IN_A_TEST = 4
#: Worlds of each kind.
MUTANT_SEEDS = range(3, 9)


@pytest.fixture(autouse=True)
def _one_after_another(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(keys, "KEYS_IN_A_QUERY", 4)
    monkeypatch.setattr(keys, "_BLOCKS_AT_ONCE", 1)
    with stamina.set_testing(True, attempts=2):
        yield


@pytest.mark.worlds
@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + WORLDS, IN_A_TEST))
def test_after_every_night_the_table_is_what_intacct_has(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + IN_A_TEST):
        verdict = NightlyWorld(seed, tmp_path / str(seed)).run()
        assert verdict is None, f"world {seed}: {verdict}"


def test_where_a_load_replaces_its_days_records_vanish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in version 0.2.0: what was touched after the day that is read again is nowhere."""

    def replacing_days(connection: DuckDBPyConnection, log: ObjectLog, load_id: int) -> int:
        for table in (log.raw, *([log.documents] if log.kind == "lines" else ())):
            day = "_day" if table == log.raw else "CAST(changed AS DATE)"
            connection.execute(
                f"DELETE FROM {table} USING warehouse.meta.loads AS load"
                f" WHERE load.load_id = {load_id} AND _load_id <> {load_id}"
                f" AND _entity = load.entity AND {day} BETWEEN load.first_day AND load.last_day"
            )
        recompute_all(connection, log)
        return 0

    monkeypatch.setattr(raw, "apply_load", replacing_days)
    verdicts = [NightlyWorld(seed, tmp_path / str(seed)).run() for seed in MUTANT_SEEDS]
    red = [verdict for verdict in verdicts if verdict is not None]
    assert len(red) >= len(verdicts) // 2, f"{len(red)} of {len(verdicts)} worlds are red"
    assert any("has vanished" in verdict for verdict in red)
