from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal

import pytest

from intacct_sandbox.company import ENTITIES
from intacct_sandbox.control.clock import FIRST_DAY, LAST_DAY, OPENING, wire_time
from intacct_sandbox.domain.rules import Draft, broken_rules
from intacct_sandbox.objects.catalogue import FieldGroup, LineList, load_catalogue
from intacct_sandbox.objects.tables import Tables
from intacct_sandbox.seed.generator import _generated, generate

_DOCUMENTS = (
    "accounts-receivable/invoice",
    "accounts-payable/bill",
    "general-ledger/journal-entry",
    "time/timesheet",
)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return generate(1)


def test_the_same_seed_generates_the_same_books_and_another_seed_others(tables: Tables) -> None:
    other = generate(2)
    again = _generated.__wrapped__(1)
    assert {name: table.rows for name, table in again.items()} == {
        name: table.rows for name, table in tables.items()
    }
    invoices = "accounts-receivable/invoice"
    assert other[invoices].rows != tables[invoices].rows


def test_the_company_has_about_fifty_thousand_records(tables: Tables) -> None:
    assert 45_000 < sum(len(table.rows) for table in tables.values()) < 55_000


def test_every_journal_entry_balances(tables: Tables) -> None:
    balance: dict[object, Decimal] = defaultdict(Decimal)
    for line in tables["general-ledger/journal-entry-line"].rows.values():
        amount = Decimal(str(line["txnAmount"]))
        assert amount > 0
        balance[line["journalEntry.key"]] += amount if line["txnType"] == "debit" else -amount
    assert len(balance) == len(tables["general-ledger/journal-entry"].rows)
    assert not any(balance.values())


@pytest.mark.parametrize("object_", _DOCUMENTS[:2])
def test_totals_are_the_sums_of_the_lines(tables: Tables, object_: str) -> None:
    type_ = load_catalogue()[object_]
    assert type_.lines is not None
    for key, row in tables[object_].rows.items():
        lines = tables[type_.lines.object].lines_of(key)
        assert lines
        total = sum(Decimal(str(line["txnAmount"])) for line in lines)
        assert Decimal(str(row["totalTxnAmount"])) == total


def test_documents_lie_within_the_sixty_days_and_changed_before_the_clock_starts(
    tables: Tables,
) -> None:
    first, last, opening = FIRST_DAY.isoformat(), LAST_DAY.isoformat(), wire_time(OPENING)
    for object_ in _DOCUMENTS[:3]:
        type_ = load_catalogue()[object_]
        for row in tables[object_].rows.values():
            day = str(row[type_.dated_by[0]])
            made, changed = row["audit.createdDateTime"], row["audit.modifiedDateTime"]
            assert first <= day <= last
            assert day == str(made)[:10]
            assert str(made) <= str(changed) < opening


def test_each_entity_has_documents_on_each_day_and_only_with_what_it_can_see(
    tables: Tables,
) -> None:
    days: dict[str, set[object]] = defaultdict(set)
    for row in tables["accounts-receivable/invoice"].rows.values():
        entity = str(row["entity.key"])
        days[entity].add(row["invoiceDate"])
        assert tables.is_visible("accounts-receivable/customer", str(row["customer.key"]), entity)
    assert {len(one) for one in days.values()} == {60}
    assert len(days) == len(ENTITIES)


def test_references_lead_to_records(tables: Tables) -> None:
    catalogue = load_catalogue()
    for name, table in tables.items():
        for ref in catalogue[name].refs.values():
            if ref.object in catalogue:
                for row in table.rows.values():
                    key = row.get(f"{ref.path}.key")
                    assert key is None or key in tables[ref.object].rows, (name, ref.path)


def _lists(group: FieldGroup) -> Iterator[LineList]:
    yield from group.lists.values()
    for below in group.groups.values():
        yield from _lists(below)


def test_values_fit_the_catalogue(tables: Tables) -> None:
    catalogue = load_catalogue()
    for name, table in tables.items():
        type_ = catalogue[name]
        stored = set(type_.fields) | {f"{path}.{m}" for path in type_.refs for m in ("key", "id")}
        stored |= {one.path for one in _lists(type_.root) if one.kept}
        for row in table.rows.values():
            assert row.keys() <= stored, (name, row.keys() - stored)
            for path, value in row.items():
                field = type_.fields.get(path)
                if field is not None and field.enum is not None:
                    assert value in field.enum, (name, path, value)


def test_documents_in_open_periods_break_no_rule(tables: Tables) -> None:
    catalogue = load_catalogue()
    by_key = {entity.key: entity for entity in ENTITIES.values()}
    checked = 0
    for object_ in _DOCUMENTS[:3]:
        type_ = catalogue[object_]
        assert type_.lines is not None
        for key, row in list(tables[object_].rows.items())[::7]:
            entity = by_key[str(row["entity.key"])]
            if str(row[type_.dated_by[0]]) >= entity.open_from.isoformat():
                lines = tables[type_.lines.object].lines_of(key)
                assert broken_rules(Draft(type_, row, lines, entity), tables) == []
                checked += 1
    assert checked > 1000


def test_about_a_fifth_of_the_invoices_came_from_billing_under_numbers_of_their_own(
    tables: Tables,
) -> None:
    invoices = tables["accounts-receivable/invoice"].rows
    references = (row.get("referenceNumber") for row in invoices.values())
    numbers = Counter(one for one in references if one is not None)
    assert 0.18 < len(numbers) / len(invoices) < 0.28
    assert set(numbers.values()) == {1}
