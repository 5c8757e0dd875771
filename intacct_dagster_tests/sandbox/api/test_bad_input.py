"""Whatever is sent, an answer in one of Intacct's envelopes comes back."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import string
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intacct_dagster_tests.sandbox.caller import (
    CLIENT,
    CUSTOMER,
    INVOICE,
    Caller,
    calling,
    invoice,
    messages,
)
from intacct_sandbox import serve

USER = "usa@demo"
_QUIET = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_PATHS = (
    f"/objects/{INVOICE}",
    f"/objects/{INVOICE}/1",
    f"/objects/{CUSTOMER}",
    "/objects/general-ledger/journal-entry",
    "/services/core/query",
    "/services/core/model",
    "/services/core/composite",
    "/services/core/export",
    "/services/core/async/job-status",
    "/services/bulk/job/create",
    "/services/bulk/job/status",
    "/oauth2/token",
    "/oauth2/revoke",
    "/oauth2/authorize",
)


def _is_answer(response: Any) -> bool:
    """Whether this is one of Intacct's envelopes, and no defect of the sandbox."""
    if response.status_code in (204, 302):
        return not response.content
    if response.headers["content-type"].startswith("text/html"):
        return bool(response.status_code == 200)
    body = response.json()
    known = {"ia::result", "ia::error", "error", "access_token"} & set(body) or body == {}
    return response.status_code != 500 and bool(known)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serve() as running:
        yield int(running.base_url.split(":")[2].split("/")[0])


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@_QUIET
@given(
    path=st.sampled_from(_PATHS),
    method=st.sampled_from(["GET", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"]),
    body=st.binary(max_size=60) | _json.map(lambda one: json.dumps(one).encode()),
    kind=st.sampled_from(["application/json", "application/x-www-form-urlencoded", "text/plain"]),
)
def test_any_body_on_any_route_is_answered(
    shared_caller: Caller, path: str, method: str, body: bytes, kind: str
) -> None:
    if method == "DELETE" and path.endswith("/1"):
        path = f"/objects/{INVOICE}/0"
    headers = {"Content-Type": kind}
    response = shared_caller.call(method, path, user=USER, content=body, headers=headers)
    assert _is_answer(response)


_WORDS = st.sampled_from(
    [
        *("object", "fields", "filters", "filterExpression", "orderBy", "start", "size", "key"),
        *("$eq", "$in", "$between", "$has", "$contains", "invoiceDate", "totalTxnAmount", "and"),
        *("audit.modifiedDateTime", "customer.id", "lines", "asc", "2026-10-13", "1", "today"),
        *("0001-01-01", "9999-12-31", "1e999999", "0001-01-01T00:00:00+23:59", "(1 or 1)"),
    ]
)
_queryish = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 5000) | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=10,
)


@_QUIET
@given(
    changed=st.dictionaries(
        st.sampled_from(["fields", "filters", "filterExpression", "orderBy", "start", "size"]),
        _queryish,
        max_size=3,
    ),
    operand=st.none() | st.tuples(_WORDS, _WORDS, _queryish),
)
def test_any_query_is_answered(
    shared_caller: Caller, changed: dict[str, Any], operand: tuple[str, str, Any] | None
) -> None:
    query: dict[str, Any] = {"object": INVOICE, "fields": ["key"], "size": 3}
    if operand is not None:
        operator, path, value = operand
        query["filters"] = [{operator: {path: value}}]
    response = shared_caller.call(
        "POST", "/services/core/query", user=USER, json={**query, **changed}
    )
    assert response.status_code in (200, 400, 501)
    assert _is_answer(response)


@_QUIET
@given(
    where=st.lists(
        st.sampled_from(["customer", "invoiceDate", "lines", "dueDate", "state", "currency"]),
        min_size=1,
        max_size=3,
    ),
    value=_json | _queryish,
)
def test_any_invoice_is_answered(shared_caller: Caller, where: list[str], value: Any) -> None:
    body = invoice()
    inner: Any = body
    for name in where[:-1]:
        below = inner.setdefault(name, {})
        inner = below if isinstance(below, dict) else inner
    inner[where[-1]] = value
    response = shared_caller.call("POST", f"/objects/{INVOICE}", user=USER, json=body)
    assert response.status_code in (201, 400, 422)
    assert _is_answer(response)


