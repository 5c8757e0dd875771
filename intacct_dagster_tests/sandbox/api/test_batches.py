from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intacct_dagster_tests.sandbox.caller import (
    INVOICE,
    Caller,
    calling,
    error_of,
    invoice,
    invoice_line,
)

USER = "usa@demo"
ATOMIC = {"X-IA-API-Param-Transaction": "true"}

_ITEMS: dict[str, tuple[int, Any]] = {
    "good": (201, invoice()),
    "rule": (422, invoice("nobody")),
    "form": (400, invoice(invoiceDate="soon")),
    "no object": (400, 5),
}


def _post(caller: Caller, items: Any, **rest: Any) -> Any:
    return caller.call("POST", f"/objects/{INVOICE}", user=USER, json=items, **rest)


def _exists(caller: Caller, key: str) -> bool:
    return bool(caller.call("GET", f"/objects/{INVOICE}/{key}", user=USER).status_code == 200)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(kinds=st.lists(st.sampled_from(sorted(_ITEMS)), min_size=1, max_size=12))
def test_outcomes_come_by_position_and_add_up(shared_caller: Caller, kinds: list[str]) -> None:
    bodies = []
    for place, kind in enumerate(kinds):
        body = _ITEMS[kind][1]
        bodies.append(body | {"description": str(place)} if isinstance(body, dict) else body)
    response = _post(shared_caller, bodies)
    answer = response.json()
    failed = sum(kind != "good" for kind in kinds)
    assert len(answer["ia::result"]) == len(kinds)
    assert answer["ia::meta"] == {
        "totalCount": len(kinds),
        "totalSuccess": len(kinds) - failed,
        "totalError": failed,
    }
    for place, (kind, item) in enumerate(zip(kinds, answer["ia::result"], strict=True)):
        if kind == "good":
            path = f"/objects/{INVOICE}/{item['key']}"
            record = shared_caller.call("GET", path, user=USER).json()["ia::result"]
            assert record["description"] == str(place)
            assert item["href"] == path
        else:
            assert "key" not in item
            assert item["ia::error"]["supportId"]
        if failed:
            assert item["ia::status"] == _ITEMS[kind][0]
    statuses = {_ITEMS[kind][0] for kind in kinds}
    assert response.status_code == (statuses.pop() if len(statuses) == 1 else 207)


def test_a_good_batch_answers_references_and_nothing_more(shared_caller: Caller) -> None:
    response = _post(shared_caller, [invoice(), invoice()])
    assert response.status_code == 201
    assert [set(item) for item in response.json()["ia::result"]] == [{"key", "id", "href"}] * 2


@pytest.mark.parametrize("count", [0, 501])
def test_a_batch_of_none_or_more_than_500_is_rejected_as_a_whole(
    shared_caller: Caller, count: int
) -> None:
    response = _post(shared_caller, [invoice()] * count)
    assert response.status_code == 400
    assert "from 1 to 500 items" in error_of(response)["message"]


def test_five_hundred_are_taken(shared_caller: Caller) -> None:
    answer = _post(shared_caller, [invoice()] * 500).json()
    assert len({item["key"] for item in answer["ia::result"]}) == 500


def test_items_of_one_batch_see_each_other(shared_caller: Caller) -> None:
    response = _post(
        shared_caller, [invoice(invoiceNumber="twice"), invoice(invoiceNumber="twice")]
    )
    assert response.status_code == 207
    assert [item["ia::status"] for item in response.json()["ia::result"]] == [201, 409]


def test_a_batch_of_duplicates_only_is_still_reported_by_item(shared_caller: Caller) -> None:
    _post(shared_caller, invoice(invoiceNumber="there"))
    response = _post(shared_caller, [invoice(invoiceNumber="there")] * 2)
    # Not 409, which as the status of a whole request speaks of the Idempotency-Key.
    assert response.status_code == 207
    assert [item["ia::status"] for item in response.json()["ia::result"]] == [409, 409]


