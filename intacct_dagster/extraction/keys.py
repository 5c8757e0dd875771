"""The keys of the rows on a page."""

from __future__ import annotations

from pathlib import Path

import msgspec

from intacct_dagster.pages import page_bytes


class _KeyedRow(msgspec.Struct):
    key: str


_KEYS = msgspec.json.Decoder(list[_KeyedRow])


def keys_on_page(page: Path) -> list[str]:
    """Return the keys of the rows in a page's file, in their order."""
    return [row.key for row in _KEYS.decode(page_bytes(page))]
