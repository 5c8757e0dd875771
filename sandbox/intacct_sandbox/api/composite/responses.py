"""`/services/core/composite`: several requests in one, the later with values of the earlier.

Facts (Sage's composite reference): two to ten requests, one after another; it stops at the first
failure and takes nothing back; what was not come to is `unprocessed`, and the whole has status 207.
"""

from __future__ import annotations

import re
from typing import cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from intacct_sandbox.api.gateway import DEFERRED, Gateway
from intacct_sandbox.api.json_bodies import as_json, content_of, read_json
from intacct_sandbox.domain.sessions import UserSession
from intacct_sandbox.errors import rejections
from intacct_sandbox.errors.envelopes import Rejection
from intacct_sandbox.objects.catalogue import Json

MOST_STEPS = 10
"""How many requests a composite may hold; at least two."""

_STEP_PATH = re.compile(r"/(objects|services)/\S+")
_NOT_INSIDE = re.compile(r"/services/(core/composite|bulk)\b")
_EARLIER = re.compile(r"@\{([A-Za-z_]\w*)((?:\.[\w:]+)+)\}")
_STEP_KEYS = frozenset(("method", "path", "headers", "body", "resultReference"))
_SENT_ALONG = ("authorization", "x-ia-api-param-entity")


def ask_composite(gateway: Gateway, request: Request, body: bytes) -> Response:
    """POST /services/core/composite: requests one after another, the later with values of the
    earlier (`@{name.1.key}` counts items from 1, `@{name.key}` takes a single result)."""
    gateway.session(request)
    steps = _read_steps(read_json("POST", body))
    along = {name: request.headers[name] for name in _SENT_ALONG if name in request.headers}
    results: dict[str, Json] = {}
    answers: list[Json] = []
    failed = 0
    for number, step in enumerate(steps):
        if failed:
            skipped = rejections.unprocessed()
            answers.append({**skipped.body(gateway.support_id()), "ia::status": skipped.status})
            failed += 1
            continue
        try:
            status, answer = _take(
                gateway, step, along, results, number, request.scope.get(DEFERRED)
            )
        except Rejection as rejection:
            status, answer = rejection.status, rejection.body(gateway.support_id())
        shown = answer if isinstance(answer, dict) else {"ia::result": answer}
        answers.append({**shown, "ia::status": status})
        # A 207 has failures too, and what comes after may rest on them.
        failed += status >= 400 or status == 207
        if "resultReference" in step:
            results[str(step["resultReference"])] = shown.get("ia::result")
    meta: dict[str, Json] = {
        "totalCount": len(steps),
        "totalSuccess": len(steps) - failed,
        "totalError": failed,
    }
    return as_json({"ia::result": answers, "ia::meta": meta}, status=207 if failed else 200)


def _read_steps(payload: Json) -> list[dict[str, Json]]:
    if not isinstance(payload, list) or not 2 <= len(payload) <= MOST_STEPS:
        raise rejections.bad_request(f"A composite is a list of 2 to {MOST_STEPS} requests")
    names: set[str] = set()
    for number, step in enumerate(payload):
        if not isinstance(step, dict):
            raise rejections.bad_request(f"/{number} is not a request")
        strange = [key for key in step if key not in _STEP_KEYS]
        if strange:
            raise rejections.bad_request(f"/{number}/{strange[0]} is not a valid field")
        if step.get("method") not in ("GET", "POST", "PATCH", "DELETE"):
            raise rejections.bad_request(f"/{number}/method must be GET, POST, PATCH or DELETE")
        path = step.get("path")
        if not isinstance(path, str) or not _STEP_PATH.fullmatch(path) or _NOT_INSIDE.match(path):
            raise rejections.bad_request(f"/{number}/path must begin with /objects/ or /services/")
        headers = step.get("headers", {})
        if not isinstance(headers, dict) or not all(isinstance(v, str) for v in headers.values()):
            raise rejections.bad_request(f"/{number}/headers must be an object of texts")
        name = step.get("resultReference")
        if name is not None and (not isinstance(name, str) or name in names):
            raise rejections.bad_request(f"/{number}/resultReference must be a text of its own")
        if isinstance(name, str):
            names.add(name)
    return cast("list[dict[str, Json]]", payload)


def _take(
    gateway: Gateway,
    step: dict[str, Json],
    along: dict[str, str],
    results: dict[str, Json],
    number: int,
    deferred: UserSession | None,
) -> tuple[int, Json]:
    path = _filled(step["path"], results, f"/{number}/path")
    given = cast("dict[str, str]", step.get("headers", {}))
    headers = along | {
        name.lower(): text for name, text in given.items() if name.lower() != "authorization"
    }
    body = b""
    if "body" in step:
        body = msgspec.json.encode(_filled(step["body"], results, f"/{number}/body"))
    response = gateway.inside(str(step["method"]), str(path), headers, body, deferred)
    return response.status_code, content_of(response)


def _filled(value: Json, results: dict[str, Json], target: str) -> Json:
    """Return the value with what earlier requests answered; raises `Rejection` (400)."""
    if isinstance(value, dict):
        return {name: _filled(one, results, f"{target}/{name}") for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, results, f"{target}/{place}") for place, one in enumerate(value)]
    if not isinstance(value, str):
        return value

    def found(match: re.Match[str]) -> str:
        result = results.get(match[1])
        for part in match[2].removeprefix(".").split("."):
            if isinstance(result, list) and part.isdigit() and 1 <= int(part) <= len(result):
                result = result[int(part) - 1]
            else:
                result = result.get(part) if isinstance(result, dict) else None
        if result is None or isinstance(result, dict | list):
            raise rejections.bad_request(f"{target}: there is no {match[0]}")
        return str(result)

    return _EARLIER.sub(found, value)
