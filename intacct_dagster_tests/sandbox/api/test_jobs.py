"""Work that is put off, and what goes out to a client's own address."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from intacct_dagster_tests.sandbox.caller import (
    CLIENT,
    CUSTOMER,
    INVOICE,
    Caller,
    calling,
    invoice,
    messages,
)
from intacct_dagster_tests.webhook_receiver import LIMIT, receiving
from intacct_sandbox import CLIENT_SECRET, Clock, serve

USER = "usa@demo"
_FORM = "multipart/form-data; boundary=x"


# --- bulk -------------------------------------------------------------------------------------


def _bulk(caller: Caller, items: Any, **changed: Any) -> Any:
    asked = {"objectName": INVOICE, "operation": "create", "jobFile": "all.json", **changed}
    content = items if isinstance(items, bytes) else json.dumps(items).encode()
    return caller.call(
        "POST",
        "/services/bulk/job/create",
        user=USER,
        data={"ia::requestBody": json.dumps(asked)},
        files={"file": ("all.json", content, "application/json")},
    )


def _status(caller: Caller, job: str, more: str = "") -> Any:
    return caller.call("GET", f"/services/bulk/job/status?jobId={job}{more}", user=USER)


def _to_its_end(caller: Caller, made: Any) -> list[dict[str, Any]]:
    job = made.json()["ia::result"]["jobId"]
    caller.control("POST", "clock", {"advance": "5s"})
    return list(_status(caller, job, "&download=true").json()["ia::result"])


def test_a_bulk_job_goes_on_after_failures_and_answers_item_by_item(caller: Caller) -> None:
    items: list[Any] = [invoice(referenceNumber=f"B-{number}") for number in range(1100)]
    items[3] = invoice("nobody")
    items[1099] = 5
    got = _to_its_end(caller, _bulk(caller, items))
    assert len(got) == 1100
    assert [place for place, one in enumerate(got) if "ia::error" in one] == [3, 1099]
    assert {one["ia::status"] for place, one in enumerate(got) if place not in (3, 1099)} == {201}
    by_key = {one["key"]: place for place, one in enumerate(got) if "key" in one}
    changes = caller.control("GET", "books")["changes"]
    assert {one["key"]: int(one["document"][2:]) for one in changes} == by_key


def test_a_bulk_job_changes_and_deletes(caller: Caller) -> None:
    made = _to_its_end(caller, _bulk(caller, [invoice(), invoice()]))
    first, second = (one["key"] for one in made)
    changed = _bulk(caller, [{"key": first, "description": "x"}], operation="update")
    assert [one["ia::status"] for one in _to_its_end(caller, changed)] == [200]
    gone = _bulk(caller, [{"key": first}, {"key": second}, {"key": "0"}], operation="delete")
    assert [one["ia::status"] for one in _to_its_end(caller, gone)] == [204, 204, 404]


@pytest.mark.parametrize(
    ("behaviour", "wanted"),
    [
        ("six", ["queued", "preprocessing", "processing", "postprocessing", "completed"]),
        ("four", ["queued", "queued", "processing", "processing", "completed"]),
    ],
)
def test_a_job_goes_through_its_statuses_on_the_sandboxs_clock(
    behaviour: str, wanted: list[str]
) -> None:
    with calling(behaviours={"bulk_statuses": behaviour}) as caller:
        answer = _bulk(caller, [invoice()])
        assert answer.status_code == 200
        job = answer.json()["ia::result"]["jobId"]
        early = _status(caller, job, "&download=true")
        assert early.status_code == 400
        seen = []
        for _ in wanted:
            shown = _status(caller, job).json()["ia::result"]
            seen.append(shown["status"])
            caller.control("POST", "clock", {"advance": "1s"})
        assert seen == wanted
        assert shown["percentComplete"] == 100
        assert shown["downloadURL"].endswith("&download=true")
        caller.control("POST", "clock", {"advance": "5d"})
        headers = {"Authorization": f"Bearer {caller.log_in(USER)['access_token']}"}
        gone = caller.call("GET", f"/services/bulk/job/status?jobId={job}", headers=headers)
        assert gone.status_code == 404


def test_a_file_that_is_no_list_fails_the_job(caller: Caller) -> None:
    job = _bulk(caller, b"{}").json()["ia::result"]["jobId"]
    caller.control("POST", "clock", {"advance": "2s"})
    assert _status(caller, job).json()["ia::result"]["status"] == "failed"


def test_the_result_file_may_be_lines() -> None:
    with calling(
        behaviours={"bulk_result_layout": "lines", "bulk_created": "status_201"}
    ) as caller:
        answer = _bulk(caller, [invoice(), 5])
        assert answer.status_code == 201
        caller.control("POST", "clock", {"advance": "5s"})
        got = _status(caller, answer.json()["ia::result"]["jobId"], "&download=true").text
        assert [json.loads(line)["ia::status"] for line in got.splitlines()] == [201, 400]


@pytest.mark.parametrize(
    ("changed", "status", "text"),
    [
        ({"objectName": "nothing/there"}, 400, "does not exist"),
        ({"operation": "merge"}, 400, "operation must be"),
        ({"fileContentType": "csv"}, 400, "fileContentType must be json"),
        ({"callbackURL": "ftp://x"}, 400, "callbackURL"),
        ({"objectName": "company-config/entity"}, 405, "not supported"),
    ],
)
def test_a_bulk_job_that_makes_no_sense_is_rejected(
    caller: Caller, changed: dict[str, Any], status: int, text: str
) -> None:
    response = _bulk(caller, [invoice()], **changed)
    assert response.status_code == status
    assert text in messages(response)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"{}"),
        ("multipart/form-data; boundary=x", b"{}"),
        ("multipart/form-data; boundary=x", b"--x\r\nnonsense\r\n--x--"),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--",
        ),
    ],
)
def test_a_body_that_is_no_form_is_rejected(caller: Caller, kind: str, body: bytes) -> None:
    headers = {"Content-Type": kind}
    path = "/services/bulk/job/create"
    response = caller.call("POST", path, user=USER, content=body, headers=headers)
    assert response.status_code == 400
    assert messages(response)


# --- webhooks ---------------------------------------------------------------------------------


class _Company:
    """A sandbox on a port whose clock stands still."""

    def __init__(self, base_url: str) -> None:
        self._url = base_url
        self._client = httpx.Client(timeout=LIMIT)
        form = {"grant_type": "client_credentials", "username": USER, **CLIENT}
        token = self._client.post(f"{base_url}/oauth2/token", data=form).json()["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self._client.post(self._url + path, json=body, headers=headers)

    def get(self, path: str) -> Any:
        return self._client.get(self._url + path).json()

    def control(self, path: str, body: Any = None) -> Any:
        url = self._url.replace("/ia/api/v1", f"/_sandbox/{path}")
        answer = self._client.get(url) if body is None else self._client.post(url, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def settled(self) -> list[dict[str, Any]]:
        """Deliveries, once none is under way; each look is a round trip, and their number bound."""
        for _ in range(2000):
            deliveries: list[dict[str, Any]] = self.control("webhooks")["deliveries"]
            if all(one["state"] != "inTransit" for one in deliveries):
                return deliveries
        raise AssertionError("a delivery does not come to an end")


@pytest.fixture
def company() -> Iterator[_Company]:
    with serve(clock=Clock.stopped()) as sandbox:
        yield _Company(sandbox.base_url)


def _claims(headers: dict[str, str]) -> Any:
    head, claims, signature = headers["x-ia-sage-signature"].split(".")
    key, signed = CLIENT_SECRET.encode(), f"{head}.{claims}".encode()
    wanted = base64.urlsafe_b64encode(hmac.digest(key, signed, "sha256")).rstrip(b"=").decode()
    assert signature == wanted
    return json.loads(base64.urlsafe_b64decode(claims + "=="))


def test_a_request_that_is_put_off_is_answered_at_the_webhook_and_signed(company: _Company) -> None:
    with receiving() as receiver:
        company.control("webhooks", {"id": "hook-1", "url": receiver.url})
        later = {"Prefer": "respond-async", "X-IA-Webhook-Id": "hook-1"}
        answer = company.post(f"/objects/{INVOICE}", [invoice(), invoice("nobody")], **later)
        assert (answer.status_code, answer.headers["retry-after"]) == (202, "120")
        job = answer.json()["ia::result"]
        assert job["state"] == "queued"
        assert company.control("books")["count"] == 0
        company.control("clock", {"advance": "1s"})
        headers, body = receiver.taken.get(timeout=LIMIT)
        company.settled()
        assert company.control("books")["count"] == 1
        assert headers["x-ia-respond-code"] == "207"
        assert headers["x-ia-original-request-id"]
        claims = _claims(headers)
        assert claims["payload_signature"] == hashlib.sha256(body).hexdigest()
        assert claims["exp"] - claims["iat"] == 3_600_000
        assert (claims["iss"], claims["tenant_id"]) == ("Sage Intacct", "demo")
        assert json.loads(body)["ia::meta"]["totalError"] == 1
        got = company.get(job["href"])["ia::result"]
        assert got["state"] == "delivered"
        assert got["startedDateTime"] == "2026-10-13T18:00:01Z"
        assert got["deliveryStatus"] == [
            {"status": "200", "deliveryDateTime": "2026-10-13T18:00:01Z"}
        ]


def test_a_receiver_that_fails_is_tried_again_after_10_30_and_90_seconds(company: _Company) -> None:
    with receiving() as receiver:
        receiver.statuses = [503, 429, 408, 500]
        later = {"Prefer": "respond-async", "X-IA-Webhook-EndpointURL": receiver.url}
        answer = company.post(f"/objects/{INVOICE}", invoice(), **later)
        href = answer.json()["ia::result"]["href"]
        seen = []
        for span, tries in (("1s", 1), ("9.9s", 1), ("0.1s", 2), ("30s", 3), ("90s", 4)):
            company.control("clock", {"advance": span})
            (delivery,) = company.settled()
            assert len(delivery["statuses"]) == tries, span
            seen.append(company.get(href)["ia::result"]["state"])
        assert seen == ["inTransit", "inTransit", "inTransit", "inTransit", "dead"]
        company.control("clock", {"advance": "1h"})
        assert company.settled()[0]["statuses"] == [503, 429, 408, 500]
        assert company.control("books")["count"] == 1


def test_a_platform_trigger_tells_of_what_was_written(company: _Company) -> None:
    with receiving() as receiver:
        events = ["after_create", "after_delete"]
        company.control("webhooks", {"object": CUSTOMER, "events": events, "url": receiver.url})
        key = company.post(f"/objects/{CUSTOMER}", {"id": "NEW", "name": "New"}).json()
        headers, body = receiver.taken.get(timeout=LIMIT)
        context = json.loads(base64.b64decode(headers["x-clientcontext"]))
        assert (context["RESTOBJECTNAME"], context["EVENT"]) == (CUSTOMER, "after_create")
        assert (context["COMPANY"], context["USER"]) == ("demo", "2")
        assert headers["x-idempotencykey"]
        assert headers["authorization"] == f"Bearer {headers['x-ia-sage-signature']}"
        assert json.loads(body)["key"] == key["ia::result"]["key"]
        company.post(f"/objects/{INVOICE}", invoice())
        assert len(company.settled()) == 1


def test_a_bulk_job_calls_back_when_it_is_done(company: _Company) -> None:
    with receiving() as receiver:
        asked = {"objectName": INVOICE, "operation": "create", "callbackURL": receiver.url}
        made = company._client.post(
            f"{company._url}/services/bulk/job/create",
            data={"ia::requestBody": json.dumps(asked)},
            files={"file": ("x.json", json.dumps([invoice()]).encode())},
        )
        company.control("clock", {"advance": "5s"})
        _, body = receiver.taken.get(timeout=LIMIT)
        got = json.loads(body)["ia::result"]
        assert got["jobId"] == made.json()["ia::result"]["jobId"]
        assert got["status"] == "completed"


def test_a_job_is_done_without_anyone_asking_when_time_runs_by_itself() -> None:
    with receiving() as receiver, serve() as sandbox:
        company = _Company(sandbox.base_url)
        later = {"Prefer": "respond-async", "X-IA-Webhook-EndpointURL": receiver.url}
        company.post(f"/objects/{INVOICE}", invoice(), **later)
        headers, _ = receiver.taken.get(timeout=LIMIT)
        assert headers["x-ia-respond-code"] == "201"


def test_without_an_address_nothing_is_put_off(caller: Caller) -> None:
    headers = {"Prefer": "respond-async"}
    path = f"/objects/{INVOICE}"
    answer = caller.call("POST", path, user=USER, json=invoice(), headers=headers)
    assert answer.status_code == 400
    assert "X-IA-Webhook-Id" in messages(answer)
    unknown = {**headers, "X-IA-Webhook-Id": "nobody"}
    answer = caller.call("POST", path, user=USER, json=invoice(), headers=unknown)
    assert answer.status_code == 400


def test_workflows_and_services_are_put_off_too(company: _Company) -> None:
    key = company.post(f"/objects/{INVOICE}", invoice(state="draft")).json()["ia::result"]["key"]
    query = {"object": INVOICE, "fields": ["key"], "size": 1}
    asked: list[tuple[str, Any, str]] = [
        (f"/workflows/{INVOICE}/submit", {"key": key}, "application/json"),
        ("/services/core/query", query, "application/json"),
        ("/services/core/export", {"fileType": "csv", "query": query}, "text/csv; charset=utf-8"),
    ]
    with receiving() as receiver:
        later = {"Prefer": "respond-async", "X-IA-Webhook-EndpointURL": receiver.url}
        for path, body, kind in asked:
            assert company.post(path, body, **later).status_code == 202
            company.control("clock", {"advance": "1s"})
            headers, _ = receiver.taken.get(timeout=LIMIT)
            assert (headers["x-ia-respond-code"], headers["content-type"]) == ("200", kind)
    got = company.get(f"/objects/{INVOICE}/{key}")
    assert got["ia::result"]["state"] == "posted"


def test_serialized_requests_wait_for_each_other(company: _Company) -> None:
    with receiving() as receiver:
        receiver.statuses = [503]
        later = {"Prefer": "respond-async-serialized", "X-IA-Webhook-EndpointURL": receiver.url}
        for _ in range(2):
            company.post(f"/objects/{INVOICE}", invoice(), **later)
        company.control("clock", {"advance": "1s"})
        company.settled()
        company.control("clock", {"advance": "5s"})
        assert company.control("books")["count"] == 1, "the first answer is not taken yet"
        company.control("clock", {"advance": "5s"})
        company.settled()
        company.control("clock", {"advance": "1s"})
        assert company.control("books")["count"] == 2


def test_jobs_webhooks_and_deliveries_outlive_a_restart(tmp_path: Path) -> None:
    with receiving() as receiver:
        with calling(state=tmp_path) as caller:
            for one in (
                {"id": "hook", "url": receiver.url, "secret": "own"},
                {"object": CUSTOMER, "events": ["after_create"]},
            ):
                caller.control("POST", "webhooks", one)
            caller.call("POST", f"/objects/{CUSTOMER}", user=USER, json={"id": "N", "name": "N"})
            headers = {"Prefer": "respond-async", "X-IA-Webhook-Id": "hook"}
            path = f"/objects/{INVOICE}"
            late = caller.call("POST", path, user=USER, json=invoice(), headers=headers).json()
            bulk = _bulk(caller, [invoice(), invoice()])
            assert caller.control("GET", "books")["count"] == 1
        with calling(state=tmp_path) as caller:
            assert caller.control("GET", "webhooks")["addresses"] == {"hook": receiver.url}
            count = caller.call("GET", "/services/delivery/event/count", user=USER).json()
            assert count["ia::result"] == {"count": 1}
            got = _to_its_end(caller, bulk)
            assert [one["ia::status"] for one in got] == [201, 201]
            assert caller.control("GET", "books")["count"] == 4
            for _ in range(2000):
                if caller.control("GET", "webhooks")["deliveries"][0]["statuses"]:
                    break
            sent, _ = receiver.taken.get(timeout=LIMIT)
            head, claims, signature = sent["x-ia-sage-signature"].split(".")
            digest = hmac.digest(b"own", f"{head}.{claims}".encode(), "sha256")
            assert signature == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        with calling(state=tmp_path) as caller:
            # Done once, and still known.
            caller.control("POST", "clock", {"advance": "10s"})
            assert caller.control("GET", "books")["count"] == 4
            href = late["ia::result"]["href"]
            job = caller.call("GET", href, user=USER).json()["ia::result"]
            assert job["state"] == "delivered"
            again = _status(caller, bulk.json()["ia::result"]["jobId"], "&download=true")
            assert again.json()["ia::result"] == got
            caller.control("POST", "reset")
            caller.forget_tokens()
            assert caller.call("GET", href, user=USER).status_code == 404
            assert caller.control("GET", "webhooks")["triggers"] == []


# --- the event queue --------------------------------------------------------------------------


def _events(caller: Caller) -> Any:
    return caller.call("GET", "/services/delivery/event/list", user=USER).json()["ia::result"]


def _acknowledge(caller: Caller, ack_id: Any) -> Any:
    path = "/services/delivery/event/ack"
    return caller.call("POST", path, user=USER, json={"ackId": ack_id})


def test_events_wait_in_the_queue_until_they_are_acknowledged(caller: Caller) -> None:
    assert _events(caller) == []
    caller.control("POST", "webhooks", {"object": CUSTOMER, "events": ["after_create"]})
    for id_ in ("N1", "N2"):
        caller.call("POST", f"/objects/{CUSTOMER}", user=USER, json={"id": id_, "name": id_})
    first = _events(caller)
    assert first == _events(caller), "nothing goes by being read"
    assert [one["eventType"] for one in first["events"]] == ["pull", "pull"]
    context = json.loads(base64.b64decode(first["events"][0]["clientContext"]))
    assert (context["object"], context["event"]) == ("customer", "after.create")
    payload = json.loads(base64.b64decode(first["events"][0]["payload"]))
    assert payload["key"] == context["key"]
    caller.call("POST", f"/objects/{CUSTOMER}", user=USER, json={"id": "N3", "name": "N3"})
    done = _acknowledge(caller, first["ackId"]).json()["ia::result"]
    assert done == {"ackId": first["ackId"], "status": "success"}
    left = _events(caller)
    assert len(left["events"]) == 1
    assert _acknowledge(caller, first["ackId"]).status_code == 404
    assert _acknowledge(caller, 5).status_code == 400
    caller.control("POST", "clock", {"advance": "7d"})
    caller.forget_tokens()
    assert _events(caller) == [], "seven days are over"


def test_what_no_receiver_took_waits_in_the_queue(company: _Company) -> None:
    with receiving() as receiver:
        receiver.statuses = [500] * 4
        company.control("webhooks", {"object": CUSTOMER, "url": receiver.url, "name": "news"})
        company.post(f"/objects/{CUSTOMER}", {"id": "NEW", "name": "New"})
        for span in ("10s", "30s", "90s"):
            company.settled()
            company.control("clock", {"advance": span})
        company.settled()
    (event,) = company.get("/services/delivery/event/list")["ia::result"]["events"]
    context = json.loads(base64.b64decode(event["clientContext"]))
    assert (context["RESTOBJECTNAME"], context["EVENTNAME"]) == (CUSTOMER, "news")
