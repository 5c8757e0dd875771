"""Batches: outcomes by position, or none at all where the answer does not add up."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intacct_dagster.client import (
    AccessDenied,
    AuthenticationRefused,
    BatchResponse,
    ClientCredentials,
    Created,
    Intacct,
    OutcomeUnknown,
    Throttled,
)
from intacct_dagster.client.batch import RejectedItem, read_batch_response
from intacct_dagster.client.errors import About
from intacct_dagster.client.http.transport import Response
from intacct_dagster_tests.client.intacct_wire import (
    BASE_URL,
    Wire,
    encode_batch,
    error_reply,
    reply,
)

INVOICE = "accounts-receivable/invoice"
REFUSAL = {
    "code": "operationFailed",
    "message": "POST request on objects/accounts-receivable/invoice object was unsuccessful",
    "errorId": "REST-7001",
    "supportId": "Kxi78%7EZuyX",
    "details": [
        {
            "code": "invalidConfiguration",
            "message": "The customer 'C-9' is invalid.",
            "errorId": "AR-0001",
            "target": "/customer/id",
        }
    ],
}


def ref(key: int, **more: object) -> dict[str, object]:
    return {"key": str(key), "id": str(key), "href": f"/objects/{INVOICE}/{key}", **more}


def bad(status: int = 422) -> dict[str, object]:
    return {"ia::status": status, "ia::error": REFUSAL}


def body(items: list[Any], **meta: int | None) -> dict[str, Any]:
    failed = sum("ia::error" in item for item in items)
    counts: dict[str, int | None] = {
        "totalCount": len(items),
        "totalSuccess": len(items) - failed,
        "totalError": failed,
    }
    counts |= meta
    return {
        "ia::result": items,
        "ia::meta": {name: count for name, count in counts.items() if count is not None},
    }


def create(answer: httpx.Response, count: int) -> BatchResponse:
    wire = Wire(answer)
    grant = ClientCredentials("app.sage.com", "secret")
    with Intacct("demo", BASE_URL, grant, {"E110": "usa"}, transport=wire) as intacct:
        sent = encode_batch([b'{"n":%d}' % n for n in range(count)])
        return intacct.entity("E110").create_batch(INVOICE, sent, count, "key-1")


def test_the_request_is_the_items_byte_for_byte_with_the_key() -> None:
    wire = Wire(reply(201, body([ref(1), ref(2)])))
    grant = ClientCredentials("app.sage.com", "secret")
    with Intacct("demo", BASE_URL, grant, {"E110": "usa"}, transport=wire) as intacct:
        sent = encode_batch([b'{"a": 1.10}', b'{"b":"\xc3\xa9"}'])
        intacct.entity("E110").create_batch(INVOICE, sent, 2, "key-1")
    (request,) = wire.requests
    assert request.content == b'[{"a": 1.10},{"b":"\xc3\xa9"}]'
    assert request.url.path.endswith("/ia/api/v1/objects/accounts-receivable/invoice")
    assert request.headers["Idempotency-Key"] == "key-1"
    assert request.headers["X-IA-API-Param-Entity"] == "E110"
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [200, 201, 207])
@pytest.mark.parametrize("with_status", [False, True])
def test_all_created_whatever_success_is_called(status: int, with_status: bool) -> None:
    more = {"ia::status": 201} if with_status else {}
    answer = create(reply(status, body([ref(7, **more), ref(5, **more)])), 2)
    assert answer.outcomes == (
        Created(0, "7", "7", f"/objects/{INVOICE}/7"),
        Created(1, "5", "5", f"/objects/{INVOICE}/5"),
    )
    assert (answer.http_status, answer.created, answer.whole) == (status, 2, False)


def test_counts_of_success_may_be_left_out() -> None:
    answer = create(reply(201, body([ref(7)], totalSuccess=None, totalError=None)), 1)
    assert answer.created == 1


def test_one_result_for_one_item_may_come_without_an_array() -> None:
    alone = {"ia::result": ref(7), "ia::meta": {"totalCount": 1}}
    assert create(reply(201, alone), 1).created == 1


@pytest.mark.parametrize("success_status", [{}, {"ia::status": 200}, {"ia::status": 201}])
def test_a_mixed_answer_gives_each_position_its_own_outcome(
    success_status: dict[str, int],
) -> None:
    answer = create(reply(207, body([ref(7, **success_status), bad(), bad(409)])), 3)
    first, second, third = answer.outcomes
    assert isinstance(first, Created)
    assert isinstance(second, RejectedItem)
    assert isinstance(third, RejectedItem)
    assert (second.position, third.position) == (1, 2)
    assert (second.error_id, second.support_id) == ("REST-7001", "Kxi78%7EZuyX")
    assert second.field == "/customer/id"
    assert second.details[0].message == "The customer 'C-9' is invalid."


def test_an_error_may_come_as_an_array() -> None:
    item = {"ia::status": 400, "ia::error": [{"message": "first"}, {"message": "second"}]}
    (outcome,) = create(reply(207, body([item])), 1).outcomes
    assert isinstance(outcome, RejectedItem)
    assert (outcome.message, [each.message for each in outcome.details]) == ("first", ["second"])


@pytest.mark.parametrize("status", [400, 409, 422, 207, 200])
def test_all_refused_item_by_item(status: int) -> None:
    answer = create(reply(status, body([bad(), bad()])), 2)
    assert [type(outcome) for outcome in answer.outcomes] == [RejectedItem, RejectedItem]
    assert not answer.whole


@pytest.mark.parametrize("status", [400, 404, 405, 413, 422])
def test_one_refusal_of_the_whole_stands_at_every_position(status: int) -> None:
    answer = create(error_reply(status, "REST-1064", "Payload contains errors"), 3)
    assert answer.whole
    assert [outcome.position for outcome in answer.outcomes] == [0, 1, 2]
    assert all(
        isinstance(outcome, RejectedItem) and outcome.error_id == "REST-1064"
        for outcome in answer.outcomes
    )


def test_a_conflict_of_the_whole_is_unknown_because_the_key_may_have_been_used_before() -> None:
    with pytest.raises(OutcomeUnknown, match="key was used with another body"):
        create(error_reply(409, "x", "The key was used with another body"), 2)


def test_a_stored_answer_is_known_as_such() -> None:
    stored = {"x-ia-idempotency-cached-date": "2026-10-13T18:00:00Z"}
    assert create(reply(201, body([ref(7)]), stored), 1).replayed
    assert not create(reply(201, body([ref(7)])), 1).replayed


def test_refused_at_the_door_nothing_was_created_and_the_reason_is_raised() -> None:
    with pytest.raises(AccessDenied):
        create(error_reply(403, "x", "no access to entity E110"), 2)
    with pytest.raises(AuthenticationRefused):
        create(error_reply(401, "REST-2102", "Token is not valid"), 2)
    with pytest.raises(Throttled):
        create(reply(429, ""), 2)


CONTRADICTIONS: list[tuple[str, int, object]] = [
    ("one short", 201, body([ref(1), ref(2)])),
    ("one too many", 201, body([ref(1), ref(2), ref(3), ref(4)])),
    ("no results", 201, {"ia::result": None, "ia::meta": {"totalCount": 3}}),
    ("no meta", 201, {"ia::result": [ref(1), ref(2), ref(3)]}),
    ("total lies", 201, body([ref(1), ref(2), ref(3)], totalCount=2)),
    ("success lies", 207, body([ref(1), bad(), ref(3)], totalSuccess=3)),
    ("errors lie", 207, body([ref(1), bad(), ref(3)], totalError=0)),
    ("half the counts", 201, body([ref(1), ref(2), ref(3)], totalError=None)),
    ("same key twice", 201, body([ref(1), ref(2), ref(2)])),
    ("neither key nor error", 207, body([ref(1), {"ia::status": 201}, ref(3)])),
    ("null key", 207, body([ref(1), {"key": None}, ref(3)])),
    ("status without error", 207, body([ref(1), ref(2, **{"ia::status": 422}), ref(3)])),
    ("error with success", 207, body([ref(1), bad(201), ref(3)])),
    ("server failure in an item", 207, body([ref(1), bad(500), ref(3)])),
    ("status is text", 207, body([ref(1), ref(2, **{"ia::status": "201"}), ref(3)])),
    ("item is text", 207, {"ia::result": ["a", "b", "c"], "ia::meta": {"totalCount": 3}}),
    ("created under 422", 422, body([ref(1), bad(), bad()])),
    ("refused under 201", 201, body([ref(1), bad(), bad()])),
    ("not JSON", 201, "<html>"),
    ("cut", 201, '{"ia::result":[{"key":"1"'),
    ("a list", 201, [ref(1), ref(2), ref(3)]),
    ("empty", 204, ""),
    ("accepted only", 202, body([ref(1), ref(2), ref(3)])),
    ("refusal not JSON", 400, "<html>"),
    ("error under 200", 200, {"ia::result": {"ia::error": REFUSAL}}),
    ("redirect", 302, ""),
    ("teapot", 418, {"ia::error": REFUSAL}),
]


@pytest.mark.parametrize(
    ("status", "answer"),
    [case[1:] for case in CONTRADICTIONS],
    ids=[case[0] for case in CONTRADICTIONS],
)
def test_an_answer_that_does_not_add_up_says_nothing_about_any_item(
    status: int, answer: object
) -> None:
    with pytest.raises(OutcomeUnknown, match=r"Sent 3 records to accounts-receivable/invoice"):
        create(reply(status, answer), 3)


@pytest.mark.parametrize(
    ("sent", "count", "key"),
    [
        (b"[]", 0, "k"),
        (encode_batch([b"{}"] * 501), 501, "k"),
        (b"[{}]", 2, "k"),
        (b"{}", 1, "k"),
        (b"[1]", 1, "k"),
        (b"[{]", 1, "k"),
        (b"[{}]", 1, ""),
        (b"[{}]", 1, "k" * 257),
    ],
    ids=["none", "501", "miscounted", "object", "number", "no JSON", "no key", "long key"],
)
def test_a_malformed_batch_is_not_sent(sent: bytes, count: int, key: str) -> None:
    wire = Wire(reply(201, body([ref(1)])))
    grant = ClientCredentials("app.sage.com", "secret")
    with (
        Intacct("demo", BASE_URL, grant, {"E110": "usa"}, transport=wire) as intacct,
        pytest.raises(ValueError),
    ):
        intacct.entity("E110").create_batch(INVOICE, sent, count, key)
    assert wire.requests == []


def read(status: int, answer: object, count: int) -> BatchResponse:
    content = json.dumps(answer).encode()
    return read_batch_response(Response(status, httpx.Headers(), content), count, About("E110"))


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_any_mixture_is_read_position_by_position(created: list[bool]) -> None:
    items = [ref(n + 100) if well else bad() for n, well in enumerate(created)]
    outcomes = read(207, body(items), len(items)).outcomes
    assert [outcome.position for outcome in outcomes] == list(range(len(items)))
    assert [isinstance(outcome, Created) for outcome in outcomes] == created
    keys = [outcome.key for outcome in outcomes if isinstance(outcome, Created)]
    assert keys == [str(n + 100) for n, well in enumerate(created) if well]


DAMAGES: list[Callable[[list[Any]], object]] = [
    lambda items: items.pop(),
    lambda items: items.append(items[0]),
    lambda items: items.insert(0, {}),
    lambda items: items.__setitem__(0, None),
    lambda items: items.__setitem__(0, {"ia::status": 500, "ia::error": REFUSAL}),
]


@given(st.lists(st.booleans(), min_size=2, max_size=20), st.sampled_from(DAMAGES))
def test_any_damage_to_the_results_makes_the_whole_unknown(
    created: list[bool], damage: Callable[[list[Any]], object]
) -> None:
    items: list[Any] = [ref(n + 100) if well else bad() for n, well in enumerate(created)]
    whole = body(items)
    damage(items)
    with pytest.raises(OutcomeUnknown):
        read(207, whole, len(created))
