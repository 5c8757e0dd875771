"""The model service and single records."""

from __future__ import annotations

import itertools
import json
from decimal import Decimal

import httpx
import pytest

from intacct_dagster.client import (
    AnswerNotUnderstood,
    ClientCredentials,
    Intacct,
    IntacctClient,
    NotReached,
    Query,
    RequestRefused,
)
from intacct_dagster_tests.client.intacct_wire import BASE_URL, Wire, error_reply, page_reply, reply

CUSTOMER = "accounts-receivable/customer"


def field(kind: str = "string", **more: object) -> dict[str, object]:
    return {"type": kind, "readOnly": False, "writeOnly": False, "nullable": True, **more}


# The shape of live answers of 2026-03; the content is made up.
MODEL = {
    "ia::result": {
        "fields": {
            "key": field(readOnly=True),
            "id": field(),
            "href": field(readOnly=True),
            "status": field(enum=["active", "inactive", None], nullable=False),
            "totalDue": field(format="decimal-precision-2", readOnly=True),
            "action": field(writeOnly=True, deprecated=True),
            "nsp::REGION": field(description="Sales region"),
        },
        "groups": {
            "audit": {
                "fields": {"modifiedDateTime": field(format="date-time", readOnly=True)},
                "refs": {"createdByUser": {"fields": {"key": field(), "href": field()}}},
            },
            "contacts": {
                "refs": {"payTo": {"fields": {"id": field()}, "groups": {"tax": {"fields": {}}}}},
                "groups": {"tax": {"fields": {"rate": field("number")}}},
            },
        },
        "refs": {
            "parent": {"fields": {"key": field(), "id": field(), "name": field(), "due": field()}},
            "nsp::r10008": {"fields": {"key": field()}},
        },
        "lists": [],
        "idempotenceSupported": True,
        "apiObject": "objects/accounts-receivable/customer",
    },
    "ia::meta": {"totalCount": 1, "totalSuccess": 1, "totalError": 0},
}
NOTHING = {"ia::result": [], "ia::meta": {"totalCount": 0}}


def client(wire: Wire) -> IntacctClient:
    grant = ClientCredentials("app.sage.com", "secret")
    return Intacct("demo", BASE_URL, grant, {"E110": "usa"}, transport=wire).entity("E110")


def test_a_model_is_flattened_into_the_paths_that_a_query_can_select() -> None:
    wire = Wire(reply(200, MODEL))
    model = client(wire).model(CUSTOMER)
    assert wire.requests[0].url.params["name"] == CUSTOMER
    assert [field.path for field in model.fields] == [
        "audit.createdByUser.key",
        "audit.modifiedDateTime",
        "contacts.payTo.id",
        "contacts.tax.rate",
        "id",
        "key",
        "nsp::REGION",
        "nsp::r10008.key",
        "parent.id",
        "parent.key",
        "parent.name",
        "status",
        "totalDue",
    ]
    assert [field.path for field in model.write_only] == ["action"]
    assert model.name == CUSTOMER
    assert model.idempotence_supported


def test_a_field_keeps_what_the_model_says_of_it() -> None:
    fields = {each.path: each for each in client(Wire(reply(200, MODEL))).model(CUSTOMER).fields}
    assert fields["status"].enum == ("active", "inactive")
    assert not fields["status"].nullable
    assert fields["totalDue"].format == "decimal-precision-2"
    assert fields["totalDue"].read_only
    assert fields["contacts.tax.rate"].type == "number"
    assert fields["nsp::REGION"].description == "Sales region"
    assert fields["id"].enum is None


def test_an_unknown_object_is_refused_with_near_matches() -> None:
    names = {
        "ia::result": [
            {"apiObject": "objects/accounts-receivable/customer"},
            {"apiObject": "objects/time/timesheet"},
        ]
    }
    wire = Wire(reply(200, NOTHING), reply(200, names))
    with pytest.raises(RequestRefused) as caught:
        client(wire).model("accounts-receivable/custommer")
    assert str(caught.value) == (
        "Sage Intacct knows no object accounts-receivable/custommer.\n"
        "Did you mean accounts-receivable/customer?"
    )


def test_a_model_without_fields_is_not_used() -> None:
    with pytest.raises(AnswerNotUnderstood, match="has no fields"):
        client(Wire(reply(200, {"ia::result": {"fields": []}}))).model(CUSTOMER)


@pytest.mark.parametrize("body", ["<html>", [], {"other": 1}], ids=["html", "list", "no result"])
def test_an_answer_that_is_no_model_is_not_used(body: object) -> None:
    with pytest.raises(AnswerNotUnderstood, match="is not understood"):
        client(Wire(reply(200, body))).model(CUSTOMER)


def test_whole_records_come_by_key_and_unknown_keys_are_left_out() -> None:
    wire = Wire(reply(200, {"ia::result": [{"key": "1"}, {"key": "3", "customer": {"id": "C"}}]}))
    assert client(wire).get(CUSTOMER, ["1", "2", "3", "1"]) == {
        "1": {"key": "1"},
        "3": {"key": "3", "customer": {"id": "C"}},
    }
    assert wire.requests[0].url.path.endswith("/objects/accounts-receivable/customer/1,2,3")


def test_a_single_record_that_is_not_there_is_left_out() -> None:
    wire = Wire(error_reply(404, "x", "The key '9' does not exist"))
    assert client(wire).get(CUSTOMER, ["9"]) == {}


