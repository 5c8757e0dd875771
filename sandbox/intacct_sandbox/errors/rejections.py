"""Every error the sandbox can answer with, one function each.

Error ids and texts that are known come with their source. Where only a text or nothing at all is
known, the id begins with `SBX-`, so that nobody takes it for one of Sage's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .envelopes import Rejection, RejectionDetail

_MOST_DETAILS = 100  # an answer is read by people; the sandbox's own limit

# --- the gateway: tokens and entities ------------------------------------------------------------


def gateway(status: int, error_id: str, message: str) -> Rejection:
    """Return a check of the gateway, GW-0001 to GW-0042: the id is the `code` (fact: Sage's error
    guide, as are the messages; which status goes with which id is not known)."""
    return Rejection(status, error_id, message, error_id, envelope="gateway")


def throttled(headers: Mapping[str, str]) -> Rejection:
    """429 GW-0010 (fact: Sage's error guide), with the headers that say when to come back."""
    rejection = gateway(429, "GW-0010", "API rate limit exceeded")
    rejection.headers = headers
    return rejection


def token_dead(behaviour: str = "rest_2102_401") -> Rejection:
    """Return a revoked or unknown access token (integrators report both ids; the status is a
    guess)."""
    if behaviour == "rest_1206_400":
        return Rejection(
            400, "tokenInvalid", "The token is not valid", "REST-1206", envelope="token"
        )
    return Rejection(
        400 if behaviour == "rest_2102_400" else 401,
        "tokenInvalid",
        "Token is not valid",
        "REST-2102",
        "IA.TOKEN_IS_INVALID",
        envelope="token",
    )


def token_expired(behaviour: str = "gw_0040_401") -> Rejection:
    """Return an access token after its twelve hours (Sage's staff say 401 GW-0040, developers still
    see 400 REST-1206)."""
    if behaviour == "rest_1206_400":
        return token_dead("rest_1206_400")
    return gateway(401, "GW-0040", "Expired token")


def client_unknown(behaviour: str = "rest_1216") -> Rejection:
    """Wrong client id or secret (integrators report REST-1216; the status is a guess)."""
    if behaviour.startswith("oauth_"):
        status = int(behaviour.removeprefix("oauth_"))
        return Rejection(
            status, "invalid_client", "The client is not known", "SBX-0400", envelope="oauth"
        )
    return Rejection(
        400 if behaviour == "rest_1216_400" else 401,
        "invalidRequest",
        "The Client ID, Client Secret, and/or 3rd Party Application are incorrect",
        "REST-1216",
        envelope="token",
    )


def grant_invalid(why: str, behaviour: str = "status_400") -> Rejection:
    """RFC 6749's `invalid_grant`: a code or refresh token that does not count (any more)."""
    status = int(behaviour.removeprefix("status_"))
    return Rejection(status, "invalid_grant", why, "SBX-0400", envelope="oauth")


def user_unknown(username: str) -> Rejection:
    """Return no such user in no such company (the wording is a guess)."""
    return Rejection(
        401,
        "invalidRequest",
        f"The user or company in '{username}' is not known, or the user is not a Web Services user",
        "SBX-0401",
        envelope="token",
    )


def session_unknown() -> Rejection:
    """Return a session id of the XML API that does not count (any more); the wording is a guess."""
    return Rejection(
        401, "invalidRequest", "The session_id is not valid", "SBX-0402", envelope="token"
    )


def entity_denied(user: str, entity: str) -> Rejection:
    """Return the user may not work in that entity (the wording is a guess)."""
    return Rejection(
        403,
        "accessDenied",
        f"The user {user} does not have access to the entity {entity}",
        "SBX-0403",
        "IA.USER_HAS_NO_ACCESS_TO_ENTITY",
        {"USER": user, "ENTITY": entity},
    )


def entity_unknown(entity: str) -> Rejection:
    """Return the header or the token names an entity that the company does not have (a guess)."""
    return Rejection(
        400,
        "invalidParameter",
        f"The entity {entity} does not exist",
        "SBX-0404",
        "IA.ENTITY_DOES_NOT_EXIST",
        {"ENTITY": entity},
    )


# --- the request as such ----------------------------------------------------------------------


def malformed() -> Rejection:
    """Return something that is not HTTP, or not whole; what Sage's servers say to it is not
    known."""
    return Rejection(400, "invalidRequest", "The request could not be read as HTTP", "SBX-0414")


def version_not_supported() -> Rejection:
    """Return another version than v1 in the path (fact: the example of Sage's error guide)."""
    return Rejection(400, "invalidRequest", "Version is not supported.", "", envelope="top")


def bad_encoding(encoding: str) -> Rejection:
    """Return a body that does not come as its Content-Encoding says."""
    return Rejection(
        400, "invalidRequest", f"The payload cannot be read as {encoding[:40]}", "SBX-0416"
    )


def list_takes_no(name: str) -> Rejection:
    """Return a list of references takes no parameters (a client reports REST-1034 for `start`; the
    wording is a guess)."""
    return Rejection(
        400, "invalidRequest", f"{name} is not a valid parameter of this resource", "REST-1034"
    )


def no_such_path(method: str, path: str) -> Rejection:
    """Return a path that the sandbox does not serve."""
    return Rejection(
        404, "notFound", f"There is no resource at {method} {path} in this sandbox", "SBX-0405"
    )


def method_not_allowed(method: str, what: str) -> Rejection:
    """405: the resource is there, the method is not."""
    return Rejection(
        405, "invalidRequest", f"{method} request is not supported on {what}", "SBX-0406"
    )


def no_such_object(name: str) -> Rejection:
    """Return an object that is not in the catalogue."""
    return Rejection(
        400,
        "invalidRequest",
        f"The object {name} does not exist in version 1",
        "SBX-0407",
        "IA.OBJECT_DOES_NOT_EXIST",
        {"OBJECT": name, "VERSION": "1"},
    )


def payload_required(method: str) -> Rejection:
    """REST-1028 (fact: Sage OpenAPI)."""
    return Rejection(
        400,
        "invalidRequest",
        f"A {method} request requires a payload",
        "REST-1028",
        "IA.REQUEST_REQUIRES_A_PAYLOAD",
        {"METHOD": method},
    )


def bad_json(why: str) -> Rejection:
    """Return the body cannot be read as JSON, or is not what the resource takes."""
    return Rejection(400, "invalidRequest", f"The payload cannot be read: {why}", "SBX-0408")


def bad_request(message: str) -> Rejection:
    """Return a request that breaks a documented limit or form; which id Intacct uses is not
    known."""
    return Rejection(400, "invalidRequest", message, "SBX-0400")


def too_large(megabytes: int) -> Rejection:
    """Return the sandbox's own limit on a body; Sage's is not published."""
    return Rejection(
        413, "invalidRequest", f"The payload is larger than {megabytes} MB", "SBX-0413"
    )


def not_simulated(what: str) -> Rejection:
    """Return something the real API can do and this sandbox cannot."""
    return Rejection(501, "notImplemented", f"The sandbox does not simulate {what}", "SBX-0501")


def broke(what: str) -> Rejection:
    """Return a defect of the sandbox itself."""
    return Rejection(500, "internalError", f"The sandbox failed: {what}", "GW-0001")


# --- query ------------------------------------------------------------------------------------


def payload_errors(details: Sequence[RejectionDetail]) -> Rejection:
    """REST-1064, the wrapper around what is wrong (seen live; look at the details)."""
    return Rejection(
        400,
        "invalidRequest",
        "Payload contains errors",
        "REST-1064",
        "IA.PAYLOAD_CONTAINS_ERRORS",
        details=details[:_MOST_DETAILS],
    )


def field_not_queryable(field: str, object_: str) -> Rejection:
    """REST-1106 for a write-only field or a list (recorded live 2026-03)."""
    return Rejection(
        400,
        "invalidRequest",
        f"The {field} field in {object_} object cannot be used in query in version 1",
        "REST-1106",
        "IA.THE_FIELD_IN_OBJECT_CANNOT_BE_USED_IN_QUERY",
        {"FIELD": field, "OBJECT": object_, "VERSION": "1"},
    )


def field_unknown(field: str) -> Rejection:
    """'The x field does not exist' in the details (seen live; the ids are guesses)."""
    return payload_errors(
        [
            RejectionDetail(
                "invalidRequest",
                f"The {field} field does not exist",
                "SBX-1107",
                "IA.FIELD_DOES_NOT_EXIST",
                {"FIELD_PATH": field},
            )
        ]
    )


def query_key_unknown(key: str) -> Rejection:
    """'Unrecognized key x in query payload' (seen live; the ids are guesses)."""
    return payload_errors(
        [
            RejectionDetail(
                "invalidRequest",
                f"Unrecognized key {key} in query payload",
                "SBX-1108",
                "IA.UNRECOGNIZED_KEY_IN_QUERY_PAYLOAD",
                {"KEY": key},
                target=f"/{key}",
            )
        ]
    )


def query_invalid(message: str, target: str, behaviour: str = "rejected_400") -> Rejection:
    """Anything else that is wrong with a query; Intacct's own ids are not known."""
    rejection = payload_errors(
        [RejectionDetail("invalidParameter", message, "SBX-1109", target=target)]
    )
    rejection.status = int(behaviour.removeprefix("rejected_"))
    return rejection


# --- records ----------------------------------------------------------------------------------


def key_unknown(object_: str, key: str) -> Rejection:
    """404 for a key that is not there, or not visible in this entity."""
    return Rejection(
        404,
        "invalidKey",
        f"The key '{key}' does not exist in {object_}",
        "SBX-0409",
        "IA.INVALID_KEY",
        {"KEY": key, "OBJECT": object_},
    )


def job_unknown(id_: str) -> Rejection:
    """404 for a job that is not there (any more); code and wording as in the example of Sage's
    composite reference."""
    message = f"Asynchronous job {id_} status could not be found"
    return Rejection(404, "notFound", message, "SBX-0417")


def shared_is_read_only(object_: str, key: str) -> Rejection:
    """Return a record of the top level cannot be changed from inside an entity (a guess)."""
    return Rejection(
        403,
        "accessDenied",
        f"The record '{key}' of {object_} belongs to the top level and cannot be changed "
        "from an entity",
        "SBX-0411",
    )


def operation_failed(method: str, object_: str, details: Sequence[RejectionDetail]) -> Rejection:
    """REST-7001 around broken business rules (shape from a fixture of a production client)."""
    return Rejection(
        422,
        "operationFailed",
        f"{method} request on objects/{object_} object was unsuccessful",
        "REST-7001",
        "IA.REQUEST_ON_OBJECT_FAILED",
        {"OPERATION": method, "RESOURCE_NAME": f"objects/{object_}"},
        details=details,
    )


def duplicate(method: str, object_: str, details: Sequence[RejectionDetail]) -> Rejection:
    """Return the same with status 409: a unique value that is taken (fact: Sage's error guide)."""
    rejection = operation_failed(method, object_, details)
    rejection.status = 409
    return rejection


def unprocessed() -> Rejection:
    """Return an item that an atomic batch did not come to (fact: Sage's composite reference)."""
    return Rejection(
        422,
        "unprocessed",
        "Operation skipped due to atomic transaction failure",
        "SBX-0422",
    )


def idempotency_conflict(why: str) -> Rejection:
    """409 for a key that was used for something else, or too long ago (the wording is a guess)."""
    return Rejection(409, "invalidRequest", why, "SBX-0410", "IA.IDEMPOTENCY_KEY_CONFLICT")
