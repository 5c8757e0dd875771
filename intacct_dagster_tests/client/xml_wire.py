"""Requests of the XML API as a client writes them, and a way to spoil its answers."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from intacct_sandbox import SENDER_ID, SENDER_PASSWORD


def xml_request(session: str, function: str, password: str = SENDER_PASSWORD) -> bytes:
    """The body of a request with one function, called `f1`."""
    return (
        f"<request><control><senderid>{SENDER_ID}</senderid><password>{password}</password>"
        "<controlid>c1</controlid><dtdversion>3.0</dtdversion></control><operation>"
        f"<authentication><sessionid>{session}</sessionid></authentication>"
        f'<content><function controlid="f1">{function}</function></content>'
        "</operation></request>"
    ).encode()


class Spoiled(httpx.BaseTransport):
    """The network, but for answers of the XML gateway: they are what `spoil` makes of them."""

    def __init__(self, spoil: Callable[[bytes], bytes]) -> None:
        self._network = httpx.HTTPTransport()
        self._spoil = spoil

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._network.handle_request(request)
        if not request.url.path.endswith(".phtml"):
            return response
        body = self._spoil(response.read())
        return httpx.Response(response.status_code, content=body)

    def close(self) -> None:
        self._network.close()
