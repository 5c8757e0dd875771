"""Two companies in one code location and on one Dagster instance, each with its key prefix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
import yaml

from intacct_dagster.component import IntacctCompany
from intacct_dagster.config import ConfigError, Settings, read_settings
from intacct_dagster.defs import Names, build_definitions
from intacct_dagster.defs.automation.alerts import alerts_sensor
from intacct_dagster.defs.partitions import partition_key
from intacct_dagster.defs.run_requests import underway
from intacct_dagster.naming import COMPANY_TAG, ENTITY_TAG, prefixes_of
from intacct_dagster_tests.code_location import PROJECT, CodeLocation, sandbox_settings
from intacct_sandbox import LAST_DAY, serve

ACME, BETA = Names("acme"), Names("beta_us")
INVOICE, ENTITY = "accounts-receivable/invoice", "E110"
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Companies:
    """Two companies of one code location, on one instance."""

    one: CodeLocation
    other: CodeLocation
    location: dg.Definitions
    instance: dg.DagsterInstance

    def launch(self, names: Names, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Run what a sensor of a company requested, by the job in the merged location."""
        assert request.asset_selection is not None
        return self.location.resolve_job_def(names.read_job).execute_in_process(
            instance=self.instance,
            asset_selection=list(request.asset_selection),
            tags=request.tags,
            run_config=_QUIET,
        )


@pytest.fixture
def companies(tmp_path: Path) -> Iterator[Companies]:
    """Yield two companies with the same company id, entities, objects and days."""
    with serve() as first, serve() as second, dg.DagsterInstance.ephemeral() as instance:
        one, other = (
            CodeLocation(
                sandbox_settings(
                    sandbox.base_url,
                    tmp_path / names.prefix,
                    key_prefix=names.prefix,
                    objects=_invoices(),
                ),
                instance,
            )
            for sandbox, names in ((first, ACME), (second, BETA))
        )
        location = dg.Definitions.merge(
            build_definitions(one.settings), build_definitions(other.settings)
        )
        yield Companies(one, other, location, instance)


def _invoices() -> tuple[object, ...]:
    settings = sandbox_settings("http://127.0.0.1:1", Path())
    return tuple(each for each in settings.objects if each.name == INVOICE)


def test_both_load_side_by_side_and_each_catch_up_sees_its_own_days(companies: Companies) -> None:
    dg.Definitions.validate_loadable(companies.location)
    [first, *_] = [
        each
        for each in companies.one.tick("acme_catch_up").requests
        if each.tags[ENTITY_TAG] == f"acme/{ENTITY}"
    ]
    assert first.tags[COMPANY_TAG] == "acme"
    assert companies.launch(ACME, first).success
    partition = str(partition_key(ENTITY, LAST_DAY))
    assert companies.one.materialized(ACME.raw(INVOICE)) == {partition}
    assert not companies.other.materialized(BETA.raw(INVOICE))
    left = {each.tags[ENTITY_TAG] for each in companies.one.tick("acme_catch_up").requests}
    assert f"acme/{ENTITY}" not in left
    due = companies.other.tick("beta_us_catch_up").requests
    [second] = [each for each in due if each.tags[ENTITY_TAG] == f"beta_us/{ENTITY}"]
    assert companies.launch(BETA, second).success
    assert companies.other.materialized(BETA.raw(INVOICE)) == {partition}
    counts = "SELECT count(*) FROM intacct.accounts_receivable_invoice"
    assert companies.one.rows(counts) == companies.other.rows(counts) != [(0,)]


def test_all_of_both_materializes_in_one_run(companies: Companies) -> None:
    keys = [names.raw(INVOICE) for names in (ACME, BETA)]
    job = companies.location.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=companies.instance,
        asset_selection=keys,
        partition_key=partition_key(ENTITY, LAST_DAY),
        run_config=_QUIET,
    )
    assert result.success
    assert prefixes_of(result.dagster_run) == {"acme", "beta_us"}
    assert ACME.concerns(result.dagster_run)
    assert BETA.concerns(result.dagster_run)
    assert not Names().concerns(result.dagster_run)


def test_what_one_company_has_under_way_keeps_the_other_from_nothing(companies: Companies) -> None:
    tick = companies.one.tick("acme_catch_up")
    companies.one.begin(tick)
    assert underway(companies.instance, ACME).number == len(tick.requests)
    assert underway(companies.instance, BETA).number == 0
    assert underway(companies.instance, Names()).number == 0
    assert not companies.one.tick("acme_catch_up").requests
    assert companies.other.tick("beta_us_catch_up").requests


@pytest.mark.parametrize("prefix", ["", "acme"])
def test_a_backfill_of_one_company_is_no_business_of_the_other(prefix: str) -> None:
    mine, theirs = Names(prefix), BETA
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_run(
            dg.DagsterRun(
                job_name="__ASSET_JOB",
                run_id=str(uuid4()),
                status=dg.DagsterRunStatus.STARTED,
                asset_selection=frozenset({mine.raw(INVOICE)}),
                tags={"dagster/partition": partition_key(ENTITY, LAST_DAY)},
            )
        )
        assert underway(instance, mine).busy(ENTITY, ())
        assert not underway(instance, theirs).busy(ENTITY, ())


