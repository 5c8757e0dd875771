"""Count, list and acknowledge the events that wait for the application."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from intacct_sandbox.api.gateway import Gateway
from intacct_sandbox.api.json_bodies import as_json, read_json
from intacct_sandbox.errors import rejections
from intacct_sandbox.errors.envelopes import success
from intacct_sandbox.objects.catalogue import Json


def count_events(gateway: Gateway, request: Request, body: bytes) -> Response:
    """GET /services/delivery/event/count: how many events wait for the application."""
    gateway.session(request)
    return as_json(success({"count": len(gateway.books.webhooks.waiting())}))


def list_events(gateway: Gateway, request: Request, body: bytes) -> Response:
    """GET /services/delivery/event/list: the next events, which stay until they are acknowledged
    (an empty queue is an empty list: a client captured that)."""
    gateway.session(request)
    events, ack_id = gateway.books.webhooks.batch()
    if not events:
        return as_json(success([]))
    shown = [one.shown() for one in events]
    return as_json(success({"events": list[Json](shown), "ackId": ack_id}))


def acknowledge(gateway: Gateway, request: Request, body: bytes) -> Response:
    """POST /services/delivery/event/ack `{"ackId": …}`."""
    gateway.session(request)
    asked = read_json("POST", body)
    ack_id = asked.get("ackId") if isinstance(asked, dict) else None
    if not isinstance(ack_id, str):
        raise rejections.bad_request("An acknowledgement takes ackId")
    if not gateway.books.webhooks.acknowledge(ack_id):
        raise rejections.key_unknown("the event queue", ack_id[:100])
    return as_json(success({"ackId": ack_id, "status": "success"}))
