"""The guard of the UI: what reaches Dagster, and what of other pages and other names does not."""

from __future__ import annotations

import gc
import http.client
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from intacct_dagster.cli.dev.ui_guard import BLOCKED_PORTS, Guard, UIError, blocked_port, guarded

JSON = {"Content-Type": "application/json"}


class Behind(ThreadingHTTPServer):
    """Stands for Dagster's webserver, and keeps what it is asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str, bytes, dict[str, str]]] = []
        self.arrived = threading.Event()
        self.may_answer = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: Behind
    protocol_version = "HTTP/1.1"

    def _keep(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(length)
        if headers.get("transfer-encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.server.asked.append((self.command, self.path, body, headers))

    def _answer(self) -> None:
        self._keep()
        if self.path == "/slow":
            self.server.arrived.set()
            self.server.may_answer.wait(30)
        if self.headers.get("Upgrade") == "websocket":
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.end_headers()
            while line := self.rfile.readline():
                self.wfile.write(line.upper())
            return
        body = b"x" * 300_000 if self.path == "/large" else b"from Dagster"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if self.headers.get("Connection") == "close":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_OPTIONS = do_PUT = do_DELETE = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def behind() -> Iterator[Behind]:
    server = Behind()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(timeout=10)
        server.server_close()


@pytest.fixture
def guard(behind: Behind) -> Iterator[Guard]:
    with guarded("127.0.0.1", 0, ["Books.example"]) as guard:
        guard.open(behind.server_address[1])
        yield guard


def ask(
    guard: Guard,
    method: str = "GET",
    target: str = "/",
    headers: Mapping[str, str] | None = None,
    body: bytes | Iterator[bytes] | None = None,
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", guard.port, timeout=30)
    try:
        connection.request(method, target, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def raw(guard: Guard, sent: bytes) -> bytes:
    """What comes back for bytes as they are, until the guard ends the connection."""
    with socket.create_connection(("127.0.0.1", guard.port), timeout=30) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


@pytest.mark.parametrize(
    "host",
    ["localhost:3000", "127.0.0.1", "127.0.0.1:8080", "[::1]:3000", "books.example", "LOCALHOST"],
)
def test_the_ui_is_reached_by_its_own_names_through_any_port(
    guard: Guard, behind: Behind, host: str
) -> None:
    assert ask(guard, headers={"Host": host}) == (200, b"from Dagster")
    assert ask(
        guard, "POST", "/graphql", {"Host": host, "Origin": f"http://{host}", **JSON}, b"{}"
    ) == (200, b"from Dagster")
    assert [(each[0], each[2], each[3]["host"]) for each in behind.asked] == [
        ("GET", b"", host),
        ("POST", b"{}", host),
    ]


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:3000", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("localhost@evil.example", "evil.example#localhost", "localhost:3000:80", "", "[::2]"),
        *("192.0.2.7:3000", "localhost, evil.example", "0x7f000001"),
    ],
)
def test_another_name_is_refused(guard: Guard, behind: Behind, host: str) -> None:
    """A page whose name is pointed at this machine (DNS rebinding) has the UI's own origin."""
    for method, headers in (("GET", {}), ("POST", {**JSON, "Origin": f"http://{host}"})):
        status, reason = ask(guard, method, "/graphql", {"Host": host, **headers}, b"{}")
        assert status == 403
        assert b"--allow-host" in reason
    assert behind.asked == []


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost:4000",
        "http://127.0.0.1",
        "file://",
        "localhost:3000",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
def test_a_page_of_another_origin_is_refused(
    guard: Guard, behind: Behind, origin: str, method: str
) -> None:
    asked = {"Host": "localhost:3000", "Origin": origin, **JSON}
    status, _ = ask(guard, method, "/graphql", asked, b"{}")
    assert status == 403
    assert behind.asked == []


@pytest.mark.parametrize(
    "given",
    [
        *("text/plain", "text/plain; application/json", "application/x-www-form-urlencoded"),
        *("multipart/form-data; boundary=x", "application/graphql", "", "application/jsonx"),
    ],
)
@pytest.mark.parametrize("target", ["/graphql", "/graphql?query=mutation", "/report_asset_check/x"])
def test_only_json_is_taken(guard: Guard, behind: Behind, given: str, target: str) -> None:
    status, reason = ask(guard, "POST", target, {"Content-Type": given} if given else {}, b"{}")
    assert status == 415
    assert b"application/json" in reason
    assert behind.asked == []


