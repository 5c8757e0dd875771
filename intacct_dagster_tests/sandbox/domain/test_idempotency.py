from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intacct_dagster_tests.sandbox.caller import INVOICE, Caller, calling, invoice
from intacct_sandbox import Clock

USER = "usa@demo"


def _post(caller: Caller, body: Any, key: str, user: str = USER, method: str = "POST") -> Any:
    headers = {"Idempotency-Key": key}
    return caller.call(method, f"/objects/{INVOICE}", user=user, json=body, headers=headers)


def _written(caller: Caller) -> int:
    return len(caller.call("GET", "/_sandbox/books").json()["changes"])


_bodies = st.sampled_from([invoice(), invoice("nobody"), invoice(invoiceDate="x"), 5])


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(body=_bodies | st.lists(_bodies, max_size=4))
def test_the_same_request_again_is_answered_byte_for_byte_and_done_once(
    caller: Caller, body: Any
) -> None:
    key = str(uuid4())  # of this run, so that a repeated example is a new request
    first = _post(caller, body, key)
    written = _written(caller)
    again = _post(caller, body, key)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert _written(caller) == written
    assert "x-ia-idempotency-cached-date" not in first.headers
    assert again.headers["x-ia-idempotency-cached-date"] == "2026-10-13T18:00:00Z"
    assert again.headers["Idempotency-Key"] == key


def test_the_same_key_with_another_body_or_method_is_a_conflict(caller: Caller) -> None:
    _post(caller, invoice(), "k")
    assert _post(caller, invoice(description="other"), "k").status_code == 409
    assert _post(caller, [invoice()], "k").status_code == 409
    assert _post(caller, invoice(), "k", method="PATCH").status_code == 409
    assert _written(caller) == 1


def test_keys_belong_to_their_user(caller: Caller) -> None:
    assert _post(caller, invoice(), "k").status_code == 201
    other = caller.call(
        "POST",
        f"/objects/{INVOICE}",
        user="top@demo|E110",
        json=invoice(),
        headers={"Idempotency-Key": "k"},
    )
    assert other.status_code == 201
    assert _written(caller) == 2


def test_an_answer_is_given_for_48_hours_and_the_key_kept_for_60_days() -> None:
    clock = Clock.stopped()
    with calling(clock=clock) as caller:

        def at(span: timedelta) -> int:
            clock.advance_to(begun + span)
            headers = {"Idempotency-Key": "k"}
            token = caller.log_in(USER)["access_token"]
            headers["Authorization"] = f"Bearer {token}"
            path = f"/objects/{INVOICE}"
            return int(caller.call("POST", path, json=invoice(), headers=headers).status_code)

        begun = clock.now()
        assert at(timedelta(0)) == 201
        assert at(timedelta(hours=48)) == 201
        assert _written(caller) == 1
        assert at(timedelta(hours=48, seconds=1)) == 409
        assert at(timedelta(days=60)) == 409
        assert at(timedelta(days=60, seconds=1)) == 201
        assert _written(caller) == 2


@pytest.mark.parametrize("key", ["", "x" * 257])
def test_a_key_has_from_1_to_256_characters(caller: Caller, key: str) -> None:
    assert _post(caller, invoice(), key).status_code == 400
    assert _written(caller) == 0