def test_more_keys_than_one_get_takes_are_asked_for_in_parts() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        keys = request.url.path.rsplit("/", 1)[1].split(",")
        assert len(keys) <= 500
        return reply(200, {"ia::result": [{"key": key} for key in keys]})

    wire = Wire(answer)
    assert len(client(wire).get(CUSTOMER, [str(n) for n in range(1100)])) == 1100
    assert len(wire.requests) == 3


def test_a_record_that_nobody_asked_for_is_not_used() -> None:
    with pytest.raises(AnswerNotUnderstood, match="nobody asked for"):
        client(Wire(reply(200, {"ia::result": {"key": "2"}}))).get(CUSTOMER, ["1"])


def test_a_name_that_would_lead_elsewhere_is_not_sent() -> None:
    wire = Wire(reply(200, MODEL))
    with pytest.raises(NotReached, match="no name of an object"):
        client(wire).get("../oauth2/token", ["1"])
    assert wire.requests == []


def test_rows_are_exact_in_their_numbers() -> None:
    raw = (
        b'{"ia::result":[{"key":"1","totalDue":"12.50","rate":1.1}],'
        b'"ia::meta":{"totalCount":1,"start":1,"pageSize":100,"next":null,"previous":null}}'
    )
    (row,) = client(Wire(reply(200, raw))).query(Query(CUSTOMER, ("key",))).rows
    assert row == {"key": "1", "totalDue": "12.50", "rate": Decimal("1.1")}


def test_a_query_is_sent_as_intacct_spells_it() -> None:
    query = Query(
        CUSTOMER,
        ("key", "parent.id"),
        filters=({"$eq": {"parent.id": None}}, {"$in": {"status": ["active"]}}),
        filter_expression="(1 or 2)",
        order_by=({"id": "asc"},),
        start=101,
        size=4000,
        parameters={"includePrivate": True},
    )
    assert query.body() == (
        b'{"object":"accounts-receivable/customer","fields":["key","parent.id"],"start":101,'
        b'"size":4000,"filters":[{"$eq":{"parent.id":null}},{"$in":{"status":["active"]}}],'
        b'"filterExpression":"(1 or 2)","orderBy":[{"id":"asc"}],'
        b'"filterParameters":{"includePrivate":true}}'
    )


@pytest.mark.parametrize(("start", "size"), [(0, 10), (1, 0), (1, 4001)])
def test_a_query_out_of_bounds_is_not_made(start: int, size: int) -> None:
    with pytest.raises(ValueError):
        Query(CUSTOMER, ("key",), start=start, size=size)


def test_a_count_costs_next_to_nothing() -> None:
    wire = Wire(page_reply([], total=508))
    assert client(wire).count(CUSTOMER, [{"$eq": {"status": "active"}}]) == 508
    assert json.loads(wire.requests[0].content)["size"] <= 4


def test_no_two_questions_in_a_row_are_of_the_same_size() -> None:
    wire = Wire(page_reply([]))
    asking = client(wire)
    for size in (1, 1, 1, 4000, 4000, 4000, 100, 100):
        asking.ask(Query(CUSTOMER, ("key",), size=size))
    sizes = [json.loads(each.content)["size"] for each in wire.requests]
    assert all(one != other for one, other in itertools.pairwise(sizes))
    assert min(sizes[3:6]) >= 3968


def test_an_answer_to_another_question_is_asked_for_again() -> None:
    given: list[httpx.Response] = []

    def previous(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=given[-1].content)

    def first(request: httpx.Request) -> httpx.Response:
        given.append(page_reply([{"key": "1"}], total=1)(request))
        return given[-1]

    wire = Wire(first, previous, page_reply([{"key": "2"}], total=2))
    asking = client(wire)
    assert asking.ask(Query(CUSTOMER, ("key",), size=4000)).total_count == 1
    assert asking.ask(Query(CUSTOMER, ("key",), size=4000)).total_count == 2


def test_answers_to_other_questions_only_end_in_a_clear_error() -> None:
    def elsewhere(request: httpx.Request) -> httpx.Response:
        meta = {"totalCount": 9, "pageSize": json.loads(request.content)["size"], "start": 101}
        return reply(200, {"ia::result": [], "ia::meta": meta})

    wire = Wire(elsewhere)
    with pytest.raises(AnswerNotUnderstood) as caught:
        client(wire).ask(Query(CUSTOMER, ("key",), size=8))
    assert f"{CUSTOMER} of entity E110 was asked for " in str(caught.value)
    assert "rows from 1 on, and answered with a page of " in str(caught.value)
    assert "from 101 on" in str(caught.value)
    assert len(wire.requests) == 5


def test_a_server_with_smaller_pages_is_taken_at_its_word_when_it_says_so_twice() -> None:
    def capped(request: httpx.Request) -> httpx.Response:
        size = min(json.loads(request.content)["size"], 100)
        meta = {"totalCount": 0, "pageSize": size, "start": 1}
        return reply(200, {"ia::result": [], "ia::meta": meta})

    wire = Wire(capped)
    asking = client(wire)
    assert asking.ask(Query(CUSTOMER, ("key",), size=4000)).page_size <= 100
    asked = len(wire.requests)
    assert asked == 3
    asking.ask(Query(CUSTOMER, ("key",), size=4000))
    assert len(wire.requests) == asked + 1
