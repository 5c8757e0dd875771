"""The network takes whole answers as they come, and only where no proxy is in between."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from intacct_dagster.intacct.network import network

BODY = bytes(range(256)) * 9000  # 2.3 MB


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path == "/cut":
            self.send_header("Content-Length", str(len(BODY) + 1))
            self.end_headers()
            self.wfile.write(BODY)
            self.close_connection = True
            return
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    transport = network()
    assert transport is not None
    with httpx.Client(transport=transport, timeout=10) as client:
        yield client


def test_a_large_answer_comes_whole_and_in_few_pieces(client: httpx.Client, address: str) -> None:
    for _ in range(2):  # the second on the same connection
        with client.stream("GET", address) as response:
            pieces = list(response.iter_raw())
        assert b"".join(pieces) == BODY
        assert max(map(len, pieces)) > 64 * 1024, "httpx itself takes no more at a time"


def test_a_cut_answer_and_a_closed_port_are_what_httpx_calls_them(
    client: httpx.Client, address: str
) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(f"{address}/cut")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(httpx.ConnectError):
            client.get(f"http://127.0.0.1:{free.getsockname()[1]}")


def test_where_the_environment_names_a_proxy_httpx_goes_through_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert network() is None
