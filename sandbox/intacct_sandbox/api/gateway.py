"""What every request has in common: its body is read within a limit, the fault plan and the
throttle have their say, its errors come in Intacct's envelopes, it is recorded. Whatever happens
behind the door, an answer comes out, unless the plan cuts the connection."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import re
import zlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from intacct_sandbox.control.audit_log import Exchange, body_hash
from intacct_sandbox.control.faults import Answer, Mishap
from intacct_sandbox.domain.books import Books
from intacct_sandbox.domain.external_changes import write_elsewhere
from intacct_sandbox.domain.idempotency import owner_of
from intacct_sandbox.domain.sessions import ENTITY_HEADER, Session, enter
from intacct_sandbox.errors import SandboxError, rejections
from intacct_sandbox.errors.envelopes import Refusal
from intacct_sandbox.objects.catalogue import Json

BASE_PATH = "/ia/api/v1"
"""Where Intacct's API begins."""

DEFERRED = "sandbox.session"
"""Key of the ASGI scope: the session of a request that was put off."""

XML = "xml"
"""The kind of route that takes XML, and whose errors are XML."""

CUT = "sandbox.cut"
"""Key of the ASGI scope: a function that closes the connection, at once if its argument is true."""

_DRAINED = (
    100_000_000  # bytes of a body that is too large, read so that the client hears the answer
)
_ABOUT_TOKENS = frozenset(("token", "revoke", "introspect", "authorize"))
_TIMEOUTS = {"none": None, "60_seconds": 60.0, "15_minutes": 900.0}

_XML_OBJECT = re.compile(rb"<object>\s*(\w{1,40})\s*</object>")

_log = logging.getLogger(__name__)

Handler = Callable[["FrontDoor", Request, bytes], Response]


