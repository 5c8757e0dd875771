"""`/workflows/{application}/{object}/{action}`: submit, approve, decline, reverse, …

Which actions an object has is documented; from which state an action leads to which is guessed
after the states' names, and nobody has to approve anything in the sandbox's company.
"""

from __future__ import annotations

from datetime import date
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from intacct_sandbox.api import batches
from intacct_sandbox.api.batches import WriteOutcome
from intacct_sandbox.api.gateway import Gateway
from intacct_sandbox.api.json_bodies import read_json
from intacct_sandbox.domain import writes
from intacct_sandbox.domain.books import Books, UnitOfWork
from intacct_sandbox.errors import rejections
from intacct_sandbox.errors.envelopes import RejectionDetail
from intacct_sandbox.objects.catalogue import Json, ObjectType, Transition
from intacct_sandbox.objects.reading import reference

# Documented by Sage, and not here.
_NOT_SIMULATED = frozenset(
    (
        *("accounts-payable/vendor/approve", "accounts-payable/vendor/decline"),
        *("accounts-payable/bill-line/release", "accounts-payable/payment/print"),
        *("accounts-receivable/invoice/generate-pdf", "accounts-receivable/invoice/reclassify"),
        *("accounts-receivable/customer-refund/reverse", "accounts-receivable/advance/reverse"),
        *("purchasing/document/approve", "purchasing/document/decline"),
        *("purchasing/document/submit", "cash-management/bank-reconciliation/reopen"),
        *("cash-management/bank-transaction/ignore", "cash-management/other-receipt/reverse"),
    )
)
_STEPS = ("notes", "memo", "reversedDate")


def act(gateway: Gateway, request: Request, body: bytes) -> Response:
    """POST /workflows/{application}/{object}/{action}, for one record or a list of them."""
    session = gateway.session(request)
    books, parts = gateway.books, request.path_params
    type_ = books.catalogue.get(f"{parts['application']}/{parts['object']}")
    transition = type_.workflows.get(parts["action"]) if type_ is not None else None
    if type_ is None or transition is None:
        named = "/".join((parts["application"], parts["object"], parts["action"]))
        if named in _NOT_SIMULATED:
            raise rejections.not_simulated(f"the workflow {named}")
        raise rejections.no_such_path(request.method, request.url.path[:200])
    payload = read_json(request.method, body)
    asked = payload if isinstance(payload, list) else [payload]

    def shown(key: str) -> dict[str, Json]:
        state = books.tables[type_.name].rows[key]["state"]
        return {**reference(type_, key, books.tables), "state": state}

    def do(work: UnitOfWork) -> WriteOutcome:
        steps = [
            partial(_step, books, type_=type_, transition=transition, asked=one) for one in asked
        ]
        # The states of a workflow are changed, not created: 200.
        if not isinstance(payload, list):
            return batches.one(work, "PATCH", steps[0], shown)
        return batches.many(gateway, request, work, "PATCH", steps, shown)

    return batches.once(gateway, request, body, session, do)


def _step(
    books: Books, work: UnitOfWork, *, type_: ObjectType, transition: Transition, asked: Json
) -> str:
    key = asked.get("key") if isinstance(asked, dict) else None
    if isinstance(key, int) and not isinstance(key, bool):
        key = str(key)
    if not isinstance(asked, dict) or not isinstance(key, str):
        raise rejections.bad_request('A workflow takes {"key": "…"}, the key as a text')
    for name in asked:
        if name != "key" and name not in _STEPS:
            raise rejections.payload_errors([_mistake(f"/{name} is not a valid field", f"/{name}")])
    when = asked.get("reversedDate")
    if transition.dated and not _is_day(when):
        message = "The required field /reversedDate is missing, or is no date"
        raise rejections.payload_errors([_mistake(message, "/reversedDate")])
    writes.move(books, work, type_, key, transition, str(when) if when else None)
    return key


def _mistake(message: str, target: str) -> RejectionDetail:
    return RejectionDetail("invalidRequest", message, "SBX-1115", target=target)


def _is_day(value: Json) -> bool:
    try:
        return isinstance(value, str) and bool(date.fromisoformat(value))
    except ValueError:
        return False
