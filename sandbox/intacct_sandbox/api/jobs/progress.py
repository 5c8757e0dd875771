"""Begin jobs, carry them on with the time, and recall them after a restart."""

from __future__ import annotations

import base64
import hashlib
import itertools
import uuid
from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any, cast

import msgspec

from intacct_sandbox.api.batches import MOST_ITEMS
from intacct_sandbox.api.gateway import Gateway
from intacct_sandbox.api.json_bodies import content_of
from intacct_sandbox.domain.webhooks import remind
from intacct_sandbox.errors import rejections
from intacct_sandbox.errors.envelopes import success
from intacct_sandbox.objects.catalogue import Json

from .models import STATUSES, STEP, BulkJob, Deferred

_MOST_JOBS = 10_000


def go_on(gateway: Gateway) -> None:
    """Do what is due. To be called in the event loop, now and then."""
    now = gateway.books.clock.now()
    for job in [one for one in gateway.jobs.values() if one.waits]:
        if isinstance(job, Deferred):
            if now - job.at >= STEP and not _must_wait(gateway, job):
                _answer_later(gateway, job)
            continue
        if not job.done and now - job.at >= 2 * STEP:
            _do_bulk(gateway, job)
        if job.done and bulk_state(gateway, job) in ("completed", "failed"):
            _happen(gateway, {"event": "called back", "id": job.id})
            if job.callback is not None:
                body = msgspec.json.encode(success(bulk_shown(gateway, job)))
                signed = gateway.books.behaviours["async_signature"]
                gateway.books.webhooks.send(job.callback, body, {}, signed=signed)
    gateway.books.webhooks.go_on()


def _answer_later(gateway: Gateway, job: Deferred) -> None:
    job.waits = False
    response = gateway.inside(job.method, job.path, job.headers, job.body, job.session)
    headers = {
        "X-IA-Respond-Code": str(response.status_code),
        "X-IA-Original-Request-Id": job.request_id,
        "X-IA-TimeReceived": format_datetime(job.at, usegmt=True),
    }
    if response.media_type:
        headers["Content-Type"] = response.media_type
    if "idempotency-key" in job.headers:
        headers["Idempotency-Key"] = job.headers["idempotency-key"]
    signed, books = gateway.books.behaviours["async_signature"], gateway.books
    sent = books.webhooks.send(job.url, bytes(response.body), headers, signed=signed, hook=job.hook)
    at = books.clock.now()
    _happen(gateway, {"event": "answered", "id": job.id, "delivery": sent, "at": at.isoformat()})


def _must_wait(gateway: Gateway, job: Deferred) -> bool:
    """Return whether a serialized request has another one before it that nobody has taken yet."""
    return job.serialized and any(
        one.state(gateway.books.webhooks) in ("queued", "inTransit")
        for one in itertools.takewhile(lambda one: one is not job, gateway.jobs.values())
        if isinstance(one, Deferred) and one.serialized
    )


def _do_bulk(gateway: Gateway, job: BulkJob) -> None:
    """Do all items, in pieces of at most 500 that are not atomic. Each piece has a key of its own,
    so that a job which a crash cut short is not done twice."""
    try:
        items = msgspec.json.decode(job.file)
    except (msgspec.DecodeError, RecursionError):
        items = None
    done: list[Json] = []
    for begin in range(0, len(items) if isinstance(items, list) else 0, MOST_ITEMS):
        done += _do_piece(gateway, job, items[begin : begin + MOST_ITEMS], begin)
    failed = not isinstance(items, list)
    _happen(gateway, {"event": "done", "id": job.id, "items": done, "failed": failed})


def _do_piece(gateway: Gateway, job: BulkJob, piece: list[Json], begin: int) -> list[Json]:
    path, headers = f"/objects/{job.object}", {"idempotency-key": f"{job.id} {begin}"}
    good = {"POST": 201, "PATCH": 200, "DELETE": 204}[job.method]
    if job.method == "DELETE":
        keys = [str(one.get("key") if isinstance(one, dict) else one) for one in piece]
        path, body = f"{path}/{','.join(keys)}", b""
    else:
        body = msgspec.json.encode(piece)
    response = gateway.inside(job.method, path, headers, body, job.session)
    answer = content_of(response)
    result = answer.get("ia::result") if isinstance(answer, dict) else None
    if isinstance(result, list):
        return [
            {**one, "ia::status": one.get("ia::status", good)}
            for one in cast("list[dict[str, Json]]", result)
        ]
    status = response.status_code
    # All rejected alike, or all deleted.
    common = result if isinstance(result, dict) else {}
    return [{**common, "ia::status": status} for _ in piece]


def begin_job(gateway: Gateway, event: dict[str, Json]) -> Any:
    """Return the new job that an event begins."""
    if len(gateway.jobs) >= _MOST_JOBS:
        raise rejections.gateway(429, "GW-0010", "API rate limit exceeded")
    number = len(gateway.jobs) + 1
    if event["event"] == "bulk":
        id_ = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{gateway.books.seed}:job:{number}"))
    else:
        said = hashlib.sha256(f"{gateway.books.seed}:job:{number}".encode()).digest()
        id_ = base64.urlsafe_b64encode(said[:30]).decode()
    _happen(gateway, {**event, "id": id_, "at": gateway.books.clock.now().isoformat()})
    for seconds in range(1, len(STATUSES) + 1):
        remind(gateway.books.clock, seconds * 1.001, lambda: go_on(gateway))
    return gateway.jobs[id_]


def recall(gateway: Gateway) -> None:
    """Know the jobs that the books know, after a start or a step back."""
    gateway.jobs.clear()
    for event in gateway.books.job_events:
        _take_in(gateway, event)


def _happen(gateway: Gateway, event: dict[str, Json]) -> None:
    gateway.books.keep_job_event(event)
    _take_in(gateway, event)


def _take_in(gateway: Gateway, event: Mapping[str, Any]) -> None:
    job: Any = gateway.jobs.get(event["id"])
    match event["event"]:
        case "put off":
            gateway.jobs[event["id"]] = Deferred(
                id=event["id"],
                at=datetime.fromisoformat(event["at"]),
                session=gateway.books.tokens.session_of(event["user"], event["entity"]),
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
            gateway.jobs[event["id"]] = BulkJob(
                id=event["id"],
                at=datetime.fromisoformat(event["at"]),
                object=event["object"],
                session=gateway.books.tokens.session_of(event["user"], event["entity"]),
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


def bulk_state(gateway: Gateway, job: BulkJob) -> str:
    return job.status(gateway.books.clock.now(), gateway.books.behaviours["bulk_statuses"])


def bulk_shown(gateway: Gateway, job: BulkJob) -> dict[str, Json]:
    status = bulk_state(gateway, job)
    over = status in ("completed", "failed")
    url = f"/services/bulk/job/status?jobId={job.id}&download=true"
    return {
        "jobId": job.id,
        "status": status,
        "percentComplete": 100 if over else 50 if job.done else 0,
        "downloadURL": url if over else None,
        "jobStatusFile": job.file_name if over else None,
    }
