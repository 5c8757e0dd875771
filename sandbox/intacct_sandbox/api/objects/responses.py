"""`/objects/{application}/{object}`: list, get, create, change, delete; one record or many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from intacct_sandbox.api import batches
from intacct_sandbox.api.batches import WriteOutcome
from intacct_sandbox.api.gateway import Gateway
from intacct_sandbox.api.json_bodies import as_json, read_json
from intacct_sandbox.domain import writes
from intacct_sandbox.domain.books import Books, UnitOfWork
from intacct_sandbox.domain.sessions import UserSession
from intacct_sandbox.errors import rejections
from intacct_sandbox.errors.envelopes import success, tally
from intacct_sandbox.objects.catalogue import Json, ObjectType
from intacct_sandbox.objects.reading import RecordReader, reference
from intacct_sandbox.objects.tables import Visibility

_LONGEST_LIST = 100
_READS = ("GET", "HEAD")

Write = Callable[[UnitOfWork], "str | None"]


def collection(gateway: Gateway, request: Request, body: bytes) -> Response:
    """Return every method on `/objects/{application}/{object}`."""
    session, type_ = _enter(gateway, request)
    if request.method == "OPTIONS":
        return _options(type_)
    if request.method in _READS:
        if gateway.books.behaviours["list_parameters"] == "rejected":
            for name in request.query_params:
                raise rejections.list_takes_no(name[:100])
        return _list(gateway.books, session, type_)
    plan = partial(_collection_writes, request, body, type_)
    return batches.once(
        gateway, request, body, session, lambda work: _do(gateway, request, work, plan)
    )


def member(gateway: Gateway, request: Request, body: bytes) -> Response:
    """Return every method on `/objects/{application}/{object}/{keys}`."""
    session, type_ = _enter(gateway, request)
    if request.method == "OPTIONS":
        return _options(type_)
    keys = [key.strip() for key in request.path_params["keys"].split(",")]
    if type_.singleton:
        keys = list(gateway.books.tables[type_.name].rows)
    if len(keys) > batches.MOST_ITEMS:
        raise rejections.bad_request(
            f"At most {batches.MOST_ITEMS} keys are taken, and these are {len(keys)}"
        )
    if request.method in _READS:
        return _get(gateway, session, type_, keys)
    plan = partial(_member_writes, request, body, type_, keys)
    return batches.once(
        gateway, request, body, session, lambda work: _do(gateway, request, work, plan)
    )


def _enter(gateway: Gateway, request: Request) -> tuple[UserSession, ObjectType]:
    session = gateway.session(request)
    name = f"{request.path_params['application']}/{request.path_params['object']}"
    # One record under its own name: `company-config/multi-entity-preference/setup`.
    single = gateway.books.catalogue.get(f"{name}/{request.path_params.get('keys')}")
    type_ = single if single is not None and single.singleton else gateway.books.catalogue.get(name)
    if type_ is None:
        raise rejections.no_such_object(name)
    if request.method not in ("OPTIONS", *_READS[1:], *type_.methods):
        raise rejections.method_not_allowed(request.method, f"objects/{name}")
    return session, type_


def _options(type_: ObjectType) -> Response:
    return Response(status_code=204, headers={"Allow": ", ".join(("OPTIONS", *type_.methods))})


def _list(books: Books, session: UserSession, type_: ObjectType) -> Response:
    with books.lock:
        table = books.tables[type_.name]
        shared = books.behaviours["shared_masters"] != "hidden"
        visibility = Visibility(books.entity_key(session.entity), shared=shared)
        total, keys = table.first_keys(visibility, _LONGEST_LIST)
        refs: list[Json] = [reference(type_, key, books.tables) for key in keys]
    books.audit_log.bill(1, rows=len(refs))
    more = total > _LONGEST_LIST
    meta: dict[str, Json] = {
        "totalCount": total,
        "start": 1,
        "pageSize": _LONGEST_LIST,
        "next": _LONGEST_LIST + 1 if more else None,
        "previous": None,
    }
    return as_json({"ia::result": refs, "ia::meta": meta})


def _get(
    gateway: Gateway, session: UserSession, type_: ObjectType, keys: Sequence[str]
) -> Response:
    books = gateway.books
    entity_key = books.entity_key(session.entity)
    reader = RecordReader(books.catalogue, books.tables, type_.name, books.today())
    with books.lock:
        found: list[dict[str, Json] | None] = [
            reader.nested(books.tables[type_.name].rows[key])
            if books.tables.is_visible(type_.name, key, entity_key)
            else None
            for key in keys
        ]
    books.audit_log.bill(1, rows=len(keys))
    if len(keys) == 1:
        if found[0] is None:
            raise rejections.key_unknown(type_.name, keys[0])
        return as_json(success(found[0]))
    missing = sum(one is None for one in found)
    if not missing:
        return as_json(success(list[Json](found), count=len(found)))
    items: list[Json] = []
    for key, record in zip(keys, found, strict=True):
        if record is None:
            rejection = rejections.key_unknown(type_.name, key)
            items.append({"ia::status": 404, "ia::error": rejection.error(gateway.support_id())})
        else:
            items.append({**record, "ia::status": 200})
    return as_json(tally(items, missing), status=404 if missing == len(found) else 207)


# --- writes -----------------------------------------------------------------------------------

Plan = tuple[ObjectType, Sequence[Callable[[Books, UnitOfWork], "str | None"]], bool]
"""The object, its writes in order, and whether the answer is a list."""


def _collection_writes(request: Request, body: bytes, type_: ObjectType) -> Plan:
    if request.method == "DELETE":
        raise rejections.method_not_allowed("DELETE without a key", f"objects/{type_.name}")
    payload = read_json(request.method, body)
    if isinstance(payload, list):
        items = payload
    elif request.method == "PATCH":
        raise rejections.bad_json("PATCH without a key in the path takes a list")
    else:
        items = [payload]
    if request.method == "POST":
        writes_ = [partial(_create, type_=type_, body=item) for item in items]
    else:
        writes_ = [partial(_change_keyed, type_=type_, body=item) for item in items]
    return type_, writes_, isinstance(payload, list)


def _member_writes(request: Request, body: bytes, type_: ObjectType, keys: Sequence[str]) -> Plan:
    if request.method == "DELETE":
        return type_, [partial(_delete, type_=type_, key=key) for key in keys], len(keys) > 1
    if request.method == "POST" or len(keys) > 1:
        raise rejections.method_not_allowed(
            request.method, f"objects/{type_.name} with keys in the path"
        )
    payload = read_json(request.method, body)
    return type_, [partial(_change, type_=type_, key=keys[0], body=payload)], False


def _create(books: Books, work: UnitOfWork, *, type_: ObjectType, body: Json) -> str:
    return writes.create(books, work, type_, body)


def _change(books: Books, work: UnitOfWork, *, type_: ObjectType, key: str, body: Json) -> str:
    return writes.change(books, work, type_, key, body)


def _change_keyed(books: Books, work: UnitOfWork, *, type_: ObjectType, body: Json) -> str:
    key = body.get("key") if isinstance(body, dict) else None
    if not isinstance(key, str | int) or isinstance(key, bool):
        raise rejections.bad_request("Each item of a PATCH needs its key, as a text")
    return writes.change(books, work, type_, str(key), body)


def _delete(books: Books, work: UnitOfWork, *, type_: ObjectType, key: str) -> None:
    writes.delete(books, work, type_, key)


def _do(
    gateway: Gateway, request: Request, work: UnitOfWork, plan: Callable[[], Plan]
) -> WriteOutcome:
    type_, planned, is_list = plan()
    books = gateway.books
    ready: list[Write] = [partial(write, books) for write in planned]
    shown = partial(reference, type_, tables=books.tables)
    if not is_list:
        return batches.one(work, request.method, ready[0], shown)
    return batches.many(gateway, request, work, request.method, ready, shown)
