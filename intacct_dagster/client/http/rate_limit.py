"""How many requests are in flight, and how fast they follow each other, as Intacct wants it.

Facts (Sage's header reference): answers carry `X-IA-Throttle-Limit`, `X-IA-TENANT-Throttle-Limit`
(sample "LIMIT001-10"), `X-IA-Minute-Rate-Limit` (soft: more is let through), `X-IA-Hour-Rate-Limit`
(hard: more is refused) and `X-IA-CPU-Limit`, each with `-Remaining`; CPU also with `-Reset` and
`X-IA-CPU-Request-Cost`. What exactly the first two count is not said: they are taken for requests
at once. Who ignores them gets 429.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import stamina

#: The longest that we wait at a time, whatever Intacct asks for, in seconds.
LONGEST_WAIT: Final = 120.0

#: Answers in a row, for each request allowed in flight, after which one more is tried.
FINE_IN_A_ROW: Final = 10

#: From this part of an hour's requests on, what is left is spread over an hour.
SPREAD_FROM: Final = 0.1

# More than a number of requests or seconds has.
_MOST_DIGITS: Final = 15

_AT_ONCE = ("X-IA-Throttle-Limit", "X-IA-TENANT-Throttle-Limit")
_MINUTE, _HOUR, _CPU = "X-IA-Minute-Rate-Limit", "X-IA-Hour-Rate-Limit", "X-IA-CPU-Limit"


def _sleep(seconds: float) -> None:
    if not stamina.is_testing():  # where no retry waits, neither does this
        time.sleep(seconds)


# How often a request gives its shared slot back because Intacct asked for a pause while it waited.
_PAUSES = 3


class SharedSlots(Protocol):
    """The requests in flight that all processes may have together."""

    def slot(self, wait_seconds: float | None = None) -> AbstractContextManager[None]:
        """Hold one of them for the length of a block; wait, with a bound, until one is free.

        `wait_seconds` is that bound; None leaves it to the slots. Whatever it raises on entry
        means that the request was not sent.
        """
        ...

    def close(self) -> None:
        """Close what it keeps open."""
        ...


class SlotUnavailable(Exception):
    """No shared slot could be had. Nothing was sent; the message says why, and what to do."""


@dataclass(frozen=True)
class RequestSlot:
    """A place in flight: when its request began, on the limiter's clock, and the seconds waited."""

    began: float
    waited: float


