"""Lines of documents, read by the change times of the documents that they belong to.

Two ways, because nobody says whether a query reaches through a reference: where it does, one walk
of the lines, by the change time of their document; where it does not, a walk of the documents and
then their lines, by the documents' keys, 500 at a time. Either way the documents are walked once
more when the lines are there: only lines of documents that held still meanwhile are loaded, so that
what is stored of a document is all of one version.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from intacct_dagster.client import (
    CHANGED,
    ChangeWindow,
    IntacctClient,
    OnProgress,
    PaginationResult,
)
from intacct_dagster.extraction.schema import Parent
from intacct_dagster.pages import page_bytes
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import LinesOfDocuments, join_lines

#: Keys of documents in one query for their lines. Sage documents no limit; of a GET it is 500.
KEYS_IN_A_QUERY = 500
# What is in flight at once is bounded elsewhere: this only keeps enough of it under way.
_BLOCKS_AT_ONCE = 8


@dataclass(frozen=True)
class LinesRead:
    """Lines that were read and proven: what can be loaded, and what it took."""

    joined: LinesOfDocuments
    requests: int
    attempts: int


class _Keyed(msgspec.Struct):
    key: str


_KEYS = msgspec.json.Decoder(list[_Keyed])


def read_lines(
    client: IntacctClient,
    warehouse: Warehouse,
    object: str,
    paths: Sequence[str],
    parent: Parent,
    window: ChangeWindow,
    *,
    into: Path,
    page_size: int,
    complete: Callable[[Sequence[Path]], Sequence[Path]],
    completed: Sequence[str],
    on_progress: OnProgress | None = None,
) -> LinesRead:
    """The lines `object` of the documents that changed in `window`, with the fields `paths`.

    `complete` is given their pages, and gives pages that have the fields `completed` as well.
    `on_progress` is called where that is one pagination. Goes on where it was interrupted, if it
    finds its own pages `into`. Raises what walks raise.
    """
    before: PaginationResult | None = None
    if parent.reached:
        walks = [
            client.paginate(
                object,
                [*paths, parent.key],
                window,
                into=into / "lines",
                page_size=page_size,
                changed=parent.changed,
                on_progress=on_progress,
            )
        ]
    else:
        before = client.paginate(
            parent.object, (), window, into=into / "documents", page_size=page_size
        )
        walks = _by_keys(client, object, paths, parent, before, into=into, page_size=page_size)
    pages = complete([file for each in walks for file in each.files])
    after = client.paginate(
        parent.object, (), window, into=into / "documents-again", page_size=page_size
    )
    joined = join_lines(
        warehouse,
        pages=pages,
        paths=[*paths, *completed],
        before=before.files if before is not None else None,
        after=after.files,
        parent_key=parent.key,
        changed=CHANGED,
        dated_by=parent.changed,
        into=into / "joined",
    )
    all_walks = [*walks, after, *([before] if before is not None else [])]
    return LinesRead(
        joined,
        requests=sum(each.proof.requests for each in all_walks),
        attempts=max(each.proof.attempts for each in all_walks),
    )


def _by_keys(
    client: IntacctClient,
    object: str,
    paths: Sequence[str],
    parent: Parent,
    documents: PaginationResult,
    *,
    into: Path,
    page_size: int,
) -> list[PaginationResult]:
    keys = sorted({row.key for file in documents.files for row in _KEYS.decode(page_bytes(file))})
    blocks = [
        keys[first : first + KEYS_IN_A_QUERY] for first in range(0, len(keys), KEYS_IN_A_QUERY)
    ]

    def read(number: int) -> PaginationResult:
        return client.paginate(
            object,
            [*paths, parent.key],
            None,
            into=into / f"block-{number:06}",
            page_size=page_size,
            filters=({"$in": {parent.key: blocks[number]}},),
        )

    with ThreadPoolExecutor(max_workers=_BLOCKS_AT_ONCE) as pool:
        return list(pool.map(read, range(len(blocks))))
