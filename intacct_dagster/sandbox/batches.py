"""One item or many: the same write, and how its outcomes are told.

Facts (Sage's bulk-requests guide): at most 500 items; not atomic unless the transaction header
says so; the answer is in request order; 207 when some failed, each item then with `ia::status`
and, where it failed, `ia::error`.

Statuses of an all-good POST and of an all-failed batch are not documented ("One status may be
returned if it fits all records"): behaviours. An all-good PATCH answers 200.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import refusals
from .behaviours import Behaviours
from .books import Books, Work
from .catalogue import Json, ObjectType
from .envelopes import Refusal, success, tally
from .reading import reference

MOST_ITEMS = 500
"""How many items one request may hold."""

_GOOD = {"POST": 201, "PATCH": 200, "DELETE": 204}


@dataclass(frozen=True)
class Outcome:
    """Status and body of an answer; no body with 204."""

    status: int
    body: dict[str, Json] | None


def one(
    books: Books, work: Work, type_: ObjectType, method: str, write: Callable[[Work], str | None]
) -> Outcome:
    """Write a single item; raises `Refusal`."""
    key = write(work)
    if key is None:
        return Outcome(_GOOD[method], None)
    return Outcome(_GOOD[method], success(reference(type_, key, books.tables)))


def many(
    books: Books,
    work: Work,
    type_: ObjectType,
    method: str,
    writes: Sequence[Callable[[Work], str | None]],
    *,
    atomic: bool,
    support_id: Callable[[], str],
) -> Outcome:
    """Write items one after another. With `atomic` the first failure undoes all of them."""
    behaviours = books.behaviours
    if not 1 <= len(writes) <= MOST_ITEMS:
        refusal = refusals.bad_request(
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
            one if isinstance(one, Refusal) else refusals.unprocessed() for one in outcomes
        ]
        skipped += [refusals.unprocessed() for _ in range(len(writes) - len(outcomes))]
        outcomes, failed = skipped, [one for one in skipped if isinstance(one, Refusal)]
    if not failed:
        if method == "DELETE":
            return Outcome(_GOOD[method], None)
        keys = [one for one in outcomes if isinstance(one, str)]
        refs: list[dict[str, Json]] = [reference(type_, key, books.tables) for key in keys]
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
            ref = {} if outcome is None else reference(type_, outcome, books.tables)
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