def _failed_run(instance: dg.DagsterInstance, names: Names) -> None:
    @dg.op(name=f"{names.prefix}_breaks")
    def breaks() -> None:
        raise dg.Failure("broken")

    @dg.job(name=names.read_job, tags=names.tags)
    def job() -> None:
        breaks()

    job.execute_in_process(instance=instance, raise_on_error=False, run_config=_QUIET)


def test_alerts_are_of_runs_of_the_company_alone(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        _failed_run(instance, BETA)
        for prefix, expected in (("acme", 0), ("beta_us", 1), ("", 0)):
            settings = sandbox_settings("http://127.0.0.1:1", tmp_path, key_prefix=prefix)
            sensor = alerts_sensor(settings, now=lambda: datetime.now(UTC))
            cursor = f'{{"since": {(datetime.now(UTC) - timedelta(days=1)).timestamp()}}}'
            done = sensor.evaluate_tick(dg.build_sensor_context(instance, cursor=cursor))
            assert f"{expected} alerts" in str(done.skip_message)


@pytest.mark.parametrize("prefix", ["", "acme"])
def test_two_companies_of_the_same_names_are_refused(prefix: str, tmp_path: Path) -> None:
    one, other = (
        build_definitions(
            sandbox_settings("http://127.0.0.1:1", tmp_path / name, key_prefix=prefix)
        )
        for name in ("one", "other")
    )
    with pytest.raises(dg.DagsterInvariantViolationError, match=Names(prefix).intacct):
        dg.Definitions.merge(one, other)


def test_a_resource_and_a_schedule_of_the_team_have_the_short_names(tmp_path: Path) -> None:
    @dg.asset
    def revenue(warehouse: dg.ResourceParam[str]) -> None:
        """Sum what was invoiced."""

    mine = dg.Definitions(
        assets=[revenue],
        resources={"warehouse": "a team's own"},
        schedules=[
            dg.ScheduleDefinition(name="nightly", target=[revenue], cron_schedule="0 1 * * *")
        ],
    )
    settings = sandbox_settings("http://127.0.0.1:1", tmp_path, key_prefix="acme")
    merged = dg.Definitions.merge(build_definitions(settings), mine)
    dg.Definitions.validate_loadable(merged)
    assert {"warehouse", "acme_warehouse"} <= set(merged.resources or {})


def _yaml(**changes: object) -> str:
    settings = yaml.safe_load((PROJECT / "intacct.yaml").read_text(encoding="utf-8"))
    return yaml.safe_dump(settings | changes)


@pytest.mark.parametrize("prefix", ["acme", "acme_us", "a1", ""])
def test_a_key_prefix_is_read_from_the_file(prefix: str, tmp_path: Path) -> None:
    found = read_settings(_yaml(key_prefix=prefix), file=tmp_path / "intacct.yaml")
    assert found.key_prefix == prefix


@pytest.mark.parametrize("prefix", ["Acme", "acme-us", "acme/us", "1a", "a__b", "a_", "_a", "a b"])
def test_a_key_prefix_that_is_no_name_is_refused(prefix: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"intacct.yaml:\d+: .*key_prefix.*no key prefix"):
        read_settings(_yaml(key_prefix=prefix), file=tmp_path / "intacct.yaml")


def _component(folder: Path, attributes: dict[str, str]) -> dg.Definitions:
    folder.mkdir()
    (folder / "intacct.yaml").write_text(_yaml(key_prefix="of_the_file"), encoding="utf-8")
    given = {"settings": str(folder / "intacct.yaml"), **attributes}
    component = IntacctCompany.resolve_from_dict(given)
    return dg.build_defs_for_component(component=component)


def test_the_attribute_of_a_component_takes_the_place_of_the_file(tmp_path: Path) -> None:
    by_file = _component(tmp_path / "one", {})
    by_attribute = _component(tmp_path / "other", {"key_prefix": "acme"})
    assert set(by_file.resources or {}) == {"of_the_file_intacct", "of_the_file_warehouse"}
    assert set(by_attribute.resources or {}) == {"acme_intacct", "acme_warehouse"}
    dg.Definitions.validate_loadable(dg.Definitions.merge(by_file, by_attribute))


def test_a_component_refuses_a_prefix_that_is_no_name(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no key prefix"):
        _component(tmp_path / "one", {"key_prefix": "acme-us"})


def test_entities_of_two_companies_with_the_same_id_have_tags_of_their_own() -> None:
    tags = {names.entity_tag(ENTITY) for names in (ACME, BETA, Names())}
    assert tags == {ENTITY, f"acme/{ENTITY}", f"beta_us/{ENTITY}"}
    for names in (ACME, BETA, Names()):
        assert names.entity_of_tag(names.entity_tag(ENTITY)) == ENTITY


def test_settings_have_no_prefix_by_default() -> None:
    assert Settings.model_fields["key_prefix"].default == ""
