"""Lines without change times, on the sandbox: found through documents, and moved with them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from intacct_dagster.client import ClientCredentials, Intacct, RequestRefused
from intacct_dagster.config import ConfigError, ObjectSettings, Reading, read_settings
from intacct_dagster.extraction import loading
from intacct_dagster.extraction.extract import Extractor
from intacct_dagster.extraction.extracted import Extracted
from intacct_dagster.warehouse import (
    Warehouse,
)
from intacct_dagster.warehouse.raw import PageArchive, load, rebuild, table_name
from intacct_dagster.warehouse.raw.current import refresh_current
from intacct_dagster.warehouse.types import column_name
from intacct_dagster_tests.code_location import PROJECT
from intacct_dagster_tests.sandbox.caller import INVOICE, Caller, calling, invoice, invoice_line
from intacct_sandbox import LAST_DAY

LINE = f"{INVOICE}-line"
LINES = "raw.accounts_receivable_invoice_line"
CURRENT = "intacct.accounts_receivable_invoice_line"
USER = "usa@demo|E110"
DAYS = [LAST_DAY - timedelta(n) for n in range(5, -1, -1)]
PARENTS = {
    LINE: "invoice",
    "accounts-payable/bill-line": "bill",
    "general-ledger/journal-entry-line": "journalEntry",
    "time/timesheet-line": "timesheet",
}


class Through(httpx.BaseTransport):
    """Requests to a sandbox in this process, one at a time."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.paths: list[str] = []
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        path = request.url.raw_path.decode().removeprefix("/ia/api/v1")
        with self._lock:
            self.paths.append(path)
            answer = self.caller.call(
                request.method, path, headers=dict(request.headers), content=request.content
            )
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


@dataclass
class Desk:
    """An extractor on a sandbox in this process, and its warehouse."""

    caller: Caller
    folder: Path

    def __post_init__(self) -> None:
        self.warehouse = Warehouse(self.folder / "warehouse.duckdb")
        self.pages = self.folder / "pages"
        self.wire = Through(self.caller)
        grant = ClientCredentials("sandbox.app.sage.com", "sandbox-secret")
        self.intacct = Intacct(
            "demo", "https://sandbox/ia/api/v1", grant, {"E110": "usa"}, transport=self.wire
        )

    @property
    def now(self) -> datetime:
        return self.caller.books.clock.now()

    def extract(
        self, what: str | ObjectSettings, days: list[date], now: datetime | None = None
    ) -> Extracted:
        settings = ObjectSettings(name=what) if isinstance(what, str) else what
        return Extractor(
            self.intacct,
            self.warehouse,
            start_date=DAYS[0],
            run_id="run",
            page_size=300,
            reading=Reading(settle_seconds=0, look_back_days=0),
            page_archive=PageArchive(self.pages, timedelta(days=30)),
            now=lambda: now or self.now,
        ).extract(settings, "E110", days)

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self.warehouse.connect(read_only=True) as connection:
            return connection.execute(sql, list(values)).fetchall()

    def send(self, method: str, path: str, body: Any = None) -> Any:
        self.caller.forget_tokens()  # they last twelve hours
        answer = self.caller.call(method, f"/objects/{path}", user=USER, json=body)
        assert answer.status_code < 300, answer.text
        self.caller.books.advance(timedelta(minutes=1))
        return answer.json()["ia::result"] if answer.content else None


@contextmanager
def committing_late(at: Desk, what: str, days: list[date]) -> Iterator[None]:
    """Read these days before this block, and load them after it."""
    read, go_on = threading.Event(), threading.Event()
    load_raw = load.load_raw

    def late(*given: Any, **named: Any) -> Any:
        if threading.current_thread() is reading:
            read.set()
            assert go_on.wait(60)
        return load_raw(*given, **named)

    reading = threading.Thread(target=at.extract, args=(what, days))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load_raw", late)
        reading.start()
        assert read.wait(60)
        yield
        go_on.set()
        reading.join(60)
    assert not reading.is_alive()


@contextmanager
def desk(folder: Path, reach: str = "rejected", audit: str = "absent") -> Iterator[Desk]:
    with calling(behaviours={"line_audit": audit, "reference_reach": reach}) as caller:
        opened = Desk(caller, folder)
        with opened.intacct:
            yield opened


@pytest.mark.parametrize(
    ("object", "reach"), [*((each, "rejected") for each in PARENTS), (LINE, "reached")]
)
def test_every_line_of_the_documents_that_changed_is_read_on_their_day(
    tmp_path: Path, object: str, reach: str
) -> None:
    reference, document = PARENTS[object], object.removesuffix("-line")
    with desk(tmp_path, reach) as at:
        done = at.extract(object, DAYS)
        documents = at.extract(document, DAYS)
        books = at.caller.books.tables[object]
        lines, keys = table_name(object), column_name(f"{reference}.key")
        stored = at.rows(
            f"SELECT lines.key, {keys} FROM raw.{lines} AS lines"
            f" JOIN raw.{table_name(document)} AS documents ON documents.key = lines.{keys}"
            " AND documents._day = lines._day"
        )
        there = {
            (str(line["key"]), key)
            for (key,) in at.rows(f"SELECT key FROM raw.{table_name(document)}")
            for line in books.lines_of(key)
        }
    assert done.rows == len(stored) == len(there) > documents.rows > 0
    assert set(stored) == there
    assert done.left == 0
    assert done.schema.read_by == (
        f"lines: by {reference}.key, of each {document} that changed"
        if reach == "rejected"
        else f"lines: by {reference}.audit.modifiedDateTime"
    )


