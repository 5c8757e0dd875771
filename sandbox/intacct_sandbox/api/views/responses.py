"""Answer with the rows of a kept query, and list the views that every object has."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from intacct_sandbox.api.gateway import Gateway
from intacct_sandbox.api.json_bodies import as_json, read_json
from intacct_sandbox.api.query.responses import page_of
from intacct_sandbox.domain.sessions import UserSession
from intacct_sandbox.errors import rejections
from intacct_sandbox.errors.envelopes import success
from intacct_sandbox.objects.catalogue import Json, ObjectType
from intacct_sandbox.objects.reading import RecordReader


def ask_view(gateway: Gateway, request: Request, body: bytes) -> Response:
    """POST /services/core/view: the rows of a view that a user keeps, or of one that every object
    has."""
    session = gateway.session(request)
    asked = read_json("POST", body)
    if not isinstance(asked, dict):
        raise rejections.bad_json("a view is asked for by an object")
    strange = [name for name in asked if name not in _VIEW_KEYS]
    if strange:
        raise rejections.query_key_unknown(strange[0])
    key = str(asked.get("key"))
    if asked.get("viewType", "user") == "system":
        object_, _, id_ = key.rpartition("::")
        kept = next((one for one in _system_views(gateway, object_) if one["id"] == id_), None)
    elif asked.get("viewType", "user") == "user":
        kept = _user_view(gateway, session, key)
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
    return as_json(page_of(gateway, session, payload))


_VIEW_KEYS = ("key", "viewType", "start", "size", "filterParameters")


def _user_view(gateway: Gateway, session: UserSession, key: str) -> dict[str, Json] | None:
    books = gateway.books
    with books.lock:
        if not books.tables.is_visible("core/user-view", key, books.entity_key(session.entity)):
            return None
        reader = RecordReader(books.catalogue, books.tables, "core/user-view", books.today())
        return reader.nested(books.tables["core/user-view"].rows[key])


def system_views(gateway: Gateway, request: Request, body: bytes) -> Response:
    """GET /objects/core/system-view?name=APPLICATION/OBJECT[::ID]: the views that every object has.
    Which fields they show is a guess."""
    gateway.session(request)
    name = request.query_params.get("name", "")
    if name in gateway.books.catalogue:
        views = _system_views(gateway, name)
        return as_json(success(list[Json](views), count=len(views)))
    for view in _system_views(gateway, name.rpartition("::")[0] or name):
        if view["key"] == name:
            return as_json(success(view))
    raise rejections.key_unknown("core/system-view", name[:100])


def _system_views(gateway: Gateway, name: str) -> list[dict[str, Json]]:
    type_ = gateway.books.catalogue.get(name)
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
