"""The proof of a pagination, and the checks that every page has to pass."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from intacct_dagster.client.errors import About, WrongEntity
from intacct_dagster.client.pagination.progress import AttemptProgress
from intacct_dagster.client.pagination.rows import DatedRow, Rows, UndatedRow
from intacct_dagster.client.query import QueryPage


@dataclass(frozen=True)
class PaginationProof:
    """Why the rows are known to be complete: as many `distinct_keys` came as Intacct counted.

    `pages` are those of the attempt that was proven; `requests` and `attempts` are all it took,
    also before an interruption. `own_rows` says that rows private to the session's entity came,
    which only a session in that entity sees.
    """

    distinct_keys: int
    total_count: int
    pages: int
    requests: int
    attempts: int
    own_rows: bool = False


class NotProven(Exception):
    """This attempt cannot be trusted; another one may."""


def check_budget(progress: AttemptProgress, size: int, page_size: int) -> None:
    """Raise NotProven if pages bring too few rows, or more rows come than Intacct counted.

    Two pages in a row bring at least a page of new rows, unless a second is begun again; so half of
    this would do. An answer that never ends is stopped here, whatever it claims. `size` is how many
    rows Intacct gives, `page_size` how many were asked for.
    """
    allowed = 16 + 4 * (progress.distinct // size)
    if progress.pages >= allowed:
        raise NotProven(f"{progress.pages:,} pages brought only {progress.distinct:,} rows")
    if progress.distinct > 2 * progress.count_before + 16 * page_size:
        raise NotProven(
            f"{progress.distinct:,} rows came where Intacct counted {progress.count_before:,}"
        )


def check_length(number: int, page: QueryPage, rows: Rows, start: int, size: int) -> None:
    """Raise NotProven unless page `number` is as long as its own count says.

    It has to be full, or hold all that is left from row `start` (from 1) on.
    """
    left = page.total_count - (start - 1)
    if page.total_count < 0 or size < 2 or len(rows) != max(0, min(page.page_size, left)):
        raise NotProven(
            f"page {number} has {len(rows):,} rows where, by its own count, {left:,} are "
            f"left and {page.page_size:,} fit"
        )
    if len(rows) == left and page.next not in (None, page.total_count + 1):
        raise NotProven(f"page {number} is the last by its count, but names a next one")


def check_times(number: int, rows: Rows, bound: datetime | None, until: datetime) -> None:
    """Raise NotProven unless change times ascend from `bound` and end before `until`.

    Without `bound` no row may have a change time.
    """
    stray: DatedRow | UndatedRow | None = None
    if bound is None:
        stray = next((row for row in rows if row.changed is not None), None)
    else:
        previous = bound
        for row in rows:
            changed = row.changed
            if changed is None or changed < previous or changed >= until:
                stray = row
                break
            previous = changed
    if stray is not None:
        raise NotProven(
            f"page {number} has key {stray.key} with change time {stray.changed}, out "
            "of the order or the bounds that were asked for"
        )


def check_entity(number: int, rows: Rows, about: About) -> bool:
    """Return whether rows private to the session's entity are among `rows`.

    Raises:
        WrongEntity: A row belongs to another entity than the one that was asked.
    """
    ours = about.entity
    if ours is None:
        return False
    owners = {row.entity for row in rows} - {None, ""}
    if owners - {ours}:
        other = next(row for row in rows if row.entity and row.entity != ours)
        raise WrongEntity(
            f"Page {number} of {about} came with key {other.key}, which belongs "
            f"to entity {other.entity}; nothing of it was kept.",
            remedy=f"The session is not bound to {ours}: check the user that is "
            f"configured for {ours}, and that no proxy drops X-IA-API-Param-Entity.",
            entity=ours,
            object=about.object,
        )
    return bool(owners)
