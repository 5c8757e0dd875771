"""Refusals in an accountant's words."""

from __future__ import annotations

import time

import pytest

from intacct_dagster.client import explain
from intacct_dagster.client.batch import RejectedItem
from intacct_dagster.client.errors import ErrorDetail

WRAPPER = "POST request on objects/accounts-receivable/invoice object was unsuccessful"


def refused(*details: str, message: str = WRAPPER, support_id: str | None = None) -> RejectedItem:
    return RejectedItem(
        position=0,
        error_id="REST-7001",
        code="operationFailed",
        message=message,
        field=None,
        support_id=support_id,
        details=tuple(ErrorDetail(None, detail, None, None) for detail in details),
    )


@pytest.mark.parametrize(
    ("said", "reason", "what_to_do"),
    [
        (
            "The customer 'C-404' is invalid.",
            "customer does not exist in this entity, or is not active",
            "Create or reactivate customer C-404",
        ),
        ("The vendor 'O'Hara' is invalid.", "vendor does not exist", "reactivate vendor O'Hara "),
        (
            "This transaction is missing the Department dimension for the Account 40100",
            "a line has no Department, and its account needs one",
            "Account 40100 needs a Department",
        ),
        (
            "This transaction is missing the Cost type dimension for the Account 4. [Support ID:]",
            "a line has no Cost type",
            "Account 4 needs a Cost type",
        ),
        (
            "Another record with the value already exists",
            "a record with this number already exists",
            "Look it up by its number",
        ),
        (
            "Another record with the value already exists: INV-1",
            "a record with this number already exists",
            "Look it up by its number",
        ),
        (
            "The date 2026-09-12 cannot be posted to because its period is closed: the books of",
            "the accounting period of its date is closed",
            "Ask the controller",
        ),
        (
            "Invalid Project '10064' specified. [Support ID: x]",
            "Project does not exist in this entity, or is not active",
            "Create or reactivate Project 10064 in Intacct",
        ),
        (
            "Another Class with the given value(s) UT01  already exists",
            "a record with this number already exists",
            "Look it up by its number",
        ),
        ("The Date Due field is missing a value.", "a required field is missing", "Fill Date Due"),
        ("Enter a Bill number, and try again.", "a document number is missing", "Map the Bill"),
        (
            "Employee Contact info cannot be empty",
            "the contact information is missing",
            "Give Employee a contact",
        ),
        (
            "Transaction 'B-7' is already paid and can't be deleted.",
            "it is paid already, and cannot be changed",
            "Void the payment of B-7",
        ),
        (
            "User is not authorized to perform this operation",
            "the Sage user of this entity may not do that",
            "Company > Admin > Users",
        ),
        (
            "Remove the extra line item in the request, then reclassify the bill.",
            "a line has no amount that counts",
            "txnAmount",
        ),
        ("Transactions do not balance for Place ,", "debits and credits are not equal", "balance"),
        (
            "Direct posting to the Account 12000 is not allowed",
            "the account does not allow direct posting",
            "another account than 12000",
        ),
        ("/lines/2/isSubtotal is a read-only field", "Intacct fills", "Take /lines/2/isSubtotal"),
        ("/newDate is not a valid field", "Intacct does not know", "Correct /newDate"),
        (
            "State must be draft or not included in the request.",
            "a state that a new record cannot have",
            "Take `state` out",
        ),
        ("The required field /dueDate is missing", "a required field is missing", "Fill /dueDate"),
    ],
)
def test_a_known_refusal_is_explained(said: str, reason: str, what_to_do: str) -> None:
    for explained in (explain(refused(said)), explain(refused(message=said))):
        assert reason in explained.reason
        assert what_to_do in explained.what_to_do


def test_the_telling_detail_is_found_behind_those_that_tell_nothing() -> None:
    # The shape of a live answer to a journal entry that does not balance.
    explained = explain(
        refused("Could not create GLBatch record.", "Transactions do not balance for Place ,")
    )
    assert explained.reason == "debits and credits are not equal"


def test_an_unknown_refusal_passes_verbatim_without_wrapper_and_support_id() -> None:
    explained = explain(
        refused("The moon is in the wrong house [Support ID: Kxi78]", support_id="Kxi78")
    )
    assert explained.reason == "The moon is in the wrong house"
    assert "Sage's support id is Kxi78" in explained.what_to_do


def test_a_wrapper_alone_is_still_a_reason() -> None:
    assert explain(refused()).reason == WRAPPER


def test_braces_and_quotes_in_a_name_are_shown_as_they_are() -> None:
    explained = explain(refused("The customer '{1} \"x\"' is invalid."))
    assert 'customer {1} "x" in Intacct' in explained.what_to_do


def test_items_refused_alike_can_be_counted_by_their_reason() -> None:
    one = explain(refused("The customer 'C-1' is invalid."))
    two = explain(refused("The customer 'C-2' is invalid."))
    assert one.reason == two.reason
    assert one.what_to_do != two.what_to_do


@pytest.mark.parametrize("word", ["a", "9", "a ", "Date ", "'"])
def test_a_message_without_end_is_explained_at_once_and_cut(word: str) -> None:
    message = word * 200_000
    details = (ErrorDetail(None, message, None, None),) * 500
    began = time.monotonic()
    reason = explain(RejectedItem(0, None, None, message, None, None, details))
    assert time.monotonic() - began < 3
    assert len(reason.reason) < 20_000
