"""One attempt to read all rows of a request, and the proof that none is missing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from intacct_dagster.client.http.responses import UNREADABLE
from intacct_dagster.client.pagination.page_reader import PageReader
from intacct_dagster.client.pagination.prefetch import PrefetchedPage, Prefetcher
from intacct_dagster.client.pagination.progress import AttemptProgress, Segment, page_file
from intacct_dagster.client.pagination.proof import NotProven, check_entity
from intacct_dagster.client.pagination.recheck import recheck
from intacct_dagster.client.pagination.request import PageRequest
from intacct_dagster.client.pagination.rows import Rows, rows_of_last_second, without_first
from intacct_dagster.client.pagination.seen import SeenRows
from intacct_dagster.client.query import QueryPage
from intacct_dagster.pages import page_bytes, write_page


class Attempt:
    """One attempt to read a window.

    Why not page by offset
    ----------------------
    Intacct evaluates every page separately. With `start` 1, 4001, 8001, ... over one query, a row
    that changes or is deleted after its page was read leaves the rows before us, everything behind
    it moves up by one, and the row that moves across the boundary is never seen. Nothing in any
    answer shows it. (The order must be given, too: without one it is arbitrary.)

    So pages are ordered by change time, then key, and each begins AT the last change time of the
    one before: `audit.modifiedDateTime >= last`, `start` 1. Where a page begins no longer depends
    on how many rows precede it. A row that is touched while we read gets a change time of now,
    which is at or behind the upper bound: it leaves the window, and can neither hide nor displace
    another one. The bound includes the last second because there may be more of it than fitted
    onto the page; what we have of it is read again, and its keys are known, so it counts once.
    Keys are never compared with each other: whether "10" sorts before "9" is up to Intacct.

    One second can fill a page (an import stamps thousands of rows alike). Then the bound cannot
    move, and within that second there is only the offset. It is made safe by an overlap: the next
    page starts ON the last row that we have, and if another row comes first, something has moved
    and the second is read again from its start.

    Why we believe it
    -----------------
    Each page proves itself: its change times ascend within the bounds, and it is as long as its
    own `totalCount` says: full, or holding all that is left. A page cut short, a repeated one, an
    ignored filter or an ignored order shows here.

    The whole proves itself by counting, in a chain. Behind each page must remain what its total
    had, less what it brought. If that holds to the end, and as many distinct keys were read as the
    first page's total had said, then all that was there when the attempt began has been read; a
    window that fits onto one page costs one request. Where a page's total is lower than what
    should remain, either rows ahead of us have left the window, or a page hid some: so the parts of
    the window that were closed before and after it are rechecked: their keys are asked for once
    more, and must all be among those that were read; and the whole must hold no more. Rows that
    leave, before or behind us, harm nothing, and do not make the attempt begin again. If a key
    shows that was not read, or a count finds more, the attempt is worth nothing, and another
    begins. (Counting the parts would not do: a row that was read may leave, and so make up for one
    that was hidden. Asking for their keys costs the same.)

    Pages are also asked for before it is their turn, at an offset from a second that was read a
    moment ago (see Prefetcher). Such a page is taken only if it begins within what was read: before
    our last second, or in it with a row that we have. A page is one evaluation, so it has all
    between its first row and its last; so nothing is between the two. Its count is held against the
    chain like any other, in both directions, for it may have been counted before the page in front
    of it: where they differ, the keys on both sides are rechecked.

    What it keeps in memory is a page and the keys of its last second, however many rows there are,
    and the few pages that came early.
    An object without change times is read like a single second: by key, with the overlap.

    Every loop here ends: the number of pages is bounded by the number of rows they brought.
    """

    def __init__(
        self,
        reader: PageReader,
        prefetcher: Prefetcher,
        request: PageRequest,
        folder: Path,
        progress: AttemptProgress,
        save: Callable[[AttemptProgress], None],
    ) -> None:
        self._reader = reader
        self._prefetcher = prefetcher
        self._request = request
        self._folder = folder
        self._progress = progress
        self._save = save
        self._seen = SeenRows()

    def run(self) -> int:
        """Read everything and return the count that proves it. Raises NotProven."""
        beginnings = self._request.beginnings
        at = self._progress
        if at.pages:
            try:
                self._resume()
            except (OSError, *UNREADABLE) as error:
                raise NotProven(f"what an interrupted attempt left is damaged: {error}") from error
        else:
            at.bound = beginnings[0]
        while at.beginning < len(beginnings):
            self._read_on()
            following = at.beginning + 1
            at.next_beginning(beginnings[following] if following < len(beginnings) else None)
            self._seen = SeenRows()
            at.requests -= self._prefetcher.drop()
            if at.beginning < len(beginnings):
                self._save(at)
        return self._proven()

    def _resume(self) -> None:
        """Remember the keys of the last second, from the files that hold it."""
        at = self._progress
        if at.bound is None and self._request.window is not None and at.expected is None:
            return
        files = (self._file(number) for number in range(max(1, at.second_from), at.files + 1))
        self._seen.resume(at.bound, (self._reader.decoder.decode(page_bytes(f)) for f in files))

    def _file(self, number: int) -> Path:
        return page_file(self._folder, number)

    def _proven(self) -> int:
        at = self._progress
        if at.distinct == at.count_before:
            return at.distinct
        count_after = sum(map(self._reader.count, self._request.beginnings))
        if count_after <= at.distinct:
            return at.distinct
        raise NotProven(
            f"{at.distinct:,} distinct keys were read, but Intacct counted "
            f"{at.count_before:,} before and {count_after:,} after"
        )

    def _read_on(self) -> None:
        """Read from where the progress is to the end of this beginning."""
        at = self._progress
        while True:
            early, page, rows = self._next_page()
            start = early.start if early is not None else at.start
            self._check_chain(early, page, rows, start)
            if at.anchor is None or (rows and rows[0].key == at.anchor):
                self._keep(page, rows)
                if start - 1 + len(rows) == page.total_count:
                    if at.dropped:
                        self._recheck(Segment(at.bound, None, at.segment_from, at.files))
                    return
                if rows[0].second == rows[-1].second:
                    at.expected = page.total_count
                    at.start, at.anchor = at.start + len(rows) - 1, rows[-1].key
                else:
                    self._move_bound(early, page, rows, start)
                at.bound = rows[-1].second
            else:
                at.expected = None if at.expected is None else page.total_count
                at.start, at.anchor = 1, None
            self._save(at)

    def _next_page(self) -> tuple[PrefetchedPage | None, QueryPage, Rows]:
        """Return the next page: one that was asked for early, if it follows what was read."""
        at = self._progress
        early = self._prefetcher.take() if at.anchor is None and at.start == 1 else None
        if early is not None:
            page = self._reader.understood(early.page.result)
            rows = self._reader.received(page, early.bound, early.start)
            if self._seen.leads_to(rows):
                return early, page, rows
            at.requests -= self._prefetcher.failed()
        page, rows = self._reader.read(at.bound, at.start)
        return None, page, rows

    def _check_chain(
        self, early: PrefetchedPage | None, page: QueryPage, rows: Rows, start: int
    ) -> None:
        """Hold a page's count against what should remain behind the one before."""
        at = self._progress
        if at.expected is None:
            at.count_before += page.total_count
        elif early is not None:
            behind = at.expected - self._seen.keys_of_second
            if page.total_count - (start - 1) - self._seen.read_before(rows) != behind:
                self._recheck_closed()
        elif page.total_count < at.expected:
            self._recheck_closed()

    def _move_bound(
        self, early: PrefetchedPage | None, page: QueryPage, rows: Rows, start: int
    ) -> None:
        """Go on behind a page that holds more than one second, and prefetch what follows it."""
        at = self._progress
        behind = page.total_count - (start - 1) - len(rows)
        at.expected = behind + len(rows_of_last_second(rows))
        at.start, at.anchor = 1, None
        self._close_segment(rows[-1].second)
        if early is None and start == 1 and at.bound is not None:
            self._prefetcher.begin(at.bound, self._reader.size, self._reader.seconds)
        at.requests += self._prefetcher.follow(self._request.page, rows, behind, self._reader.size)

    def _recheck_closed(self) -> None:
        """Recheck what the last page closed: fewer rows remain than should."""
        at = self._progress
        if at.closed is not None:
            self._recheck(at.closed)
            at.closed = None
        at.dropped = True

    def _close_segment(self, until: datetime | None) -> None:
        at = self._progress
        if at.bound is None or until is None:
            return
        at.closed = Segment(at.bound, until, at.segment_from, at.files)
        if at.dropped:
            self._recheck(at.closed)
        at.dropped, at.segment_from = False, at.second_from

    def _recheck(self, segment: Segment) -> None:
        files = map(self._file, range(segment.first, segment.last + 1))
        recheck(self._reader, self._request, segment, files)

    def _keep(self, page: QueryPage, rows: Rows) -> None:
        """Store a page that is needed, once every row of it is known to be ours."""
        at = self._progress
        own_rows = check_entity(at.pages, rows, self._request.about)
        at.own_rows = at.own_rows or own_rows
        if rows:
            self._spool(page, rows)
            new_keys, moved = self._seen.add(rows)
            at.distinct += new_keys
            if moved:
                at.second_from = at.files

    def _spool(self, page: QueryPage, rows: Rows) -> None:
        """Write the rows that were not read before: what pages overlap by is written once."""
        read_before = self._seen.read_before(rows)
        if read_before == len(rows):
            return
        self._progress.files += 1
        self._progress.read_at = page.read_at
        write_page(self._file(self._progress.files), without_first(page.raw, read_before))
