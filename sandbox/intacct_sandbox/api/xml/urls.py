"""The URL of the XML gateway."""

from __future__ import annotations

from starlette.routing import Route

from intacct_sandbox.api.gateway import XML, Gateway

from . import responses


def routes(gateway: Gateway) -> list[Route]:
    """Return the one route of the XML gateway, which is not below the API's base path."""
    return [
        gateway.route(
            responses.PATH,
            XML,
            responses.serve_xml,
            ["POST"],
            base="",
            shaped=responses.as_xml,
        )
    ]
