"""The audit_log's desk: what was asked, what is there, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from intacct_dagster_tests.sandbox.caller import CLIENT, INVOICE, Caller, calling, invoice

USER = "usa@demo"


def _post(caller: Caller, body: Any, **headers: str) -> Any:
    return caller.call("POST", f"/objects/{INVOICE}", user=USER, json=body, headers=headers)


def _journal(caller: Caller, **asked: str) -> list[dict[str, Any]]:
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    found = caller.control("GET", f"journal?{query}")
    assert found["count"] == len(found["requests"])
    return list(found["requests"])


def test_it_tells_how_many_posts_with_a_key_reached_an_object_and_what_they_wrote() -> None:
    with calling() as caller:
        keyed = {"Idempotency-Key": "k"}
        made = _post(caller, invoice(), **keyed).json()["ia::result"]["key"]
        _post(caller, invoice(), **keyed)
        _post(caller, invoice())
        asked = {"method": "POST", "object": INVOICE, "idempotency_key": "k", "reached": "true"}
        first, second = _journal(caller, **asked)
        assert (first["status"], first["replayed"]) == (201, False)
        assert (second["status"], second["replayed"]) == (201, True)
        assert first["body_hash"] == second["body_hash"]
        assert {one["key"] for one in first["wrote"] if one["object"] == INVOICE} == {made}
        assert second["wrote"] == []
        assert (first["user"], first["entity"]) == ("usa", "E110")
        assert [one["number"] for one in _journal(caller, wrote=made)] == [first["number"]]


def test_no_secret_is_recorded() -> None:
    with calling() as caller:
        answer = caller.log_in(USER)
        _post(caller, invoice(description="private"))
        caller.call("GET", f"/objects/{INVOICE}/1?access_token=abc", user=USER)
        got = caller.call("GET", "/_sandbox/journal").text
        for secret in (answer["access_token"], answer["refresh_token"], "abc", "private"):
            assert secret not in got
        assert CLIENT["client_secret"] not in got
        assert all(one["body_hash"] is None for one in _journal(caller, route="token"))


def test_it_tells_which_records_there_are_and_who_made_them() -> None:
    with calling() as caller:
        key = _post(caller, invoice(referenceNumber="R-7")).json()["ia::result"]["key"]
        found = caller.control(
            "GET", f"records?object={INVOICE}&referenceNumber=R-7&fields=state,customer.id"
        )
        assert found["count"] == 1
        assert found["records"] == [
            {
                "key": key,
                "id": key,
                "entity": "E110",
                "created_by": "usa",
                "created_at": "2026-10-13T18:00:00Z",
                "modified_at": "2026-10-13T18:00:00Z",
                "state": "posted",
                "customer.id": "C-10001",
            }
        ]
        by_state = caller.control("GET", f"records?object={INVOICE}&state=posted")
        assert by_state["count"] > 1000 == len(by_state["records"])


def test_transactions_are_counted_by_the_month_of_the_sandboxs_clock() -> None:
    with calling() as caller:
        _post(caller, [invoice(), invoice(), invoice("nobody")])
        caller.control("POST", "clock", {"to": "2026-11-05T00:00:00Z"})
        body = {"object": INVOICE, "fields": ["key"], "size": 7}
        headers = {"Authorization": f"Bearer {caller.log_in(USER)['access_token']}"}
        caller.call("POST", "/services/core/query", json=body, headers=headers)
        counted = caller.control("GET", "requests")
        assert counted["transactions_by_month"] == {"2026-10": 2, "2026-11": 1}
        assert counted["transactions"] == 3


@pytest.mark.parametrize("with_state", [True, False])
def test_a_snapshot_brings_back_books_keys_tokens_and_time(
    tmp_path: Path, with_state: bool
) -> None:
    state = tmp_path if with_state else None
    with calling(state) as caller:
        first = _post(caller, invoice(), **{"Idempotency-Key": "a"}).json()["ia::result"]["key"]
        caller.control("POST", "snapshots", {"name": "one invoice"})
        books = caller.call("GET", "/_sandbox/books").content
        for _ in range(2):
            caller.call("DELETE", f"/objects/{INVOICE}/{first}", user=USER)
            second = _post(caller, invoice(), **{"Idempotency-Key": "b"})
            assert second.headers.get("x-ia-idempotency-cached-date") is None
            assert second.json()["ia::result"]["key"] == str(int(first) + 1)
            caller.control("POST", "clock", {"advance": "2h"})
            now = caller.control("POST", "restore", {"name": "one invoice"})["now"]
            assert now == "2026-10-13T18:00:00Z"
            assert caller.call("GET", "/_sandbox/books").content == books
            got = caller.call("GET", f"/objects/{INVOICE}/{first}", user=USER)
            assert got.status_code == 200
            replayed = _post(caller, invoice(), **{"Idempotency-Key": "a"})
            assert "x-ia-idempotency-cached-date" in replayed.headers
    if state is not None:
        with calling(state) as caller:
            assert caller.call("GET", "/_sandbox/books").content == books


@pytest.mark.parametrize("with_state", [True, False])
def test_a_reset_is_a_fresh_start(tmp_path: Path, with_state: bool) -> None:
    state = tmp_path if with_state else None

    def whole_record(caller: Caller) -> bytes:
        got = _post(caller, invoice(), **{"Idempotency-Key": "k"}).content
        got += caller.call("GET", "/_sandbox/books").content
        got += caller.call("GET", "/_sandbox/journal?route=objects").content
        return bytes(got)

    with calling() as caller:
        fresh = whole_record(caller)
    with calling(state) as caller:
        _post(caller, [invoice()] * 3)
        caller.control("POST", "clock", {"advance": "3d"})
        caller.control("POST", "reset")
        assert caller.control("GET", "books")["count"] == 0
        assert caller.control("GET", "requests")["total"] == 0
        # Access tokens are gone as well.
        assert _post(caller, invoice()).status_code == 401
        caller.control("POST", "reset")
        caller.forget_tokens()
        answered = whole_record(caller)
        # The support ids go on; nothing in this answer holds one.
        assert answered == fresh
    if state is not None:
        with calling(state) as caller:
            assert caller.control("GET", "books")["count"] == 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "restore", {"name": "nowhere"}),
        ("POST", "snapshots", {}),
        ("POST", "snapshots", {"name": "x" * 101}),
        ("GET", "journal?colour=red", None),
        ("GET", "journal?last=0", None),
        ("GET", "records", None),
        ("GET", f"records?object={INVOICE}&nothing=1", None),
        ("POST", "limits", {"tier": "9"}),
        ("POST", "limits", {"per_hour": -1}),
        ("POST", "limits", {"speed": 1}),
        ("POST", "behaviours", {"refresh_rotation": "sometimes"}),
        ("PUT", "faults", {"faults": [{}]}),
    ],
)
def test_the_control_api_says_what_it_cannot_do(method: str, path: str, body: Any) -> None:
    with calling() as caller:
        response = caller.call(method, f"/_sandbox/{path}", json=body)
        assert response.status_code == 400
        assert response.json()["error"]["message"]
