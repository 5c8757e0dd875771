"""The rows that overlapping pages bring twice: which of a page were read before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from intacct_dagster.client.pagination.rows import (
    DatedRow,
    Rows,
    UndatedRow,
    rows_of_last_second,
)


class SeenRows:
    """The keys of the last second and the last page: no others can come again."""

    def __init__(self) -> None:
        self._second: datetime | None = None
        self._keys_of_second: set[str] = set()
        self._last_page: Rows = ()

    @property
    def keys_of_second(self) -> int:
        """How many keys of the last second were read."""
        return len(self._keys_of_second)

    def resume(self, second: datetime | None, pages: Iterable[Rows]) -> None:
        """Remember the keys of the last second, from the pages that hold it."""
        for rows in pages:
            self._keys_of_second.update(row.key for row in rows if row.second == second)
        self._second = second

    def leads_to(self, rows: Rows) -> bool:
        """Return whether a page begins within what was read, and goes on behind it.

        All that was before our last second has been read, and of that second all up to our last
        row. The page has all that is between its first row and its last. So nothing is between them
        if it begins before that second, or in it with a row that we have.
        """
        if not rows or self._second is None:
            return False
        first, last = rows[0].second, rows[-1].second
        if first is None or last is None or last <= self._second:
            return False
        return first < self._second or (
            first == self._second and rows[0].key in self._keys_of_second
        )

    def read_before(self, rows: Rows) -> int:
        """Return how many of the first rows were on a page before."""
        lately = self._lately_from(rows[0].second if rows else None)
        count = 0
        while count < len(rows) and self._known(rows[count], lately):
            count += 1
        return count

    def add(self, rows: Rows) -> tuple[int, bool]:
        """Remember a page that was read.

        Only keys of the last page and of the last second can be old.

        Returns:
            The number of new keys, and whether the page ends in a later second than the last one.
        """
        fresh = {row.key for row in rows}
        if rows[0].second == self._second:
            fresh -= self._keys_of_second
        elif self._second is not None:
            lately = self._lately_from(rows[0].second)
            for row in rows:
                if row.second is None or row.second > self._second:
                    break  # rows are in order: what follows was not read before
                if self._known(row, lately):
                    fresh.discard(row.key)
        moved = rows[-1].second != self._second
        if moved:
            self._second = rows[-1].second
            self._keys_of_second = {row.key for row in rows_of_last_second(rows)}
        else:
            self._keys_of_second |= fresh
        self._last_page = rows
        return len(fresh), moved

    def _known(self, row: DatedRow | UndatedRow, lately: Mapping[str, datetime | None]) -> bool:
        if row.key in self._keys_of_second and row.second == self._second:
            return True
        return row.second is not None and lately.get(row.key) == row.second

    def _lately_from(self, second: datetime | None) -> Mapping[str, datetime | None]:
        """Return the keys of the last page's rows of `second` and later: few, if pages overlap."""
        lately: dict[str, datetime | None] = {}
        for row in reversed(self._last_page):
            if second is None or row.second is None or row.second < second:
                break
            lately.setdefault(row.key, row.second)
        return lately
