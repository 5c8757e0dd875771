"""Delete scan: read the keys that Intacct has, and hold them against what the warehouse has.

No query shows a delete. So all keys are read, and compared in both directions. A key that we have
and the scan did not see is asked for by name, in this entity and then in every other that has read
the record or may have it by now: it is deleted only if none of them shows it. One that shows it is
read, and only then is it out of sight of this one. An entity that cannot be asked blocks both. What
Intacct has and we have not, or not as it is, is read by its key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from intacct_dagster.client import (
    CHANGED,
    ChangeWindow,
    HistoryWentBack,
    IntacctClient,
    PaginationResult,
    Usage,
)
from intacct_dagster.extraction.columns import KEY
from intacct_dagster.extraction.schema import ObjectSchema
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import KeyComparison, ScannedPages, compare_keys

_KEYS_IN_A_QUESTION = 500
#: A company was refreshed from a copy if more records than this went back, and this part of them.
_FEW_WENT_BACK = 5
_PART_WENT_BACK = 0.02


@dataclass(frozen=True)
class DeleteScanResult:
    """What a delete scan did: of our `known` records `deleted` are gone.

    `out_of_sight` of them are only so for this entity: others see them.
    `fetched` records were read by key: we had them not, or not as they are. `seen` are the keys
    that Intacct has of changes since `since` (None: all). `usage` is all that the scan cost.
    """

    object: str
    entity: str
    since: datetime | None
    seen: int
    known: int
    deleted: int
    fetched: int
    usage: Usage
    out_of_sight: int = 0


def scan_keys(
    client: IntacctClient,
    warehouse: Warehouse,
    object: str,
    schema: ObjectSchema,
    window: ChangeWindow | None,
    *,
    into: Path,
    page_size: int,
    wanted_since: datetime | None = None,
) -> tuple[PaginationResult, KeyComparison]:
    """Read the keys that changed in `window` (None: all), and compare them with ours.

    Pages go into the folder `into`. Records that changed last before `wanted_since` are not missed.
    Raises what pagination raises, NotMaterialized where nothing
    of the object was loaded yet, and HistoryWentBack where many records are as they were before.
    """
    parent = schema.parent
    changed = CHANGED if schema.dated else None
    if parent is not None and parent.reached:
        changed = parent.changed
    unit = parent.key if parent is not None else KEY
    fields = (*schema.fence, unit, *([changed] if changed is not None else ()))
    read = client.paginate(object, fields, window, into=into, page_size=page_size)
    since = window.since if window is not None else None
    entity = client.entity_id or ""
    pages = ScannedPages(object, entity, read.files, since, changed, unit, wanted_since)
    found = compare_keys(warehouse, pages)
    went_back = len(found.went_back)
    if went_back > max(_FEW_WENT_BACK, _PART_WENT_BACK * found.compared):
        raise HistoryWentBack(
            f"{object} of entity {entity}: {went_back:,} of {found.compared:,} records have an "
            f"earlier change time than was read before, the one with key {found.went_back[0]} "
            "among them. That is so when a company is refreshed from a copy. Nothing was stored.",
            remedy=f"If that is meant: intacct-dagster objects reload {object}",
            entity=entity,
            object=object,
        )
    return read, found


def confirm_missing(client: IntacctClient, object: str, missing: Sequence[str]) -> list[str]:
    """Return those of the `missing` keys that Intacct does not have when asked for by name."""
    there = existing(client, object, missing)
    return [key for key in missing if key not in there]


def existing(client: IntacctClient, object: str, keys: Sequence[str]) -> set[str]:
    """Return those of the `keys` that a session still sees, asked for by name."""
    found: set[str] = set()
    for first in range(0, len(keys), _KEYS_IN_A_QUESTION):
        found |= client.existing(object, keys[first : first + _KEYS_IN_A_QUESTION])
    return found
