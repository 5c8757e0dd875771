"""How fast requests follow each other: what Intacct's headers say is kept to before it refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest
import stamina

from intacct_dagster.client.errors import About
from intacct_dagster.client.rate_limit import FINE_IN_A_ROW, LONGEST_WAIT, Pace
from intacct_dagster.client.transport import Kind, Transport, asked_to_wait
from intacct_dagster.client.usage import Meter
from intacct_dagster_tests.client.intacct_wire import BASE_URL, Wire, reply
from intacct_sandbox.control.throttle import FAMILIES, Throttle, refused_headers


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


def pace_of(time: Time, in_flight: int = 6) -> Pace:
    return Pace(in_flight, clock=lambda: time.now, sleep=time.sleep)


def refuse(pace: Pace, headers: dict[str, str] | None = None) -> None:
    with pace.turn() as turn:
        pace.refused(turn, headers or {}, asked_to_wait(httpx.Headers(headers or {})))


def answer(pace: Pace, headers: dict[str, str] | None = None) -> None:
    with pace.turn():
        pace.answered(httpx.Headers(headers or {}))


def test_a_refusal_halves_what_is_in_flight_and_good_answers_bring_it_back() -> None:
    time = Time()
    pace = pace_of(time)
    seen = []
    for _ in range(4):
        time.now += 1
        refuse(pace)
        seen.append(pace.allowed)
    assert seen == [3, 1, 1, 1]
    for more in range(1, 6):
        for _ in range(FINE_IN_A_ROW * more):
            assert pace.allowed == more
            answer(pace)
    for _ in range(1000):
        answer(pace)
    assert pace.allowed == 6


def test_requests_that_are_refused_together_count_as_one_refusal() -> None:
    time = Time()
    pace = pace_of(time)
    with pace.turn() as first, pace.turn() as second:
        time.now += 1
        pace.refused(first, {}, None)
        pace.refused(second, {}, None)
    assert pace.allowed == 3


@pytest.mark.parametrize("family", [each for each in FAMILIES if each not in ("minute", "cpu")])
def test_everyone_waits_as_long_as_one_was_told_to(family: str) -> None:
    time = Time()
    pace = pace_of(time)
    refuse(pace, refused_headers(family, 42))
    with pace.turn() as turn:
        assert turn.waited == pytest.approx(42)
    assert time.slept == pytest.approx(42)


def test_no_wait_is_longer_than_two_minutes() -> None:
    time = Time()
    pace = pace_of(time)
    refuse(pace, {"Retry-After": "86400"})
    with pace.turn() as turn:
        assert turn.waited == LONGEST_WAIT


def test_an_hours_hard_limit_is_spread_before_it_refuses() -> None:
    """The sandbox's throttle raises where a 429 would come."""
    time, throttle = Time(), Throttle("none")
    throttle.choose({"per_hour": 600})
    pace = pace_of(time)
    for _ in range(1500):
        with (
            pace.turn(),
            throttle.admit(datetime(2026, 10, 1, tzinfo=UTC) + timedelta(seconds=time.now)) as told,
        ):
            pace.answered(httpx.Headers(told))
    assert 3600 < time.slept < 3 * 3600  # three hours' worth of requests, the first at once


def test_the_soft_limit_of_a_minute_slows_only_when_it_is_enforced() -> None:
    time = Time()
    pace = pace_of(time)
    soft = {"X-IA-Minute-Rate-Limit": "600", "X-IA-Minute-Rate-Limit-Remaining": "0"}
    for _ in range(50):
        answer(pace, soft)
    assert time.slept == 0
    refuse(pace, refused_headers("minute", 60))
    for _ in range(11):
        answer(pace)
    assert time.slept == pytest.approx(1.0)  # 600 a minute are ten a second
    time.now += 60
    for _ in range(11):
        answer(pace)
    assert time.slept == pytest.approx(1.0)


def test_processor_time_that_is_used_up_is_waited_for() -> None:
    time = Time()
    pace = pace_of(time)
    cpu = {"X-IA-CPU-Limit": "1000", "X-IA-CPU-Request-Cost": "120", "X-IA-CPU-Limit-Reset": "30"}
    answer(pace, {**cpu, "X-IA-CPU-Limit-Remaining": "120"})
    answer(pace, {**cpu, "X-IA-CPU-Limit-Remaining": "119"})
    assert time.slept == 0
    answer(pace)
    assert time.slept == pytest.approx(30)


@pytest.mark.parametrize(
    "told", [{"X-IA-Throttle-Limit": "4"}, {"X-IA-TENANT-Throttle-Limit": "LIMIT001-4"}]
)
def test_never_more_are_in_flight_than_intacct_says_the_plan_allows(told: dict[str, str]) -> None:
    pace = pace_of(Time())
    for _ in range(500):
        answer(pace, told)
    assert pace.allowed == 4


def test_when_others_use_the_limit_up_no_more_are_sent_than_are_in_flight() -> None:
    pace = pace_of(Time())
    full = {"X-IA-Throttle-Limit": "6", "X-IA-Throttle-Limit-Remaining": "0"}
    with pace.turn():
        answer(pace, full)
    assert pace.allowed == 2


def test_headers_that_say_nothing_readable_change_nothing() -> None:
    time = Time()
    pace = pace_of(time)
    for name in ("X-IA-Throttle-Limit", "X-IA-Hour-Rate-Limit", "X-IA-CPU-Limit"):
        answer(pace, {name: "many", f"{name}-Remaining": "some", f"{name}-Reset": "soon"})
    assert (pace.allowed, time.slept) == (6, 0)


def test_what_was_waited_is_counted_with_what_was_asked() -> None:
    time = Time()
    refusal = httpx.Response(429, headers={"X-IA-Throttle-Limit-RetryAfter": "42"}, content=b"{}")
    transport = Transport(BASE_URL, Wire(refusal, reply(200, {})), pace_of(time))
    meter = Meter()
    with stamina.set_testing(True, attempts=3):
        answer = transport.send("GET", "/x", kind=Kind.READ, meter=meter, about=About())
    assert answer.status == 200
    assert (meter.usage.requests, meter.usage.retries) == (2, 1)
    assert meter.usage.seconds_waited == pytest.approx(42, abs=1)
