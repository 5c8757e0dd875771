"""What Intacct fills in by itself on a new or changed document: totals, currencies, numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import TypeAlias

from .tables import Row

Completion: TypeAlias = "Callable[[Row, Sequence[Row], str | None], None]"
"""Fills in a document and its lines; the text is the base currency, None at the top level."""


def _total(lines: Sequence[Row], path: str) -> str:
    return f"{sum((Decimal(str(line[path])) for line in lines), Decimal(0)):.2f}"


def _number_lines(lines: Sequence[Row]) -> None:
    for number, line in enumerate(lines, start=1):
        line["lineNumber"] = number


def _currencies(document: Row, base: str | None) -> tuple[str | None, Decimal]:
    """Fills in the document's currencies; gives the transaction currency and its rate."""
    document["currency.baseCurrency"] = base
    currency = document.get("currency.txnCurrency") or base
    document["currency.txnCurrency"] = currency
    rate = document.get("currency.exchangeRate.rate")
    if currency == base or not isinstance(rate, int | float):
        rate = 1
    document["currency.exchangeRate.rate"] = rate
    return (currency if isinstance(currency, str) else None), Decimal(str(rate))


def _payable_or_receivable(dated_by: str) -> Completion:
    def complete(document: Row, lines: Sequence[Row], base: str | None) -> None:
        currency, rate = _currencies(document, base)
        _number_lines(lines)
        for line in lines:
            amount = Decimal(str(line["txnAmount"]))
            line["baseAmount"] = f"{(amount * rate).quantize(Decimal('0.01')):.2f}"
            line["currency.baseCurrency"] = base
            line["currency.txnCurrency"] = currency
        for what, path in (("Txn", "txnAmount"), ("Base", "baseAmount")):
            total = _total(lines, path)
            paid = Decimal(str(document.get(f"paymentInformation.total{what}AmountPaid") or 0))
            document[f"total{what}Amount"] = total
            document[f"total{what}AmountDue"] = f"{Decimal(total) - paid:.2f}"
            document[f"paymentInformation.total{what}AmountPaid"] = f"{paid:.2f}"
        document.setdefault("discountCutOffDate", document[dated_by])
        document.setdefault("currency.exchangeRate.date", document[dated_by])

    return complete


def _invoice(document: Row, lines: Sequence[Row], base: str | None) -> None:
    _payable_or_receivable("invoiceDate")(document, lines, base)
    # The old way to ask for a draft; it is never shown again.
    if document.pop("action", None) == "draft":
        document["state"] = "draft"
    document.pop("createAPBill", None)
    for line in lines:
        line.setdefault("dimensions.customer.key", document["customer.key"])


def _bill(document: Row, lines: Sequence[Row], base: str | None) -> None:
    if document.get("postingDate") is None:
        document["postingDate"] = document["createdDate"]
    _payable_or_receivable("createdDate")(document, lines, base)
    for line in lines:
        line.setdefault("dimensions.vendor.key", document["vendor.key"])


def _journal_entry(document: Row, lines: Sequence[Row], base: str | None) -> None:
    document["txnNumber"] = int(str(document["key"]))
    _number_lines(lines)
    for line in lines:
        line["baseAmount"] = line["txnAmount"]
        line["entryDate"] = document["postingDate"]
        line["accountingPeriod.id"] = f"{date.fromisoformat(str(document['postingDate'])):%B %Y}"
        line["currency.baseCurrency"] = base
        if line.get("currency.txnCurrency") is None:
            line["currency.txnCurrency"] = base


def _timesheet(document: Row, lines: Sequence[Row], base: str | None) -> None:
    begin = date.fromisoformat(str(document["beginDate"]))
    document["endDate"] = (begin + timedelta(days=6)).isoformat()
    _number_lines(lines)
    for line in lines:
        line["state"] = document["state"]
        line.setdefault("dimensions.employee.key", document.get("employee.key"))


COMPLETIONS: Mapping[str, Completion] = {
    "accounts-receivable/invoice": _invoice,
    "accounts-payable/bill": _bill,
    "general-ledger/journal-entry": _journal_entry,
    "time/timesheet": _timesheet,
}
"""By object; an object that is not here is stored as it was sent."""
