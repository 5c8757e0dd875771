"""What every request has in common: its body is read within a limit, the fault plan and the
throttle have their say, its errors come in Intacct's envelopes, it is recorded. Whatever happens
behind the gateway, an answer comes out, unless the plan cuts the connection."""

from __future__ import annotations

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

from intacct_sandbox.api.faulty_responses import (
    PAGES,
    CutResponse,
    gateway_error,
    with_body,
    without_an_item,
)
from intacct_sandbox.api.json_bodies import as_json
from intacct_sandbox.control.audit_log import AuditedRequest, body_hash
from intacct_sandbox.control.faults import Fault, FaultResponse
from intacct_sandbox.domain.books import Books
from intacct_sandbox.domain.external_changes import write_external_changes
from intacct_sandbox.domain.idempotency import owner_of
from intacct_sandbox.domain.sessions import ENTITY_HEADER, UserSession, enter
from intacct_sandbox.errors import SandboxError, rejections
from intacct_sandbox.errors.envelopes import Rejection

BASE_PATH = "/ia/api/v1"
"""Where Intacct's API begins."""

DEFERRED = "sandbox.session"
"""Key of the ASGI scope: the session of a request that was put off."""

XML = "xml"
"""The kind of route that takes XML, and whose errors are XML."""


_DRAINED = (
    100_000_000  # bytes of a body that is too large, read so that the client hears the answer
)
_ABOUT_TOKENS = frozenset(("token", "revoke", "introspect", "authorize"))
_TIMEOUTS = {"none": None, "60_seconds": 60.0, "15_minutes": 900.0}

_XML_OBJECT = re.compile(rb"<object>\s*(\w{1,40})\s*</object>")

_log = logging.getLogger(__name__)

Handler = Callable[["Gateway", Request, bytes], Response]