def test_an_atomic_batch_keeps_nothing_when_one_item_fails() -> None:
    with calling() as caller:
        response = _post(caller, [invoice(), invoice("nobody"), invoice()], headers=ATOMIC)
        assert response.status_code == 422
        items = response.json()["ia::result"]
        codes = [item["ia::error"]["code"] for item in items]
        assert codes == ["unprocessed", "operationFailed", "unprocessed"]
        assert response.json()["ia::meta"]["totalError"] == 3
        assert caller.call("GET", "/_sandbox/books").json()["changes"] == []
        found = caller.query(
            USER, INVOICE, ["key"], filters=[{"$eq": {"audit.createdByUser.id": "usa"}}],
            orderBy=[{"key": "desc"}], size=1,
        )  # fmt: skip
        good = _post(caller, [invoice(), invoice()], headers=ATOMIC)
        assert good.status_code == 201
        assert int(good.json()["ia::result"][0]["key"]) > int(found["ia::result"][0]["key"])
        assert len(caller.call("GET", "/_sandbox/books").json()["changes"]) == 2


def test_an_atomic_change_or_deletion_that_fails_leaves_everything_as_it_was(
    shared_caller: Caller,
) -> None:
    lines = [invoice_line(amount=amount) for amount in ("1.00", "2.00", "3.00")]
    made = _post(shared_caller, [invoice(lines=lines), invoice(lines=lines)]).json()["ia::result"]
    path, keys = f"/objects/{INVOICE}", [item["key"] for item in made]

    def read() -> Any:
        return shared_caller.call("GET", f"{path}/{keys[0]},{keys[1]}", user=USER).json()

    before = read()
    bodies = [{"key": key, "description": "changed"} for key in (*keys, "0")]
    changed = shared_caller.call("PATCH", path, user=USER, json=bodies, headers=ATOMIC)
    assert changed.json()["ia::meta"]["totalError"] == 3
    assert read() == before
    deleted = shared_caller.call("DELETE", f"{path}/{keys[0]},0", user=USER, headers=ATOMIC)
    assert deleted.json()["ia::meta"]["totalError"] == 2
    assert read() == before


def test_many_are_patched_by_the_keys_in_their_bodies(shared_caller: Caller) -> None:
    made = _post(shared_caller, [invoice(), invoice()]).json()["ia::result"]
    bodies = [{"key": item["key"], "description": f"to {item['key']}"} for item in made]
    path = f"/objects/{INVOICE}"
    response = shared_caller.call(
        "PATCH", path, user=USER, json=[*bodies, {"description": "no key"}]
    )
    assert response.status_code == 207
    assert [item["ia::status"] for item in response.json()["ia::result"]] == [200, 200, 400]
    for item in made:
        record = shared_caller.call("GET", item["href"], user=USER).json()["ia::result"]
        assert record["description"] == f"to {item['key']}"


def test_many_are_deleted_by_the_keys_in_the_path(shared_caller: Caller) -> None:
    first, second = (
        item["key"] for item in _post(shared_caller, [invoice()] * 2).json()["ia::result"]
    )
    mixed = shared_caller.call("DELETE", f"/objects/{INVOICE}/{first},0", user=USER)
    assert mixed.status_code == 207
    good, bad = mixed.json()["ia::result"]
    assert good == {"ia::status": 204}
    assert bad["ia::status"] == 404
    assert not _exists(shared_caller, first)
    third = _post(shared_caller, invoice()).json()["ia::result"]["key"]
    assert (
        shared_caller.call("DELETE", f"/objects/{INVOICE}/{second},{third}", user=USER).status_code
        == 204
    )
    assert not _exists(shared_caller, second)


def test_a_batch_costs_a_transaction_for_each_record_it_makes() -> None:
    with calling() as caller:
        body = invoice(lines=[invoice_line(), invoice_line()])
        _post(caller, [body, invoice("nobody"), body])
        assert caller.call("GET", "/_sandbox/requests").json()["transactions"] == 2
