"""How fast requests follow each other: what Intacct's headers say is kept to before it refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import stamina

from intacct_dagster.client import (
    ClientCredentials,
    Intacct,
    NotReached,
)
from intacct_dagster.client.auth.token_service import TOKEN_SECONDS, TOKEN_TIMEOUT
from intacct_dagster.client.auth.tokens import RENEWAL_SECONDS, MemoryTokenStore
from intacct_dagster.client.errors import About, NoRequestSlot
from intacct_dagster.client.http.priority_executor import PriorityExecutor
from intacct_dagster.client.http.rate_limit import (
    FINE_IN_A_ROW,
    LONGEST_WAIT,
    RateLimiter,
    RequestSlot,
)
from intacct_dagster.client.http.transport import (
    CONNECT_TIMEOUT,
    Kind,
    Transport,
    asked_to_wait,
)
from intacct_dagster.client.http.usage import Meter
from intacct_dagster.locks import FileLocks
from intacct_dagster.state.tokens import LEASE_SECONDS
from intacct_dagster_tests.client.intacct_wire import BASE_URL, Wire, page_reply, reply
from intacct_sandbox.control.throttle import FAMILIES, Throttle, throttle_headers


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


def limiter_of(time: Time, in_flight: int = 6) -> RateLimiter:
    return RateLimiter(in_flight, clock=lambda: time.now, sleep=time.sleep)


def refuse(limiter: RateLimiter, headers: dict[str, str] | None = None) -> None:
    with limiter.slot() as slot:
        limiter.refused(slot, headers or {}, asked_to_wait(httpx.Headers(headers or {})))


def answer(limiter: RateLimiter, headers: dict[str, str] | None = None) -> None:
    with limiter.slot():
        limiter.answered(httpx.Headers(headers or {}))


def test_a_refusal_halves_what_is_in_flight_and_good_answers_bring_it_back() -> None:
    time = Time()
    limiter = limiter_of(time)
    seen = []
    for _ in range(4):
        time.now += 1
        refuse(limiter)
        seen.append(limiter.allowed)
    assert seen == [3, 1, 1, 1]
    for more in range(1, 6):
        for _ in range(FINE_IN_A_ROW * more):
            assert limiter.allowed == more
            answer(limiter)
    for _ in range(1000):
        answer(limiter)
    assert limiter.allowed == 6


def test_requests_that_are_refused_together_count_as_one_refusal() -> None:
    time = Time()
    limiter = limiter_of(time)
    with limiter.slot() as first, limiter.slot() as second:
        time.now += 1
        limiter.refused(first, {}, None)
        limiter.refused(second, {}, None)
    assert limiter.allowed == 3


@pytest.mark.parametrize("family", [each for each in FAMILIES if each not in ("minute", "cpu")])
def test_everyone_waits_as_long_as_one_was_asked_to(family: str) -> None:
    time = Time()
    limiter = limiter_of(time)
    refuse(limiter, throttle_headers(family, 42))
    with limiter.slot() as slot:
        assert slot.waited == pytest.approx(42)
    assert time.slept == pytest.approx(42)


def test_no_wait_is_longer_than_two_minutes() -> None:
    time = Time()
    limiter = limiter_of(time)
    refuse(limiter, {"Retry-After": "86400"})
    with limiter.slot() as slot:
        assert slot.waited == LONGEST_WAIT


def test_an_hours_hard_limit_is_spread_before_it_refuses() -> None:
    """The sandbox's throttle raises where a 429 would come."""
    time, throttle = Time(), Throttle("none")
    throttle.choose({"per_hour": 600})
    limiter = limiter_of(time)
    for _ in range(1500):
        with (
            limiter.slot(),
            throttle.admit(
                datetime(2026, 10, 1, tzinfo=UTC) + timedelta(seconds=time.now)
            ) as headers,
        ):
            limiter.answered(httpx.Headers(headers))
    assert 3600 < time.slept < 3 * 3600  # three hours' worth of requests, the first at once


def test_the_soft_limit_of_a_minute_slows_only_when_it_is_enforced() -> None:
    time = Time()
    limiter = limiter_of(time)
    soft = {"X-IA-Minute-Rate-Limit": "600", "X-IA-Minute-Rate-Limit-Remaining": "0"}
    for _ in range(50):
        answer(limiter, soft)
    assert time.slept == 0
    refuse(limiter, throttle_headers("minute", 60))
    for _ in range(11):
        answer(limiter)
    assert time.slept == pytest.approx(1.0)  # 600 a minute are ten a second
    time.now += 60
    for _ in range(11):
        answer(limiter)
    assert time.slept == pytest.approx(1.0)


def test_processor_time_that_is_used_up_is_waited_for() -> None:
    time = Time()
    limiter = limiter_of(time)
    cpu = {"X-IA-CPU-Limit": "1000", "X-IA-CPU-Request-Cost": "120", "X-IA-CPU-Limit-Reset": "30"}
    answer(limiter, {**cpu, "X-IA-CPU-Limit-Remaining": "120"})
    answer(limiter, {**cpu, "X-IA-CPU-Limit-Remaining": "119"})
    assert time.slept == 0
    answer(limiter)
    assert time.slept == pytest.approx(30)


