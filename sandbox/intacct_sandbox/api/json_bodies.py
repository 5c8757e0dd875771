"""Bodies in JSON."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from intacct_sandbox.errors import rejections
from intacct_sandbox.objects.catalogue import Json


def content_of(response: Response) -> Json:
    """Return what an answer in JSON says; None if it is empty, or in no JSON."""
    if not response.body or response.media_type != "application/json":
        return None
    content: Json = msgspec.json.decode(bytes(response.body))
    return content


def read_json(method: str, body: bytes) -> Json:
    """Return the body as JSON; raises `Rejection` (400)."""
    if not body.strip():
        raise rejections.payload_required(method)
    try:
        decoded: Json = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, ValueError, RecursionError) as error:
        raise rejections.bad_json(str(error)[:200] or "it is not JSON") from None
    return decoded


def as_json(
    body: Mapping[str, Json] | list[Json],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an answer in JSON."""
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        headers=dict(headers) if headers else None,
        media_type="application/json",
    )