class RateLimiter:
    """Lets at most `in_flight` requests out at once, and fewer when Intacct says so. Thread-safe.

    A 429 halves how many are allowed; many good answers in a row allow one more again.

    Args:
        in_flight: The most requests of this process at once.
        clock: Seconds of a monotonic clock.
        sleep: The pause.
        shared: Slots that all processes of the company share; without them, only the requests of
            this process are counted. One is held while a request is under way and at no other
            time: not during a pause, and not while a thread waits for its place in this process.
    """

    def __init__(
        self,
        in_flight: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = _sleep,
        shared: SharedSlots | None = None,
    ) -> None:
        self._most = in_flight
        self._allowed = in_flight
        self._in_flight = 0
        self._fine = 0
        self._shrunk_at = float("-inf")
        self._not_before = float("-inf")
        self._paused_until = float("-inf")
        self._gap = 0.0
        self._gap_until = float("inf")
        self._clock = clock
        self._sleep = sleep
        self._shared = shared
        self._changed = threading.Condition()
        #: what the last answers said of limits, by header
        self.reported: dict[str, str] = {}

    @property
    def allowed(self) -> int:
        """How many requests may be in flight now."""
        return self._allowed

    @contextmanager
    def slot(self, wait_seconds: float | None = None) -> Iterator[RequestSlot]:
        """Hold a place in flight for the length of the block.

        Args:
            wait_seconds: How long a shared slot is waited for; None leaves it to the slots.

        Raises:
            SlotUnavailable: There was none within that time.
        """
        with self._place() as wait, ExitStack() as shared:
            if wait > 0:
                self._sleep(wait)
            waited = wait + self._share(shared, wait_seconds)
            yield RequestSlot(self._clock(), waited)

    @contextmanager
    def slot_at_once(self) -> Iterator[RequestSlot]:
        """Hold a place in flight for the length of the block, if one is free now.

        Raises:
            SlotUnavailable: All places are taken, or Intacct asked for a pause that is not over.
        """
        with self._changed:
            now = self._clock()
            if self._in_flight >= self._allowed or now < self._not_before:
                raise SlotUnavailable("Other requests are under way, or a pause is not over.")
            self._in_flight += 1
            self._not_before = now + self._gap if now < self._gap_until else now
        with self._given_back(), ExitStack() as shared:
            if self._shared is not None:
                try:
                    shared.enter_context(self._shared.slot(0.0))
                except Exception as error:
                    raise SlotUnavailable(str(error)) from error
            yield RequestSlot(self._clock(), 0.0)

    def _share(self, held: ExitStack, wait_seconds: float | None) -> float:
        """Take a shared slot, and none while a pause lasts. Return the seconds waited."""
        if self._shared is None:
            return 0.0
        asked = self._clock()
        for number in range(_PAUSES + 1):
            try:
                held.enter_context(self._shared.slot(wait_seconds))
            except Exception as error:
                raise SlotUnavailable(str(error)) from error
            pause = self._paused_until - self._clock()
            if pause <= 0 or number == _PAUSES:
                break
            held.close()
            self._sleep(pause)
        return self._clock() - asked

    @contextmanager
    def _place(self) -> Iterator[float]:
        """Hold a place among those of this process, and yield the seconds to wait before use."""
        with self._changed:
            # Whoever has a place gives it back when the answer is there or its timeout is over.
            while self._in_flight >= self._allowed:
                self._changed.wait()
            self._in_flight += 1
            now = self._clock()
            begin = max(now, self._not_before)
            if begin >= self._gap_until:
                self._gap = 0.0
            self._not_before = max(self._not_before, begin + self._gap if self._gap else begin)
        with self._given_back():
            yield begin - now

    @contextmanager
    def _given_back(self) -> Iterator[None]:
        try:
            yield
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def refused(self, slot: RequestSlot, headers: Mapping[str, str], wait: float | None) -> None:
        """Takes note of a 429 or 503, and of the seconds that it asks us to wait.

        Requests that were in flight together are refused together: that counts once.
        """
        with self._changed:
            now = self._clock()
            self._fine = 0
            if slot.began > self._shrunk_at:
                self._allowed = max(1, self._allowed // 2)
                self._shrunk_at = now
            if wait is not None:
                self._hold_until(now + wait)
            minute = _number(headers.get(_MINUTE))
            if minute:  # soft until it is enforced
                self._spread(60 / minute, until=now + 60)

    def answered(self, headers: Mapping[str, str]) -> None:
        """Takes note of what an answer that was not refused says of the limits."""
        with self._changed:
            now = self._clock()
            self.reported |= {
                name: value
                for name, value in headers.items()
                if name.lower().startswith("x-ia-") and "-limit" in name.lower()
            }
            full = False
            for name in _AT_ONCE:
                at_once = _number(headers.get(name))
                if at_once:
                    self._allowed = min(self._allowed, at_once)
                    self._most = min(self._most, at_once)
                full = full or _number(headers.get(f"{name}-Remaining")) == 0
            if full:
                self._allowed, self._fine = max(1, min(self._allowed, self._in_flight)), 0
            else:
                self._fine += 1
                if self._fine >= FINE_IN_A_ROW * self._allowed:
                    self._allowed, self._fine = min(self._most, self._allowed + 1), 0
            self._spread_the_hour(headers)
            cost = _number(headers.get("X-IA-CPU-Request-Cost")) or 1
            left, reset = (
                _number(headers.get(f"{_CPU}-{what}")) for what in ("Remaining", "Reset")
            )
            if left is not None and left < cost and reset is not None:
                self._hold_until(now + reset)
            self._changed.notify_all()

    def _spread_the_hour(self, headers: Mapping[str, str]) -> None:
        limit, left = _number(headers.get(_HOUR)), _number(headers.get(f"{_HOUR}-Remaining"))
        if not limit or left is None:
            return
        if left < SPREAD_FROM * limit:
            # Whether the hour rolls is not documented: what is left has to last for a whole one.
            self._spread(3600 / (left + 1), until=float("inf"))
        elif self._gap_until == float("inf"):
            self._gap = 0.0

    def _hold_until(self, moment: float) -> None:
        latest = self._clock() + LONGEST_WAIT
        self._paused_until = max(self._paused_until, min(moment, latest))
        self._not_before = max(self._not_before, self._paused_until)

    def _spread(self, gap: float, *, until: float) -> None:
        self._gap, self._gap_until = min(gap, LONGEST_WAIT), until


def _number(text: str | None) -> int | None:
    """The number that a header ends with: "10", or "LIMIT001-10"."""
    digits = (text or "").rpartition("-")[2].strip()
    if not digits.isdecimal():
        return None
    # Python refuses to convert thousands of digits.
    return int(digits) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS
