"""The URLs of this service."""

from __future__ import annotations

from starlette.routing import Route

from intacct_sandbox.api.gateway import Gateway
from intacct_sandbox.api.jobs.deferring import deferrable

from . import responses

_OBJECT = "/objects/{application}/{object}"
_ALL = ["GET", "POST", "PATCH", "DELETE", "OPTIONS"]


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes of this service."""
    return [
        gateway.route(_OBJECT, "objects", deferrable(responses.collection), _ALL),
        gateway.route(f"{_OBJECT}/{{keys}}", "objects", deferrable(responses.member), _ALL),
    ]
