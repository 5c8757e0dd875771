"""The two kinds of job: a deferred request, and a bulk job."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from intacct_sandbox.control.clock import wire_time
from intacct_sandbox.domain.sessions import UserSession
from intacct_sandbox.domain.webhooks import Webhooks
from intacct_sandbox.objects.catalogue import Json

KEPT = timedelta(days=4)
"""How long a job can be asked for."""


WAIT = 120
"""`retry-after` of a request that was put off, in seconds (the documented default)."""


STEP = timedelta(seconds=1)


STATUSES = ("queued", "preprocessing", "processing", "postprocessing", "completed")


@dataclass
class Deferred:
    """A request that will be answered at the client's webhook."""

    id: str
    at: datetime
    session: UserSession
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
        """Return it as the job service shows it."""
        delivery = None if self.delivery is None else webhooks.delivery(self.delivery)
        status: dict[str, Json] = {
            "jobId": self.id,
            "state": self.state(webhooks),
            "queuedDateTime": wire_time(self.at),
        }
        if self.answered_at is not None:
            status["startedDateTime"] = status["finishedDateTime"] = wire_time(self.answered_at)
        if delivery is not None:
            status["deliveryStatus"] = delivery.tries()
        return {**status, "href": f"/services/core/async/job-status?jobId={self.id}"}


@dataclass
class BulkJob:
    """A file of items for one object, and what became of them."""

    id: str
    at: datetime
    object: str
    session: UserSession
    method: str
    file: bytes
    file_name: str
    callback: str | None
    items: list[Json] = field(default_factory=list)
    done: bool = False
    failed: bool = False
    waits: bool = True

    def status(self, now: datetime, statuses: str) -> str:
        """Return how far it is."""
        if self.failed:
            return "failed"
        reached = STATUSES[min((now - self.at) // STEP, len(STATUSES) - 1)]
        if reached == "completed" and not self.done:
            return "processing"
        if statuses == "four":
            return {"preprocessing": "queued", "postprocessing": "processing"}.get(reached, reached)
        return reached
