"""Write one item or many, once only, and answer with what became of each.

Facts (Sage's bulk-requests guide): at most 500 items; not atomic unless the transaction header
says so; the answer is in request order; 207 when some failed, each item then with `ia::status`
and, where it failed, `ia::error`.

Statuses of an all-good POST and of an all-failed batch are not documented ("One status may be
returned if it fits all records"): behaviours. An all-good PATCH answers 200.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from intacct_sandbox.control.behaviours import Behaviours
from intacct_sandbox.control.clock import wire_time
from intacct_sandbox.domain.books import Books, UnitOfWork
from intacct_sandbox.domain.idempotency import LONGEST_KEY, StoredResponse, owner_of, request_hash
from intacct_sandbox.domain.sessions import UserSession
from intacct_sandbox.errors import rejections
from intacct_sandbox.errors.envelopes import Rejection, success, tally
from intacct_sandbox.objects.catalogue import Json

from .gateway import Gateway, Handler

MOST_ITEMS = 500
"""How many items one request may hold."""

_GOOD = {"POST": 201, "PATCH": 200, "DELETE": 204}


_TRANSACTION_HEADER = "x-ia-api-param-transaction"

Write = Callable[[UnitOfWork], "str | None"]
"""Writes one item and gives its key, or None if it is gone; raises `Rejection`."""

Shown = Callable[[str], "dict[str, Json]"]

ItemOutcome = str | Rejection | None
"""The key of a written item, None of a deleted one, or why it was rejected."""


@dataclass(frozen=True)
class WriteOutcome:
    """Status and body of an answer; no body with 204."""

    status: int
    body: dict[str, Json] | None


def one(work: UnitOfWork, method: str, write: Write, shown: Shown) -> WriteOutcome:
    """Write a single item; raises `Rejection`. `shown`: what the answer tells of a record."""
    key = write(work)
    if key is None:
        return WriteOutcome(_GOOD[method], None)
    return WriteOutcome(_GOOD[method], success(shown(key)))


def many(
    gateway: Gateway,
    request: Request,
    work: UnitOfWork,
    method: str,
    writes: Sequence[Write],
    shown: Shown,
) -> WriteOutcome:
    """Write items one after another. `method`: what each of them is, for its status. Where the
    request says so in a header, the first failure undoes all of them."""
    _check_count(gateway.books.behaviours, len(writes))
    atomic = request.headers.get(_TRANSACTION_HEADER, "").strip().lower() == "true"
    outcomes = _written(work, writes, atomic=atomic)
    if any(isinstance(one, Rejection) for one in outcomes):
        return _by_item(gateway, method, outcomes, shown)
    if method == "DELETE":
        return WriteOutcome(_GOOD[method], None)
    refs: list[dict[str, Json]] = [shown(one) for one in outcomes if isinstance(one, str)]
    status = _GOOD[method]
    if method == "POST":
        status = int(gateway.books.behaviours["batch_created"].removeprefix("status_"))
    if status == 207:
        refs = [{**ref, "ia::status": _GOOD[method]} for ref in refs]
    return WriteOutcome(status, success(list[Json](refs), count=len(refs)))


def _check_count(behaviours: Behaviours, count: int) -> None:
    """Raise `Rejection` for a batch of none or too many."""
    if 1 <= count <= MOST_ITEMS:
        return
    rejection = rejections.bad_request(
        f"A batch takes from 1 to {MOST_ITEMS} items, and this one has {count}"
    )
    if count > MOST_ITEMS:
        rejection.status = int(behaviours["too_many_items"].removeprefix("rejected_"))
    raise rejection


def _written(work: UnitOfWork, writes: Sequence[Write], *, atomic: bool) -> list[ItemOutcome]:
    """Write the items and return what became of each, in order.

    With `atomic`, the first failure undoes all of them, and the others are rejected too.
    """
    begun = len(work.changes)
    outcomes: list[ItemOutcome] = []
    for write in writes:
        before = len(work.changes)
        try:
            outcomes.append(write(work))
        except Rejection as rejection:
            work.undo(down_to=before)
            outcomes.append(rejection)
            if atomic:
                break
    if not (atomic and any(isinstance(one, Rejection) for one in outcomes)):
        return outcomes
    work.undo(down_to=begun)
    undone: list[ItemOutcome] = [
        one if isinstance(one, Rejection) else rejections.unprocessed() for one in outcomes
    ]
    return undone + [rejections.unprocessed() for _ in range(len(writes) - len(outcomes))]


def _by_item(
    gateway: Gateway, method: str, outcomes: Sequence[ItemOutcome], shown: Shown
) -> WriteOutcome:
    """Return the answer to a batch of which something failed: every item with its own status."""
    behaviours = gateway.books.behaviours
    shows = behaviours["mixed_success_status"] == "shown"
    items: list[Json] = []
    for outcome in outcomes:
        if isinstance(outcome, Rejection):
            error = outcome.error(gateway.support_id())
            items.append({"ia::status": outcome.status, "ia::error": error})
        else:
            ref = {} if outcome is None else shown(outcome)
            items.append({**ref, **({"ia::status": _GOOD[method]} if shows else {})})
    failed = [one for one in outcomes if isinstance(one, Rejection)]
    status = _failed_status(behaviours, failed) if len(failed) == len(outcomes) else 207
    return WriteOutcome(status, tally(items, len(failed)))


def _failed_status(behaviours: Behaviours, failed: Sequence[Rejection]) -> int:
    """Return the status of a batch of which nothing went well."""
    behaviour = behaviours["batch_failed"]
    if behaviour != "common":
        return int(behaviour.removeprefix("status_"))
    statuses = {one.status for one in failed}
    return statuses.pop() if len(statuses) == 1 and 409 not in statuses else 207


# --- once -------------------------------------------------------------------------------------


def once(
    gateway: Gateway,
    request: Request,
    body: bytes,
    session: UserSession,
    do: Callable[[UnitOfWork], WriteOutcome],
) -> Response:
    """Do the writes of a request and keep them; with an `Idempotency-Key` once only, and the answer
    is kept with them."""
    books = gateway.books
    named = _key_of(gateway, request, body, session)
    with books.work(session) as work:
        if named is not None:
            kept = _kept(gateway.books, named, work.now)
            if kept is not None:
                return _again(kept)
        try:
            outcome = do(work)
        except Rejection as rejection:
            work.undo()
            outcome = WriteOutcome(rejection.status, rejection.body(gateway.support_id()))
        encoded = b"" if outcome.body is None else msgspec.json.encode(outcome.body)
        answer = None
        if named is not None:
            answer = StoredResponse(*named, outcome.status, encoded.decode(), work.now)
        written = sum(books.catalogue[one.object].kind != "line" for one in work.changes)
        books.commit(work, answer)
    books.audit_log.bill(written)
    return _response(outcome.status, encoded, {"Idempotency-Key": named[1]} if named else {})


def kept(handler: Handler) -> Handler:
    """Return the handler of a service whose answer is kept under an `Idempotency-Key` as a
    whole."""

    def handle(gateway: Gateway, request: Request, body: bytes) -> Response:
        session, books = gateway.session(request), gateway.books
        named = _key_of(gateway, request, body, session)
        if named is None:
            return handler(gateway, request, body)
        found = _kept(books, named, books.clock.now())
        if found is not None:
            return _again(found)
        try:
            response = handler(gateway, request, body)
        except Rejection as rejection:
            response = gateway.reject(rejection)
        said = bytes(response.body).decode()
        with books.work(session) as work:
            books.commit(work, StoredResponse(*named, response.status_code, said, work.now))
        response.headers["Idempotency-Key"] = named[1]
        return response

    return handle


def _key_of(
    gateway: Gateway, request: Request, body: bytes, session: UserSession
) -> tuple[str, str, str] | None:
    """Return whose key it is, the key, and the request that it stands for; raises `Rejection`
    (400)."""
    key = request.headers.get("idempotency-key") if request.method != "DELETE" else None
    if key is None:
        return None
    if not 0 < len(key) <= LONGEST_KEY:
        raise rejections.bad_request(f"An Idempotency-Key has 1 to {LONGEST_KEY} characters")
    scope = gateway.books.behaviours["idempotency_scope"]
    owner = owner_of(scope, session.user.id, session.entity)
    return owner, key, request_hash(request.method, request.url.path, session.entity, body)


def _kept(books: Books, named: tuple[str, str, str], now: datetime) -> StoredResponse | None:
    found = books.answers.find(*named, now)
    if found is not None and books.audit_log.current is not None:
        books.audit_log.current.replayed = True
    return found


def _again(kept: StoredResponse) -> Response:
    return _response(
        kept.status,
        kept.body.encode(),
        {
            "Idempotency-Key": kept.key,
            "x-ia-idempotency-cached-date": wire_time(kept.at),
        },
    )


def _response(status: int, encoded: bytes, headers: dict[str, str]) -> Response:
    media_type = "application/json" if encoded else None
    return Response(encoded, status_code=status, headers=headers, media_type=media_type)
