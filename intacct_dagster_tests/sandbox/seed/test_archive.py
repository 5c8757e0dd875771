"""A large company, of which the journal entries are on disk: it answers as one in memory does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intacct_dagster.client import ChangeWindow, ClientCredentials, Intacct
from intacct_dagster.pages import page_bytes
from intacct_dagster_tests.sandbox.caller import Caller
from intacct_sandbox import (
    CLIENT_ID,
    CLIENT_SECRET,
    COMPANY,
    Behaviours,
    Books,
    Clock,
    SandboxError,
    Size,
    serve,
)
from intacct_sandbox.objects.tables import Table, Tables
from intacct_sandbox.seed.archive import ArchivedTable, building, store

ENTRY = "general-ledger/journal-entry"
LINE = "general-ledger/journal-entry-line"
SIZE = Size(entities=6, years=1, lines=2_401)
TOP = "top@demo"
PRIVATE = {"includePrivate": True}


class _InMemory(Table):
    """The same records without an archive, shuffled alike."""

    noise = ArchivedTable.noise


def _in_memory(books: Books) -> Books:
    """Books that keep all records of `books` in memory."""
    tables = books.tables.copy()
    for name in (ENTRY, LINE):
        archived = books.tables[name]
        assert isinstance(archived, ArchivedTable)
        table = _InMemory(archived.type, books.seed)
        for row in sorted(archived.archived_records(), key=lambda row: int(str(row["key"]))):
            table.put(row)
        tables[name] = table
    twin = Books(clock=Clock.stopped(), behaviours=Behaviours())
    twin.tables = Tables(tables.items(), books.company)
    return twin


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("large")


@pytest.fixture(scope="module")
def both(folder: Path) -> Iterator[tuple[Caller, Caller]]:
    """Callers of a company on disk, and of the same in memory."""
    books = Books(size=SIZE, state=folder, clock=Clock.stopped())
    on_disk, in_memory = Caller(books), Caller(_in_memory(books))
    yield on_disk, in_memory
    on_disk.close()
    in_memory.close()


# --- random queries -----------------------------------------------------------------------------

_LINE_FIELDS = [
    *("key", "id", "href", "lineNumber", "txnType", "txnAmount", "baseAmount", "entryDate"),
    *("documentId", "description", "numberOfUnits", "isBillable", "interEntityTxnType"),
    *("journalEntry.key", "journalEntry.id", "journalEntry.href", "glAccount.key", "glAccount.id"),
    *("glAccount.name", "glAccount.href", "accountingPeriod.id", "allocation.id", "parent.id"),
    *("entity.key", "entity.id", "entity.name", "audit.createdDateTime", "audit.createdBy"),
    *("audit.modifiedDateTime", "audit.modifiedByUser.id", "currency.baseCurrency"),
    *("currency.txnCurrency", "currency.exchangeRate", "currency.exchangeRateDate"),
    *("dimensions.location.name", "dimensions.department.id", "dimensions.customer.name"),
    *("dimensions.vendor.id", "dimensions.project.id", "reconciliationGroup.cleared"),
    *("glAccount.category", "dimensions.customer.term.id", "journalEntry.state"),
    *("journalEntry.description", "journalEntry.audit.modifiedDateTime", "journalEntry.webURL"),
    *("journalEntry.glJournal.name", "journalEntry.txnNumber", "journalEntry.attachment.id"),
]
_ENTRY_FIELDS = [
    *("key", "id", "href", "postingDate", "description", "referenceNumber", "state", "txnNumber"),
    *("moduleName", "txnSource", "webURL", "glJournal.id", "glJournal.name", "reversedBy.id"),
    *("entity.id", "baseLocation.name", "audit.modifiedDateTime", "audit.createdByUser.key"),
    *("tax.taxImplication", "tax.vendor.name", "attachment.id"),
]
_FIELDS = {LINE: _LINE_FIELDS, ENTRY: _ENTRY_FIELDS}
_ORDERED = ("$eq", "$ne", "$lt", "$lte", "$gt", "$gte")
_TEXTS = ("$contains", "$notContains", "$startsWith", "$notStartsWith", "$endsWith", "$notEndsWith")
_LISTS = ("$in", "$notIn", "$between", "$notBetween", "$has")
_ODD: list[Any] = [
    *(None, "", "a", "Payroll", "payroll", "é", "'; --", "\0", "1", "17", "38.5", "-1", "1e400"),
    *("1e-400", "0.005", "99999999999999999999", "2026-03-01", "2026-03-01T12:00:00Z", "true"),
    *("2026-06-11T07:00:00.5+02:00", "currentMonth", "priorQuarter", "today", "yesterday", "USD"),
    *("posted", "false", "E110", "debit", 1, 2.5, 1.0, True, False),
]


class _Values(dict[str, dict[str, list[Any]]]):
    """Values that there are, by object and field."""

    def __repr__(self) -> str:
        return "the values there are"


@st.composite
def _queries(draw: st.DrawFn, values: _Values) -> dict[str, Any]:
    object_ = draw(st.sampled_from([LINE, ENTRY]))
    paths = st.sampled_from(_FIELDS[object_])
    comparing = paths.filter(lambda path: not path.endswith("href"))

    def value(path: str) -> Any:
        # Mostly a value that is there, or a part of it.
        there = draw(st.sampled_from(values[object_][path]))
        part = there[: draw(st.integers(1, 4))] if isinstance(there, str) else there
        return draw(st.sampled_from([there, there, there, part, draw(st.sampled_from(_ODD))]))

    filters = []
    for _ in range(draw(st.integers(0, 3))):
        path = draw(comparing)
        operator = draw(st.sampled_from([*_ORDERED, *_TEXTS, *_LISTS]))
        count = draw(st.sampled_from([2, 2, 2, 0, 1, 3]))
        operand = [value(path) for _ in range(count)] if operator in _LISTS else value(path)
        filters.append({operator: {path: operand}})
    query: dict[str, Any] = {
        "object": object_,
        "fields": draw(st.lists(paths, min_size=1, max_size=6, unique=True)),
        "start": draw(st.sampled_from([1, 1, 1, 2, 40, 333, 3000])),
        "size": draw(st.sampled_from([1, 7, 100, 4000])),
        "filterParameters": {
            "includePrivate": draw(st.sampled_from([True, True, False])),
            "caseSensitiveComparison": draw(st.sampled_from([True, True, False])),
        },
    }
    ordering = comparing
    if draw(st.sampled_from([False, False, True])):
        aggregates = [
            f"{draw(st.sampled_from(['count', 'count', 'min', 'max', 'sum', 'avg']))}:{path}"
            for path in draw(st.lists(comparing, min_size=1, max_size=3))
        ]
        query["fields"] = [*query["fields"][:2], *aggregates]
        ordering = st.sampled_from(query["fields"])
    if filters:
        query["filters"] = filters
        numbers = st.integers(1, len(filters)).map(str)
        expression = st.recursive(
            numbers,
            lambda inner: st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
                lambda parts: f"({' '.join(parts)})"
            ),
            max_leaves=4,
        )
        query["filterExpression"] = draw(
            st.one_of(expression, st.sampled_from(["and", "or", "1 or 1 and 1"]))
        )
    orders = draw(st.lists(ordering, max_size=3, unique=True))
    query["orderBy"] = [{path: draw(st.sampled_from(["asc", "desc"]))} for path in orders]
    return query


@pytest.fixture(scope="module")
def values(both: tuple[Caller, Caller]) -> _Values:
    found = _Values()
    for caller in both:
        caller.books.behaviours.choose({"reference_reach": "reached"})
    for object_, fields in _FIELDS.items():
        # Of both, so that they go on counting requests alike.
        rows, same = (
            caller.query(TOP, object_, fields, size=40, filterParameters=PRIVATE)["ia::result"]
            for caller in both
        )
        assert rows == same
        found[object_] = {path: [row[path] for row in rows] for path in fields}
    return found


def _same(both: tuple[Caller, Caller], query: dict[str, Any], entity: str | None) -> None:
    headers = {"X-IA-API-Param-Entity": entity} if entity else {}
    on_disk, in_memory = (
        caller.call("POST", "/services/core/query", user=TOP, json=query, headers=headers)
        for caller in both
    )
    assert on_disk.status_code == in_memory.status_code
    if on_disk.status_code == 200:
        there, expected = on_disk.json(), in_memory.json()
        assert there["ia::meta"] == expected["ia::meta"]
        for row, other in zip(there["ia::result"], expected["ia::result"], strict=True):
            assert row == other


@st.composite
def _settings(draw: st.DrawFn) -> dict[str, str]:
    return {
        "null_order": draw(st.sampled_from(["last", "last", "first"])),
        "not_equal_null": draw(st.sampled_from(["false", "false", "true", "ne_only"])),
        "case_folding": draw(st.sampled_from(["case", "accents"])),
        "reference_reach": draw(st.sampled_from(["reached", "reached", "rejected"])),
        "default_order": draw(st.sampled_from(["shuffled", "shuffled", "by_key", "reshuffled"])),
        "bare_precedence": draw(st.sampled_from(["and_first", "left_to_right"])),
    }


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_query_is_answered_on_disk_as_in_memory(
    both: tuple[Caller, Caller], values: _Values, data: st.DataObject
) -> None:
    query = data.draw(_queries(values))
    chosen = data.draw(_settings())
    for caller in both:
        caller.books.behaviours.choose(chosen)
    _same(both, query, data.draw(st.sampled_from([None, None, "E110", "E130", "E1001"])))


@pytest.mark.parametrize("entity", [None, "E110"])
@pytest.mark.parametrize("more", [[], [{"$lt": {"audit.modifiedDateTime": "2026-08-01"}}]])
def test_every_page_of_a_walk_tells_what_is_left(
    both: tuple[Caller, Caller], entity: str | None, more: list[Any]
) -> None:
    """Forwards, and back: what a page counts does not depend on which was asked for before."""
    rows = _all(both[1], LINE, ["audit.modifiedDateTime"])["ia::result"]
    times = sorted({row["audit.modifiedDateTime"] for row in rows})[::9]
    for since in [*times, *times[::-5], "2026-03-01T12:00:00.5Z", "0001-01-01T00:00:00Z"]:
        query = {
            "object": LINE,
            "fields": ["key"],
            "filters": [{"$gte": {"audit.modifiedDateTime": since}}, *more],
            "orderBy": [{"audit.modifiedDateTime": "asc"}, {"key": "asc"}],
            "size": 3,
            "filterParameters": PRIVATE,
        }
        _same(both, query, entity)


# --- what is written ----------------------------------------------------------------------------


def _entry(day: str, description: str, amount: str = "120.00") -> dict[str, Any]:
    def line(side: str, account: str) -> dict[str, Any]:
        place = {"location": {"id": "E110"}, "department": {"id": "310"}}
        account_and_place = {"glAccount": {"id": account}, "dimensions": place}
        return {"txnType": side, "txnAmount": amount, **account_and_place}

    return {
        "glJournal": {"id": "GJ"},
        "postingDate": day,
        "description": description,
        "lines": [line("debit", "60310"), line("credit", "20100")],
    }


def _open_entries(caller: Caller) -> list[str]:
    """Keys of generated entries of E110 that may be changed."""
    open_ = [{"$gte": {"postingDate": "2026-08-01"}}, {"$lte": {"key": "595"}}]
    by_key = [{"key": "asc"}]
    found = caller.query("usa@demo", ENTRY, ["key"], filters=open_, orderBy=by_key)
    return [row["key"] for row in found["ia::result"]]


def _write(caller: Caller) -> list[Any]:
    """Entries created, changed and deleted; what the sandbox said to it."""

    def call(method: str, path: str, body: Any = None) -> Any:
        path = f"/objects/{ENTRY}{path}"
        response = caller.call(method, path, user="usa@demo", json=body)
        assert response.status_code < 300, response.text
        return response.json() if response.content else None

    first, second, third, *_ = _open_entries(caller)
    made = call("POST", "", [_entry("2026-10-05", f"Written {n}", f"{n}.50") for n in range(1, 9)])
    keys = [item["key"] for item in made["ia::result"]]
    line = call("GET", f"/{first}")["ia::result"]["lines"][0]["key"]
    changed = {"description": "Changed", "lines": [{"key": line, "description": "Née Payroll"}]}
    # Somebody else changes entries without their lines, and no answer says so.
    external = {"change": 3, "delete": 1, "insert": 1, "object": ENTRY, "modified_ago": 100}
    caller.control("PUT", "faults", [{"route": "query", "nth": 1, "meanwhile": external}])
    caller.query("usa@demo", ENTRY, ["key"])
    return [
        made,
        call("PATCH", f"/{first}", changed),
        call("PATCH", f"/{keys[0]}", {"description": "Changed too"}),
        call("DELETE", f"/{second}"),
        call("DELETE", f"/{keys[1]}"),
        call("PATCH", f"/{third}", {"referenceNumber": None}),
    ]


@pytest.fixture(scope="module")
def both_written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Caller, Caller]]:
    """The same, after the same was written to both."""
    books = Books(size=SIZE, state=tmp_path_factory.mktemp("written"), clock=Clock.stopped())
    on_disk, in_memory = Caller(books), Caller(_in_memory(books))
    assert _write(on_disk) == _write(in_memory)
    yield on_disk, in_memory
    on_disk.close()
    in_memory.close()


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_was_written_is_found_among_what_is_on_disk(
    both_written: tuple[Caller, Caller], values: _Values, data: st.DataObject
) -> None:
    query = data.draw(_queries(values))
    chosen = data.draw(_settings())
    for caller in both_written:
        caller.books.behaviours.choose(chosen)
    _same(both_written, query, data.draw(st.sampled_from([None, "E110", "E110", "E1001"])))


@pytest.mark.parametrize(
    "path",
    [
        f"/objects/{ENTRY}",
        f"/objects/{LINE}",
        f"/objects/{ENTRY}/1",
        f"/objects/{ENTRY}/2,3,590,596,597,599,99999",
        f"/objects/{LINE}/1,2,2400,2405",
        f"/objects/{ENTRY}/007",
        f"/objects/{ENTRY}/none",
        "/_sandbox/books",
        f"/_sandbox/records?object={ENTRY}&description=Changed&fields=referenceNumber",
        f"/_sandbox/records?object={LINE}&glAccount.id=60310&isBillable=False&fields=txnAmount",
        f"/_sandbox/records?object={ENTRY}&referenceNumber=",
    ],
)
def test_records_are_shown_on_disk_as_in_memory(
    both_written: tuple[Caller, Caller], path: str
) -> None:
    for caller in both_written:
        caller.books.behaviours.choose({"default_order": "shuffled"})
    on_disk, in_memory = (caller.call("GET", path, user=TOP).json() for caller in both_written)
    for answer in (on_disk, in_memory):
        # Each sandbox numbers its rejections itself.
        for item in answer.get("ia::result", ()) if isinstance(answer, dict) else ():
            if isinstance(item, dict) and "ia::error" in item:
                item["ia::error"].pop("supportId", None)
        if "ia::error" in answer.get("ia::result", ()):
            answer["ia::result"]["ia::error"].pop("supportId", None)
        if "records" in answer:
            answer["records"].sort(key=lambda record: int(record["key"]))
    assert on_disk == in_memory


@pytest.mark.parametrize("order", [[], [{"txnAmount": "desc"}]])
def test_an_export_has_the_same_rows(
    both: tuple[Caller, Caller], both_written: tuple[Caller, Caller], order: list[Any]
) -> None:
    query = {
        "object": LINE,
        "fields": ["key", "glAccount.name", "txnAmount", "dimensions.customer.id", "isBillable"],
        "filters": [{"$eq": {"txnType": "debit"}}],
        "orderBy": order,
    }
    body = {"fileType": "csv", "query": query}
    for pair in (both, both_written):
        for caller in pair:
            caller.books.behaviours.choose({"default_order": "shuffled", "null_order": "last"})
        on_disk, in_memory = (
            caller.call("POST", "/services/core/export", user="usa@demo", json=body).text
            for caller in pair
        )
        assert on_disk == in_memory
        assert len(on_disk.splitlines()) > 100


def test_a_master_that_only_archived_lines_refer_to_is_not_deleted(
    both: tuple[Caller, Caller],
) -> None:
    for caller in both:
        line = caller.query(
            TOP,
            LINE,
            ["dimensions.customer.key", "dimensions.customer.id"],
            filters=[{"$startsWith": {"dimensions.customer.id": "C-1001-"}}],
            filterParameters=PRIVATE,
        )["ia::result"][0]
        key = line["dimensions.customer.key"]
        response = caller.call("DELETE", f"/objects/accounts-receivable/customer/{key}", user=TOP)
        assert response.status_code == 422
        assert f"because {LINE}" in response.text


def test_a_renamed_account_shows_on_archived_lines(tmp_path: Path) -> None:
    with _large(tmp_path) as caller:
        asked = {"filters": [{"$eq": {"glAccount.name": "Rents"}}], "filterParameters": PRIVATE}
        assert caller.query(TOP, LINE, ["glAccount.name"], **asked)["ia::meta"]["totalCount"] == 0
        named = caller.query(TOP, "general-ledger/account", ["key", "id"], size=4000)["ia::result"]
        key = next(row["key"] for row in named if row["id"] == "60310")
        path = f"/objects/general-ledger/account/{key}"
        assert caller.call("PATCH", path, user=TOP, json={"name": "Rents"}).status_code == 200
        page = caller.query(TOP, LINE, ["glAccount.name"], **asked)
        assert page["ia::meta"]["totalCount"] > 0
        assert {row["glAccount.name"] for row in page["ia::result"]} == {"Rents"}


# --- state --------------------------------------------------------------------------------------


@contextmanager
def _large(state: Path, size: Size = SIZE, seed: int = 1) -> Iterator[Caller]:
    caller = Caller(Books(size=size, state=state, seed=seed, clock=Clock.stopped()))
    try:
        yield caller
    finally:
        caller.close()


def _all(caller: Caller, object_: str, fields: list[str]) -> Any:
    by_key = [{"key": "asc"}]
    return caller.query(TOP, object_, fields, size=4000, orderBy=by_key, filterParameters=PRIVATE)


def test_a_restart_finds_the_company_and_what_was_written(tmp_path: Path) -> None:
    with _large(tmp_path) as caller:
        untouched = _all(caller, ENTRY, ["key", "description"])
        _write(caller)
        before = _all(caller, ENTRY, ["key", "description", "referenceNumber"])
    file = tmp_path / "company.duckdb"
    generated_at = file.stat().st_mtime_ns
    got: list[str] = []
    books = Books(
        size=SIZE,
        state=tmp_path,
        clock=Clock.stopped(),
        progress=lambda what, done, all_: got.append(what),
    )
    again = Caller(books)
    assert _all(again, ENTRY, ["key", "description", "referenceNumber"]) == before
    assert (got, file.stat().st_mtime_ns) == ([], generated_at)
    again.control("POST", "snapshots", {"name": "written"})
    again.control("POST", "reset")
    again.forget_tokens()
    assert _all(again, ENTRY, ["key", "description"]) == untouched
    again.control("POST", "restore", {"name": "written"})
    again.forget_tokens()
    assert _all(again, ENTRY, ["key", "description", "referenceNumber"]) == before
    again.close()


@pytest.mark.usefixtures("both")  # which generate what is in the folder
def test_a_generation_that_was_broken_off_starts_again(folder: Path, tmp_path: Path) -> None:
    def die(what: str, done: int, all_: int) -> None:
        if what == "arranging":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Books(size=SIZE, state=tmp_path, clock=Clock.stopped(), progress=die)
    # One that was killed leaves what it had, too.
    (tmp_path / "building").mkdir(exist_ok=True)
    (tmp_path / "building" / "company.duckdb").write_bytes(b"half of it")
    assert not (tmp_path / "company.duckdb").exists()
    with _large(tmp_path) as caller, _large_copy(folder, tmp_path / "whole") as other:
        fields = ["key", "txnAmount", "glAccount.key", "audit.modifiedDateTime", "entity.id"]
        assert _all(caller, LINE, fields) == _all(other, LINE, fields)
    assert not (tmp_path / "building").exists()


@contextmanager
def _large_copy(folder: Path, to: Path) -> Iterator[Caller]:
    to.mkdir()
    shutil.copy(folder / "company.duckdb", to)
    with _large(to) as caller:
        yield caller


@pytest.mark.parametrize(
    ("size", "seed", "text"),
    [
        (None, 1, "has 6 entities, 1 years and 2,401 lines"),
        (Size(entities=7, years=1, lines=2_401), 1, "has 6 entities"),
        (SIZE, 2, "belong to seed 1, not 2"),
    ],
)
def test_another_company_is_rejected(
    folder: Path, both: tuple[Caller, Caller], tmp_path: Path, size: Size, seed: int, text: str
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    with pytest.raises(SandboxError, match=text):
        Books(size=size, state=tmp_path / "copy", seed=seed)


def test_a_file_of_another_company_is_rejected(
    folder: Path, both: tuple[Caller, Caller], tmp_path: Path
) -> None:
    shutil.copy(folder / "company.duckdb", tmp_path)
    with pytest.raises(SandboxError, match=r"of seed 1 with 6 entities, 1 years, 2,401 lines"):
        Books(size=Size(7, 1, 2_401), state=tmp_path)


def test_a_file_of_another_version_is_rejected(
    folder: Path, both: tuple[Caller, Caller], tmp_path: Path
) -> None:
    shutil.copy(folder / "company.duckdb", tmp_path)
    with duckdb.connect(str(tmp_path / "company.duckdb")) as connection:
        connection.execute("UPDATE identity SET identity = '{\"format\": 0}'")
    with pytest.raises(SandboxError, match=r"not of this version of the sandbox: remove"):
        Books(size=SIZE, state=tmp_path)


def test_a_file_that_cannot_be_read_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "company.duckdb").write_bytes(b"no database at all" * 1000)
    with pytest.raises(SandboxError, match=r"cannot be read .*remove .*company\.duckdb"):
        Books(size=SIZE, state=tmp_path)


def test_a_large_company_needs_a_directory_and_a_small_one_does_not_become_large(
    tmp_path: Path,
) -> None:
    with pytest.raises(SandboxError, match="say in which directory with --state"):
        Books(size=SIZE)
    Books(state=tmp_path).close()
    with pytest.raises(SandboxError, match="is the small one"):
        Books(size=SIZE, state=tmp_path)


@pytest.mark.parametrize("wrong", [{"entities": 3}, {"years": 11}, {"lines": 99}])
def test_sizes_have_limits(wrong: dict[str, int]) -> None:
    with pytest.raises(SandboxError, match="A company has from"):
        Size(**wrong)


# --- the company --------------------------------------------------------------------------------


def test_every_entry_balances_in_its_entity_and_currencies(both: tuple[Caller, Caller]) -> None:
    rows = _all(
        both[0],
        LINE,
        [
            *("key", "journalEntry.key", "entity.id", "txnType", "txnAmount", "baseAmount"),
            *("currency.txnCurrency", "currency.exchangeRate", "audit.modifiedDateTime"),
        ],
    )["ia::result"]
    assert [int(row["key"]) for row in rows] == list(range(1, SIZE.lines + 1))
    sums: dict[tuple[str, ...], list[Decimal]] = {}
    for row in rows:
        of = (row["journalEntry.key"], row["entity.id"], row["currency.txnCurrency"])
        sign = 1 if row["txnType"] == "debit" else -1
        assert Decimal(row["txnAmount"]) > 0
        so_far = sums.setdefault(of, [Decimal(0), Decimal(0)])
        so_far[0] += sign * Decimal(row["txnAmount"])
        so_far[1] += sign * Decimal(row["baseAmount"])
    assert not any(map(any, sums.values()))
    entries = _all(both[0], ENTRY, ["key", "audit.createdDateTime", "audit.modifiedDateTime"])
    assert len(sums) == len({of[0] for of in sums}) == entries["ia::meta"]["totalCount"]
    assert len({of[1] for of in sums}) == SIZE.entities
    made = [row["audit.createdDateTime"] for row in entries["ia::result"]]
    changed = [row["audit.modifiedDateTime"] for row in entries["ia::result"]]
    assert made == sorted(made)
    assert all(a <= b < "2026-10-13T18:00:00Z" for a, b in zip(made, changed, strict=True))
    assert any(a < b for a, b in zip(made, changed, strict=True))


def test_duckdb_draws_no_progress_bar_where_the_ready_line_is_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, seen = building.connect, []

    def watched(*args: Any) -> duckdb.DuckDBPyConnection:
        connection = connect(*args)
        shown = connection.sql("SELECT current_setting('enable_progress_bar')").fetchone()
        seen.append(shown)
        return connection

    monkeypatch.setattr(building, "connect", watched)
    monkeypatch.setattr(store, "connect", watched)
    Books(size=SIZE, state=tmp_path, clock=Clock.stopped()).close()
    assert seen == [(False,)] * 3


@pytest.mark.parametrize(
    ("lines", "most"), [(50_000, 110), pytest.param(150_000, 200, marks=pytest.mark.slow)]
)
def test_the_number_of_lines_does_not_show_in_memory(lines: int, most: int, tmp_path: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
from intacct_sandbox import Books, Size
books = Books(size=Size(entities=20, years=2, lines=int(sys.argv[2])), state=Path(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""

    def peak(lines: int) -> int:
        folder = tmp_path / str(lines)
        done = subprocess.run(
            [sys.executable, "-c", script, str(folder), str(lines)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=120,
        )
        return int(done.stdout)

    # As records in memory, 150,000 lines take 400 MB, and 50,000 take 133 MB.
    assert peak(lines) - peak(4_000) < most


# --- over HTTP, by the project's own client -----------------------------------------------------


def test_the_projects_own_client_walks_it_and_proves_that_it_is_whole(
    folder: Path, both: tuple[Caller, Caller], tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "state", ignore=shutil.ignore_patterns("lock"))
    grant = ClientCredentials(CLIENT_ID, CLIENT_SECRET)
    window = ChangeWindow(None, datetime(2026, 10, 14, tzinfo=UTC))
    with (
        serve(size=SIZE, state=tmp_path / "state") as sandbox,
        Intacct(COMPANY, sandbox.base_url, grant, {"E1002": "e1002"}) as intacct,
    ):
        assert len(sandbox.info["entities"]) == SIZE.entities  # type: ignore[arg-type]
        client = intacct.entity("E1002")
        fields = ["txnAmount", "glAccount.id"]
        result = client.paginate(LINE, fields, window, into=tmp_path / "pages", page_size=40)
    mine = [{"$eq": {"entity.id": "E1002"}}]
    rows = both[1].query(TOP, LINE, ["key"], filters=mine, size=4000, filterParameters=PRIVATE)
    keys = {row["key"] for file in result.files for row in json.loads(page_bytes(file))}
    assert keys == {row["key"] for row in rows["ia::result"]}
    assert result.proof.distinct_keys == result.proof.total_count == len(keys) > 200