class Gateway:
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
        """Return a support id in the shape of Sage's; never the same twice in one sandbox."""
        number = next(self._numbers)
        digest = hashlib.blake2b(f"{self.books.seed}:{number}".encode(), digest_size=12).hexdigest()
        return f"SBX{number:06d}%7E{digest}"

    def session(self, request: Request) -> UserSession:
        """Return who asks, and where; raises `Rejection` (401, 403, 400)."""
        deferred: UserSession | None = request.scope.get(DEFERRED)
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
        """Return a route of the API, below its base path; `kind` names it in counters and fault
        plans.

        `shaped` gives an error of the gateway the form that the route's own errors have.
        """

        async def answer(request: Request) -> Response:
            self.before_each()
            exchange = self.books.audit_log.open(
                self.books.clock.now(), kind, request.method, request.url.path
            )
            response = shaped(await self._serve(request, exchange, handler))
            cut = isinstance(response, CutResponse)
            self.books.audit_log.close(exchange, None if cut else response.status_code)
            return response

        route = Route(base + path, answer, methods=methods)
        if base == BASE_PATH:
            self._inside.append((route, kind, handler))
        return route

    def control_route(self, path: str, handler: Handler, methods: list[str]) -> Route:
        """Return a route of the control API: without faults, and not in the audit log."""

        async def answer(request: Request) -> Response:
            try:
                answered = handler(self, request, await self._body(request))
            except Rejection as rejection:
                return self.reject(rejection)
            except SandboxError as error:
                return as_json({"error": {"message": str(error)}}, status=400)
            # It may have moved the clock.
            self.before_each()
            return answered

        return Route(f"/_sandbox{path}", answer, methods=methods)

    def tidy(self, app: ASGIApp) -> ASGIApp:
        """Return the application behind a look at the path: slashes too many are passed over,
        unless the behaviour says that it is another path then."""

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
        session: UserSession | None = None,
    ) -> Response:
        """Return the answer to a request that another request brings along: one of a composite, or
        one that was put off, whose session was opened then. `path` is below the API's base path."""
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
        exchange = self.books.audit_log.open(
            self.books.clock.now(), "no route", method, BASE_PATH + raw
        )
        response = self.reject(rejections.no_such_path(method, raw[:200]))
        for route, kind, handler in self._inside:
            match, child = route.matches(scope)
            if match == Match.FULL:
                scope.update(child)
                request = Request(scope)
                exchange.route = kind
                self._describe(exchange, request, body)
                response = self._handle(request, exchange, handler, body)
                break
        self.books.audit_log.close(exchange, response.status_code)
        return response

    # --- one request ----------------------------------------------------------------------

    async def _serve(self, request: Request, exchange: AuditedRequest, handle: Handler) -> Response:
        books = self.books
        try:
            body = await self._body(request)
            if exchange.route != XML and "xml" in request.headers.get("content-type", "").lower():
                raise rejections.gateway(400, "GW-0014", "Invalid Content Type")
            self._describe(exchange, request, body)
            fault = self._timed_out(books.faults.fault_for(exchange))
            exchange.faults = fault.names
            with ExitStack() as stack:
                held = self._hold_key(stack, exchange)
                headers = stack.enter_context(books.throttle.admit(books.clock.now()))
                await books.clock.wait(fault.latency)
                response = self._answered(request, exchange, handle, body, fault)
                if fault.loses_answer and exchange.reached and held is not None:
                    books.lose_answer(*held)
            headers["X-Kong-Response-Latency"] = str(round(fault.latency * 1000))
            for name, value in headers.items():
                response.headers.setdefault(name, value)
        except Rejection as rejection:
            return self.reject(rejection)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        return response

    def _describe(self, exchange: AuditedRequest, request: Request, body: bytes) -> None:
        """Note what the request is about, as far as that is known."""
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
            except Rejection:
                return  # the handler will say so
            exchange.user, exchange.entity = session.user.id, session.entity

    def _timed_out(self, fault: Fault) -> Fault:
        limit = _TIMEOUTS[self.books.behaviours["request_timeout"]]
        if limit is None or fault.latency <= limit or fault.answer is not None:
            return fault
        return replace(fault, latency=limit, answer=FaultResponse(504, after_commit=True))

    def _hold_key(self, stack: ExitStack, exchange: AuditedRequest) -> tuple[str, str] | None:
        """Keep others from using the same `Idempotency-Key` meanwhile, and give its owner and the
        key; raises `Rejection` (409)."""
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

    def _answered(
        self, request: Request, exchange: AuditedRequest, handle: Handler, body: bytes, fault: Fault
    ) -> Response:
        """Return the answer, with whatever the fault plan does to it."""
        books = self.books
        if fault.cut == "before":
            return CutResponse()
        if fault.answer is not None and not fault.answer.after_commit:
            return self._false_answer(fault.answer)
        if fault.revoke_token and exchange.user is not None:
            books.tokens.revoke_user(exchange.user)
        if fault.meanwhile is not None:
            write_external_changes(books, exchange, fault.meanwhile, fault.chance)
        response = self._handle(request, exchange, handle, body)
        if fault.late is not None:
            until = books.clock.now() + timedelta(seconds=fault.late)
            for _, object_, key in exchange.wrote:
                books.hide(object_, key, until)
        if fault.answer is not None:
            return self._false_answer(fault.answer)
        if fault.drop_item:
            response = without_an_item(response, fault)
        if fault.truncate is not None:
            whole = bytes(response.body)
            return with_body(response, whole[: int(len(whole) * fault.truncate)])
        if fault.cut is not None:
            return CutResponse(response if fault.cut == "during" else None)
        return response

    def _handle(
        self, request: Request, exchange: AuditedRequest, handle: Handler, body: bytes
    ) -> Response:
        exchange.reached = True
        try:
            with self.books.audit_log.at_work(exchange):
                response = handle(self, request, body)
        except Rejection as rejection:
            return self.reject(rejection)
        except Exception as error:
            _log.exception("%s %s", request.method, request.url.path)
            return self.reject(rejections.broke(type(error).__name__))
        if exchange.wrote:
            user = self.books.tokens.user_key(exchange.user)
            self.books.webhooks.tell(exchange.wrote, user, exchange.entity)
        return response

    def reject(self, rejection: Rejection) -> Response:
        """Return the answer to a rejected request."""
        body = rejection.body(self.support_id())
        if self.books.behaviours["error_envelope"] == "top" and "ia::result" in body:
            result = body.pop("ia::result")
            body = {**result, **body} if isinstance(result, dict) else body
        return as_json(body, status=rejection.status, headers=rejection.headers)

    async def no_route(self, request: Request, error: Exception) -> Response:
        """Return the answer where no route fits: 404 or 405."""
        path = request.url.path[:200]
        if _OTHER_VERSION.match(path):
            response = self.reject(rejections.version_not_supported())
        elif path.startswith(f"{BASE_PATH}/oauth2/") and path.count("/") == 5:
            gone = isinstance(error, HTTPException) and error.status_code == 404
            response = self.reject(
                rejections.gateway(404, "GW-0033", "Invalid Token Endpoint")
                if gone
                else rejections.method_not_allowed(request.method, path)
            )
        elif (service := _NOT_SERVED.match(path.removeprefix(BASE_PATH))) is not None:
            response = self.reject(rejections.not_simulated(f"/{service[1]}"))
        elif isinstance(error, HTTPException) and error.status_code == 405:
            response = self.reject(rejections.method_not_allowed(request.method, path))
        else:
            response = self.reject(rejections.no_such_path(request.method, path))
        exchange = self.books.audit_log.open(
            self.books.clock.now(), "no route", request.method, path
        )
        self.books.audit_log.close(exchange, response.status_code)
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
        return unpacked(b"".join(chunks), request.headers.get("content-encoding", ""), megabytes)

    # --- what the fault plan puts in the place of an answer -----------------------------------

    def _false_answer(self, answer: FaultResponse) -> Response:
        if answer.body == "error":
            response = self.reject(gateway_error(answer.status))
        elif answer.body == "empty":
            response = Response(status_code=answer.status)
        else:
            page = PAGES[answer.body].format(status=answer.status)
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
    """Return the path without slashes too many: doubled ones, and one at its end."""
    return _SLASHES.sub("/", path).rstrip("/") or "/"


class _Queried(msgspec.Struct):
    object: str


def _queried(body: bytes) -> str | None:
    try:
        return msgspec.json.decode(body, type=_Queried).object
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def unpacked(body: bytes, encoding: str, megabytes: int) -> bytes:
    """Return the body as it was before it was compressed; raises `Rejection` (400, 413)."""
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