@given(key=st.text(string.ascii_letters + string.digits + ",.:;-_%äß漢 ", min_size=1, max_size=30))
@settings(parent=_QUIET, max_examples=60)
def test_any_key_is_answered(shared_caller: Caller, key: str) -> None:
    for method in ("GET", "DELETE", "PATCH"):
        path = f"/objects/{CUSTOMER}/{key}"
        assert _is_answer(shared_caller.call(method, path, user=USER, json={}))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "requires a payload"),
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b'{"name": "\\ud800"}', "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b'{"name": NaN}', "cannot be read"),
    ],
)
def test_a_body_that_is_no_json_is_rejected(shared_caller: Caller, body: bytes, text: str) -> None:
    response = shared_caller.call("POST", f"/objects/{CUSTOMER}", user=USER, content=body)
    assert response.status_code == 400
    assert text in messages(response)


def test_a_body_of_50_mb_is_rejected(shared_caller: Caller) -> None:
    response = shared_caller.call(
        "POST", "/services/core/query", user=USER, content=b" " * 50_000_000
    )
    assert response.status_code == 413
    assert "larger than 20 MB" in messages(response)


def test_dates_at_the_end_of_time_are_rejected(shared_caller: Caller) -> None:
    sheet = {"beginDate": "9999-12-31", "lines": []}
    response = shared_caller.call("POST", "/objects/time/timesheet", user=USER, json=sheet)
    assert response.status_code == 400


def test_paths_and_methods_that_are_not_there_are_rejected(shared_caller: Caller) -> None:
    for method, path, status in (
        ("GET", "/services/core/nothing", 404),
        ("POST", "/services/reports/general-ledger/trial-balance", 501),
        ("GET", "/services/reports/status?reportId=1", 501),
        ("POST", "/services/company-config/document-sequence/generate-next-value", 501),
        ("POST", f"/workflows/{INVOICE}/generate-pdf", 501),
        ("PUT", f"/objects/{INVOICE}", 405),
        ("GET", "/services/core/query", 405),
        ("POST", f"/objects/{INVOICE}/1", 405),
        ("DELETE", f"/objects/{INVOICE}", 405),
        ("PATCH", "/objects/company-config/entity/1", 405),
        ("GET", "/objects/accounts-receivable/nothing", 400),
    ):
        response = shared_caller.call(method, path, user=USER, json={})
        assert response.status_code == status, (method, path)
        assert _is_answer(response)


def test_a_defect_is_answered_without_a_traceback(
    shared_caller: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr("intacct_sandbox.api.query.responses.query.answer", broken)
    query = {"object": INVOICE, "fields": ["key"]}
    response = shared_caller.call("POST", "/services/core/query", user=USER, json=query)
    assert response.status_code == 500
    assert messages(response) == "The sandbox failed: ZeroDivisionError"
    assert "a secret" not in response.text
    assert "ZeroDivisionError" in caplog.text


# --- more at a time, and longer, than anyone should -------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", f"/objects/{INVOICE}", [invoice()] * 501, 400, "1 to 500 items"),
        ("POST", f"/objects/{INVOICE}", [], 400, "1 to 500 items"),
        ("PATCH", f"/objects/{INVOICE}", [{"key": "1"}] * 501, 400, "1 to 500 items"),
        ("DELETE", f"/objects/{INVOICE}/" + ",".join(["1"] * 501), None, 400, "At most 500 keys"),
        ("GET", f"/objects/{INVOICE}/" + ",".join(["1"] * 501), None, 400, "At most 500 keys"),
        ("POST", "/services/core/composite", [], 400, "2 to 10 requests"),
        ("POST", "/services/core/query", [{}] * 21, 400, "1 to 20 queries"),
        ("POST", "/services/core/export", {"fileType": "csv"}, 400, "fileType and query"),
        ("GET", "/services/bulk/job/status", None, 404, "could not be found"),
        ("GET", "/services/core/async/job-status?jobId=x", None, 404, "could not be found"),
    ],
)
def test_too_many_and_too_few_are_rejected(
    shared_caller: Caller, method: str, path: str, body: Any, status: int, text: str
) -> None:
    response = shared_caller.call(method, path, user=USER, json=body)
    assert response.status_code == status
    assert text in messages(response)


