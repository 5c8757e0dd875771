"""`/workflows/{application}/{object}/{action}`: submit, approve, decline, reverse, …

Which actions an object has is documented; from which state an action leads to which is guessed
after the states' names, and nobody has to approve anything in the sandbox's company.
"""

from __future__ import annotations

from datetime import date

from starlette.requests import Request
from starlette.responses import Response

from . import batches, refusals, writes
from .books import Books, Work
from .catalogue import Json, ObjectType, Transition
from .envelopes import Detail, Refusal, success, tally
from .front_door import FrontDoor, as_json, read_json
from .reading import reference

_STEPS = ("notes", "memo", "reversedDate")


def act(door: FrontDoor, request: Request, body: bytes) -> Response:
    """POST /workflows/{application}/{object}/{action}, for one record or a list of them."""
    session = door.session(request)
    books, parts = door.books, request.path_params
    type_ = books.catalogue.get(f"{parts['application']}/{parts['object']}")
    transition = type_.workflows.get(parts["action"]) if type_ is not None else None
    if type_ is None or transition is None:
        raise refusals.no_such_path(request.method, request.url.path[:200])
    payload = read_json(request.method, body)
    asked = payload if isinstance(payload, list) else [payload]
    if not 1 <= len(asked) <= batches.MOST_ITEMS:
        raise refusals.bad_request(f"A workflow takes from 1 to {batches.MOST_ITEMS} records")
    items: list[Json] = []
    failed = 0
    with books.work(session) as work:
        for one in asked:
            before = len(work.changes)
            try:
                items.append(_step(books, work, type_, transition, one))
            except Refusal as refusal:
                if not isinstance(payload, list):
                    raise
                work.undo(down_to=before)
                failed += 1
                error = refusal.error(door.support_id())
                items.append({"ia::status": refusal.status, "ia::error": error})
        written = sum(books.catalogue[one.object].kind != "line" for one in work.changes)
        books.commit(work)
    books.referee.bill(written)
    if not isinstance(payload, list):
        return as_json(success(items[0]))
    if not failed:
        return as_json(success(items, count=len(items)))
    told: list[Json] = [
        one
        if isinstance(one, dict) and "ia::status" in one
        else {**_object(one), "ia::status": 200}
        for one in items
    ]
    return as_json(tally(told, failed), status=207)


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _step(
    books: Books, work: Work, type_: ObjectType, transition: Transition, asked: Json
) -> dict[str, Json]:
    key = asked.get("key") if isinstance(asked, dict) else None
    if not isinstance(asked, dict) or not isinstance(key, str):
        raise refusals.bad_request('A workflow takes {"key": "…"}, the key as a text')
    for name in asked:
        if name != "key" and name not in _STEPS:
            raise refusals.payload_errors([_mistake(f"/{name} is not a valid field", f"/{name}")])
    when = asked.get("reversedDate")
    if transition.dated and not _is_day(when):
        message = "The required field /reversedDate is missing, or is no date"
        raise refusals.payload_errors([_mistake(message, "/reversedDate")])
    state = writes.move(books, work, type_, key, transition, str(when) if when else None)
    return {**reference(type_, key, books.tables), "state": state}


def _mistake(message: str, target: str) -> Detail:
    return Detail("invalidRequest", message, "SBX-1115", target=target)


def _is_day(value: Json) -> bool:
    try:
        return isinstance(value, str) and bool(date.fromisoformat(value))
    except ValueError:
        return False
