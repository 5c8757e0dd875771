"""One item or many: the same write, and how its outcomes are told.

Facts (Sage's bulk-requests guide): at most 500 items; not atomic unless the transaction header
says so; the answer is in request order; 207 when some failed, each item then with `ia::status`
and, where it failed, `ia::error`.

Not documented and decided here: an all-good POST answers 201 and a PATCH 200; where all items
failed with one and the same status other than 409, that is the status of the whole ("One status
may be returned if it fits all records").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import refusals
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
    if not 1 <= len(writes) <= MOST_ITEMS:
        raise refusals.bad_request(
            f"A batch takes from 1 to {MOST_ITEMS} items, and this one has {len(writes)}"
        )
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
        refs: list[Json] = [reference(type_, key, books.tables) for key in keys]
        return Outcome(_GOOD[method], success(refs, count=len(refs)))
    items: list[Json] = []
    for outcome in outcomes:
        if isinstance(outcome, Refusal):
            items.append({"ia::status": outcome.status, "ia::error": outcome.error(support_id())})
        elif outcome is None:
            items.append({"ia::status": _GOOD[method]})
        else:
            ref = reference(type_, outcome, books.tables)
            items.append({**ref, "ia::status": _GOOD[method]})
    statuses = {one.status for one in failed}
    alike = len(failed) == len(outcomes) and len(statuses) == 1 and 409 not in statuses
    return Outcome(statuses.pop() if alike else 207, tally(items, len(failed)))
