"""A client's own address, which takes what the sandbox sends to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any

LIMIT = 20
"""Seconds that anything may take."""


class Receiver(ThreadingHTTPServer):
    """Takes webhooks; answers the statuses that it is given, and 200 after them."""

    daemon_threads = True

    def __init__(self) -> None:
        self.taken: Queue[tuple[dict[str, str], bytes]] = Queue()
        self.statuses: list[int] = []
        super().__init__(("127.0.0.1", 0), _Taker)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


class _Taker(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Take one."""
        receiver = self.server
        assert isinstance(receiver, Receiver)
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
        self.end_headers()
        receiver.taken.put(({name.lower(): text for name, text in self.headers.items()}, body))

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens as long as the block lasts."""
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join(LIMIT)
