"""`/_sandbox/…`: what the sandbox tells about itself.

Not part of Intacct's API, and open to everybody who reaches the port.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from .clock import wire_time
from .company import COMPANY
from .front_door import FrontDoor, as_json


def health(door: FrontDoor, request: Request, body: bytes) -> Response:
    """GET /_sandbox/health."""
    books = door.books
    return as_json(
        {
            "status": "ok",
            "company": COMPANY,
            "seed": books.seed,
            "now": wire_time(books.clock.now()),
            "records": sum(len(table.rows) for table in books.tables.values()),
        }
    )


def written(door: FrontDoor, request: Request, body: bytes) -> Response:
    """GET /_sandbox/books: what was written through the API since the books were generated."""
    with door.books.lock:
        changes = door.books.written()
    return as_json({"changes": list(changes), "count": len(changes)})


def requests(door: FrontDoor, request: Request, body: bytes) -> Response:
    """GET /_sandbox/requests: counters since the sandbox was started."""
    return as_json(door.books.usage.shown())
