"""Work that is put off: single requests (`Prefer: respond-async`) and bulk jobs.

Facts (Sage's guides on asynchronous requests and bulk): 202 with a job and `retry-after`, the real
answer goes to the client's webhook only, details are kept for four days; a bulk job takes a file of
any number of items, each its own transaction, and goes on after failures. How long things take, the
layout of a result file and the statuses a job goes through are not documented: fixed spans of the
sandbox's clock, and behaviours.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import quote

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_form
from starlette.requests import Request
from starlette.responses import Response

from . import refusals
from .batches import MOST_ITEMS
from .catalogue import Json
from .clock import wire_time
from .envelopes import success
from .errors import SandboxError
from .front_door import BASE_PATH, FrontDoor, as_json, read_json
from .webhooks import Delivery, check_url, remind

KEPT = timedelta(days=4)
"""How long a job can be asked for."""

WAIT = 120
"""`retry-after` of a request that was put off, in seconds (the documented default)."""

_STEP = timedelta(seconds=1)
_SIX = ("queued", "preprocessing", "processing", "postprocessing", "completed")
_MOST_JOBS = 10_000
_OPERATIONS = {"create": "POST", "update": "PATCH", "delete": "DELETE"}


# --- single requests --------------------------------------------------------------------------


@dataclass
class PutOff:
    """A request that will be answered at the client's webhook."""

    id: str
    at: datetime
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    url: str
    request_id: str
    delivery: Delivery | None = None
    waits: bool = True

    @property
    def state(self) -> str:
        """queued, inTransit, delivered or dead."""
        if self.delivery is None:
            return "queued"
        tried = self.delivery.state == "queued" and self.delivery.statuses
        return "inTransit" if tried else self.delivery.state

    def shown(self) -> dict[str, Json]:
        """As the job service tells it."""
        return {
            "jobId": self.id,
            "state": self.state,
            "queuedDateTime": wire_time(self.at),
            "href": f"/services/core/async/job-status?jobId={self.id}",
        }


_CARRIED = ("authorization", "x-ia-api-param-entity", "x-ia-api-param-transaction")


def wants_async(request: Request) -> bool:
    """Whether the client asks to be answered later."""
    return "respond-async" in request.headers.get("prefer", "")


def put_off(door: FrontDoor, request: Request, body: bytes) -> Response:
    """202 for a request that is done in a second; raises `Refusal` (400)."""
    books = door.books
    if books.behaviours["async_batch"] == "refused" and body.lstrip().startswith(b"["):
        raise refusals.bad_request("A batch cannot be asked for with Prefer: respond-async")
    id_ = request.headers.get("x-ia-webhook-id")
    url = request.headers.get("x-ia-webhook-endpointurl")
    if id_ is not None:
        url = books.webhooks.address(id_)
    try:
        url = check_url(url)
    except SandboxError:
        raise refusals.bad_request(
            "An asynchronous request needs X-IA-Webhook-Id or X-IA-Webhook-EndpointURL"
        ) from None
    carried = (*_CARRIED, "idempotency-key")
    headers = {name: request.headers[name] for name in carried if name in request.headers}
    path = quote(request.scope["path"].removeprefix(BASE_PATH))
    job = PutOff(
        id=_job_id(door),
        at=books.clock.now(),
        method=request.method,
        path=path,
        headers=headers,
        body=body,
        url=url,
        request_id=door.support_id(),
    )
    _keep(door, job.id, job)
    return as_json(success(job.shown()), status=202, headers={"Retry-After": str(WAIT)})


def async_status(door: FrontDoor, request: Request, body: bytes) -> Response:
    """GET /services/core/async/job-status?jobId=…"""
    door.session(request)
    job = _found(door, request, PutOff)
    return as_json(success(job.shown()))


def _answer_later(door: FrontDoor, job: PutOff) -> None:
    job.waits = False
    status, answer = door.inside(job.method, job.path, job.headers, job.body)
    headers = {
        "X-IA-Respond-Code": str(status),
        "X-IA-Original-Request-Id": job.request_id,
    }
    body = b"" if answer is None else msgspec.json.encode(answer)
    job.delivery = door.books.webhooks.send(job.url, body, headers)


# --- bulk -------------------------------------------------------------------------------------


