"""Raw tables: a load is all or nothing, typed without a wrong digit, and of the right entity."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intacct_dagster.warehouse import (
    Column,
    LoadRefused,
    Warehouse,
    column_for,
    column_type,
)
from intacct_dagster.warehouse.errors import NotMaterialized
from intacct_dagster.warehouse.raw import load as raw
from intacct_dagster.warehouse.raw.current import refresh_current
from intacct_dagster.warehouse.raw.load import load_raw
from intacct_dagster.warehouse.types import column_name
from intacct_dagster_tests.warehouse.warehouse_rows import (
    COLUMNS,
    DAY,
    INVOICE,
    NEXT_DAY,
    invoice,
    load_invoices,
    load_of,
)

LOAD_MANY = """
import sys
from pathlib import Path
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw.load import load_raw
from intacct_dagster_tests.warehouse.warehouse_rows import DAY, invoice, load_of
folder, entity = Path(sys.argv[1]), sys.argv[2]
for number in range(5):
    rows = [invoice(f"{entity}-{number}-{k}", **{"entity.id": entity}) for k in range(50)]
    load = load_of(folder / entity, rows, entity=entity, days=[DAY.replace(day=number + 1)])
    load_raw(Warehouse(folder / "warehouse.duckdb"), load)
"""


def stored(warehouse: Warehouse, columns: str = "key") -> list[tuple[object, ...]]:
    with warehouse.connect(read_only=True) as connection:
        return connection.execute(
            f"SELECT {columns} FROM raw.accounts_receivable_invoice ORDER BY key, _day"
        ).fetchall()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("customer.id", "customer_id"),
        ("totalTxnAmount", "total_txn_amount"),
        ("audit.modifiedDateTime", "audit_modified_date_time"),
        ("nsp::MY_FIELD", "nsp_my_field"),
        ("overrideOffsetGLAccount.id", "override_offset_gl_account_id"),
        ("form1099.nameOn1099", "form1099_name_on1099"),
        ("webURL", "web_url"),
        ("accounts-receivable/invoice-line", "accounts_receivable_invoice_line"),
    ],
)
def test_names_are_an_analysts(path: str, name: str) -> None:
    assert column_name(path) == name


@pytest.mark.parametrize(
    ("type", "form", "expected"),
    [
        ("string", "decimal-precision-2", "DECIMAL(38,2)"),
        ("string", "decimal-precision-10", "DECIMAL(38,10)"),
        ("number", None, "DECIMAL(38,10)"),
        ("integer", None, "BIGINT"),
        ("boolean", None, "BOOLEAN"),
        ("string", "date", "DATE"),
        ("string", "date-time", "TIMESTAMP WITH TIME ZONE"),
        ("string", None, "VARCHAR"),
        ("array", None, "JSON"),
    ],
)
def test_types_are_those_of_the_model(type: str, form: str | None, expected: str) -> None:
    assert column_type(type, form) == expected


def test_money_cannot_become_a_float() -> None:
    with pytest.raises(ValueError, match="DOUBLE"):
        Column("amount", "amount", "DOUBLE")


def test_rows_are_typed_and_partitioned_by_the_utc_day_of_their_change(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    rows = [
        invoice("1", **{"audit.modifiedDateTime": "2026-10-01T23:59:59Z"}),
        invoice("2", **{"audit.modifiedDateTime": "2026-10-02T00:00:00Z"}),
        invoice("3", totalTxnAmount="", **{"entity.id": None, "API_QUERY_ALIAS__25": "ignored"}),
    ]
    rows_by_day, _ = load_raw(warehouse, load_of(tmp_path / "pages", rows, days=[DAY, NEXT_DAY]))
    assert rows_by_day == {DAY: 2, NEXT_DAY: 1}
    assert stored(
        warehouse, "key, _entity, _day, total_txn_amount, audit_modified_date_time, _run_id"
    ) == [
        ("1", "E110", DAY, Decimal(10), datetime(2026, 10, 1, 23, 59, 59, tzinfo=UTC), "run-1"),
        ("2", "E110", NEXT_DAY, Decimal(10), datetime(2026, 10, 2, tzinfo=UTC), "run-1"),
        ("3", "E110", DAY, None, datetime(2026, 10, 1, 12, tzinfo=UTC), "run-1"),
    ]


def test_a_load_adds_versions_and_takes_none_away(tmp_path: Path, warehouse: Warehouse) -> None:
    pages = tmp_path / "pages"
    load_raw(warehouse, load_of(pages, [invoice("1"), invoice("2")]))
    load_raw(warehouse, load_of(pages, [invoice("9", **{"entity.id": "E120"})], entity="E120"))
    late = invoice("5", **{"audit.modifiedDateTime": "2026-10-02T08:00:00Z"})
    load_raw(warehouse, load_of(pages, [late], days=[NEXT_DAY], takes_older=False))
    load_raw(warehouse, load_of(pages, [invoice("3")], run_id="run-2"))
    assert stored(warehouse, "key, _entity, _run_id") == [
        ("1", "E110", "run-1"),
        ("2", "E110", "run-1"),
        ("3", "E110", "run-2"),
        ("5", "E110", "run-1"),
        ("9", "E120", "run-1"),
    ]


@pytest.mark.parametrize("pages", ["no files", "[]"])
def test_an_empty_reading_of_a_day_is_on_record_and_takes_nothing_away(
    tmp_path: Path, warehouse: Warehouse, pages: str
) -> None:
    load_raw(warehouse, load_of(tmp_path / "pages", [invoice("1")]))
    empty = load_of(tmp_path / "pages", "[]")
    if pages == "no files":
        empty = replace(empty, files=[])
    assert load_raw(warehouse, empty)[0] == {DAY: 0}
    assert stored(warehouse) == [("1",)]
    loads = warehouse.frame("SELECT object, entity, day, rows, takes_older FROM meta.raw_loads")
    assert loads["rows"].tolist() == [0]
    assert loads["takes_older"].tolist() == [True]


def test_an_empty_first_load_makes_the_typed_table(tmp_path: Path, warehouse: Warehouse) -> None:
    load_raw(warehouse, load_of(tmp_path / "pages", "[]"))
    load_raw(warehouse, load_of(tmp_path / "pages", [invoice("1", totalTxnAmount="12.34")]))
    assert stored(warehouse, "total_txn_amount") == [(Decimal("12.34"),)]


def test_the_first_day_takes_what_is_older_or_has_no_change_time(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    rows = [
        invoice("1", **{"audit.modifiedDateTime": "2020-02-29T00:00:00Z"}),
        invoice("2", **{"audit.modifiedDateTime": None}),
    ]
    rows_by_day, _ = load_raw(warehouse, load_of(tmp_path / "pages", rows, days=[DAY, NEXT_DAY]))
    assert rows_by_day == {DAY: 2, NEXT_DAY: 0}


@pytest.mark.parametrize("moment", ["2026-09-30T23:59:59Z", "2026-10-03T00:00:00Z", None])
def test_a_row_outside_the_days_is_refused(
    tmp_path: Path, warehouse: Warehouse, moment: str | None
) -> None:
    rows = [invoice("1"), invoice("2", **{"audit.modifiedDateTime": moment})]
    load = load_of(tmp_path / "pages", rows, days=[DAY, NEXT_DAY], takes_older=False)
    with pytest.raises(LoadRefused, match="outside the days 2026-10-01 to 2026-10-02") as refusal:
        load_raw(warehouse, load)
    assert refusal.value.key == "2"


def test_a_row_of_another_entity_is_refused_and_nothing_of_the_load_stays(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    load_raw(warehouse, load_of(tmp_path / "pages", [invoice("1")]))
    rows = [invoice("2"), invoice("3", **{"entity.id": "E120"})]
    with pytest.raises(LoadRefused, match="key 3 on page 1 belongs to entity E120") as refusal:
        load_raw(warehouse, load_of(tmp_path / "pages", rows))
    assert (refusal.value.object, refusal.value.entity) == (INVOICE, "E110")
    assert "X-IA-API-Param-Entity" in str(refusal.value)
    assert stored(warehouse) == [("1",)]


TYPED = (
    *COLUMNS[:3],
    column_for("amount", "string", "decimal-precision-10"),
    column_for("quantity", "number"),
    column_for("count", "integer"),
    column_for("isOnHold", "boolean"),
    column_for("day", "string", "date"),
    column_for("tags", "array"),
    Column("cents", "cents", "DECIMAL(9,2)"),
)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", "abc"),
        ("amount", "NaN"),
        ("amount", "1e400"),
        ("amount", "1.00000000001"),  # an eleventh decimal would be lost
        ("amount", "99999999999999999999999999999.00"),  # 29 digits before the point
        ("amount", ["1.00"]),
        ("quantity", 1e-15),
        ("quantity", True),
        ("cents", "1.005"),
        ("cents", 1.005),
        ("cents", "12345678.00"),
        ("count", 5.5),
        ("count", "five"),
        ("isOnHold", "partial"),
        ("day", "2026-02-30"),
        ("day", "infinity"),
        ("day", "2026-10-01T00:00:00Z"),
    ],
)
def test_a_value_that_would_not_arrive_as_it_is_is_null_and_in_quarantine(
    tmp_path: Path, warehouse: Warehouse, field: str, value: object
) -> None:
    pages = tmp_path / "pages"
    load_raw(warehouse, load_of(pages, [invoice("1")], columns=TYPED))
    load = load_of(pages, [invoice("2"), invoice("3", **{field: value})], columns=TYPED)
    load_raw(warehouse, load)
    assert stored(warehouse) == [("1",), ("2",), ("3",)]
    assert stored(warehouse, column_name(field))[2] == (None,)
    text = value if isinstance(value, str) else json.dumps(value)
    assert quarantine(warehouse) == [("3", field, column_name(field), text, False, 2)]


@pytest.mark.parametrize(
    ("field", "value"),
    [("audit.modifiedDateTime", "yesterday"), ("key", None), ("entity.id", "E120")],
)
def test_a_row_whose_place_is_not_known_is_refused(
    tmp_path: Path, warehouse: Warehouse, field: str, value: object
) -> None:
    pages = tmp_path / "pages"
    rows = [invoice("2"), invoice("3") | {field: value, "amount": "abc"}]
    with pytest.raises(LoadRefused) as refusal:
        load_raw(warehouse, load_of(pages, rows, columns=TYPED))
    assert len(str(refusal.value).splitlines()) == 2


def quarantine(warehouse: Warehouse) -> list[tuple[object, ...]]:
    with warehouse.connect(read_only=True) as connection:
        return connection.execute(
            "SELECT key, path, column_name, value, is_rounded, load_id FROM raw.quarantine"
        ).fetchall()


def test_a_fraction_with_more_digits_than_are_kept_is_rounded_and_on_record(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    load_raw(
        warehouse, load_of(tmp_path, [invoice("1", quantity=1.0789473684210527)], columns=TYPED)
    )
    assert stored(warehouse, "quantity") == [(Decimal("1.0789473684"),)]
    assert quarantine(warehouse) == [("1", "quantity", "quantity", "1.0789473684210527", True, 1)]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("amount", "68400.00", Decimal("68400.00")),
        ("amount", 68400.10, Decimal("68400.10")),
        ("amount", "0.1234567891", Decimal("0.1234567891")),
        ("amount", "1.50000000000000", Decimal("1.5")),
        ("amount", "9999999999999999999999999999.99", Decimal("9999999999999999999999999999.99")),
        ("amount", "", None),
        ("quantity", 123456789012345678, Decimal(123456789012345678)),
        ("quantity", 123456789012345.0, Decimal(123456789012345)),
        ("quantity", 1 / 3, Decimal("0.3333333333")),  # its further digits are a double's
        ("quantity", "7.25", Decimal("7.25")),
        ("count", 9223372036854775807, 9223372036854775807),
        ("count", "5", 5),
        ("isOnHold", "true", True),
        ("isOnHold", False, False),
        ("day", "2028-02-29", date(2028, 2, 29)),
        ("tags", ["a", {"b": None}], '["a",{"b":null}]'),
        ("cents", "-1234567.89", Decimal("-1234567.89")),
    ],
)
def test_a_value_arrives_exactly(
    tmp_path: Path, warehouse: Warehouse, field: str, value: object, expected: object
) -> None:
    load_raw(
        warehouse, load_of(tmp_path / "pages", [invoice("1", **{field: value})], columns=TYPED)
    )
    assert stored(warehouse, column_name(field)) == [(expected,)]


def test_rows_too_wide_for_the_memory_of_a_load_are_loaded_all_the_same(
    tmp_path: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "_MEGABYTES", 8)
    rows = [invoice(f"{n}", referenceNumber=f"{n:05}" * 50) for n in range(20_000)]
    rows_by_day, _ = load_raw(warehouse, load_of(tmp_path / "pages", rows))
    assert rows_by_day == {DAY: 20_000}


@settings(max_examples=15, deadline=None)
@given(
    amounts=st.lists(
        st.decimals(min_value=-(10**27), max_value=10**27, places=10)
        | st.decimals(-999, 999, places=2),
        min_size=1,
        max_size=200,
    ),
    floats=st.lists(st.integers(-(10**14), 10**14), min_size=1, max_size=200),
)
def test_any_amount_comes_back_digit_by_digit(
    tmp_path_factory: pytest.TempPathFactory, amounts: list[Decimal], floats: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("amounts")
    warehouse = Warehouse(folder / "warehouse.duckdb")
    # as strings, as Intacct sends amounts, and as JSON numbers of up to 15 digits
    numbers = [Decimal(number).scaleb(-5) for number in floats]
    rows = [
        *(invoice(f"s{n:03}", amount=f"{amount:f}") for n, amount in enumerate(amounts)),
        *(invoice(f"z{n:03}", amount=float(number)) for n, number in enumerate(numbers)),
    ]
    load_raw(warehouse, load_of(folder / "pages", rows, columns=TYPED))
    assert [amount for (amount,) in stored(warehouse, "amount")] == [*amounts, *numbers]


@pytest.mark.parametrize("key", [None, ""])
def test_a_row_without_a_key_is_refused(
    tmp_path: Path, warehouse: Warehouse, key: str | None
) -> None:
    page = json.dumps([invoice("1"), {**invoice("2"), "key": key}])
    load = load_of(tmp_path / "pages", page, distinct_keys=2)
    with pytest.raises(LoadRefused, match="a row on page 1 has no key"):
        load_raw(warehouse, load)


@pytest.mark.parametrize("page", ["{}", '[{"key":"1"}', "<html>busy</html>", "null", '[1, "2"]'])
def test_a_page_that_is_no_array_of_rows_is_refused(
    tmp_path: Path, warehouse: Warehouse, page: str
) -> None:
    load_raw(warehouse, load_of(tmp_path / "pages", [invoice("1")]))
    with pytest.raises(LoadRefused):
        load_raw(warehouse, load_of(tmp_path / "pages", page, distinct_keys=1))
    assert stored(warehouse) == [("1",)]


def test_pages_that_lost_a_row_since_the_pagination_are_refused(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    load = load_of(tmp_path / "pages", [invoice("1")], distinct_keys=2)
    with pytest.raises(LoadRefused, match="hold 1 distinct keys, 2 were counted"):
        load_raw(warehouse, load)


def test_a_row_met_twice_is_stored_once_in_its_latest_version(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    newer = invoice(
        "1", totalTxnAmount="11.00", **{"audit.modifiedDateTime": "2026-10-02T12:00:00Z"}
    )
    load = load_of(tmp_path / "pages", [newer, invoice("1"), invoice("1")], days=[DAY, NEXT_DAY])
    assert load_raw(warehouse, load)[0] == {DAY: 0, NEXT_DAY: 1}
    assert stored(warehouse, "total_txn_amount") == [(Decimal("11.00"),)]


def test_a_new_field_adds_a_column_and_a_vanished_one_stays_null(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    pages = tmp_path / "pages"
    load_raw(warehouse, load_of(pages, [invoice("1", referenceNumber="BR-1")]))
    columns = [*COLUMNS[:3], COLUMNS[4], column_for("state", "string", None, "Its state")]
    late = invoice("2", state="posted", **{"audit.modifiedDateTime": "2026-10-02T12:00:00Z"})
    load_raw(warehouse, load_of(pages, [late], days=[NEXT_DAY], columns=columns))
    assert stored(warehouse, "key, reference_number, state") == [
        ("1", "BR-1", None),
        ("2", None, "posted"),
    ]
    assert refresh_current(warehouse, INVOICE).rows == 2
    shown = warehouse.frame("SELECT state FROM intacct.accounts_receivable_invoice ORDER BY key")
    assert shown["state"].tolist()[1] == "posted"


def test_a_changed_type_is_refused_before_anything_is_written(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    load_raw(warehouse, load_of(tmp_path / "pages", [invoice("1")]))
    columns = [*COLUMNS[:4], Column("total_txn_amount", "totalTxnAmount", "VARCHAR")]
    load = load_of(tmp_path / "pages", [invoice("2")], columns=columns)
    with pytest.raises(LoadRefused, match=r"total_txn_amount is DECIMAL\(38,2\)"):
        load_raw(warehouse, load)
    assert stored(warehouse) == [("1",)]


def test_two_fields_that_would_share_a_column_are_named(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    columns = [*COLUMNS, column_for("entityId", "string")]
    with pytest.raises(LoadRefused, match=r"entity\.id, entityId"):
        load_raw(warehouse, load_of(tmp_path / "pages", [], columns=columns))


def test_columns_that_the_load_relies_on_must_be_there(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    with pytest.raises(LoadRefused, match=r"lack audit\.modifiedDateTime, entity\.id"):
        load_raw(warehouse, load_of(tmp_path / "pages", [], columns=COLUMNS[:1]))


def test_a_failure_in_the_last_step_leaves_every_table_as_it_was(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    load_raw(warehouse, load_of(tmp_path / "pages", [invoice("1")]))
    with warehouse.connect() as connection:  # the proof cannot be recorded any more
        connection.execute("DELETE FROM meta.raw_loads")
        connection.execute("ALTER TABLE meta.raw_loads ADD COLUMN signed_by VARCHAR")
        connection.execute("ALTER TABLE meta.raw_loads ALTER COLUMN signed_by SET NOT NULL")
    with pytest.raises(duckdb.ConstraintException, match="signed_by"):
        load_raw(warehouse, load_of(tmp_path / "pages", [invoice("2")]))
    assert stored(warehouse) == [("1",)]


def test_processes_that_load_at_once_all_succeed(tmp_path: Path) -> None:
    entities = ["E110", "E120", "E130"]
    loaders = [
        subprocess.Popen([sys.executable, "-c", LOAD_MANY, str(tmp_path), entity])
        for entity in entities
    ]
    assert [loader.wait(timeout=120) for loader in loaders] == [0, 0, 0]
    counts = Warehouse(tmp_path / "warehouse.duckdb").frame(
        "SELECT _entity, count(*) AS rows FROM raw.accounts_receivable_invoice"
        " GROUP BY ALL ORDER BY ALL"
    )
    # each load takes older rows to its own day, and keys differ: nothing is replaced but its own
    assert counts["rows"].tolist() == [250, 250, 250]


def test_tables_say_what_a_row_and_a_column_is(tmp_path: Path, warehouse: Warehouse) -> None:
    load_invoices(warehouse, tmp_path / "pages", [invoice("1")])
    said = warehouse.frame(
        "SELECT schema_name, column_name, comment FROM duckdb_columns()"
        " WHERE column_name IN ('audit_modified_date_time', '_day') AND schema_name <> 'meta'"
        " AND comment IS NOT NULL"
    )
    assert len(said) == 4  # both columns, in the raw table and in the view
    tables = warehouse.frame(
        "SELECT comment FROM duckdb_tables() UNION ALL SELECT comment FROM duckdb_views()"
        " WHERE schema_name = 'intacct'"
    )
    assert tables["comment"].notna().all()


def test_current_shows_the_latest_version_of_each_record_once(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    pages = tmp_path / "pages"
    load_raw(warehouse, load_of(pages, [invoice("1"), invoice("2", **{"entity.id": None})]))
    later = {"audit.modifiedDateTime": "2026-10-02T12:00:00Z"}
    changed = invoice("1", totalTxnAmount="12.00", **later)
    load_raw(warehouse, load_of(pages, [changed], days=[NEXT_DAY], takes_older=False))
    shared = invoice("2", **{"entity.id": None})
    load_raw(warehouse, load_of(pages, [shared], entity="E120"))
    view = refresh_current(warehouse, INVOICE)
    assert (view.relation, view.rows) == ("intacct.accounts_receivable_invoice", 2)
    assert ("total_txn_amount", "DECIMAL(38,2)") in [(c.name, c.type) for c in view.columns]
    shown = warehouse.frame(
        "SELECT key, total_txn_amount FROM intacct.accounts_receivable_invoice ORDER BY key"
    )
    assert shown["key"].tolist() == ["1", "2"]
    assert shown["total_txn_amount"].tolist() == [Decimal(12), Decimal(10)]


def test_current_before_any_load_says_what_to_do(warehouse: Warehouse) -> None:
    with pytest.raises(NotMaterialized, match="Materialize accounts-receivable/invoice"):
        refresh_current(warehouse, INVOICE)
