"""Fields that no query gives: read with whole records, by key, and brought together with the rows.

A record is read after the row that named it. If it has changed in between it has left the window,
and a later day has it; if it is gone, a query of its key shows that. Whatever else is not answered
is an error.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from intacct_dagster.client import (
    CHANGED,
    KEYS_IN_A_GET,
    AnswerNotUnderstood,
    IntacctClient,
)
from intacct_dagster.extraction.schema import Shape
from intacct_dagster.pages import page_bytes
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import CompleteRows, join_records

_PARTS_AT_ONCE = 8


class _Keyed(msgspec.Struct):
    key: str


_KEYS = msgspec.json.Decoder(list[_Keyed])


def complete_rows(
    client: IntacctClient,
    warehouse: Warehouse,
    object: str,
    shape: Shape,
    pages: Sequence[Path],
    paths: Sequence[str],
    *,
    into: Path,
) -> CompleteRows:
    """The rows in `pages` (with the values at `paths`), with `shape.got` from their records.

    Goes on where it was interrupted. Raises AnswerNotUnderstood where a key is not answered.
    """
    into.mkdir(parents=True, exist_ok=True)
    keys = list(dict.fromkeys(row.key for page in pages for row in _KEYS.decode(page_bytes(page))))
    parts = [keys[first : first + KEYS_IN_A_GET] for first in range(0, len(keys), KEYS_IN_A_GET)]

    def read(number: int) -> Path:
        # By its keys: what an interrupted run left is of use only for the very same.
        name = hashlib.sha256("\0".join(parts[number]).encode()).hexdigest()[:24]
        return _read(client, object, parts[number], into / f"{name}.json")

    with ThreadPoolExecutor(max_workers=_PARTS_AT_ONCE) as pool:
        files = list(pool.map(read, range(len(parts))))
    return join_records(
        warehouse,
        pages=pages,
        paths=paths,
        records=files,
        got=[column.path for column in shape.got],
        changed=CHANGED if shape.dated else None,
        into=into,
    )


def _read(client: IntacctClient, object: str, keys: Sequence[str], file: Path) -> Path:
    if file.exists():
        return file
    found = client.records(object, keys)
    missing = [key for key in keys if key not in found]
    unanswered = sorted(client.existing(object, missing)) if missing else []
    if unanswered:
        raise AnswerNotUnderstood(
            f"{object} of entity {client.entity_id} was asked for {len(keys)} records and left out "
            f"key {unanswered[0]}{' and others' if len(unanswered) > 1 else ''}, which is there.",
            remedy="Run it again; nothing of it was kept.",
            entity=client.entity_id,
            object=object,
        )
    new = file.with_suffix(".new")
    new.write_bytes(b"[" + b",".join(found.values()) + b"]")
    os.replace(new, file)
    return file
