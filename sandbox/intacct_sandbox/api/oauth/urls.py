"""The URLs of this service."""

from __future__ import annotations

from starlette.routing import Route

from intacct_sandbox.api.gateway import Gateway

from . import responses


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes of this service."""
    return [
        gateway.route("/oauth2/token", "token", responses.token, ["POST"]),
        gateway.route("/oauth2/revoke", "revoke", responses.revoke, ["POST"]),
        gateway.route("/oauth2/introspect", "introspect", responses.introspect, ["POST"]),
        gateway.route("/oauth2/authorize", "authorize", responses.authorize, ["GET", "POST"]),
    ]
