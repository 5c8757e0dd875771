"""Defer requests that ask for it with `Prefer: respond-async`."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from intacct_sandbox.api.gateway import BASE_PATH, DEFERRED, Gateway, Handler
from intacct_sandbox.api.json_bodies import as_json
from intacct_sandbox.domain.webhooks import check_url
from intacct_sandbox.errors import SandboxError, rejections
from intacct_sandbox.objects.catalogue import Json

from .models import WAIT
from .progress import begin_job

_CARRIED = ("x-ia-api-param-transaction", "idempotency-key", "content-type")


def deferrable(handler: Handler) -> Handler:
    """Return the handler, but for requests that ask with `Prefer` to be answered later."""

    def handle(gateway: Gateway, request: Request, body: bytes) -> Response:
        wanted = request.headers.get("prefer", "").lower()
        if "respond-async" not in wanted or DEFERRED in request.scope:
            return handler(gateway, request, body)
        return _put_off(gateway, request, body, serialized="respond-async-serialized" in wanted)

    return handle


def _put_off(gateway: Gateway, request: Request, body: bytes, *, serialized: bool) -> Response:
    """202 for a request that is done in a second; raises `Rejection` (400)."""
    session, books = gateway.session(request), gateway.books
    if books.behaviours["async_batch"] == "rejected" and body.lstrip().startswith(b"["):
        raise rejections.bad_request("A batch cannot be asked for with Prefer: respond-async")
    id_ = request.headers.get("x-ia-webhook-id")
    url = request.headers.get("x-ia-webhook-endpointurl")
    if id_ is not None:
        url = books.webhooks.address(id_)
    try:
        url = check_url(url)
    except SandboxError:
        raise rejections.bad_request(
            "An asynchronous request needs X-IA-Webhook-Id or X-IA-Webhook-EndpointURL"
        ) from None
    headers: dict[str, Json] = {
        name: request.headers[name] for name in _CARRIED if name in request.headers
    }
    path = quote(request.scope["path"].removeprefix(BASE_PATH))
    asked = request.scope["query_string"].decode("ascii", "replace")
    job = begin_job(
        gateway,
        {
            "event": "put off",
            "method": request.method,
            "path": f"{path}?{asked}" if asked else path,
            "headers": headers,
            "body": base64.b64encode(body).decode(),
            "url": url,
            "hook": id_,
            "request": hashlib.md5(gateway.support_id().encode()).hexdigest(),  # noqa: S324 - an id
            "serialized": serialized,
            "user": session.user.id,
            "entity": session.entity,
        },
    )
    body_ = {"ia::result": job.shown(books.webhooks), "ia::meta": {"totalCount": 1}}
    return as_json(body_, status=202, headers={"Retry-After": str(WAIT)})
