"""The URLs of the control endpoints."""

from __future__ import annotations

from starlette.routing import Route

from intacct_sandbox.api.gateway import Gateway

from . import responses


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes below `/_sandbox/`."""
    control = gateway.control_route
    return [
        control("/health", responses.health, ["GET"]),
        control("/openapi.json", responses.openapi_document, ["GET"]),
        control("/books", responses.written, ["GET"]),
        control("/records", responses.records, ["GET"]),
        control("/requests", responses.requests, ["GET"]),
        control("/journal", responses.journal, ["GET"]),
        control("/clock", responses.clock, ["GET", "POST"]),
        control("/faults", responses.faults, ["GET", "PUT", "POST", "DELETE"]),
        control("/behaviours", responses.behaviours, ["GET", "POST"]),
        control("/limits", responses.limits, ["GET", "POST"]),
        control("/webhooks", responses.webhooks, ["GET", "POST"]),
        control("/reset", responses.reset, ["POST"]),
        control("/snapshots", responses.snapshots, ["GET", "POST"]),
        control("/restore", responses.restore, ["POST"]),
    ]
