"""Values of pages: only what Intacct documents converts, to its last digit; the rest is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intacct_dagster.warehouse import Column, Warehouse, column_for
from intacct_dagster.warehouse.raw import RawLoad, join_lines, join_records
from intacct_dagster.warehouse.raw.load import load_raw
from intacct_dagster.warehouse.tables import existing_columns
from intacct_dagster.warehouse.types import column_name
from intacct_dagster_tests.warehouse.warehouse_rows import COLUMNS, invoice, load_of

TYPED = (
    *COLUMNS[:3],
    column_for("quantity", "number"),
    column_for("count", "integer"),
    column_for("isOnHold", "boolean"),
    column_for("day", "string", "date"),
    column_for("sentAt", "string", "date-time"),
    column_for("memo", "string"),
    column_for("tags", "array"),
    Column("cents", "cents", "DECIMAL(9,2)"),
)
LONG = "12345678901234567.89"
NOT_WRITTEN = "not written as YYYY-MM-DDTHH:MM:SSZ"


def stored(warehouse: Warehouse, columns: str) -> list[tuple[object, ...]]:
    with warehouse.connect(read_only=True) as connection:
        return connection.execute(
            f"SELECT {columns} FROM raw.accounts_receivable_invoice ORDER BY key"
        ).fetchall()


def quarantined(warehouse: Warehouse) -> list[tuple[object, ...]]:
    with warehouse.connect(read_only=True) as connection:
        return connection.execute(
            "SELECT key, path, value, is_rounded, reason FROM raw.quarantine ORDER BY key, path"
        ).fetchall()


def page_with(field: str, text: str, key: str = "1") -> str:
    """A page of one row, in which a field has this JSON text."""
    return json.dumps([invoice(key, **{field: "PLACE"})]).replace('"PLACE"', text)


def load_of_texts(folder: Path, texts: Sequence[tuple[str, str]]) -> RawLoad:
    """A load of a row for each of these fields with their JSON texts."""
    rows = [page_with(*each, key=f"{n:03}")[1:-1] for n, each in enumerate(texts)]
    return load_of(folder, f"[{', '.join(rows)}]", columns=TYPED, distinct_keys=len(rows))


NO_SUCH_VALUES: list[tuple[str, object, str]] = [
    *(
        (field, text, "not a number")
        for field in ("count", "quantity", "cents")
        for text in ("1_000", "0x10", "0b1", "1e3", "1E3", " 5", "5 ", "5\n", "+5", "1,000")
    ),
    *(
        (field, text, "not a number")
        for field in ("count", "quantity")
        for text in (
            "--5",
            "-",
            ".",
            "\u0663",
            "\uff11",
            "NaN",
            "inf",
            "true",
            "1e-3",
            "5%",
            "$5",
            "'5'",
        )
    ),
    ("count", True, "not a number"),
    ("count", {"a": 1}, "not a number"),
    ("count", ".5", "not a whole number"),
    ("count", "5.7", "not a whole number"),
    ("count", 5.7, "not a whole number"),
    ("count", "9223372036854775808", "too many digits: not within 64 bits"),
    ("count", 12345678901234567890123, "too many digits: not within 64 bits"),
    ("quantity", "1.00000000001", "too many digits: more than 10 decimals"),
    ("quantity", "1" * 29, "too many digits: more than 28 before the point"),
    ("cents", "12345678.00", "too many digits: more than 7 before the point"),
    *(
        ("isOnHold", text, "neither true nor false")
        for text in ("yes", "no", "y", "n", "t", "f", "T", "1", "0", "on", " true", 1, 0)
    ),
    *(
        ("day", text, "not written as YYYY-MM-DD")
        for text in (
            *("epoch", "infinity", "-infinity", "2026-1-5", "2026-01-5 ", "2026/01/05"),
            *(" 2026-1-5", "-001-01-01", "2026-01-05 (BC)", "20260105", "12026-01-05"),
            *("2026-01-05T00:00:00Z", "26-01-0005", "01-05-2026"),
        )
    ),
    *(("day", text, "no such date") for text in ("2026-02-30", "0000-00-00", "0000-01-01")),
    *(
        ("sentAt", text, NOT_WRITTEN)
        for text in (
            *("epoch", "infinity", "2026-01-05", "2026-01-05 10:00:00Z", "2026-1-5T10:00:00Z"),
            *("2026-01-05T10:00:00+00:00:30", "2026-01-05T10:00:00 UTC", "2026-01-05T10:00Z"),
            *("2026-01-05T10:00:00+99", "2026-01-05T10:00:00 Europe/London", "yesterday noon"),
            *(" 2026-01-05T10:00:00Z", "2026-01-05T10:00:00.Z"),
        )
    ),
    ("sentAt", "2026-01-05T10:00:00", "no time zone"),
    ("sentAt", "2026-01-05T24:00:00Z", "no such time"),
    ("sentAt", "2026-01-05T10:00:60Z", "no such time"),
    ("sentAt", "2026-02-30T10:00:00Z", "no such date"),
    ("sentAt", "0000-01-05T10:00:00Z", "no such date"),
    ("sentAt", "9999-12-31T23:59:59-14:00", "no such date"),
    (
        "sentAt",
        "2026-01-05T10:00:00.1234567Z",
        "too many digits: more than 6 decimals of a second",
    ),
]


def test_a_text_that_is_no_such_value_is_null_and_in_quarantine_with_the_reason(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    rows = [
        invoice(f"{n:03}", **{field: value}) for n, (field, value, _) in enumerate(NO_SUCH_VALUES)
    ]
    load_raw(warehouse, load_of(tmp_path, rows, columns=TYPED))
    columns = ", ".join(column_name(column.path) for column in TYPED[3:])
    assert set(stored(warehouse, columns)) == {(None,) * len(TYPED[3:])}
    assert quarantined(warehouse) == [
        (
            f"{n:03}",
            field,
            value if isinstance(value, str) else json.dumps(value, separators=(",", ":")),
            False,
            reason,
        )
        for n, (field, value, reason) in enumerate(NO_SUCH_VALUES)
    ]


DOCUMENTED_NOTATIONS: list[tuple[str, object, object]] = [
    ("count", "007", 7),
    ("count", "-5", -5),
    ("count", "5.00", 5),
    ("count", 1e3, 1000),
    ("quantity", ".5", Decimal("0.5")),
    ("quantity", "-5.", Decimal(-5)),
    ("quantity", "007.50", Decimal("7.5")),
    ("quantity", 1.5e3, Decimal(1500)),
    ("quantity", 1e-7, Decimal("0.0000001")),
    ("quantity", "-0", Decimal(0)),
    ("isOnHold", "TRUE", True),
    ("day", "0001-01-01", date(1, 1, 1)),
    ("day", "9999-12-31", date(9999, 12, 31)),
    ("sentAt", "2026-01-05T10:00:00+02:00", datetime(2026, 1, 5, 8, tzinfo=UTC)),
    ("sentAt", "2026-01-05T10:00:00-00:30", datetime(2026, 1, 5, 10, 30, tzinfo=UTC)),
    ("sentAt", "2026-01-05T10:00:00.250000000Z", datetime(2026, 1, 5, 10, 0, 0, 250000, UTC)),
]


def test_a_documented_notation_converts(tmp_path: Path, warehouse: Warehouse) -> None:
    rows = [
        invoice(f"{n:03}", **{field: value})
        for n, (field, value, _) in enumerate(DOCUMENTED_NOTATIONS)
    ]
    load_raw(warehouse, load_of(tmp_path, rows, columns=TYPED))
    for n, (field, _, expected) in enumerate(DOCUMENTED_NOTATIONS):
        assert stored(warehouse, column_name(field))[n] == (expected,), field
    with warehouse.connect(read_only=True) as connection:
        assert not existing_columns(connection, "warehouse", "raw", "quarantine")


_DOCUMENTED = {
    "count": re.compile(r"-?[0-9]+(\.0*)?"),
    "quantity": re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)"),
    "isOnHold": re.compile("true|false", re.IGNORECASE),
    "day": re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    "sentAt": re.compile(
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})"
    ),
}


@settings(max_examples=5, deadline=None)
@given(
    texts=st.lists(
        st.text("0123456789+-.:/_eExXTZ tfruyeasinoINF,'\t()", max_size=12)
        | st.from_regex(r"\A[0-9]{1,4}[-/][ 0-9]{2}[-/][0-9 .]{2}(T[0-9 ]{2}:[0-9]{2}:..Z)?\Z"),
        min_size=1,
        max_size=200,
    )
)
def test_no_other_notation_converts(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("texts")
    warehouse = Warehouse(folder / "warehouse.duckdb")
    rows = [invoice(f"{n:04}", **dict.fromkeys(_DOCUMENTED, text)) for n, text in enumerate(texts)]
    load_raw(warehouse, load_of(folder / "pages", rows, columns=TYPED))
    for field, documented in _DOCUMENTED.items():
        for text, (value,) in zip(texts, stored(warehouse, column_name(field)), strict=True):
            assert value is None or documented.fullmatch(text), (field, text, value)


LONG_NUMBERS: list[tuple[str, str, object]] = [
    ("quantity", LONG, Decimal(LONG)),
    ("quantity", f"-{LONG}", Decimal(f"-{LONG}")),
    ("quantity", "1234567890123456789012345678", Decimal(1234567890123456789012345678)),
    ("quantity", "0.1234567890000000000", Decimal("0.123456789")),
    ("quantity", "1.234567890123456789e17", Decimal("123456789012345678.9")),
    ("count", "9007199254740993", 9007199254740993),
    ("count", "9007199254740993.0", 9007199254740993),
    ("count", "-9223372036854775808", -(2**63)),
    ("memo", LONG, LONG),
    ("memo", "123456789012345678901234", "123456789012345678901234"),
    ("memo", f'{{"a": {LONG}}}', f'{{"a":{LONG}}}'),
    ("tags", LONG, LONG),
    ("tags", f'[{LONG}, {{"a": [1.50, {LONG}]}}]', f'[{LONG},{{"a":[1.5,{LONG}]}}]'),
    ("tags", "123456789012345678901234", "123456789012345678901234"),
    ("memo", '"a 12345678901234567.89"', "a 12345678901234567.89"),
    ("memo", '": 12345678901234567.89, \\"x\\": 1"', ': 12345678901234567.89, "x": 1'),
    ("tags", '["x: 12345678901234567.89"]', '["x: 12345678901234567.89"]'),
]


def test_a_json_number_of_any_length_arrives_digit_by_digit(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    load_raw(warehouse, load_of_texts(tmp_path, [each[:2] for each in LONG_NUMBERS]))
    for n, (field, _, expected) in enumerate(LONG_NUMBERS):
        assert stored(warehouse, field)[n] == (expected,)
    with warehouse.connect(read_only=True) as connection:
        assert not existing_columns(connection, "warehouse", "raw", "quarantine")


NOT_HELD: list[tuple[str, str, bool]] = [
    ("cents", LONG, False),
    ("cents", "1.23456789012345678", True),
    ("quantity", "1.23456789012345678901", True),
    ("quantity", "123456789012345678901234567890.5", False),
    ("quantity", "1e400", False),
    ("count", LONG, False),
    ("day", LONG, False),
    ("isOnHold", "123456789012345678901234", False),
]


def test_quarantine_has_a_long_json_number_digit_by_digit(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    load_raw(warehouse, load_of_texts(tmp_path, [each[:2] for each in NOT_HELD]))
    assert [row[1:4] for row in quarantined(warehouse)] == NOT_HELD
    for n, (field, _, is_rounded) in enumerate(NOT_HELD):
        assert (stored(warehouse, column_name(field))[n][0] is None) is not is_rounded


def test_a_number_that_no_double_has_stops_no_other_value(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    page = page_with("memo", "1e400").removesuffix("]")
    page += f", {json.dumps(invoice('2', count=5))}]"
    load_raw(warehouse, load_of(tmp_path, page, columns=TYPED, distinct_keys=2))
    assert stored(warehouse, "memo, count") == [("1e400", None), (None, 5)]


def test_lines_and_records_keep_long_numbers_until_they_are_loaded(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text(page_with("quantity", LONG))
    records = tmp_path / "records.json"
    records.write_text(page_with("tags", f'[{{"amount": {LONG}}}]'))
    complete = join_records(
        warehouse,
        pages=[rows],
        paths=["audit.modifiedDateTime", "entity.id", "quantity"],
        records=[records],
        got=["tags"],
        changed=None,
        into=tmp_path,
    )
    documents = tmp_path / "documents.json"
    documents.write_text('[{"key": "1", "audit.modifiedDateTime": "2026-10-01T12:00:00Z"}]')
    lines = join_lines(
        warehouse,
        pages=[complete.file],
        paths=["key", "entity.id", "quantity", "tags"],
        before=[documents],
        after=[documents],
        parent_key="key",
        dated_by="audit.modifiedDateTime",
        into=tmp_path / "lines",
    )
    load = load_of(tmp_path / "load", lines.file.read_text(), columns=TYPED, distinct_keys=1)
    load_raw(warehouse, load)
    assert stored(warehouse, "quantity, tags") == [(Decimal(LONG), f'[{{"amount":{LONG}}}]')]