@pytest.mark.parametrize(
    "target",
    [
        "/graphql?query=mutation{x}",
        "/%67raphql?query=x",
        "/graphql/?query=x",
        "//graphql?query=x",
        "/books/graphql?a",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_query_is_taken_from_an_address(
    guard: Guard, behind: Behind, method: str, target: str
) -> None:
    """An image of any page can have that address, and a GET for it names no origin."""
    assert ask(guard, method, target)[0] == 405
    assert behind.asked == []


def test_what_another_page_embeds_is_refused_and_a_link_to_the_ui_is_not(
    guard: Guard, behind: Behind
) -> None:
    for site in ("cross-site", "same-site"):
        for made in ("iframe", "image", "script", "empty", ""):
            headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": made}
            assert ask(guard, headers=headers)[0] == 403
        link = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "document"}
        assert ask(guard, headers=link)[0] == 200
        assert ask(guard, "POST", "/graphql", {**link, **JSON}, b"{}")[0] == 403
    for site in ("same-origin", "none"):
        assert ask(guard, headers={"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "script"})[0] == 200
    assert len(behind.asked) == 4


HEAD = b"Host: localhost\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n" + HEAD + b"Host: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\n" + HEAD + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HEAD + b"Origin: http://localhost\r\nOrigin: http://evil\r\n\r\n",
        b"POST /graphql HTTP/1.1\r\n" + HEAD + b"Content-Type: application/json\r\n"
        b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /graphql HTTP/1.1\r\n" + HEAD + b"Content-Type: application/json\r\n"
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HEAD + b"X: " + b"x" * 70_000 + b"\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
    ids=[
        "two hosts",
        "no host",
        "absolute",
        "two origins",
        "two types",
        "two lengths",
        "long",
        "no",
    ],
)
def test_what_two_servers_could_read_differently_is_refused(
    guard: Guard, behind: Behind, sent: bytes
) -> None:
    assert raw(guard, sent).startswith(b"HTTP/1.1 4")
    assert behind.asked == []


def test_nothing_after_a_request_reaches_dagster(guard: Guard, behind: Behind) -> None:
    second = b"POST /graphql HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 2\r\n\r\n{}"
    first = b"POST /graphql HTTP/1.1\r\n" + HEAD + b"Content-Type: application/json\r\n"
    received = raw(guard, first + b"Content-Length: 2\r\n\r\n{}" + second)
    assert received.count(b"HTTP/1.1") == 1
    upgrade = b"Connection: Upgrade, keep-alive\r\nUpgrade: h2c\r\n"
    raw(guard, b"GET / HTTP/1.1\r\n" + HEAD + upgrade + b"\r\n" + second)
    assert [each[:3] for each in behind.asked] == [("POST", "/graphql", b"{}"), ("GET", "/", b"")]
    assert [each[3]["connection"] for each in behind.asked] == ["close", "close"]
    assert "upgrade" not in behind.asked[1][3]


def test_bodies_pass_whole_both_ways(guard: Guard, behind: Behind) -> None:
    assert ask(guard, target="/large") == (200, b"x" * 300_000)
    body = b"y" * 300_000
    assert ask(guard, "POST", "/graphql", JSON, body)[0] == 200
    chunks = iter([body, b"z"])
    assert ask(guard, "POST", "/graphql", JSON, chunks)[0] == 200
    assert [each[2] for each in behind.asked] == [b"", body, body + b"z"]


UPGRADE = b"GET /graphql HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"


def test_a_websocket_of_the_ui_carries_bytes_both_ways(guard: Guard) -> None:
    asked = UPGRADE + b"Host: localhost:3000\r\nOrigin: http://localhost:3000\r\n\r\n"
    received = raw(guard, asked + b"first\n" + b"second\n")
    assert received.startswith(b"HTTP/1.1 101 ")
    assert received.endswith(b"\r\n\r\nFIRST\nSECOND\n")


@pytest.mark.parametrize(
    "headers",
    [
        b"Host: localhost:3000\r\nOrigin: https://evil.example\r\n\r\n",
        b"Host: evil.example\r\nOrigin: http://evil.example\r\n\r\n",
        b"Host: localhost:3000\r\nOrigin: null\r\n\r\n",
    ],
)
def test_a_websocket_of_another_page_is_refused(
    guard: Guard, behind: Behind, headers: bytes
) -> None:
    assert raw(guard, UPGRADE + headers).startswith(b"HTTP/1.1 403 ")
    assert behind.asked == []


def test_a_webserver_that_has_ended_is_named() -> None:
    with guarded("127.0.0.1", 0) as guard, socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
        gone.close()
        guard.open(port)
        status, reason = ask(guard)
    assert status == 502
    assert reason == b"Dagster's webserver does not answer.\n"


def test_nobody_is_answered_before_it_is_opened_or_after_it_is_closed() -> None:
    with guarded("127.0.0.1", 0) as guard:
        port = guard.port
        with pytest.raises(ConnectionRefusedError):
            ask(guard)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=30)


def test_an_address_that_is_taken_is_an_error_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(UIError, match=rf"cannot listen on 127\.0\.0\.1:{port} .*--port"),
            guarded("127.0.0.1", port),
        ):
            pass


def test_dagster_listens_on_a_port_that_is_free_and_that_browsers_block() -> None:
    port = blocked_port()
    assert port in BLOCKED_PORTS
    with socket.create_server(("127.0.0.1", port)):
        assert blocked_port() != port


def test_a_browser_that_leaves_before_its_answer_leaves_nothing_behind(
    guard: Guard, behind: Behind, caplog: pytest.LogCaptureFixture
) -> None:
    """The garbage collector took the task of its connection, and wrote a traceback of it."""
    with socket.create_connection(("127.0.0.1", guard.port), timeout=30) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert behind.arrived.wait(30)
        reset = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    # An answer of the same loop comes after it has seen the reset.
    assert ask(guard, headers={"Host": "localhost"}) == (200, b"from Dagster")
    gc.collect()
    behind.may_answer.set()
    assert ask(guard, headers={"Host": "localhost"}) == (200, b"from Dagster")
    assert [each.getMessage() for each in caplog.records if each.name == "asyncio"] == []