@pytest.mark.parametrize(
    ("header", "statuses"),
    [
        ("Authorization", (401,)),
        ("Idempotency-Key", (400,)),
        ("X-IA-API-Param-Entity", (400,)),
        ("X-IA-API-Param-Transaction", (201,)),
        ("Prefer", (201,)),
        ("X-Nobody-Knows", (201,)),
    ],
)
def test_a_header_of_10_kb_is_answered_over_http(header: str, statuses: tuple[int, ...]) -> None:
    with serve() as sandbox, httpx.Client(timeout=30) as client:
        form = {"grant_type": "client_credentials", "username": USER, **CLIENT}
        token = client.post(f"{sandbox.base_url}/oauth2/token", data=form).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}", header: "x" * 10_000}
        url = f"{sandbox.base_url}/objects/{INVOICE}"
        answer = client.post(url, json=invoice(), headers=headers)
        assert answer.status_code in statuses
        assert _is_answer(answer)


def test_a_body_of_50_mb_is_answered_over_http_before_the_line_goes_dead() -> None:
    with serve() as sandbox, httpx.Client(timeout=30) as client:
        url = f"{sandbox.base_url}/services/core/query"
        answer = client.post(url, content=b" " * 50_000_000)
        assert answer.status_code == 413
        assert _is_answer(answer)
        assert client.post(url, content=b"{}").status_code == 401


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /ia/api/v1/services/core/model HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /ia/api/v1/oauth2/token HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"POST /ia/api/v1/oauth2/token HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz",
        b"GET / HTTP/1.1\r\nHost: a\r\nno header\r\n\r\n",
    ],
)
def test_what_is_not_http_is_answered_in_the_envelope(port: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(sent)
        answer = line.makefile("rb").read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/json" in head.lower()
    assert json.loads(body)["ia::result"]["ia::error"]["errorId"] == "SBX-0414"


def test_a_header_of_100_kb_is_answered(port: int) -> None:
    url = f"http://127.0.0.1:{port}/ia/api/v1/services/core/model"
    answer = httpx.get(url, headers={"X-Nobody-Knows": "x" * 100_000})
    assert answer.status_code in (400, 401)
    assert _is_answer(answer)


def test_another_version_is_not_supported(shared_caller: Caller) -> None:
    body = {"object": INVOICE, "fields": ["key"]}
    for version in ("v2", "v1-beta2", "v0"):
        path = f"/../{version}/services/core/query"
        answer = shared_caller.call("POST", path, user=USER, json=body)
        assert answer.status_code == 400
        assert list(answer.json()) == ["ia::error", "ia::meta"]
        assert answer.json()["ia::error"]["message"] == "Version is not supported."


def test_xml_is_turned_away_at_the_gateway(shared_caller: Caller) -> None:
    headers = {"Content-Type": "application/xml"}
    answer = shared_caller.call(
        "POST", "/services/core/query", user=USER, content=b"<q/>", headers=headers
    )
    assert (answer.status_code, answer.json()["ia::error"]["code"]) == (400, "GW-0014")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
def test_a_compressed_body_is_read(shared_caller: Caller, encoding: str) -> None:
    pack: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
    body = json.dumps({"object": INVOICE, "fields": ["key"], "size": 1}).encode()
    packed = pack.get(encoding, bytes)(body)
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    answer = shared_caller.call(
        "POST", "/services/core/query", user=USER, content=packed, headers=headers
    )
    assert answer.status_code == 200
    assert len(answer.json()["ia::result"]) == 1


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", b"no gzip", 400),
        ("gzip", gzip.compress(b"{}")[:-4], 400),
        ("br", b"{}", 400),
        ("gzip", gzip.compress(b" " * 50_000_000, 1), 413),
    ],
    ids=["no gzip", "torn", "unknown", "large"],
)
def test_a_body_that_cannot_be_unpacked_is_rejected(
    shared_caller: Caller, encoding: str, body: bytes, status: int
) -> None:
    headers = {"Content-Encoding": encoding}
    answer = shared_caller.call(
        "POST", "/services/core/query", user=USER, content=body, headers=headers
    )
    assert answer.status_code == status
    assert "cannot be read as" in messages(answer) or status == 413


