"""The main job under Dagster: what is stored, what is posted, and what the UI is told."""

from __future__ import annotations

import subprocess
import sys
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import httpx
import pytest

from intacct_dagster.client import ClientCredentials, Intacct
from intacct_dagster.config import Entity, Posting
from intacct_dagster.defs import (
    crosswalk_key,
    feed_key,
    plan_key,
    posted_key,
    raw_key,
    reconciled_key,
)
from intacct_dagster.extraction.extract import Extractor
from intacct_dagster.state import Approvals, open_state
from intacct_dagster.state.api_usage import ApiUsage
from intacct_dagster.warehouse.reconciliation import (
    SHOWN_HASH,
    plan_hash,
    planned_documents,
)
from intacct_dagster_tests.code_location import (
    FEED,
    OBJECTS,
    CodeLocation,
    code_location,
    failure,
)
from intacct_dagster_tests.golden_company import (
    CURRENT,
    FIRST,
    RAW,
    copy_company,
    extract,
    open_company,
    pair,
    reconcile_and_post,
)
from intacct_dagster_tests.state.state_stores import STORES, empty_store
from intacct_sandbox import CLIENT_ID, CLIENT_SECRET, COMPANY, LAST_DAY

INVOICE = "accounts-receivable/invoice"
PARTITIONS = {f"{FIRST}|E110", f"{LAST_DAY}|E110"}
CHECKS = (
    "every_item_accounted_for",
    "no_item_rejected",
    "nothing_uncertain",
    "read_back_agrees",
    "control_total",
)


@pytest.fixture(params=STORES)
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CodeLocation]:
    with (
        empty_store(request.param, tmp_path) as state,
        code_location(tmp_path, days=2, start_date=FIRST, state=state) as location,
    ):
        yield location


@pytest.fixture(params=STORES)
def read(
    request: pytest.FixtureRequest, read_company: Path, tmp_path: Path
) -> Iterator[CodeLocation]:
    """Yield a code location whose warehouse holds both days; its state store is empty."""
    folder = copy_company(read_company, tmp_path)
    with (
        empty_store(request.param, tmp_path) as state,
        open_company(folder, state=state) as location,
    ):
        pair(location)
        yield location


@dataclass(frozen=True)
class Posted:
    """A company whose feed was posted, and the run that did it; tests change nothing in it."""

    location: CodeLocation
    result: dg.ExecuteInProcessResult


@pytest.fixture(scope="module", params=STORES)
def posted(
    request: pytest.FixtureRequest, read_company: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Posted]:
    """Yield what tests share that only look at what was posted."""
    folder = copy_company(read_company, tmp_path_factory.mktemp("posted"))
    with (
        empty_store(request.param, folder) as state,
        open_company(folder, state=state) as location,
    ):
        pair(location)
        yield Posted(location, reconcile_and_post(location))


def statuses(location: CodeLocation, check: str) -> dict[str | None, str]:
    """The last evaluation of a check by partition; None is the run as a whole."""
    history = location.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(posted_key(FEED), check), limit=50
    )
    found: dict[str | None, str] = {}
    for record in reversed(history):
        found[record.partition] = record.status.value
    return found


def books(location: CodeLocation) -> Counter[str]:
    """How often the sandbox created each reference number."""
    assert {change["object"] for change in location.control("books")["changes"]} <= {INVOICE}
    return location.books()


def test_raw_partitions_hold_what_changed_that_day_and_the_first_what_is_older(
    location: CodeLocation,
) -> None:
    extract(location)
    assert location.materialized(raw_key(INVOICE)) == PARTITIONS
    rows = location.rows(
        "SELECT _day, count(*), min(audit_modified_date_time)::DATE,"
        " max(audit_modified_date_time)::DATE FROM raw.accounts_receivable_invoice"
        " WHERE _entity = 'E110' GROUP BY _day ORDER BY _day"
    )
    (first_day, _, oldest, newest), (last_day, _, *span) = rows
    assert (first_day, newest) == (FIRST, FIRST)
    assert oldest < FIRST
    assert (last_day, span) == (LAST_DAY, [LAST_DAY, LAST_DAY])
    event = location.instance.get_latest_materialization_event(raw_key(INVOICE))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["rows_read"].value == sum(count for _, count, *_ in rows)
    assert "dagster/column_schema" in metadata


