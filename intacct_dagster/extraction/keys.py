"""Keys: those of the rows on a page, and rows that are read by theirs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from intacct_dagster.client import IntacctClient, PaginationResult
from intacct_dagster.pages import page_bytes

#: Keys in one query. Sage documents no limit; of a GET it is 500.
KEYS_IN_A_QUERY = 500
# What is in flight at once is bounded elsewhere: this only keeps enough of it under way.
_BLOCKS_AT_ONCE = 8


class _KeyedRow(msgspec.Struct):
    key: str


_KEYS = msgspec.json.Decoder(list[_KeyedRow])
_ROWS = msgspec.json.Decoder(list[dict[str, Any]])


def keys_on_page(page: Path) -> list[str]:
    """Return the keys of the rows in a page's file, in their order."""
    return [row.key for row in _KEYS.decode(page_bytes(page))]


def values_on_pages(pages: Iterable[Path], path: str) -> list[str]:
    """Return the different texts that rows have at `path`, in order."""
    rows = (row for page in pages for row in _ROWS.decode(page_bytes(page)))
    return sorted({str(row[path]) for row in rows if row.get(path)})


def pairs_on_pages(
    pages: Iterable[Path], first: str, second: str
) -> Iterator[tuple[str, str | None]]:
    """Yield what rows have at two paths, as texts."""
    for page in pages:
        for row in _ROWS.decode(page_bytes(page)):
            value = row.get(second)
            yield str(row[first]), None if value is None else str(value)


def read_blocks(
    client: IntacctClient,
    object: str,
    fields: Sequence[str],
    path: str,
    keys: Sequence[str],
    *,
    into: Path,
    page_size: int,
) -> list[PaginationResult]:
    """Read the rows of which the value at `path` is one of `keys`, many keys in a query."""
    unique = sorted(set(keys))
    blocks = [
        unique[first : first + KEYS_IN_A_QUERY] for first in range(0, len(unique), KEYS_IN_A_QUERY)
    ]

    def read(number: int) -> PaginationResult:
        return client.paginate(
            object,
            fields,
            None,
            into=into / f"block-{number:06}",
            page_size=page_size,
            filters=({"$in": {path: blocks[number]}},),
        )

    with ThreadPoolExecutor(max_workers=_BLOCKS_AT_ONCE) as pool:
        return list(pool.map(read, range(len(blocks))))
