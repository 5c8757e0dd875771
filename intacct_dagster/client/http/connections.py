"""Connections to one host on which a request ends at its deadline, whatever the other side does.

The timeouts of httpx are for each read: a server that sends a byte in time, again and again, passes
all of them. These connections count the time that is left at each read and write.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

#: The extension of a request that has its deadline, a moment of `time.monotonic`.
DEADLINE: Final = "intacct_dagster.deadline"

# A slow reader is found out between two pieces of what is written.
_WRITTEN_AT_ONCE: Final = 16 * 1024

_LIMITS: Final = {"max_connections": 100, "max_keepalive_connections": 20, "keepalive_expiry": 5.0}


class BoundedConnections(httpx.BaseTransport):
    """A pool of connections to one host. A request may carry its deadline in DEADLINE.

    Where `trust_env` holds, it goes through the proxy that the environment or the operating system
    names for the host.
    """

    def __init__(self, base_url: str, *, trust_env: bool) -> None:
        self._deadline = _Deadline()
        network = _BoundedNetwork(self._deadline)
        context = httpx.create_ssl_context(trust_env=trust_env)
        proxy = _proxy_for(base_url) if trust_env else None
        self._pool = _pool(context, network, None if proxy is None else httpx.Proxy(proxy))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the response to a request once its headers are there."""
        until = request.extensions.get(DEADLINE)
        url = request.url
        asked = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _as_httpx(), self._deadline.until(until):
            answer = self._pool.handle_request(asked)
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer, self._deadline, until),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class _Deadline(threading.local):
    """The deadline of the request that this thread has in hand."""

    at: float | None = None

    def left(self, timeout: float | None) -> float | None:
        """Return the seconds that a step may take; zero or less if the deadline has passed."""
        if self.at is None:
            return timeout
        left = self.at - time.monotonic()
        return left if timeout is None else min(timeout, left)

    @contextmanager
    def until(self, at: float | None) -> Iterator[None]:
        before, self.at = self.at, at
        try:
            yield
        finally:
            self.at = before


class _BoundedNetwork(httpcore.NetworkBackend):
    def __init__(self, deadline: _Deadline) -> None:
        self._backend = httpcore.SyncBackend()
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left = self._deadline.left(timeout)
        if left is not None and left <= 0:
            raise httpcore.ConnectTimeout("the time for the request has passed")
        stream = self._backend.connect_tcp(host, port, left, local_address, socket_options)
        return _BoundedStream(stream, self._deadline)


class _BoundedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = self._deadline.left(timeout)
        if left is not None and left <= 0:
            raise httpcore.ReadTimeout("the time for the request has passed")
        return self._stream.read(max_bytes, left)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for first in range(0, len(buffer), _WRITTEN_AT_ONCE):
            left = self._deadline.left(timeout)
            if left is not None and left <= 0:
                raise httpcore.WriteTimeout("the time for the request has passed")
            self._stream.write(buffer[first : first + _WRITTEN_AT_ONCE], left)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = self._deadline.left(timeout)
        if left is not None and left <= 0:
            raise httpcore.ConnectTimeout("the time for the request has passed")
        return _BoundedStream(
            self._stream.start_tls(ssl_context, server_hostname, left), self._deadline
        )

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response, deadline: _Deadline, until: float | None) -> None:
        self._answer = answer
        self._deadline = deadline
        self._until = until

    def __iter__(self) -> Iterator[bytes]:
        pieces = self._answer.iter_stream()
        while True:
            # Set for each piece: between two of them this thread may have another request in hand.
            with _as_httpx(), self._deadline.until(self._until):
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def close(self) -> None:
        self._answer.close()


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Raise the errors of httpcore as those of httpx, which have the same names."""
    try:
        yield
    except (
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        httpcore.TimeoutException,
        httpcore.UnsupportedProtocol,
    ) as error:
        kind: type[httpx.TransportError] = getattr(
            httpx, type(error).__name__, httpx.TransportError
        )
        raise kind(str(error)) from error


def _pool(
    context: ssl.SSLContext, network: httpcore.NetworkBackend, proxy: httpx.Proxy | None
) -> httpcore.ConnectionPool:
    limits: dict[str, Any] = dict(_LIMITS)
    if proxy is None:
        return httpcore.ConnectionPool(ssl_context=context, network_backend=network, **limits)
    url = httpcore.URL(
        scheme=proxy.url.raw_scheme,
        host=proxy.url.raw_host,
        port=proxy.url.port,
        target=proxy.url.raw_path,
    )
    if proxy.url.scheme.startswith("socks5"):
        return httpcore.SOCKSProxy(
            proxy_url=url,
            proxy_auth=proxy.raw_auth,
            ssl_context=context,
            network_backend=network,
            **limits,
        )
    return httpcore.HTTPProxy(
        proxy_url=url,
        proxy_auth=proxy.raw_auth,
        proxy_headers=proxy.headers.raw,
        proxy_ssl_context=proxy.ssl_context,
        ssl_context=context,
        network_backend=network,
        **limits,
    )


def _proxy_for(base_url: str) -> str | None:
    """Return the address of the proxy for a host, or None if it is asked directly."""
    parts = urlsplit(base_url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
