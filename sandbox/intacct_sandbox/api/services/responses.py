"""`/services/…`: query, model, and the small services of the core and the company."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from intacct_sandbox import query
from intacct_sandbox.api.gateway import FrontDoor, as_json, read_json
from intacct_sandbox.api.model import object_model as model_service
from intacct_sandbox.domain.authorization import SESSION_LIFE
from intacct_sandbox.domain.sessions import Session
from intacct_sandbox.errors import rejections
from intacct_sandbox.errors.envelopes import Refusal, success
from intacct_sandbox.objects.catalogue import Json, ObjectType
from intacct_sandbox.objects.reading import Reader

_MOST_KEYS = 1000  # fact: Sage OpenAPI, allowed-operations


def ask_query(door: FrontDoor, request: Request, body: bytes) -> Response:
    """POST /services/core/query: one query, or a list of them."""
    session = door.session(request)
    payload = read_json("POST", body)
    if isinstance(payload, list):
        return _several(door, session, payload)
    return as_json(_page(door, session, payload))


def _page(door: FrontDoor, session: Session, payload: Json) -> dict[str, Any]:
    books = door.books
    asked = query.read_query(payload, books)
    with books.lock:
        page = query.answer(asked, books, session.entity)
    books.referee.bill(1, rows=page.found.count)
    return page.body


def _several(door: FrontDoor, session: Session, payloads: list[Json]) -> Response:
    """A query of several objects; what it answers is not documented: a behaviour."""
    shape = door.books.behaviours["multi_object_query"]
    if shape == "refused":
        raise rejections.bad_json("a query is an object")
    if not 1 <= len(payloads) <= query.MOST_OBJECTS:
        raise rejections.bad_request(f"From 1 to {query.MOST_OBJECTS} queries are taken at a time")
    pages: list[Json] = []
    failed = 0
    for payload in payloads:
        try:
            pages.append({**_page(door, session, payload), "ia::status": 200})
        except Refusal as refusal:
            failed += 1
            pages.append({**refusal.body(door.support_id()), "ia::status": refusal.status})
    status = 207 if failed else 200
    if shape == "pages":
        return as_json(pages, status=status)
    meta: dict[str, Json] = {
        "totalCount": len(pages),
        "totalSuccess": len(pages) - failed,
        "totalError": failed,
    }
    return as_json({"ia::result": pages, "ia::meta": meta}, status=status)


def ask_view(door: FrontDoor, request: Request, body: bytes) -> Response:
    """POST /services/core/view: the rows of a view that a user keeps, or of one that every object
    has."""
    session = door.session(request)
    asked = read_json("POST", body)
    if not isinstance(asked, dict):
        raise rejections.bad_json("a view is asked for by an object")
    strange = [name for name in asked if name not in _VIEW_KEYS]
    if strange:
        raise rejections.query_key_unknown(strange[0])
    key = str(asked.get("key"))
    if asked.get("viewType", "user") == "system":
        object_, _, id_ = key.rpartition("::")
        kept = next((one for one in _system_views(door, object_) if one["id"] == id_), None)
    elif asked.get("viewType", "user") == "user":
        kept = _user_view(door, session, key)
    else:
        raise rejections.bad_request("viewType must be user or system")
    if kept is None:
        raise rejections.key_unknown("core/user-view", key[:100])
    view = kept["query"]
    wanted = {name: one for name, one in view.items() if one} if isinstance(view, dict) else {}
    parameters, more = wanted.pop("filterParameters", None), asked.get("filterParameters")
    if isinstance(parameters, dict):
        parameters = {name: one for name, one in parameters.items() if one is not None}
        if isinstance(more, dict):
            more = {**parameters, **more}
    payload: dict[str, Json] = {**wanted, "filterParameters": parameters if more is None else more}
    payload |= {name: asked[name] for name in ("start", "size") if name in asked}
    return as_json(_page(door, session, payload))


_VIEW_KEYS = ("key", "viewType", "start", "size", "filterParameters")


def _user_view(door: FrontDoor, session: Session, key: str) -> dict[str, Json] | None:
    books = door.books
    with books.lock:
        if not books.tables.is_visible("core/user-view", key, books.entity_key(session.entity)):
            return None
        reader = Reader(books.catalogue, books.tables, "core/user-view", books.today())
        return reader.nested(books.tables["core/user-view"].rows[key])


def system_views(door: FrontDoor, request: Request, body: bytes) -> Response:
    """GET /objects/core/system-view?name=APPLICATION/OBJECT[::ID]: the views that every object has.
    Which fields they show is a guess."""
    door.session(request)
    name = request.query_params.get("name", "")
    if name in door.books.catalogue:
        views = _system_views(door, name)
        return as_json(success(list[Json](views), count=len(views)))
    for view in _system_views(door, name.rpartition("::")[0] or name):
        if view["key"] == name:
            return as_json(success(view))
    raise rejections.key_unknown("core/system-view", name[:100])


def _system_views(door: FrontDoor, name: str) -> list[dict[str, Json]]:
    type_ = door.books.catalogue.get(name)
    if type_ is None:
        raise rejections.no_such_object(name[:100])
    shown = [one.path for one in type_.fields.values() if "." not in one.path]
    fields = [path for path in shown if path not in ("key", "href") and _plain(type_, path)][:8]
    changed = "audit.modifiedDateTime"
    views: list[dict[str, Json]] = []
    for number, (title, extra, order) in enumerate(
        (
            ("IA.ALL", [], {"id": "asc"}),
            ("IA.RECENTLY_MODIFIED", [changed, "audit.modifiedBy"], {changed: "desc"}),
        ),
        start=1,
    ):
        key = f"{name}::systemfw{number}"
        query_: dict[str, Json] = {
            "fields": list[Json]([*fields, *extra]),
            "object": name,
            "orderBy": [dict[str, Json](order)],
        }
        views.append(
            {
                "contexts": ["__default"],
                "description": title,
                "id": f"systemfw{number}",
                "key": key,
                "name": title,
                "object": name,
                "query": query_,
                "href": f"/objects/core/system-view?name={key}",
            }
        )
    return views


def _plain(type_: ObjectType, path: str) -> bool:
    field = type_.fields[path]
    return not field.write_only and not field.deprecated


def ask_model(door: FrontDoor, request: Request, body: bytes) -> Response:
    """GET /services/core/model."""
    door.session(request)
    return as_json(
        model_service.answer(door.books.catalogue, door.books.behaviours, request.query_params)
    )


def session_id(door: FrontDoor, request: Request, body: bytes) -> Response:
    """GET /services/core/session/id: a session of the XML API."""
    session = door.session(request)
    books = door.books
    with books.lock:
        id_ = books.tokens.open_session(session.user.id, session.entity, books.clock.now())
    seconds = int(SESSION_LIFE.total_seconds())
    return as_json(success({"sessionId": id_, "expiresIn": seconds}))


def count_events(door: FrontDoor, request: Request, body: bytes) -> Response:
    """GET /services/delivery/event/count: how many events wait for the application."""
    door.session(request)
    return as_json(success({"count": len(door.books.webhooks.waiting())}))


def list_events(door: FrontDoor, request: Request, body: bytes) -> Response:
    """GET /services/delivery/event/list: the next events, which stay until they are acknowledged
    (an empty queue is an empty list: a client captured that)."""
    door.session(request)
    events, ack_id = door.books.webhooks.batch()
    if not events:
        return as_json(success([]))
    shown = [one.shown() for one in events]
    return as_json(success({"events": list[Json](shown), "ackId": ack_id}))


def acknowledge(door: FrontDoor, request: Request, body: bytes) -> Response:
    """POST /services/delivery/event/ack `{"ackId": …}`."""
    door.session(request)
    asked = read_json("POST", body)
    ack_id = asked.get("ackId") if isinstance(asked, dict) else None
    if not isinstance(ack_id, str):
        raise rejections.bad_request("An acknowledgement takes ackId")
    if not door.books.webhooks.acknowledge(ack_id):
        raise rejections.key_unknown("the event queue", ack_id[:100])
    return as_json(success({"ackId": ack_id, "status": "success"}))


def list_dimensions(door: FrontDoor, request: Request, body: bytes) -> Response:
    """GET /services/company-config/dimensions/list: those that a journal entry line can carry."""
    door.session(request)
    line = door.books.catalogue["general-ledger/journal-entry-line"]
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


def allowed_operations(door: FrontDoor, request: Request, body: bytes) -> Response:
    """POST /services/core/allowed-operations/list: what the user may do to each of some records.

    The names of the answer are Sage's; those of the request, `object` and `keys`, are a guess.
    """
    session = door.session(request)
    payload = read_json("POST", body)
    name = payload.get("object") if isinstance(payload, dict) else None
    keys = payload.get("keys") if isinstance(payload, dict) else None
    if not isinstance(name, str) or not isinstance(keys, list):
        raise rejections.bad_request('allowed-operations takes {"object": "…", "keys": ["…"]}')
    if not 1 <= len(keys) <= _MOST_KEYS or not all(isinstance(one, str) for one in keys):
        raise rejections.bad_request(
            f"allowed-operations takes from 1 to {_MOST_KEYS} keys, as texts"
        )
    type_ = door.books.catalogue.get(name.removeprefix("objects/"))
    if type_ is None:
        raise rejections.no_such_object(name)
    with door.books.lock:
        listed: list[Json] = [
            {"key": key, "operations": _operations(door, session, type_, str(key))} for key in keys
        ]
    return as_json(success(listed, count=len(listed)))


def _operations(door: FrontDoor, session: Session, type_: ObjectType, key: str) -> list[Json]:
    books = door.books
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