class FrontDoor:
    """Answers requests on behalf of one set of books."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.jobs: dict[str, Any] = {}
        """Work that was put off, by job id."""
        self.readings: dict[str, Any] = {}
        """What `readMore` of the XML API goes on with, by result id."""
        self.before_each: Callable[[], None] = lambda: None
        """Called before each request: whoever puts work off sees here whether it is due."""
        self._numbers = itertools.count(1)
        self._inside: list[tuple[Route, str, Handler]] = []

    def support_id(self) -> str:
        """A support id in the shape of Sage's; never the same twice in one sandbox."""
        number = next(self._numbers)
        digest = hashlib.blake2b(f"{self.books.seed}:{number}".encode(), digest_size=12).hexdigest()
        return f"SBX{number:06d}%7E{digest}"

    def session(self, request: Request) -> Session:
        """Who asks, and where; raises `Refusal` (401, 403, 400)."""
        deferred: Session | None = request.scope.get(DEFERRED)
        if deferred is not None:
            return deferred
        now = self.books.clock.now()
        user, bound = self.books.tokens.bearer(request.headers.get("authorization"), now)
        return enter(
            user, request.headers.get(ENTITY_HEADER) or bound, self.books.company.entity_keys
        )

    # --- routes ---------------------------------------------------------------------------

    def route(
        self,
        path: str,
        kind: str,
        handler: Handler,
        methods: list[str],
        *,
        base: str = BASE_PATH,
        shaped: Callable[[Response], Response] = lambda response: response,
    ) -> Route:
        """A route of the API, below its base path; `kind` names it in counters and fault plans.

        `shaped` gives an error of the door the form that the route's own errors have.
        """

        async def answer(request: Request) -> Response:
            self.before_each()
            exchange = self.books.referee.open(
                self.books.clock.now(), kind, request.method, request.url.path
            )
            response = shaped(await self._serve(request, exchange, handler))
            cut = isinstance(response, CutResponse)
            self.books.referee.close(exchange, None if cut else response.status_code)
            return response

        route = Route(base + path, answer, methods=methods)
        if base == BASE_PATH:
            self._inside.append((route, kind, handler))
        return route

    def control_route(self, path: str, handler: Handler, methods: list[str]) -> Route:
        """A route of the control API: no faults befall it, and nobody counts it."""

        async def answer(request: Request) -> Response:
            try:
                answered = handler(self, request, await self._body(request))
            except Refusal as refusal:
                return self.refuse(refusal)
            except SandboxError as error:
                return as_json({"error": {"message": str(error)}}, status=400)
            # It may have moved the clock.
            self.before_each()
            return answered

        return Route(f"/_sandbox{path}", answer, methods=methods)

    def tidy(self, app: ASGIApp) -> ASGIApp:
        """The application behind a look at the path: slashes too many are passed over, unless the
        behaviour says that it is another path then."""

        async def tidied(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and self.books.behaviours["stray_slashes"] == "ignored":
                scope["path"] = tidy_path(scope["path"])
            await app(scope, receive, send)

        return tidied

    def inside(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        session: Session | None = None,
    ) -> Response:
        """The answer to a request that another request brings along: one of a composite, or one
        that was put off, whose session was opened then. `path` is below the API's base path."""
        raw, _, query = path.partition("?")
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": BASE_PATH + tidy_path(unquote(raw)),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), text.encode()) for name, text in headers.items()],
        }
        if session is not None:
            scope[DEFERRED] = session
        exchange = self.books.referee.open(
            self.books.clock.now(), "no route", method, BASE_PATH + raw
        )
        response = self.refuse(rejections.no_such_path(method, raw[:200]))
        for route, kind, handler in self._inside:
            match, child = route.matches(scope)
            if match == Match.FULL:
                scope.update(child)
                request = Request(scope)
                exchange.route = kind
                self._describe(exchange, request, body)
                response = self._handle(request, exchange, handler, body)
                break
        self.books.referee.close(exchange, response.status_code)
        return response

    # --- one request ----------------------------------------------------------------------

    async def _serve(self, request: Request, exchange: Exchange, handle: Handler) -> Response:
        books = self.books
        try:
            body = await self._body(request)
            if exchange.route != XML and "xml" in request.headers.get("content-type", "").lower():
                raise rejections.gateway(400, "GW-0014", "Invalid Content Type")
            self._describe(exchange, request, body)
            mishap = self._timed_out(books.faults.befall(exchange))
            exchange.faults = mishap.names
            with ExitStack() as stack:
                held = self._hold_key(stack, exchange)
                headers = stack.enter_context(books.throttle.admit(books.clock.now()))
                await books.clock.wait(mishap.latency)
                response = self._befallen(request, exchange, handle, body, mishap)
                if mishap.loses_answer and exchange.reached and held is not None:
                    books.lose_answer(*held)
            headers["X-Kong-Response-Latency"] = str(round(mishap.latency * 1000))
            for name, value in headers.items():
                response.headers.setdefault(name, value)
        except Refusal as refusal:
            return self.refuse(refusal)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        return response

    def _describe(self, exchange: Exchange, request: Request, body: bytes) -> None:
        """Note what the request is about, as far as that can be told."""
        exchange.body_size = len(body)
        if body and exchange.route not in _ABOUT_TOKENS:
            exchange.body_hash = body_hash(body)
        exchange.idempotency_key = request.headers.get("idempotency-key")
        if "object" in request.path_params:
            exchange.object = "{application}/{object}".format(**request.path_params)
        elif exchange.route == "query":
            exchange.object = _queried(body)
        elif exchange.route == XML:
            named = _XML_OBJECT.search(body)
            exchange.object = named[1].decode() if named is not None else None
        if exchange.route not in _ABOUT_TOKENS:
            try:
                session = self.session(request)
            except Refusal:
                return  # the handler will say so
            exchange.user, exchange.entity = session.user.id, session.entity

    def _timed_out(self, mishap: Mishap) -> Mishap:
        limit = _TIMEOUTS[self.books.behaviours["request_timeout"]]
        if limit is None or mishap.latency <= limit or mishap.answer is not None:
            return mishap
        return replace(mishap, latency=limit, answer=Answer(504, after_commit=True))

    def _hold_key(self, stack: ExitStack, exchange: Exchange) -> tuple[str, str] | None:
        """Keep others from using the same `Idempotency-Key` meanwhile, and give its owner and the
        key; raises `Refusal` (409)."""
        if (
            exchange.idempotency_key is None
            or exchange.user is None
            or exchange.method not in ("POST", "PATCH")
        ):
            return None
        scope = self.books.behaviours["idempotency_scope"]
        owner = owner_of(scope, exchange.user, exchange.entity)
        stack.enter_context(self.books.answers.under_way(owner, exchange.idempotency_key))
        return owner, exchange.idempotency_key

    def _befallen(
        self, request: Request, exchange: Exchange, handle: Handler, body: bytes, mishap: Mishap
    ) -> Response:
        """The answer, with whatever the fault plan does to it."""
        books = self.books
        if mishap.cut == "before":
            return CutResponse()
        if mishap.answer is not None and not mishap.answer.after_commit:
            return self._false_answer(mishap.answer)
        if mishap.revoke_token and exchange.user is not None:
            books.tokens.revoke_user(exchange.user)
        if mishap.meanwhile is not None:
            write_elsewhere(books, exchange, mishap.meanwhile, mishap.chance)
        response = self._handle(request, exchange, handle, body)
        if mishap.late is not None:
            until = books.clock.now() + timedelta(seconds=mishap.late)
            for _, object_, key in exchange.wrote:
                books.hide(object_, key, until)
        if mishap.answer is not None:
            return self._false_answer(mishap.answer)
        if mishap.drop_item:
            response = _without_an_item(response, mishap)
        if mishap.truncate is not None:
            whole = bytes(response.body)
            return _with_body(response, whole[: int(len(whole) * mishap.truncate)])
        if mishap.cut is not None:
            return CutResponse(response if mishap.cut == "during" else None)
        return response

    def _handle(
        self, request: Request, exchange: Exchange, handle: Handler, body: bytes
    ) -> Response:
        exchange.reached = True
        try:
            with self.books.referee.at_work(exchange):
                response = handle(self, request, body)
        except Refusal as refusal:
            return self.refuse(refusal)
        except Exception as error:
            _log.exception("%s %s", request.method, request.url.path)
            return self.refuse(rejections.broke(type(error).__name__))
        if exchange.wrote:
            user = self.books.tokens.user_key(exchange.user)
            self.books.webhooks.tell(exchange.wrote, user, exchange.entity)
        return response

    def refuse(self, refusal: Refusal) -> Response:
        """The answer to a refused request."""
        body = refusal.body(self.support_id())
        if self.books.behaviours["error_envelope"] == "top" and "ia::result" in body:
            result = body.pop("ia::result")
            body = {**result, **body} if isinstance(result, dict) else body
        return as_json(body, status=refusal.status, headers=refusal.headers)

    async def no_route(self, request: Request, error: Exception) -> Response:
        """The answer where no route fits: 404 or 405."""
        path = request.url.path[:200]
        if _OTHER_VERSION.match(path):
            response = self.refuse(rejections.version_not_supported())
        elif path.startswith(f"{BASE_PATH}/oauth2/") and path.count("/") == 5:
            gone = isinstance(error, HTTPException) and error.status_code == 404
            response = self.refuse(
                rejections.gateway(404, "GW-0033", "Invalid Token Endpoint")
                if gone
                else rejections.method_not_allowed(request.method, path)
            )
        elif (service := _NOT_SERVED.match(path.removeprefix(BASE_PATH))) is not None:
            response = self.refuse(rejections.not_simulated(f"/{service[1]}"))
        elif isinstance(error, HTTPException) and error.status_code == 405:
            response = self.refuse(rejections.method_not_allowed(request.method, path))
        else:
            response = self.refuse(rejections.no_such_path(request.method, path))
        exchange = self.books.referee.open(self.books.clock.now(), "no route", request.method, path)
        self.books.referee.close(exchange, response.status_code)
        return response

    async def _body(self, request: Request) -> bytes:
        megabytes = int(self.books.behaviours["largest_body"])
        chunks, size = [], 0
        async for chunk in request.stream():
            size += len(chunk)
            if size <= megabytes * 1_000_000:
                chunks.append(chunk)
            elif size > _DRAINED:
                break
        if size > megabytes * 1_000_000:
            raise rejections.too_large(megabytes)
        return _unpacked(b"".join(chunks), request.headers.get("content-encoding", ""), megabytes)

    # --- what the fault plan puts in the place of an answer -----------------------------------

    def _false_answer(self, answer: Answer) -> Response:
        if answer.body == "error":
            response = self.refuse(_gateway_error(answer.status))
        elif answer.body == "empty":
            response = Response(status_code=answer.status)
        else:
            page = _PAGES[answer.body].format(status=answer.status)
            response = Response(page, status_code=answer.status, media_type="text/html")
        response.headers.update(answer.headers)
        return response


