"""The assets that seek deletes, and the check on the month's transactions, run by Dagster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from intacct_dagster.defs import build_definitions, current_key, deletes_key, raw_key
from intacct_dagster.defs.checks.api_quota import API_QUOTA
from intacct_dagster.naming import Names
from intacct_dagster_tests.code_location import OBJECTS, CodeLocation, code_location

SAGE_INTACCT = Names().sage_intacct
OBJECT = OBJECTS[0]


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodeLocation]:
    folder: Path = tmp_path_factory.mktemp("deletes")
    with code_location(folder) as opened:
        assert opened.run([raw_key(OBJECT)], entity="E110").success
        yield opened


def test_a_sweep_tells_what_it_found_and_the_current_view_leaves_it_out(
    location: CodeLocation,
) -> None:
    with location.warehouse.connect() as connection:  # a record that Intacct does not have
        table = f"raw.{raw_key(OBJECT).path[-1]}"
        connection.execute(
            f"INSERT INTO {table} SELECT * REPLACE ('99999999' AS key) FROM {table} LIMIT 1"
        )
    job = build_definitions(location.settings).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=location.instance,
        asset_selection=[deletes_key(OBJECT)],
        partition_key="E110",
        raise_on_error=False,
    )
    assert result.success
    metadata = result.asset_materializations_for_node("delete_scan")[0].metadata
    assert (metadata["deleted"].value, metadata["fetched_by_key"].value) == (1, 0)
    assert metadata["covers"].value == "all records"
    assert location.run([current_key(OBJECT)]).success
    view = ".".join(current_key(OBJECT).path)
    assert location.rows(f"SELECT count(*) FROM {view} WHERE key = '99999999'") == [(0,)]
    assert location.rows("SELECT key, entity FROM meta.tombstones") == [("99999999", "E110")]


def test_the_check_tells_what_was_spent_of_the_months_allowance(location: CodeLocation) -> None:
    limits = location.settings.limits.model_copy(update={"monthly_transactions": 2})
    settings = location.settings.model_copy(update={"limits": limits})
    job = dg.define_asset_job(
        "check",
        selection=dg.AssetSelection.checks(dg.AssetCheckKey(SAGE_INTACCT, API_QUOTA)),
    )
    definitions = dg.Definitions.merge(build_definitions(settings), dg.Definitions(jobs=[job]))
    result = definitions.resolve_job_def("check").execute_in_process(instance=location.instance)
    (evaluation,) = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.severity is dg.AssetCheckSeverity.WARN
    spent = evaluation.metadata["month_to_date"].value
    assert isinstance(spent, int)
    assert spent >= 2
