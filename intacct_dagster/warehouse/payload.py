"""A source document as the JSON object that Intacct is sent: exact, and always the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import cast

import msgspec

from intacct_dagster.warehouse.feed_spec import FeedSpec

_json = msgspec.json.Encoder(decimal_format="string")

Line = Mapping[str, object]
"""The values of one line of a feed, by column."""


def payload(spec: FeedSpec, lines: Sequence[Line]) -> bytes:
    """The JSON object of a document: keys in the order of the mapping, amounts as "12.50".

    What is empty is left out, and so is a group with nothing in it.
    """
    document: dict[str, object] = {}
    for path, source in spec.payload.items():
        if isinstance(source, str):
            _put(document, path, _value(lines[0][source]))
        else:
            _put(document, path, [_line(source, line) for line in lines])
    return _json.encode(document)


def payload_hash(payload: bytes) -> str:
    """The fingerprint of a payload: SHA-256 in hexadecimal."""
    return hashlib.sha256(payload).hexdigest()


def _line(fields: Mapping[str, str], line: Line) -> dict[str, object]:
    document: dict[str, object] = {}
    for path, column in fields.items():
        _put(document, path, _value(line[column]))
    return document


def _put(document: dict[str, object], path: str, value: object) -> None:
    if value is None or value == "":
        return
    *groups, last = path.split(".")
    place = document
    for group in groups:
        # a FeedSpec has no field inside another one: what is there is a group
        place = cast("dict[str, object]", place.setdefault(group, {}))
    place[last] = value


def _value(value: object) -> object:
    if isinstance(value, Decimal):
        return amount_text(value)
    return value.isoformat() if isinstance(value, date) else value


def amount_text(amount: Decimal) -> str:
    """An amount as Intacct writes it: at least two decimals, more only where they are not zero.

    Fact (query answers recorded live 2026-03): amounts are strings such as "68400.00".
    """
    whole, _, fraction = f"{amount:f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"
