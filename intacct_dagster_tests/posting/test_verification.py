"""The proof after posting: what Intacct holds is what it was sent."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from intacct_dagster.posting.agreement import FieldDifference, compare_fields
from intacct_dagster.posting.verification import PostedReader
from intacct_dagster.state.ledger import Posted
from intacct_dagster_tests.posting.posting_world import INVOICE, World
from intacct_sandbox import CLIENT_ID, CLIENT_SECRET, COMPANY


def compared(world: World) -> tuple[int, tuple[FieldDifference, ...]]:
    done = PostedReader(world.intacct.entity("E110"), world.ledger, INVOICE).read_back()
    assert done.not_shown == 0
    return done.compared, done.differences


def by_hand(world: World, method: str, source_id: str, **json_body: Any) -> httpx.Response:
    """What a person does to a posted document."""
    key = dict(world.books())[source_id]
    token = httpx.post(
        f"{world.base_url}/oauth2/token",
        data={
            "grant_type": "client_credentials",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "username": f"usa@{COMPANY}|E110",
        },
    ).json()["access_token"]
    return httpx.request(
        method,
        f"{world.base_url}/objects/{INVOICE}/{key}",
        headers={"Authorization": f"Bearer {token}"},
        json=json_body or None,
    ).raise_for_status()


def test_what_was_posted_is_compared_once_and_agrees(world: World) -> None:
    world.post([world.item("S1"), world.item("S2")])

    assert compared(world) == (2, ())
    assert all(each.read_back_at for each in world.entries())
    assert compared(world) == (0, ()), "what agreed is not read again"


def test_a_field_that_was_changed_meanwhile_is_named_until_it_is_mended(world: World) -> None:
    world.post([world.item("S1"), world.item("S2")])
    by_hand(world, "PATCH", "S1", dueDate="2026-12-24")

    found, differences = compared(world)
    assert found == 2
    (difference,) = differences
    assert (difference.source_id, difference.field) == ("S1", "dueDate")
    assert (difference.sent, difference.found) == ("2026-11-12", "2026-12-24")

    assert compared(world)[1] == (difference,)
    by_hand(world, "PATCH", "S1", dueDate="2026-11-12")
    assert compared(world) == (1, ())


def test_a_document_that_is_gone_is_a_difference(world: World) -> None:
    world.post([world.item("S1"), world.item("S2")])
    by_hand(world, "DELETE", "S2")

    (difference,) = compared(world)[1]
    assert (difference.source_id, difference.field, difference.found) == ("S2", "", "no record")


def test_amounts_are_compared_as_amounts(world: World) -> None:
    item = world.item("S1")
    payload = json.loads(item.payload)
    payload["lines"][0]["txnAmount"] = "12.5"
    posted = type(item)(item.source_id, item.day, item.amount, json.dumps(payload).encode())
    world.post([posted])

    assert compared(world) == (1, ())


@pytest.fixture
def by_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Six documents of two lines, posted; a page is cheaper than the records of two."""
    monkeypatch.setattr("intacct_dagster.posting.verification.KEYS_IN_A_GET", 2)
    items = []
    for n in range(6):
        item = world.item(f"S{n}")
        payload = json.loads(item.payload)
        payload["lines"].append({**payload["lines"][0], "txnAmount": f"{n}.5"})
        items.append(replace(item, payload=json.dumps(payload).encode()))
    world.post(items, size=3)
    world.network.reads.clear()
    return world


def test_many_documents_are_read_by_pages(by_pages: World) -> None:
    client = by_pages.intacct.entity("E110")
    before = client.usage

    done = PostedReader(client, by_pages.ledger, INVOICE).read_back()

    assert (done.compared, done.not_shown, done.differences) == (6, 0, ())
    spent = client.usage - before
    assert len(by_pages.network.reads) == 2, "the documents, and their lines"
    assert spent.transactions == 2, "no whole record was needed"
    assert compared(by_pages) == (0, ())


