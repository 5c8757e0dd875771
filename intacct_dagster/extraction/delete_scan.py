"""Delete scan: read the keys that Intacct has, and find which of ours are gone or back.

No query shows a delete. A key that the scan did not see is asked for by name before it counts as
deleted: its record may only have changed while the scan went on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from intacct_dagster.client import ChangeWindow, IntacctClient, PaginationProof, Usage
from intacct_dagster.extraction.schema import ObjectSchema
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import KeyComparison, compare_keys

_KEYS_IN_A_QUESTION = 500


@dataclass(frozen=True)
class DeleteScanResult:
    """What a delete scan did: of our `known` keys `deleted` are gone, and `revived` are back.

    `seen` are the keys that Intacct has of changes since `since` (None: all). `usage` is all that
    the scan cost.
    """

    object: str
    entity: str
    since: datetime | None
    seen: int
    known: int
    deleted: int
    revived: int
    usage: Usage


def scan_keys(
    client: IntacctClient,
    warehouse: Warehouse,
    object: str,
    schema: ObjectSchema,
    window: ChangeWindow | None,
    *,
    into: Path,
    page_size: int,
) -> tuple[PaginationProof, KeyComparison]:
    """Read the keys that changed in `window` (None: all), and compare them with ours.

    Pages go into the folder `into`. Raises what pagination raises, and NotMaterialized where
    nothing of the object was loaded yet.
    """
    read = client.paginate(object, schema.fence, window, into=into, page_size=page_size)
    since = window.since if window is not None else None
    found = compare_keys(warehouse, object, client.entity_id or "", read.files, since)
    return read.proof, found


def confirm_missing(client: IntacctClient, object: str, missing: Sequence[str]) -> list[str]:
    """Return those of the `missing` keys that Intacct does not have when asked for by name."""
    gone: list[str] = []
    for first in range(0, len(missing), _KEYS_IN_A_QUESTION):
        part = missing[first : first + _KEYS_IN_A_QUESTION]
        there = client.existing(object, part)
        gone += [key for key in part if key not in there]
    return gone
