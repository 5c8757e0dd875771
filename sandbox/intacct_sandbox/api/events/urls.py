"""The URLs of this service."""

from __future__ import annotations

from starlette.routing import Route

from intacct_sandbox.api.gateway import Gateway

from . import responses


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes of this service."""
    return [
        gateway.route("/services/delivery/event/count", "events", responses.count_events, ["GET"]),
        gateway.route("/services/delivery/event/list", "events", responses.list_events, ["GET"]),
        gateway.route("/services/delivery/event/ack", "events", responses.acknowledge, ["POST"]),
    ]
