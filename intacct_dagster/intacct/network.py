"""httpx's network, which takes more than 64 KiB of an answer at a time.

A page of 4,000 rows has some 2 MB. In pieces of 64 KiB it costs 2.4 ms of a processor to receive,
in larger ones 1.4 ms; httpx asks for no more, and has no setting for it.
"""

from __future__ import annotations

import ssl
from typing import Any, Final
from urllib.request import getproxies

import httpcore
import httpx

_AT_ONCE: Final = 256 * 1024  # bytes; more would not stay in a processor's cache
# httpx's own, which has them in no public place
_CONNECTIONS: Final = 100
_IDLE_CONNECTIONS: Final = 20
_IDLE_SECONDS: Final = 5.0


def network() -> httpx.BaseTransport | None:
    """The transport of a client; None, which is httpx's own, where the environment has a proxy."""
    return None if getproxies() else _Network()


class _Network(httpx.HTTPTransport):
    def __init__(self) -> None:
        super().__init__()
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=_CONNECTIONS,
            max_keepalive_connections=_IDLE_CONNECTIONS,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=_Backend(),
        )


class _Backend(httpcore.SyncBackend):
    def connect_tcp(self, *args: Any, **more: Any) -> httpcore.NetworkStream:
        return _Stream(super().connect_tcp(*args, **more))


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max(max_bytes, _AT_ONCE), timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