@pytest.mark.parametrize(
    ("change", "field", "found"),
    [
        ({"dueDate": "2026-12-24"}, "dueDate", "2026-12-24"),
        ({"customer": {"id": "another"}}, "customer.id", "another"),
        ({"lines": [{"key": 1, "txnAmount": "4.00"}]}, "lines[1].txnAmount", "4.00"),
        ({"lines": [{"key": 0, "glAccount": {"id": "40300"}}]}, "lines[0].glAccount.id", "40300"),
        ({"lines": [{"key": 1, "ia::operation": "delete"}]}, "lines", "1 lines"),
    ],
)
def test_what_a_page_does_not_show_as_sent_a_record_decides(
    by_pages: World, change: dict[str, Any], field: str, found: str
) -> None:
    key = dict(by_pages.books())["S3"]
    record = by_pages.intacct.entity("E110").get(INVOICE, [key])[key]
    for line in change.get("lines", ()):
        line["key"] = record["lines"][line["key"]]["key"]
    if "customer" in change:
        found = by_pages.other_customer
        change = {"customer": {"id": found}}
    by_hand(by_pages, "PATCH", "S3", **change)
    by_hand(by_pages, "DELETE", "S5")

    assert [(each.source_id, each.field, each.found) for each in compared(by_pages)[1]] == [
        ("S3", field, found),
        ("S5", "", "no record"),
    ]
    assert {each.source_id for each in by_pages.entries() if each.read_back_at is None} == {
        "S3",
        "S5",
    }


def test_what_was_posted_is_read_back_while_more_is_being_posted(by_pages: World) -> None:
    chunks = by_pages.ledger.not_read_back(INVOICE, "E110")
    (first, _), (second, _) = chunks
    posted = by_pages.ledger.posted([first])
    by_hand(by_pages, "DELETE", posted[0].source_id)

    with PostedReader(
        by_pages.intacct.entity("E110"), by_pages.ledger, INVOICE
    ).alongside() as proof:
        proof.posted("of the future", 4_000, "9" * 20)
        proof.posted("and later", 4_000, "99" * 20)
        proof.posted(first, 3, posted[0].intacct_key)
        proof.posted("and later still", 4_000, "999" * 20)

    read = {each.source_id for each in by_pages.entries() if each.read_back_at}
    assert read == {each.source_id for each in posted[1:]}, "one is gone; the others were not asked"
    assert by_pages.ledger.not_read_back(INVOICE, "E110") == [(first, 1), (second, 3)]


def difference(sent: object, held: object) -> list[tuple[str, str, str]]:
    """(field, sent, found) of what differs between a payload and a record."""
    document = Posted("S1", "7", json.dumps(sent).encode(), "chunk")
    record = {"key": "7", **held}  # type: ignore[dict-item]
    found = (each for each in compare_fields(document, record, "E110") if each is not None)
    return [(each.field, each.sent, each.found) for each in found]


@pytest.mark.parametrize(
    ("sent", "held", "told"),
    [
        ({"state": "submitted"}, {"state": "confirmed"}, []),
        ({"inner": {"state": "a"}}, {"inner": {"state": "b"}}, [("inner.state", "a", "b")]),
        ({"paymentDate": "2026-10-13"}, {}, []),
        ({"onHold": True}, {"onHold": "true"}, []),
        ({"onHold": False}, {"onHold": True}, [("onHold", "False", "True")]),
        ({"quantity": 7.5}, {"quantity": "7.50"}, []),
        ({"quantity": 1}, {"quantity": True}, [("quantity", "1", "True")]),
        ({"tags": ["a", "b"]}, {"tags": ["b", "a"]}, []),
        ({"tags": ["a", "a"]}, {"tags": ["a", "b"]}, [("tags[1]", "a", "b")]),
        (
            {"lines": [{"amount": "1.00"}, {"amount": "2.00"}]},
            {"lines": [{"amount": "2", "lineNumber": 1}, {"amount": "1", "lineNumber": 2}]},
            [],
        ),
        (
            {"lines": [{"amount": "1.00"}, {"amount": "2.00"}]},
            {"lines": [{"amount": "1"}, {"amount": "3"}]},
            [("lines[1].amount", "2.00", "3")],
        ),
        ({"lines": [{}]}, {"lines": []}, [("lines", "1 lines", "0 lines")]),
        ({"vendor": {"id": "V"}}, {"vendor": None}, [("vendor.id", "V", "None")]),
    ],
)
def test_what_counts_as_a_difference(
    sent: object, held: object, told: list[tuple[str, str, str]]
) -> None:
    assert difference(sent, held) == told
