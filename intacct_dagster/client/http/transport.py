"""Sends one request, and repeats it only where a repeat can do no harm.

A read changes nothing and may be repeated whatever became of it. A write may be repeated only if it
certainly did not happen: no connection was made, or Intacct refused it at the door (429). After its
first byte may have left, a cut connection, a timeout or a 5xx leaves its outcome unknown, and the
error that the caller gets says so.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final
from urllib.parse import urlsplit

import httpx
import stamina

from intacct_dagster import __version__
from intacct_dagster.client.errors import (
    About,
    AddressRefused,
    AnswerTooSlow,
    IntacctError,
    NoRequestSlot,
    NotReached,
    ServerFailed,
    Throttled,
)
from intacct_dagster.client.http.address import address_flaw, is_loopback
from intacct_dagster.client.http.body import (
    ACCEPTED_ENCODINGS,
    DeadlinePassed,
    read_body,
)
from intacct_dagster.client.http.bounds import DEFAULT_BOUNDS, Bounds
from intacct_dagster.client.http.connections import DEADLINE, BoundedConnections
from intacct_dagster.client.http.failures import (
    never_left,
    no_slot,
    unknown,
    unread,
    what_broke,
)
from intacct_dagster.client.http.machine_clock import MachineClock, Reading, wall_clock
from intacct_dagster.client.http.rate_limit import (
    LONGEST_WAIT,
    RateLimiter,
    RequestSlot,
    SlotUnavailable,
)
from intacct_dagster.client.http.responses import read_error
from intacct_dagster.client.http.usage import Meter, Usage

#: Tries of one request in all, the first included.
ATTEMPTS: Final = 5

#: Seconds to connect, and seconds without a byte of the answer. Sage documents no request timeout;
#: a batch of 500 may take long.
CONNECT_TIMEOUT: Final = 10.0
READ_TIMEOUT: Final = 120.0

_HEADERS: Final = {
    "User-Agent": f"intacct-dagster/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": ACCEPTED_ENCODINGS,
}

# httpx raises these before a byte of the request has left this machine.
_NEVER_LEFT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)

_WORTH_ANOTHER_TRY = (NotReached, Throttled, ServerFailed)


class Kind(Enum):
    """Whether a request changes anything on the other side."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True)
