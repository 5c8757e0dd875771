"""Answers and news that go out to a client's own address, signed, or wait in a queue for it.

Facts (Sage's webhook guide): `X-IA-Sage-Signature` is a JWT, HS256 with the client secret, with
`iat` in milliseconds, `exp` an hour later, `iss`, `tenant_id`, `app_id` and the SHA-256 of the
body; on 408, 429, 500, 502, 503 and 504 it is sent again after 10, 30 and 90 seconds. The event
queue keeps for seven days what triggers put there, and what no receiver took (Sage's release notes;
shapes as in the guide's examples, which a client quotes). That a receiver who cannot be reached is
tried again too is a guess, and so is the body of a trigger.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec

from intacct_sandbox.company import CLIENT_ID, CLIENT_SECRET, COMPANY
from intacct_sandbox.control.clock import Clock, wire_time
from intacct_sandbox.errors import SandboxError
from intacct_sandbox.objects.catalogue import Json

PAUSES = (10, 30, 90)
"""Seconds before the second, third and fourth try, on the sandbox's clock."""

EVENTS_KEPT = timedelta(days=7)
"""How long an event waits in the queue."""

MOST_EVENTS = 100
"""How many events one batch of the queue holds; Sage's figure is not known."""

_TRY_AGAIN = frozenset((408, 429, 500, 502, 503, 504))
_PATIENCE = 10  # seconds of real time for a receiver to answer
_MOST = 10_000
_EVENTS = {"create": "after_create", "update": "after_update", "delete": "after_delete"}


def signature(body: bytes, now: datetime, secret: str = CLIENT_SECRET) -> str:
    """Return the value of `X-IA-Sage-Signature` for a body that goes out now."""
    claims = {
        "iat": int(now.timestamp() * 1000),
        "exp": int((now + timedelta(hours=1)).timestamp() * 1000),
        "iss": "Sage Intacct",
        "tenant_id": COMPANY,
        "app_id": CLIENT_ID,
        "payload_signature": hashlib.sha256(body).hexdigest(),
        "payload_signature_alg": "SHA-256",
    }
    head = _b64(msgspec.json.encode({"typ": "JWT", "alg": "HS256"}))
    signed = f"{head}.{_b64(msgspec.json.encode(claims))}"
    return f"{signed}.{_b64(hmac.digest(secret.encode(), signed.encode(), 'sha256'))}"


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
    signed: str = "jwt"
    """`jwt`, or `hmac` for the plain digest of the body."""
    hook: str | None = None
    """The id under which the address was registered, where it was."""
    statuses: list[int | None] = field(default_factory=list)
    """What the receiver answered to each try; None when it could not be reached."""
    times: list[datetime] = field(default_factory=list)
    """When each try was."""
    state: str = "queued"
    """queued, inTransit, delivered or dead."""

    def shown(self) -> dict[str, Json]:
        """Return it as the control API shows it."""
        return {
            "number": self.number,
            "url": self.url,
            "state": self.state,
            "statuses": list[Json](self.statuses),
            "body": self.body.decode("utf-8", "replace"),
        }

    def tries(self) -> list[Json]:
        """Return it as the service of asynchronous requests shows it."""
        tries: list[Json] = []
        for number, (status, at) in enumerate(zip(self.statuses, self.times, strict=True)):
            one: dict[str, Json] = {
                "status": "unreachable" if status is None else str(status),
                "deliveryDateTime": wire_time(at),
            }
            if number < len(self.statuses) - 1 or self.state == "queued":
                one["scheduledRetryDateTime"] = wire_time(at + timedelta(seconds=PAUSES[number]))
            tries.append(one)
        return tries


@dataclass(frozen=True)
class Trigger:
    """A platform trigger: which changes of an object are sent, and where; without an address in
    the queue."""

    object: str
    events: frozenset[str]
    url: str | None
    name: str


