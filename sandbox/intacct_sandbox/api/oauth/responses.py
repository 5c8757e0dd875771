"""`/oauth2/authorize`, `/oauth2/token`, `/oauth2/revoke`, `/oauth2/introspect`."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Iterable, Mapping
from html import escape
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from intacct_sandbox.api.gateway import Gateway
from intacct_sandbox.api.json_bodies import as_json, read_json
from intacct_sandbox.company import COMPANY
from intacct_sandbox.errors import rejections
from intacct_sandbox.objects.catalogue import Json


def authorize(gateway: Gateway, request: Request, body: bytes) -> Response:
    """GET shows the consent page; POST is its button and redirects with the code.

    A program gives consent by sending the page's form: the parameters of the GET with `user` and
    `decision` (`allow` or `deny`).
    """
    asked = dict(request.query_params)
    if request.method == "POST":
        asked |= _form(body)
    gateway.books.tokens.check_consent(asked)
    if request.method == "GET":
        books = gateway.books
        ids = (str(row["id"]) for row in books.tables["company-config/user"].rows.values())
        users = [(user.id, user.name) for user in map(books.user, ids) if user is not None]
        return HTMLResponse(_consent_page(COMPANY, users, asked))
    if asked.get("decision", "allow") == "allow":
        with gateway.books.lock:
            code = gateway.books.tokens.consent(
                asked.get("user", ""), asked, gateway.books.clock.now()
            )
        answer = {"code": code}
    else:
        answer = {"error": "access_denied"}
    if "state" in asked:
        answer["state"] = asked["state"]
    redirect = asked["redirect_uri"]
    joint = "&" if "?" in redirect else "?"
    return RedirectResponse(f"{redirect}{joint}{urlencode(answer)}", status_code=302)


def token(gateway: Gateway, request: Request, body: bytes) -> Response:
    """POST /oauth2/token, as a form or as JSON."""
    asked = _fields(request, body)
    with gateway.books.lock:
        answer = gateway.books.tokens.answer(asked, gateway.books.clock.now())
    return as_json(answer, headers={"Cache-Control": "no-store"})


def revoke(gateway: Gateway, request: Request, body: bytes) -> Response:
    """POST /oauth2/revoke."""
    with gateway.books.lock:
        gateway.books.tokens.revoke(_fields(request, body))
    return as_json({"revoked": True})


def introspect(gateway: Gateway, request: Request, body: bytes) -> Response:
    """POST /oauth2/introspect: whether a token counts, and whose it is. The caller shows who it is
    by a token of its own, or by the client's id and secret."""
    asked, now = _fields(request, body), gateway.books.clock.now()
    with gateway.books.lock:
        if "client_id" in asked:
            gateway.books.tokens.check_client(asked)
        else:
            gateway.books.tokens.bearer(request.headers.get("authorization"), now)
        answer = gateway.books.tokens.introspect(asked.get("token", ""), now)
    return as_json(answer, headers={"Cache-Control": "no-store"})


def _form(body: bytes) -> dict[str, str]:
    pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=100)
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if "username" in twice:
        raise rejections.gateway(400, "GW-0039", "Multiple Usernames")
    if "client_id" in twice:
        raise rejections.gateway(400, "GW-0038", "Multiple Client IDs")
    if twice:
        raise rejections.gateway(400, "GW-0032", "Invalid Token Payload")
    return dict(pairs)


def _fields(request: Request, body: bytes) -> dict[str, str]:
    """Return the fields of a token request; HTTP Basic may carry the client's id and secret."""
    if "json" in request.headers.get("content-type", ""):
        given: Json = read_json("POST", body) if body.strip() else {}
        if not isinstance(given, dict):
            raise rejections.gateway(400, "GW-0032", "Invalid Token Payload")
        asked = {name: value for name, value in given.items() if isinstance(value, str)}
    else:
        try:
            asked = _form(body)
        except ValueError:
            raise rejections.gateway(400, "GW-0032", "Invalid Token Payload") from None
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic" and asked and "client_id" not in asked:
        try:
            name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise rejections.client_unknown() from None
        asked |= {"client_id": name, "client_secret": secret}
    return asked


# --- the page on which a user allows an application in; the one page of the sandbox -------------

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Allow access · sandbox company</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif }}
body {{ max-width: 30rem; margin: 4rem auto; padding: 0 1rem }}
label, select, button {{ font: inherit }}
select {{ display: block; width: 100%; margin: .25rem 0 1.5rem; padding: .4rem }}
button {{ padding: .5rem 1.2rem; margin-right: .5rem }}
</style>
</head>
<body>
<h1>Allow access?</h1>
<p>The application <strong>{client}</strong> asks to act for a user of the sandbox company
<strong>{company}</strong>. Afterwards you are sent back to <code>{redirect}</code>.</p>
<form method="post" action="">
{hidden}
<label>User <select name="user">
{users}
</select></label>
<button name="decision" value="allow">Allow</button>
<button name="decision" value="deny">Deny</button>
</form>
</body>
</html>
"""


def _consent_page(company: str, users: Iterable[tuple[str, str]], asked: Mapping[str, str]) -> str:
    """Return the page as HTML. `users`: ids and names; `asked`: the parameters of the request,
    which the form sends along."""
    return _PAGE.format(
        client=escape(asked.get("client_id", "")),
        company=escape(company),
        redirect=escape(asked.get("redirect_uri", "")),
        hidden="\n".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
            for name, value in asked.items()
            if name not in ("user", "decision")
        ),
        users="\n".join(
            f'<option value="{escape(id_)}">{escape(id_)} ({escape(name)})</option>'
            for id_, name in users
        ),
    )
