"""No answer holds a session for ever, fills the memory, or hides that a posting was sent."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from intacct_dagster.client import (
    AccessDenied,
    AnswerNotUnderstood,
    ClientCredentials,
    Intacct,
    IntacctClient,
    IntacctError,
    NotReached,
    OutcomeUnknown,
    Query,
    ServerFailed,
)
from intacct_dagster.client.errors import About, AnswerTooLarge, AnswerTooSlow
from intacct_dagster.client.http.bounds import Bounds
from intacct_dagster.client.http.transport import Kind, Response, Transport, asked_to_wait
from intacct_dagster.client.http.usage import Meter
from intacct_dagster_tests.client.intacct_wire import BASE_URL, Reply, Wire, page_reply, reply

BILL = "accounts-payable/bill"
ABOUT = About("E110", BILL)
CAP = 1_000_000
SOON = Bounds(request_seconds=0.3, response_bytes=CAP)
SMALL = Bounds(response_bytes=CAP)
DEEP = b"[" * 200_000 + b"]" * 200_000

Script = Callable[[socket.socket, threading.Event], None]


@contextmanager
def serving(script: Script) -> Iterator[tuple[str, list[int]]]:
    """Yield the address of a server that follows a script, and the connections that it got."""
    over = threading.Event()
    connections: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                connections.append(connection.fileno())
                connection.settimeout(10)
                with connection:
                    try:
                        script(connection, over)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", connections
        over.set()
        thread.join(10)


def request_of(connection: socket.socket) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)


def until_it_gives_up(connection: socket.socket) -> None:
    while connection.recv(65536):
        continue


def drip(connection: socket.socket, over: threading.Event, text: bytes) -> None:
    for number in range(len(text)):
        connection.sendall(text[number : number + 1])
        if over.wait(0.02):
            return


def drips_the_body(connection: socket.socket, over: threading.Event) -> None:
    request_of(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    drip(connection, over, b" " * 100_000)


def drips_the_head(connection: socket.socket, over: threading.Event) -> None:
    request_of(connection)
    drip(connection, over, b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 90_000)


def drips_informational_answers(connection: socket.socket, over: threading.Event) -> None:
    request_of(connection)
    while not over.wait(0.02):
        connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")


def reads_slowly(connection: socket.socket, over: threading.Event) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    while not over.wait(0.02):
        connection.recv(512)


def says_nothing(connection: socket.socket, over: threading.Event) -> None:
    request_of(connection)
    until_it_gives_up(connection)


def send(address: str, bounds: Bounds, kind: Kind, content: bytes = b"[]") -> Response:
    transport = Transport(address, bounds=bounds)
    try:
        return transport.send("POST", "/x", kind=kind, meter=Meter(), about=ABOUT, content=content)
    finally:
        transport.close()


@pytest.mark.parametrize(
    ("script", "content"),
    [
        (drips_the_body, b"[]"),
        (drips_the_head, b"[]"),
        (drips_informational_answers, b"[]"),
        (says_nothing, b"[]"),
        (reads_slowly, b"x" * 8_000_000),
    ],
    ids=["body", "head", "informational", "silence", "slow reader"],
)
def test_a_request_ends_at_its_deadline_whatever_trickles_in(
    script: Script, content: bytes
) -> None:
    began = time.monotonic()
    with serving(script) as (address, connections):
        with pytest.raises(AnswerTooSlow) as caught:
            send(address, SOON, Kind.READ, content)
        assert len(connections) == 1, "what is too slow is not asked for again"
        with pytest.raises(OutcomeUnknown, match=r"0 s|timed out|Timeout"):
            send(address, SOON, Kind.WRITE, content)
    assert time.monotonic() - began < 3
    assert "accounts-payable/bill of entity E110" in str(caught.value)
    assert "limits.request_seconds" in str(caught.value)
    assert (caught.value.entity, caught.value.object) == ("E110", BILL)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_proxy_that_trickles_does_not_outlast_the_deadline(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    with serving(drips_the_head) as (proxy, connections):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        monkeypatch.setenv("NO_PROXY", "elsewhere.invalid")
        with pytest.raises((AnswerTooSlow, OutcomeUnknown)):
            send("https://intacct.invalid", SOON, kind)
        assert len(connections) == 1
        monkeypatch.setenv("NO_PROXY", "intacct.invalid")
        with pytest.raises(NotReached):
            send("https://intacct.invalid", SOON, kind)
        assert len(connections) == 1, "a host of NO_PROXY is asked directly"
    assert time.monotonic() - began < 3


def test_a_handshake_that_never_ends_is_a_request_that_was_never_sent() -> None:
    with serving(lambda connection, _: until_it_gives_up(connection)) as (address, _):
        for kind in Kind:
            with pytest.raises(NotReached, match="Cannot reach"):
                send(address.replace("http:", "https:"), Bounds(request_seconds=0.1), kind)


def test_a_request_that_is_in_time_is_not_held_to_the_deadline_of_an_earlier_one() -> None:
    def answers_twice(connection: socket.socket, over: threading.Event) -> None:
        for wait in (0.0, 0.25):
            request_of(connection)
            over.wait(wait)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")

    with serving(answers_twice) as (address, connections):
        transport = Transport(address, bounds=Bounds(request_seconds=0.4))
        for _ in range(2):
            answer = transport.send("GET", "/", kind=Kind.READ, meter=Meter(), about=ABOUT)
            assert answer.body == b"[]"
        transport.close()
        assert len(connections) == 1


def endless(connection: socket.socket, over: threading.Event) -> None:
    request_of(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not over.is_set():
        connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")


def until_it_closes(connection: socket.socket, over: threading.Event) -> None:
    request_of(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not over.is_set():
        connection.sendall(b" " * 65536)


def promises_too_much(connection: socket.socket, over: threading.Event) -> None:
    request_of(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 18 + b"\r\n\r\n")
    until_it_gives_up(connection)


def packed(encoding: bytes, body: bytes) -> Script:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n"

    def script(connection: socket.socket, over: threading.Event) -> None:
        request_of(connection)
        connection.sendall(head % (encoding, len(body)) + body)

    return script


def bomb(megabytes: int, window: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, window)
    block = b" " * 1_000_000
    return b"".join([*(packer.compress(block) for _ in range(megabytes)), packer.flush()])


TOO_LARGE = [
    endless,
    until_it_closes,
    promises_too_much,
    packed(b"gzip", bomb(100, 31)),
    packed(b"x-gzip", bomb(100, 31)),
    packed(b"deflate", bomb(100, 15)),
    packed(b"deflate", bomb(100, -15)),
]


@pytest.mark.parametrize(
    "script",
    TOO_LARGE,
    ids=["endless", "to the close", "promised", "gzip", "x-gzip", "zlib", "raw deflate"],
)
def test_an_answer_is_never_held_beyond_the_cap(script: Script) -> None:
    with serving(script) as (address, connections):
        tracemalloc.start()
        try:
            with pytest.raises(AnswerTooLarge) as caught:
                send(address, SMALL, Kind.READ)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert len(connections) == 1, "it would be as large again"
        with pytest.raises(OutcomeUnknown, match="too many bytes"):
            send(address, SMALL, Kind.WRITE)
    assert peak < 3 * CAP
    assert "accounts-payable/bill of entity E110 has more than 1,000,000 bytes" in str(caught.value)
    assert "limits.response_bytes" in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (b"gzip, gzip", gzip.compress(gzip.compress(b"[]", mtime=0), mtime=0)),
        (b"br", b"\x0b\x00\x80[]\x03"),
        (b"zstd", b"anything"),
    ],
)
def test_an_encoding_that_was_not_asked_for_is_not_unpacked(encoding: bytes, body: bytes) -> None:
    with serving(packed(encoding, body)) as (address, _):
        with pytest.raises(AnswerNotUnderstood, match=encoding.decode()):
            send(address, SMALL, Kind.READ)
        with pytest.raises(OutcomeUnknown, match=encoding.decode()):
            send(address, SMALL, Kind.WRITE)


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
def test_a_compressed_answer_that_is_cut_or_damaged_is_no_answer(encoding: bytes) -> None:
    whole = (
        gzip.compress(b"[1]" * 999, mtime=0) if encoding == b"gzip" else zlib.compress(b"[1]" * 999)
    )
    for body in (whole[:-5], whole[:4] + b"\xff" * 9 + whole[13:], b"[]"):
        with serving(packed(encoding, body)) as (address, _):
            with pytest.raises(ServerFailed):
                send(address, SMALL, Kind.READ)
            with pytest.raises(OutcomeUnknown):
                send(address, SMALL, Kind.WRITE)


@pytest.mark.parametrize("window", [15, -15], ids=["zlib", "raw"])
def test_both_kinds_of_deflate_are_read(window: int) -> None:
    body = b"[1]" * 99_999
    packer = zlib.compressobj(9, zlib.DEFLATED, window)
    with serving(packed(b"deflate", packer.compress(body) + packer.flush())) as (address, _):
        assert send(address, SMALL, Kind.READ).body == body


def test_an_answer_as_large_as_the_cap_is_read() -> None:
    with serving(packed(b"gzip", gzip.compress(b" " * CAP, mtime=0))) as (address, _):
        assert len(send(address, SMALL, Kind.READ).body) == CAP


def large_head(connection: socket.socket, over: threading.Event) -> None:
    request_of(connection)
    head = b"".join(b"X-Long-%d: %s\r\n" % (number, b"a" * 9000) for number in range(99))
    connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"Content-Length: 0\r\n\r\n")


def test_headers_without_a_bound_fail_a_read_and_leave_a_write_unknown() -> None:
    with serving(large_head) as (address, _):
        with pytest.raises(ServerFailed, match="entity E110"):
            send(address, SMALL, Kind.READ)
        with pytest.raises(OutcomeUnknown):
            send(address, SMALL, Kind.WRITE)


NONSENSE = {
    "X-IA-Throttle-Limit": "LIMIT001-" + "9" * 5000,
    "X-IA-TENANT-Throttle-Limit": "9" * 5000,
    "X-IA-Minute-Rate-Limit": "1" * 5000,
    "X-IA-Hour-Rate-Limit": "1" * 5000,
    "X-IA-Hour-Rate-Limit-Remaining": "0" * 5000,
    "X-IA-CPU-Request-Cost": "9" * 5000,
    "X-IA-CPU-Limit-Remaining": "-",
    "X-IA-CPU-Limit-Reset": "9" * 5000,
    "Retry-After": "9" * 5000,
    "Date": "Mon, 01 Jan 0001 00:00:00 +2359",
}


def client(*script: Reply) -> tuple[IntacctClient, Wire]:
    wire = Wire(*script)
    grant = ClientCredentials("app.sage.com", "secret")
    company = Intacct("demo", BASE_URL, grant, {"E110": "usa"}, transport=wire)
    return company.entity("E110"), wire


def create(ours: IntacctClient) -> None:
    ours.create_batch(BILL, b'[{"a":1}]', 1, "key-1")


@pytest.mark.parametrize("status", [200, 429, 500])
def test_headers_that_make_no_sense_change_nothing(status: int) -> None:
    refused = [] if status == 200 else [reply(status, b"", NONSENSE)]

    def answer(request: httpx.Request) -> httpx.Response:
        page = page_reply([], total=7)(request)
        return httpx.Response(200, headers=NONSENSE, content=page.content)

    ours, wire = client(*refused, answer)
    assert ours.count(BILL) == 7
    assert len(wire.requests) == 1 + len(refused)


@pytest.mark.parametrize(
    "value",
    [
        "99999999999999999999",
        "1e9",
        "nan",
        "inf",
        "9" * 5000,
        "٣",
        "",
        "1, 2",
        "Mon, 01 Jan 99999 00:00:00 GMT",
        "Wed, 21 Oct 2026 07:28:00 +9999999",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Mon, " + "9" * 5000 + " Jan 2026 00:00:00 GMT",
    ],
)
def test_a_pause_of_any_length_can_be_asked_for(value: str) -> None:
    wait = asked_to_wait(httpx.Headers([(b"Retry-After", value.encode())]))
    assert wait is None or wait >= 0


@pytest.mark.parametrize("status", [200, 201, 207, 400, 401, 403, 404, 409, 422, 500, 503])
def test_a_deeply_nested_answer_is_an_error_in_words_and_never_a_traceback(status: int) -> None:
    ours, _ = client(reply(status, DEEP))
    with pytest.raises(IntacctError, match="entity E110") as caught:
        create(ours)
    if status not in (401, 403):
        assert isinstance(caught.value, OutcomeUnknown)
    with pytest.raises(IntacctError, match="entity E110"):
        ours.count(BILL)
    with pytest.raises(IntacctError, match="entity E110"):
        ours.model(BILL)


@pytest.mark.parametrize("levels", [100, 250, 400, 480, 600])
@pytest.mark.parametrize("status", [200, 207, 400, 403, 409, 500])
def test_an_error_within_errors_without_end_is_no_traceback(status: int, levels: int) -> None:
    details = b'{"details":[' * levels + b'{"code":"a"}' + b"]}" * levels
    ours, _ = client(reply(status, b'{"ia::result":{"ia::error":' + details + b"}}"))
    may_be = AccessDenied if status == 403 else OutcomeUnknown
    # A rejection that can be read is one. All others are errors of ours.
    with contextlib.nullcontext() if status == 400 else pytest.raises(may_be):
        try:
            create(ours)
        except OutcomeUnknown:
            if status != 400:
                raise


def test_rows_that_are_nested_too_deeply_are_not_used() -> None:
    meta = b'"ia::meta":{"totalCount":1,"pageSize":100,"start":1}'
    body = b'{"ia::result":[{"key":"1","a":' + DEEP + b"}]," + meta + b"}"
    ours, _ = client(reply(200, body))
    with pytest.raises(AnswerNotUnderstood):
        _ = ours.query(Query(BILL, ("key", "a"))).rows


@pytest.mark.parametrize(
    "number", [b"1e99999999999999999999", b"9" * 5000, b"1e-9999999999999999999"]
)
def test_numbers_beyond_all_bounds_are_not_used(number: bytes) -> None:
    meta = b'"ia::meta":{"totalCount":1,"pageSize":100,"start":1}'
    ours, _ = client(reply(200, b'{"ia::result":[{"key":"1","a":' + number + b"}]," + meta + b"}"))
    with pytest.raises(AnswerNotUnderstood):
        _ = ours.query(Query(BILL, ("key", "a"))).rows


class Breaks(httpx.SyncByteStream):
    """A body that ends in an error that no library announces."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __iter__(self) -> Iterator[bytes]:
        yield b"["
        raise self.error


SURPRISES = [
    RecursionError("deep"),
    MemoryError(),
    ValueError("a library's own"),
    OSError("the network is down"),
    KeyError("x"),
    AssertionError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
]


@pytest.mark.parametrize("error", SURPRISES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("when", ["sending", "receiving"])
def test_whatever_happens_after_the_first_byte_leaves_a_posting_uncertain(
    error: Exception, when: str
) -> None:
    def sent(request: httpx.Request) -> httpx.Response:
        if when == "sending":
            raise error
        return httpx.Response(201, stream=Breaks(error))

    ours, wire = client(sent)
    with pytest.raises(OutcomeUnknown, match="entity E110"):
        create(ours)
    assert len(wire.requests) == 1
    with pytest.raises(IntacctError, match="entity E110"):
        ours.count(BILL)


def test_a_surprise_while_an_answer_is_read_leaves_a_posting_uncertain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def surprised(*_: object) -> None:
        raise RuntimeError("nobody thought of it")

    monkeypatch.setattr("intacct_dagster.client.entity_client.read_batch_response", surprised)
    ours, _ = client(reply(201, {}))
    with pytest.raises(OutcomeUnknown, match="nobody thought of it"):
        create(ours)
