"""A billing system's files for the sandbox's company: what a day sold, some of it wrong.

Most invoices are not in Intacct yet. Some are, equal or with another amount; some come twice, some
Intacct will reject, some lines cannot be read. Which is which is known by construction and returned
as `SalesFeedFacts`, so that a pipeline can be measured against it.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Literal

from intacct_sandbox.company import ENTITIES, LegalEntity
from intacct_sandbox.control.clock import DAYS, LAST_DAY
from intacct_sandbox.errors import SandboxError
from intacct_sandbox.objects.tables import Row, Tables
from intacct_sandbox.seed.generator.chart_of_accounts import REVENUE_WITH_DEPARTMENT
from intacct_sandbox.seed.generator.names import SERVICES
from intacct_sandbox.seed.generator.receivables import (
    BILLING_NUMBERS_A_DAY,
    billing_number,
    invoice_lines,
    quiet,
)
from intacct_sandbox.seed.generator.writer import money

from .generator import generate

COLUMNS = (
    "invoice_ref",
    "line_no",
    "entity_id",
    "customer_id",
    "invoice_date",
    "due_date",
    "amount",
    "account",
    "department_id",
    "description",
    "line_amount",
)
"""One row is one line of an invoice; `amount` is the invoice's total, the same on each line."""

Kind = Literal[
    "matched",
    "different",
    "good",
    "unknown customer",
    "missing dimension",
    "closed period",
    "wrong total",
    "reused number",
    "broken line",
    "unreadable",
]

REJECTIONS: tuple[Kind, ...] = ("unknown customer", "missing dimension", "closed period")
"""Kinds of documents that are right in themselves and that Intacct rejects."""

_INVALID: tuple[Kind, ...] = ("wrong total", "reused number", "broken line")

_DOCUMENTS_A_WEEKDAY = {"E110": 112, "E120": 60, "E130": 39, "E140": 47}

# Where a fortnight's odd documents lie, by days before its last day.
_WRONG_TOTALS = {1: "E110", 5: "E120"}
_REUSED_NUMBERS = {2: "E140"}
_BROKEN_LINES = {2: ("E110", "bad amount"), 7: ("E120", "bad date")}
_UNREADABLE = {
    0: "bad amount",
    1: "unknown entity",
    3: "bad date",
    6: "too few columns",
    8: "bad date",
    9: "unknown entity",
    11: "bad amount",
}
_FORTNIGHT = 14


@dataclass(frozen=True)
class EntityFacts:
    """What one entity's documents should come to; every document is counted once.

    A document is one occurrence of an invoice with at least one readable line.
    """

    documents: int
    matched: int
    """In Intacct already, with the same total."""
    different: int
    """In Intacct already, with another total."""
    duplicate: int
    """The same document once more, in the same file or a later one."""
    invalid: int
    """Contradicts itself: wrong total, a number used twice, a line that cannot be read."""
    missing_good: int
    """To be posted, and Intacct will take it."""
    rejected: Mapping[str, int]
    """To be posted, and Intacct will not: by reason (`REJECTIONS`)."""
    good_amount: Decimal
    """Sum of the totals of `missing_good`, in the entity's currency."""


@dataclass(frozen=True)
class SalesFeedFacts:
    """What is in the files of a feed."""

    files: tuple[Path, ...]
    lines: int
    """Rows in all files, headers not counted."""
    malformed_lines: Mapping[str, int]
    """Rows that cannot be read, by what is wrong with them."""
    entities: Mapping[str, EntityFacts]
    outside_window: int
    """Documents dated before the first file's day; not counted in `entities`."""


@dataclass(frozen=True)
class _Line:
    account: str
    department: str | None
    description: str
    cents: int
    wrong: str | None = None


@dataclass(frozen=True)
class _Document:
    kind: Kind
    reference: str
    entity: str
    customer: str
    day: date
    lines: tuple[_Line, ...]
    total: int
    again: bool = False

    def rows(self) -> Iterator[list[str]]:
        for number, line in enumerate(self.lines, start=1):
            row = [
                self.reference,
                str(number),
                self.entity,
                self.customer,
                self.day.isoformat(),
                (self.day + timedelta(days=30)).isoformat(),
                money(self.total),
                line.account,
                line.department or "",
                line.description,
                money(line.cents),
            ]
            match line.wrong:
                case "bad amount":
                    row[-1] = "n/a"
                case "bad date":
                    row[4] = f"{self.day.year}-{self.day.month:02d}-32"
                case "unknown entity":
                    row[2] = "E150"
                case "too few columns":
                    row = row[:6]
            yield row


