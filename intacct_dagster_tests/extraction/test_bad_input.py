"""What Intacct should not answer: told with object, entity, page and key; nothing changes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina

from intacct_dagster.client import AnswerNotUnderstood, IntacctError, PaginationIncomplete
from intacct_dagster.config import ObjectSettings, Reading
from intacct_dagster.locks import LockError
from intacct_dagster.state import StateError
from intacct_dagster.warehouse import WarehouseError
from intacct_dagster_tests.extraction.test_extract import INVOICE, Company, Desk, days, invoices

WHAT = ObjectSettings(name=INVOICE, history="from_start")
OF = f"{INVOICE} of entity E110"
Answer = dict[str, Any]
Alter = Callable[[Answer, int], "Answer | bytes"]


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2):
        yield


class Altered(httpx.BaseTransport):
    """A company whose answers are altered from some page of the pagination on."""

    def __init__(self, company: Company) -> None:
        self.company = company
        self.alter: Alter = lambda answer, page: answer

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.company.handle_request(request)
        if not request.url.path.endswith("/query") or answer.status_code != 200:
            return answer
        if len(json.loads(request.content)["fields"]) < 4:  # no page of the pagination
            return answer
        told = json.loads(answer.content)
        keys = [row["key"] for row in told["ia::result"]]
        # By what is on it: pages are asked for ahead of their turn.
        page = 1 if "2a" in keys else 2 if "3b" in keys else 3
        altered = self.alter(told, page)
        content = altered if isinstance(altered, bytes) else json.dumps(altered).encode()
        return httpx.Response(200, content=content)


def of_row(**values: Any) -> Alter:
    """On page 2, the row with key 3b has other values."""

    def alter(answer: Answer, page: int) -> Answer:
        for row in answer["ia::result"]:
            if row["key"] == "3b":
                row.update(values)
        return answer

    return alter


def of_meta(**values: Any) -> Alter:
    """From page 2 on, `ia::meta` says something else."""
    return lambda answer, page: (
        {**answer, "ia::meta": {**answer["ia::meta"], **values}} if page >= 2 else answer
    )


def first_page_again() -> Alter:
    """Every page is the first, in all but what it tells of the question."""
    kept: list[Any] = []

    def alter(answer: Answer, page: int) -> Answer:
        kept.append(answer["ia::result"])
        return {**answer, "ia::result": kept[0][: len(answer["ia::result"])]}

    return alter


def never_ending() -> Alter:
    """There is always more, and always the same."""
    last: list[Any] = []

    def alter(answer: Answer, page: int) -> Answer:
        last.extend(answer["ia::result"][-1:])
        size = answer["ia::meta"]["pageSize"]
        meta = {**answer["ia::meta"], "totalCount": 10_000_000, "next": 1 + size}
        return {"ia::result": last[:1] * size, "ia::meta": meta}

    return alter


BAD: dict[str, tuple[Alter, type[Exception], list[str]]] = {
    "no JSON": (
        lambda answer, page: b"<html>busy</html>" if page == 2 else answer,
        AnswerNotUnderstood,
        ["Page 2: The answer to a query of " + OF, "is not understood"],
    ),
    "a page that repeats": (
        first_page_again(),
        PaginationIncomplete,
        [OF, r"page \d+ has key 2a with change time", "out of the order or the bounds"],
    ),
    "a next that never ends": (
        never_ending(),
        PaginationIncomplete,
        [OF, r"\d+ pages brought only|rows came where Intacct counted|page \d+ has"],
    ),
    "a next behind the last page": (
        lambda answer, page: {**answer, "ia::meta": {**answer["ia::meta"], "next": 9_999}},
        PaginationIncomplete,
        [OF, r"page \d+ is the last by its count, but names a next one"],
    ),
    "a totalCount too high": (
        of_meta(totalCount=4711),
        PaginationIncomplete,
        [OF, r"page \d+ has \d+ rows where, by its own count, 4,7\d\d are left"],
    ),
    "a totalCount too low": (
        of_meta(totalCount=1),
        PaginationIncomplete,
        [OF, r"page \d+ has \d+ rows where, by its own count, 1 are left"],
    ),
    "a negative totalCount": (of_meta(totalCount=-1), PaginationIncomplete, [OF, r"page \d+ has"]),
    "a change time that is none": (
        of_row(**{"audit.modifiedDateTime": "2026-13-45T00:00:00Z"}),
        AnswerNotUnderstood,
        ["Page 2 of " + OF, "modifiedDateTime", "in the row with key 3b"],
    ),
    "a key that is null": (
        of_row(key=None),
        AnswerNotUnderstood,
        ["Page 2 of " + OF, r"\[\d\]\.key", "in the row with key None"],
    ),
    "a key that is empty": (
        of_row(key=""),
        AnswerNotUnderstood,
        ["Page 2 of " + OF, r"\[\d\]\.key"],
    ),
    "rows that are no objects": (
        lambda answer, page: {**answer, "ia::result": ["a", "b", "c"]} if page == 2 else answer,
        AnswerNotUnderstood,
        ["Page 2 of " + OF, "Expected `object`"],
    ),
    "a row of another entity": (
        of_row(**{"entity.id": "E120"}),
        IntacctError,
        ["Page 2 of " + OF, "key 3b, which belongs to entity E120; nothing of it was kept"],
    ),
}


def content(desk: Desk) -> list[Any]:
    """The raw table and the loads on record."""
    with desk.warehouse.connect(read_only=True) as connection:
        return [
            connection.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall()
            for table in ("raw.accounts_receivable_invoice", "meta.raw_loads")
        ]


ODD = {
    "a date out of range": ("due", "2026-02-30"),
    "a year out of range": ("due", "20261-01-01"),
    "a number too large": ("total", "1" + "0" * 40 + ".00"),
    "an integer too large": ("count", 2**80),
    "a text where a decimal should be": ("total", "on request"),
}


def offered() -> Company:
    """A company whose invoices have a date and a count as well."""
    company = invoices(2, 3, 4)
    fields = company.models[INVOICE]["fields"]
    fields["due"] = {"type": "string", "format": "date", "nullable": True}
    fields["count"] = {"type": "integer", "nullable": True}
    return company


@pytest.mark.parametrize("name", ODD)
def test_an_odd_value_is_null_and_in_quarantine_and_the_rest_is_there(
    tmp_path: Path, name: str
) -> None:
    field, value = ODD[name]
    company = offered()
    altered = Altered(company)
    altered.alter = of_row(**{field: value})
    desk = Desk(company, tmp_path, Reading(look_back_days=0))
    desk._intacct._transport._client = httpx.Client(transport=altered)
    assert desk.extractor.extract(WHAT, "E110", days(2, 4)).rows == 6
    with desk.warehouse.connect(read_only=True) as connection:
        odd = connection.execute("SELECT key, path, is_rounded FROM raw.quarantine").fetchall()
        nulls = connection.execute(
            f"SELECT count(*) FROM intacct.accounts_receivable_invoice WHERE {field} IS NULL"
            " AND key = '3b'"
        ).fetchall()
    assert odd == [("3b", field, False)]
    assert nulls == [(1,)]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_is_told_by_name_and_the_partitions_stay_as_they_were(
    tmp_path: Path, name: str
) -> None:
    alter, kind, told = BAD[name]
    company = offered()
    altered = Altered(company)
    desk = Desk(company, tmp_path, Reading(look_back_days=0))
    desk._intacct._transport._client = httpx.Client(transport=altered)
    desk.extractor.extract(WHAT, "E110", days(2, 4))
    before = content(desk)
    altered.alter = alter
    with pytest.raises((IntacctError, LockError, StateError, WarehouseError)) as caught:
        desk.extractor.extract(WHAT, "E110", days(2, 4))
    message = str(caught.value)
    assert isinstance(caught.value, kind), message
    for each in told:
        assert re.search(each, message), message
    assert len(message.splitlines()) == 2
    assert content(desk) == before
    assert not any((tmp_path / ".spool").glob("*/*"))
    altered.alter = lambda answer, page: answer
    assert desk.extractor.extract(WHAT, "E110", days(2, 4)).rows == 6
