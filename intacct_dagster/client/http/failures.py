"""The errors of an exchange that brought no usable answer."""

from __future__ import annotations

import httpx

from intacct_dagster.client.errors import (
    About,
    AnswerNotUnderstood,
    AnswerTooLarge,
    AnswerTooSlow,
    IntacctError,
    NoRequestSlot,
    NotReached,
    OutcomeUnknown,
    ServerFailed,
)
from intacct_dagster.client.http.body import BodyTooLarge
from intacct_dagster.client.http.bounds import Bounds


def no_slot(error: Exception, about: About) -> NoRequestSlot:
    """Return the error of a request that other requests never let be sent."""
    what, _, remedy = str(error).partition("\n")
    return NoRequestSlot(
        f"Nothing was sent to {about}: {what}",
        remedy=remedy,
        entity=about.entity,
        object=about.object,
    )


def never_left(error: Exception, host: str, about: About) -> NotReached:
    """Return the error of a request of which no byte was sent."""
    return NotReached(
        f"Cannot reach Sage Intacct at {host}: {str(error) or type(error).__name__}",
        remedy="Check base_url and that the host is up; nothing was sent.",
        entity=about.entity,
        object=about.object,
    )


def unread(
    error: Exception, host: str, about: About, bounds: Bounds, seconds: float | None
) -> IntacctError:
    """Return the error of a read whose answer did not come, or cannot be used.

    `seconds` is the time that the request had, if that has passed.
    """
    if seconds is not None:
        return AnswerTooSlow(
            f"The answer about {about} was not complete after {seconds:,.0f} s.",
            remedy="Check the connection. If it is only slow, set a smaller limits.page_size, or a "
            "larger limits.request_seconds.",
            entity=about.entity,
            object=about.object,
        )
    if isinstance(error, BodyTooLarge):
        return AnswerTooLarge(
            f"The answer about {about} has more than {bounds.response_bytes:,} bytes; "
            "what came of it was thrown away.",
            remedy="Check base_url and any proxy in between. If the answer is right, set a smaller "
            "limits.page_size, or a larger limits.response_bytes.",
            entity=about.entity,
            object=about.object,
        )
    if isinstance(error, httpx.RequestError):
        return ServerFailed(
            f"Sage Intacct at {host} did not answer for {about}: "
            f"{str(error) or type(error).__name__}",
            remedy="Run it again later.",
            entity=about.entity,
            object=about.object,
        )
    return AnswerNotUnderstood(
        f"The answer about {about} is not understood: {words_of(error)}.",
        remedy="Check base_url and any proxy in between; nothing of the answer was used.",
        entity=about.entity,
        object=about.object,
    )


def unknown(
    what: str, about: About, status: int | None, retry_after: float | None = None
) -> OutcomeUnknown:
    """Return the error of a write that may have happened; `what` came in place of an answer."""
    return OutcomeUnknown(
        f"Sent to {about}, but nobody knows whether it happened: {what}.",
        remedy="Settle it with the same bytes and the same Idempotency-Key, or by reading back.",
        entity=about.entity,
        object=about.object,
        http_status=status,
        retry_after=retry_after,
    )


def what_broke(error: Exception, seconds: float | None) -> str:
    """Return in a few words why there is no usable answer; `seconds` as in `unread`."""
    if seconds is not None:
        return f"the answer was not complete after {seconds:,.0f} s"
    if isinstance(error, httpx.RequestError):
        return f"no answer ({type(error).__name__})"
    return f"the answer cannot be used: {words_of(error)}"


def words_of(error: Exception) -> str:
    """Return what an error says, in words where Python's are none of a person."""
    if isinstance(error, BodyTooLarge):
        return "it has too many bytes"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error) or type(error).__name__
