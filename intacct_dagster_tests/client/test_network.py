"""The network of reads takes whole answers, and only where no proxy is in between."""

from __future__ import annotations

import gc
import gzip
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from intacct_dagster.client.errors import About
from intacct_dagster.client.network import network
from intacct_dagster.client.transport import Kind, Transport
from intacct_dagster.client.usage import Meter

BODY = bytes(range(256)) * 9000  # 2.3 MB
#: ends the wait of an answer that nobody waits for any more
HEARD = threading.Event()


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


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    transport = network(httpx.create_ssl_context())
    assert transport is not None
    with httpx.Client(transport=transport, timeout=10) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/chunks", "/packed"])
def test_a_large_answer_comes_whole(client: httpx.Client, address: str, path: str) -> None:
    for _ in range(2):  # the second on the same connection
        answer = client.get(f"{address}{path}")
        assert answer.content == BODY
    assert answer.headers.get_list("set-cookie") == ([] if path == "/chunks" else ["a=1", "b=2"])


def test_headers_are_spelled_as_they_were_given(client: httpx.Client, address: str) -> None:
    names = client.get(f"{address}/names", headers={"X-IA-API-Param-Entity": "E110"}).text
    assert "X-IA-API-Param-Entity" in names.split(",")
    assert sorted({*names.lower().split(",")}) == sorted(names.lower().split(","))


def test_a_redirect_is_an_answer_like_others(client: httpx.Client, address: str) -> None:
    answer = client.get(f"{address}/moved")
    assert (answer.status_code, answer.headers["location"]) == (302, "/")


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


def test_what_fails_is_what_httpx_calls_it(client: httpx.Client, address: str) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="IncompleteRead"):
        client.get(f"{address}/cut")
    with pytest.raises(httpx.ReadTimeout):
        client.get(f"{address}/silent", timeout=httpx.Timeout(10, read=0.05))
    HEARD.set()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(httpx.ConnectError, match="refused"):
            client.get(f"http://127.0.0.1:{free.getsockname()[1]}")
    with pytest.raises(httpx.ConnectError):
        client.get("http://nobody.invalid")
    with pytest.raises(httpx.UnsupportedProtocol):
        client.get("ftp://127.0.0.1")


def test_where_the_environment_names_a_proxy_httpx_goes_through_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert network(httpx.create_ssl_context()) is None


def certificate(file: Path) -> Path:
    """A key and a certificate of 127.0.0.1 that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(pem)
    )
    return file


def test_a_certificate_has_to_be_one_that_is_trusted(
    client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate(tmp_path / "server.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(file)
    with serving(tls) as address:
        with pytest.raises(httpx.ConnectError, match="certificate"):
            client.get(address)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        trusted = network(httpx.create_ssl_context())
        with httpx.Client(transport=trusted, timeout=10) as trusting:
            assert trusting.get(address).content == BODY
