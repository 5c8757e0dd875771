"""Jobs: deferred requests (`Prefer: respond-async`) and bulk jobs. Jobs outlive a
restart: what happens to them is kept with the books.

Facts (Sage's guides on asynchronous requests and bulk): 202 with a job and `retry-after`, the real
answer goes to the client's webhook only, details are kept for four days; a bulk job takes a file of
any number of items, each its own transaction, and goes on after failures. How long things take, the
layout of a result file and the statuses a job goes through are not documented: fixed spans of the
sandbox's clock, and behaviours.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from intacct_sandbox.api.gateway import Gateway
from intacct_sandbox.api.json_bodies import as_json, read_json
from intacct_sandbox.control.clock import wire_time
from intacct_sandbox.domain.webhooks import check_url
from intacct_sandbox.errors import SandboxError, rejections
from intacct_sandbox.errors.envelopes import success
from intacct_sandbox.objects.catalogue import Json

from .models import KEPT, BulkJob, Deferred
from .multipart import multipart_parts
from .progress import begin_job, bulk_shown, bulk_state

_OPERATIONS = {"create": "POST", "update": "PATCH", "delete": "DELETE"}


# --- single requests --------------------------------------------------------------------------


def async_status(gateway: Gateway, request: Request, body: bytes) -> Response:
    """GET /services/core/async/job-status?jobId=…"""
    gateway.session(request)
    job = _found(gateway, request, Deferred)
    return as_json({"ia::result": job.shown(gateway.books.webhooks), "ia::meta": {"totalCount": 1}})


# --- bulk -------------------------------------------------------------------------------------


def create_bulk(gateway: Gateway, request: Request, body: bytes) -> Response:
    """POST /services/bulk/job/create, multipart: `ia::requestBody` and `file`."""
    books, session = gateway.books, gateway.session(request)
    fields, files = multipart_parts(request.headers.get("content-type", ""), body)
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
    job = begin_job(
        gateway,
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


def bulk_status(gateway: Gateway, request: Request, body: bytes) -> Response:
    """GET /services/bulk/job/status?jobId=…[&download=true]"""
    gateway.session(request)
    job = _found(gateway, request, BulkJob)
    status = bulk_state(gateway, job)
    if request.query_params.get("download") != "true":
        return as_json(success(bulk_shown(gateway, job)))
    if status not in ("completed", "failed"):
        raise rejections.bad_request(f"The job {job.id} is {status}: its result is not there yet")
    if gateway.books.behaviours["bulk_result_layout"] == "lines":
        lines = b"".join(msgspec.json.encode(item) + b"\n" for item in job.items)
        return Response(lines, media_type="application/x-ndjson")
    errors = sum("ia::error" in item for item in job.items if isinstance(item, dict))
    meta: dict[str, Json] = {
        "totalCount": len(job.items),
        "totalSuccess": len(job.items) - errors,
        "totalError": errors,
    }
    return as_json({"ia::result": job.items, "ia::meta": meta})


# --- both -------------------------------------------------------------------------------------


def _found(gateway: Gateway, request: Request, kind: type[Any]) -> Any:
    id_ = request.query_params.get("jobId", "")
    job = gateway.jobs.get(id_)
    if not isinstance(job, kind) or gateway.books.clock.now() - job.at > KEPT:
        raise rejections.job_unknown(id_[:100])
    return job