def test_every_document_has_one_status_and_what_is_missing_is_posted_once(
    read: CodeLocation,
) -> None:
    location = read
    reconcile_and_post(location)

    posted = location.rows(
        f"SELECT source_id, intacct_key, amount FROM posting.{FEED} WHERE state = 'posted'"
    )
    assert len(posted) > 100
    assert books(location) == Counter(source_id for source_id, _, _ in posted)
    assert location.materialized(posted_key(FEED)) == PARTITIONS
    assert location.rows(
        "SELECT sum(documents)::BIGINT, bool_and(state = 'answered'), bool_and(http_status < 300)"
        " FROM posting.chunks"
    ) == location.rows("SELECT count(chunk), true, true FROM posting.items")
    by_status = dict(location.rows(f"SELECT status, count(*) FROM reconciled.{FEED} GROUP BY ALL"))
    rejected = location.rows(f"SELECT * FROM posting.{FEED} WHERE state = 'rejected'")
    held = location.rows(f"SELECT * FROM plan.{FEED} WHERE action = 'held'")
    assert by_status["missing"] == len(posted) + len(rejected) + len(held)
    assert {"matched", "different"} <= by_status.keys()

    # Everything once more: Intacct has them now, and nothing is posted.
    extract(location)
    reconcile_and_post(location)
    assert books(location) == Counter(source_id for source_id, _, _ in posted)
    again = dict(location.rows(f"SELECT status, count(*) FROM reconciled.{FEED} GROUP BY ALL"))
    assert again["matched"] == by_status["matched"] + len(posted)
    assert again["missing"] == len(held)
    still = location.rows(f"SELECT count(*) FROM posting.{FEED} WHERE state = 'posted'")
    assert still == [(len(posted),)]


def test_what_was_posted_is_in_intacct_with_the_amounts_of_the_source(
    posted: Posted,
) -> None:
    location = posted.location
    extract(location)
    ((differing,),) = location.rows(
        f"SELECT count(*) FROM posting.{FEED} AS posted"
        " LEFT JOIN intacct.accounts_receivable_invoice AS invoice"
        " ON invoice.key = posted.intacct_key"
        " WHERE posted.state = 'posted' AND (invoice.reference_number, invoice.total_txn_amount,"
        " invoice.entity_id) IS DISTINCT FROM (posted.source_id, posted.amount, posted._entity)"
    )
    assert differing == 0


def test_the_crosswalk_names_the_record_of_every_document_that_has_one(
    read: CodeLocation,
) -> None:
    location = read
    reconcile_and_post(location)
    assert location.run([crosswalk_key(FEED)]).success
    before = set(location.rows(f"SELECT entity, source_id, intacct_key, how FROM crosswalk.{FEED}"))
    by_how = Counter(how for *_, how in before)
    assert by_how["posted"] == sum(books(location).values())
    assert by_how["found"] > 0
    assert len({source_id for _, source_id, _, _ in before}) == len(before)

    extract(location)
    reconcile_and_post(location)
    assert location.run([crosswalk_key(FEED)]).success
    again = set(location.rows(f"SELECT entity, source_id, intacct_key, how FROM crosswalk.{FEED}"))
    assert again == before, "what we posted stays posted by us, also when Intacct shows it"


def test_the_months_account_is_what_intacct_would_bill(location: CodeLocation) -> None:
    extract(location)
    reconcile_and_post(location)
    engine = open_state(location.settings.state)
    spent = ApiUsage(engine, location.settings.company).spent(datetime.now(UTC))
    engine.dispose()
    assert spent == location.control("requests")["transactions"]
    assert spent > sum(books(location).values())


def test_checks_are_recorded_for_each_partition_and_refusals_name_a_remedy(
    posted: Posted,
) -> None:
    location, result = posted.location, posted.result

    rejected_days = {
        f"{day}|E110"
        for (day,) in location.rows(
            f"SELECT DISTINCT _day FROM posting.{FEED} WHERE state = 'rejected'"
        )
    }
    assert rejected_days, "the sandbox's feed has rejections on its last days"
    for check in CHECKS:
        found = statuses(location, check)
        failing = rejected_days if check == "no_item_rejected" else set()
        assert {each: found[each] for each in PARTITIONS} == {
            each: "FAILED" if each in failing else "SUCCEEDED" for each in PARTITIONS
        }
    evaluation = next(
        each
        for each in result.get_asset_check_evaluations()
        if each.check_name == "no_item_rejected" and each.partition is None
    )
    rejections = evaluation.metadata["rejections"]
    assert isinstance(rejections, dg.TableMetadataValue)
    records = [record.data for record in rejections.records]
    ((in_warehouse,),) = location.rows(
        f"SELECT count(*) FROM posting.{FEED} WHERE state = 'rejected'"
    )
    assert len(records) == in_warehouse
    for record in records:
        assert all(record[name] for name in ("source_id", "reason", "what_to_do", "file"))
        assert isinstance(record["position"], int)