@pytest.mark.parametrize(
    "headers", [{"X-IA-Throttle-Limit": "4"}, {"X-IA-TENANT-Throttle-Limit": "LIMIT001-4"}]
)
def test_never_more_are_in_flight_than_intacct_says_the_plan_allows(
    headers: dict[str, str],
) -> None:
    limiter = limiter_of(Time())
    for _ in range(500):
        answer(limiter, headers)
    assert limiter.allowed == 4


def test_when_others_use_the_limit_up_no_more_are_sent_than_are_in_flight() -> None:
    limiter = limiter_of(Time())
    full = {"X-IA-Throttle-Limit": "6", "X-IA-Throttle-Limit-Remaining": "0"}
    with limiter.slot():
        answer(limiter, full)
    assert limiter.allowed == 2


def test_headers_that_say_nothing_readable_change_nothing() -> None:
    time = Time()
    limiter = limiter_of(time)
    for name in ("X-IA-Throttle-Limit", "X-IA-Hour-Rate-Limit", "X-IA-CPU-Limit"):
        answer(limiter, {name: "many", f"{name}-Remaining": "some", f"{name}-Reset": "soon"})
    assert (limiter.allowed, time.slept) == (6, 0)


def test_what_was_waited_is_counted_with_what_was_asked() -> None:
    time = Time()
    refusal = httpx.Response(429, headers={"X-IA-Throttle-Limit-RetryAfter": "42"}, content=b"{}")
    transport = Transport(BASE_URL, Wire(refusal, reply(200, {})), limiter_of(time))
    meter = Meter()
    with stamina.set_testing(True, attempts=3):
        answer = transport.send("GET", "/x", kind=Kind.READ, meter=meter, about=About())
    assert answer.status == 200
    assert (meter.usage.requests, meter.usage.retries) == (2, 1)
    assert meter.usage.seconds_waited == pytest.approx(42, abs=1)