def test_what_stands_open_in_a_query_may_be_null(shared_caller: Caller) -> None:
    """As clients with typed requests send it."""
    query = {"object": INVOICE, "fields": ["key"], "filters": None, "filterExpression": None}
    rest = {"filterParameters": None, "orderBy": None, "start": None, "size": None}
    answer = shared_caller.call("POST", "/services/core/query", user=USER, json={**query, **rest})
    assert answer.status_code == 200
    assert answer.json()["ia::meta"]["pageSize"] == 100


_CONTROL = ("clock", "faults", "behaviours", "limits", "snapshots", "restore", "webhooks")


@_QUIET
@given(
    path=st.sampled_from(_CONTROL),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    body=st.binary(max_size=40) | (_json | _queryish).map(lambda one: json.dumps(one).encode()),
)
def test_the_control_api_answers_anything(
    shared_caller: Caller, path: str, method: str, body: bytes
) -> None:
    response = shared_caller.call(method, f"/_sandbox/{path}", content=body)
    shared_caller.call("DELETE", "/_sandbox/faults")
    assert response.status_code in (200, 400, 405)
    response.json()


_FAULT_WORDS = st.sampled_from(
    [
        *("latency", "answer", "status", "cut", "before", "truncate", "meanwhile", "insert"),
        *("between", "nth", "every", "chance", "times", "uniform", "lognormal", "retry_after"),
        *("late", "name", "drop_item", "revoke_token", "route", "query"),
    ]
)
_faultish = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 600) | st.floats(-9, 1e9) | _FAULT_WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_FAULT_WORDS, inner, max_size=3),
    max_leaves=8,
)


@_QUIET
@given(fault=st.dictionaries(_FAULT_WORDS, _faultish, max_size=4))
def test_any_fault_is_taken_or_rejected_and_what_is_taken_works(
    shared_caller: Caller, fault: dict[str, Any]
) -> None:
    shared_caller.token(USER)
    taken = shared_caller.call("PUT", "/_sandbox/faults", json=[fault])
    assert taken.status_code in (200, 400)
    query = {"object": INVOICE, "fields": ["key"], "size": 1}
    # The cut is the one answer that is none.
    with contextlib.suppress(ConnectionAbortedError):
        response = shared_caller.call("POST", "/services/core/query", user=USER, json=query)
        assert "The sandbox failed" not in response.text
    shared_caller.call("DELETE", "/_sandbox/faults")
    shared_caller.forget_tokens()  # one of the faults ends them


@_QUIET
@given(
    service=st.sampled_from(["composite", "export", "query"]),
    body=st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "method": st.sampled_from(["GET", "POST", "PATCH", "DELETE", "PUT"]),
                "path": st.sampled_from([*_PATHS, "/objects/@{a.1.key}", "/objects/%00/x?y"]),
                "headers": _json,
                "body": _json | _queryish,
                "resultReference": st.sampled_from(["a", "b"]) | _json,
                "fileType": st.sampled_from(["csv", "xlsx", "pdf"]),
                "query": _queryish,
                "object": st.sampled_from([INVOICE, CUSTOMER, "x"]),
                "fields": _queryish,
            },
        ),
        max_size=4,
    )
    | _json,
)
def test_any_body_of_a_service_is_answered(shared_caller: Caller, service: str, body: Any) -> None:
    response = shared_caller.call("POST", f"/services/core/{service}", user=USER, json=body)
    assert response.status_code in (200, 207, 400, 501)
    assert _is_answer(response)


def test_an_attachment_whose_data_is_no_base64_is_rejected() -> None:
    with calling() as caller:
        for data in ("\x80", "é", "no base64", "aGk"):
            answer = caller.call(
                "POST",
                "/objects/company-config/attachment",
                user="top@demo",
                json={
                    "name": "a",
                    "folder": {"id": "x"},
                    "files": [{"name": "a.txt", "data": data}],
                },
            )
            assert answer.status_code == 400, (data, answer.text)
            assert "base64" in answer.text
