"""Changes of documents that were posted: what of a record is to be otherwise, if it may be.

A document is changed in its record, never entered again. What is sent is made from the record as it
is now, with the keys of its lines. Dagster is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec

from intacct_dagster.client import (
    CHANGED,
    KEYS_IN_A_GET,
    BatchResponse,
    Created,
    IntacctClient,
    document_facts,
)
from intacct_dagster.posting.agreement import agrees
from intacct_dagster.state.ledger import Chunk

_STATE = "state"


@dataclass(frozen=True)
class Changed:
    """A posted document that its source has otherwise now: what was sent last, and what is now."""

    source_id: str
    key: str
    posted: bytes
    document: bytes


@dataclass(frozen=True)
class Change:
    """What is sent to change a record, for the record as it was at `as_of`."""

    source_id: str
    key: str
    body: bytes
    as_of: str


@dataclass(frozen=True)
class NotChanged:
    """Why a document is not changed, and what a person does about it."""

    source_id: str
    reason: str
    what_to_do: str


def changes_of(
    client: IntacctClient, object: str, documents: Sequence[Changed], *, in_flight: int = 1
) -> list[Change | NotChanged]:
    """The change of each document, in their order. Costs a request for 500. Raises IntacctError."""
    parts = [documents[n : n + KEYS_IN_A_GET] for n in range(0, len(documents), KEYS_IN_A_GET)]

    def read(part: Sequence[Changed]) -> Mapping[str, Mapping[str, Any]]:
        return client.get(object, [each.key for each in part])

    with ThreadPoolExecutor(in_flight) as threads:
        return [
            _change(object, each, found.get(each.key))
            for part, found in zip(parts, threads.map(read, parts), strict=True)
            for each in part
        ]


def changed_fields(body: bytes) -> str:
    """Return which fields of a record a change is of, without their values: `dueDate, lines`."""
    return ", ".join(name for name in msgspec.json.decode(body) if name != "key")


def _change(object: str, changed: Changed, record: Mapping[str, Any] | None) -> Change | NotChanged:
    def refuse(reason: str, what_to_do: str) -> NotChanged:
        return NotChanged(changed.source_id, reason, what_to_do)

    states = document_facts(object).change
    if states is None:
        return refuse(
            f"{object} is not changed once it is posted",
            "Reverse it in Intacct and enter another, or correct the source.",
        )
    if record is None:
        return refuse(
            f"its record {changed.key} is gone", "Find out in Intacct who deleted it, and why."
        )
    if states and record.get(_STATE) not in states:
        return refuse(
            f"it is {record.get(_STATE)} in Intacct, and is changed only as {' or '.join(states)}",
            "Correct it by hand in Intacct, with what stands against it; or correct the source.",
        )
    if agrees(changed.document, record):
        return refuse(
            "Intacct has it as the source does now", "Nothing: somebody changed it in Intacct."
        )
    if not agrees(changed.posted, record):
        return refuse(
            "it was changed in Intacct too, since it was posted",
            "Compare the two, and correct one side by hand.",
        )
    as_of: Any = record
    for name in CHANGED.split("."):
        as_of = as_of.get(name) if isinstance(as_of, Mapping) else None
    if not isinstance(as_of, str):
        return refuse("Intacct does not say when it was changed last", "Change it by hand.")
    before, after = msgspec.json.decode(changed.posted), msgspec.json.decode(changed.document)
    body = _fields(before, after, record)
    if any(name in body for name in (_STATE, "action")):
        return refuse("its state is not changed like a field", "Move it to that state in Intacct.")
    return Change(
        changed.source_id, changed.key, msgspec.json.encode({"key": changed.key, **body}), as_of
    )


def _fields(
    before: Mapping[str, Any], after: Mapping[str, Any], held: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the fields that are otherwise; null for one that is no longer there."""
    body: dict[str, Any] = {}
    for name in dict.fromkeys((*after, *before)):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if _is_lines(old) or _is_lines(new):
            body[name] = _lines(old or [], new or [], held.get(name) or [])
        elif isinstance(old, dict) and new is None:
            body[name] = _emptied(old)
        elif isinstance(old, dict) and isinstance(new, dict) and not {"id", "key"} & new.keys():
            inner = held.get(name)
            body[name] = _fields(old, new, inner if isinstance(inner, Mapping) else {})
        else:
            body[name] = new
    return body


def _emptied(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return a reference that names nothing, or a group of fields that are empty."""
    return {
        name: _emptied(value) if isinstance(value, dict) else None for name, value in group.items()
    }


def _is_lines(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _lines(
    before: Sequence[dict[str, Any]],
    after: Sequence[dict[str, Any]],
    held: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The lines of a change (fact, Sage's guide to owned objects: without a key a line is added,
    with one it is changed, with the operation `delete` it goes; those that are not named stay).

    Lines are matched by what they are: those that are in both stay, others are changed in turn.
    """
    left = list(held)
    stays: list[dict[str, Any]] = []
    gone: list[tuple[dict[str, Any], Mapping[str, Any]]] = []
    waiting = list(after)
    for line in before:
        place = next((n for n, one in enumerate(left) if _same_line(line, one)), None)
        record = left.pop(place) if place is not None else None
        if line in waiting:
            waiting.remove(line)
            stays.append(line)
        elif record is not None:
            gone.append((line, record))
    body: list[dict[str, Any]] = []
    for old, record in gone:
        key = {"key": str(record["key"])}
        if waiting:
            body.append({**key, **_fields(old, waiting.pop(0), record)})
        else:
            body.append({**key, "ia::operation": "delete"})
    return body + waiting


def _same_line(sent: dict[str, Any], held: Mapping[str, Any]) -> bool:
    return agrees(msgspec.json.encode(sent), held)


def key_of_change(change: bytes) -> object:
    """Return the key of the record that a change is of."""
    return msgspec.json.decode(change, type=dict[str, Any]).get("key")


def stray_key(chunk: Chunk, answer: BatchResponse) -> str | None:
    """Return a key in the answer to changes that is not the one that was sent at its place."""
    sent = [each.get("key") for each in msgspec.json.decode(chunk.body, type=list[dict[str, Any]])]
    for each in answer.outcomes:
        if isinstance(each, Created) and each.key != sent[each.position]:
            return each.key
    return None
