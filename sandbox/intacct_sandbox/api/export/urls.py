"""The URLs of this service."""

from __future__ import annotations

from starlette.routing import Route

from intacct_sandbox.api.gateway import Gateway
from intacct_sandbox.api.jobs.deferring import deferrable

from . import responses


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes of this service."""
    return [
        gateway.route(
            "/services/core/export", "export", deferrable(responses.ask_export), ["POST"]
        ),
    ]