class Counted:
    """Shared slots that know how many are held; `meanwhile` happens when one is asked for."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.held = 0
        self.taken = 0
        self.closed = False
        self.waits: list[float | None] = []
        self._meanwhile = meanwhile

    @contextmanager
    def slot(self, wait_seconds: float | None = None) -> Iterator[None]:
        self.waits.append(wait_seconds)
        self._meanwhile()
        self.held += 1
        self.taken += 1
        try:
            yield
        finally:
            self.held -= 1

    def close(self) -> None:
        self.closed = True


class Instrumented(Time):
    """A clock whose pauses note how many shared slots were held while they lasted."""

    def __init__(self, slots: Counted) -> None:
        super().__init__()
        self.slots = slots
        self.held_in_pauses: list[int] = []

    def sleep(self, seconds: float) -> None:
        self.held_in_pauses.append(self.slots.held)
        super().sleep(seconds)


def sharing(slots: Counted) -> tuple[RateLimiter, Instrumented]:
    time = Instrumented(slots)
    return RateLimiter(6, clock=lambda: time.now, sleep=time.sleep, shared=slots), time


def test_a_shared_slot_is_held_while_a_request_is_under_way_and_in_no_pause() -> None:
    slots = Counted()
    limiter, time = sharing(slots)
    with limiter.slot() as slot:
        assert slots.held == 1
        limiter.refused(slot, throttle_headers("minute", 60), 42)
    assert slots.held == 0
    for _ in range(12):  # after the pause of 42 s, one a tenth of a second
        with limiter.slot():
            assert slots.held == 1
        assert slots.held == 0
    assert time.slept > 42
    assert len(time.held_in_pauses) > 10
    assert set(time.held_in_pauses) == {0}


def test_who_waited_for_a_slot_while_intacct_asked_for_a_pause_gives_it_back_and_pauses() -> None:
    def refuse_another() -> None:
        if slots.taken == 0:
            limiter.refused(RequestSlot(time.now, 0), {}, 42)

    slots = Counted(refuse_another)
    limiter, time = sharing(slots)
    with limiter.slot() as slot:
        assert slots.held == 1
    assert (slots.taken, time.held_in_pauses) == (2, [0])
    assert time.slept == pytest.approx(42)
    assert slot.waited == pytest.approx(42)
    assert slot.began == time.now


def test_a_request_that_fails_gives_its_slot_back_before_the_next_try() -> None:
    slots = Counted()
    limiter, _ = sharing(slots)
    wire = Wire(httpx.ReadTimeout("slow"), reply(500, ""), reply(200, {}))
    transport = Transport(BASE_URL, wire, limiter)
    held_in_back_off: list[int] = []
    stamina.instrumentation.set_on_retry_hooks(
        [lambda details: held_in_back_off.append(slots.held)]
    )
    try:
        transport.send("GET", "/x", kind=Kind.READ, meter=Meter(), about=About())
    finally:
        stamina.instrumentation.set_on_retry_hooks(None)
    assert (slots.taken, held_in_back_off) == (3, [0, 0])


def test_a_slot_is_held_until_the_answer_is_read() -> None:
    slots = Counted()
    held: list[int] = []

    def body() -> Iterator[bytes]:
        for piece in (b"{", b"}"):
            held.append(slots.held)
            yield piece

    wire = httpx.MockTransport(lambda request: httpx.Response(200, content=body()))
    limiter, _ = sharing(slots)
    transport = Transport(BASE_URL, wire, limiter)
    answer = transport.send("GET", "/x", kind=Kind.READ, meter=Meter(), about=About())
    assert (answer.body, held, slots.held) == (b"{}", [1, 1], 0)


def test_nobody_waits_for_the_right_to_renew_a_session_with_a_slot_in_hand() -> None:
    slots = Counted()
    held: list[int] = []

    class Watched(MemoryTokenStore):
        @contextmanager
        def lock(self, name: str) -> Iterator[None]:
            held.append(slots.held)
            with super().lock(name):
                yield

    wire = Wire(reply(401, ""), page_reply([], total=7))
    grant = ClientCredentials("app.sage.com", "secret")
    users = {"E110": "usa"}
    with Intacct(
        "demo", BASE_URL, grant, users, tokens=Watched(), transport=wire, slots=slots
    ) as company:
        assert company.entity("E110").count("accounts-payable/bill") == 7
    assert held == [0, 0]  # the first session, and the one after the 401
    assert slots.taken == len(wire.requests) + len(wire.token_forms) == 4
    assert slots.closed


@pytest.mark.parametrize("others", [0, 2])
def test_a_renewal_that_gets_no_slot_at_once_waits_for_one_without_the_right_to_renew(
    others: int,
) -> None:
    """The right to renew is a lease: waiting for a slot must not outlast it."""
    events: list[str] = []

    class Watched(MemoryTokenStore):
        @contextmanager
        def lock(self, name: str) -> Iterator[None]:
            with super().lock(name):
                events.append("right")
                yield
                events.append("no right")

        @contextmanager
        def try_lock(self, name: str) -> Iterator[bool]:
            tried = events.count("tried")
            events.append("tried")
            with super().try_lock(name) as taken:  # others have it at first
                yield taken and tried >= others

    def none_at_once() -> None:
        events.append(f"slot, {slots.waits[-1]}")
        if slots.waits[-1] == 0:
            raise RuntimeError("no slot became free")

    slots = Counted(none_at_once)
    wire = Wire(page_reply([], total=7))
    grant = ClientCredentials("app.sage.com", "secret")
    with Intacct(
        "demo", BASE_URL, grant, {"E110": "usa"}, tokens=Watched(), transport=wire, slots=slots
    ) as company:
        assert company.entity("E110").count("accounts-payable/bill") == 7
    one_round = ["right", "slot, 0.0", "no right", "slot, None", "tried"]
    assert events == one_round * (others + 1) + ["slot, None"]
    assert len(wire.token_forms) == 1


def test_a_lease_outlives_what_is_done_with_it() -> None:
    assert CONNECT_TIMEOUT + TOKEN_TIMEOUT <= TOKEN_SECONDS < RENEWAL_SECONDS < LEASE_SECONDS


@pytest.mark.parametrize("kind", list(Kind))
def test_a_request_that_gets_no_slot_was_not_sent_and_says_what_to_do(kind: Kind) -> None:
    asked = 0

    def never() -> None:
        nonlocal asked
        asked += 1
        raise RuntimeError("None of the 6 slots became free within 600 s.\nEnd what hangs there.")

    limiter, _ = sharing(Counted(never))
    wire = Wire(reply(200, {}))
    transport = Transport(BASE_URL, wire, limiter)
    with pytest.raises(NoRequestSlot) as caught:
        transport.send("GET", "/x", kind=kind, meter=Meter(), about=About("E110"))
    assert isinstance(caught.value, NotReached)
    assert str(caught.value) == (
        "Nothing was sent to entity E110: None of the 6 slots became free within 600 s.\n"
        "End what hangs there."
    )
    assert (asked, wire.requests) == (1, []), "who waited in vain does not wait again"
    with limiter._place() as wait:
        assert wait == 0


def test_what_began_first_gets_the_next_slot_that_another_process_gives_back(
    tmp_path: Path,
) -> None:
    ours, theirs = (FileLocks(tmp_path).slots("requests", 1, wait_seconds=60) for _ in range(2))
    limiter = RateLimiter(1, shared=ours)
    executor = PriorityExecutor(1)
    first, second = executor.rank(), executor.rank()
    waiting, sent = threading.Event(), list[str]()

    def call(rank: int, page: str) -> Future[None]:
        def send() -> None:
            waiting.set()
            with limiter.slot():
                sent.append(page)

        return executor.submit(rank, send)

    with theirs.slot():
        calls = [call(second, "second, page 1")]
        assert waiting.wait(60)
        calls += [call(second, "second, page 2"), call(first, "first, page 1")]
        calls += [call(first, "first, page 2")]
        assert sent == []
    for each in calls:
        each.result(60)
    executor.close()
    assert sent == ["second, page 1", "first, page 1", "first, page 2", "second, page 2"]