def write_sales_feed(directory: Path, *, seed: int, days: int) -> SalesFeedFacts:
    """Write `sales_<day>.csv` for each of the last `days` days (1 to 60) and tell what is in them.

    The files of a shorter feed are the last files of a longer one, byte for byte. Raises
    `SandboxError` when `days` is out of range or the directory cannot be written to.
    """
    if not 1 <= days <= DAYS:
        raise SandboxError(f"The sales feed covers 1 to {DAYS} days, not {days}.")
    known = _BillingSystem(generate(seed))
    first = LAST_DAY - timedelta(days=days - 1)
    files, rows, documents = [], 0, []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for number in range(days):
            day = first + timedelta(days=number)
            content = _file(known, seed, day)
            path = directory / f"sales_{day.isoformat()}.csv"
            rows += _write(path, content)
            files.append(path)
            documents += content
    except OSError as error:
        raise SandboxError(
            f"The sales feed cannot be written to {directory} ({error.strerror}): "
            "choose another directory."
        ) from error
    inside = [one for one in documents if one.day >= first]
    return SalesFeedFacts(
        files=tuple(files),
        lines=rows,
        malformed_lines=dict(
            Counter(line.wrong for one in documents for line in one.lines if line.wrong)
        ),
        entities={entity: _facts(inside, entity) for entity in ENTITIES},
        outside_window=len(documents) - len(inside),
    )


def _write(path: Path, documents: Sequence[_Document]) -> int:
    rows = [row for document in documents for row in document.rows()]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return len(rows)


def _facts(documents: Sequence[_Document], entity: str) -> EntityFacts:
    ours = [one for one in documents if one.entity == entity and one.kind != "unreadable"]
    kinds = Counter(one.kind for one in ours if not one.again)
    good = sum(one.total for one in ours if one.kind == "good" and not one.again)
    return EntityFacts(
        documents=len(ours),
        matched=kinds["matched"],
        different=kinds["different"],
        duplicate=sum(one.again for one in ours),
        invalid=sum(kinds[kind] for kind in _INVALID),
        missing_good=kinds["good"],
        rejected={kind: kinds[kind] for kind in REJECTIONS},
        good_amount=Decimal(good) / 100,
    )