@pytest.mark.parametrize("reach", ["rejected", "reached"])
def test_a_document_that_changes_takes_its_lines_along_and_leaves_none_behind(
    tmp_path: Path, reach: str
) -> None:
    with desk(tmp_path, reach) as at:
        body = invoice(lines=[invoice_line(amount=each) for each in ("1.00", "2.00", "3.00")])
        key = at.send("POST", INVOICE, body)["key"]
        at.extract(LINE, [LAST_DAY])
        first = at.rows(f"SELECT key, txn_amount::VARCHAR FROM {LINES} WHERE invoice_key = ?", key)
        assert sorted(amount for _, amount in first) == ["1.00", "2.00", "3.00"]
        (before,) = at.rows("SELECT rows FROM meta.raw_loads WHERE day = ?", LAST_DAY)[0]
        at.caller.books.advance(timedelta(days=1))
        gone = min(first, key=lambda row: int(row[0]))[0]
        change = [{"key": gone, "ia::operation": "delete"}, invoice_line(amount="4.00")]
        at.send("PATCH", f"{INVOICE}/{key}", {"lines": change})
        at.extract(LINE, [LAST_DAY + timedelta(days=1)])
        after = at.rows(
            f"SELECT txn_amount::VARCHAR, _day FROM {CURRENT} WHERE invoice_key = ? ORDER BY 1", key
        )
        assert after == [
            (amount, LAST_DAY + timedelta(days=1)) for amount in ("2.00", "3.00", "4.00")
        ]
        loads = at.rows("SELECT rows FROM meta.raw_loads ORDER BY day")
        assert loads == [(before,), (3,)]  # what was read does not go
        refresh_current(at.warehouse, LINE)
        current = at.rows(
            "SELECT count(*), count(DISTINCT key) FROM intacct.accounts_receivable_invoice_line"
        )
        assert current == [(before, before)]  # one line came, one went


def test_a_run_that_began_earlier_does_not_bring_back_old_lines(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        key = at.send("POST", INVOICE, invoice(lines=[invoice_line(amount="1.00")]))["key"]
        with committing_late(at, LINE, [LAST_DAY]):
            (line,) = at.send("GET", f"{INVOICE}/{key}")["lines"]
            change = [{"key": line["key"], "txnAmount": "2.00"}]
            at.send("PATCH", f"{INVOICE}/{key}", {"lines": change})
            at.extract(LINE, [LAST_DAY])
        amounts = at.rows(f"SELECT txn_amount::VARCHAR FROM {CURRENT} WHERE invoice_key = ?", key)
        assert amounts == [("2.00",)]


def test_lines_are_rebuilt_from_kept_pages(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        at.extract(LINE, DAYS[-2:])
        key = at.rows(f"SELECT min(invoice_key) FROM {LINES} WHERE _day = ?", DAYS[-2])[0][0]
        at.caller.books.advance(timedelta(days=1))
        at.send("PATCH", f"{INVOICE}/{key}", {"description": "changed"})
        at.extract(LINE, [LAST_DAY + timedelta(days=1)])
        asked = len(at.wire.paths)
        other = Warehouse(tmp_path / "other.duckdb")
        for into in (other, at.warehouse):
            assert rebuild(into, at.pages).loads == 2
            with into.connect(read_only=True) as connection:
                for table in (LINES, "meta.raw_loads"):
                    found = connection.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall()
                    assert found
                    if into is other:
                        made = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
                        assert made == [(len(found),)]
        with other.connect(read_only=True) as connection:
            rebuilt = connection.execute(f"SELECT * FROM {LINES} ORDER BY ALL").fetchall()
        assert at.rows(f"SELECT * FROM {LINES} ORDER BY ALL") == rebuilt
        assert len(at.wire.paths) == asked


def test_lines_with_change_times_are_read_by_them_unless_told_otherwise(tmp_path: Path) -> None:
    with desk(tmp_path, audit="present") as at:
        own = at.extract(LINE, [LAST_DAY])
        assert own.schema.read_by == "changes: by audit.modifiedDateTime"
    with desk(tmp_path / "told", audit="present") as at:
        told = at.extract(ObjectSettings(name=LINE, read_by="lines"), [LAST_DAY])
        assert told.schema.read_by == f"lines: by invoice.key, of each {INVOICE} that changed"
    with desk(tmp_path / "whole") as at:
        whole = at.extract(ObjectSettings(name=LINE, read_by="snapshot"), [LAST_DAY])
        assert whole.schema.read_by.startswith("snapshot")
        assert whole.rows > told.rows


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"parent": "invoise"}, "invoise is not a reference: did you mean invoice?"),
        (
            {"parent": "dimensions.asset"},
            "cannot be read as lines: dimensions.asset names no record with a",
        ),
        ({"read_by": "changes"}, "has no audit.modifiedDateTime that a query gives"),
    ],
)
def test_a_parent_that_is_none_is_told_before_anything_is_read(
    tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    with desk(tmp_path) as at:
        with pytest.raises(RequestRefused, match=told):
            at.extract(ObjectSettings(name=LINE, **settings), [LAST_DAY])
        assert not at.warehouse.path.exists()


def test_a_configuration_that_contradicts_itself_is_told_with_its_line() -> None:
    text = (PROJECT / "intacct.yaml").read_text()
    wrong = f"  - {{name: {LINE}, parent: invoice, read_by: snapshot}}\n"
    text = text.replace(f"  - {LINE}\n", wrong)
    with pytest.raises(ConfigError, match="leave one of them out"):
        read_settings(text, file=PROJECT / "intacct.yaml")
