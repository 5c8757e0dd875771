"""Whether a record of Intacct agrees with the document that it was sent as, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from intacct_dagster.state.ledger import Posted


@dataclass(frozen=True)
class FieldDifference:
    """A field that Intacct holds otherwise than it was sent; an empty `field` is the record."""

    entity: str
    source_id: str
    intacct_key: str
    field: str
    sent: str
    found: str


def agrees(document: bytes, record: Mapping[str, Any] | None) -> bool:
    """Return whether a whole record is as this document was, or would be, sent."""
    sent = Posted("", "", document, "")
    return not any(each is not None for each in compare_fields(sent, record, ""))


def compare_fields(
    posted: Posted, record: Mapping[str, Any] | None, entity: str
) -> Iterator[FieldDifference | None]:
    """Yield the fields that differ; None for one that cannot be compared."""
    source_id, key = posted.source_id, posted.intacct_key
    if record is None:
        yield FieldDifference(entity, source_id, key, "", "a record", "no record")
        return
    for field, sent, held in _leaves(msgspec.json.decode(posted.payload), record, ""):
        if held is _NOT_SHOWN:
            yield None
        elif not same(sent, held):
            yield FieldDifference(entity, source_id, key, field, str(sent), str(held))


_NOT_SHOWN = object()


#: How far a document has come, not what it says: a draft is posted, a submitted payment confirmed.
PROGRESS_FIELDS = frozenset({"state", "action"})


def _leaves(sent: Any, held: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(sent, dict):
        for name, value in sent.items():
            if not path and name in PROGRESS_FIELDS:
                continue
            # a group that is null is empty; a field that is not there may be write-only
            absent = None if held is None else _NOT_SHOWN
            inner = held.get(name, absent) if isinstance(held, Mapping) else absent
            yield from _leaves(value, inner, f"{path}.{name}" if path else name)
    elif isinstance(sent, list):
        if not isinstance(held, list):
            yield path, f"{len(sent)} lines", held
        elif len(held) != len(sent):
            yield path, f"{len(sent)} lines", f"{len(held)} lines"
        else:
            for position, (one, other) in enumerate(zip(sent, _in_order(sent, held), strict=True)):
                yield from _leaves(one, other, f"{path}[{position}]")
    else:
        yield path, sent, held


def _in_order(sent: list[Any], held: list[Any]) -> list[Any]:
    """Return what Intacct holds, in the order in which it was sent where all of that is there.

    No order of lines is documented, so one that Intacct changed is no difference.
    """
    if all(map(_agree, sent, held)):
        return held
    left, found = list(held), []
    for one in sent:
        place = next((n for n, other in enumerate(left) if _agree(one, other)), None)
        if place is None:
            return held
        found.append(left.pop(place))
    return found


def _agree(sent: Any, held: Any) -> bool:
    return all(
        found is _NOT_SHOWN or same(one, found) for _, one, found in _leaves(sent, held, "-")
    )


def same(sent: Any, held: Any) -> bool:
    """Return whether two values are one, however each is written."""
    if isinstance(sent, bool) or isinstance(held, bool):
        # some flags are texts, "true" and "false" (fact: Sage's OpenAPI)
        return str(sent).lower() == str(held).lower()
    if sent == held or str(sent) == str(held):
        return True
    try:
        # "12.5" and "12.50" are one amount. Null is none.
        return Decimal(str(sent)) == Decimal(str(held))
    except InvalidOperation:
        return False
