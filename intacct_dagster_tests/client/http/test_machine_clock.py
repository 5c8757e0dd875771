"""The clock of this machine: how far it is from Intacct's, and whether somebody set it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from intacct_dagster.client import (
    Bounds,
    ClientCredentials,
    ClockWrong,
    Intacct,
    IntacctClient,
    NotReached,
)
from intacct_dagster.client.http.transport import asked_to_wait
from intacct_dagster_tests.client.intacct_wire import BASE_URL, Reply, Wire, page_reply, reply

BILL = "accounts-payable/bill"


class Machine:
    """The clocks of this machine and of Intacct, as a test wants them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.theirs = datetime(2026, 10, 13, 18, tzinfo=UTC)
        self.off = timedelta()
        self.stopwatch = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.stopwatch)

    def wall(self) -> datetime:
        return self.theirs + self.off

    def pass_by(self, **delta: float) -> None:
        span = timedelta(**delta)
        self.theirs += span
        self.stopwatch += span.total_seconds()

    def dated(self, request: httpx.Request) -> httpx.Response:
        answer = page_reply([])(request) if request.content else reply(401, "")
        return httpx.Response(
            answer.status_code,
            headers={"Date": format_datetime(self.theirs, usegmt=True)},
            content=answer.content,
        )


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def client(machine: Machine, *script: Reply, most: float = 300) -> tuple[IntacctClient, Wire]:
    wire = Wire(*(script or (machine.dated,)))
    grant = ClientCredentials("app.sage.com", "secret")
    company = Intacct(
        "demo",
        BASE_URL,
        grant,
        {"E110": "usa"},
        transport=wire,
        bounds=Bounds(clock_skew_seconds=most),
        wall=machine.wall,
    )
    return company.entity("E110"), wire


@pytest.mark.parametrize("seconds", [-299, 0, 299])
def test_a_clock_that_is_nearly_right_is_right(machine: Machine, seconds: float) -> None:
    machine.off = timedelta(seconds=seconds)
    ours, _ = client(machine)
    ours.check_clock(BILL)


@pytest.mark.parametrize(
    ("off", "said"),
    [
        (timedelta(days=3), "72 hours ahead of"),
        (timedelta(seconds=400), "400 s ahead of"),
        (timedelta(days=-3), "72 hours behind"),
        (timedelta(seconds=-400), "400 s behind"),
        (timedelta(days=-20000), "hours behind"),
    ],
    ids=str,
)
def test_a_clock_that_is_off_is_named_with_what_to_do(
    machine: Machine, off: timedelta, said: str
) -> None:
    machine.off = off
    ours, _ = client(machine)
    with pytest.raises(ClockWrong, match=said) as caught:
        ours.check_clock(BILL)
    assert "accounts-payable/bill of entity E110" in str(caught.value)
    assert "Set the clock of this machine" in str(caught.value)
    assert (caught.value.entity, caught.value.object) == ("E110", BILL)
    machine.off = timedelta()
    ours.check_clock(BILL)


def test_how_far_it_may_be_off_is_a_setting(machine: Machine) -> None:
    machine.off = timedelta(seconds=20)
    client(machine, most=30)[0].check_clock(BILL)
    with pytest.raises(ClockWrong):
        client(machine, most=10)[0].check_clock(BILL)


def test_intacct_is_asked_for_the_time_only_where_no_recent_answer_has_a_date(
    machine: Machine,
) -> None:
    ours, wire = client(machine)
    ours.count(BILL)
    before = len(wire.requests)
    machine.pass_by(seconds=59)
    ours.check_clock(BILL)
    ours.check_clock(BILL)
    assert len(wire.requests) == before
    machine.pass_by(seconds=2)
    ours.check_clock(BILL)
    ours.check_clock(BILL)
    assert len(wire.requests) == before + 1
    assert "Authorization" not in wire.requests[-1].headers


@pytest.mark.parametrize("jump", [timedelta(days=3), timedelta(minutes=-40)], ids=str)
def test_a_clock_that_was_set_since_is_compared_at_once(machine: Machine, jump: timedelta) -> None:
    ours, wire = client(machine)
    ours.check_clock(BILL)
    before = len(wire.requests)
    machine.off = jump
    with pytest.raises(ClockWrong):
        ours.check_clock(BILL)
    assert len(wire.requests) == before + 1


def test_a_clock_that_was_wrong_and_was_set_right_is_right(machine: Machine) -> None:
    machine.off = timedelta(days=3)
    ours, _ = client(machine)
    ours.count(BILL)
    machine.off = timedelta()
    ours.check_clock(BILL)


def test_an_answer_that_takes_minutes_is_no_difference_of_clocks(machine: Machine) -> None:
    def slow(request: httpx.Request) -> httpx.Response:
        answer = machine.dated(request)
        machine.pass_by(minutes=9)
        return answer

    client(machine, slow)[0].check_clock(BILL)


def test_a_jump_while_an_answer_is_on_its_way_is_seen(machine: Machine) -> None:
    def jumps(request: httpx.Request) -> httpx.Response:
        answer = machine.dated(request)
        machine.off = timedelta(days=3) - machine.off
        return answer

    ours, _ = client(machine, jumps, machine.dated)
    with pytest.raises(ClockWrong):
        ours.check_clock(BILL)


def test_a_machine_that_slept_is_not_one_whose_clock_was_set(machine: Machine) -> None:
    ours, _ = client(machine)
    ours.check_clock(BILL)
    machine.theirs += timedelta(hours=9)  # the stopwatch of some systems stands still meanwhile
    ours.check_clock(BILL)


def test_where_no_answer_has_a_date_only_a_jump_is_found(machine: Machine) -> None:
    machine.off = timedelta(days=3)
    ours, wire = client(machine, reply(401, ""))
    for _ in range(5):
        ours.check_clock(BILL)
    assert len(wire.requests) == 1, "it is not asked again for what it does not tell"
    machine.off = timedelta()
    with pytest.raises(ClockWrong, match="set back by 72 hours"):
        ours.check_clock(BILL)


@pytest.mark.parametrize("answer", [httpx.ReadTimeout("slow"), reply(500, "")], ids=str)
def test_where_intacct_cannot_be_asked_nothing_is_sent(machine: Machine, answer: Reply) -> None:
    ours, _ = client(machine, answer)
    with pytest.raises(NotReached, match="cannot be asked for the time"):
        ours.check_clock(BILL)


def test_a_pause_until_a_moment_is_counted_by_the_clock_that_set_it() -> None:
    headers = {
        "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
        "Retry-After": "Wed, 21 Oct 2015 07:29:30 GMT",
    }
    assert asked_to_wait(httpx.Headers(headers)) == 90
