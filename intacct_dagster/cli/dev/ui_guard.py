"""The guard between browsers and the Dagster UI that `intacct-dagster dev` opens.

Dagster's webserver answers any `Host`, and its GraphQL takes a mutation as a GET or as a POST of
`text/plain`. Any page in a person's browser can send those to this machine, and so launch a run.

The guard is a reverse proxy, and `dagster dev` runs unchanged behind it. A middleware would be
simpler, but nothing public of Dagster puts one in: `dagster dev` starts the webserver as a process
of its own, and the function that makes the webserver's app needs a context that only private
modules make.

Behind the guard Dagster listens on a loopback port that the Fetch standard has browsers block
(`BLOCKED_PORTS`): they open no connection to it, so no page gets around the guard. A program that
is no browser can; it could also send the guard any header. The guard is no log-in.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote

import h11

#: Ports above 1023 to which browsers open no connection, the ones they have blocked the longest:
#: https://fetch.spec.whatwg.org/#port-blocking.
BLOCKED_PORTS = (6665, 6666, 6667, 6668, 6669, 4045, 3659, 2049)

_LOOPBACK = "127.0.0.1"
_HOST = re.compile(r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?")
#: Headers about one connection, which is another one behind the guard.
_OF_THE_CONNECTION = {
    *(b"connection", b"keep-alive", b"proxy-authorization", b"proxy-connection", b"te"),
    *(b"trailer", b"upgrade"),
}
_BYTES = 65_536
_HEAD_SECONDS = 30
_START_SECONDS = 10
_LINGER_SECONDS = 1


class UIError(Exception):
    """The UI cannot be opened; the message says why, and what to do."""


@dataclass(frozen=True)
class Refusal:
    """The status of the response to a request that Dagster is not given, and why."""

    status: HTTPStatus
    reason: str


def refusal(request: h11.Request, hosts: Collection[str]) -> Refusal | None:
    """Return why a request is refused; None if Dagster may have it.

    Args:
        request: The request, without its body.
        hosts: Lower-case names that the UI is reached by, besides those of this machine's loopback
            interface.
    """
    return _malformed(request) or _foreign(request, hosts) or _no_json(request)


def _malformed(request: h11.Request) -> Refusal | None:
    """Return why the two sides could read a request differently."""
    for name in (b"host", b"origin", b"content-type", b"content-length", b"upgrade"):
        if len(_all(request, name)) > 1:
            return Refusal(HTTPStatus.BAD_REQUEST, f"There are two {name.decode()} headers.")
    if _all(request, b"content-length") and _all(request, b"transfer-encoding"):
        return Refusal(HTTPStatus.BAD_REQUEST, "The body has two lengths.")
    if not request.target.startswith(b"/"):
        return Refusal(HTTPStatus.BAD_REQUEST, "The target is not a path.")
    return None


def _foreign(request: h11.Request, hosts: Collection[str]) -> Refusal | None:
    """Return why a request comes from another site."""
    host = _one(request, b"host").lower()
    if not _is_ours(host, hosts):
        # The page of a name that its owner points at this machine has the same origin as the UI.
        return Refusal(
            HTTPStatus.FORBIDDEN,
            f"The UI is not reached by the name {host!r}. Use http://127.0.0.1, or start "
            "`intacct-dagster dev` with --host or --allow-host and that name.",
        )
    origin = _one(request, b"origin").lower()
    if origin and origin not in (f"http://{host}", f"https://{host}"):
        return Refusal(HTTPStatus.FORBIDDEN, f"The page is of another origin, {origin!r}.")
    site = _one(request, b"sec-fetch-site").lower()
    followed = request.method == b"GET" and _one(request, b"sec-fetch-dest") == "document"
    if site in ("cross-site", "same-site") and not followed:
        return Refusal(HTTPStatus.FORBIDDEN, "The page is of another origin.")
    return None


def _no_json(request: h11.Request) -> Refusal | None:
    """Return why a request may be one that a browser sends for any page without asking first."""
    if request.method in (b"GET", b"HEAD", b"OPTIONS"):
        path, _, query = request.target.partition(b"?")
        if query and unquote(path.decode("ascii", "replace")).rstrip("/").endswith("/graphql"):
            return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "Send GraphQL by POST, as JSON.")
        return None
    # `text/plain; application/json` is a type that any page may send; Dagster takes it for JSON.
    if _one(request, b"content-type").partition(";")[0].strip().lower() != "application/json":
        return Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send the body with Content-Type: application/json."
        )
    return None


def _is_ours(host: str, hosts: Collection[str]) -> bool:
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = found["six"] or found["name"]
    if name == "localhost" or name in hosts:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _all(request: h11.Request, name: bytes) -> list[bytes]:
    return [value for each, value in request.headers if each == name]


def _one(request: h11.Request, name: bytes) -> str:
    return next((value.decode("latin-1") for value in _all(request, name)), "")


class Guard:
    """A reverse proxy that gives Dagster's webserver the requests that are not refused.

    It is bound to its address when it is made by `guarded`, and answers from `open` on.
    """

    def __init__(self, hosts: Collection[str], loop: asyncio.AbstractEventLoop) -> None:
        self._hosts = frozenset(each.lower() for each in hosts)
        self._loop = loop
        self._server: asyncio.Server | None = None
        self._behind = 0
        # Once the browser has left, nothing else of asyncio refers to the task of its connection.
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port that it is bound to."""
        if self._server is None:
            raise RuntimeError("the guard is not bound")
        return int(self._server.sockets[0].getsockname()[1])

    def open(self, behind: int) -> None:
        """Answer from now on, with what listens on the loopback port `behind`."""
        self._behind = behind
        if self._server is None:
            raise RuntimeError("the guard is not bound")
        asyncio.run_coroutine_threadsafe(self._server.start_serving(), self._loop).result(
            _START_SECONDS
        )

    async def bind(self, host: str, port: int) -> None:
        """Take the address. Raises OSError if it is taken."""
        self._server = await asyncio.start_server(self._accept, host, port, start_serving=False)

    async def close(self) -> None:
        """Answer no more, and end the connections that there are."""
        if self._server is not None:
            self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for each in others:
            each.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The other side may end a connection at any moment.
        try:
            await self._answer(reader, writer)
        except* (
            OSError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            h11.ProtocolError,
        ):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one request of a connection."""
        browser = h11.Connection(h11.SERVER, max_incomplete_event_size=_BYTES)
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                request = await _event(browser, reader)
        except h11.RemoteProtocolError as error:
            await _refuse(reader, writer, Refusal(HTTPStatus(error.error_status_hint), f"{error}."))
            return
        if not isinstance(request, h11.Request):
            return
        refused = refusal(request, self._hosts)
        if refused is not None:
            await _refuse(reader, writer, refused)
            return
        try:
            behind, to = await asyncio.open_connection(_LOOPBACK, self._behind)
        except OSError:
            ended = Refusal(HTTPStatus.BAD_GATEWAY, "Dagster's webserver does not answer.")
            await _refuse(reader, writer, ended)
            return
        try:
            if _is_websocket(request):
                await _websocket(browser, request, (reader, writer), (behind, to))
            else:
                await _exchange(browser, request, (reader, writer), (behind, to))
        finally:
            to.close()


_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _event(connection: h11.Connection, reader: asyncio.StreamReader) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(_BYTES))
    return event


async def _refuse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, refused: Refusal
) -> None:
    body = f"{refused.reason}\n".encode()
    head = (
        f"HTTP/1.1 {refused.status.value} {refused.status.phrase}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    writer.write_eof()
    # A connection that is closed with bytes unread is reset, and the response may be lost with it.
    async with asyncio.timeout(_LINGER_SECONDS):
        while await reader.read(_BYTES):
            pass


def _is_websocket(request: h11.Request) -> bool:
    return (
        request.method == b"GET"
        and _one(request, b"upgrade").lower() == "websocket"
        and not _all(request, b"content-length")
        and not _all(request, b"transfer-encoding")
    )


def _head(ui: h11.Connection, request: h11.Request, *connection: tuple[bytes, bytes]) -> bytes:
    """Return the head of a request as Dagster is sent it."""
    kept = [(name, value) for name, value in request.headers if name not in _OF_THE_CONNECTION]
    head = ui.send(
        h11.Request(method=request.method, target=request.target, headers=[*kept, *connection])
    )
    return head or b""


async def _exchange(
    browser: h11.Connection, request: h11.Request, here: _Streams, there: _Streams
) -> None:
    """Have Dagster answer one request. The end of the connection is the end of the response."""
    ui = h11.Connection(h11.CLIENT)
    there[1].write(_head(ui, request, (b"connection", b"close")))
    body = asyncio.ensure_future(_body(browser, here[0], ui, there[1]))
    try:
        await _copy(there[0], here[1])
    finally:
        body.cancel()
        await asyncio.gather(body, return_exceptions=True)


async def _body(
    browser: h11.Connection,
    reader: asyncio.StreamReader,
    ui: h11.Connection,
    to: asyncio.StreamWriter,
) -> None:
    """Send the body on, framed again: so nothing after it is taken for another request."""
    try:
        while isinstance(event := await _event(browser, reader), h11.Data):
            to.write(ui.send(h11.Data(data=event.data)) or b"")
            await to.drain()
        if isinstance(event, h11.EndOfMessage):
            to.write(ui.send(h11.EndOfMessage()) or b"")
    except (OSError, h11.ProtocolError):
        to.close()  # half a request: Dagster need not wait for the rest


async def _websocket(
    browser: h11.Connection, request: h11.Request, here: _Streams, there: _Streams
) -> None:
    """Have Dagster open a websocket, and carry its bytes both ways once it has."""
    ui = h11.Connection(h11.CLIENT)
    there[1].write(_head(ui, request, (b"connection", b"Upgrade"), (b"upgrade", b"websocket")))
    async with asyncio.timeout(_HEAD_SECONDS):
        head = await there[0].readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101 "):
        unopened = Refusal(HTTPStatus.BAD_GATEWAY, "Dagster did not open the websocket.")
        await _refuse(*here, unopened)
        return
    here[1].write(head)
    there[1].write(browser.trailing_data[0])
    async with asyncio.TaskGroup() as both:
        both.create_task(_copy_all(here[0], there[1]))
        both.create_task(_copy_all(there[0], here[1]))


async def _copy_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until there is no more, and let the other side know."""
    await _copy(reader, writer)
    writer.write_eof()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_BYTES):
        writer.write(chunk)
        await writer.drain()


