"""Intacct's rejections in an accountant's words. What is not known here passes through verbatim."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from intacct_dagster.client.batch import RejectedItem


@dataclass(frozen=True)
class Reason:
    """Why an item was rejected, and what a person can do so that it is not rejected again.

    A known `reason` is the same for all items alike, so that they can be counted by it;
    `what_to_do` names the account, the customer, the field.
    """

    reason: str
    what_to_do: str


@dataclass(frozen=True)
class _KnownReason:
    """A rejection as Intacct words it; "{0}" stands for what the pattern's first group caught."""

    pattern: re.Pattern[str]
    reason: str
    what_to_do: str


def _known(pattern: str, reason: str, what_to_do: str) -> _KnownReason:
    return _KnownReason(re.compile(pattern, re.IGNORECASE), reason, what_to_do)


# The texts are from production integrations and live answers. They come as the message or
# in its details, beside wrappers that tell nothing ("Payload contains errors"). First match wins.
_CATALOGUE = (
    _known(
        r"The ([a-z][a-z ]*) '(.*)' is invalid",
        "{0} does not exist in this entity, or is not active",
        "Create or reactivate {0} {1} in Intacct, or correct it in the source.",
    ),
    _known(
        r"Invalid (\w[\w ]*?) '?(.+?)'? (?:specified|is specified)",
        "{0} does not exist in this entity, or is not active",
        "Create or reactivate {0} {1} in Intacct, or correct it in the source.",
    ),
    _known(
        r"missing the (.+?) dimension for the Account (\S+)",
        "a line has no {0}, and its account needs one",
        "Account {1} needs a {0}: add it to the line, or post to an account that needs none.",
    ),
    _known(
        r"Another [\w ]+ with the (?:given )?value(?:\(s\))?(?: .*)? already exists",
        "a record with this number already exists in Intacct",
        "Look it up by its number: if it is the same, leave this one out; if not, renumber it.",
    ),
    _known(
        r"period is closed|books are closed",
        "the accounting period of its date is closed in this entity",
        "Ask the controller to open the period, or to agree on another date: dates are never "
        "changed on the way.",
    ),
    _known(
        r"do not balance",
        "debits and credits are not equal",
        "Correct the lines in the source: they must balance in each entity and currency.",
    ),
    _known(
        r"Direct posting to the Account (\S+) is not allowed",
        "the account does not allow direct posting",
        "Post to another account than {0}, or allow direct posting to it in Intacct.",
    ),
    _known(
        r"(\S+) is a read-only field",
        "the payload sets a field that Intacct fills itself",
        "Take {0} out of the feed's payload in the configuration.",
    ),
    _known(
        r"(\S+) is not a valid field",
        "the payload has a field that Intacct does not know",
        "Correct {0} in the feed's payload in the configuration.",
    ),
    _known(
        r"State must be draft or not included|Not a valid state",
        "the payload sets a state that a new record cannot have",
        "Take `state` out of the feed's payload in the configuration.",
    ),
    _known(
        r"required field '?(/?[\w./:]+)'? is (?:missing|empty)",
        "a required field is missing",
        "Fill {0} in the source, or map it in the feed's payload.",
    ),
    _known(
        r"The (.+?) field is missing a value",
        "a required field is missing",
        "Fill {0} in the source, or map it in the feed's payload; for a due date, the terms of the "
        "vendor or customer in Intacct may give it.",
    ),
    _known(
        r"Enter a (.+?) number,? and try again",
        "a document number is missing",
        "Map the {0} number in the feed's payload, or have Intacct number these documents.",
    ),
    _known(
        r"(\w[\w ]*?) Contact info cannot be empty",
        "the contact information is missing",
        "Give {0} a contact in Intacct.",
    ),
    _known(
        r"'?(\S+?)'? is already paid and can(?:'|no)t be (\w+)",
        "it is paid already, and cannot be changed",
        "Void the payment of {0} in Intacct first, if the change is right.",
    ),
    _known(
        r"(?:not authorized|do(?:es)? not have permission|insufficient privileges)",
        "the Sage user of this entity may not do that",
        "Give the user the permission in Intacct: Company > Admin > Users, its roles.",
    ),
    _known(
        r"Remove the extra line item",
        "a line has no amount that counts",
        "Give each line its transaction amount (txnAmount) in the feed's payload.",
    ),
    _known(
        r"exchange rate",
        "there is no exchange rate for this currency and day",
        "Enter the rate in Intacct (Company > Exchange rates), or send one with the document.",
    ),
    _known(
        r"AR account override",
        "this account may not replace the receivables account",
        "Use another account in the source, or allow the override in Accounts Receivable's setup.",
    ),
    _known(
        r"skipped due to atomic transaction failure",
        "another record of the same request was rejected, and the request was all or nothing",
        "Correct that one; this one is in order.",
    ),
    _known(
        r"enter a valid transaction",
        "the transaction that it refers to does not exist",
        "Correct the reference in the source.",
    ),
)

# Several times what Intacct says. Patterns take a time that grows with the square of a length.
_LONGEST: Final = 500
_MOST_DETAILS: Final = 20

# Wrappers: they say that something failed, and the details say what.
_WRAPPER = re.compile(
    r"^(Payload contains errors|(POST|PATCH) request on .* was unsuccessful"
    r"|Could not create \w+ record|Currently, we can't create the transaction ?\.?.*)[.!]?$",
    re.IGNORECASE,
)
_HOLE = re.compile(r"\{(\d)\}")
_SUPPORT_ID = re.compile(r"\s*\[Support ID: [^\]]*\]", re.IGNORECASE)


def explain(rejected: RejectedItem) -> Reason:
    """Return the reason for a rejection and its remedy; never empty."""
    details = [detail.message for detail in rejected.details[:_MOST_DETAILS]]
    messages = [_shortened(message) for message in (*details, rejected.message)]
    for known in _CATALOGUE:
        for message in messages:
            if match := known.pattern.search(message):
                caught = match.groups()
                return Reason(_fill(known.reason, caught), _fill(known.what_to_do, caught))
    telling = [message for message in messages if not _WRAPPER.match(message)] or messages
    verbatim = "; ".join(dict.fromkeys(_SUPPORT_ID.sub("", message) for message in telling))
    support = f" Sage's support id is {rejected.support_id}." if rejected.support_id else ""
    return Reason(verbatim, f"Correct what Intacct names, in the source or in Intacct.{support}")


def _shortened(message: str) -> str:
    return message if len(message) <= _LONGEST else f"{message[:_LONGEST]}…"


def _fill(text: str, caught: Sequence[str]) -> str:
    # What was caught may hold braces of its own: only the template's are filled.
    return _HOLE.sub(lambda hole: caught[int(hole[1])].rstrip(".,"), text)
