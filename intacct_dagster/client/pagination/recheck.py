"""Ask once more for the keys of a part of the window, and see that each was read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from intacct_dagster.client.pagination.page_reader import PageReader
from intacct_dagster.client.pagination.progress import Segment
from intacct_dagster.client.pagination.proof import NotProven
from intacct_dagster.client.pagination.request import PageRequest
from intacct_dagster.client.pagination.rows import DatedRow, RowDecoder, UndatedRow
from intacct_dagster.pages import page_bytes


def recheck(
    reader: PageReader, request: PageRequest, segment: Segment, files: Iterable[Path]
) -> None:
    """Raise NotProven if Intacct now has a key in `segment` that is not in its `files`."""
    known = {key for file in files for key in _keys_in(reader.decoder, file, segment)}
    asked = request.keys(segment.since, segment.until)
    start = 1
    while True:  # ends: each page brings a key, and no more of them than were read
        page, rows = reader.keys(replace(asked, start=start))
        for row in rows:
            if row.key not in known:
                raise NotProven(f"key {row.key} was not read, and is there")
        start += len(rows)
        if start > page.total_count:
            return
        if page.total_count > len(known):
            raise NotProven(
                f"{len(known):,} keys were read where Intacct counts {page.total_count:,}"
            )


def _keys_in(decoder: RowDecoder, file: Path, segment: Segment) -> Iterable[str]:
    since, until = segment.since, segment.until
    read: list[DatedRow] | list[UndatedRow] = decoder.decode(page_bytes(file))
    return (
        row.key
        for row in read
        if since is None
        or (row.second and row.second >= since and (until is None or row.second < until))
    )