@dataclass
class BulkJob:
    """A file of items for one object, and what became of them."""

    id: str
    at: datetime
    object: str
    method: str
    file: bytes
    file_name: str
    headers: dict[str, str]
    callback: str | None
    items: list[Json] = field(default_factory=list)
    done: bool = False
    failed: bool = False
    waits: bool = True

    def status(self, now: datetime, statuses: str) -> str:
        """How far it is."""
        if self.failed:
            return "failed"
        reached = _SIX[min((now - self.at) // _STEP, len(_SIX) - 1)]
        if reached == "completed" and not self.done:
            return "processing"
        if statuses == "four":
            return {"preprocessing": "queued", "postprocessing": "processing"}.get(reached, reached)
        return reached


def create_bulk(door: FrontDoor, request: Request, body: bytes) -> Response:
    """POST /services/bulk/job/create, multipart: `ia::requestBody` and `file`."""
    books, session = door.books, door.session(request)
    fields, files = _parts(request.headers.get("content-type", ""), body)
    asked = read_json("POST", fields.get("ia::requestBody") or files.get("ia::requestBody", b""))
    if not isinstance(asked, dict):
        raise refusals.bad_request("ia::requestBody must be an object")
    name, operation = asked.get("objectName"), asked.get("operation")
    type_ = books.catalogue.get(str(name))
    if type_ is None:
        raise refusals.no_such_object(str(name))
    if operation not in _OPERATIONS:
        raise refusals.bad_request("operation must be create, update or delete")
    method = _OPERATIONS[str(operation)]
    if method not in type_.methods:
        raise refusals.method_not_allowed(method, f"objects/{name}")
    if asked.get("fileContentType", "json") != "json":
        raise refusals.bad_request("fileContentType must be json")
    # The part is called `file` (Sage's guide), or as `jobFile` says (a client).
    file = next(
        (
            parts[part]
            for part in ("file", str(asked.get("jobFile")))
            for parts in (files, fields)
            if part in parts
        ),
        None,
    )
    if file is None:
        raise refusals.bad_request("The part file is missing")
    callback = asked.get("callbackURL")
    try:
        checked = None if callback is None else check_url(callback)
    except SandboxError as error:
        raise refusals.bad_request(f"callbackURL: {error}") from None
    headers = {name: request.headers[name] for name in _CARRIED if name in request.headers}
    if session.entity is not None:
        headers["x-ia-api-param-entity"] = session.entity
    now = books.clock.now()
    file_name = str(asked.get("jobFile", "file.json"))
    job = BulkJob(_job_id(door), now, str(name), method, file, file_name, headers, checked)
    _keep(door, job.id, job)
    result: dict[str, Json] = {
        "jobId": job.id,
        "statusURL": f"/services/bulk/job/status?jobId={job.id}",
        "createdDateTime": wire_time(now),
    }
    status = int(books.behaviours["bulk_created"].removeprefix("status_"))
    return as_json(success(result), status=status)


def bulk_status(door: FrontDoor, request: Request, body: bytes) -> Response:
    """GET /services/bulk/job/status?jobId=…[&download=true]"""
    door.session(request)
    job = _found(door, request, BulkJob)
    status = _bulk_state(door, job)
    if request.query_params.get("download") != "true":
        return as_json(success(_bulk_shown(door, job)))
    if status not in ("completed", "failed"):
        raise refusals.bad_request(f"The job {job.id} is {status}: its result is not there yet")
    if door.books.behaviours["bulk_result_layout"] == "lines":
        lines = b"".join(msgspec.json.encode(item) + b"\n" for item in job.items)
        return Response(lines, media_type="application/x-ndjson")
    errors = sum("ia::error" in item for item in job.items if isinstance(item, dict))
    meta: dict[str, Json] = {
        "totalCount": len(job.items),
        "totalSuccess": len(job.items) - errors,
        "totalError": errors,
    }
    return as_json({"ia::result": job.items, "ia::meta": meta})


def _bulk_state(door: FrontDoor, job: BulkJob) -> str:
    return job.status(door.books.clock.now(), door.books.behaviours["bulk_statuses"])


def _bulk_shown(door: FrontDoor, job: BulkJob) -> dict[str, Json]:
    status = _bulk_state(door, job)
    over = status in ("completed", "failed")
    url = f"/services/bulk/job/status?jobId={job.id}&download=true"
    return {
        "jobId": job.id,
        "status": status,
        "percentComplete": 100 if over else 50 if job.done else 0,
        "downloadURL": url if over else None,
        "jobStatusFile": job.file_name if over else None,
    }


def _do_bulk(door: FrontDoor, job: BulkJob) -> None:
    """Do all items, in pieces of at most 500 that are not atomic."""
    try:
        items = msgspec.json.decode(job.file)
    except (msgspec.DecodeError, RecursionError):
        items = None
    job.file, job.done = b"", True
    if not isinstance(items, list):
        job.failed = True
        return
    path = f"/objects/{job.object}"
    good = {"POST": 201, "PATCH": 200, "DELETE": 204}[job.method]
    for begin in range(0, len(items), MOST_ITEMS):
        piece = items[begin : begin + MOST_ITEMS]
        if job.method == "DELETE":
            keys = [str(one.get("key") if isinstance(one, dict) else one) for one in piece]
            status, answer = door.inside("DELETE", f"{path}/{','.join(keys)}", job.headers, b"")
        else:
            encoded = msgspec.json.encode(piece)
            status, answer = door.inside(job.method, path, job.headers, encoded)
        result = answer.get("ia::result") if isinstance(answer, dict) else None
        if isinstance(result, list):
            job.items += [
                {**one, "ia::status": one.get("ia::status", good)}
                for one in cast("list[dict[str, Json]]", result)
            ]
        elif isinstance(result, dict):  # all refused alike
            job.items += [{**result, "ia::status": status} for _ in piece]
        else:
            job.items += [{"ia::status": status} for _ in piece]


def _parts(content_type: str, body: bytes) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Fields and files of a multipart body, by name; raises `Refusal` (400)."""
    fields: dict[str, bytes] = {}
    files: dict[str, bytes] = {}

    def take_field(part: Any) -> None:
        fields[part.field_name.decode("utf-8", "replace")] = part.value or b""

    def take_file(part: Any) -> None:
        part.file_object.seek(0)
        files[part.field_name.decode("utf-8", "replace")] = part.file_object.read()

    if not content_type.lower().startswith("multipart/form-data"):
        raise refusals.bad_request("A bulk job is created with multipart/form-data")
    headers = {
        "Content-Type": content_type.encode("latin-1", "replace"),
        "Content-Length": str(len(body)).encode(),
    }
    try:
        parse_form(headers, _Stream(body), take_field, take_file)
    except (FormParserError, ValueError, KeyError) as error:
        raise refusals.bad_json(str(error)[:200] or "it is not multipart/form-data") from None
    return fields, files


class _Stream:
    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def read(self, size: int) -> bytes:
        piece = self._content[self._at : self._at + size]
        self._at += len(piece)
        return piece


# --- both -------------------------------------------------------------------------------------


def go_on(door: FrontDoor) -> None:
    """Do what is due. To be called in the event loop, now and then."""
    now = door.books.clock.now()
    for job in [one for one in door.jobs.values() if one.waits]:
        if isinstance(job, PutOff):
            if now - job.at >= _STEP:
                _answer_later(door, job)
            continue
        if not job.done and now - job.at >= 2 * _STEP:
            _do_bulk(door, job)
        if job.done and _bulk_state(door, job) in ("completed", "failed"):
            job.waits = False
            if job.callback is not None:
                body = msgspec.json.encode(success(_bulk_shown(door, job)))
                door.books.webhooks.send(job.callback, body, {})
    door.books.webhooks.go_on()


def _job_id(door: FrontDoor) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{door.books.seed}:job:{len(door.jobs) + 1}"))


def _keep(door: FrontDoor, id_: str, job: PutOff | BulkJob) -> None:
    if len(door.jobs) >= _MOST_JOBS:
        raise refusals.gateway(429, "GW-0010", "API rate limit exceeded")
    door.jobs[id_] = job
    for seconds in range(1, len(_SIX) + 1):
        remind(door.books.clock, seconds * 1.001, lambda: go_on(door))


def _found(door: FrontDoor, request: Request, kind: type[Any]) -> Any:
    id_ = request.query_params.get("jobId", "")
    job = door.jobs.get(id_)
    if not isinstance(job, kind) or door.books.clock.now() - job.at > KEPT:
        raise refusals.key_unknown("the job service", id_[:100])
    return job
