"""What Intacct fills in by itself on a new or changed document: totals, currencies, numbers."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import TypeAlias

from intacct_sandbox.objects.tables import Row, Tables

Completion: TypeAlias = "Callable[[Row, Sequence[Row], str | None, Tables], None]"
"""Fills in a document and its lines; the text is the base currency, None at the top level."""


def _total(lines: Sequence[Row], path: str) -> str:
    return f"{sum((Decimal(str(line[path])) for line in lines), Decimal(0)):.2f}"


def number_lines(lines: Sequence[Row]) -> None:
    """Line numbers, from 1."""
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


def _in_base(amount: Decimal, rate: Decimal) -> str:
    return f"{(amount * rate).quantize(Decimal('0.01')):.2f}"


def _amount(document: Row, path: str) -> Decimal:
    return Decimal(str(document.get(path) or 0))


def _add_up(document: Row, lines: Sequence[Row], base: str | None, dated_by: str) -> None:
    """Fill in currencies, amounts in the base currency, and the document's totals."""
    currency, rate = _currencies(document, base)
    number_lines(lines)
    in_txn, in_base = Decimal(0), Decimal(0)
    for line in lines:
        amount = Decimal(str(line["txnAmount"]))
        line["baseAmount"] = _in_base(amount, rate)
        line["currency.baseCurrency"] = base
        line["currency.txnCurrency"] = currency
        # With the tax, where some was sent; the sandbox calculates none.
        with_tax = Decimal(str(line.get("totalTxnAmount") or amount))
        in_txn += with_tax
        in_base += Decimal(_in_base(with_tax, rate))
    document["totalTxnAmount"], document["totalBaseAmount"] = f"{in_txn:.2f}", f"{in_base:.2f}"
    document.setdefault("currency.exchangeRate.date", document[dated_by])


def _owe(document: Row) -> None:
    """Fill in what is still due: the totals, less what was paid or is about to be."""
    for what in ("Txn", "Base"):
        paid = _amount(document, f"paymentInformation.total{what}AmountPaid")
        chosen = _amount(document, f"paymentInformation.total{what}AmountSelectedForPayment")
        due = _amount(document, f"total{what}Amount") - paid - chosen
        document[f"total{what}AmountDue"] = f"{due:.2f}"
        document[f"paymentInformation.total{what}AmountPaid"] = f"{paid:.2f}"


def _invoice(document: Row, lines: Sequence[Row], base: str | None, tables: Tables) -> None:
    _add_up(document, lines, base, "invoiceDate")
    _owe(document)
    document.setdefault("discountCutOffDate", document["invoiceDate"])
    # The old way to ask for a draft; it is never shown again.
    if document.pop("action", None) == "draft":
        document["state"] = "draft"
    document.pop("createAPBill", None)
    for line in lines:
        line.setdefault("dimensions.customer.key", document["customer.key"])


def _posted_when_created(document: Row) -> None:
    if document.get("postingDate") is None:
        document["postingDate"] = document["createdDate"]


def _bill(document: Row, lines: Sequence[Row], base: str | None, tables: Tables) -> None:
    _posted_when_created(document)
    _add_up(document, lines, base, "createdDate")
    _owe(document)
    document.setdefault("discountCutOffDate", document["createdDate"])
    for line in lines:
        line.setdefault("dimensions.vendor.key", document["vendor.key"])


def _adjustment(party: str) -> Completion:
    def complete(document: Row, lines: Sequence[Row], base: str | None, tables: Tables) -> None:
        _posted_when_created(document)
        _add_up(document, lines, base, "createdDate")
        _owe(document)
        document.setdefault("dueDate", document["createdDate"])
        for line in lines:
            line.setdefault(f"dimensions.{party}.key", document[f"{party}.key"])

    return complete


def _advance(document: Row, lines: Sequence[Row], base: str | None, tables: Tables) -> None:
    if document["state"] == "submitted":
        document["state"] = "posted"
    _add_up(document, lines, base, "paymentDate")
    _owe(document)
    for line in lines:
        line.setdefault("dimensions.vendor.key", document["vendor.key"])


