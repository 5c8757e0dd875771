"""Payments against bills and invoices: what they may pay, and what they do to what they pay.

A confirmed (AP) or complete (AR) payment counts as paid. A draft counts as selected for payment:
that, too, is no longer due. What is left of a payment that is deleted is due again. Documented are
the objects and their states; that the totals move in this way is observed by accountants in the
application and guessed for the API; whether the paid document has a new change time is a behaviour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from intacct_sandbox.control.clock import wire_time
from intacct_sandbox.errors.envelopes import RejectionDetail
from intacct_sandbox.objects.tables import Row, Tables

from .books import UnitOfWork
from .rules import Draft


@dataclass(frozen=True)
class _Payable:
    """What the lines of a payment pay, how they name it, and who has to be the same on both."""

    object: str
    ref: str
    party: str
    dated_by: str


_PAYABLE: Mapping[str, _Payable] = {
    "accounts-payable/payment": _Payable("accounts-payable/bill", "bill", "vendor", "paymentDate"),
    "accounts-receivable/payment": _Payable(
        "accounts-receivable/invoice", "arInvoice", "customer", "paymentSummary.receiptDate"
    ),
}

_AMOUNTS = (("Txn", "txnCurrency.paymentAmount"), ("Base", "baseCurrency.paymentAmount"))


def unpayable(draft: Draft, tables: Tables) -> Iterator[RejectionDetail]:
    """Yield what speaks against the lines of a payment; nothing for any other document."""
    payable = _PAYABLE.get(draft.type.name)
    if payable is None:
        return
    left: dict[str, Decimal] = {}
    party = draft.row.get(f"{payable.party}.key")
    for number, line in enumerate(draft.lines):
        key = str(line[f"{payable.ref}.key"])
        document = tables[payable.object].rows[key]
        at = f"/{number}/{payable.ref}"
        if party is not None and document.get(f"{payable.party}.key") != party:
            yield RejectionDetail(
                "invalidParameter",
                f"The {payable.object.rpartition('/')[2]} '{key}' belongs to another "
                f"{payable.party}",
                "SBX-7108",
                target=at,
            )
            continue
        amount = Decimal(str(line["txnCurrency.paymentAmount"]))
        due = left.setdefault(key, Decimal(str(document.get("totalTxnAmountDue") or 0)))
        if not 0 < amount <= due:
            yield RejectionDetail(
                "invalidParameter",
                f"The payment amount {amount} is not valid: {due} of the "
                f"{payable.object.rpartition('/')[2]} '{key}' is due",
                "SBX-7109",
                target=at,
            )
        left[key] = due - amount


def settle(
    work: UnitOfWork,
    tables: Tables,
    object_: str,
    payment: Row,
    lines: Sequence[Row],
    *,
    undo: bool,
) -> None:
    """Apply a payment to what it pays, or with `undo` take it back; other objects pay nothing."""
    payable = _PAYABLE.get(object_)
    if payable is None or payment.get("state") in ("voided", "reversed", "reversal", "declined"):
        return
    kind = (
        "Paid"
        if payment.get("state") in ("confirmed", "complete", "reconciled")
        else ("SelectedForPayment")
    )
    sign = -1 if undo else 1
    for line in lines:
        document = dict(tables[payable.object].rows[str(line[f"{payable.ref}.key"])])
        for what, path in _AMOUNTS:
            amount = sign * Decimal(str(line[path]))
            _add(document, f"total{what}AmountDue", -amount)
            _add(document, f"paymentInformation.total{what}Amount{kind}", amount)
        document["state"] = _state(document)
        document.pop("paymentInformation.fullyPaidDate", None)
        if document["state"] == "paid":
            document["paymentInformation.fullyPaidDate"] = payment[payable.dated_by]
        if work.behaviours["payment_touches_document"] == "true":
            at = wire_time(work.now, work.behaviours["audit_precision"])
            document["audit.modifiedDateTime"] = at
            document["audit.modifiedByUser.key"] = work.session.user.key
        work.put(payable.object, document)


def is_paid(row: Row) -> bool:
    """Return whether some payment, or a draft of one, stands against the document."""
    return any(
        Decimal(str(row.get(f"paymentInformation.totalTxnAmount{kind}") or 0))
        for kind in ("Paid", "SelectedForPayment")
    )


def _add(document: Row, path: str, amount: Decimal) -> None:
    document[path] = f"{Decimal(str(document.get(path) or 0)) + amount:.2f}"


def _state(document: Row) -> str:
    def amount(path: str) -> Decimal:
        return Decimal(str(document.get(path) or 0))

    if amount("paymentInformation.totalTxnAmountSelectedForPayment"):
        return "selected"
    if not amount("paymentInformation.totalTxnAmountPaid"):
        return "posted"
    return "partiallyPaid" if amount("totalTxnAmountDue") else "paid"