_OTHER_VERSION = re.compile(r"/ia/api/(?!v1(/|$))[^/]+")
# What Sage documents and the sandbox does not have.
_NOT_SERVED = re.compile(
    r"/(services/reports|objects/reports|services/company-config/document-sequence)(/|$)"
)
_SLASHES = re.compile("/{2,}")


def tidy_path(path: str) -> str:
    """The path without slashes too many: doubled ones, and one at its end."""
    return _SLASHES.sub("/", path).rstrip("/") or "/"


def _unpacked(body: bytes, encoding: str, megabytes: int) -> bytes:
    """The body as it was before it was compressed; raises `Refusal` (400, 413)."""
    name = encoding.strip().lower()
    if not body or name in ("", "identity"):
        return body
    if name not in ("gzip", "x-gzip", "deflate"):
        raise rejections.bad_encoding(name)
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either, by its first bytes
    try:
        unpacked = unpacker.decompress(body, megabytes * 1_000_000 + 1)
    except zlib.error:
        raise rejections.bad_encoding(name) from None
    if len(unpacked) > megabytes * 1_000_000:
        raise rejections.too_large(megabytes)
    if not unpacker.eof:
        raise rejections.bad_encoding(name)
    return unpacked


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
_PAGES = {"maintenance_page": _MAINTENANCE_PAGE, "cdn_page": _CDN_PAGE}


