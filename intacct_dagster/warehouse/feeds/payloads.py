"""A source document as the JSON object that Intacct is sent: exact, and always the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import cast

import msgspec

from intacct_dagster.warehouse.feeds.payload_template import (
    Constant,
    EachLine,
    Fields,
    FromColumn,
    Items,
    Node,
)
from intacct_dagster.warehouse.feeds.spec import FeedSpec

_json = msgspec.json.Encoder(decimal_format="string")

Line = Mapping[str, object]
"""The values of one line of a feed, by column."""


def payload(spec: FeedSpec, lines: Sequence[Line]) -> bytes:
    """Return the JSON object of a document: keys in the order of the mapping, amounts as "12.50".

    What is empty is left out, and so is a group with nothing in it.
    """
    return _json.encode(_object(spec, spec.template, lines))


def payload_hash(payload: bytes) -> str:
    """Return the fingerprint of a payload: SHA-256 in hexadecimal."""
    return hashlib.sha256(payload).hexdigest()


def payload_changes(before: bytes, after: bytes) -> dict[str, tuple[str | None, str | None]]:
    """What differs between two payloads: path -> (value before, value after), None for none."""
    old, new = (dict(_leaves(msgspec.json.decode(each), "")) for each in (before, after))
    paths = dict.fromkeys((*new, *old))
    return {
        path: (old.get(path), new.get(path)) for path in paths if old.get(path) != new.get(path)
    }


def _leaves(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{place}]")
    else:
        yield path, value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _object(spec: FeedSpec, template: Fields, lines: Sequence[Line]) -> dict[str, object]:
    document: dict[str, object] = {}
    for path, node in template.fields.items():
        _put(document, path, _built(spec, node, lines))
    return document


def _built(spec: FeedSpec, node: Node, lines: Sequence[Line]) -> object:
    """Return a part of the payload for these lines: those of the document, or one of them."""
    match node:
        case FromColumn(column):
            return _value(lines[0][column], as_number=spec.kind(column) == "number")
        case Constant(value):
            return value
        case Fields():
            return _object(spec, node, lines)
        case EachLine(item, where):
            chosen = (line for line in lines if where is None or line[where] is True)
            return [_object(spec, item, [line]) for line in chosen]
        case Items(items):
            made: list[object] = []
            for part in items:
                one = _built(spec, part, lines)
                made += cast("list[object]", one) if isinstance(part, EachLine) else [one]
            return [one for one in made if one is not None]


def _put(document: dict[str, object], path: str, value: object) -> None:
    if value is None or value in ("", []):
        return
    *groups, last = path.split(".")
    place = document
    for group in groups:
        # a template has no field inside another one: what is there is a group
        place = cast("dict[str, object]", place.setdefault(group, {}))
    place[last] = value


def _value(value: object, *, as_number: bool) -> object:
    if isinstance(value, Decimal):
        return msgspec.Raw(_number_text(value).encode()) if as_number else amount_text(value)
    if isinstance(value, list):
        return [one for one in value if one]
    return value.isoformat() if isinstance(value, date) else value


def amount_text(amount: Decimal) -> str:
    """An amount as Intacct writes it: at least two decimals, more only where they are not zero.

    Fact (query answers recorded live 2026-03): amounts are strings such as "68400.00".
    """
    whole, _, fraction = f"{amount:f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"


def _number_text(number: Decimal) -> str:
    """Return an exact JSON number: 7.5000 -> 7.5, 8.0 -> 8."""
    whole, _, fraction = f"{number:f}".partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole
