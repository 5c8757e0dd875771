"""What the fault plan says happens to a request, and the books are as the plan says they are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
import yaml

from intacct_dagster_tests.sandbox.caller import (
    CLIENT,
    CUSTOMER,
    INVOICE,
    PROJECT,
    Caller,
    calling,
    invoice,
)
from intacct_sandbox import SandboxError, serve
from intacct_sandbox.control.clock import OPENING

USER = "usa@demo"
_LIMIT = 30  # seconds; nothing here takes more than three


@pytest.fixture
def caller() -> Iterator[Caller]:
    with calling() as caller:
        caller.token(USER)
        yield caller


def _plan(caller: Caller, *faults: dict[str, Any]) -> None:
    caller.control("PUT", "faults", {"faults": list(faults)})


def _post(caller: Caller, body: Any = None, **headers: str) -> Any:
    body = invoice() if body is None else body
    return caller.call("POST", f"/objects/{INVOICE}", user=USER, json=body, headers=headers)


def _ask(caller: Caller, **query: Any) -> Any:
    asked = {"object": INVOICE, "fields": ["key"], "size": 10, **query}
    return caller.call("POST", "/services/core/query", user=USER, json=asked)


def _written(caller: Caller) -> int:
    return int(caller.control("GET", "books")["count"])


# --- false answers ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_error_before_the_commit_leaves_the_books_and_after_it_does_not(
    caller: Caller, status: int
) -> None:
    _plan(caller, {"route": "objects", "answer": {"status": status}, "times": 1})
    assert _post(caller).status_code == status
    assert _written(caller) == 0
    _plan(caller, {"route": "objects", "answer": {"status": status, "after_commit": True}})
    rejected = _post(caller)
    assert rejected.status_code == status
    assert rejected.json()["ia::error"]["code"] == ("GW-0010" if status == 429 else "GW-0001")
    assert _written(caller) == 1


@pytest.mark.parametrize(
    ("family", "header", "value"),
    [
        ("plain", "Retry-After", "7"),
        ("throttle", "X-IA-Throttle-Limit-RetryAfter", "7"),
        ("throttle-hyphen", "X-IA-Throttle-Limit-Retry-After", "7"),
        ("minute", "X-IA-Minute-Rate-Limit-Remaining", "0"),
        ("hour", "X-IA-Hour-Rate-Limit-Retry-After", "7"),
        ("tenant", "X-IA-TENANT-Throttle-Limit-Retry-After", "7"),
        ("cpu", "X-IA-CPU-Limit-Reset", "7"),
    ],
)
def test_a_429_brings_the_headers_of_each_family(
    caller: Caller, family: str, header: str, value: str
) -> None:
    retry = {"family": family, "seconds": 7}
    _plan(caller, {"answer": {"status": 429, "retry_after": retry}})
    assert _ask(caller).headers[header] == value


@pytest.mark.parametrize("body", ["maintenance_page", "cdn_page", "empty"])
def test_an_answer_may_be_no_json(caller: Caller, body: str) -> None:
    _plan(caller, {"answer": {"status": 503, "body": body}})
    answer = _ask(caller)
    assert answer.status_code == 503
    if body == "empty":
        assert answer.content == b""
    else:
        assert answer.headers["content-type"].startswith("text/html")
        assert "<html>" in answer.text


def test_a_maintenance_window_opens_and_closes_on_the_sandboxs_clock(caller: Caller) -> None:
    window = ["2026-10-13T19:00:00Z", "2026-10-13T20:00:00Z"]
    _plan(caller, {"between": window, "answer": {"status": 503, "body": "maintenance_page"}})
    statuses = [_ask(caller).status_code]
    for _ in range(2):
        caller.control("POST", "clock", {"advance": "1h"})
        statuses.append(_ask(caller).status_code)
    assert statuses == [200, 503, 200]


# --- answers that are damaged -----------------------------------------------------------------


def test_a_truncated_answer_is_no_json_and_claims_to_be_whole(caller: Caller) -> None:
    whole = _ask(caller).content
    _plan(caller, {"truncate": 0.5})
    answer = _ask(caller)
    assert answer.status_code == 200
    assert answer.content == whole[: len(whole) // 2]
    assert answer.headers["content-length"] == str(len(answer.content))
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(answer.content)


def test_one_item_is_missing_in_a_page_and_in_a_batch(caller: Caller) -> None:
    whole = _ask(caller).json()
    _plan(caller, {"drop_item": True})
    page = _ask(caller).json()
    assert page["ia::meta"] == whole["ia::meta"]
    assert len(page["ia::result"]) == len(whole["ia::result"]) - 1
    assert all(row in whole["ia::result"] for row in page["ia::result"])
    batch = _post(caller, [invoice(), invoice(), invoice()]).json()
    assert len(batch["ia::result"]) == 2
    assert batch["ia::meta"]["totalCount"] == 3
    assert _written(caller) == 3


@pytest.mark.parametrize(("cut", "written"), [("before", 0), ("during", 1), ("after", 1)])
def test_a_connection_is_cut_before_in_the_middle_and_after_the_commit(
    cut: str, written: int
) -> None:
    with serve() as sandbox:
        control = sandbox.base_url.replace("/ia/api/v1", "/_sandbox")
        form = {"grant_type": "client_credentials", "username": USER, **CLIENT}
        with httpx.Client(timeout=_LIMIT) as client:
            token = client.post(f"{sandbox.base_url}/oauth2/token", data=form).json()
            client.headers["Authorization"] = f"Bearer {token['access_token']}"
            client.put(f"{control}/faults", json=[{"route": "objects", "cut": cut}])
            with pytest.raises(httpx.TransportError) as caught:
                client.post(f"{sandbox.base_url}/objects/{INVOICE}", json=invoice())
            if cut == "during":
                assert "without sending complete" in str(caught.value)
            assert client.get(f"{control}/books").json()["count"] == written
            (got,) = client.get(f"{control}/journal?route=objects").json()["requests"]
            assert (got["status"], got["reached"]) == (None, cut != "before")


# --- a world that does not stand still --------------------------------------------------------


def test_a_token_is_revoked_in_the_middle_of_a_walk(caller: Caller) -> None:
    _plan(caller, {"route": "query", "nth": 2, "revoke_token": True})
    statuses = [_ask(caller, start=start).status_code for start in (1, 11, 21)]
    assert statuses == [200, 401, 401]
    caller._tokens.clear()
    assert _ask(caller, start=11).status_code == 200


def test_rows_come_change_and_go_between_two_pages(caller: Caller) -> None:
    def keys(*orders: dict[str, str]) -> list[str]:
        page = _ask(caller, orderBy=[*orders, {"key": "asc"}], size=4000).json()
        return [row["key"] for row in page["ia::result"]]

    before = keys()
    latest = {"audit.modifiedDateTime": "asc"}
    _plan(
        caller, {"route": "query", "nth": 1, "meanwhile": {"insert": 2, "change": 3, "delete": 4}}
    )
    after = keys(latest)
    assert len(set(before) - set(after)) == 4
    assert len(set(after) - set(before)) == 2
    changes = caller.control("GET", "books")["changes"]
    got = [(one["operation"], one["user"]) for one in changes]
    assert sorted(got) == sorted(
        [("create", "external")] * 2 + [("update", "external")] * 3 + [("delete", "external")] * 4
    )
    touched = {one["key"] for one in changes if one["operation"] != "delete"}
    assert touched & set(after) <= set(after[-5:])


def test_what_others_insert_is_whole(caller: Caller) -> None:
    _plan(caller, {"route": "query", "nth": 1, "meanwhile": {"insert": 1}})
    _ask(caller)
    (change,) = caller.control("GET", "books")["changes"]
    record = caller.call("GET", f"/objects/{INVOICE}/{change['key']}", user=USER).json()
    lines = record["ia::result"]["lines"]
    assert lines
    assert all(line["audit"]["modifiedDateTime"] == "2026-10-13T18:00:00Z" for line in lines)


def test_a_row_may_appear_with_an_older_time(caller: Caller) -> None:
    _plan(caller, {"route": "query", "nth": 1, "meanwhile": {"insert": 1, "modified_ago": 90}})
    _ask(caller)
    (change,) = caller.control("GET", "books")["changes"]
    found = caller.control("GET", f"records?object={INVOICE}&key={change['key']}")["records"]
    assert found[0]["modified_at"] == "2026-10-13T17:58:30Z"


def test_what_was_written_may_show_late_though_with_the_time_of_writing(caller: Caller) -> None:
    _plan(caller, {"route": "objects", "method": "POST", "late": 30})
    key = _post(caller).json()["ia::result"]["key"]

    def shows(object_: str, path: str) -> list[Any]:
        fields = ["audit.modifiedDateTime"]
        page = _ask(caller, object=object_, fields=fields, filters=[{"$eq": {path: key}}])
        return [row["audit.modifiedDateTime"] for row in page.json()["ia::result"]]

    line = "accounts-receivable/invoice-line"
    assert shows(INVOICE, "key") == shows(line, "invoice.key") == []
    assert caller.call("GET", f"/objects/{INVOICE}/{key}", user=USER).status_code == 200
    caller.control("POST", "clock", {"advance": "30s"})
    assert shows(INVOICE, "key") == shows(line, "invoice.key") == ["2026-10-13T18:00:00Z"]


# --- which requests, and chance ---------------------------------------------------------------


def test_a_rule_means_the_requests_it_names(caller: Caller) -> None:
    answer = {"answer": {"status": 500}}
    rules: list[tuple[dict[str, Any], bool]] = [
        ({"route": "query"}, True),
        ({"route": "objects"}, False),
        ({"object": INVOICE}, True),
        ({"object": "accounts-receivable/*"}, True),
        ({"object": CUSTOMER}, False),
        ({"user": "usa", "entity": "E110", "method": "POST"}, True),
        ({"user": "can"}, False),
        ({"path": "*/core/query"}, True),
        ({"nth": [2, 3]}, False),
        ({"every": 2}, False),
        ({"times": 1}, True),
        ({"chance": 0}, False),
        ({"chance": 1.0}, True),
    ]
    for rule, hit in rules:
        _plan(caller, {**rule, **answer})
        assert (_ask(caller).status_code == 500) == hit, rule


def test_nth_every_and_times_count_the_requests_that_the_rule_means(caller: Caller) -> None:
    _plan(caller, {"route": "query", "every": 2, "times": 2, "answer": {"status": 500}})
    statuses = []
    for _ in range(7):
        statuses.append(_ask(caller).status_code)
        caller.call("GET", "/services/core/model", user=USER)
    assert statuses == [200, 500, 200, 500, 200, 200, 200]
    (shown,) = caller.control("GET", "faults")["faults"]
    assert (shown["met"], shown["done"]) == (7, 2)


_RANDOM = [
    {"name": "busy", "chance": 0.3, "answer": {"status": 503}},
    {"name": "slow", "chance": 0.5, "latency": {"lognormal": {"median": 0.3, "sigma": 1}}},
    {"name": "others", "chance": 0.2, "meanwhile": {"insert": 1, "change": 1, "delete": 1}},
    {"name": "missing", "chance": 0.2, "drop_item": True},
]


def _an_hour(seed: int) -> tuple[bytes, ...]:
    with calling(seed=seed) as caller:
        _plan(caller, *_RANDOM)
        caller._tokens.clear()
        answers = [caller.call("POST", "/oauth2/token", data={**_FORM}) for _ in range(4)]
        for number in range(20):
            answers += [
                _ask(caller, start=1 + number),
                _post(caller, invoice(description=str(number))),
            ]
        answers.append(caller.call("GET", "/_sandbox/journal"))
        return tuple(
            b" ".join([str(one.status_code).encode(), str(one.headers).encode(), one.content])
            for one in answers
        )


_FORM = {"grant_type": "client_credentials", "username": USER, **CLIENT}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    first = _an_hour(3)
    assert first == _an_hour(3)
    other = _an_hour(4)
    assert sum(one != two for one, two in zip(first, other, strict=True)) > 20


def test_latency_is_drawn_from_its_distribution_on_the_sandboxs_clock(caller: Caller) -> None:
    def median_of(latency: Any) -> float:
        _plan(caller, {"route": "query", "latency": latency})
        took = sorted(
            int(_ask(caller, size=1).headers["X-Kong-Response-Latency"]) for _ in range(81)
        )
        return took[40] / 1000

    begun = caller.books.clock.now()
    assert median_of(0.25) == 0.25
    assert (caller.books.clock.now() - begun).total_seconds() == pytest.approx(81 * 0.25)
    assert median_of({"uniform": [1, 3]}) == pytest.approx(2, abs=0.4)
    assert median_of({"lognormal": {"median": 0.5, "sigma": 0.4}}) == pytest.approx(0.5, abs=0.15)
    assert median_of({"exponential": {"mean": 1}}) == pytest.approx(0.69, abs=0.25)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({}, "it does nothing"),
        (5, "a fault is a mapping"),
        ({"cut": "sometimes"}, "cut is one of"),
        ({"cut": "after", "colour": 1}, "nothing called colour"),
        ({"answer": {"status": 200}}, "answer takes a status"),
        ({"answer": {"status": [503]}}, "answer takes a status"),
        ({"answer": {"status": 503.0}}, "answer takes a status"),
        ({"answer": {"status": 503, "retry_after": True}}, "retry_after is a number"),
        ({"answer": {"status": 503, "body": "song"}}, "body is one of"),
        ({"answer": {"status": 429, "retry_after": {"family": "x", "seconds": 1}}}, "family 'x'"),
        ({"cut": "after", "chance": 2}, "chance is at most 1"),
        ({"cut": "after", "nth": 0}, "nth is a whole number"),
        ({"cut": "after", "every": 0}, "every is a whole number"),
        ({"cut": "after", "between": ["now", "then"]}, "now is not a time"),
        ({"latency": {"normal": 1}}, "latency is a number"),
        ({"latency": -1}, "latency is a number"),
        ({"latency": {"lognormal": {"median": "x", "sigma": 1}}}, "latency is a number"),
        ({"meanwhile": {"steal": 1}}, "meanwhile has nothing called steal"),
        ({"meanwhile": {"insert": -1}}, "insert of meanwhile"),
        ({"truncate": 1.5}, "truncate is at most 1"),
        ({"drop_item": "yes"}, "drop_item is true or false"),
    ],
)
def test_a_fault_that_cannot_be_is_rejected_and_the_plan_stays(
    caller: Caller, fault: Any, text: str
) -> None:
    _plan(caller, {"name": "kept", "cut": "before", "route": "export"})
    response = caller.call("POST", "/_sandbox/faults", json=[fault])
    assert response.status_code == 400
    assert text in response.json()["error"]["message"]
    assert [one["name"] for one in caller.control("GET", "faults")["faults"]] == ["kept"]


def test_a_plan_comes_from_a_file_and_a_wrong_one_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text(
        "faults:\n- name: shut\n  between: [2026-10-13T00:00:00Z, 2026-10-14T00:00:00Z]\n"
        "  answer: {status: 503}\n"
    )
    with serve(faults=file) as sandbox:
        answer = httpx.post(f"{sandbox.base_url}/oauth2/token", data=_FORM, timeout=_LIMIT)
        assert answer.status_code == 503
    for content, text in (("faults: {", "is not YAML"), ("faults: 5", "a list of faults")):
        file.write_text(content)
        with pytest.raises(SandboxError, match=text), serve(faults=file):
            pass
    with pytest.raises(SandboxError, match="cannot be read"), serve(faults=tmp_path / "none"):
        pass


# --- many at once -----------------------------------------------------------------------------


def test_two_requests_with_one_key_at_the_same_time_are_done_once(caller: Caller) -> None:
    _plan(caller, {"route": "objects", "latency": 5})
    keyed = {"json": invoice(), "headers": {"Idempotency-Key": "k"}}
    path = f"/objects/{INVOICE}"
    answers = caller.together(*(("POST", path, USER, dict(keyed)) for _ in range(3)))
    assert sorted(one.status_code for one in answers) == [201, 409, 409]
    assert _written(caller) == 1
    again = _post(caller, **{"Idempotency-Key": "k"})
    assert (again.status_code, _written(caller)) == (201, 1)


@pytest.mark.parametrize(
    ("tier", "external_requests", "most"),
    [("1", 0, 6), ("1", 5, 3), ("3", 0, 12), ("none", 0, None)],
)
def test_more_than_a_tier_allows_at_a_time_is_throttled_after_two_seconds(
    caller: Caller, tier: str, external_requests: int, most: int | None
) -> None:
    caller.control("POST", "limits", {"tier": tier, "external_requests": external_requests})
    books = caller.books
    with ExitStack() as under_way:
        for _ in range(most or 40):
            under_way.enter_context(books.throttle.admit(books.clock.now()))
        caller.control("POST", "clock", {"advance": "1.9s"})
        assert _ask(caller).status_code == 200
        caller.control("POST", "clock", {"advance": "0.1s"})
        answer = _ask(caller)
        if most is None:
            assert answer.status_code == 200
        else:
            assert answer.status_code == 429
            assert answer.json()["ia::error"]["code"] == "GW-0010"
            family = (
                "TENANT-Throttle-Limit-Retry-After"
                if external_requests
                else "Throttle-Limit-RetryAfter"
            )
            assert answer.headers[f"X-IA-{family}"] == "60"
    assert _ask(caller).status_code == 200


def test_requests_under_way_are_counted_for_as_long_as_they_take(caller: Caller) -> None:
    _plan(
        caller,
        {"name": "slow", "route": "query", "latency": 60},
        {"name": "a little slow", "route": "model", "latency": 3},
    )
    query = {"json": {"object": INVOICE, "fields": ["key"], "size": 1}}
    slow = [("POST", "/services/core/query", USER, dict(query)) for _ in range(6)]
    quick: list[tuple[str, str, str, dict[str, Any]]] = [("GET", "/services/core/model", USER, {})]
    # Six long queries come in, and one short request, which is over after three seconds.
    assert {one.status_code for one in caller.together(*slow, *quick)} == {200}
    assert caller.control("GET", "limits")["under_way"] == 0
    assert caller.books.clock.now() == OPENING + timedelta(seconds=60)


def test_an_hourly_limit_is_hard_and_an_answer_tells_what_is_left(caller: Caller) -> None:
    caller.control("POST", "limits", {"per_hour": 3})
    left = [_ask(caller).headers["X-IA-Hour-Rate-Limit-Remaining"] for _ in range(2)]
    assert left == ["1", "0"]  # the login was the first
    rejected = _ask(caller)
    assert rejected.status_code == 429
    wait = int(rejected.headers["X-IA-Hour-Rate-Limit-Retry-After"])
    assert 3590 < wait <= 3601
    caller.control("POST", "clock", {"advance": f"{wait}s"})
    assert _ask(caller).status_code == 200


def test_thirty_two_connections_with_faults_lose_and_double_nothing() -> None:
    plan = [
        {"name": "lost", "route": "objects", "chance": 0.2, "cut": "after"},
        {"name": "half", "route": "objects", "chance": 0.1, "cut": "during"},
        {"name": "never", "route": "objects", "chance": 0.1, "cut": "before"},
        {
            "name": "overloaded",
            "route": "objects",
            "chance": 0.2,
            "answer": {"status": 503, "after_commit": True},
        },
    ]
    with serve(tier="none") as sandbox:
        url = sandbox.base_url
        control = url.replace("/ia/api/v1", "/_sandbox")
        token = httpx.post(f"{url}/oauth2/token", data=_FORM, timeout=_LIMIT).json()
        headers = {"Authorization": f"Bearer {token['access_token']}"}
        httpx.put(f"{control}/faults", json=plan, timeout=_LIMIT)

        def write(number: int) -> None:
            body = [invoice(referenceNumber=f"{number}.{place}") for place in range(3)]
            keyed = {**headers, "Idempotency-Key": str(uuid4())}
            with httpx.Client(timeout=_LIMIT) as client:
                for _ in range(60):  # (0.6 of a chance to fail)^60
                    try:
                        path = f"{url}/objects/{INVOICE}"
                        if client.post(path, json=body, headers=keyed).status_code == 201:
                            return
                    except httpx.TransportError:
                        continue
            raise AssertionError(f"batch {number} never came through")

        with ThreadPoolExecutor(32) as pool:
            list(pool.map(write, range(64)))
        made = httpx.get(f"{control}/books", timeout=_LIMIT).json()["changes"]
        posts = httpx.get(f"{control}/journal?route=objects&last=1", timeout=_LIMIT).json()["count"]
    assert posts > 70, "too few requests got through"
    wanted = sorted(f"{number}.{place}" for number in range(64) for place in range(3))
    assert sorted(one["document"] for one in made) == wanted


def test_the_plan_in_the_documentation_is_taken_and_every_fault_of_it_can_be_met(
    caller: Caller,
) -> None:
    page = (PROJECT / "docs" / "sandbox-control.md").read_text("utf-8")
    plan = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    caller.books.faults.replace(plan)
    caller.control("POST", "clock", {"to": "2026-10-18T03:00:00Z"})
    answer = caller.call("POST", "/oauth2/token", data=_FORM)
    assert (answer.status_code, "maintenance" in answer.text) == (503, True)
    caller.control("POST", "reset")
    caller._tokens.clear()
    statuses = [_ask(caller).status_code for _ in range(6)]
    assert statuses == [200] * 6
    assert _ask(caller).status_code == 401
    with contextlib.suppress(ConnectionAbortedError):
        for _ in range(3):
            _post(caller)
    done = {one["name"]: one["done"] for one in caller.control("GET", "faults")["faults"]}
    assert [name for name, count in done.items() if not count] in (
        ["maintenance"],
        ["overloaded, and nobody knows what was done", "maintenance"],
    )
