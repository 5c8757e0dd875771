"""Run the sandbox on a port: in a thread for tests and embedding, or until it is stopped."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from intacct_sandbox.api.faulty_responses import CUT
from intacct_sandbox.api.gateway import Gateway
from intacct_sandbox.company import CLIENT_ID, CLIENT_SECRET, COMPANY, Company
from intacct_sandbox.control.behaviours import Behaviours
from intacct_sandbox.control.clock import Clock
from intacct_sandbox.control.faults import read_plan
from intacct_sandbox.domain.books import Books
from intacct_sandbox.errors import SandboxError, rejections
from intacct_sandbox.objects.catalogue import Json
from intacct_sandbox.seed.size import Size

from .app import BASE_PATH, create_app

if TYPE_CHECKING:
    from intacct_sandbox.seed.archive import Progress

_START_LIMIT = 15.0  # seconds
_STOP_LIMIT = 10


@dataclass(frozen=True)
class RunningSandbox:
    """A sandbox that answers at `base_url`."""

    base_url: str
    """`http://127.0.0.1:PORT/ia/api/v1`."""
    info: dict[str, Json]
    """What the ready line says."""
    books: Books


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(256)
    except (OSError, OverflowError) as error:
        listener.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise SandboxError(
                f"Port {port} on {host} is taken: stop what uses it, or choose another with --port."
            ) from error
        raise SandboxError(
            f"The sandbox cannot listen on {host}, port {port} ({error}): choose others with "
            "--host and --port."
        ) from error
    return listener


def _ready_line(base_url: str, company: Company) -> dict[str, Json]:
    return {
        "base_url": base_url,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "company": COMPANY,
        "entities": [
            {"id": one.id, "name": one.name, "currency": one.currency}
            for one in company.entities.values()
        ],
        "users": {
            user.id: list[Json](sorted(id_ for id_ in company.entities if user.may_enter(id_)))
            for user in company.users.values()
        },
    }


@contextmanager
def serve(  # noqa: PLR0913 - options of a public function, each with a default
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    seed: int = 1,
    state: Path | None = None,
    clock: Clock | None = None,
    behaviours: Mapping[str, str] | None = None,
    faults: Path | None = None,
    tier: str = "1",
    size: Size | None = None,
    progress: Progress | None = None,
) -> Iterator[RunningSandbox]:
    """Serve a sandbox in a thread, and stop it when the block ends.

    Args:
        host: Address to listen on.
        port: Port; 0 takes any free one.
        seed: Which company is generated.
        state: Folder that keeps what is written, over restarts; None keeps it in memory only.
        clock: The sandbox's clock; None starts one at the first moment after the demo's books.
        behaviours: Values of behaviours that differ from the defaults, by name.
        faults: YAML file with a fault plan.
        tier: Whose concurrency limits apply: `1` to `4`, or `none`.
        size: Size of a large company, which is kept on disk in `state`.
        progress: Called while a large company is generated, with what, how much, of how much.

    Raises:
        SandboxError: If an option is invalid, or the port or the folder cannot be used.
    """
    chosen, plan = Behaviours(behaviours), read_plan(faults) if faults is not None else []
    listener = _listen(host, port)
    try:
        books = Books(
            seed=seed,
            state=state,
            clock=clock,
            behaviours=chosen,
            size=size,
            progress=progress,
        )
        books.faults.replace(plan)
        books.throttle.choose({"tier": tier})
    except BaseException:
        listener.close()
        raise
    with _answering(books, listener):
        shown = f"[{host}]" if ":" in host else host
        base_url = f"http://{shown}:{listener.getsockname()[1]}{BASE_PATH}"
        info = _ready_line(base_url, books.company)
        if books.journal is not None:
            books.journal.show_card(info)
        yield RunningSandbox(base_url, info, books)


@contextmanager
def _answering(books: Books, listener: socket.socket) -> Iterator[None]:
    """Answer at `listener` in a thread; stop that, and close both, when the block ends."""
    server = _server(books)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="sandbox", daemon=True
    )
    thread.start()
    try:
        _await_start(server, thread)
        yield
    finally:
        server.should_exit = True
        thread.join(_STOP_LIMIT)
        listener.close()
        books.close()


def _server(books: Books) -> uvicorn.Server:
    app = create_app(books)
    return uvicorn.Server(
        uvicorn.Config(
            _with_transport(app),
            http=_protocol(app.state.gateway),
            proxy_headers=False,
            server_header=False,
            log_level="warning",
            access_log=False,
            # The program around the sandbox configures logging.
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=3,
        )
    )


def _with_transport(app: ASGIApp) -> ASGIApp:
    """Return the application with a way to cut its connections.

    ASGI has none: the `send` that uvicorn hands out belongs to the object that has the transport.
    """

    async def cuttable(scope: Scope, receive: Receive, send: Send) -> None:
        transport: asyncio.Transport | None = getattr(
            getattr(send, "__self__", None), "transport", None
        )
        if transport is not None:
            scope[CUT] = lambda at_once: transport.abort() if at_once else transport.close()
        await app(scope, receive, send)

    return cuttable


def _protocol(gateway: Gateway) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol, which answers what is not HTTP in Intacct's envelope too."""

    def send_400_response(self: Any, msg: str) -> None:
        response = gateway.reject(rejections.malformed())
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-length: {len(response.body)}\r\n"
        kind = "content-type: application/json\r\nconnection: close\r\n\r\n"
        self.transport.write((head + kind).encode() + bytes(response.body))
        self.transport.close()

    return type("Protocol", (AutoHTTPProtocol,), {"send_400_response": send_400_response})


def _await_start(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + _START_LIMIT
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise SandboxError("The sandbox did not start: see the lines above for the reason.")
        time.sleep(0.005)


class ServeOptions(TypedDict, total=False):
    """The options of `serve`."""

    host: str
    port: int
    seed: int
    state: Path | None
    behaviours: Mapping[str, str] | None
    faults: Path | None
    tier: str
    size: Size | None
    progress: Progress | None


def run(show: Callable[[str], None] | None = None, **options: Unpack[ServeOptions]) -> None:
    """Serve until SIGTERM or SIGINT. Call it in the main thread.

    Args:
        show: Called with one line of JSON when the sandbox is ready; None prints it.
        **options: As for `serve`; the port is 8765 by default.

    Raises:
        SandboxError: As for `serve`.
    """
    options.setdefault("port", 8765)
    # An event cannot be set in a signal handler: the thread that the signal interrupts may be in
    # `Event.wait` and hold the lock that `set` takes, and both would wait for ever.
    stopped, stop = os.pipe()

    def end(number: int, frame: FrameType | None) -> None:
        os.write(stop, b".")

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with serve(**options) as sandbox:
            line = json.dumps(sandbox.info)
            if show is not None:
                show(line)
            else:
                print(line, flush=True)
            os.read(stopped, 1)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(stopped)
        os.close(stop)
