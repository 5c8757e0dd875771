"""Every switch has a default and alternatives, and each of them is different on the wire."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner

from intacct_dagster.cli.app import main
from intacct_dagster_tests.client.xml_wire import xml_request
from intacct_dagster_tests.sandbox.caller import (
    CLIENT,
    CUSTOMER,
    INVOICE,
    Caller,
    calling,
    invoice,
    invoice_line,
)
from intacct_dagster_tests.webhook_receiver import LIMIT, receiving
from intacct_sandbox import Behaviours, SandboxError, all_behaviours, read_choices

USER = "usa@demo"


def _token(caller: Caller, **asked: str) -> Any:
    return caller.call("POST", "/oauth2/token", data={**CLIENT, **asked})


def _refresh(caller: Caller, token: str) -> Any:
    return _token(caller, grant_type="refresh_token", refresh_token=token)


def _consent(caller: Caller) -> dict[str, Any]:
    asked = {
        "response_type": "code",
        "client_id": CLIENT["client_id"],
        "redirect_uri": "http://127.0.0.1:9/back",
        "scope": "offline_access",
        "user": "usa",
    }
    sent = caller.call("POST", "/oauth2/authorize", data=asked).headers["location"]
    (code,) = parse_qs(urlsplit(sent).query)["code"]
    back = {"grant_type": "authorization_code", "redirect_uri": asked["redirect_uri"]}
    answer: dict[str, Any] = _token(caller, code=code, **back).json()
    return answer


def _post(caller: Caller, body: Any, key: str | None = None, user: str = USER) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return caller.call("POST", f"/objects/{INVOICE}", user=user, json=body, headers=headers)


def _ask(caller: Caller, **query: Any) -> Any:
    asked = {"object": INVOICE, "fields": ["key"], "size": 10, **query}
    return caller.call("POST", "/services/core/query", user=USER, json=asked)


def _error_id(response: Any) -> str:
    body = response.json()
    error = body.get("error") or body.get("ia::error") or body["ia::result"]["ia::error"]
    return str(error if isinstance(error, str) else error.get("errorId", error["code"]))


# --- what shows each switch: the same steps give another outcome under every value ------------


def _rotation(caller: Caller) -> Any:
    first = caller.log_in(USER)["refresh_token"]
    second = _refresh(caller, first).json()["refresh_token"]
    statuses = [second == first]
    for wait in (59, 2):
        caller.books.advance(timedelta(seconds=wait))
        statuses.append(_refresh(caller, first).status_code == 200)
    return statuses


def _reuse(caller: Caller) -> Any:
    first = caller.log_in(USER)["refresh_token"]
    second = _refresh(caller, first).json()["refresh_token"]
    return _refresh(caller, first).status_code, _refresh(caller, second).status_code


def _life(caller: Caller) -> Any:
    alive = []
    for days in (2, 31):
        token = caller.log_in(USER)["refresh_token"]
        caller.books.advance(timedelta(days=days))
        alive.append(_refresh(caller, token).status_code == 200)
    return alive


def _second_consent(caller: Caller) -> Any:
    first = _consent(caller)["refresh_token"]
    _consent(caller)
    return _refresh(caller, first).status_code


def _dead_token(caller: Caller) -> Any:
    token = caller.log_in(USER)["access_token"]
    caller.call("POST", "/oauth2/revoke", data={**CLIENT, "token": token})
    headers = {"Authorization": f"Bearer {token}"}
    answer = caller.call("GET", "/services/core/model", headers=headers)
    return answer.status_code, _error_id(answer)


def _expired_token(caller: Caller) -> Any:
    headers = {"Authorization": f"Bearer {caller.token(USER)}"}
    caller.books.advance(timedelta(hours=12))
    answer = caller.call("GET", "/services/core/model", headers=headers)
    return answer.status_code, _error_id(answer)


def _wrong_secret(caller: Caller) -> Any:
    asked = {"grant_type": "client_credentials", "username": USER, "client_secret": "wrong"}
    answer = _token(caller, **asked)
    return answer.status_code, _error_id(answer)


def _all_failed(caller: Caller) -> Any:
    return (
        _post(caller, [invoice("nobody")] * 2).status_code,
        _post(caller, [invoice("nobody"), 5]).status_code,
    )


def _mixed(caller: Caller) -> Any:
    good, _ = _post(caller, [invoice(), invoice("nobody")]).json()["ia::result"]
    return sorted(good)


def _precedence(caller: Caller) -> Any:
    filters = [{"$eq": {"state": "paid"}}, {"$eq": {"state": "posted"}}, {"$lt": {"key": "0"}}]
    page = _ask(caller, filters=filters, filterExpression="1 or 2 and 3").json()
    return page["ia::meta"]["totalCount"] > 0


def _unused(caller: Caller) -> Any:
    filters = [{"$eq": {"state": "paid"}}, {"$lt": {"key": "0"}}]
    return _ask(caller, filters=filters, filterExpression="1").status_code


def _filters(caller: Caller) -> Any:
    one = {"$gt": {"key": "0"}}
    return [_ask(caller, filters=[one] * count).status_code for count in (20, 21, 100, 101, 200)]


def _body(caller: Caller) -> Any:
    return [
        caller.call("POST", "/services/core/query", user=USER, content=b" " * size).status_code
        for size in (900_000, 1_100_000, 5_100_000)
    ]


def _timeout(caller: Caller) -> Any:
    found = []
    for seconds in (61, 901):
        rule = {"route": "objects", "latency": seconds, "times": 1}
        caller.control("PUT", "faults", [rule])
        found.append(_post(caller, invoice()).status_code)
    return found, caller.control("GET", "books")["count"]


def _orders(caller: Caller) -> Any:
    first, second = ([row["key"] for row in _ask(caller).json()["ia::result"]] for _ in range(2))
    return first == second, first == sorted(first, key=int)


def _nulls(caller: Caller) -> Any:
    order = [{"referenceNumber": "asc"}, {"key": "asc"}]
    rows = _ask(caller, fields=["referenceNumber"], orderBy=order).json()["ia::result"]
    return rows[0]["referenceNumber"] is None


def _not_equal(caller: Caller) -> Any:
    counts = [
        _ask(caller, filters=[one]).json()["ia::meta"]["totalCount"]
        for one in ({"$ne": {"referenceNumber": "x"}}, {"$notIn": {"referenceNumber": ["x"]}})
    ]
    everything = _ask(caller).json()["ia::meta"]["totalCount"]
    return [count == everything for count in counts]


def _folding(caller: Caller) -> Any:
    name = {"name": "Åsa Öberg"}
    caller.call("POST", f"/objects/{CUSTOMER}", user=USER, json={"id": "ACCENT", **name})
    insensitive = {"caseSensitiveComparison": False}
    counts = []
    for wanted in ("ÅSA ÖBERG", "Asa Oberg"):
        page = _ask(
            caller,
            object=CUSTOMER,
            filters=[{"$eq": {"name": wanted}}],
            filterParameters=insensitive,
        )
        counts.append(page.json()["ia::meta"]["totalCount"])
    return counts


def _precision(caller: Caller) -> Any:
    key = _post(caller, invoice()).json()["ia::result"]["key"]
    got = caller.call("GET", f"/objects/{INVOICE}/{key}", user=USER).json()
    return got["ia::result"]["audit"]["modifiedDateTime"]


def _company_day(caller: Caller) -> Any:
    moments = ("2026-10-14T03:00:00Z", "2026-10-14T15:00:00Z")
    return [caller.control("POST", "clock", {"to": one})["company_date"] for one in moments]


def _several(caller: Caller) -> Any:
    query = {"object": INVOICE, "fields": ["key"], "size": 1}
    answer = caller.call("POST", "/services/core/query", user=USER, json=[query, query])
    return answer.status_code, type(answer.json()).__name__


def _key_scope(caller: Caller) -> Any:
    statuses = []
    for user in ("usa@demo", "top@demo|E110", "top@demo|E120"):
        place = "E120" if user.endswith("E120") else "E110"
        body = invoice("C-10001", lines=[invoice_line(place=place)])
        statuses.append(_post(caller, body, "k", user).headers.get("x-ia-idempotency-cached-date"))
        statuses.append(str(_post(caller, body, "k", user).status_code))
    return statuses, caller.control("GET", "books")["count"]


def _lost_answer(caller: Caller) -> Any:
    after = {"status": 503, "after_commit": True}
    caller.control("PUT", "faults", [{"route": "objects", "times": 1, "answer": after}])
    _post(caller, invoice(), "k")
    return _post(caller, invoice(), "k").status_code, caller.control("GET", "books")["count"]


def _shared(caller: Caller) -> Any:
    found = caller.control("GET", f"records?object={CUSTOMER}&id=C-10001")["records"][0]
    path = f"/objects/{CUSTOMER}/{found['key']}"
    change = caller.call("PATCH", path, user=USER, json={"name": "x"}).status_code
    seen = _ask(caller, object=CUSTOMER, filters=[{"$eq": {"id": "C-10001"}}]).json()
    return change, seen["ia::meta"]["totalCount"]


def _put_off(caller: Caller) -> Any:
    headers = {"Prefer": "respond-async", "X-IA-Webhook-EndpointURL": "http://127.0.0.1:9/"}
    path = f"/objects/{INVOICE}"
    return caller.call("POST", path, user=USER, json=[invoice()], headers=headers).status_code


def _bulk(caller: Caller) -> Any:
    asked = {"objectName": INVOICE, "operation": "create"}
    answer = caller.call(
        "POST",
        "/services/bulk/job/create",
        user=USER,
        data={"ia::requestBody": json.dumps(asked)},
        files={"file": ("x.json", b"[5]")},
    )
    path = f"/services/bulk/job/status?jobId={answer.json()['ia::result']['jobId']}"
    statuses = []
    for _ in range(5):
        status = caller.call("GET", path, user=USER).json()["ia::result"]["status"]
        statuses.append(status)
        caller.control("POST", "clock", {"advance": "1s"})
    kind = caller.call("GET", f"{path}&download=true", user=USER).headers["content-type"]
    return answer.status_code, statuses, kind


def _history(caller: Caller) -> Any:
    key = _post(caller, invoice()).json()["ia::result"]["key"]
    path = f"/objects/{INVOICE}/{key}"
    caller.call("PATCH", path, user=USER, json={"description": "new"})
    caller.call("DELETE", path, user=USER)
    asked = {
        "object": "company-config/audit-history",
        "fields": ["changeSource.actionPerformed", "changeDetails.fieldName"],
        "filters": [
            {"$eq": {"changeDetails.objectId": key}},
            {"$eq": {"changeDetails.objectName": "invoice"}},
        ],
        "orderBy": [{"key": "asc"}],
    }
    answer = caller.call("POST", "/services/core/query", user="top@demo", json=asked)
    return [list(row.values()) for row in answer.json()["ia::result"]]


def _retention(caller: Caller) -> Any:
    caller.books.advance(timedelta(days=60))
    asked = {"object": "company-config/audit-history", "fields": ["key"]}
    answer = caller.call("POST", "/services/core/query", user="top@demo", json=asked)
    assert answer.json()["ia::meta"]["totalCount"] > 0
    return answer.json()["ia::meta"]["totalCount"]


def _modified(caller: Caller, object_: str, key: str) -> str:
    (found,) = caller.control("GET", f"records?object={object_}&key={key}")["records"]
    return str(found["modified_at"])


def _after_a_payment(caller: Caller) -> Any:
    key = _post(caller, invoice()).json()["ia::result"]["key"]
    caller.control("POST", "clock", {"advance": "1h"})
    body = {
        "financialEntity": {"entityId": "CHK-E110"},
        "customer": {"id": "C-10001"},
        "paymentSummary": {"receiptDate": "2026-10-13"},
        "paymentMethod": "cash",
        "txnCurrency": {"currency": "USD"},
        "paymentDetails": [{"arInvoice": {"key": key}, "txnCurrency": {"paymentAmount": "2.50"}}],
    }
    path = "/objects/accounts-receivable/payment"
    paid = caller.call("POST", path, user=USER, json=body)
    assert paid.status_code == 201, paid.text
    return _modified(caller, INVOICE, key)


def _after_a_line(caller: Caller) -> Any:
    made = _post(caller, invoice(lines=[invoice_line(), invoice_line()]))
    key = made.json()["ia::result"]["key"]
    got = caller.call("GET", f"/objects/{INVOICE}/{key}", user=USER).json()
    line = got["ia::result"]["lines"][0]["key"]
    caller.control("POST", "clock", {"advance": "1h"})
    path = f"/objects/accounts-receivable/invoice-line/{line}"
    changed = caller.call("PATCH", path, user=USER, json={"memo": "new"})
    assert changed.status_code == 200, changed.text
    assert _modified(caller, "accounts-receivable/invoice-line", line) == "2026-10-13T19:00:00Z"
    return _modified(caller, INVOICE, key)


def _signed(caller: Caller) -> Any:
    with receiving() as receiver:
        headers = {"Prefer": "respond-async", "X-IA-Webhook-EndpointURL": receiver.url}
        caller.call("POST", f"/objects/{INVOICE}", user=USER, json=invoice(), headers=headers)
        caller.control("POST", "clock", {"advance": "1s"})
        for _ in range(2000):
            if caller.control("GET", "webhooks")["deliveries"][0]["statuses"]:
                break
        sent, _ = receiver.taken.get(timeout=LIMIT)
    return sent["x-ia-sage-signature"].count(".")


def _stray(caller: Caller) -> Any:
    return [
        caller.call("GET", path, user=USER).status_code
        for path in ("/services/core/model/", "//services//core/model")
    ]


def _envelope(caller: Caller) -> Any:
    return sorted(caller.call("GET", f"/objects/{INVOICE}/0", user=USER).json())


def _ask_lines(caller: Caller, field: str) -> Any:
    asked = {"object": f"{INVOICE}-line", "fields": ["key", field], "size": 1}
    asked["filters"] = [{"$gte": {field: "2000-01-01T00:00:00Z"}}]
    answer = caller.call("POST", "/services/core/query", user=USER, json=asked)
    return answer.status_code, sorted(answer.json().get("ia::meta", {}))


def _line_audit(caller: Caller) -> Any:
    path = f"/services/core/model?name={INVOICE}-line"
    model = caller.call("GET", path, user=USER).json()["ia::result"]
    return sorted(model["groups"]), _ask_lines(caller, "audit.modifiedDateTime")


def _xml(caller: Caller, name: str) -> Any:
    answer = caller.call("GET", "/services/core/session/id", user="top@demo|E110").json()
    session = answer["ia::result"]["sessionId"]
    query = (
        "<query><object>GLDETAIL</object><select><field>WHENMODIFIED</field></select><orderby>"
        "<order><field>RECORDNO</field><ascending/></order></orderby><pagesize>1</pagesize>"
        "<options><showprivate>true</showprivate></options></query>"
    )
    headers = {"Content-Type": "application/xml"}
    body = xml_request(session, query)
    got = caller.call("POST", "/ia/xml/xmlgw.phtml", content=body, headers=headers).text
    return got.partition(f"<{name}>")[2].partition("</")[0]


_SHOWN_BY: dict[str, Callable[[Caller], Any]] = {
    "refresh_rotation": _rotation,
    "refresh_reuse": _reuse,
    "refresh_life": _life,
    "second_consent": _second_consent,
    "invalid_grant": lambda caller: _refresh(caller, "nothing").status_code,
    "invalid_client": _wrong_secret,
    "dead_token": _dead_token,
    "expired_token": _expired_token,
    "batch_created": lambda caller: _post(caller, [invoice()] * 2).status_code,
    "batch_failed": _all_failed,
    "mixed_success_status": _mixed,
    "too_many_items": lambda caller: _post(caller, [invoice()] * 501).status_code,
    "page_size_limit": lambda caller: [_ask(caller, size=size).status_code for size in (0, 4001)],
    "start_beyond_end": lambda caller: _ask(caller, start=90_000).status_code,
    "unknown_operator": lambda caller: _ask(caller, filters=[{"$ge": {"key": "1"}}]).status_code,
    "bad_expression": lambda caller: _ask(caller, filterExpression="1").status_code,
    "unused_filter": _unused,
    "bare_precedence": _precedence,
    "most_filters": _filters,
    "largest_body": _body,
    "request_timeout": _timeout,
    "row_cap": lambda caller: [
        _ask(caller, start=start).status_code for start in (10_000, 10_001, 100_001)
    ],
    "default_order": _orders,
    "null_order": _nulls,
    "not_equal_null": _not_equal,
    "case_folding": _folding,
    "audit_precision": _precision,
    "company_time_zone": _company_day,
    "multi_object_query": _several,
    "async_batch": _put_off,
    "bulk_result_layout": _bulk,
    "bulk_statuses": _bulk,
    "bulk_created": _bulk,
    "audit_history": _history,
    "audit_retention": _retention,
    "payment_touches_document": _after_a_payment,
    "line_touches_document": _after_a_line,
    "line_audit": _line_audit,
    "xml_time_zone": lambda caller: _xml(caller, "WHENMODIFIED"),
    "xml_session_entity": lambda caller: _xml(caller, "locationid"),
    "reference_reach": lambda caller: _ask_lines(caller, "invoice.audit.modifiedDateTime"),
    "idempotency_scope": _key_scope,
    "idempotency_after_timeout": _lost_answer,
    "shared_masters": _shared,
    "async_signature": _signed,
    "stray_slashes": _stray,
    "list_parameters": lambda caller: (
        caller.call("GET", f"/objects/{INVOICE}?start=101", user=USER).status_code
    ),
    "error_envelope": _envelope,
    "hierarchy_fields": lambda caller: (
        _ask(caller, filterParameters={"includeHierarchyFields": True}).status_code
    ),
}


@pytest.mark.parametrize("name", all_behaviours())
def test_every_value_of_a_switch_shows_on_the_wire(name: str) -> None:
    outcomes = {}
    for value in all_behaviours()[name].values:
        with calling(behaviours={name: value}) as caller:
            outcomes[value] = repr(_SHOWN_BY[name](caller))
    assert len(set(outcomes.values())) == len(outcomes), outcomes


def test_switches_are_listed_and_turned_while_it_runs() -> None:
    with calling() as caller:
        listed = caller.control("GET", "behaviours")["behaviours"]
        assert [one["name"] for one in listed] == list(all_behaviours())
        assert all(one["value"] == one["default"] for one in listed)
        assert all(len(one["values"]) > 1 and one["about"] for one in listed)
        caller.control("POST", "behaviours", {"invalid_grant": "status_401"})
        assert _refresh(caller, "nothing").status_code == 401


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (("refresh_rotatoin=grace",), "Did you mean refresh_rotation"),
        (("refresh_rotation=maybe",), "choose single_use, grace, both, none"),
        (("refresh_rotation",), "NAME=VALUE"),
    ],
)
def test_a_switch_that_is_not_there_is_rejected(given: tuple[str, ...], text: str) -> None:
    with pytest.raises(SandboxError, match=text):
        Behaviours(read_choices(given))


def test_one_wrong_switch_turns_none() -> None:
    chosen = Behaviours()
    with pytest.raises(SandboxError):
        chosen.choose({"invalid_grant": "status_401", "nothing": "x"})
    assert chosen["invalid_grant"] == "status_400"


def test_the_command_line_lists_every_switch_and_its_values() -> None:
    result = CliRunner().invoke(main, ["sandbox", "behaviours"])
    assert result.exit_code == 0
    for one in all_behaviours().values():
        assert f"{one.name}: {one.about}\n  * {one.default}" in result.output
        assert all(f" {value}" in result.output for value in one.values)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--behaviour", "nothing=1"], "There is no behaviour 'nothing'"),
        (["--behaviour", "nothing"], "NAME=VALUE"),
        (["--faults", "no/such/file.yaml"], "cannot be read"),
    ],
)
def test_the_command_line_says_what_it_cannot_do(options: list[str], text: str) -> None:
    result = CliRunner().invoke(main, ["sandbox", "--port", "0", *options])
    assert result.exit_code == 1
    assert text in result.output
    assert "Traceback" not in result.output
