"""Answer with the model of an object."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from intacct_sandbox.api.gateway import Gateway
from intacct_sandbox.api.json_bodies import as_json
from intacct_sandbox.api.model import object_model


def ask_model(gateway: Gateway, request: Request, body: bytes) -> Response:
    """GET /services/core/model."""
    gateway.session(request)
    return as_json(
        object_model.answer(gateway.books.catalogue, gateway.books.behaviours, request.query_params)
    )