class _BillingSystem:
    """What of the generated company the billing system knows."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._customers: dict[str, list[str]] = {entity: [] for entity in ENTITIES}
        for row in tables["accounts-receivable/customer"].rows.values():
            if row["status"] == "active":
                for entity in ENTITIES.values():
                    if row.get("entity.key") in (None, entity.key):
                        self._customers[entity.id].append(str(row["id"]))
        self._billed: dict[tuple[str, str], list[Row]] = {}
        for row in tables["accounts-receivable/invoice"].rows.values():
            if "referenceNumber" in row:
                slot = (str(row["entity.key"]), str(row["invoiceDate"]))
                self._billed.setdefault(slot, []).append(row)

    def customer(self, random: Random, entity: str) -> str:
        return random.choice(self._customers[entity])

    def used_numbers(self, day: date) -> set[str]:
        return {
            str(row["referenceNumber"])
            for entity in ENTITIES.values()
            for row in self._billed.get((entity.key, day.isoformat()), ())
        }

    def in_intacct(self, entity: LegalEntity, day: date) -> Iterator[_Document]:
        """Yield the documents of that day that came over in the past."""
        ids = {
            object_: {key: str(row["id"]) for key, row in self._tables[object_].rows.items()}
            for object_ in (
                "accounts-receivable/customer",
                "general-ledger/account",
                "company-config/department",
            )
        }
        for row in self._billed.get((entity.key, day.isoformat()), ()):
            lines = tuple(
                _Line(
                    ids["general-ledger/account"][str(line["glAccount.key"])],
                    ids["company-config/department"].get(
                        str(line.get("dimensions.department.key"))
                    ),
                    str(line["memo"]),
                    int(str(line["txnAmount"]).replace(".", "")),
                )
                for line in self._tables["accounts-receivable/invoice-line"].lines_of(
                    str(row["key"])
                )
            )
            yield _Document(
                "matched",
                str(row["referenceNumber"]),
                entity.id,
                ids["accounts-receivable/customer"][str(row["customer.key"])],
                day,
                lines,
                sum(line.cents for line in lines),
            )


def _file(known: _BillingSystem, seed: int, day: date) -> list[_Document]:
    """Return the documents in one day's file, in order."""
    documents = _day(known, seed, day)
    random = Random(f"{seed}:feed file:{day}")  # noqa: S311 - data, not secrets
    random.shuffle(documents)
    good = [one for one in documents if one.kind == "good"]
    again = random.sample(good, k=max(1, len(good) * 15 // 1000))
    # Every third day repeats something of the day before; the pattern lies so that neither a feed
    # of 14 days nor one of 3 begins with a repetition from before its time.
    if (LAST_DAY - day).days % 3 == 0:
        day_before = day - timedelta(days=1)
        earlier = [one for one in _day(known, seed, day_before) if one.kind == "good"]
        again += random.sample(earlier, k=max(1, len(earlier) * 15 // 1000))
    return documents + [replace(one, again=True) for one in again]


def _day(known: _BillingSystem, seed: int, day: date) -> list[_Document]:
    """Return the documents of one day, each once, entity by entity."""
    random = Random(f"{seed}:feed:{day}")  # noqa: S311 - data, not secrets
    used = known.used_numbers(day)
    numbers = [
        number
        for place in range(BILLING_NUMBERS_A_DAY)
        if (number := billing_number(day, place)) not in used
    ]
    random.shuffle(numbers)
    ago = (LAST_DAY - day).days % _FORTNIGHT
    documents: list[_Document] = []
    for entity in ENTITIES.values():
        documents += [
            _differing(one) if random.random() < 1 / 6 else one
            for one in known.in_intacct(entity, day)
        ]
        wanted = quiet(day, _DOCUMENTS_A_WEEKDAY[entity.id])
        missing = wanted - sum(one.entity == entity.id for one in documents)
        documents += [
            _new_document(known, random, entity, day, numbers.pop()) for _ in range(max(missing, 0))
        ]
    return documents + list(_odd_documents(known, random, day, ago, numbers))


def _differing(document: _Document) -> _Document:
    first, *rest = document.lines
    lines = (replace(first, cents=first.cents + 10_000), *rest)
    return replace(document, kind="different", lines=lines, total=sum(line.cents for line in lines))


def _plain(
    known: _BillingSystem, random: Random, entity: LegalEntity, day: date, number: str
) -> _Document:
    lines = [_Line(*line) for line in invoice_lines(random)]
    total = sum(line.cents for line in lines)
    if random.random() < 0.03:
        discount = -(total // 20)
        lines.append(_Line("40900", None, "Discount", discount))
        total += discount
    customer = known.customer(random, entity.id)
    return _Document("good", number, entity.id, customer, day, tuple(lines), total)


def _new_document(
    known: _BillingSystem, random: Random, entity: LegalEntity, day: date, number: str
) -> _Document:
    """Return a document that is not in Intacct yet."""
    document = _plain(known, random, entity, day, number)
    if day < entity.open_from:
        return replace(document, kind="closed period")
    chance = random.random()
    if chance < 0.01:
        return replace(
            document, kind="unknown customer", customer=f"C-{random.randrange(99000, 99999)}"
        )
    if chance < 0.025:
        nowhere = _Line(
            random.choice(REVENUE_WITH_DEPARTMENT),
            None,
            random.choice(SERVICES),
            random.randrange(5_000, 90_000),
        )
        return replace(
            document,
            kind="missing dimension",
            lines=(*document.lines, nowhere),
            total=document.total + nowhere.cents,
        )
    return document


def _odd_documents(
    known: _BillingSystem, random: Random, day: date, ago: int, numbers: list[str]
) -> Iterator[_Document]:
    def plain(entity: str, number: str | None = None) -> _Document:
        return _plain(known, random, ENTITIES[entity], day, number or numbers.pop())

    if ago in _WRONG_TOTALS:
        document = plain(_WRONG_TOTALS[ago])
        yield replace(document, kind="wrong total", total=document.total + 1_000)
    if ago in _REUSED_NUMBERS:
        document = plain(_REUSED_NUMBERS[ago])
        yield replace(document, kind="reused number")
        other = plain(document.entity, document.reference)
        # Another document for certain: not a cent of its first line is the same.
        first = replace(other.lines[0], cents=document.lines[0].cents + 777)
        lines = (first, *other.lines[1:])
        total = sum(line.cents for line in lines)
        yield replace(other, kind="reused number", lines=lines, total=total)
    if ago in _BROKEN_LINES:
        entity, wrong = _BROKEN_LINES[ago]
        document = plain(entity)
        broken = _Line("40300", None, "Monthly subscription", 12_300, wrong)
        yield replace(
            document,
            kind="broken line",
            lines=(*document.lines, broken),
            total=document.total + broken.cents,
        )
    if ago in _UNREADABLE:
        line = _Line("40400", None, "Support retainer", 45_600, _UNREADABLE[ago])
        yield replace(plain("E110"), kind="unreadable", lines=(line,), total=line.cents)
