"""Creates up to 500 records in one request, and says by position what became of each.

Sage's answer names no source ids: the order of the request is the only way to tell whose outcome is
whose (developer portal, bulk requests). So nothing is matched by content, and an answer that does
not add up to what was sent tells nothing about any item.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

import msgspec

from intacct_dagster.client.errors import About, ErrorDetail, OutcomeUnknown
from intacct_dagster.client.http.responses import UNREADABLE, ApiError, error_of, read_error
from intacct_dagster.client.http.transport import Response

#: The most records in one request (developer portal, bulk requests).
LARGEST_BATCH: Final = 500

#: The longest Idempotency-Key that Sage takes.
LONGEST_KEY: Final = 256

# An answer with results by item has one of these.
_BY_ITEM = frozenset({200, 201, 207, 400, 404, 409, 422})

# With these one error can stand for the whole request, and nothing was created. 409 is not among
# them: it can mean that the Idempotency-Key was used before, and then something may have happened.
_CERTAIN_REJECTIONS = frozenset({400, 404, 405, 413, 415, 422})


class Created(msgspec.Struct, frozen=True, gc=False):
    """The item at this position (from 0) exists in Intacct under `key`."""

    position: int
    key: str
    id: str | None
    href: str | None


class RejectedItem(msgspec.Struct, frozen=True):
    """Intacct rejected the item at this position (from 0); it was not created.

    `field` is a JSON pointer into the item ("/lines/0/glAccount") if Intacct named one.
    """

    position: int
    error_id: str | None
    code: str | None
    message: str
    field: str | None
    support_id: str | None
    details: tuple[ErrorDetail, ...]


@dataclass(frozen=True)
class BatchResponse:
    """What became of a batch: one outcome for each item, in the order that was sent.

    `whole`: Intacct rejected the request in one piece; the reason stands at each position,
    though perhaps only one item deserves it. `replayed` means that the answer is the stored one of
    an earlier request with the same Idempotency-Key.
    """

    http_status: int
    outcomes: tuple[Created | RejectedItem, ...]
    whole: bool = False
    replayed: bool = False

    @property
    def created(self) -> int:
        """How many items were created."""
        return sum(isinstance(outcome, Created) for outcome in self.outcomes)


def check_batch(body: bytes, count: int, idempotency_key: str) -> None:
    """Raise ValueError for a batch that must not be sent: better here than half-way."""
    if not 1 <= count <= LARGEST_BATCH:
        raise ValueError(f"a batch has 1 to {LARGEST_BATCH} items, not {count}")
    if not 1 <= len(idempotency_key) <= LONGEST_KEY:
        raise ValueError(f"an Idempotency-Key has 1 to {LONGEST_KEY} characters")
    try:
        items = msgspec.json.decode(body, type=list[dict[str, msgspec.Raw]])
    except UNREADABLE as error:
        raise ValueError(f"the body is not an array of JSON objects: {error}") from None
    if len(items) != count:
        raise ValueError(f"the body has {len(items)} items, not {count}")


def read_batch_response(answer: Response, count: int, about: About) -> BatchResponse:
    """Return the outcomes in the answer to a batch of `count` items. 401 and 403 are not for this.

    Raises OutcomeUnknown if the answer does not account for every item without a contradiction.
    """
    try:
        outcomes, whole = _outcomes(answer, count)
    except _DoesNotAddUp as reason:
        raise OutcomeUnknown(
            f"Sent {count} records to {about}, but the answer (HTTP {answer.status}) does not say "
            f"what became of them: {reason}.",
            remedy="Settle it by reading back.",
            entity=about.entity,
            object=about.object,
            http_status=answer.status,
        ) from None
    replayed = "x-ia-idempotency-cached-date" in answer.headers
    return BatchResponse(answer.status, outcomes, whole, replayed)


class _DoesNotAddUp(Exception):
    """An answer that contradicts itself or what was sent."""


def _outcomes(answer: Response, count: int) -> tuple[tuple[Created | RejectedItem, ...], bool]:
    if answer.status not in _BY_ITEM | _CERTAIN_REJECTIONS:
        raise _DoesNotAddUp(_what_was_said(answer))
    document = _object(answer.body)
    result = document.get("ia::result")
    if isinstance(result, dict) and count == 1 and "ia::error" not in result:
        result = [result]
    if not isinstance(result, list):
        error = read_error(answer.body)
        if error is None or answer.status not in _CERTAIN_REJECTIONS:
            raise _DoesNotAddUp(error.said if error else "it has no list of results")
        return tuple(_rejected(position, error) for position in range(count)), True
    items = cast("list[object]", result)
    if len(items) != count:
        raise _DoesNotAddUp(f"it has {len(items)} results")
    outcomes = tuple(_outcome(position, item) for position, item in enumerate(items))
    _check_sums(answer.status, document.get("ia::meta"), outcomes)
    return outcomes, False


def _outcome(position: int, item: object) -> Created | RejectedItem:
    if not isinstance(item, dict):
        raise _DoesNotAddUp(f"result {position} is no object")
    status, key, error = item.get("ia::status"), item.get("key"), item.get("ia::error")
    if status is not None and (not isinstance(status, int) or isinstance(status, bool)):
        raise _DoesNotAddUp(f"result {position} has status {status!r}")
    if error:
        # A server failure in one item is as unknown as a server failure of the whole.
        if status is not None and not 400 <= status < 500:
            raise _DoesNotAddUp(f"result {position} has an error with status {status}")
        return _rejected(position, error_of(error))
    if status is not None and not 200 <= status < 300:
        raise _DoesNotAddUp(f"result {position} has status {status} without an error")
    if not isinstance(key, str) or not key:
        raise _DoesNotAddUp(f"result {position} has neither a key nor an error")
    return Created(position, key, _text(item.get("id")), _text(item.get("href")))


def _check_sums(status: int, meta: object, outcomes: tuple[Created | RejectedItem, ...]) -> None:
    created = [outcome.key for outcome in outcomes if isinstance(outcome, Created)]
    rejected = len(outcomes) - len(created)
    if len(set(created)) != len(created):
        raise _DoesNotAddUp("two results have the same key")
    if status >= 400 and created:
        raise _DoesNotAddUp(f"{len(created)} results look created")
    if status == 201 and rejected:
        raise _DoesNotAddUp(f"{rejected} results look rejected")
    counts = cast("dict[str, object]", meta) if isinstance(meta, dict) else {}
    total, success, errors = (
        counts.get(name) for name in ("totalCount", "totalSuccess", "totalError")
    )
    # Some documented examples leave out the two parts; then the results speak for themselves.
    parts_agree = (success, errors) in ((len(created), rejected), (None, None))
    if total != len(outcomes) or not parts_agree:
        raise _DoesNotAddUp(
            f"it counts {total} ({success} created, {errors} rejected) where its results are "
            f"{len(created)} created and {rejected} rejected"
        )


def _rejected(position: int, error: ApiError) -> RejectedItem:
    targets = (error.target, *(detail.target for detail in error.details))
    return RejectedItem(
        position=position,
        error_id=error.error_id,
        code=error.code,
        message=error.message,
        field=next((target for target in targets if target), None),
        support_id=error.support_id,
        details=error.details,
    )


def _what_was_said(answer: Response) -> str:
    error = read_error(answer.body)
    return error.said if error else "it is not an answer to a batch"


def _object(body: bytes) -> dict[str, object]:
    try:
        document = msgspec.json.decode(body)
    except UNREADABLE:
        raise _DoesNotAddUp("it is not JSON") from None
    if not isinstance(document, dict):
        raise _DoesNotAddUp("it is no object")
    return cast("dict[str, object]", document)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
