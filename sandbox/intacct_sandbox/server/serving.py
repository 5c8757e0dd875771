"""Runs the sandbox on a port: in a thread for tests and embedding, or until told to stop."""

from __future__ import annotations

import asyncio
import errno
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from intacct_sandbox.api.gateway import CUT, FrontDoor
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
def serve(
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
    """A sandbox in a thread, stopped when the block ends. Port 0 takes any free one.

    `behaviours`: switches that are not to be as by default; `faults`: a YAML file with a fault
    plan; `tier`: whose limits of concurrency count (`1` to `4`, or `none`); `size`: of a company
    that is kept on disk, in `state`, and of which `progress` is told how far it is generated.
    Raises `SandboxError` when one of these cannot be, or the port or the state directory cannot
    be used.
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
    app = create_app(books)
    server = uvicorn.Server(
        uvicorn.Config(
            _with_scissors(app),
            http=_protocol(app.state.door),
            proxy_headers=False,
            server_header=False,
            log_level="warning",
            access_log=False,
            # The program around the sandbox says where lines go.
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=3,
        )
    )
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="sandbox", daemon=True
    )
    thread.start()
    try:
        _await_start(server, thread)
        shown = f"[{host}]" if ":" in host else host
        base_url = f"http://{shown}:{listener.getsockname()[1]}{BASE_PATH}"
        info = _ready_line(base_url, books.company)
        if books.journal is not None:
            books.journal.show_card(info)
        yield RunningSandbox(base_url, info, books)
    finally:
        server.should_exit = True
        thread.join(_STOP_LIMIT)
        listener.close()
        books.close()


def _with_scissors(app: ASGIApp) -> ASGIApp:
    """Lets the application cut its connections, which ASGI knows no way to do: the `send` that
    uvicorn hands out belongs to the object that has the transport."""

    async def cuttable(scope: Scope, receive: Receive, send: Send) -> None:
        transport: asyncio.Transport | None = getattr(
            getattr(send, "__self__", None), "transport", None
        )
        if transport is not None:
            scope[CUT] = lambda at_once: transport.abort() if at_once else transport.close()
        await app(scope, receive, send)

    return cuttable


def _protocol(door: FrontDoor) -> type[asyncio.Protocol]:
    """Uvicorn's protocol, but for what it says to something that is not HTTP: that is told in
    Intacct's envelope too, and the connection closed."""

    def send_400_response(self: Any, msg: str) -> None:
        response = door.refuse(rejections.malformed())
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


def run(
    host: str = "127.0.0.1",
    port: int = 8765,
    seed: int = 1,
    state: Path | None = None,
    show: Callable[[str], None] | None = None,
    *,
    behaviours: Mapping[str, str] | None = None,
    faults: Path | None = None,
    tier: str = "1",
    size: Size | None = None,
    progress: Progress | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; prints one line of JSON when ready.

    `show` prints the line; by default it goes to standard output. The rest is as for `serve`.
    Raises `SandboxError`. To be called in the main thread.
    """
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with serve(
            host=host,
            port=port,
            seed=seed,
            state=state,
            behaviours=behaviours,
            faults=faults,
            tier=tier,
            size=size,
            progress=progress,
        ) as sandbox:
            line = json.dumps(sandbox.info)
            if show is not None:
                show(line)
            else:
                print(line, flush=True)
            stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
