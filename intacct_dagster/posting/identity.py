"""Which document a payload is of: its number, and its party where numbers are each party's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec


class Identity(NamedTuple):
    """What identifies a document of an entity in Intacct; `party` is None where it is no part."""

    number: str
    party: str | None


def identity_of(
    payload: bytes, match_on: str, party: str | None, *, otherwise: str = ""
) -> Identity:
    """Return the identity of the document that is sent as this payload.

    Args:
        payload: The JSON object.
        match_on: The field with its number.
        party: The field with its party; None where a number is enough.
        otherwise: The number of a document whose payload has none.
    """
    document = msgspec.json.decode(payload)
    number, whose = at_path(document, match_on), party and at_path(document, party)
    return Identity(otherwise if number is None else str(number), None if not whose else str(whose))


def at_path(record: Any, path: str) -> Any:
    """Return the value at a dotted path of a record; None if there is none."""
    if isinstance(record, Mapping) and path in record:
        return record[path]
    for name in path.split("."):
        record = record.get(name) if isinstance(record, Mapping) else None
    return record
