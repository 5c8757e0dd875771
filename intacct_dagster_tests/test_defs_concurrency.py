"""The company's limit of requests in flight holds over all processes of an instance."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
import yaml

from intacct_dagster.config import load_settings
from intacct_dagster.defs import build_definitions
from intacct_dagster.defs.resources import POOL, in_flight
from intacct_dagster_tests.code_location import PROJECT


def instance(folder: Path, limit: int | None) -> dg.DagsterInstance:
    pools = {} if limit is None else {"default_limit": limit}
    return dg.DagsterInstance.local_temp(str(folder), overrides={"concurrency": {"pools": pools}})


@pytest.mark.parametrize(("limit", "share"), [(None, 6), (1, 6), (2, 3), (4, 1), (6, 1)])
def test_the_ops_that_the_pool_lets_in_share_what_the_plan_allows(
    tmp_path: Path, limit: int | None, share: int
) -> None:
    with instance(tmp_path, limit) as one:
        assert in_flight(one, 6) == share


def test_a_limit_that_was_set_in_the_ui_counts_before_the_default(tmp_path: Path) -> None:
    with instance(tmp_path, 1) as one:
        one.event_log_storage.set_concurrency_slots(POOL, 3)
        assert in_flight(one, 6) == 2


def test_more_ops_than_requests_are_refused_with_what_to_set(tmp_path: Path) -> None:
    with instance(tmp_path, 7) as one, pytest.raises(dg.Failure) as caught:
        in_flight(one, 6)
    assert "lets 7 ops talk to Intacct at once" in str(caught.value.description)
    assert "Set the pool's limit to 6 or less" in str(caught.value.description)


def test_every_op_that_talks_to_intacct_is_in_the_pool() -> None:
    definitions = build_definitions(load_settings(PROJECT / "intacct.yaml"))
    outside = [
        op.name
        for asset in definitions.resolve_asset_graph().assets_defs
        for op in (asset.node_def.iterate_op_defs() if asset.is_executable else ())
        if "intacct" in op.required_resource_keys and op.pool != POOL
    ]
    assert outside == []


def test_the_projects_own_instance_lets_one_in_at_a_time() -> None:
    pools = yaml.safe_load((PROJECT / "dagster.yaml").read_text())["concurrency"]["pools"]
    assert pools == {"default_limit": 1, "granularity": "op"}
