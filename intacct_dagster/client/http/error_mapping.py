"""Turns an answer with a 4xx status into the error that tells a person what to do."""

from __future__ import annotations

import re

from intacct_dagster.client.errors import (
    About,
    AccessDenied,
    AuthenticationRefused,
    IntacctError,
    RequestRefused,
)
from intacct_dagster.client.http.responses import ApiError, read_error
from intacct_dagster.client.http.transport import Response

# Seen by client authors with 400 as well as 401; GW-0040 is the gateway's "Expired token".
_DEAD_TOKEN_IDS = frozenset({"REST-1206", "REST-2102", "GW-0040"})
_DEAD_TOKEN_TEXT = re.compile(
    r"\btoken is (not valid|invalid|expired)\b|\b(invalid|expired) token\b", re.IGNORECASE
)
_ENTITY_TEXT = re.compile(r"\b(entity|entities|location)\b", re.IGNORECASE)


def token_is_dead(answer: Response) -> bool:
    """Whether a new access token may help: any 401, or a 400 that says the token is not valid."""
    if answer.status == 401:
        return True
    if answer.status != 400:
        return False
    error = read_error(answer.body)
    if error is None:
        return False
    return (
        error.code == "tokenInvalid"
        or not _DEAD_TOKEN_IDS.isdisjoint(error.error_ids())
        or _DEAD_TOKEN_TEXT.search(error.message) is not None
    )


def refusal(answer: Response, about: About, user: str) -> IntacctError:
    """Return the error for an answer that is not a 2xx. `user` is the Sage user of the session."""
    error = read_error(answer.body) or ApiError(
        None, f"HTTP {answer.status} without an explanation", None, None, None, ()
    )
    kind, what, remedy = _explain(answer, error, about, user)
    return kind(
        what,
        remedy=remedy,
        entity=about.entity,
        object=about.object,
        http_status=answer.status,
        error_id=error.error_id,
        code=error.code,
        support_id=error.support_id,
        details=error.details,
    )


def _explain(
    answer: Response, error: ApiError, about: About, user: str
) -> tuple[type[IntacctError], str, str]:
    if token_is_dead(answer):
        return (
            AuthenticationRefused,
            f"Sage Intacct does not accept the session of user {user} at {about}: {error.said}",
            "Check that the user is active and the client id authorised for the company.",
        )
    if answer.status == 403 and about.entity and _ENTITY_TEXT.search(error.said):
        return (
            AccessDenied,
            f"User {user} has no access to entity {about.entity}: {error.said}",
            f"Give it access: Company > Admin > Users > {user} > User entities.",
        )
    if answer.status == 403:
        return (
            AccessDenied,
            f"User {user} may not use {about}: {error.said}",
            f"Give it the permission: Company > Admin > Users > {user} > Roles.",
        )
    return (
        RequestRefused,
        f"Sage Intacct refused the request for {about}: {error.said}",
        _remedy(answer, error),
    )


def _remedy(answer: Response, error: ApiError) -> str:
    said = error.said.lower()
    if "cannot be used in query" in said or ("field" in said and "does not exist" in said):
        return "Take the field out of `fields`, or correct its name; the model lists them all."
    if answer.status == 404 and not error.error_id:
        return "Check base_url: it ends in /ia/api/v1."
    return f"Support id {error.support_id}." if error.support_id else ""
