"""One item or many: the same write, done once, and how its outcomes are told.

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
from intacct_sandbox.domain.books import Books, Work
from intacct_sandbox.domain.idempotency import LONGEST_KEY, StoredAnswer, owner_of, request_hash
from intacct_sandbox.domain.sessions import Session
from intacct_sandbox.errors import rejections
from intacct_sandbox.errors.envelopes import Refusal, success, tally
from intacct_sandbox.objects.catalogue import Json

from .gateway import FrontDoor, Handler

MOST_ITEMS = 500
"""How many items one request may hold."""

_GOOD = {"POST": 201, "PATCH": 200, "DELETE": 204}


_TRANSACTION_HEADER = "x-ia-api-param-transaction"

Write = Callable[[Work], "str | None"]
"""Writes one item and gives its key, or None if it is gone; raises `Refusal`."""

Shown = Callable[[str], "dict[str, Json]"]


@dataclass(frozen=True)
class Outcome:
    """Status and body of an answer; no body with 204."""

    status: int
    body: dict[str, Json] | None


def one(work: Work, method: str, write: Write, shown: Shown) -> Outcome:
    """Write a single item; raises `Refusal`. `shown`: what the answer tells of a record."""
    key = write(work)
    if key is None:
        return Outcome(_GOOD[method], None)
    return Outcome(_GOOD[method], success(shown(key)))


def many(
    door: FrontDoor,
    request: Request,
    work: Work,
    method: str,
    writes: Sequence[Write],
    shown: Shown,
) -> Outcome:
    """Write items one after another. `method`: what each of them is, for its status. Where the
    request says so in a header, the first failure undoes all of them."""
    support_id = door.support_id
    atomic = request.headers.get(_TRANSACTION_HEADER, "").strip().lower() == "true"
    behaviours = door.books.behaviours
    if not 1 <= len(writes) <= MOST_ITEMS:
        refusal = rejections.bad_request(
            f"A batch takes from 1 to {MOST_ITEMS} items, and this one has {len(writes)}"
        )
        if len(writes) > MOST_ITEMS:
            refusal.status = int(behaviours["too_many_items"].removeprefix("refused_"))
        raise refusal
    begun = len(work.changes)
    outcomes: list[str | Refusal | None] = []
    for write in writes:
        before = len(work.changes)
        try:
            outcomes.append(write(work))
        except Refusal as refusal:
            work.undo(down_to=before)
            outcomes.append(refusal)
            if atomic:
                break
    failed = [one for one in outcomes if isinstance(one, Refusal)]
    if failed and atomic:
        work.undo(down_to=begun)
        skipped: list[str | Refusal | None] = [
            one if isinstance(one, Refusal) else rejections.unprocessed() for one in outcomes
        ]
        skipped += [rejections.unprocessed() for _ in range(len(writes) - len(outcomes))]
        outcomes, failed = skipped, [one for one in skipped if isinstance(one, Refusal)]
    if not failed:
        if method == "DELETE":
            return Outcome(_GOOD[method], None)
        keys = [one for one in outcomes if isinstance(one, str)]
        refs: list[dict[str, Json]] = [shown(key) for key in keys]
        status = _GOOD[method]
        if method == "POST":
            status = int(behaviours["batch_created"].removeprefix("status_"))
        if status == 207:
            refs = [{**ref, "ia::status": _GOOD[method]} for ref in refs]
        return Outcome(status, success(list[Json](refs), count=len(refs)))
    shows = behaviours["mixed_success_status"] == "shown"
    items: list[Json] = []
    for outcome in outcomes:
        if isinstance(outcome, Refusal):
            items.append({"ia::status": outcome.status, "ia::error": outcome.error(support_id())})
        else:
            ref = {} if outcome is None else shown(outcome)
            items.append({**ref, **({"ia::status": _GOOD[method]} if shows else {})})
    status = _failed_status(behaviours, failed) if len(failed) == len(outcomes) else 207
    return Outcome(status, tally(items, len(failed)))


def _failed_status(behaviours: Behaviours, failed: Sequence[Refusal]) -> int:
    """The status of a batch of which nothing went well."""
    behaviour = behaviours["batch_failed"]
    if behaviour != "common":
        return int(behaviour.removeprefix("status_"))
    statuses = {one.status for one in failed}
    return statuses.pop() if len(statuses) == 1 and 409 not in statuses else 207


# --- once -------------------------------------------------------------------------------------


def once(
    door: FrontDoor,
    request: Request,
    body: bytes,
    session: Session,
    do: Callable[[Work], Outcome],
) -> Response:
    """Do the writes of a request and keep them; with an `Idempotency-Key` once only, and the answer
    is kept with them."""
    books = door.books
    named = _key_of(door, request, body, session)
    with books.work(session) as work:
        if named is not None:
            kept = _kept(door.books, named, work.now)
            if kept is not None:
                return _again(kept)
        try:
            outcome = do(work)
        except Refusal as refusal:
            work.undo()
            outcome = Outcome(refusal.status, refusal.body(door.support_id()))
        encoded = b"" if outcome.body is None else msgspec.json.encode(outcome.body)
        answer = None
        if named is not None:
            answer = StoredAnswer(*named, outcome.status, encoded.decode(), work.now)
        written = sum(books.catalogue[one.object].kind != "line" for one in work.changes)
        books.commit(work, answer)
    books.referee.bill(written)
    return _response(outcome.status, encoded, {"Idempotency-Key": named[1]} if named else {})


def kept(handler: Handler) -> Handler:
    """The handler of a service whose answer is kept under an `Idempotency-Key` as a whole."""

    def handle(door: FrontDoor, request: Request, body: bytes) -> Response:
        session, books = door.session(request), door.books
        named = _key_of(door, request, body, session)
        if named is None:
            return handler(door, request, body)
        found = _kept(books, named, books.clock.now())
        if found is not None:
            return _again(found)
        try:
            response = handler(door, request, body)
        except Refusal as refusal:
            response = door.refuse(refusal)
        said = bytes(response.body).decode()
        with books.work(session) as work:
            books.commit(work, StoredAnswer(*named, response.status_code, said, work.now))
        response.headers["Idempotency-Key"] = named[1]
        return response

    return handle


def _key_of(
    door: FrontDoor, request: Request, body: bytes, session: Session
) -> tuple[str, str, str] | None:
    """Whose key it is, the key, and the request that it stands for; raises `Refusal` (400)."""
    key = request.headers.get("idempotency-key") if request.method != "DELETE" else None
    if key is None:
        return None
    if not 0 < len(key) <= LONGEST_KEY:
        raise rejections.bad_request(f"An Idempotency-Key has 1 to {LONGEST_KEY} characters")
    scope = door.books.behaviours["idempotency_scope"]
    owner = owner_of(scope, session.user.id, session.entity)
    return owner, key, request_hash(request.method, request.url.path, session.entity, body)


def _kept(books: Books, named: tuple[str, str, str], now: datetime) -> StoredAnswer | None:
    found = books.answers.find(*named, now)
    if found is not None and books.referee.current is not None:
        books.referee.current.replayed = True
    return found


def _again(kept: StoredAnswer) -> Response:
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