class Response:
    """An answer that is neither a throttle nor a server failure: 2xx, 3xx or 4xx."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def date(self) -> datetime | None:
        """Return when it was made by the clock of the server: its `Date` header, if it has one."""
        return _moment(self.headers.get("date", ""))


class Transport:
    """HTTP to one Intacct API root, e.g. "https://api.intacct.com/ia/api/v1". Thread-safe.

    `transport` takes the place of the network and `wall` that of the clock of this machine;
    `limiter` says how many requests are in flight and when (default: six), `bounds` how long an
    exchange and how large an answer may be. Nothing that is sent is ever logged or kept. Raises
    AddressRefused for a `base_url` that is neither https nor on this machine.
    """

    def __init__(
        self,
        base_url: str,
        transport: httpx.BaseTransport | None = None,
        limiter: RateLimiter | None = None,
        bounds: Bounds = DEFAULT_BOUNDS,
        wall: Callable[[], datetime] = wall_clock,
    ) -> None:
        flaw = address_flaw(base_url)
        if flaw is not None:
            raise AddressRefused(
                f"No session is opened: {flaw}.", remedy="Correct base_url, or xml.url."
            )
        # Sage counts the requests of a company that overlap; who waits to retry is not one of them.
        self._limiter = limiter if limiter is not None else RateLimiter(6)
        self.base_url = base_url.rstrip("/")
        self.host = urlsplit(self.base_url).netloc
        # A proxy would carry to another machine what is plain http because it stays on this one.
        trust_env = not is_loopback(self.base_url)
        network = transport or BoundedConnections(self.base_url, trust_env=trust_env)
        self._client = httpx.Client(transport=network, headers=_HEADERS, trust_env=trust_env)
        self._bounds = bounds
        self.clock = MachineClock(timedelta(seconds=bounds.clock_skew_seconds), wall)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    @property
    def server_time(self) -> datetime | None:
        """The time by the clock of the server, reckoned from its latest answer that had a date."""
        return self.clock.server_time

    @property
    def reported_limits(self) -> Mapping[str, str]:
        """What the answers so far said of limits, by header."""
        return dict(self._limiter.reported)

    def send(  # noqa: PLR0913 - the parts of a request, each by its name
        self,
        method: str,
        path: str,
        *,
        kind: Kind,
        meter: Meter,
        about: About,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        form: Mapping[str, str] | None = None,
        patience: float = READ_TIMEOUT,
        slot_wait: float | None = None,
    ) -> Response:
        """Sends a request to `path` (e.g. "/services/core/query") and returns its answer.

        `patience` is how many seconds may pass without a byte of the answer, `slot_wait` how many
        until other requests let this one be sent (None: as long as the slots allow).

        Raises NotReached, NoRequestSlot, Throttled, ServerFailed and AnswerNotUnderstood (reads)
        and OutcomeUnknown (writes); an answer with a 4xx status is returned.
        """
        idle_since: float | None = None
        for attempt in another_try(_WORTH_ANOTHER_TRY):
            with attempt:
                if idle_since is not None:
                    waited = time.monotonic() - idle_since
                    meter.add(Usage(retries=1, seconds_waited=waited))
                try:
                    with self.slot(about, slot_wait) as slot:
                        answer = self._exchange(
                            slot,
                            method,
                            path,
                            kind=kind,
                            meter=meter,
                            about=about,
                            headers=headers,
                            params=params,
                            content=content,
                            form=form,
                            patience=patience,
                        )
                    return self._judge(answer, kind, about)
                finally:
                    idle_since = time.monotonic()
        raise AssertionError("unreachable: the last try returns or raises")

    @contextmanager
    def slot(self, about: About, wait_seconds: float | None = None) -> Iterator[RequestSlot]:
        """Hold the right to send a request, as soon as others and Intacct's limits let it be sent.

        Raises NoRequestSlot.
        """
        with ExitStack() as held:
            try:
                slot = held.enter_context(self._limiter.slot(wait_seconds))
            except SlotUnavailable as error:
                raise no_slot(error, about) from error
            yield slot

    @contextmanager
    def slot_at_once(self) -> Iterator[RequestSlot | None]:
        """Hold the right to send a request now; None where it would have to be waited for."""
        with ExitStack() as held:
            try:
                slot = held.enter_context(self._limiter.slot_at_once())
            except SlotUnavailable:
                slot = None
            yield slot

    def send_once(  # noqa: PLR0913 - the parts of a request, each by its name
        self,
        slot: RequestSlot,
        method: str,
        path: str,
        *,
        kind: Kind,
        meter: Meter,
        about: About,
        form: Mapping[str, str],
        patience: float,
        seconds: float,
    ) -> Response:
        """Send a form with a slot that the caller holds: once, without waiting for anything.

        `seconds` bounds the whole exchange. Raises like `send`.
        """
        answer = self._exchange(
            slot,
            method,
            path,
            kind=kind,
            meter=meter,
            about=about,
            form=form,
            patience=patience,
            seconds=seconds,
        )
        return self._judge(answer, kind, about)

    def _exchange(  # noqa: PLR0913 - the parts of a request, each by its name
        self,
        slot: RequestSlot,
        method: str,
        path: str,
        *,
        kind: Kind,
        meter: Meter,
        about: About,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        form: Mapping[str, str] | None = None,
        patience: float = READ_TIMEOUT,
        seconds: float | None = None,
    ) -> Response:
        """Send a request and return whatever came back, 4xx and 5xx included."""
        within = self._bounds.request_seconds if seconds is None else seconds
        deadline = time.monotonic() + within
        meter.add(Usage(requests=1, seconds_waited=slot.waited))
        try:
            request = self._client.build_request(
                method,
                self.base_url + path,
                headers=headers,
                params=params,
                content=content,
                data=form,
                timeout=httpx.Timeout(patience, connect=CONNECT_TIMEOUT),
                extensions={DEADLINE: deadline},
            )
        except Exception as error:  # no byte has left
            raise never_left(error, self.host or self.base_url, about) from error
        sent = self.clock.read()
        try:
            response = self._client.send(request, stream=True)
            try:
                body = read_body(response, self._bounds.response_bytes, deadline)
            finally:
                response.close()
                # httpx lets the answer and its stream hold each other: megabytes a page, which
                # only the garbage collector would find.
                response.stream = httpx.ByteStream(b"")
            self._note_limits(slot, response)
            self._note_time(response, sent)
            return Response(response.status_code, response.headers, body)
        except Exception as error:  # a byte may have left: for a write nothing else counts
            if isinstance(error, _NEVER_LEFT):
                raise never_left(error, self.host or self.base_url, about) from error
            late = isinstance(error, DeadlinePassed) or time.monotonic() >= deadline
            seconds = within if late else None
            if kind is Kind.WRITE:
                raise unknown(what_broke(error, seconds), about, None) from error
            raise unread(error, self.host, about, self._bounds, seconds) from error

    def _note_time(self, response: httpx.Response, sent: Reading) -> None:
        date = _moment(response.headers.get("date", ""))
        if date is not None:
            self.clock.note(date, sent)

    def _note_limits(self, slot: RequestSlot, response: httpx.Response) -> None:
        if response.status_code in (429, 503):
            self._limiter.refused(slot, response.headers, asked_to_wait(response.headers))
        else:
            self._limiter.answered(response.headers)

    def _judge(self, response: Response, kind: Kind, about: About) -> Response:
        status = response.status
        if status == 429 or (status == 503 and kind is Kind.READ):
            wait = asked_to_wait(response.headers)
            raise Throttled(
                f"Sage Intacct is throttling us at {about} (HTTP {status}{_reason(response)}).",
                remedy="Run it again later, or lower the concurrency.",
                entity=about.entity,
                object=about.object,
                http_status=status,
                retry_after=wait,
            )
        answered = status < 500 and status != 408
        if answered or (status == 501 and kind is Kind.READ):  # not implemented: no use in asking
            return response
        if kind is Kind.WRITE:
            wait = asked_to_wait(response.headers)
            raise unknown(f"answered HTTP {status}{_reason(response)}", about, status, wait)
        raise ServerFailed(
            f"Sage Intacct failed to read {about} (HTTP {status}{_reason(response)}).",
            remedy="Run it again later; if it stays, give Sage the support id.",
            entity=about.entity,
            object=about.object,
            http_status=status,
            support_id=_support_id(response),
            retry_after=asked_to_wait(response.headers),
        )


def asked_to_wait(headers: httpx.Headers) -> float | None:
    """The seconds that an answer asks us to wait, or None.

    Sage spells the header in several ways (X-IA-Throttle-Limit-RetryAfter,
    X-IA-Hour-Rate-Limit-Retry-After, Retry-After); all are read and the longest counts.
    """
    # A moment is one by the clock of the server.
    since = _moment(headers.get("date", "")) or datetime.now(UTC)
    waits = [
        seconds
        for name, value in headers.items()
        if name.lower().replace("-", "").endswith("retryafter")
        and (seconds := _seconds(value, since)) is not None
    ]
    return max(waits, default=None)


def _seconds(value: str, since: datetime) -> float | None:
    if value.strip().isdecimal():
        return float(value)
    moment = _moment(value)
    return None if moment is None else max(0.0, (moment - since).total_seconds())


def _moment(value: str) -> datetime | None:
    """Return the moment of an HTTP date; None for a text that is none."""
    try:
        moment = parsedate_to_datetime(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):  # years and offsets that no calendar has
        return None


def another_try(worth: tuple[type[IntacctError], ...]) -> Iterator[stamina.Attempt]:
    """Yield the tries of a request, with the pauses between them.

    Another one follows an error of the kinds in `worth`, except where waiting is no use.
    """
    yield from stamina.retry_context(
        on=lambda error: isinstance(error, worth) and _wait_before_another_try(error),
        attempts=ATTEMPTS,
        timeout=None,
        wait_initial=0.5,
        wait_max=30.0,
    )


def _wait_before_another_try(error: Exception) -> bool | float:
    if not isinstance(error, IntacctError) or isinstance(error, NoRequestSlot | AnswerTooSlow):
        return False
    if error.retry_after is None:
        return True
    # All that were throttled together would otherwise come back together.
    return min(error.retry_after, LONGEST_WAIT) + random.uniform(0, 1)  # noqa: S311


def _reason(response: Response) -> str:
    error = read_error(response.body)
    return f": {error.said}" if error else ""


def _support_id(response: Response) -> str | None:
    error = read_error(response.body)
    return error.support_id if error else None
