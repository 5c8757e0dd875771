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

from intacct_dagster.client import (
    CHANGED,
    KEYS_IN_A_GET,
    AnswerNotUnderstood,
    IntacctClient,
)
from intacct_dagster.extraction.keys import keys_on_page
from intacct_dagster.extraction.schema import ObjectSchema
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import CompleteRows, join_records

_PARTS_AT_ONCE = 8


def complete_rows(
    client: IntacctClient,
    warehouse: Warehouse,
    object: str,
    schema: ObjectSchema,
    pages: Sequence[Path],
    *,
    into: Path,
) -> CompleteRows:
    """Return the rows in `pages` together with `schema.got` from their records.

    Records go into the folder `into`. Goes on where it was interrupted. Raises AnswerNotUnderstood
    where a key is not answered.
    """
    into.mkdir(parents=True, exist_ok=True)
    keys = list(dict.fromkeys(key for page in pages for key in keys_on_page(page)))
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
        paths=[*schema.query_paths, *_paths_of_document(schema)],
        records=files,
        got=schema.record_paths,
        changed=CHANGED if schema.dated else None,
        into=into,
    )


def _paths_of_document(schema: ObjectSchema) -> list[str]:
    """Return where a line has the key of its document, and its change time if a query gives it."""
    parent = schema.parent
    if parent is None:
        return []
    return [parent.key, *([parent.changed] if parent.reached else [])]


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
