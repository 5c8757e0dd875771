from __future__ import annotations

from typing import Any

import pytest

from intacct_dagster_tests.sandbox.caller import (
    CLIENT,
    CUSTOMER,
    INVOICE,
    Caller,
    invoice,
    messages,
)

_HEADER = "X-IA-API-Param-Entity"


def _entities(caller: Caller, user: str, object_: str = INVOICE, **rest: Any) -> set[str | None]:
    headers = rest.pop("headers", {})
    query = {"object": object_, "fields": ["entity.id"], "size": 4000, **rest}
    response = caller.call("POST", "/services/core/query", user=user, json=query, headers=headers)
    assert response.status_code == 200, response.text
    return {row["entity.id"] for row in response.json()["ia::result"]}


def test_an_entity_sees_its_own_records_and_the_shared_ones(shared_caller: Caller) -> None:
    assert _entities(shared_caller, "usa@demo|E110") == {"E110"}
    assert _entities(shared_caller, "usa@demo|E110", CUSTOMER) == {"E110", None}


def test_the_header_goes_before_the_token(shared_caller: Caller) -> None:
    assert _entities(shared_caller, "top@demo|E110", headers={_HEADER: "E140"}) == {"E140"}


def test_a_misspelt_header_is_ignored(shared_caller: Caller) -> None:
    assert _entities(shared_caller, "top@demo|E110", headers={"X-IA-API-ParamEntity": "E140"}) == {
        "E110"
    }


def test_the_top_level_sees_private_records_only_on_request(shared_caller: Caller) -> None:
    assert _entities(shared_caller, "top@demo", CUSTOMER) == {None}
    private = {"filterParameters": {"includePrivate": True}}
    seen = _entities(shared_caller, "top@demo", CUSTOMER, **private)
    assert seen == {"E110", "E120", "E130", "E140", None}
    assert _entities(shared_caller, "top@demo|E120", CUSTOMER, **private) == {"E120", None}


def test_a_user_of_one_entity_is_in_it_without_saying_so(shared_caller: Caller) -> None:
    assert _entities(shared_caller, "gbr@demo") == {"E130"}


@pytest.mark.parametrize("entity", ["E120", "E130", "E140"])
def test_a_user_without_access_to_an_entity_gets_403(shared_caller: Caller, entity: str) -> None:
    query = {"object": INVOICE, "fields": ["key"]}
    headers = {_HEADER: entity}
    response = shared_caller.call(
        "POST", "/services/core/query", user="usa@demo", json=query, headers=headers
    )
    assert response.status_code == 403
    assert messages(response) == f"The user usa does not have access to the entity {entity}"


def test_an_entity_nobody_has_is_rejected(shared_caller: Caller) -> None:
    response = shared_caller.call(
        "GET", "/services/core/model", user="top@demo", headers={_HEADER: "E999"}
    )
    assert response.status_code == 400
    assert "The entity E999 does not exist" in messages(response)


def test_records_of_another_entity_are_not_there(shared_caller: Caller) -> None:
    key = shared_caller.query("can@demo", INVOICE, ["key"], size=1)["ia::result"][0]["key"]
    for method in ("GET", "PATCH", "DELETE"):
        response = shared_caller.call(method, f"/objects/{INVOICE}/{key}", user="usa@demo", json={})
        assert response.status_code == 404
    assert (
        shared_caller.call("GET", f"/objects/{INVOICE}/{key}", user="can@demo").status_code == 200
    )


def test_a_new_record_belongs_to_the_entity_it_was_made_in(shared_caller: Caller) -> None:
    made = shared_caller.call("POST", f"/objects/{INVOICE}", user="usa@demo", json=invoice())
    record = shared_caller.call(
        "GET", f"/objects/{INVOICE}/{made.json()['ia::result']['key']}", user="usa@demo"
    ).json()["ia::result"]
    assert record["entity"]["id"] == "E110"
    assert record["lines"][0]["entity"]["id"] == "E110"
    assert record["audit"]["createdByUser"]["id"] == "usa"


def test_shared_records_cannot_be_changed_from_an_entity(shared_caller: Caller) -> None:
    shared = [{"$eq": {"entity.key": None}}]
    key = shared_caller.query("usa@demo", CUSTOMER, ["key"], filters=shared, size=1)["ia::result"][
        0
    ]["key"]
    for method in ("PATCH", "DELETE"):
        path = f"/objects/{CUSTOMER}/{key}"
        response = shared_caller.call(method, path, user="usa@demo", json={"name": "Ours"})
        assert response.status_code == 403
        assert "belongs to the top level" in messages(response)


def test_at_the_top_level_the_entity_of_a_shared_record_is_empty_and_leads_nowhere(
    shared_caller: Caller,
) -> None:
    key = shared_caller.query("top@demo", CUSTOMER, ["key"], size=1)["ia::result"][0]["key"]
    record = shared_caller.call("GET", f"/objects/{CUSTOMER}/{key}", user="top@demo").json()[
        "ia::result"
    ]
    assert record["entity"] == {"key": None, "id": None, "name": None}


def test_a_user_created_through_the_api_logs_in_where_the_record_says(
    shared_caller: Caller,
) -> None:
    body = {
        "id": "NEW",
        "accountEmail": "new@demo.example",
        "contact": {"id": "Integration, Canada"},
        "entityAccess": {"allowUnrestrictedAccess": False},
        "entities": [{"id": "E120"}],
    }

    def log_in(username: str) -> Any:
        asked = {**CLIENT, "grant_type": "client_credentials", "username": username}
        return shared_caller.call("POST", "/oauth2/token", data=asked)

    assert log_in("NEW@demo").status_code == 401
    made = shared_caller.call("POST", "/objects/company-config/user", user="top@demo", json=body)
    key = made.json()["ia::result"]["key"]
    assert log_in("NEW@demo|E110").status_code == 403
    page = shared_caller.query("NEW@demo", "accounts-receivable/invoice", ["entity.id"], size=1)
    assert page["ia::result"][0]["entity.id"] == "E120"
    path = f"/objects/company-config/user/{key}"
    for change, entity, status in (
        ({"entityAccess": {"allowTopLevelAccess": True}}, "", 200),
        ({"entityAccess": {"allowUnrestrictedAccess": True}}, "|E110", 200),
        ({"webServices": {"isEnabled": False}}, "", 401),
        ({"webServices": {"isEnabled": True}, "status": "inactive"}, "", 401),
    ):
        assert shared_caller.call("PATCH", path, user="top@demo", json=change).status_code == 200
        assert log_in(f"NEW@demo{entity}").status_code == status
    # The token from before has died with its user.
    query = {"object": "accounts-receivable/invoice", "fields": ["key"]}
    dead = shared_caller.call("POST", "/services/core/query", user="NEW@demo", json=query)
    assert dead.status_code == 401
