"""A scripted Intacct for tests of the client: answers by path, and remembers what it was sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qs

import httpx

BASE_URL = "https://api.intacct.test/ia/api/v1"

Reply = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


def reply(
    status: int, body: object = None, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    """A JSON answer; bytes and str go out as they are."""
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    return httpx.Response(status, headers=headers, content=content)


def error_reply(status: int, error_id: str, message: str, code: str = "x") -> httpx.Response:
    """An error in the usual envelope."""
    error = {"code": code, "message": message, "errorId": error_id, "supportId": "Sup%7Eport"}
    meta = {"totalCount": 1, "totalSuccess": 0, "totalError": 1}
    return reply(status, {"ia::result": {"ia::error": error}, "ia::meta": meta})


def page_reply(
    rows: list[dict[str, object]], total: int | None = None
) -> Callable[[httpx.Request], httpx.Response]:
    """A query page that is the last one, of the size that was asked for."""

    def answer(request: httpx.Request) -> httpx.Response:
        meta = {
            "totalCount": len(rows) if total is None else total,
            "start": 1,
            "pageSize": json.loads(request.content)["size"],
            "next": None,
            "previous": None,
        }
        return reply(200, {"ia::result": rows, "ia::meta": meta})

    return answer


class Wire(httpx.BaseTransport):
    """Gives `script`'s replies in order to what is not a token request; the last one stays.

    Tokens are "token-1", "token-2", ...; `token_script` takes precedence while it lasts.
    `whose` is the user that tokens are said to be of; None: such questions are not answered.
    """

    def __init__(self, *script: Reply) -> None:
        self.script = list(script)
        self.token_script: list[Reply] = []
        self.requests: list[httpx.Request] = []
        self.token_forms: list[dict[str, str]] = []
        self.expires_in = 43200
        self.whose: str | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One exchange."""
        request.read()
        if request.url.path.endswith("/oauth2/token"):
            form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
            self.token_forms.append(form)
            if self.token_script:
                return self._play(self.token_script.pop(0), request)
            number = len(self.token_forms)
            return reply(
                200,
                {
                    "token_type": "Bearer",
                    "access_token": f"token-{number}",
                    "refresh_token": f"refresh-{number}",
                    "expires_in": self.expires_in,
                },
            )
        if request.url.path.endswith("/oauth2/introspect"):
            return reply(200, {"active": True, "user_id": self.whose}) if self.whose else reply(404)
        self.requests.append(request)
        return self._play(self.script.pop(0) if len(self.script) > 1 else self.script[0], request)

    @staticmethod
    def _play(what: Reply, request: httpx.Request) -> httpx.Response:
        if isinstance(what, Exception):
            raise what
        if isinstance(what, httpx.Response):
            return httpx.Response(what.status_code, headers=what.headers, content=what.content)
        return what(request)


def encode_batch(items: Sequence[bytes]) -> bytes:
    """One request body from JSON objects, byte for byte as they are."""
    return b"[" + b",".join(items) + b"]"