def test_the_control_total_is_the_amount_of_the_source(posted: Posted) -> None:
    location, result = posted.location, posted.result
    evaluation = next(
        each
        for each in result.get_asset_check_evaluations()
        if each.check_name == "control_total" and each.partition is None
    )
    ((missing,),) = location.rows(
        f"SELECT sum(amount) FROM reconciled.{FEED} WHERE status = 'missing'"
    )
    assert evaluation.passed
    assert Decimal(str(evaluation.metadata["to_post"].value)) == missing


def test_malformed_lines_fail_the_feeds_check_and_not_the_feed(location: CodeLocation) -> None:
    result = location.run([feed_key(FEED)], entity="E110", first=FIRST)
    assert result.success
    (evaluation,) = result.get_asset_check_evaluations()
    ((lines,),) = location.rows("SELECT count(*) FROM feed.quarantine")
    assert lines > 0
    assert not evaluation.passed
    assert evaluation.metadata["lines_in_quarantine"].value == lines
    assert location.rows(f"SELECT count(*) > 100 FROM feed.{FEED}") == [(True,)]


def test_without_leave_to_post_the_plan_is_a_dry_run(tmp_path: Path) -> None:
    with code_location(tmp_path, days=2, start_date=FIRST, posting=Posting()) as location:
        extract(location)
        reconcile_and_post(location)
        assert books(location) == Counter()
        assert statuses(location, "control_total") == dict.fromkeys(
            [*PARTITIONS, None], "SUCCEEDED"
        )
        assert location.rows(f"SELECT DISTINCT state FROM posting.{FEED}") == [("not sent",)]


def test_what_a_gate_holds_is_not_sent_and_the_plan_says_why(read: CodeLocation) -> None:
    location = read
    result = reconcile_and_post(location)
    held = location.rows(f"SELECT source_id, gate, reason FROM plan.{FEED} WHERE action = 'held'")
    assert held, "the sandbox's feed has documents for customers that there are not"
    assert not {source_id for source_id, _, _ in held} & books(location).keys()
    outcomes = dict(location.rows(f"SELECT source_id, reason FROM posting.{FEED}"))
    assert all("held by a gate" in outcomes[source_id] for source_id, _, _ in held)
    evaluations = {
        each.check_name: each
        for each in result.get_asset_check_evaluations()
        if each.asset_key == plan_key(FEED) and each.partition is None
    }
    failed = {name for name, each in evaluations.items() if not each.passed}
    assert failed == {gate for _, gate, _ in held} == {"references_usable"}
    table = evaluations["references_usable"].metadata["documents_held"]
    assert isinstance(table, dg.TableMetadataValue)
    assert {record.data["source_id"] for record in table.records} == {each[0] for each in held}
    assert statuses(location, "every_item_accounted_for") == dict.fromkeys(
        [*PARTITIONS, None], "SUCCEEDED"
    )


def plan_of(location: CodeLocation) -> dict[tuple[str, date], str]:
    """The hash of each day's plan."""
    partitions = [("E110", FIRST), ("E110", LAST_DAY)]
    planned = planned_documents(location.warehouse, FEED, partitions)
    return {
        partition: plan_hash([each for each in planned if (each.entity, each.day) == partition])
        for partition in partitions
    }


def test_a_plan_waits_for_a_person_and_one_that_changed_is_not_the_one_approved(
    tmp_path: Path,
) -> None:
    posting = Posting(enabled=True, approval="required")
    with code_location(tmp_path, days=2, start_date=FIRST, posting=posting) as location:
        extract(location)
        reconcile_and_post(location)
        assert books(location) == Counter(), "nobody approved it"
        assert statuses(location, "every_item_accounted_for")[None] == "SUCCEEDED"
        reasons = location.rows(f"SELECT DISTINCT reason FROM posting.{FEED} ORDER BY reason")
        assert ("to be posted when a person has approved the plan",) in reasons

        engine = open_state(location.settings.state)
        Approvals(engine, COMPANY).approve(FEED, plan_of(location), by="an accountant")
        engine.dispose()
        # A document of the last day changes, and with it the plan of that day.
        (file,) = location.settings.directory.rglob(f"sales_{LAST_DAY}.csv")
        text = file.read_text(encoding="utf-8")
        ((source_id,),) = location.rows(
            f"SELECT min(source_id) FROM plan.{FEED} WHERE action = 'create' AND _day = ?", LAST_DAY
        )
        due = (LAST_DAY + timedelta(days=1)).isoformat()
        changed = [
            ",".join([*each.split(",")[:5], due, *each.split(",")[6:]])
            if each.startswith(f"{source_id},")
            else each
            for each in text.splitlines()
        ]
        file.write_text("\n".join(changed) + "\n", encoding="utf-8")
        reconcile_and_post(location)

        posted = {
            day
            for (day,) in location.rows(
                f"SELECT DISTINCT _day FROM posting.{FEED} WHERE state = 'posted'"
            )
        }
        assert posted == {FIRST}
        assert max(books(location).values()) == 1