def _gateway_error(status: int) -> Refusal:
    if status == 429:
        return rejections.gateway(429, "GW-0010", "API rate limit exceeded")
    if status == 401:
        return rejections.token_expired()
    if status < 500:
        return rejections.gateway(status, "GW-0042", "Forbidden")
    return rejections.gateway(status, "GW-0001", "Unable to process request")


def _with_body(response: Response, body: bytes) -> Response:
    return Response(body, response.status_code, media_type=response.headers.get("content-type"))


def _without_an_item(response: Response, mishap: Mishap) -> Response:
    try:
        answer = msgspec.json.decode(response.body)
        items = answer["ia::result"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return response
    if not isinstance(items, list) or not items:
        return response
    items.pop(mishap.chance.randrange(len(items)))
    return _with_body(response, msgspec.json.encode(answer))


class _Queried(msgspec.Struct):
    object: str


def _queried(body: bytes) -> str | None:
    try:
        return msgspec.json.decode(body, type=_Queried).object
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def content_of(response: Response) -> Json:
    """What an answer in JSON says; None if it is empty, or in no JSON."""
    if not response.body or response.media_type != "application/json":
        return None
    content: Json = msgspec.json.decode(bytes(response.body))
    return content


def read_json(method: str, body: bytes) -> Json:
    """The body as JSON; raises `Refusal` (400)."""
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
    """An answer in JSON."""
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        headers=dict(headers) if headers else None,
        media_type="application/json",
    )
