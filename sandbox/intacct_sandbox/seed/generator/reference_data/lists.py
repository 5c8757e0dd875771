"""Terms, types, labels, currencies, tax details, classes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from intacct_sandbox.objects.tables import Row
from intacct_sandbox.seed.generator.masters import Masters

from .shared_records import SharedRecords

_TERMS = (("Net 30", 30), ("Net 15", 15), ("Net 45", 45), ("Due on receipt", 0), ("Net 60", 60))


_CURRENCIES = (
    ("USD", "US Dollar", "$"),
    ("CAD", "Canadian Dollar", "$"),
    ("GBP", "Pound Sterling", "£"),
    ("AUD", "Australian Dollar", "$"),
    ("EUR", "Euro", "€"),
    ("NZD", "New Zealand Dollar", "$"),
    ("JPY", "Japanese Yen", "¥"),
    ("CHF", "Swiss Franc", "CHF"),
)


_TO_USD = {"CAD": 0.7312, "GBP": 1.3064, "AUD": 0.6588, "EUR": 1.1127}


def write_lists(shared: SharedRecords, masters: Masters) -> None:
    """Write the lists that masters and documents choose from."""
    _write_terms_and_types(shared)
    _write_account_labels(shared, masters)
    _write_currencies(shared)
    _write_tax_details(shared, masters)
    _write_time_and_expense_types(shared, masters)
    _write_classes(shared)


def _write_terms_and_types(shared: SharedRecords) -> None:
    for application in ("accounts-payable", "accounts-receivable"):
        for id_, days in _TERMS:
            shared.add(
                f"{application}/term",
                {"id": id_, "description": f"Due in {days} days", "due.days": days},
            )
    shared.all(
        "accounts-payable/vendor-type",
        ({"id": one} for one in ("Supplier", "Subcontractor", "Landlord", "Utility", "Government")),
    )
    shared.all(
        "accounts-receivable/customer-type",
        ({"id": one} for one in ("Enterprise", "Public sector", "Reseller", "Non-profit")),
    )


def _write_account_labels(shared: SharedRecords, masters: Masters) -> None:
    for application, account_ids in (
        ("accounts-payable", ("60300", "60400", "60700", "60800")),
        ("accounts-receivable", ("40300", "40400", "40500", "42000")),
    ):
        names = _account_names(shared, account_ids, masters)
        shared.all(
            f"{application}/account-label",
            (
                {
                    "id": name,
                    "description": f"{name} label",
                    "status": "active",
                    "glAccount.key": masters.accounts[id_],
                }
                for id_, name in names
            ),
        )


def _write_currencies(shared: SharedRecords) -> None:
    for id_, name, symbol in _CURRENCIES:
        shared.add("company-config/txn-currency", {"id": id_, "name": name, "symbol": symbol})
    type_key = shared.add(
        "company-config/exchange-rate-type",
        {"id": "Intacct Daily Rate", "description": "Daily rate", "isDefault": True},
    )
    for currency, rate in _TO_USD.items():
        key = shared.add(
            "company-config/exchange-rate",
            {
                "id": f"{currency}-USD",
                "fromCurrency": currency,
                "toCurrency": "USD",
                "exchangeRateType.key": type_key,
            },
        )
        rates: list[Row] = []
        for month in (6, 7, 8, 9, 10):
            now = rate * (1 + shared.random.uniform(-0.02, 0.02))
            rates.append(
                {
                    "effectiveDate": date(2026, month, 1).isoformat(),
                    "rate": f"{now:.10f}",
                    "reciprocalRate": f"{1 / now:.10f}",
                }
            )
        shared.lines("company-config/exchange-rate-line", "exchangeRate", key, rates)


def _write_tax_details(shared: SharedRecords, masters: Masters) -> None:
    accounts = masters.accounts
    shared.all(
        "tax/tax-detail",
        (
            {
                "id": id_,
                "description": id_,
                "taxType": type_,
                "taxPercent": percent,
                "purchaseGLAccount.key": accounts["20400"],
                "salesGLAccount.key": accounts["20400"],
            }
            for id_, type_, percent in (
                ("UK Purchase Standard 20", "purchase", "20.0000000000"),
                ("UK Sale Standard 20", "sale", "20.0000000000"),
                ("AU Purchase GST 10", "purchase", "10.0000000000"),
                ("AU Sale GST 10", "sale", "10.0000000000"),
                ("CA GST 5", "purchase", "5.0000000000"),
                ("Exempt", "purchase", "0.0000000000"),
            )
        ),
    )


def _write_time_and_expense_types(shared: SharedRecords, masters: Masters) -> None:
    accounts = masters.accounts
    shared.all(
        "time/time-type",
        (
            {"id": id_, "description": f"{id_} hours"}
            for id_ in ("Regular", "Overtime", "Leave", "Training")
        ),
    )
    shared.all(
        "expenses/employee-expense-type",
        (
            {"id": id_, "description": id_, "glAccount.key": accounts[account]}
            for id_, account in (
                ("Airfare", "60500"),
                ("Hotel", "60510"),
                ("Meals", "60520"),
                ("Mileage", "60500"),
                ("Telephone", "60320"),
                ("Office", "60340"),
            )
        ),
    )
    shared.all(
        "expenses/employee-expense-payment-type",
        (
            {"id": id_, "description": id_, "isNonReimbursable": not paid_back}
            for id_, paid_back in (("Cash", True), ("Personal card", True), ("Company card", False))
        ),
    )


def _write_classes(shared: SharedRecords) -> None:
    shared.all(
        "company-config/class",
        (
            {"id": id_, "name": name}
            for id_, name in (
                ("100", "Core"),
                ("200", "Growth"),
                ("300", "Public sector"),
                ("400", "Partners"),
            )
        ),
    )


def _account_names(
    shared: SharedRecords, ids: Iterable[str], masters: Masters
) -> list[tuple[str, str]]:
    """Return accounts by id, with their names."""
    rows = shared.writer.tables["general-ledger/account"].rows
    return [(id_, str(rows[masters.accounts[id_]]["name"])) for id_ in ids]