def _expense(document: Row, lines: Sequence[Row], base: str | None, tables: Tables) -> None:
    # Nothing is required of the header (fact: Sage OpenAPI); its date is the first line's then.
    if document.get("createdDate") is None:
        days = [str(line["entryDate"]) for line in lines if line.get("entryDate")]
        document["createdDate"] = min(days) if days else document.get("postingDate")
    _posted_when_created(document)
    _add_up(document, lines, base, "createdDate")
    _owe(document)
    for line in lines:
        type_ = tables["expenses/employee-expense-type"].rows.get(str(line.get("expenseType.key")))
        if line.get("glAccount.key") is None and type_ is not None:
            line["glAccount.key"] = type_.get("glAccount.key")
        line.setdefault("dimensions.employee.key", document.get("employee.key"))


def _card_txn(document: Row, lines: Sequence[Row], base: str | None, tables: Tables) -> None:
    _add_up(document, lines, base, "txnDate")


def _payment(object_: str, path: str) -> Completion:
    """Return what a payment of some `object_`, named at `path` of its lines, adds up to."""

    def complete(document: Row, lines: Sequence[Row], base: str | None, tables: Tables) -> None:
        number_lines(lines)
        document.pop("action", None)
        document.pop("overPaymentAmount", None)
        if document["state"] == "submitted":
            # Nobody has to approve payments in this company.
            document["state"] = "confirmed"
        if "paymentDate" in document:
            document["documentDate"] = document["paymentDate"]
        document["baseCurrency.currency"] = base or document.get("txnCurrency.currency")
        for line in lines:
            settled = tables[object_].rows[str(line[f"{path}.key"])]
            amount = Decimal(str(line["txnCurrency.paymentAmount"]))
            rate = Decimal(str(settled.get("currency.exchangeRate.rate") or 1))
            in_base = (amount * rate).quantize(Decimal("0.01"))
            if amount == _amount(settled, "totalTxnAmountDue"):
                in_base = _amount(settled, "totalBaseAmountDue")  # and not a cent is left over
            line["baseCurrency.paymentAmount"] = f"{in_base:.2f}"
        for currency in ("txnCurrency", "baseCurrency"):
            document[f"{currency}.totalPaid"] = _total(lines, f"{currency}.paymentAmount")

    return complete


def _attachment(document: Row, lines: Sequence[Row], base: str | None, tables: Tables) -> None:
    number_lines(lines)
    for line in lines:
        line["size"] = len(binascii.a2b_base64(str(line["data"])))


def _exchange_rate(document: Row, lines: Sequence[Row], base: str | None, tables: Tables) -> None:
    number_lines(lines)
    for line in lines:
        rate = Decimal(str(line["rate"]))
        line["reciprocalRate"] = f"{1 / rate:.10f}" if rate else None


def _journal_entry(document: Row, lines: Sequence[Row], base: str | None, tables: Tables) -> None:
    document["txnNumber"] = int(str(document["key"]))
    number_lines(lines)
    period = f"{date.fromisoformat(str(document['postingDate'])):%B %Y}"
    for line in lines:
        line["baseAmount"] = line["txnAmount"]
        line["entryDate"] = document["postingDate"]
        line["accountingPeriod.key"] = tables["general-ledger/reporting-period"].key_of(period)
        line["currency.baseCurrency"] = base
        if line.get("currency.txnCurrency") is None:
            line["currency.txnCurrency"] = base


def _timesheet(document: Row, lines: Sequence[Row], base: str | None, tables: Tables) -> None:
    begin = date.fromisoformat(str(document["beginDate"]))
    document["endDate"] = (begin + timedelta(days=6)).isoformat()
    number_lines(lines)
    for line in lines:
        line["state"] = document["state"]
        line.setdefault("dimensions.employee.key", document.get("employee.key"))


COMPLETIONS: Mapping[str, Completion] = {
    "accounts-receivable/invoice": _invoice,
    "accounts-payable/bill": _bill,
    "general-ledger/journal-entry": _journal_entry,
    "time/timesheet": _timesheet,
    "accounts-receivable/adjustment": _adjustment("customer"),
    "accounts-payable/adjustment": _adjustment("vendor"),
    "accounts-receivable/payment": _payment("accounts-receivable/invoice", "arInvoice"),
    "accounts-payable/payment": _payment("accounts-payable/bill", "bill"),
    "accounts-payable/advance": _advance,
    "expenses/employee-expense": _expense,
    "cash-management/credit-card-txn": _card_txn,
    "company-config/attachment": _attachment,
    "company-config/exchange-rate": _exchange_rate,
}
"""By object; an object that is not here is stored as it was sent, its lines numbered."""
