from __future__ import annotations

import csv
from collections import Counter, defaultdict
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pytest

from intacct_dagster_tests.sandbox.caller import INVOICE, Caller
from intacct_sandbox import SalesFeedFacts, SandboxError, write_sales_feed
from intacct_sandbox.seed.sales_feed import COLUMNS, REJECTIONS

_ENTITIES = {"E110": "usa", "E120": "can", "E130": "gbr", "E140": "aus"}

_Row = dict[str, str]
_Document = list[_Row]


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> SalesFeedFacts:
    return write_sales_feed(tmp_path_factory.mktemp("feed"), seed=1, days=14)


def _readable(row: _Row) -> bool:
    try:
        date.fromisoformat(row["invoice_date"])
        Decimal(row["line_amount"])
    except (ValueError, InvalidOperation, TypeError):
        return False
    return row["entity_id"] in _ENTITIES


def _read(facts: SalesFeedFacts) -> tuple[list[_Document], set[str], int]:
    """Documents of readable lines, the references of unreadable lines, and how many of those."""
    documents: list[_Document] = []
    broken: list[str] = []
    for path in facts.files:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if not _readable(row):
                    broken.append(row["invoice_ref"])
                elif row["line_no"] == "1" or not documents:
                    documents.append([row])
                else:
                    documents[-1].append(row)
    return documents, set(broken), len(broken)


def _body(document: _Document) -> dict[str, Any]:
    first = document[0]
    return {
        "referenceNumber": first["invoice_ref"],
        "customer": {"id": first["customer_id"]},
        "invoiceDate": first["invoice_date"],
        "dueDate": first["due_date"],
        "lines": [
            {
                "txnAmount": row["line_amount"],
                "glAccount": {"id": row["account"]},
                "memo": row["description"],
                "dimensions": {
                    "location": {"id": row["entity_id"]},
                    **(
                        {"department": {"id": row["department_id"]}} if row["department_id"] else {}
                    ),
                },
            }
            for row in document
        ],
    }


def test_the_facts_are_what_a_naive_reconciliation_and_posting_finds(
    facts: SalesFeedFacts, shared_caller: Caller
) -> None:
    documents, broken, malformed = _read(facts)
    assert malformed == sum(facts.malformed_lines.values())
    occurrences: dict[str, list[_Document]] = defaultdict(list)
    for document in documents:
        occurrences[document[0]["invoice_ref"]].append(document)
    for entity, user in _ENTITIES.items():
        found: Counter[str] = Counter()
        post: list[_Document] = []
        there = {
            row["referenceNumber"]: Decimal(row["totalTxnAmount"])
            for row in shared_caller.query(
                f"{user}@demo", INVOICE, ["referenceNumber", "totalTxnAmount"], size=4000
            )["ia::result"]
        }
        for reference, copies in occurrences.items():
            first = copies[0]
            if first[0]["entity_id"] != entity:
                continue
            total = sum(Decimal(row["line_amount"]) for row in first)
            contradictory = (
                reference in broken
                or total != Decimal(first[0]["amount"])
                or any(copy != first for copy in copies)
            )
            if contradictory:
                found["invalid"] += len(copies)
                continue
            found["duplicate"] += len(copies) - 1
            if reference not in there:
                post.append(first)
            else:
                found["matched" if there[reference] == total else "different"] += 1
        good = Decimal(0)
        for begin in range(0, len(post), 500):
            chunk = post[begin : begin + 500]
            answer = shared_caller.call(
                "POST",
                f"/objects/{INVOICE}",
                user=f"{user}@demo",
                json=[_body(document) for document in chunk],
            ).json()
            for document, item in zip(chunk, answer["ia::result"], strict=True):
                if "ia::error" not in item:
                    found["missing_good"] += 1
                    good += Decimal(document[0]["amount"])
                else:
                    found[_reason(item["ia::error"])] += 1
        got = facts.entities[entity]
        assert found == Counter(
            {
                "matched": got.matched,
                "different": got.different,
                "duplicate": got.duplicate,
                "invalid": got.invalid,
                "missing_good": got.missing_good,
                **got.rejected,
            }
        )
        assert sum(found.values()) == got.documents
        assert good == got.good_amount


def _reason(error: dict[str, Any]) -> str:
    text = " ".join(one["message"] for one in error["details"])
    for reason, part in (
        ("unknown customer", "The customer"),
        ("missing dimension", "is missing the Department dimension"),
        ("closed period", "period is closed"),
    ):
        if part in text:
            return reason
    return text


def test_a_fortnight_holds_about_three_thousand_documents_of_every_kind(
    facts: SalesFeedFacts,
) -> None:
    entities = list(facts.entities.values())
    total = sum(one.documents for one in entities)
    assert 2800 < total < 3200
    assert facts.outside_window == 0
    assert len(facts.files) == 14
    for kind, low, high in (
        ("missing_good", 0.75, 0.90),
        ("matched", 0.07, 0.12),
        ("different", 0.01, 0.03),
        ("duplicate", 0.01, 0.03),
    ):
        assert low < sum(getattr(one, kind) for one in entities) / total < high
    assert sum(one.invalid for one in entities) == 6
    rejected: Counter[str] = Counter()
    for one in entities:
        rejected.update(one.rejected)
    assert set(rejected) == set(REJECTIONS)
    assert min(rejected.values()) >= 20
    assert 0.02 < rejected.total() / total < 0.05
    assert set(facts.malformed_lines) == {
        *("bad amount", "bad date", "unknown entity", "too few columns"),
    }


def test_the_same_seed_writes_the_same_bytes_and_a_shorter_feed_its_last_files(
    facts: SalesFeedFacts, tmp_path: Path
) -> None:
    short = write_sales_feed(tmp_path / "short", seed=1, days=3)
    assert [path.name for path in short.files] == [path.name for path in facts.files[-3:]]
    for path, same in zip(short.files, facts.files[-3:], strict=True):
        assert path.read_bytes() == same.read_bytes()
    assert short.outside_window == 0
    other = write_sales_feed(tmp_path / "other", seed=2, days=3)
    assert other.files[0].read_bytes() != short.files[0].read_bytes()


def test_the_files_have_the_promised_columns(facts: SalesFeedFacts) -> None:
    assert facts.files[-1].name == "sales_2026-10-13.csv"
    for path in facts.files:
        with path.open(encoding="utf-8", newline="") as file:
            assert tuple(next(csv.reader(file))) == COLUMNS


@pytest.mark.parametrize("days", [0, 61])
def test_a_feed_of_no_days_or_more_than_the_company_has_is_rejected(
    days: int, tmp_path: Path
) -> None:
    with pytest.raises(SandboxError, match=f"1 to 60 days, not {days}"):
        write_sales_feed(tmp_path, seed=1, days=days)


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SandboxError, match="choose another directory"):
        write_sales_feed(tmp_path / "file", seed=1, days=1)
