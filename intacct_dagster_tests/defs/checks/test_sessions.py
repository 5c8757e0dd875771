"""An entity whose session ended stops by itself, and the check says how to bring it back."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import httpx
import pytest

from intacct_dagster.company import company_of
from intacct_dagster.config import Auth, Entity
from intacct_dagster.defs import build_definitions, raw_key
from intacct_dagster.defs.partitions import partition_key
from intacct_dagster_tests.code_location import OBJECTS, CodeLocation, code_location, failure
from intacct_dagster_tests.consent import sent_back_to
from intacct_sandbox import CLIENT_ID, CLIENT_SECRET, LAST_DAY

CUSTOMERS = raw_key(OBJECTS[1])
ENTITIES = (Entity(id="E110", user="usa"), Entity(id="E120", user="can"))


def consent(location: CodeLocation, entity: Entity) -> None:
    with company_of(location.settings) as intacct:
        asked = intacct.ask_consent(entity.id)
        back = httpx.URL(sent_back_to(asked.url, entity.user)).params
        intacct.exchange_code(entity.id, asked, code=back["code"], state=back["state"])


def revoke_elsewhere(location: CodeLocation, user: str) -> None:
    """Ends the tokens of a user as somebody would who has one of them: this store does not know."""
    base_url = location.settings.base_url
    form = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    login = {**form, "grant_type": "client_credentials", "username": f"{user}@demo"}
    token = httpx.post(f"{base_url}/oauth2/token", data=login).json()["access_token"]
    httpx.post(f"{base_url}/oauth2/revoke", data={**form, "token": token}).raise_for_status()


def extract_both(location: CodeLocation) -> dg.ExecuteInProcessResult:
    job = build_definitions(location.settings).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=location.instance,
        asset_selection=[CUSTOMERS],
        tags={
            "dagster/asset_partition_range_start": partition_key("E110", LAST_DAY),
            "dagster/asset_partition_range_end": partition_key("E120", LAST_DAY),
        },
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
    )


def check(location: CodeLocation) -> dg.AssetCheckEvaluation:
    key = dg.AssetCheckKey(dg.AssetKey("sage_intacct"), "sessions_alive")
    job = dg.define_asset_job("check", dg.AssetSelection.checks(key))
    definitions = dg.Definitions.merge(
        build_definitions(location.settings), dg.Definitions(jobs=[job])
    )
    result = definitions.resolve_job_def("check").execute_in_process(
        instance=location.instance,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation


def loaded_by(location: CodeLocation, run: dg.ExecuteInProcessResult) -> list[tuple[str, ...]]:
    """The entities whose days a run loaded."""
    sql = "SELECT DISTINCT entity FROM meta.raw_loads WHERE run_id = ?"
    return location.rows(sql, run.run_id)


@pytest.mark.parametrize("dead", ENTITIES, ids=lambda entity: entity.id)
def test_a_session_that_was_revoked_stops_its_entity_alone(tmp_path: Path, dead: Entity) -> None:
    auth = Auth(grant="authorization_code", client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    with code_location(tmp_path, auth=auth, entities=ENTITIES) as location:
        for each in ENTITIES:
            consent(location, each)
        assert check(location).passed
        assert extract_both(location).success

        revoke_elsewhere(location, dead.user)
        stopped = extract_both(location)
        message = failure(stopped)
        assert message.count("`intacct-dagster authorize") == 1
        assert f"`intacct-dagster authorize {dead.id}`" in message
        found = check(location)
        assert not found.passed
        assert f"authorize {dead.id}`. The others go on" in str(found.description)
        (other,) = [each for each in ENTITIES if each != dead]
        renewed = {entity for (entity,) in loaded_by(location, stopped)}
        assert renewed == {other.id}, "the others go on"

        consent(location, dead)
        assert check(location).passed
        assert extract_both(location).success