def test_each_day_of_a_plan_shows_its_own_hash_and_totals_and_few_documents_are_in_memory(
    read: CodeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = read
    reconcile_and_post(location)
    for day in (FIRST, LAST_DAY):
        found = location.instance.fetch_materializations(
            dg.AssetRecordsFilter(plan_key(FEED), asset_partitions=[f"{day}|E110"]), limit=1
        )
        materialization = found.records[0].asset_materialization
        assert materialization is not None
        shown = materialization.metadata
        assert shown["plan"].value == plan_of(location)["E110", day][:SHOWN_HASH]
        ((count, amount),) = location.rows(
            f"SELECT count(*), sum(amount) FROM plan.{FEED} WHERE action = 'create' AND _day = ?",
            day,
        )
        assert (shown["to_create"].value, shown["amount_to_create"].value) == (
            count,
            f"{amount:,.2f}",
        )
        totals = shown["totals"]
        assert isinstance(totals, dg.TableMetadataValue)
        by_account = [Decimal(str(each.data["amount"]).replace(",", "")) for each in totals.records]
        assert sum(by_account) == amount

    most, before = alive_at_once(monkeypatch), plan_of(location)
    assert location.run([plan_key(FEED)], entity="E110", first=FIRST).success
    assert plan_of(location) == before
    ((planned,),) = location.rows(f"SELECT count(*) FROM plan.{FEED}")
    assert 0 < max(most.values()) < 30 < planned, "a plan of any length has as few in memory"


def alive_at_once(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many documents, reconciled and planned, were in memory at once, from now on."""
    alive: dict[str, weakref.WeakValueDictionary[int, object]] = {}
    most: dict[str, int] = {}

    def count(module: ModuleType, name: str) -> None:
        kind: Any = getattr(module, name)
        here = alive[name] = weakref.WeakValueDictionary()
        most[name] = 0

        class Counted(kind):  # type: ignore[misc]
            def __init__(self, *values: object, **named: object) -> None:
                super().__init__(*values, **named)
                here[id(self)] = self
                most[name] = max(most[name], len(here))

        monkeypatch.setattr(module, name, Counted)

    reconciled = import_module("intacct_dagster.warehouse.reconciliation.comparison")
    monkeypatch.setattr(reconciled, "_DOCUMENTS_AT_ONCE", 10)
    count(reconciled, "Document")
    count(import_module("intacct_dagster.defs.posting.plan"), "PlannedDocument")
    return most


def test_in_the_launchpad_a_plan_is_approved_by_its_hash_and_no_other(tmp_path: Path) -> None:
    posting = Posting(enabled=True, approval="required")
    with code_location(tmp_path, days=1, posting=posting) as location:
        assert location.run(RAW, entity="E110").success
        assert location.run(CURRENT).success
        keys = [feed_key(FEED), reconciled_key(FEED), plan_key(FEED)]
        assert location.run(keys, entity="E110").success
        planned = planned_documents(location.warehouse, FEED, [("E110", LAST_DAY)])
        plan = plan_hash(planned)[:SHOWN_HASH]

        def post(approve: str) -> dg.ExecuteInProcessResult:
            steps = {f"{FEED}_post": {"config": {"approve": approve}}}
            ops = {f"posting__{FEED}": {"ops": steps}}
            return location.run([posted_key(FEED)], entity="E110", ops=ops)

        told = failure(post("0123456789ab"))
        assert told.startswith(f"The plan of these partitions is {plan}, and 0123456789ab was")
        assert books(location) == Counter()

        assert post(plan).success
        creates = {each.source_id for each in planned if not each.held}
        rejected = location.rows(f"SELECT source_id FROM posting.{FEED} WHERE state = 'rejected'")
        assert books(location).keys() == creates - {source_id for (source_id,) in rejected}


def test_without_the_last_plan_nothing_is_sent_and_the_run_fails(read: CodeLocation) -> None:
    location = read
    keys = [feed_key(FEED), reconciled_key(FEED)]
    assert location.run(keys, entity="E110", first=FIRST).success
    said = failure(location.run([posted_key(FEED)], entity="E110", first=FIRST))
    assert "2 of its partitions were never planned" in said
    assert f"Materialize plan/{FEED}" in said

    # The plan was made, and this warehouse has another one, as that of another machine would.
    assert location.run([plan_key(FEED)], entity="E110", first=FIRST).success
    with location.warehouse.connect() as connection:
        connection.execute(f"DELETE FROM plan.{FEED}")
    said = failure(location.run([posted_key(FEED)], entity="E110", first=FIRST))
    assert "another plan in this warehouse" in said
    assert books(location) == Counter()


def test_an_object_that_does_not_exist_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    with code_location(tmp_path) as location:
        unknown = location.settings.objects[0].model_copy(update={"name": "general-ledger/acount"})
        others = location.settings.objects
        location.settings = location.settings.model_copy(update={"objects": (*others, unknown)})
        keys = [raw_key(each.name) for each in others]
        told = failure(location.run([*keys, raw_key(unknown.name)], entity="E110"))

        assert (
            "general-ledger/acount | all | read | Sage Intacct knows no object "
            "general-ledger/acount. Did you mean general-ledger/account" in told
        )
        assert location.materialized(raw_key(unknown.name)) == set()
        for key in keys:
            assert location.materialized(key) == {f"{LAST_DAY}|E110"}


def test_what_landed_before_a_failure_counts_as_materialized(tmp_path: Path) -> None:
    with code_location(tmp_path) as location:
        with location.warehouse.connect() as connection:
            connection.execute("CREATE SCHEMA raw")
            connection.execute(f"CREATE TABLE raw.{RAW[0].path[-1]} (key INTEGER)")
        told = failure(location.run(RAW, entity="E110"))

        assert "key is INTEGER and would become VARCHAR" in told
        assert location.materialized(RAW[0]) == set()
        for key in RAW[1:]:
            assert location.materialized(key) == {f"{LAST_DAY}|E110"}


def test_reconciling_before_extracting_is_refused_because_everything_would_look_missing(
    location: CodeLocation,
) -> None:
    told = failure(location.run([feed_key(FEED), reconciled_key(FEED)], entity="E110", first=FIRST))
    assert "accounts-receivable/invoice" in told
    assert "first" in told


def test_a_user_without_access_to_the_entity_is_told_where_to_give_it(tmp_path: Path) -> None:
    with code_location(tmp_path, entities=(Entity(id="E110", user="can"),)) as location:
        told = failure(location.run(RAW, entity="E110"))
        assert "User can has no access to entity E110" in told
        assert "Company > Admin > Users > can > User entities" in told
        assert location.materialized(RAW[0]) == set()


WRITE = """
import sys, duckdb
duckdb.connect(sys.argv[1]).execute("CREATE TABLE IF NOT EXISTS somebody_else AS SELECT 1")
"""


class PeekingNetwork(httpx.BaseTransport):
    """Lets another process write to the warehouse before each query goes out."""

    def __init__(self, warehouse: Path) -> None:
        self._network = httpx.HTTPTransport()
        self._warehouse = warehouse
        self.peeks = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/query"):
            subprocess.run([sys.executable, "-c", WRITE, str(self._warehouse)], check=True)
            self.peeks += 1
        return self._network.handle_request(request)


def test_others_may_write_to_the_warehouse_while_we_read_from_intacct(
    location: CodeLocation,
) -> None:
    extract(location)
    network = PeekingNetwork(location.settings.warehouse)
    with Intacct(
        COMPANY,
        location.settings.base_url,
        ClientCredentials(CLIENT_ID, CLIENT_SECRET),
        location.settings.users,
        transport=network,
    ) as intacct:
        extractor = Extractor(intacct, location.warehouse, start_date=FIRST, run_id="run")
        for what in location.settings.objects:
            extractor.extract(what, "E110", [FIRST, LAST_DAY])
    assert network.peeks >= 2 * len(OBJECTS)
    assert location.rows("SELECT count(*) FROM somebody_else") == [(1,)]
