"""Responses that a fault puts in the place of the real one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from intacct_sandbox.control.faults import Fault
from intacct_sandbox.errors import rejections
from intacct_sandbox.errors.envelopes import Rejection

CUT = "sandbox.cut"
"""Key of the ASGI scope: a function that closes the connection, at once if its argument is true."""


class CutResponse(Response):
    """No answer: the connection is closed, after half of `whole` if there is one."""

    def __init__(self, whole: Response | None = None) -> None:
        super().__init__()
        self._whole = whole

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Close the connection; raises `ConnectionAbortedError` where there is none."""
        cut: Callable[[bool], None] | None = scope.get(CUT)
        if self._whole is not None:
            body = bytes(self._whole.body)
            start = {"type": "http.response.start", "status": self._whole.status_code}
            await send({**start, "headers": self._whole.raw_headers})
            half = {"type": "http.response.body", "body": body[: len(body) // 2]}
            await send({**half, "more_body": True})
        if cut is None:
            raise ConnectionAbortedError("the fault plan cut the connection")
        cut(self._whole is None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # the server hears of the end before it looks for an answer


_MAINTENANCE_PAGE = """<!DOCTYPE html>
<html><head><title>Sage Intacct - Scheduled maintenance</title></head>
<body><h1>We'll be right back</h1><p>Sage Intacct is undergoing scheduled maintenance.</p>
</body></html>
"""


_CDN_PAGE = """<html>
<head><title>{status} Service Unavailable</title></head>
<body><h1>Error {status}</h1><p>The origin server could not be reached. Ref: sandbox</p></body>
</html>
"""


PAGES = {"maintenance_page": _MAINTENANCE_PAGE, "cdn_page": _CDN_PAGE}


def gateway_error(status: int) -> Rejection:
    """Return the error that a fault answers with."""
    if status == 429:
        return rejections.gateway(429, "GW-0010", "API rate limit exceeded")
    if status == 401:
        return rejections.token_expired()
    if status < 500:
        return rejections.gateway(status, "GW-0042", "Forbidden")
    return rejections.gateway(status, "GW-0001", "Unable to process request")


def with_body(response: Response, body: bytes) -> Response:
    """Return the response with another body."""
    return Response(body, response.status_code, media_type=response.headers.get("content-type"))


def without_an_item(response: Response, fault: Fault) -> Response:
    """Return the response without one of the items of its result."""
    try:
        answer = msgspec.json.decode(response.body)
        items = answer["ia::result"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return response
    if not isinstance(items, list) or not items:
        return response
    items.pop(fault.chance.randrange(len(items)))
    return with_body(response, msgspec.json.encode(answer))
