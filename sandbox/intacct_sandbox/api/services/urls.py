"""The URLs of this service."""

from __future__ import annotations

from starlette.routing import Route

from intacct_sandbox.api.gateway import Gateway

from . import responses


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes of this service."""
    return [
        gateway.route("/services/core/session/id", "session", responses.session_id, ["GET"]),
        gateway.route(
            "/services/company-config/dimensions/list",
            "dimensions",
            responses.list_dimensions,
            ["GET"],
        ),
        gateway.route(
            "/services/core/allowed-operations/list",
            "allowed-operations",
            responses.allowed_operations,
            ["POST"],
        ),
    ]
