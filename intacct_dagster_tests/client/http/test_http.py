"""Requests over real sockets: whole answers, headers as given, proxies, certificates."""

from __future__ import annotations

import gc
import gzip
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from intacct_dagster.client.errors import About, NotReached, OutcomeUnknown, ServerFailed
from intacct_dagster.client.http.transport import Kind, Response, Transport
from intacct_dagster.client.http.usage import Meter

BODY = bytes(range(256)) * 9000  # 2.3 MB
#: ends the wait of an answer that nobody waits for any more
HEARD = threading.Event()
#: hosts that a proxy was asked to connect to
TUNNELS: list[str] = []


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        if self.path == "/names":
            names = ",".join(self.headers).encode()
            self.send_header("Content-Length", str(len(names)))
            self.end_headers()
            self.wfile.write(names)
            return
        if self.path == "/silent":
            self.send_header("Content-Length", "1")
            self.end_headers()
            HEARD.wait(10)
            return
        if self.path == "/cut":
            self.send_header("Content-Length", str(len(BODY) + 1))
            self.end_headers()
            self.wfile.write(BODY)
            self.close_connection = True
            return
        if self.path == "/chunks":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for chunk in (BODY[:70_000], BODY[70_000:]):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.wfile.write(b"0\r\n\r\n")
            return
        body = gzip.compress(BODY, 1) if self.path == "/packed" else BODY
        if self.path == "/packed":
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Set-Cookie", "a=1")
        self.send_header("Set-Cookie", "b=2")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self) -> None:
        TUNNELS.append(self.path)
        self.send_error(502)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def transport(address: str) -> Iterator[Transport]:
    transport = Transport(address)
    yield transport
    transport.close()


def get(transport: Transport, path: str, **more: Any) -> Response:
    return transport.send("GET", path, kind=Kind.READ, meter=Meter(), about=About(), **more)


@pytest.mark.parametrize("path", ["/", "/chunks", "/packed"])
def test_a_large_answer_comes_whole(transport: Transport, path: str) -> None:
    for _ in range(2):  # the second on the same connection
        answer = get(transport, path)
        assert answer.body == BODY
    assert answer.headers.get_list("set-cookie") == ([] if path == "/chunks" else ["a=1", "b=2"])


def test_headers_are_spelled_as_they_were_given(transport: Transport) -> None:
    names = get(transport, "/names", headers={"X-IA-API-Param-Entity": "E110"}).body.decode()
    assert "X-IA-API-Param-Entity" in names.split(",")
    assert sorted({*names.lower().split(",")}) == sorted(names.lower().split(","))


def test_a_redirect_is_an_answer_like_others(transport: Transport) -> None:
    answer = get(transport, "/moved")
    assert (answer.status, answer.headers["location"]) == (302, "/")


def responses() -> int:
    return sum(isinstance(each, httpx.Response) for each in gc.get_objects())


def test_what_was_received_is_let_go_at_once(address: str) -> None:
    transport = Transport(address)
    gc.collect()
    gc.disable()
    try:
        before = responses()
        answer = transport.send("GET", "/", kind=Kind.READ, meter=Meter(), about=About())
        assert answer.body == BODY
        assert responses() == before, "only the garbage collector would free it"
    finally:
        gc.enable()
        transport.close()


def test_an_answer_that_is_cut_or_never_comes_leaves_a_write_unknown_and_fails_a_read(
    transport: Transport,
) -> None:
    with pytest.raises(ServerFailed, match="did not answer"):
        get(transport, "/cut")
    with pytest.raises(ServerFailed, match="timed out"):
        get(transport, "/silent", patience=0.05)
    for path in ("/cut", "/silent"):
        with pytest.raises(OutcomeUnknown):
            transport.send(
                "GET", path, kind=Kind.WRITE, meter=Meter(), about=About(), patience=0.05
            )
    HEARD.set()


def test_what_cannot_be_reached_was_never_sent() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    for address, said in (
        (closed, "refused"),
        ("https://nobody.invalid", "Cannot reach"),
    ):
        transport = Transport(address)
        for kind in Kind:
            with pytest.raises(NotReached, match=said):
                transport.send("GET", "/", kind=kind, meter=Meter(), about=About())
        transport.close()


@pytest.mark.parametrize("kind", list(Kind))
def test_where_the_environment_names_a_proxy_all_requests_go_through_it(
    address: str, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)
    TUNNELS.clear()
    transport = Transport("https://intacct.invalid")
    with pytest.raises(NotReached):  # this proxy refuses to connect, so nothing was sent
        transport.send("GET", "/names", kind=kind, meter=Meter(), about=About())
    transport.close()
    # Only the proxy was asked: nobody else could find the host.
    assert set(TUNNELS) == {"intacct.invalid:443"}


def test_a_certificate_has_to_be_one_that_is_trusted(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    with serving(tls) as address:
        strict = Transport(address)
        with pytest.raises(NotReached, match="certificate"):
            get(strict, "/")
        strict.close()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        trusting = Transport(address)
        assert get(trusting, "/").body == BODY
        trusting.close()
