"""`/ia/xml/xmlgw.phtml`: the few functions of the XML API that reading the general ledger needs.

The forms of requests, answers and errors are Sage's (XML developer documentation); so are
`getAPISession` with `locationid` and XL03000006. The number of a rejected function is a guess, and
that no company of the sandbox has CHILDENTITY, which public clients name, is its choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from intacct_sandbox.api.gateway import Gateway
from intacct_sandbox.company import COMPANY, SENDER_ID, SENDER_PASSWORD
from intacct_sandbox.control.clock import wire_time
from intacct_sandbox.domain.authorization import SESSION_LIFE
from intacct_sandbox.domain.sessions import UserSession, enter
from intacct_sandbox.errors.envelopes import Rejection

from .document import Element, MalformedXml, element, read_document, text
from .ledger import UnsupportedFunction, balances, detail

PATH = "/ia/xml/xmlgw.phtml"
"""Where the gateway lies on its host."""

LARGEST_READ = 1000
"""Rows of one answer to `readByQuery` (fact: Sage's XML developer documentation)."""

_MOST_READINGS = 50
_SENDER = "XL03000006"
_REJECTED = "DL02000001"

Part = Literal["control", "authentication", "function"]


class _Failure(Exception):
    """What went wrong, and in which part of the request."""

    def __init__(self, part: Part, number: str, what: str, correction: str = "") -> None:
        super().__init__(what)
        self.part = part
        self.number = number
        self.what = what
        self.correction = correction


def serve_xml(gateway: Gateway, request: Request, body: bytes) -> Response:
    """POST /ia/xml/xmlgw.phtml: a request with one function."""
    control, signed_in = "", ""
    function, name = Element(""), ""
    try:
        asked = _read(body)
        control = text("controlid", asked.said("control", "controlid"))
        session_id = _checked(asked)
        session = _enter(gateway, session_id)
        signed_in = _signed_in(gateway, session)
        wrapped = asked.find("operation", "content", "function") or Element("")
        name = wrapped.attributes.get("controlid", "")
        function = next(iter(wrapped.children), function)
        data = _do(gateway, session, function)
    except _Failure as failure:
        return _answer(control, signed_in, function, name, failure=failure, gateway=gateway)
    return _answer(control, signed_in, function, name, data=data, gateway=gateway)


def as_xml(response: Response) -> Response:
    """Return the answer of the gateway in the gateway's form, if it is an error in JSON."""
    if response.media_type != "application/json" or response.status_code < 400:
        return response
    content = msgspec.json.decode(bytes(response.body))
    error = content.get("ia::error") or content.get("error") or content["ia::result"]["ia::error"]
    number = str(error.get("errorId", error.get("code", "")))
    body = element(
        "response",
        element("control", text("status", "failure")),
        _errors(number, str(error.get("message", "")), "", ""),
    )
    headers = {
        name: value for name, value in response.headers.items() if not name.startswith("content-")
    }
    return Response(
        _DECLARATION + body, response.status_code, headers, media_type="application/xml"
    )


_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'


def _read(body: bytes) -> Element:
    try:
        asked = read_document(body)
    except MalformedXml as error:
        raise _Failure("control", "XL03000003", f"XML Parse schema error: {error}") from None
    if asked.name != "request":
        raise _Failure("control", "XL03000003", "XML Parse schema error: no request")
    return asked


def _checked(asked: Element) -> str:
    """Return the session id of a request whose sender is known."""
    sender = asked.said("control", "senderid"), asked.said("control", "password")
    if sender != (SENDER_ID, SENDER_PASSWORD):
        raise _Failure("control", _SENDER, "Incorrect Intacct XML Partner ID or password.")
    return asked.said("operation", "authentication", "sessionid")


def _enter(gateway: Gateway, session_id: str) -> UserSession:
    books = gateway.books
    try:
        user, entity = books.tokens.session(session_id, books.clock.now())
        if books.behaviours["xml_session_entity"] == "top" and not books.tokens.was_moved(
            session_id
        ):
            return UserSession(user, None)
        return enter(user, entity, books.company.entity_keys)
    except Rejection:
        raise _Failure(
            "authentication", _SENDER, "Sign-in information is incorrect", "Sign in again."
        ) from None


def _do(gateway: Gateway, session: UserSession, function: Element) -> str:
    exchange = gateway.books.audit_log.current
    if exchange is not None:
        exchange.user, exchange.entity = session.user.id, session.entity
    functions: dict[str, Callable[[Gateway, UserSession, Element], str]] = {
        "getAPISession": _open,
        "query": _query,
        "readByQuery": _read_by_query,
        "readMore": _read_more,
    }
    if function.name not in functions:
        why = f"The sandbox has no function {function.name[:40]}"
        raise _Failure("function", _REJECTED, why)
    try:
        return functions[function.name](gateway, session, function)
    except UnsupportedFunction as error:
        raise _Failure("function", _REJECTED, str(error)) from None
    except Rejection as rejection:
        why = "; ".join(one.message for one in rejection.details) or rejection.message
        raise _Failure("function", _REJECTED, why) from None


def _open(gateway: Gateway, session: UserSession, function: Element) -> str:
    books, place = gateway.books, function.find("locationid")
    entity = session.entity if place is None else place.text.strip() or None
    try:
        session = enter(session.user, entity, books.company.entity_keys)
    except Rejection as rejection:
        raise _Failure("function", _SENDER, rejection.message) from None
    with books.lock:
        id_ = books.tokens.open_session(
            session.user.id, session.entity, books.clock.now(), moved=True
        )
    api = element(
        "api",
        text("sessionid", id_),
        text("endpoint", f"https://api.intacct.com{PATH}"),
        text("locationid", session.entity or ""),
    )
    return element("data", api)


def _query(gateway: Gateway, session: UserSession, function: Element) -> str:
    named = function.said("object")
    if named != "GLDETAIL":
        raise UnsupportedFunction(f"The sandbox has no object {named[:40]} to query")
    found = detail(gateway.books, session.entity, function)
    gateway.books.audit_log.bill(1, rows=len(found.rows))
    return _data(
        named,
        found.rows,
        totalcount=found.total,
        offset=found.offset,
        numremaining=max(0, found.total - found.offset - len(found.rows)),
    )


def _read_by_query(gateway: Gateway, session: UserSession, function: Element) -> str:
    named = function.said("object")
    if named != "GLACCOUNTBALANCE":
        raise UnsupportedFunction(f"The sandbox has no object {named[:40]} to read by query")
    size = function.said("pagesize") or "100"
    if not size.isdecimal() or not 1 <= int(size) <= LARGEST_READ:
        raise UnsupportedFunction(f"pagesize must be from 1 to {LARGEST_READ}, not {size[:40]}")
    rows = balances(gateway.books, session.entity, function.said("query"))
    return _part(gateway, named.lower(), rows, 0, int(size))


def _read_more(gateway: Gateway, session: UserSession, function: Element) -> str:
    result = function.said("resultId")
    if result not in gateway.readings:
        raise UnsupportedFunction("The resultId is not known, or was read to its end")
    return _part(gateway, *gateway.readings.pop(result))


def _part(
    gateway: Gateway, named: str, rows: Sequence[dict[str, str]], start: int, size: int
) -> str:
    part = rows[start : start + size]
    left = len(rows) - start - len(part)
    result = ""
    if left:
        result = gateway.support_id()
        gateway.readings[result] = (named, rows, start + size, size)
        while len(gateway.readings) > _MOST_READINGS:
            gateway.readings.pop(next(iter(gateway.readings)))
    gateway.books.audit_log.bill(1, rows=len(part))
    return _data(named, part, totalcount=len(rows), numremaining=left, resultId=result)


def _data(named: str, rows: Sequence[dict[str, str]], **attributes: str | int) -> str:
    shown = (element(named, *(text(n, value) for n, value in row.items())) for row in rows)
    return element("data", *shown, listtype=named, count=len(rows), **attributes)


def _signed_in(gateway: Gateway, session: UserSession) -> str:
    now = gateway.books.clock.now()
    return element(
        "authentication",
        text("status", "success"),
        text("userid", session.user.id),
        text("companyid", COMPANY),
        text("locationid", session.entity or ""),
        text("sessiontimestamp", wire_time(now)),
        text("sessiontimeout", wire_time(now + timedelta(seconds=SESSION_LIFE.total_seconds()))),
    )


def _answer(
    control: str,
    signed_in: str,
    function: Element,
    name: str,
    *,
    gateway: Gateway,
    data: str = "",
    failure: _Failure | None = None,
) -> Response:
    part = failure.part if failure is not None else None
    errors = ""
    if failure is not None:
        errors = _errors(failure.number, failure.what, failure.correction, gateway.support_id())
    status = "failure" if part == "control" else "success"
    parts = [element("control", text("status", status), text("senderid", SENDER_ID), control)]
    if part == "control":
        parts.append(errors)
    elif part == "authentication":
        failed = element("authentication", text("status", "failure"))
        parts.append(element("operation", failed, errors))
    else:
        result = element(
            "result",
            text("status", "failure" if errors else "success"),
            text("function", function.name),
            text("controlid", name),
            data or errors,
        )
        parts.append(element("operation", signed_in, result))
    return Response(_DECLARATION + element("response", *parts), media_type="application/xml")


def _errors(number: str, what: str, correction: str, support_id: str) -> str:
    support = f" [Support ID: {support_id}]" if support_id else ""
    error = element(
        "error",
        text("errorno", number),
        text("description", ""),
        text("description2", what + support),
        text("correction", correction),
    )
    return element("errormessage", error)