@contextmanager
def guarded(host: str, port: int, hosts: Collection[str] = ()) -> Iterator[Guard]:
    """Bind a guard to an address for the length of the block; `Guard.open` has it answer.

    Args:
        host: The address to listen on. Its name is one that the UI is reached by.
        port: The port to listen on; 0 takes a free one.
        hosts: Other names that the UI is reached by.

    Raises:
        UIError: The address is taken, or not one of this machine.
    """
    loop = asyncio.new_event_loop()
    guard = Guard({*hosts, host.strip("[]")}, loop)
    thread = threading.Thread(target=loop.run_forever, name="guard of the UI", daemon=True)
    thread.start()
    try:
        try:
            asyncio.run_coroutine_threadsafe(guard.bind(host, port), loop).result(_START_SECONDS)
        except OSError as error:
            raise UIError(
                f"The Dagster UI cannot listen on {host}:{port} ({error.strerror}). "
                "Name another with --host or --port."
            ) from None
        yield guard
    finally:
        asyncio.run_coroutine_threadsafe(guard.close(), loop).result(_START_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_START_SECONDS)
        loop.close()


def blocked_port() -> int:
    """Return a free loopback port that browsers do not connect to.

    Raises:
        UIError: All of them are taken.
    """
    for port in BLOCKED_PORTS:
        with socket.socket() as tried, suppress(OSError):
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((_LOOPBACK, port))
            return port
    ports = ", ".join(str(each) for each in BLOCKED_PORTS)
    raise UIError(
        f"Dagster needs one of the ports {ports} of 127.0.0.1, and all are taken. "
        "Stop another `intacct-dagster dev`."
    )


def answers(port: int) -> bool:
    """Return whether something listens on this loopback port."""
    with suppress(OSError), socket.create_connection((_LOOPBACK, port), timeout=1):
        return True
    return False
