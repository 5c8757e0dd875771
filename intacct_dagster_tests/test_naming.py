"""Several companies in one code location and on one Dagster instance, by their key prefixes."""

from __future__ import annotations

import re

import dagster as dg

from intacct_dagster.config import Notification, Settings, load_settings
from intacct_dagster.defs import build_definitions
from intacct_dagster_tests.code_location import (
    FEED,
    PROJECT,
)

FIRST, SECOND = "acme", "beta_us"


def _everything(prefix: str) -> Settings:
    """Return the project's settings with all that they can describe, and a prefix."""
    settings = load_settings(PROJECT / "intacct.yaml")
    query = settings.feeds[FEED].model_copy(
        update={"files": (), "sql": "SELECT * FROM intacct.accounts_receivable_invoice"}
    )
    return settings.model_copy(
        update={
            "key_prefix": prefix,
            "notifications": (Notification(slack="SLACK"),),
            "auth": settings.auth.model_copy(update={"grant": "authorization_code"}),
            "feeds": {**settings.feeds, "by_query": query},
        }
    )


def _names(settings: Settings) -> dict[str, set[str]]:
    """Return all that Dagster is given a name or a key for, by kind."""
    definitions = build_definitions(settings)
    repository = definitions.get_repository_def()
    graph = definitions.resolve_asset_graph()
    jobs = [each for each in repository.get_all_jobs() if not each.name.startswith("__")]
    ops = [
        op
        for job in repository.get_all_jobs()
        for node in job.nodes
        for op in node.definition.iterate_op_defs()
    ]
    nodes = {node.definition.name for job in repository.get_all_jobs() for node in job.nodes}
    partitions = [graph.get(key).partitions_def for key in graph.get_all_asset_keys()]
    return {
        "assets": {key.to_user_string() for key in graph.get_all_asset_keys()},
        "checks": {key.asset_key.to_user_string() for key in graph.asset_check_keys},
        "groups": {str(graph.get(key).group_name) for key in graph.get_all_asset_keys()},
        "ops": {op.name for op in ops} | nodes,
        "pools": {op.pool for op in ops if op.pool},
        "required resources": {key for op in ops for key in op.required_resource_keys},
        "jobs": {each.name for each in jobs},
        "schedules": {each.name for each in repository.schedule_defs},
        "sensors": {each.name for each in repository.sensor_defs},
        "resources": set(definitions.resources or {}),
        "dynamic partitions": {
            str(each.name)
            for each in partitions
            if isinstance(each, dg.DynamicPartitionsDefinition)
        },
        "targets": {str(target.job_name) for s in repository.sensor_defs for target in s.targets}
        | {each.job_name for each in repository.schedule_defs},
    }


def test_every_key_and_name_carries_the_prefix_and_is_the_same_without_it() -> None:
    plain, prefixed = _names(_everything("")), _names(_everything(FIRST))
    assert all(plain[kind] for kind in plain.keys() - {"dynamic partitions"})
    for kind, found in prefixed.items():
        assert all(re.match(rf"{FIRST}(/|_)", each) for each in found), kind
        # `io_manager` and the like would be the location's, and are no company's
        assert {re.sub(rf"^{FIRST}(/|__|_)", "", each) for each in found} == plain[kind], kind


def test_names_without_a_prefix_are_those_of_0_2_0() -> None:
    found = _names(_everything(""))
    assert {"sage_intacct", f"plan/{FEED}", "reader/warehouse"} <= found["assets"]
    assert {"read_intacct", "weekly_sweep", f"plan_{FEED}", f"post_{FEED}"} <= found["jobs"]
    assert {"nightly", "daily_look", "nightly_by_query"} <= found["schedules"]
    assert {"catch_up", "alerts", f"files_of_{FEED}", f"posting_of_{FEED}"} <= found["sensors"]
    assert found["pools"] == {"intacct_api"}
    assert found["resources"] == {"intacct", "warehouse"}
    assert {"extract", "delete_scan", f"{FEED}_post", f"{FEED}_collect"} <= found["ops"]


def test_no_other_module_makes_a_key_or_a_name() -> None:
    literal = re.compile(
        r"AssetKey\(|\bname=f?\"|job_name=f?\"|pool=f?\"|group_name=f?\"|define_asset_job\(\s*f?\"|"
        r"(Sensor|Schedule)Spec\(\s*f?\"|DynamicPartitionsDefinition\("
    )
    found = [
        f"{file.name}: {each.group()}"
        for folder in ("defs", "instance", "cli/demo")
        for file in (PROJECT / "intacct_dagster" / folder).rglob("*.py")
        for each in literal.finditer(file.read_text(encoding="utf-8"))
    ]
    assert not found
