"""Reporting periods, account groups, budgets, allocations."""

from __future__ import annotations

from datetime import date, timedelta

from intacct_sandbox.seed.generator.masters import Masters
from intacct_sandbox.seed.generator.writer import (
    FIRST_PERIOD_YEAR,
    LAST_PERIOD_YEAR,
    money,
    period_key,
)

from .shared_records import SharedRecords


def write_periods_and_budgets(shared: SharedRecords, masters: Masters) -> None:
    """Write reporting periods, groups of accounts, budgets and allocations."""
    _write_periods(shared)
    _write_account_groups(shared)
    _write_budgets(shared, masters)
    _write_allocations(shared, masters)


def _write_periods(shared: SharedRecords) -> None:
    for year in range(FIRST_PERIOD_YEAR, LAST_PERIOD_YEAR + 1):
        for month in range(1, 13):
            first = date(year, month, 1)
            last = date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)
            shared.add(
                "general-ledger/reporting-period",
                {
                    "id": f"{first:%B %Y}",
                    "columnHeader1": f"{first:%B}",
                    "columnHeader2": f"{year}",
                    "startDate": first.isoformat(),
                    "endDate": last.isoformat(),
                },
                key=period_key(first),
            )


def _write_account_groups(shared: SharedRecords) -> None:
    accounts = shared.writer.tables["general-ledger/account"].rows.values()
    by_category: dict[str, str] = {
        str(one["category"]): str(one["normalBalance"]) for one in accounts
    }
    shared.all(
        "general-ledger/account-group",
        (
            {"id": name, "title": name, "totalTitle": f"Total {name}", "normalBalance": balance}
            for name, balance in list(by_category.items())[:16]
        ),
    )
    shared.all(
        "general-ledger/statistical-account",
        (
            {"id": id_, "name": name, "reportType": type_}
            for id_, name, type_ in (
                ("S100", "Headcount", "cumulative"),
                ("S200", "Square metres", "cumulative"),
                ("S300", "Billable hours", "forPeriod"),
                ("S400", "Licences in use", "cumulative"),
            )
        ),
    )


def _write_budgets(shared: SharedRecords, masters: Masters) -> None:
    for id_, name in (("FY2026", "Budget 2026"), ("FY2027", "Budget 2027, first draft")):
        year = int(id_[2:])
        key = shared.add(
            "general-ledger/budget",
            {"id": id_, "description": name, "isDefault": year == 2026, "currency": "USD"},
        )
        shared.lines(
            "general-ledger/budget-detail",
            "budget",
            key,
            (
                {
                    "amount": money(shared.random.randrange(100_000, 9_000_000)),
                    "glAccount.key": masters.accounts[account],
                    "reportingPeriod.key": period_key(date(year, month, 1)),
                    "dimensions.department.key": masters.departments[department],
                    "dimensions.location.key": "1",
                }
                for account, department in (
                    ("40300", "310"),
                    ("60100", "310"),
                    ("60300", "600"),
                    ("60400", "400"),
                )
                for month in range(1, 13)
            ),
        )


def _write_allocations(shared: SharedRecords, masters: Masters) -> None:
    for id_, shares in (("By headcount", (40, 35, 25)), ("Half and half", (50, 50))):
        key = shared.add("general-ledger/txn-allocation-template", {"id": id_, "description": id_})
        shared.lines(
            "general-ledger/txn-allocation-template-line",
            "txnAllocationTemplate",
            key,
            (
                {"percentage": share, "dimensions.department.key": masters.departments[department]}
                for share, department in zip(shares, ("310", "400", "600"), strict=False)
            ),
        )
