"""Objects of the XML API as assets: they land, are current, and are scanned for deletes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from intacct_dagster.config import ObjectSettings, Xml
from intacct_dagster.defs import build_definitions, current_key, deletes_key, raw_key
from intacct_dagster_tests.code_location import CodeLocation, code_location, failure
from intacct_sandbox import LAST_DAY, SENDER_ID, SENDER_PASSWORD

DETAIL = "xml/gl-detail"
BALANCE = "xml/gl-account-balance"
LINE = "general-ledger/journal-entry-line"
OBJECTS = tuple(ObjectSettings(name=name, history="all") for name in (DETAIL, BALANCE, LINE))
FIRST = LAST_DAY - timedelta(days=3)


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodeLocation]:
    folder: Path = tmp_path_factory.mktemp("xml")
    xml = Xml(sender_id=SENDER_ID, sender_password=SENDER_PASSWORD)
    with code_location(
        folder, objects=OBJECTS, feeds={}, xml=xml, start_date=FIRST, end_offset=0
    ) as opened:
        for entity in ("E110", "E120"):
            done = opened.run(
                [raw_key(each.name) for each in OBJECTS], entity=entity, first=FIRST, last=LAST_DAY
            )
            assert done.success
        assert opened.run([current_key(each.name) for each in OBJECTS]).success
        yield opened


def test_they_land_by_day_and_entity(location: CodeLocation) -> None:
    days = [(FIRST + timedelta(days=n)).isoformat() for n in range(4)]
    expected = {f"{day}|{entity}" for day in days for entity in ("E110", "E120")}
    assert location.materialized(raw_key(DETAIL)) == expected
    by_partition = "SELECT entity_id, _day, count(*) FROM {} GROUP BY ALL ORDER BY ALL"
    lines = location.rows(by_partition.format("raw.general_ledger_journal_entry_line"))
    assert location.rows(by_partition.format("raw.xml_gl_detail")) == lines
    assert len(lines) == 8


def test_the_trial_balance_of_gl_detail_is_that_of_the_journal_entry_lines(
    location: CodeLocation,
) -> None:
    detail = location.rows(
        """
        SELECT entity_id, gl_account_id, sum(debit_amount), sum(credit_amount)
        FROM intacct.xml_gl_detail GROUP BY ALL ORDER BY ALL
        """
    )
    lines = location.rows(
        """
        SELECT
            entity_id, gl_account_id,
            sum(CASE txn_type WHEN 'debit' THEN base_amount ELSE 0 END),
            sum(CASE txn_type WHEN 'credit' THEN base_amount ELSE 0 END)
        FROM intacct.general_ledger_journal_entry_line GROUP BY ALL ORDER BY ALL
        """
    )
    assert detail == lines
    assert {entity for entity, *_ in detail} == {"E110", "E120"}
    assert len(detail) > 40


def test_the_balances_are_those_of_the_lines_and_read_anew_as_a_whole(
    location: CodeLocation,
) -> None:
    by_account = """
        SELECT entity_id, gl_account_id, sum(ending_balance)
        FROM intacct.xml_gl_account_balance WHERE period_id = 'October 2026'
        GROUP BY ALL ORDER BY ALL
    """
    told = location.rows(by_account)
    lines = location.rows(
        """
        SELECT entity_id, gl_account_id, sum(debit_amount - credit_amount)
        FROM intacct.xml_gl_detail GROUP BY ALL ORDER BY ALL
        """
    )
    assert told == lines
    assert location.run([raw_key(BALANCE)], entity="E110").success
    assert location.run([current_key(BALANCE)]).success
    assert location.rows(by_account) == told


def test_a_sweep_finds_what_gl_detail_has_no_more_and_leaves_balances_out(
    location: CodeLocation,
) -> None:
    with location.warehouse.connect() as connection:
        connection.execute(
            "INSERT INTO raw.xml_gl_detail"
            " SELECT * REPLACE ('99999999' AS key) FROM raw.xml_gl_detail"
            " WHERE entity_id = 'E110' LIMIT 1"
        )
    definitions = build_definitions(location.settings)
    job = definitions.resolve_implicit_global_asset_job_def()
    scanned = job.execute_in_process(
        instance=location.instance,
        asset_selection=[deletes_key(DETAIL)],
        partition_key="E110",
        raise_on_error=False,
    )
    assert scanned.success
    metadata = scanned.asset_materializations_for_node("delete_scan")[0].metadata
    assert (metadata["deleted"].value, metadata["fetched_by_key"].value) == (1, 0)
    keys = {spec.key for spec in definitions.resolve_all_asset_specs()}
    assert deletes_key(DETAIL) in keys
    assert deletes_key(BALANCE) not in keys


def test_a_wrong_password_fails_the_run_in_words(location: CodeLocation) -> None:
    xml = Xml(sender_id=SENDER_ID, sender_password="wrong-password")
    settings = location.settings.model_copy(update={"xml": xml})
    with dg.DagsterInstance.ephemeral() as instance:
        told = failure(CodeLocation(settings, instance).run([raw_key(DETAIL)], entity="E130"))
    assert "does not accept sender sandbox" in told
    assert "wrong-password" not in told
