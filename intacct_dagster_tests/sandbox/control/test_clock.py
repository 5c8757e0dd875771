"""Hours, months and a change to winter time go by in a moment."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from intacct_dagster_tests.sandbox.caller import INVOICE, Caller, calling, invoice
from intacct_sandbox import Clock

USER = "usa@demo"


def _move(caller: Caller, **how: Any) -> Any:
    return caller.control("POST", "clock", how)


def _status(caller: Caller, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return int(caller.call("GET", "/services/core/model", headers=headers).status_code)


def test_a_token_lives_for_twelve_hours() -> None:
    with calling() as caller:
        token = caller.token(USER)
        _move(caller, advance="11.99h")
        assert _status(caller, token) == 200
        _move(caller, advance="0.01h")
        assert _status(caller, token) == 401


def test_a_key_counts_for_48_hours_and_60_days_on_the_control_apis_clock() -> None:
    with calling() as caller:

        def post() -> int:
            token = caller.log_in(USER)["access_token"]
            headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "k"}
            path = f"/objects/{INVOICE}"
            return int(caller.call("POST", path, json=invoice(), headers=headers).status_code)

        statuses = [post()]
        for span in ("48h", "1s", "57d", "1d"):
            _move(caller, advance=span)
            statuses.append(post())
        assert statuses == [201, 201, 409, 409, 201]


def test_the_month_ends_and_with_it_what_this_month_means() -> None:
    with calling() as caller:

        def count() -> int:
            named = [{"$eq": {"invoiceDate": "currentMonth"}}]
            token = caller.log_in(USER)["access_token"]
            body = {"object": INVOICE, "fields": ["key"], "filters": named}
            headers = {"Authorization": f"Bearer {token}"}
            answer = caller.call("POST", "/services/core/query", json=body, headers=headers)
            return int(answer.json()["ia::meta"]["totalCount"])

        assert count() > 100
        assert _move(caller, to="2026-10-31T23:59:59Z")["company_date"] == "2026-10-31"
        assert count() > 100
        assert _move(caller, advance="1s")["company_date"] == "2026-11-01"
        assert count() == 0


def test_the_companys_day_follows_its_time_zone_through_the_change_to_winter_time() -> None:
    # New York goes back from UTC-4 to UTC-5 on 2026-11-01.
    with calling(behaviours={"company_time_zone": "America/New_York"}) as caller:
        assert _move(caller, to="2026-11-01T03:59:59Z")["company_date"] == "2026-10-31"
        assert _move(caller, advance="1s")["company_date"] == "2026-11-01"
        assert _move(caller, to="2026-11-02T04:59:59Z")["company_date"] == "2026-11-01"
        assert _move(caller, advance="1s")["company_date"] == "2026-11-02"


def test_the_clock_stands_still_and_runs_on() -> None:
    passed = [0.0]
    clock = Clock(datetime(2026, 10, 13, tzinfo=UTC), elapsed=lambda: passed[0])
    with calling(clock=clock) as caller:
        passed[0] = 5.0
        assert _move(caller, running=False)["now"] == "2026-10-13T00:00:05.000Z"
        passed[0] = 50.0
        assert caller.control("GET", "clock")["now"] == "2026-10-13T00:00:05.000Z"
        assert _move(caller, running=True)["now"] == "2026-10-13T00:00:05.000Z"
        passed[0] = 51.0
        assert caller.control("GET", "clock")["now"] == "2026-10-13T00:00:06.000Z"


@pytest.mark.parametrize(
    "how",
    [
        {"advance": "-1h"},
        {"advance": "soon"},
        {"advance": "1e9d"},
        {"advance": "99999999999d"},
        {"to": "2020-01-01T00:00:00Z"},
        {"to": "then"},
        {"running": "yes"},
        {"faster": 2},
        [],
    ],
)
def test_time_goes_forward_only_and_by_spans_that_are_spans(how: Any) -> None:
    with calling() as caller:
        before = caller.control("GET", "clock")
        response = caller.call("POST", "/_sandbox/clock", json=how)
        assert response.status_code == 400
        assert response.json()["error"]["message"]
        assert caller.control("GET", "clock") == before


def test_those_who_wait_on_a_stopped_clock_come_in_the_order_of_their_appointments() -> None:
    clock, came = Clock.stopped(), list[tuple[str, datetime]]()
    begun = clock.now()

    async def wait(name: str, seconds: float) -> None:
        await clock.wait(seconds)
        came.append((name, clock.now()))

    async def all_of_them() -> None:
        await asyncio.gather(wait("late", 3600), wait("soon", 1), wait("next", 60))

    asyncio.run(all_of_them())
    assert came == [
        ("soon", begun + timedelta(seconds=1)),
        ("next", begun + timedelta(seconds=60)),
        ("late", begun + timedelta(seconds=3600)),
    ]
