"""Answers and news that go out to a client's own address, signed.

Facts (Sage's webhook guide): `X-IA-Sage-Signature` is a JWT, HS256 with the client secret, with
`iat` in milliseconds, `exp` an hour later, `iss`, `tenant_id`, `app_id` and the SHA-256 of the
body; on 408, 429, 500, 502, 503 and 504 it is sent again after 10, 30 and 90 seconds. That a
receiver who cannot be reached is tried again too is a guess.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from .catalogue import Json
from .clock import Clock, wire_time
from .company import CLIENT_ID, CLIENT_SECRET, COMPANY
from .errors import SandboxError

PAUSES = (10, 30, 90)
"""Seconds before the second, third and fourth try, on the sandbox's clock."""

_TRY_AGAIN = frozenset((408, 429, 500, 502, 503, 504))
_PATIENCE = 10  # seconds of real time for a receiver to answer
_MOST = 10_000
_EVENTS = {"create": "after_create", "update": "after_update", "delete": "after_delete"}


def signature(body: bytes, now: datetime) -> str:
    """The value of `X-IA-Sage-Signature` for a body that goes out now."""
    claims = {
        "iat": int(now.timestamp() * 1000),
        "exp": int((now + timedelta(hours=1)).timestamp() * 1000),
        "iss": "Sage Intacct",
        "tenant_id": COMPANY,
        "app_id": CLIENT_ID,
        "payload_signature": hashlib.sha256(body).hexdigest(),
    }
    head = _b64(msgspec.json.encode({"typ": "JWT", "alg": "HS256"}))
    signed = f"{head}.{_b64(msgspec.json.encode(claims))}"
    return f"{signed}.{_b64(hmac.digest(CLIENT_SECRET.encode(), signed.encode(), 'sha256'))}"


def _b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@dataclass
class Delivery:
    """Something to be brought to an address."""

    number: int
    url: str
    body: bytes
    headers: Mapping[str, str]
    due: datetime
    statuses: list[int | None] = field(default_factory=list)
    """What the receiver answered to each try; None when it could not be reached."""
    state: str = "queued"
    """queued, inTransit, delivered or dead."""

    def shown(self) -> dict[str, Json]:
        """As the control API tells it."""
        return {
            "number": self.number,
            "url": self.url,
            "state": self.state,
            "statuses": list[Json](self.statuses),
            "body": self.body.decode("utf-8", "replace"),
        }


@dataclass(frozen=True)
class Trigger:
    """A platform trigger: which changes of an object are told, and where."""

    object: str
    events: frozenset[str]
    url: str


class Webhooks:
    """Brings deliveries to their addresses, in the background of the running event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._addresses: dict[str, str] = {}
        self._triggers: list[Trigger] = []
        self._deliveries: list[Delivery] = []
        self._queued: list[Delivery] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def register(self, given: Mapping[str, Json]) -> None:
        """An address by id (`{"id", "url"}`), or a platform trigger (`{"object", "events", "url"}`,
        events `after_create`, `after_update`, `after_delete`); raises `SandboxError`."""
        url = check_url(given.get("url"))
        if "id" in given:
            self._addresses[str(given["id"])] = url
            return
        events = given.get("events", list(_EVENTS.values()))
        if not isinstance(events, list) or not set(events) <= set(_EVENTS.values()):
            raise SandboxError(f"events are of {', '.join(_EVENTS.values())}.")
        if not isinstance(given.get("object"), str):
            raise SandboxError("A webhook takes an id, or the object that triggers it.")
        self._triggers.append(Trigger(str(given["object"]), frozenset(map(str, events)), url))

    def address(self, id_: str) -> str | None:
        """The address that was registered under an id."""
        return self._addresses.get(id_)

    def tell(self, wrote: list[tuple[str, str, str]], user: str | None, entity: str | None) -> None:
        """Send out news of records written, to the triggers that want them."""
        for operation, object_, key in wrote:
            for trigger in self._triggers:
                event = _EVENTS[operation]
                if trigger.object != object_ or event not in trigger.events:
                    continue
                context = {
                    "COMPANY": COMPANY,
                    "ENTITY": entity or "",
                    "USER": user or "",
                    "OBJECTNAME": object_.rpartition("/")[2].upper(),
                    "RESTOBJECTNAME": object_,
                    "DOCTYPE": "",
                    "ID": key,
                    "VID": key,
                    "EVENT": operation,
                    "EVENTNAME": event,
                }
                headers = {
                    "x-clientcontext": base64.b64encode(msgspec.json.encode(context)).decode(),
                    "X-IdempotencyKey": f"{object_}-{key}-{event}-{len(self._deliveries)}",
                }
                body = msgspec.json.encode({"key": key, "object": object_, "event": event})
                self.send(trigger.url, body, headers)

    def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Delivery:
        """Bring a body to an address, as soon as the event loop has a moment."""
        delivery = Delivery(len(self._deliveries) + 1, url, body, headers, self._clock.now())
        if len(self._deliveries) >= _MOST:
            delivery.state = "dead"
            return delivery
        self._deliveries.append(delivery)
        self._queued.append(delivery)
        self.go_on()
        return delivery

    def go_on(self) -> None:
        """Try what is due. To be called in the event loop, now and then."""
        now = self._clock.now()
        for delivery in list(self._queued):
            if delivery.due <= now:
                self._queued.remove(delivery)
                delivery.state = "inTransit"
                self._start(self._try(delivery))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _try(self, delivery: Delivery) -> None:
        headers = {
            "Content-Type": "application/json",
            **delivery.headers,
            "X-IA-Sage-Signature": signature(delivery.body, self._clock.now()),
        }
        status = await asyncio.to_thread(_post, delivery.url, delivery.body, headers)
        delivery.statuses.append(status)
        if status is not None and status not in _TRY_AGAIN:
            delivery.state = "delivered" if status < 300 else "dead"
        elif len(delivery.statuses) > len(PAUSES):
            delivery.state = "dead"
        else:
            pause = PAUSES[len(delivery.statuses) - 1]
            delivery.due = self._clock.now() + timedelta(seconds=pause)
            delivery.state = "queued"
            self._queued.append(delivery)
            remind(self._clock, pause, self.go_on)

    def shown(self) -> dict[str, Json]:
        """As the control API tells it."""
        return {
            "addresses": dict[str, Json](self._addresses),
            "triggers": [
                {"object": one.object, "events": list[Json](sorted(one.events)), "url": one.url}
                for one in self._triggers
            ],
            "deliveries": [one.shown() for one in self._deliveries[-1000:]],
            "now": wire_time(self._clock.now()),
        }


def remind(clock: Clock, seconds: float, act: Callable[[], None]) -> None:
    """Act in the running event loop when a running clock shows that much more; whoever moves the
    clock by hand acts then."""
    if clock.is_running:
        asyncio.get_running_loop().call_later(seconds, act)


def check_url(given: Json) -> str:
    """An address that can be delivered to; raises `SandboxError`."""
    if not isinstance(given, str) or not given.startswith(("http://", "https://")):
        raise SandboxError("A webhook takes an http or https url.")
    return given


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> int | None:
    request = urllib.request.Request(url, body, dict(headers), method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError):
        return None
