"""Work that is put off: single requests (`Prefer: respond-async`) and bulk jobs. Jobs outlive a
restart: what happens to them is kept with the books.

Facts (Sage's guides on asynchronous requests and bulk): 202 with a job and `retry-after`, the real
answer goes to the client's webhook only, details are kept for four days; a bulk job takes a file of
any number of items, each its own transaction, and goes on after failures. How long things take, the
layout of a result file and the statuses a job goes through are not documented: fixed spans of the
sandbox's clock, and behaviours.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any, cast
from urllib.parse import quote

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_form
from starlette.requests import Request
from starlette.responses import Response

from intacct_sandbox.api.batches import MOST_ITEMS
from intacct_sandbox.api.gateway import (
    BASE_PATH,
    DEFERRED,
    FrontDoor,
    Handler,
    as_json,
    content_of,
    read_json,
)
from intacct_sandbox.control.clock import wire_time
from intacct_sandbox.domain.sessions import Session
from intacct_sandbox.domain.webhooks import Webhooks, check_url, remind
from intacct_sandbox.errors import SandboxError, rejections
from intacct_sandbox.errors.envelopes import success
from intacct_sandbox.objects.catalogue import Json

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
    session: Session
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    url: str
    hook: str | None
    request_id: str
    serialized: bool
    delivery: int | None = None
    answered_at: datetime | None = None
    waits: bool = True

    def state(self, webhooks: Webhooks) -> str:
        """queued, inTransit, delivered or dead."""
        if self.delivery is None:
            return "queued"
        delivery = webhooks.delivery(self.delivery)
        if delivery is None:
            return "delivered"
        tried = delivery.state == "queued" and delivery.statuses
        return "inTransit" if tried else delivery.state

    def shown(self, webhooks: Webhooks) -> dict[str, Json]:
        """As the job service tells it."""
        delivery = None if self.delivery is None else webhooks.delivery(self.delivery)
        told: dict[str, Json] = {
            "jobId": self.id,
            "state": self.state(webhooks),
            "queuedDateTime": wire_time(self.at),
        }
        if self.answered_at is not None:
            told["startedDateTime"] = told["finishedDateTime"] = wire_time(self.answered_at)
        if delivery is not None:
            told["deliveryStatus"] = delivery.tries()
        return {**told, "href": f"/services/core/async/job-status?jobId={self.id}"}


_CARRIED = ("x-ia-api-param-transaction", "idempotency-key", "content-type")


def deferrable(handler: Handler) -> Handler:
    """The handler, but for requests that ask with `Prefer` to be answered later."""

    def handle(door: FrontDoor, request: Request, body: bytes) -> Response:
        wanted = request.headers.get("prefer", "").lower()
        if "respond-async" not in wanted or DEFERRED in request.scope:
            return handler(door, request, body)
        return _put_off(door, request, body, serialized="respond-async-serialized" in wanted)

    return handle


def _put_off(door: FrontDoor, request: Request, body: bytes, *, serialized: bool) -> Response:
    """202 for a request that is done in a second; raises `Refusal` (400)."""
    session, books = door.session(request), door.books
    if books.behaviours["async_batch"] == "refused" and body.lstrip().startswith(b"["):
        raise rejections.bad_request("A batch cannot be asked for with Prefer: respond-async")
    id_ = request.headers.get("x-ia-webhook-id")
    url = request.headers.get("x-ia-webhook-endpointurl")
    if id_ is not None:
        url = books.webhooks.address(id_)
    try:
        url = check_url(url)
    except SandboxError:
        raise rejections.bad_request(
            "An asynchronous request needs X-IA-Webhook-Id or X-IA-Webhook-EndpointURL"
        ) from None
    headers: dict[str, Json] = {
        name: request.headers[name] for name in _CARRIED if name in request.headers
    }
    path = quote(request.scope["path"].removeprefix(BASE_PATH))
    asked = request.scope["query_string"].decode("ascii", "replace")
    job = _keep(
        door,
        {
            "event": "put off",
            "method": request.method,
            "path": f"{path}?{asked}" if asked else path,
            "headers": headers,
            "body": base64.b64encode(body).decode(),
            "url": url,
            "hook": id_,
            "request": hashlib.md5(door.support_id().encode()).hexdigest(),  # noqa: S324 - an id
            "serialized": serialized,
            "user": session.user.id,
            "entity": session.entity,
        },
    )
    body_ = {"ia::result": job.shown(books.webhooks), "ia::meta": {"totalCount": 1}}
    return as_json(body_, status=202, headers={"Retry-After": str(WAIT)})


def async_status(door: FrontDoor, request: Request, body: bytes) -> Response:
    """GET /services/core/async/job-status?jobId=…"""
    door.session(request)
    job = _found(door, request, PutOff)
    return as_json({"ia::result": job.shown(door.books.webhooks), "ia::meta": {"totalCount": 1}})


def _answer_later(door: FrontDoor, job: PutOff) -> None:
    job.waits = False
    response = door.inside(job.method, job.path, job.headers, job.body, job.session)
    headers = {
        "X-IA-Respond-Code": str(response.status_code),
        "X-IA-Original-Request-Id": job.request_id,
        "X-IA-TimeReceived": format_datetime(job.at, usegmt=True),
    }
    if response.media_type:
        headers["Content-Type"] = response.media_type
    if "idempotency-key" in job.headers:
        headers["Idempotency-Key"] = job.headers["idempotency-key"]
    signed, books = door.books.behaviours["async_signature"], door.books
    sent = books.webhooks.send(job.url, bytes(response.body), headers, signed=signed, hook=job.hook)
    at = books.clock.now()
    _happen(door, {"event": "answered", "id": job.id, "delivery": sent, "at": at.isoformat()})


def _must_wait(door: FrontDoor, job: PutOff) -> bool:
    """Whether a serialized request has another one before it that nobody has taken yet."""
    return job.serialized and any(
        one.state(door.books.webhooks) in ("queued", "inTransit")
        for one in itertools.takewhile(lambda one: one is not job, door.jobs.values())
        if isinstance(one, PutOff) and one.serialized
    )


# --- bulk -------------------------------------------------------------------------------------


@dataclass
class BulkJob:
    """A file of items for one object, and what became of them."""

    id: str
    at: datetime
    object: str
    session: Session
    method: str
    file: bytes
    file_name: str
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
        raise rejections.bad_request("ia::requestBody must be an object")
    name, operation = asked.get("objectName"), asked.get("operation")
    type_ = books.catalogue.get(str(name))
    if type_ is None:
        raise rejections.no_such_object(str(name))
    if operation not in _OPERATIONS:
        raise rejections.bad_request("operation must be create, update or delete")
    method = _OPERATIONS[str(operation)]
    if method not in type_.methods:
        raise rejections.method_not_allowed(method, f"objects/{name}")
    if asked.get("fileContentType", "json") != "json":
        raise rejections.bad_request("fileContentType must be json")
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
        raise rejections.bad_request("The part file is missing")
    callback = asked.get("callbackURL")
    try:
        checked = None if callback is None else check_url(callback)
    except SandboxError as error:
        raise rejections.bad_request(f"callbackURL: {error}") from None
    job = _keep(
        door,
        {
            "event": "bulk",
            "object": str(name),
            "method": method,
            "file": base64.b64encode(file).decode(),
            "file_name": str(asked.get("jobFile", "file.json")),
            "callback": checked,
            "user": session.user.id,
            "entity": session.entity,
        },
    )
    result: dict[str, Json] = {
        "jobId": job.id,
        "statusURL": f"/services/bulk/job/status?jobId={job.id}",
        "createdDateTime": wire_time(job.at),
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
        raise rejections.bad_request(f"The job {job.id} is {status}: its result is not there yet")
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
    """Do all items, in pieces of at most 500 that are not atomic. Each piece has a key of its own,
    so that a job which a crash cut short is not done twice."""
    try:
        items = msgspec.json.decode(job.file)
    except (msgspec.DecodeError, RecursionError):
        items = None
    told: list[Json] = []
    for begin in range(0, len(items) if isinstance(items, list) else 0, MOST_ITEMS):
        told += _do_piece(door, job, items[begin : begin + MOST_ITEMS], begin)
    failed = not isinstance(items, list)
    _happen(door, {"event": "done", "id": job.id, "items": told, "failed": failed})


def _do_piece(door: FrontDoor, job: BulkJob, piece: list[Json], begin: int) -> list[Json]:
    path, headers = f"/objects/{job.object}", {"idempotency-key": f"{job.id} {begin}"}
    good = {"POST": 201, "PATCH": 200, "DELETE": 204}[job.method]
    if job.method == "DELETE":
        keys = [str(one.get("key") if isinstance(one, dict) else one) for one in piece]
        path, body = f"{path}/{','.join(keys)}", b""
    else:
        body = msgspec.json.encode(piece)
    response = door.inside(job.method, path, headers, body, job.session)
    answer = content_of(response)
    result = answer.get("ia::result") if isinstance(answer, dict) else None
    if isinstance(result, list):
        return [
            {**one, "ia::status": one.get("ia::status", good)}
            for one in cast("list[dict[str, Json]]", result)
        ]
    status = response.status_code
    # All refused alike, or all deleted.
    common = result if isinstance(result, dict) else {}
    return [{**common, "ia::status": status} for _ in piece]


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
        raise rejections.bad_request("A bulk job is created with multipart/form-data")
    headers = {
        "Content-Type": content_type.encode("latin-1", "replace"),
        "Content-Length": str(len(body)).encode(),
    }
    try:
        parse_form(headers, _Stream(body), take_field, take_file)
    except (FormParserError, ValueError, KeyError) as error:
        raise rejections.bad_json(str(error)[:200] or "it is not multipart/form-data") from None
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
            if now - job.at >= _STEP and not _must_wait(door, job):
                _answer_later(door, job)
            continue
        if not job.done and now - job.at >= 2 * _STEP:
            _do_bulk(door, job)
        if job.done and _bulk_state(door, job) in ("completed", "failed"):
            _happen(door, {"event": "called back", "id": job.id})
            if job.callback is not None:
                body = msgspec.json.encode(success(_bulk_shown(door, job)))
                signed = door.books.behaviours["async_signature"]
                door.books.webhooks.send(job.callback, body, {}, signed=signed)
    door.books.webhooks.go_on()


def _keep(door: FrontDoor, event: dict[str, Json]) -> Any:
    """The new job that an event begins."""
    if len(door.jobs) >= _MOST_JOBS:
        raise rejections.gateway(429, "GW-0010", "API rate limit exceeded")
    number = len(door.jobs) + 1
    if event["event"] == "bulk":
        id_ = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{door.books.seed}:job:{number}"))
    else:
        said = hashlib.sha256(f"{door.books.seed}:job:{number}".encode()).digest()
        id_ = base64.urlsafe_b64encode(said[:30]).decode()
    _happen(door, {**event, "id": id_, "at": door.books.clock.now().isoformat()})
    for seconds in range(1, len(_SIX) + 1):
        remind(door.books.clock, seconds * 1.001, lambda: go_on(door))
    return door.jobs[id_]


def recall(door: FrontDoor) -> None:
    """Know the jobs that the books know, after a start or a step back."""
    door.jobs.clear()
    for event in door.books.job_events:
        _take_in(door, event)


def _happen(door: FrontDoor, event: dict[str, Json]) -> None:
    door.books.keep_job_event(event)
    _take_in(door, event)


def _take_in(door: FrontDoor, event: Mapping[str, Any]) -> None:
    job: Any = door.jobs.get(event["id"])
    match event["event"]:
        case "put off":
            door.jobs[event["id"]] = PutOff(
                id=event["id"],
                at=datetime.fromisoformat(event["at"]),
                session=door.books.tokens.session_of(event["user"], event["entity"]),
                method=event["method"],
                path=event["path"],
                headers=dict(event["headers"]),
                body=base64.b64decode(event["body"]),
                url=event["url"],
                hook=event["hook"],
                request_id=event["request"],
                serialized=event["serialized"],
            )
        case "bulk":
            door.jobs[event["id"]] = BulkJob(
                id=event["id"],
                at=datetime.fromisoformat(event["at"]),
                object=event["object"],
                session=door.books.tokens.session_of(event["user"], event["entity"]),
                method=event["method"],
                file=base64.b64decode(event["file"]),
                file_name=event["file_name"],
                callback=event["callback"],
            )
        case "answered":
            job.waits, job.delivery = False, event["delivery"]
            job.answered_at = datetime.fromisoformat(event["at"])
        case "done":
            job.file, job.done = b"", True
            job.items, job.failed = event["items"], event["failed"]
        case "called back":
            job.waits = False


def _found(door: FrontDoor, request: Request, kind: type[Any]) -> Any:
    id_ = request.query_params.get("jobId", "")
    job = door.jobs.get(id_)
    if not isinstance(job, kind) or door.books.clock.now() - job.at > KEPT:
        raise rejections.job_unknown(id_[:100])
    return job
