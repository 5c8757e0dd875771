"""Fields that no query gives come with whole records, of the same version, every key answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina

from intacct_dagster.client import AnswerNotUnderstood, RequestRefused
from intacct_dagster.config import ObjectSettings
from intacct_dagster.extraction import details as records
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import rebuild
from intacct_dagster_tests.extraction.test_lines import DAYS, LINE, LINES, Desk, desk
from intacct_dagster_tests.sandbox.caller import INVOICE
from intacct_sandbox import LAST_DAY

INVOICES = "raw.accounts_receivable_invoice"
WANTED = ("lines", "contacts.payTo", "totalTxnAmount", "description")


def wanted(*fields: str, name: str = INVOICE, **more: Any) -> ObjectSettings:
    return ObjectSettings(name=name, get_fields=fields, **more)


class Altered(httpx.BaseTransport):
    """Passes on to `wire`; what a GET of records answers can be altered, and acted upon before."""

    def __init__(self, at: Desk) -> None:
        self.wire, self.at = at.wire, at
        self.before: Any = lambda keys: None
        self.alter: Any = lambda record: record
        self.gets: list[list[str]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method != "GET" or "/objects/" not in path:
            return self.wire.handle_request(request)
        keys = path.rsplit("/", 1)[1].split(",")
        self.gets.append(keys)
        self.before(keys)
        answer = json.loads(self.wire.handle_request(request).content)
        records = answer["ia::result"] if len(keys) > 1 else [answer["ia::result"]]
        altered = [each for record in records if (each := self.alter(record)) is not None]
        return httpx.Response(200, json={**answer, "ia::result": altered})


def altered(at: Desk) -> Altered:
    wire = Altered(at)
    at.intacct._transport._client = httpx.Client(transport=wire)
    return wire


def test_what_no_query_gives_comes_with_the_record_and_lists_as_json(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        wire = altered(at)
        done = at.extract(wanted(*WANTED), [LAST_DAY])
        assert sum(len(keys) for keys in wire.gets) == done.rows > 50
        assert max(len(keys) for keys in wire.gets) <= 500
        types = at.rows(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = 'raw'"
            " AND table_name = 'accounts_receivable_invoice' AND column_name IN"
            " ('lines', 'contacts_pay_to', 'total_txn_amount', 'description') ORDER BY 1"
        )
        assert types == [
            ("contacts_pay_to", "JSON"),
            ("description", "VARCHAR"),
            ("lines", "JSON"),
            ("total_txn_amount", "DECIMAL(38,2)"),
        ]
        for key, lines, amount in at.rows(
            f"SELECT key, lines, total_txn_amount::VARCHAR FROM {INVOICES}"
        ):
            book = at.caller.books.tables[LINE].lines_of(key)
            assert [line["key"] for line in json.loads(lines)] == [line["key"] for line in book]
            assert amount == at.caller.books.tables[INVOICE].rows[key]["totalTxnAmount"]
        other = Warehouse(tmp_path / "other.duckdb")
        assert rebuild(other, at.pages).loads == 1
        with other.connect(read_only=True) as connection:
            again = connection.execute(f"SELECT * FROM {INVOICES} ORDER BY ALL").fetchall()
        assert again == at.rows(f"SELECT * FROM {INVOICES} ORDER BY ALL")
        assert {"lines", "contacts.payTo"} <= {column.path for column in done.columns}


def test_a_record_that_changed_or_went_meanwhile_is_left_to_a_later_day(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        wire = altered(at)
        touched: list[str] = []

        def touch(keys: list[str]) -> None:
            if not touched:
                touched.extend(keys[:2])
                at.send("PATCH", f"{INVOICE}/{touched[0]}", {"description": "newer"})
                at.caller.books.tables[INVOICE].remove(touched[1])

        wire.before = touch
        done = at.extract(wanted("description"), [LAST_DAY])
        assert done.left == 2
        stored = {key for (key,) in at.rows(f"SELECT key FROM {INVOICES}")}
        assert stored.isdisjoint(touched)
        assert len(stored) == done.rows > 50
        done = at.extract(wanted("description"), [LAST_DAY])
        assert done.left == 0
        assert at.rows(f"SELECT description FROM {INVOICES} WHERE key = ?", touched[0]) == [
            ("newer",)
        ]


def test_a_key_that_is_there_and_not_answered_is_an_error_by_name(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        wire = altered(at)
        at.extract(wanted("description"), [DAYS[-2]])
        before = at.rows(f"SELECT * FROM {INVOICES} ORDER BY ALL")
        first: list[str] = []

        def drop(record: dict[str, Any]) -> dict[str, Any] | None:
            if not first:
                first.append(record["key"])
            return None if record["key"] == first[0] else record

        wire.alter = drop
        with pytest.raises(AnswerNotUnderstood) as caught:
            at.extract(wanted("description"), [DAYS[-2]])
        assert f"{INVOICE} of entity E110 was asked for" in str(caught.value)
        assert f"left out key {first[0]}, which is there" in str(caught.value)
        assert at.rows(f"SELECT * FROM {INVOICES} ORDER BY ALL") == before


@pytest.mark.parametrize("reach", ["rejected", "reached"])
def test_lines_that_are_read_through_their_document_have_such_fields_too(
    tmp_path: Path, reach: str
) -> None:
    with desk(tmp_path, reach) as at:
        done = at.extract(wanted("memo", "dimensions", name=LINE), [LAST_DAY])
        assert done.schema.read_by.startswith("lines:")
        rows = at.rows(f"SELECT key, memo, dimensions FROM {LINES}")
        assert len(rows) == done.rows > 50
        books = at.caller.books.tables[LINE].rows
        for key, memo, dimensions in rows:
            assert memo == books[key]["memo"]
            place = json.loads(dimensions)["location"]["key"]
            assert place == books[key]["dimensions.location.key"]


def test_a_run_goes_on_with_the_records_that_an_interrupted_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "KEYS_IN_A_GET", 20)
    monkeypatch.setattr(records, "_PARTS_AT_ONCE", 1)
    with desk(tmp_path) as at, stamina.set_testing(True, attempts=1):
        wire = altered(at)

        def fail(keys: list[str]) -> None:
            if len(wire.gets) == 2:
                raise httpx.ConnectError("down")

        wire.before = fail
        with pytest.raises(Exception, match="down"):
            at.extract(wanted("description"), DAYS)
        wire.before = lambda keys: None
        asked = [set(keys) for keys in wire.gets]
        wire.gets.clear()
        done = at.extract(wanted("description"), DAYS)
        assert done.rows > 100
        assert sum(len(keys) for keys in wire.gets) < done.rows
        assert asked[0] not in [set(keys) for keys in wire.gets]


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("linse", "linse is not in its records: did you mean lines"),
        ("key", "key is always read by query"),
        ("audit.modifiedDateTime", "audit.modifiedDateTime is always read by query"),
    ],
)
def test_a_field_that_no_record_has_is_told_before_anything_is_read(
    tmp_path: Path, field: str, told: str
) -> None:
    with desk(tmp_path) as at:
        with pytest.raises(RequestRefused, match=told):
            at.extract(wanted(field), [LAST_DAY])
        assert not at.warehouse.path.exists()
