"""Answer queries: one, or a list of them."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from intacct_sandbox import query
from intacct_sandbox.api.gateway import Gateway
from intacct_sandbox.api.json_bodies import as_json, read_json
from intacct_sandbox.domain.sessions import UserSession
from intacct_sandbox.errors import rejections
from intacct_sandbox.errors.envelopes import Rejection
from intacct_sandbox.objects.catalogue import Json


def ask_query(gateway: Gateway, request: Request, body: bytes) -> Response:
    """POST /services/core/query: one query, or a list of them."""
    session = gateway.session(request)
    payload = read_json("POST", body)
    if isinstance(payload, list):
        return _several(gateway, session, payload)
    return as_json(page_of(gateway, session, payload))


def page_of(gateway: Gateway, session: UserSession, payload: Json) -> dict[str, Any]:
    books = gateway.books
    asked = query.read_query(payload, books)
    with books.lock:
        page = query.answer(asked, books, session.entity)
    books.audit_log.bill(1, rows=page.found.count)
    return page.body


def _several(gateway: Gateway, session: UserSession, payloads: list[Json]) -> Response:
    """Return a query of several objects; what it answers is not documented: a behaviour."""
    shape = gateway.books.behaviours["multi_object_query"]
    if shape == "rejected":
        raise rejections.bad_json("a query is an object")
    if not 1 <= len(payloads) <= query.MOST_OBJECTS:
        raise rejections.bad_request(f"From 1 to {query.MOST_OBJECTS} queries are taken at a time")
    pages: list[Json] = []
    failed = 0
    for payload in payloads:
        try:
            pages.append({**page_of(gateway, session, payload), "ia::status": 200})
        except Rejection as rejection:
            failed += 1
            pages.append({**rejection.body(gateway.support_id()), "ia::status": rejection.status})
    status = 207 if failed else 200
    if shape == "pages":
        return as_json(pages, status=status)
    meta: dict[str, Json] = {
        "totalCount": len(pages),
        "totalSuccess": len(pages) - failed,
        "totalError": failed,
    }
    return as_json({"ia::result": pages, "ia::meta": meta}, status=status)
