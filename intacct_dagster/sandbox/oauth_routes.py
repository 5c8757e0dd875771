"""`/oauth2/authorize`, `/oauth2/token`, `/oauth2/revoke`."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from . import refusals
from .catalogue import Json
from .company import COMPANY, USERS
from .consent_page import consent_page
from .front_door import FrontDoor, as_json, read_json


def authorize(door: FrontDoor, request: Request, body: bytes) -> Response:
    """GET shows the consent page; POST is its button and redirects with the code.

    A program gives consent by sending the page's form: the parameters of the GET with `user` and
    `decision` (`allow` or `deny`).
    """
    asked = dict(request.query_params)
    if request.method == "POST":
        asked |= _form(body)
    door.books.tokens.check_consent(asked)
    if request.method == "GET":
        users = [(user.id, user.name) for user in USERS.values()]
        return HTMLResponse(consent_page(COMPANY, users, asked))
    if asked.get("decision", "allow") == "allow":
        with door.books.lock:
            code = door.books.tokens.consent(asked.get("user", ""), asked, door.books.clock.now())
        answer = {"code": code}
    else:
        answer = {"error": "access_denied"}
    if "state" in asked:
        answer["state"] = asked["state"]
    redirect = asked["redirect_uri"]
    joint = "&" if "?" in redirect else "?"
    return RedirectResponse(f"{redirect}{joint}{urlencode(answer)}", status_code=302)


def token(door: FrontDoor, request: Request, body: bytes) -> Response:
    """POST /oauth2/token, as a form or as JSON."""
    asked = _fields(request, body)
    with door.books.lock:
        answer = door.books.tokens.answer(asked, door.books.clock.now())
    return as_json(answer, headers={"Cache-Control": "no-store"})


def revoke(door: FrontDoor, request: Request, body: bytes) -> Response:
    """POST /oauth2/revoke."""
    with door.books.lock:
        door.books.tokens.revoke(_fields(request, body))
    return as_json({})


def _form(body: bytes) -> dict[str, str]:
    pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=100)
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise refusals.gateway(400, "GW-0038", f"The attribute {twice[0]} is given more than once")
    return dict(pairs)


def _fields(request: Request, body: bytes) -> dict[str, str]:
    """The fields of a token request; HTTP Basic may carry the client's id and secret."""
    if "json" in request.headers.get("content-type", ""):
        given: Json = read_json("POST", body) if body.strip() else {}
        if not isinstance(given, dict):
            raise refusals.gateway(
                400, "GW-0032", "The body is not a list of attributes and values"
            )
        asked = {name: value for name, value in given.items() if isinstance(value, str)}
    else:
        try:
            asked = _form(body)
        except ValueError:
            raise refusals.gateway(
                400, "GW-0032", "The body is not a list of attributes and values"
            ) from None
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic" and asked and "client_id" not in asked:
        try:
            name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise refusals.client_unknown() from None
        asked |= {"client_id": name, "client_secret": secret}
    return asked
