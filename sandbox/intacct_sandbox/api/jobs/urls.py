"""The URLs of this service."""

from __future__ import annotations

from starlette.routing import Route

from intacct_sandbox.api.batches import kept
from intacct_sandbox.api.gateway import Gateway

from . import responses


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes of this service."""
    return [
        gateway.route("/services/core/async/job-status", "async", responses.async_status, ["GET"]),
        gateway.route("/services/bulk/job/create", "bulk", kept(responses.create_bulk), ["POST"]),
        gateway.route("/services/bulk/job/status", "bulk", responses.bulk_status, ["GET"]),
    ]
