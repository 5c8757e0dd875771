"""What every request has in common: its body is read within a limit, its errors come in Intacct's
envelopes, it is counted. Whatever happens behind the door, an answer comes out."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from . import refusals
from .books import Books
from .catalogue import Json
from .company import ENTITY_KEYS
from .envelopes import Refusal
from .scope import ENTITY_HEADER, Session, enter

LARGEST_BODY = 20_000_000
"""Bytes; the sandbox's own limit, Sage's is not published."""

_log = logging.getLogger(__name__)

Handler = Callable[["FrontDoor", Request, bytes], Response]


class FrontDoor:
    """Answers requests on behalf of one set of books."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self._numbers = itertools.count(1)

    def support_id(self) -> str:
        """A support id in the shape of Sage's; never the same twice in one sandbox."""
        number = next(self._numbers)
        digest = hashlib.blake2b(f"{self.books.seed}:{number}".encode(), digest_size=12).hexdigest()
        return f"SBX{number:06d}%7E{digest}"

    def session(self, request: Request) -> Session:
        """Who asks, and where; raises `Refusal` (401, 403, 400)."""
        now = self.books.clock.now()
        user, bound = self.books.tokens.bearer(request.headers.get("authorization"), now)
        return enter(user, request.headers.get(ENTITY_HEADER) or bound, ENTITY_KEYS)

    def endpoint(self, kind: str, handle: Handler) -> Callable[[Request], Awaitable[Response]]:
        """A Starlette endpoint around a handler; `kind` names it in the counters."""

        async def answer(request: Request) -> Response:
            response = await self._answer(request, handle)
            self.books.usage.count(f"{kind} {request.method}", response.status_code)
            return response

        return answer

    async def _answer(self, request: Request, handle: Handler) -> Response:
        try:
            body = await _body(request)
            return handle(self, request, body)
        except Refusal as refusal:
            return self.refuse(refusal)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except Exception as error:
            _log.exception("%s %s", request.method, request.url.path)
            return self.refuse(refusals.broke(type(error).__name__))

    def refuse(self, refusal: Refusal) -> Response:
        """The answer to a refused request."""
        body = refusal.body(self.support_id())
        return as_json(body, status=refusal.status, headers=refusal.headers)

    async def no_route(self, request: Request, error: Exception) -> Response:
        """The answer where no route fits: 404 or 405."""
        self.books.usage.count("no route", 404)
        path = request.url.path[:200]
        if isinstance(error, HTTPException) and error.status_code == 405:
            return self.refuse(refusals.method_not_allowed(request.method, path))
        return self.refuse(refusals.no_such_path(request.method, path))


async def _body(request: Request) -> bytes:
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > LARGEST_BODY:
        raise refusals.too_large(LARGEST_BODY)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > LARGEST_BODY:
            raise refusals.too_large(LARGEST_BODY)
        chunks.append(chunk)
    return b"".join(chunks)


def read_json(method: str, body: bytes) -> Json:
    """The body as JSON; raises `Refusal` (400)."""
    if not body.strip():
        raise refusals.payload_required(method)
    try:
        decoded: Json = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, ValueError, RecursionError) as error:
        raise refusals.bad_json(str(error)[:200] or "it is not JSON") from None
    return decoded


def as_json(
    body: Mapping[str, Json], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer in JSON."""
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        headers=dict(headers) if headers else None,
        media_type="application/json",
    )
