"""Opens an answer: its result, or its error in whichever of Intacct's three envelopes it came.

1. ``{"ia::result": {"ia::error": {...}}, "ia::meta": {...}}``: the usual (recorded live 2026-03);
2. ``{"ia::error": {...}}``: the guides, and the gateway, whose `details` is an object;
3. ``{"error": {...}}`` or ``{"error": "invalid_grant"}``: the token endpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, cast

import msgspec

from intacct_dagster.client.errors import About, AnswerNotUnderstood, ErrorDetail

#: What a decoder raises for bytes that are not what they should be: those nested too deeply for it,
#: and numbers beyond all bounds, included.
UNREADABLE: Final = (msgspec.DecodeError, ValueError, RecursionError, ArithmeticError)


@dataclass(frozen=True)
class ApiError:
    """An error as Intacct states it. `details` are flattened: an error within one follows it."""

    code: str | None
    message: str
    error_id: str | None
    support_id: str | None
    target: str | None
    details: tuple[ErrorDetail, ...]

    @property
    def said(self) -> str:
        """All that was said, the details after the wrapper, as one line."""
        return "; ".join(dict.fromkeys(self.messages()))

    def messages(self) -> Iterator[str]:
        """Yield the wrapper's message, then each detail's."""
        yield self.message
        for detail in self.details:
            yield detail.message

    def error_ids(self) -> Iterator[str]:
        """Yield the wrapper's error id, then each detail's, as far as they have one."""
        for error_id in (self.error_id, *(detail.error_id for detail in self.details)):
            if error_id:
                yield error_id


def read_error(body: bytes) -> ApiError | None:
    """Return the error that a body holds, or None if it is not JSON or holds none."""
    try:
        top = _mapping(msgspec.json.decode(body))
        result = _mapping(top.get("ia::result"))
        for holder, key in ((result, "ia::error"), (top, "ia::error"), (top, "error")):
            if holder.get(key):
                return error_of(holder[key], fallback=_text(top.get("error_description")))
    except UNREADABLE:
        return None
    return None


def error_of(value: object, fallback: str | None = None) -> ApiError:
    """Return the error in an `ia::error` value: an object, an array of them, or a bare string."""
    if isinstance(value, list):
        errors = [error_of(each) for each in cast("list[object]", value)] or [error_of({})]
        first, rest = errors[0], errors[1:]
        return ApiError(
            first.code,
            first.message,
            first.error_id,
            first.support_id,
            first.target,
            (*first.details, *(detail for each in rest for detail in _as_details(each))),
        )
    if isinstance(value, str):
        message = f"{value}: {fallback}" if fallback else value
        return ApiError(value, message, None, None, None, ())
    fields = _mapping(value)
    code, error_id = _text(fields.get("code")), _text(fields.get("errorId"))
    if error_id is None and code is not None and code.startswith("GW-"):
        error_id = code  # the gateway has its ids there
    details = fields.get("details")
    return ApiError(
        code=code,
        message=_text(fields.get("message")) or code or error_id or "no reason given",
        error_id=error_id,
        support_id=_text(fields.get("supportId")),
        target=_text(fields.get("target")),
        details=tuple(
            detail
            for each in (cast("list[object]", details) if isinstance(details, list) else [])
            for detail in _as_details(error_of(each))
        ),
    )


def read_result(body: bytes, about: About) -> object:
    """Return the `ia::result` of an answer that is not a query. Raises AnswerNotUnderstood."""
    try:
        document = msgspec.json.decode(body)
    except UNREADABLE as error:
        document = None
        reason = str(error)
    else:
        reason = "it has no ia::result"
    if not isinstance(document, dict) or "ia::result" not in document:
        raise AnswerNotUnderstood(
            f"The answer about {about} is not understood: {reason}",
            remedy="Check base_url and any proxy in between; nothing of the answer was used.",
            entity=about.entity,
            object=about.object,
        )
    return document["ia::result"]


class _Enclosed(msgspec.Struct):
    result: msgspec.Raw = msgspec.field(name="ia::result")


class _RecordStatus(msgspec.Struct):
    key: str | None = None
    error: object = msgspec.field(name="ia::error", default=None)


def read_records(body: bytes, about: About) -> dict[str, bytes]:
    """Return the records in an answer to a GET by keys, by key, each as its exact bytes.

    Those that the answer has an error instead of are left out. Raises AnswerNotUnderstood.
    """
    found: dict[str, bytes] = {}
    try:
        result = bytes(msgspec.json.decode(body, type=_Enclosed).result)
        many = result.lstrip().startswith(b"[")
        records = msgspec.json.decode(result, type=list[msgspec.Raw]) if many else [result]
        for record in records:
            status = msgspec.json.decode(record, type=_RecordStatus)
            if status.error is None and status.key:
                found[status.key] = bytes(record)
    except UNREADABLE as error:
        raise AnswerNotUnderstood(
            f"The answer about {about} is not understood: {error}",
            remedy="Check base_url and any proxy in between; nothing of the answer was used.",
            entity=about.entity,
            object=about.object,
        ) from None
    return found


def _as_details(error: ApiError) -> tuple[ErrorDetail, ...]:
    own = ErrorDetail(error.code, error.message, error.error_id, error.target)
    return (own, *error.details)


def _mapping(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    """Return a non-empty string, or a number as one; None for everything else."""
    if isinstance(value, str):
        return value.strip() or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
