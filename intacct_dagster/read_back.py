"""What Intacct holds of a document, compared with what it was sent: the proof after posting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from intacct_dagster.intacct import KEYS_IN_A_GET, IntacctClient
from intacct_dagster.warehouse import Ledger, Posted


@dataclass(frozen=True)
class Difference:
    """A field that Intacct holds otherwise than it was sent; an empty `field` is the record."""

    source_id: str
    intacct_key: str
    field: str
    sent: str
    found: str


@dataclass(frozen=True)
class ReadBack:
    """`compared` documents were read; `not_shown` of their fields Intacct does not give back."""

    compared: int
    not_shown: int
    differences: tuple[Difference, ...]


def read_back(
    client: IntacctClient, ledger: Ledger, object: str, *, in_flight: int = 1
) -> ReadBack:
    """Reads every document that was posted and not yet compared, and compares each field sent.

    Documents that agree are noted in the ledger and not read again; a difference comes again until
    it is mended. Costs a request for 500 documents, `in_flight` of them at once. Raises
    IntacctError; what was read until then is noted.
    """
    if client.entity_id is None:
        raise ValueError("documents are posted to an entity, not to the top level")
    entity = client.entity_id
    posted = ledger.not_read_back(object, entity)
    parts = [posted[n : n + KEYS_IN_A_GET] for n in range(0, len(posted), KEYS_IN_A_GET)]

    def read(part: Sequence[Posted]) -> Mapping[str, Mapping[str, Any]]:
        return client.get(object, [each.intacct_key for each in part])

    differences: list[Difference] = []
    not_shown = 0
    with ThreadPoolExecutor(in_flight) as threads:
        for part, found in zip(parts, threads.map(read, parts), strict=True):
            agreeing: list[str] = []
            for document in part:
                fields = list(_compare(document, found.get(document.intacct_key)))
                wrong = [each for each in fields if each is not None]
                not_shown += len(fields) - len(wrong)
                differences += wrong
                if not wrong:
                    agreeing.append(document.source_id)
            ledger.read_back(object, entity, agreeing)
    return ReadBack(len(posted), not_shown, tuple(differences))


def _compare(document: Posted, record: Mapping[str, Any] | None) -> Iterator[Difference | None]:
    """The fields that differ; None for one that cannot be compared."""
    if record is None:
        yield Difference(document.source_id, document.intacct_key, "", "a record", "no record")
        return
    for field, sent, held in _leaves(msgspec.json.decode(document.payload), record, ""):
        if held is _NOT_SHOWN:
            yield None
        elif not _same(sent, held):
            yield Difference(document.source_id, document.intacct_key, field, str(sent), str(held))


_NOT_SHOWN = object()


#: How far a document has come, not what it says: a draft is posted, a submitted payment confirmed.
_PROGRESS = frozenset({"state", "action"})


def _leaves(sent: Any, held: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(sent, dict):
        for name, value in sent.items():
            if not path and name in _PROGRESS:
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
    """What Intacct holds, in the order in which it was sent where all of that is there.

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
        found is _NOT_SHOWN or _same(one, found) for _, one, found in _leaves(sent, held, "-")
    )


def _same(sent: Any, held: Any) -> bool:
    if isinstance(sent, bool) or isinstance(held, bool):
        # some flags are texts, "true" and "false" (fact: Sage's OpenAPI)
        return str(sent).lower() == str(held).lower()
    if str(sent) == str(held):
        return True
    try:
        # "12.5" and "12.50" are one amount. Null is none.
        return Decimal(str(sent)) == Decimal(str(held))
    except InvalidOperation:
        return False
