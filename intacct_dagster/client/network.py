"""The network of reads: urllib3 in place of httpx's engine, for what it takes to receive a page.

A page of 4,000 rows has some 2 MB. httpcore copies it five times in small pieces, each of which
waits for Python's lock while other pages are looked at; urllib3 receives it into its place. Two
million rows are read in two thirds of the time. Writes stay with httpx, which tells for certain
whether a request has left.
"""

from __future__ import annotations

import ssl
from typing import Final
from urllib.request import getproxies

import httpx
import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

_CONNECTIONS: Final = 20  # to one host, kept open; as many as httpx keeps


def network(trusted: ssl.SSLContext) -> httpx.BaseTransport | None:
    """The transport of reads; None, which is httpx's own, where the environment has a proxy."""
    return None if getproxies() else _Network(trusted)


class _Network(httpx.BaseTransport):
    """Answers come whole. A request is sent once, and redirects are answers like others."""

    def __init__(self, trusted: ssl.SSLContext) -> None:
        self._pool = urllib3.PoolManager(maxsize=_CONNECTIONS, retries=False, ssl_context=trusted)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol("it begins with neither http:// nor https://")
        seconds = request.extensions["timeout"]
        try:
            answer = self._pool.request(
                request.method,
                str(request.url),
                body=request.read(),
                # spelled as they were given: Intacct ignores a name that it does not know
                headers={name.decode(): value.decode() for name, value in request.headers.raw},
                timeout=urllib3.Timeout(connect=seconds["connect"], read=seconds["read"]),
                redirect=False,
                preload_content=False,
                decode_content=False,  # httpx does that, by the same headers
            )
            body = answer.read()
            answer.release_conn()
        except (HTTPError, OSError) as error:
            raise _as_httpx_calls_it(error) from error
        return httpx.Response(
            answer.status,
            headers=list(answer.headers.iteritems()),
            stream=httpx.ByteStream(body),
        )

    def close(self) -> None:
        self._pool.clear()


def _as_httpx_calls_it(error: HTTPError | OSError) -> httpx.TransportError:
    """Only what surely happened before a byte had left is told as a failure to connect."""
    told = str(error.__cause__ or error)
    match error:
        case NewConnectionError():  # urllib3 has it among the next ones
            return httpx.ConnectError(told)
        case ConnectTimeoutError():
            return httpx.ConnectTimeout(told)
        case SSLError(args=[ssl.SSLCertVerificationError(), *_]):
            return httpx.ConnectError(told)
        case ReadTimeoutError():
            return httpx.ReadTimeout(told)
        case _:
            return httpx.RemoteProtocolError(told)
