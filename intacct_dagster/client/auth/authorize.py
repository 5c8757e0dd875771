"""How a consent comes back from the browser: to a listener on this machine, or pasted by a person.

What comes back holds an authorization code: it is in no message and in no log.
"""

from __future__ import annotations

import hmac
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

from intacct_dagster.client.auth.oauth import Consent
from intacct_dagster.client.errors import AddressRefused, AuthenticationRefused, NotReached
from intacct_dagster.client.http.address import is_loopback

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<body style="font: 16px/1.5 system-ui, sans-serif; max-width: 30rem; margin: 4rem auto">
<h1>{title}</h1><p>{text}</p></body></html>"""


class NotThisConsent(Exception):
    """An address that does not end the consent that is waited for; the message says why."""


def code_from(url: str, consent: Consent) -> str:
    """Return the authorization code in an address that the browser was sent back to.

    Raises NotThisConsent, and AuthenticationRefused where the person or Intacct said no.
    """
    given = {name: values[0] for name, values in parse_qs(urlsplit(url.strip()).query).items()}
    state = given.get("state", "")
    if not state and "code" not in given and "error" not in given:
        raise NotThisConsent(
            "That is not the address that the browser was sent back to: it has `code=` and "
            "`state=` in it. Copy all of the address bar after you allowed the access."
        )
    if not hmac.compare_digest(state.encode(), consent.state.encode()):
        raise NotThisConsent(
            "That address belongs to another attempt (its state is not the one that was sent): "
            "use the page that was opened last."
        )
    if "error" in given:
        raise AuthenticationRefused(
            f"The access was not allowed: {given['error']}.",
            remedy="Run the command again, and choose to allow it as the entity's user.",
        )
    return given.get("code", "")


@contextmanager
def listening(redirect_uri: str) -> Iterator[Callable[[Consent, float], str]]:
    """Listens at a loopback `redirect_uri`, and yields what waits for a consent's code.

    It is called with the consent and the most seconds to wait, and raises NotReached when they are
    over, and AuthenticationRefused where the access was not allowed. An address of another attempt
    is answered and not counted. Raises NotReached if the port is taken.
    """
    parts = urlsplit(redirect_uri)
    host = parts.hostname or ""
    if not is_loopback(redirect_uri):
        raise AddressRefused(
            f"Nothing listens for the browser at {host}, which is not this machine alone.",
            remedy="Say --paste and paste the address by hand.",
        )
    try:
        server = _Listener("127.0.0.1" if host == "localhost" else host, parts.port or 80)
    except OSError as error:
        raise NotReached(
            f"Nothing can listen at {redirect_uri}, where the browser is sent back to: "
            f"{error.strerror or error}.",
            remedy="Stop what uses the port, or say --paste and paste the address by hand.",
        ) from None
    server.path = parts.path or "/"
    try:
        yield server.wait
    finally:
        server.server_close()


class _Listener(HTTPServer):
    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Callback)
        self.path = "/"
        self._expect(None)

    def _expect(self, consent: Consent | None) -> None:
        self.consent = consent
        self.code: str | None = None
        self.refused: AuthenticationRefused | None = None

    def wait(self, consent: Consent, seconds: float) -> str:
        self._expect(consent)
        until = time.monotonic() + seconds
        while not self._came_back():
            self.timeout = until - time.monotonic()
            if self.timeout <= 0:
                raise NotReached(
                    f"Nobody came back from the browser within {seconds:.0f} s.",
                    remedy="Run the command again; --timeout waits longer, and with --paste the "
                    "address is pasted by hand (over SSH, for example).",
                )
            self.handle_request()
        if self.refused is not None:
            raise self.refused
        return self.code or ""

    def _came_back(self) -> bool:
        return self.code is not None or self.refused is not None

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that hangs up is no news; the standard library would print a traceback."""


class _Callback(BaseHTTPRequestHandler):
    server: _Listener
    timeout = 10  # a browser that opens a connection and says nothing does not stop the rest

    def do_GET(self) -> None:
        if urlsplit(self.path).path != self.server.path or self.server.consent is None:
            self._answer(404, "Nothing here", "This address takes an authorization back.")
            return
        try:
            self.server.code = code_from(self.path, self.server.consent)
        except NotThisConsent as error:
            self._answer(400, "Not this one", str(error))
        except AuthenticationRefused as error:
            self.server.refused = error
            self._answer(200, "Not allowed", str(error))
        else:
            self._answer(200, "Thank you", "You may close this page and go back to the terminal.")

    def _answer(self, status: int, title: str, text: str) -> None:
        body = _PAGE.format(title=escape(title), text=escape(text)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        # The address bar holds the code: no page that is opened from here learns it.
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the line would hold the code."""
