"""The small services: a session of the XML API, dimensions, allowed operations."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from intacct_sandbox.api.gateway import Gateway
from intacct_sandbox.api.json_bodies import as_json, read_json
from intacct_sandbox.domain.authorization import SESSION_LIFE
from intacct_sandbox.domain.sessions import UserSession
from intacct_sandbox.errors import rejections
from intacct_sandbox.errors.envelopes import success
from intacct_sandbox.objects.catalogue import Json, ObjectType

_MOST_KEYS = 1000  # fact: Sage OpenAPI, allowed-operations


def session_id(gateway: Gateway, request: Request, body: bytes) -> Response:
    """GET /services/core/session/id: a session of the XML API."""
    session = gateway.session(request)
    books = gateway.books
    with books.lock:
        id_ = books.tokens.open_session(session.user.id, session.entity, books.clock.now())
    seconds = int(SESSION_LIFE.total_seconds())
    return as_json(success({"sessionId": id_, "expiresIn": seconds}))


def list_dimensions(gateway: Gateway, request: Request, body: bytes) -> Response:
    """GET /services/company-config/dimensions/list: those that a journal entry line can carry."""
    gateway.session(request)
    line = gateway.books.catalogue["general-ledger/journal-entry-line"]
    dimensions: list[Json] = []
    for ref in line.root.groups["dimensions"].refs.values():
        own = ref.name.startswith("nsp::")
        label = ref.name.removeprefix("nsp::")
        spaced = "".join(f" {one.lower()}" if one.isupper() else one for one in label)
        term = spaced.replace("_", " ").capitalize()
        dimensions.append(
            {
                "dimensionName": ref.name if own else ref.object.rpartition("/")[2].upper(),
                "dimensionLabel": term,
                "termName": term,
                "isUserDefinedDimension": own,
                "isEnabledInGL": True,
                "dimensionEndpoint": f"/objects/{ref.object}",
            }
        )
    return as_json(success(dimensions, count=len(dimensions)))


def allowed_operations(gateway: Gateway, request: Request, body: bytes) -> Response:
    """POST /services/core/allowed-operations/list: what the user may do to each of some records.

    The names of the answer are Sage's; those of the request, `object` and `keys`, are a guess.
    """
    session = gateway.session(request)
    payload = read_json("POST", body)
    name = payload.get("object") if isinstance(payload, dict) else None
    keys = payload.get("keys") if isinstance(payload, dict) else None
    if not isinstance(name, str) or not isinstance(keys, list):
        raise rejections.bad_request('allowed-operations takes {"object": "…", "keys": ["…"]}')
    if not 1 <= len(keys) <= _MOST_KEYS or not all(isinstance(one, str) for one in keys):
        raise rejections.bad_request(
            f"allowed-operations takes from 1 to {_MOST_KEYS} keys, as texts"
        )
    type_ = gateway.books.catalogue.get(name.removeprefix("objects/"))
    if type_ is None:
        raise rejections.no_such_object(name)
    with gateway.books.lock:
        listed: list[Json] = [
            {"key": key, "operations": _operations(gateway, session, type_, str(key))}
            for key in keys
        ]
    return as_json(success(listed, count=len(listed)))


def _operations(gateway: Gateway, session: UserSession, type_: ObjectType, key: str) -> list[Json]:
    books = gateway.books
    entity_key = books.entity_key(session.entity)
    if not books.tables.is_visible(type_.name, key, entity_key):
        return []
    shared = books.tables[type_.name].rows[key].get("entity.key") is None
    ways: list[Json] = ["canView"]
    if entity_key is None or not shared:
        ways += [
            way
            for way, method in (("canEdit", "PATCH"), ("canDelete", "DELETE"))
            if method in type_.methods
        ]
    return ways
