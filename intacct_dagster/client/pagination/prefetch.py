"""Pages that are asked for before it is their turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from intacct_dagster.client.pagination.rows import Rows
from intacct_dagster.client.query import Query, QueryPage

#: How often an attempt begins to prefetch. Where pages often do not follow each other, rows leave
#: so fast that it is cheaper to read one page after the other.
_BEGINNINGS: Final = 4
#: What looking at a page takes at most. Pages that come as fast need not lie in memory.
_SECONDS_A_PAGE: Final = 0.03

#: Begins to ask for a page, and returns what will be the page.
Submit = Callable[[Query], "Future[QueryPage]"]


@dataclass(frozen=True)
class PrefetchedPage:
    """A page that was asked for before the one in front of it had come."""

    bound: datetime
    start: int
    #: its place among the rows, as far as that could be known
    place: int
    page: Future[QueryPage]


class Prefetcher:
    """Ask for pages before it is known where they begin: at a place behind those that are known.

    A place is an offset from a row that was read lately, so that offsets stay small however many
    rows there are. What comes is nothing but a page: the attempt decides whether it follows what
    was read. If it does not, it is dropped with all that were asked for behind it, the next page is
    asked for by its change time, and this begins again, a few times.
    """

    def __init__(self, submit: Submit | None, most: int, size: int) -> None:
        self._submit = submit
        self._most = most if submit is not None else 0
        self._enough = 0
        self._patience = _BEGINNINGS
        # A page may be a little shorter than it was asked for, and rows in front of it may leave.
        self._longest_step = size - min(16, size // 8)
        self._overlap = min(8, max(1, size // 8))
        self._pages: deque[PrefetchedPage] = deque()
        self._next = self._place = self._bound_place = 0
        self._bound: datetime | None = None

    def begin(self, bound: datetime, size: int, seconds: float) -> None:
        """Count places from the page that has come, which begins at the first row of `bound`.

        It took `seconds`: while it came, so many pages could have been looked at.
        """
        self._enough = min(self._most, 3 + int(seconds / _SECONDS_A_PAGE))
        self._bound, self._place, self._bound_place = bound, 0, 0
        self._next = min(size, self._longest_step) - self._overlap

    def follow(
        self, query: Callable[[datetime, int], Query], rows: Rows, behind: int, size: int
    ) -> int:
        """Ask for pages behind one of `rows`, which `behind` more rows follow.

        Returns:
            How many pages were asked for.
        """
        end = self._place + len(rows)
        self._count_from(rows)
        step = min(size, self._longest_step) - self._overlap
        asked = 0
        while (
            self._submit is not None
            and self._bound is not None
            and self._patience
            and len(self._pages) < self._enough
            and step > 0
            and self._next + self._overlap < end + behind
        ):
            start = self._next - self._bound_place + 1
            page = self._submit(query(self._bound, start))
            self._pages.append(PrefetchedPage(self._bound, start, self._next, page))
            self._next += step
            asked += 1
        return asked

    def _count_from(self, rows: Rows) -> None:
        """Count places from the last second that begins on this page and before the next one."""
        at = min(self._next - self._place, len(rows) - 1)
        while at > 0 and rows[at - 1].second == rows[at].second:
            at -= 1
        if at > 0:
            self._bound, self._bound_place = rows[at].second, self._place + at

    def take(self) -> PrefetchedPage | None:
        """Return the next page in order, if it was asked for."""
        if not self._pages:
            return None
        page = self._pages.popleft()
        self._place = page.place
        return page

    def drop(self) -> int:
        """Give up all that is on its way, and return how many requests were not even sent."""
        unsent = sum(each.page.cancel() for each in self._pages)
        self._pages.clear()
        return unsent

    def failed(self) -> int:
        """Do the same as `drop`, because a page did not follow."""
        self._patience -= 1
        return self.drop()

    def close(self) -> None:
        """Do the same as `drop`, because the attempt has ended."""
        self.drop()
