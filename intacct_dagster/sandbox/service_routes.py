"""`/services/core/query` and `/services/core/model`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from . import model_service, query
from .front_door import FrontDoor, as_json, read_json


def ask_query(door: FrontDoor, request: Request, body: bytes) -> Response:
    """POST /services/core/query."""
    session = door.session(request)
    books = door.books
    asked = query.read_query(read_json("POST", body), books.catalogue, books.today())
    entity_key = books.entity_key(session.entity)
    with books.lock:
        page = query.answer(asked, books.catalogue, books.tables, entity_key, books.today())
    rows = page["ia::result"]
    books.usage.bill(1, rows=len(rows) if isinstance(rows, list) else 0)
    return as_json(page)


def ask_model(door: FrontDoor, request: Request, body: bytes) -> Response:
    """GET /services/core/model."""
    door.session(request)
    return as_json(model_service.answer(door.books.catalogue, request.query_params.get("name")))
