"""Calls a sandbox in memory, as the tests do: no port, no thread, a clock that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from intacct_sandbox import (
    BASE_PATH,
    CLIENT_ID,
    CLIENT_SECRET,
    Behaviours,
    Books,
    Clock,
    create_app,
)

PROJECT = Path(__file__).parents[2]
"""The root of the repository."""

CLIENT = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}

INVOICE = "accounts-receivable/invoice"
CUSTOMER = "accounts-receivable/customer"


class Caller:
    """A client of one set of books. `call` takes a path below the API's base path."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self._loop = asyncio.new_event_loop()
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=create_app(books)), base_url="http://sandbox"
        )
        self._tokens: dict[str, str] = {}

    def call(self, method: str, path: str, *, user: str | None = None, **given: Any) -> Any:
        """The response, as an `httpx.Response`. `user`: `usa@demo|E110`, logged in once."""
        headers = dict(given.pop("headers", {}))
        if user is not None:
            headers["Authorization"] = f"Bearer {self.token(user)}"
        below = path if path.startswith(("/_sandbox", "/ia/")) else BASE_PATH + path
        return self._loop.run_until_complete(
            self._client.request(method, below, headers=headers, **given)
        )

    def together(self, *requests: tuple[str, str, str, dict[str, Any]]) -> list[Any]:
        """The responses to requests (method, path, user, rest) that come at the same time."""
        calls = []
        for method, path, user, rest in requests:
            headers = {"Authorization": f"Bearer {self.token(user)}", **rest.pop("headers", {})}
            calls.append(self._client.request(method, BASE_PATH + path, headers=headers, **rest))

        async def all_of_them() -> list[Any]:
            return list(await asyncio.gather(*calls))

        return self._loop.run_until_complete(all_of_them())

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """The answer of the control API, which must be a good one."""
        response = self.call(method, f"/_sandbox/{path}", json=body)
        assert response.status_code == 200, response.text
        return response.json()

    def log_in(self, username: str) -> dict[str, Any]:
        """The answer to a client-credentials request."""
        asked = {"grant_type": "client_credentials", "username": username, **CLIENT}
        response = self.call("POST", "/oauth2/token", data=asked)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def token(self, username: str) -> str:
        """An access token of this user, the same one every time."""
        if username not in self._tokens:
            self._tokens[username] = self.log_in(username)["access_token"]
        return self._tokens[username]

    def forget_tokens(self) -> None:
        """Log in again from now on."""
        self._tokens.clear()

    def query(self, user: str, object_: str, fields: list[str], **rest: Any) -> dict[str, Any]:
        """The answer to a query that works."""
        response = self.call(
            "POST",
            "/services/core/query",
            user=user,
            json={"object": object_, "fields": fields, **rest},
        )
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def close(self) -> None:
        """Close the client and its loop."""
        self._loop.run_until_complete(self._client.aclose())
        self._loop.close()
        self.books.close()


@contextmanager
def calling(
    state: Path | None = None,
    clock: Clock | None = None,
    seed: int = 1,
    behaviours: Mapping[str, str] | None = None,
) -> Iterator[Caller]:
    """A caller of fresh books."""
    clock, chosen = clock or Clock.stopped(), Behaviours(behaviours)
    caller = Caller(Books(seed=seed, state=state, clock=clock, behaviours=chosen))
    try:
        yield caller
    finally:
        caller.close()


def invoice(customer: Any = "C-10001", **changed: Any) -> dict[str, Any]:
    """The body of an invoice that E110 takes, with some fields changed.

    `customer`: an id, or what is to stand there.
    """
    return {
        "customer": {"id": customer} if isinstance(customer, str) else customer,
        "invoiceDate": "2026-10-05",
        "dueDate": "2026-11-04",
        "lines": [invoice_line()],
        **changed,
    }


def invoice_line(
    account: str = "40300", place: str = "E110", amount: str = "12.50"
) -> dict[str, Any]:
    """A line that E110 takes."""
    return {
        "txnAmount": amount,
        "glAccount": {"id": account},
        "dimensions": {"location": {"id": place}},
    }


def error_of(response: Any) -> dict[str, Any]:
    """The error of an answer in the usual envelope."""
    error: dict[str, Any] = response.json()["ia::result"]["ia::error"]
    return error


def messages(response: Any) -> str:
    """All texts of an error, its details included."""
    error = error_of(response)
    return " | ".join([error["message"], *(one["message"] for one in error.get("details", ()))])