@dataclass(frozen=True)
class QueuedEvent:
    """News that waits until the client asks for it."""

    id: str
    at: datetime
    type: str
    context: bytes
    payload: bytes

    def shown(self) -> dict[str, Json]:
        """Return it as the event service shows it."""
        return {
            "clientContext": base64.b64encode(self.context).decode(),
            "contentType": "application/json",
            "eventId": self.id,
            "eventType": self.type,
            "payload": base64.b64encode(self.payload).decode(),
        }


class Webhooks:
    """Brings deliveries to their addresses, in the background of the running event loop, and keeps
    the queue of events.

    `keep` is called with whatever must outlive a restart; `replay` takes it back.
    """

    def __init__(self, clock: Clock, keep: Callable[[dict[str, Json]], None]) -> None:
        self._clock = clock
        self._keep = keep
        self._tasks: set[asyncio.Task[None]] = set()
        self.forget()

    def forget(self) -> None:
        """Forget all addresses, triggers, deliveries and events."""
        self._addresses: dict[str, str] = {}
        self._secrets: dict[str, str] = {}
        self._triggers: list[Trigger] = []
        self._deliveries: list[Delivery] = []
        self._queued: dict[int, Delivery] = {}
        self._events: list[QueuedEvent] = []
        self._numbered = 0

    # --- what is registered ---------------------------------------------------------------

    def register(self, given: Mapping[str, Json]) -> None:
        """Register an address (`{"id", "url"}`, and a `secret` of its own), or a platform trigger
        (`{"object", "events", "url"}`, events `after_create`, `after_update`, `after_delete`, and
        a `name`), which without a url puts its events in the queue; raises `SandboxError`."""
        texts = {name: one for name, one in given.items() if name != "events"}
        strange = next((name for name, one in texts.items() if not isinstance(one, str)), None)
        if strange is not None:
            raise SandboxError(f"{strange} is a text.")
        if "id" in given:
            self._happen({"event": "address", **texts, "url": check_url(given.get("url"))})
            return
        events = given.get("events", list(_EVENTS.values()))
        if not isinstance(events, list) or not set(map(str, events)) <= set(_EVENTS.values()):
            raise SandboxError(f"events are of {', '.join(_EVENTS.values())}.")
        if "object" not in given:
            raise SandboxError("A webhook takes an id, or the object that triggers it.")
        if "url" in given:
            check_url(given["url"])
        self._happen({"event": "trigger", **texts, "events": list[Json](events)})

    def address(self, id_: str) -> str | None:
        """Return the address that was registered under an id."""
        return self._addresses.get(id_)

    # --- what happens ---------------------------------------------------------------------

    def _happen(self, event: dict[str, Json]) -> None:
        self._keep(event)
        self.replay(event)

    def replay(self, event: Mapping[str, Any]) -> None:
        """Let an event happen, now or again after a restart."""
        match event["event"]:
            case "address":
                self._addresses[event["id"]] = event["url"]
                if "secret" in event:
                    self._secrets[event["id"]] = event["secret"]
            case "trigger":
                chosen = frozenset(event["events"])
                name = event.get("name", f"Trigger {len(self._triggers) + 1}")
                trigger = Trigger(event["object"], chosen, event.get("url"), name)
                self._triggers.append(trigger)
            case "sent":
                self._numbered = max(self._numbered, event["number"])
                delivery = Delivery(
                    event["number"],
                    event["url"],
                    base64.b64decode(event["body"]),
                    event["headers"],
                    datetime.fromisoformat(event["at"]),
                    event["signed"],
                    event["hook"],
                )
                self._deliveries.append(delivery)
                self._queued[delivery.number] = delivery
            case "tried":
                self._tried(event)
            case "waits":
                self._numbered = max(self._numbered, event["number"])
                at = datetime.fromisoformat(event["at"])
                context, payload = (base64.b64decode(event[n]) for n in ("context", "payload"))
                self._events.append(QueuedEvent(event["id"], at, event["type"], context, payload))
            case "taken":
                gone = frozenset(event["ids"])
                self._events = [one for one in self._events if one.id not in gone]

    def _tried(self, event: Mapping[str, Any]) -> None:
        delivery = self.delivery(event["number"])
        if delivery is None:
            return
        self._queued.pop(delivery.number, None)
        status, at = event["status"], datetime.fromisoformat(event["at"])
        delivery.statuses.append(status)
        delivery.times.append(at)
        if status is not None and status not in _TRY_AGAIN:
            delivery.state = "delivered" if status < 300 else "dead"
        elif len(delivery.statuses) > len(PAUSES):
            delivery.state = "dead"
        else:
            delivery.due = at + timedelta(seconds=PAUSES[len(delivery.statuses) - 1])
            delivery.state = "queued"
            self._queued[delivery.number] = delivery

    def delivery(self, number: int) -> Delivery | None:
        """Return a delivery by its number."""
        for one in reversed(self._deliveries):
            if one.number == number:
                return one
        return None

    def snapshot(self) -> Callable[[], None]:
        """Return what takes everything back to how it is now; may be called more than once.
        Deliveries that went out meanwhile are forgotten, not called back."""
        addresses, secrets = dict(self._addresses), dict(self._secrets)
        triggers, events, number = list(self._triggers), list(self._events), self._numbered
        deliveries = [
            Delivery(**{**vars(one), "statuses": [*one.statuses], "times": [*one.times]})
            for one in self._deliveries
        ]

        def restore() -> None:
            self._addresses, self._secrets = dict(addresses), dict(secrets)
            self._triggers, self._events, self._numbered = list(triggers), list(events), number
            self._deliveries = [
                Delivery(**{**vars(one), "statuses": [*one.statuses], "times": [*one.times]})
                for one in deliveries
            ]
            waiting = [one for one in self._deliveries if one.state in ("queued", "inTransit")]
            self._queued = {one.number: one for one in waiting}

        return restore

    # --- news of what was written -----------------------------------------------------------

    def tell(self, wrote: list[tuple[str, str, str]], user: str | None, entity: str | None) -> None:
        """Send out news of records written (operation, object, key), to the triggers that want
        them. `user`: the key of who wrote them."""
        for operation, object_, key in wrote:
            for trigger in self._triggers:
                event = _EVENTS[operation]
                if trigger.object != object_ or event not in trigger.events:
                    continue
                body = msgspec.json.encode({"key": key, "object": object_, "event": event})
                name = object_.rpartition("/")[2]
                if trigger.url is None:
                    queued = {"object": name, "event": event.replace("_", "."), "key": key}
                    self._wait("pull", msgspec.json.encode({**queued, "id": key}), body)
                    continue
                context = {
                    "COMPANY": COMPANY,
                    "ENTITY": entity or False,
                    "USER": user or "",
                    "OBJECTNAME": name.upper(),
                    "RESTOBJECTNAME": object_,
                    "DOCTYPE": "",
                    "ID": key,
                    "VID": key,
                    "EVENT": event,
                    "EVENTNAME": trigger.name,
                }
                once = f"{object_}-{key}-{event}-{self._numbered}"
                headers = {
                    "x-clientcontext": base64.b64encode(msgspec.json.encode(context)).decode(),
                    "X-IdempotencyKey": once,
                    "Idempotency-Key": once,
                }
                self.send(trigger.url, body, headers)

    def _wait(self, kind: str, context: bytes, payload: bytes) -> None:
        number = self._numbered + 1
        self._happen(
            {
                "event": "waits",
                "number": number,
                "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"sandbox event {number}")),
                "at": self._clock.now().isoformat(),
                "type": kind,
                "context": base64.b64encode(context).decode(),
                "payload": base64.b64encode(payload).decode(),
            }
        )

    # --- the queue --------------------------------------------------------------------------

    def waiting(self) -> list[QueuedEvent]:
        """Return the events in the queue, oldest first."""
        oldest = self._clock.now() - EVENTS_KEPT
        return [one for one in self._events if one.at > oldest]

    def batch(self) -> tuple[list[QueuedEvent], str]:
        """Return the next events, and the id by which they are acknowledged."""
        events = self.waiting()[:MOST_EVENTS]
        return events, _ack_id(events)

    def acknowledge(self, ack_id: str) -> bool:
        """Take the batch of this id out of the queue; whether there is one."""
        waiting = self.waiting()
        for count in range(1, min(len(waiting), MOST_EVENTS) + 1):
            if _ack_id(waiting[:count]) == ack_id:
                ids: list[Json] = [one.id for one in waiting[:count]]
                self._happen({"event": "taken", "ids": ids})
                return True
        return False

    # --- deliveries -------------------------------------------------------------------------

    def send(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        signed: str = "jwt",
        hook: str | None = None,
    ) -> int:
        """Bring a body to an address, as soon as the event loop has a moment; gives the number of
        the delivery. `hook`: the id of the address, whose secret signs."""
        if len(self._deliveries) >= _MOST:
            done = [one for one in self._deliveries if one.state in ("delivered", "dead")]
            self._deliveries = [one for one in self._deliveries if one not in done[: _MOST // 2]]
        number = self._numbered + 1
        self._happen(
            {
                "event": "sent",
                "number": number,
                "url": url,
                "body": base64.b64encode(body).decode(),
                "headers": dict[str, Json](headers),
                "at": self._clock.now().isoformat(),
                "signed": signed,
                "hook": hook,
            }
        )
        self.go_on()
        return number

    def go_on(self) -> None:
        """Try what is due. To be called in the event loop, now and then."""
        if not self._queued:
            return
        now = self._clock.now()
        for delivery in list(self._queued.values()):
            if delivery.due <= now:
                del self._queued[delivery.number]
                delivery.state = "inTransit"
                self._start(self._try(delivery))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _try(self, delivery: Delivery) -> None:
        now = self._clock.now()
        secret = self._secrets.get(delivery.hook or "", CLIENT_SECRET)
        jwt = signature(delivery.body, now, secret)
        digest = _b64(hmac.digest(secret.encode(), delivery.body, "sha256"))
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {jwt}",
            **delivery.headers,
            "X-IA-Sage-Signature": jwt if delivery.signed == "jwt" else digest,
        }
        status = await asyncio.to_thread(_post, delivery.url, delivery.body, headers)
        if self.delivery(delivery.number) is not delivery:
            return  # forgotten meanwhile
        at = self._clock.now().isoformat()
        event: dict[str, Json] = {"event": "tried", "number": delivery.number}
        self._happen({**event, "status": status, "at": at})
        if delivery.state == "queued":
            remind(self._clock, PAUSES[len(delivery.statuses) - 1], self.go_on)
        context = delivery.headers.get("x-clientcontext")
        if delivery.state == "dead" and context is not None:
            self._wait("push", base64.b64decode(context), delivery.body)

    def shown(self) -> dict[str, Json]:
        """Return it as the control API shows it."""
        return {
            "addresses": dict[str, Json](self._addresses),
            "triggers": [
                {
                    "object": one.object,
                    "events": list[Json](sorted(one.events)),
                    "url": one.url,
                    "name": one.name,
                }
                for one in self._triggers
            ],
            "deliveries": [one.shown() for one in self._deliveries[-1000:]],
            "waiting": len(self.waiting()),
            "now": wire_time(self._clock.now()),
        }


def _ack_id(events: list[QueuedEvent]) -> str:
    """Return the same for the same events, so that it counts after a restart too."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, " ".join(one.id for one in events)))


def remind(clock: Clock, seconds: float, act: Callable[[], None]) -> None:
    """Act in the running event loop when a running clock shows that much more; whoever moves the
    clock by hand acts then."""
    if clock.is_running:
        asyncio.get_running_loop().call_later(seconds, act)


def check_url(given: Json) -> str:
    """Return an address that can be delivered to; raises `SandboxError`."""
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
