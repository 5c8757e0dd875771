"""What a run of extraction shows in the UI: costs, how it was read, columns, and where they go."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from intacct_dagster.config import ObjectSettings
from intacct_dagster.defs import current_key, raw_key
from intacct_dagster_tests.code_location import CodeLocation, sandbox_settings
from intacct_sandbox import LAST_DAY, serve

LINE, CUSTOMER = "accounts-receivable/invoice-line", "accounts-receivable/customer"


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodeLocation]:
    folder: Path = tmp_path_factory.mktemp("company")
    with (
        serve(behaviours={"line_audit": "absent"}) as sandbox,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        settings = sandbox_settings(
            sandbox.base_url,
            folder,
            feeds={},
            start_date=LAST_DAY - timedelta(days=1),
            objects=(
                ObjectSettings(name=LINE, history="from_start", get_fields=("taxEntries",)),
                ObjectSettings(name=CUSTOMER, history="all"),
            ),
        )
        at = CodeLocation(settings, instance)
        raw = [raw_key(LINE), raw_key(CUSTOMER)]
        assert at.run(raw, entity="E110", first=settings.start_date).success
        assert at.run([current_key(LINE), current_key(CUSTOMER)]).success
        yield at


def shown(location: CodeLocation, key: dg.AssetKey) -> dict[str, Any]:
    """The metadata of the asset's latest materialization."""
    event = location.instance.get_latest_materialization_event(key)
    assert event is not None
    assert event.asset_materialization is not None
    return {name: each.value for name, each in event.asset_materialization.metadata.items()}


def columns(metadata: dict[str, Any]) -> dict[str, dg.TableColumn]:
    return {each.name: each for each in metadata["dagster/column_schema"].columns}


@pytest.mark.parametrize(
    ("object", "read_by"),
    [
        (LINE, "lines: by invoice.key, of each accounts-receivable/invoice that changed"),
        (CUSTOMER, "changes: by audit.modifiedDateTime"),
    ],
)
def test_every_asset_tells_what_it_cost_and_how_it_was_read(
    location: CodeLocation, object: str, read_by: str
) -> None:
    told = shown(location, raw_key(object))
    assert told["read_by"] == read_by
    assert told["partitions"] == 2
    assert told["requests"] >= told["pages"] > 0
    assert told["api_transactions"] >= told["pages"]
    assert told["retries"] == 0
    assert told["seconds_waited"] < 1  # nobody else is there: it takes no longer than taking a lock
    stored = location.rows(f"SELECT count(*) FROM {'.'.join(raw_key(object).path)}")
    assert [(told["rows_read"],)] == stored
    assert stored[0][0] > 0


def test_each_partition_tells_its_rows_and_proof_and_the_latest_of_a_run_all_else(
    location: CodeLocation,
) -> None:
    found = location.instance.fetch_materializations(raw_key(LINE), limit=10, ascending=True)
    told = {
        str(each.asset_materialization.partition): each.asset_materialization.metadata
        for each in found.records
        if each.asset_materialization is not None
    }
    rows = location.rows(f"SELECT _day, count(*) FROM {'.'.join(raw_key(LINE).path)} GROUP BY _day")
    assert {name: each["dagster/partition_row_count"].value for name, each in told.items()} == {
        f"{day}|E110": count for day, count in rows
    }
    # Dagster shows the asset with its latest event: what is told of the table, and of the walk that
    # read all these days together, stands there and not in each.
    for once in ("dagster/column_schema", "dagster/row_count", "rows_read", "api_transactions"):
        assert [name for name, each in told.items() if once in each] == [list(told)[-1]]
    assert all("distinct keys read" in str(each["proof"].value) for each in told.values())


def of_partitions(location: CodeLocation, key: dg.AssetKey, name: str) -> dict[str, Any]:
    """A number of the latest event of each partition."""
    found = location.instance.fetch_materializations(key, limit=10, ascending=True)
    return {
        str(each.asset_materialization.partition): each.asset_materialization.metadata[name].value
        for each in found.records
        if each.asset_materialization is not None
    }


def test_what_a_walk_cost_is_shared_among_its_partitions_by_rows(location: CodeLocation) -> None:
    key = raw_key(LINE)
    cost = of_partitions(location, key, "api_transactions_of_partition")
    rows = of_partitions(location, key, "dagster/partition_row_count")
    whole = shown(location, key)["api_transactions"]
    assert sum(cost.values()) == pytest.approx(whole, abs=0.01)
    assert len(cost) == 2
    for partition, count in rows.items():
        assert cost[partition] == pytest.approx(whole * count / sum(rows.values()), abs=0.001)
    assert "its share, by rows" in shown(location, key)["cost_of_a_partition"]


def test_custom_fields_and_dimensions_are_typed_columns(location: CodeLocation) -> None:
    customer = columns(shown(location, raw_key(CUSTOMER)))
    assert customer["nsp_renewal_date"].type == "DATE"
    assert customer["nsp_segment"].type == "VARCHAR"
    assert customer["nsp_r10007_key"].type == "VARCHAR"
    line = columns(shown(location, raw_key(LINE)))
    assert {"dimensions_nsp_grant_key", "dimensions_nsp_grant_id"} <= line.keys()
    assert line["tax_entries"].type == "JSON"
    assert line["txn_amount"].type == "DECIMAL(38,2)"
    assert line["invoice_audit_modified_date_time"].type == "TIMESTAMP WITH TIME ZONE"
    held = location.rows(
        "SELECT count(*) FROM raw.accounts_receivable_customer WHERE nsp_segment IS NOT NULL"
    )
    assert held[0][0] > 0


def test_columns_have_descriptions_and_lineage(location: CodeLocation) -> None:
    told = shown(location, current_key(CUSTOMER))
    described = columns(told)
    assert "Enterprise, Mid-market, Small" in (described["nsp_segment"].description or "")
    deps = told["dagster/column_lineage"].deps_by_column
    assert deps["nsp_segment"] == [dg.TableColumnDep(raw_key(CUSTOMER), "nsp_segment")]
    assert deps.keys() == described.keys()


def test_a_partition_that_was_walked_alone_has_the_whole_cost(location: CodeLocation) -> None:
    key = raw_key(CUSTOMER)
    assert location.run([key], entity="E120").success
    told = shown(location, key)
    assert told["api_transactions_of_partition"] == told["api_transactions"] > 0
    assert told["cost_of_a_partition"].startswith("its own")
