"""Reads every row that changed in a window of time, and proves that none is missing."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import RawIOBase
from pathlib import Path
from time import monotonic
from typing import Annotated, Final, Literal

import msgspec

from intacct_dagster.client.errors import (
    About,
    AnswerNotUnderstood,
    WalkIncomplete,
    WrongEntity,
)
from intacct_dagster.client.query import Filter, Query, QueryPage, Scalar
from intacct_dagster.pages import PAGE, page_bytes, write_page

#: Tries of a whole walk, the first included.
ATTEMPTS: Final = 3

#: The change time of a record. (A line's may be that of its document, reached through it.)
CHANGED: Final = "audit.modifiedDateTime"

# No row changed before this. A lower bound on every page keeps rows without a change time out of
# the dated pages, wherever Intacct sorts nulls.
_THE_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Window:
    """Change times from `since` up to, and not including, `until`: aware, in whole seconds.

    Without `since` it is everything before `until`, and rows without a change time as well: they
    must be in some window, and the first is the only one that every object has.
    """

    since: datetime | None
    until: datetime

    def __post_init__(self) -> None:
        for time in (self.since, self.until):
            if time is not None and (time.tzinfo is None or time.microsecond):
                raise ValueError(f"{time} is not an aware time in whole seconds")
        if self.since is not None and self.since >= self.until:
            raise ValueError(f"the window {self} is empty")

    def __str__(self) -> str:
        return f"[{_wire(self.since) if self.since else 'the beginning'}, {_wire(self.until)})"


@dataclass(frozen=True)
class Proof:
    """Why a walk is known to be complete: `distinct_keys` were read, and Intacct counted as many.

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


@dataclass(frozen=True)
class WalkResult:
    """The pages of a proven walk, each a file with one JSON array of flat rows (see `pages`).

    A key is there once, unless its row changed within the window while the walk went on: keep the
    row with the latest change time. There are `proof.distinct_keys` different keys in all.
    """

    files: tuple[Path, ...]
    proof: Proof


Ask = Callable[[Query], QueryPage]
Submit = Callable[[Query], "Future[QueryPage]"]
Told = Callable[[int, int], object]
"""Is told how many rows were read, and how many Intacct counted."""


_Key = Annotated[str, msgspec.Meta(min_length=1)]
_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class _Row(msgspec.Struct, gc=False):  # it cannot be part of a cycle
    """The three fields of a row that the walk itself looks at; the rest is never decoded."""

    key: _Key
    changed: _Time | None
    entity: str | None

    @property
    def second(self) -> datetime | None:
        changed = self.changed
        return changed.replace(microsecond=0) if changed and changed.microsecond else changed


class _Undated(msgspec.Struct, gc=False):
    """The same of a row of an object without change times; it need not belong to an entity."""

    key: _Key
    entity: str | None = msgspec.field(name="entity.id", default=None)

    @property
    def changed(self) -> None:
        return None

    @property
    def second(self) -> None:
        return None


_Decoder = msgspec.json.Decoder[list[_Row]] | msgspec.json.Decoder[list[_Undated]]


@functools.cache
def _dated(changed: str, ours: str | None) -> msgspec.json.Decoder[list[_Row]]:
    """Decodes rows whose change time is at the path `changed`: those of entity `ours`, or all."""
    row = msgspec.defstruct(
        "_DatedRow",
        [
            ("key", _Key),
            ("changed", _Time | None, msgspec.field(name=changed)),
            # The decoder compares what it would else make a text of, for each row.
            ("entity", Literal[ours, "", None] if ours else str | None, _ENTITY),
        ],
        bases=(_Row,),
        gc=False,
    )
    return msgspec.json.Decoder(list[row])  # type: ignore[valid-type]


_ENTITY: Final = msgspec.field(name="entity.id")
_UNDATED = msgspec.json.Decoder(list[_Undated])


class _NotProven(Exception):
    """This attempt cannot be trusted; another one may."""


class _Segment(msgspec.Struct):
    """Change times from `since` to before `until`, whose rows are in files `first` to `last`.

    Without `since` it is what has no change time, without `until` the rest of the window.
    """

    since: datetime | None
    until: datetime | None
    first: int
    last: int


class _Progress(msgspec.Struct):
    """How far an attempt has come: a line after every whole page, so that another can go on."""

    identity: str
    attempt: int = 1
    #: of the attempts before this one
    requests_before: int = 0
    requests: int = 0
    pages: int = 0
    files: int = 0
    distinct: int = 0
    count_before: int = 0
    own_rows: bool = False
    #: which of the beginnings is being read; where the next page begins
    beginning: int = 0
    bound: datetime | None = None
    start: int = 1
    anchor: str | None = None
    #: what the next page's total should be, if nothing has left meanwhile
    expected: int | None = None
    #: whether fewer rows remained than should, since the bound moved last
    dropped: bool = False
    closed: _Segment | None = None
    #: the first files that hold rows of what was read since then, and of the last second
    segment_from: int = 1
    second_from: int = 0


#: How often an attempt begins to read ahead. Where pages often do not follow each other, rows leave
#: so fast that it is cheaper to read one page after the other.
_BEGINNINGS_AHEAD: Final = 4
#: What looking at a page takes at most. Pages that come as fast need not lie in memory.
_SECONDS_A_PAGE: Final = 0.03

_ANY_JSON: Final = json.JSONDecoder()
_NOT_SPACE: Final = re.compile(r"\S")
_LIKELY_ROW: Final = 16 * 1024  # bytes

_PROGRESS_FILE: Final = "progress.jsonl"
_PROGRESS = msgspec.json.Decoder(_Progress)


def walk(
    ask: Ask,
    object: str,
    fields: Sequence[str],
    window: Window | None,
    *,
    entity: str | None,
    into: Path,
    page_size: int,
    parameters: Mapping[str, Scalar],
    changed: str = CHANGED,
    filters: Sequence[Filter] = (),
    submit: Submit | None = None,
    ahead: int = 0,
    clock: Callable[[], float] = monotonic,
    told: Told | None = None,
) -> WalkResult:
    """Reads `window` of `object` into files under `into`; None reads all rows, by key.

    `changed` is the path of the change time that the window is of; `filters` narrow what is read.
    With `submit`, which begins to `ask` and gives what will be the page, up to `ahead` pages are
    asked for before it is their turn: fewer where they come in less time (seconds of `clock`).
    After each page `told` is called with the rows read so far and those expected.

    Pages cannot be got at before they are proven. A walk that was interrupted, by what `ask`
    raises or by the end of the process, goes on from its last whole page when it is asked for
    again with the same `into`; when this raises anything of its own, nothing is left behind.
    Raises WalkIncomplete, WrongEntity (a row of another entity than `entity`; None allows all) and
    AnswerNotUnderstood, besides what `ask` raises.
    """
    if page_size < 2:
        raise ValueError("pages overlap by a row, so a page has at least two")
    into.mkdir(parents=True, exist_ok=True)
    always = ("key", changed, "entity.id") if window is not None else ("key",)
    query = Query(
        object,
        tuple(dict.fromkeys((*always, *fields))),
        tuple(filters),
        size=page_size,
        parameters=parameters,
    )
    about = About(entity, object)
    progress = _resume(into, _identity(query, window, entity))
    reason = ""
    while progress.attempt <= ATTEMPTS:
        folder = into / f"walk-{progress.attempt}"
        folder.mkdir(exist_ok=True)
        early = _Ahead(submit, ahead, page_size, clock)
        try:
            # A line more costs a hundredth of what a new file in place of the old one does.
            with closing(early), (into / _PROGRESS_FILE).open("ab", buffering=0) as lines:
                attempt = _Attempt(
                    ask, early, query, window, changed, about, folder, progress, lines, told
                )
                total_count = attempt.run()
        except _NotProven as not_proven:
            reason = str(not_proven)
            discard(into)
            progress = _Progress(
                progress.identity,
                attempt=progress.attempt + 1,
                requests_before=progress.requests_before + progress.requests,
            )
        except (WrongEntity, AnswerNotUnderstood):
            discard(into)
            raise
        else:
            return WalkResult(
                tuple(attempt.file(number) for number in range(1, progress.files + 1)),
                Proof(
                    distinct_keys=progress.distinct,
                    total_count=total_count,
                    pages=progress.pages,
                    requests=progress.requests_before + progress.requests,
                    attempts=progress.attempt,
                    own_rows=progress.own_rows,
                ),
            )
    discard(into)
    what = f"changed in {window}, was" if window is not None else "was"
    raise WalkIncomplete(
        f"{about}, {what} read {ATTEMPTS} times and never proven complete: {reason}.",
        remedy="Rows may be changing while they are read: run it again, or end the window earlier.",
        entity=entity,
        object=object,
    )


def _identity(query: Query, window: Window | None, entity: str | None) -> str:
    asked = f"{entity} {window}".encode() + query.body()
    return hashlib.sha256(asked).hexdigest()


def _resume(into: Path, identity: str) -> _Progress:
    """How far an interrupted walk had come, if it asked for the same; else the beginning."""
    file = into / _PROGRESS_FILE
    try:
        # What follows the last line's end was not written to its end.
        whole, _, torn = file.read_bytes().rpartition(b"\n")
        found = _PROGRESS.decode(whole.rpartition(b"\n")[2])
    except (OSError, msgspec.DecodeError):
        found = None
    if found is not None and found.identity == identity:
        if torn:
            os.truncate(file, len(whole) + 1)
        return found
    discard(into)
    return _Progress(identity)


def discard(into: Path) -> None:
    """Deletes what walks left under `into`, and how far they had come."""
    (into / _PROGRESS_FILE).unlink(missing_ok=True)
    for folder in into.glob("walk-*"):
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Early:
    """A page that was asked for before the one in front of it had come."""

    bound: datetime
    start: int
    #: its place among the rows, as far as that could be known
    place: int
    page: Future[QueryPage]


class _Ahead:
    """Asks for pages before it is known where they begin: at a place behind those that are known.

    A place is an offset from a row that was read lately, so that offsets stay small however many
    rows there are. What comes is nothing but a page: whether it follows what was read is for the
    walk to see. If it does not, it is forgotten with all that were asked for behind it, the next
    page is asked for by its change time, and this begins again, a few times.
    """

    def __init__(
        self, submit: Submit | None, most: int, size: int, clock: Callable[[], float]
    ) -> None:
        self.clock = clock
        self._submit = submit
        self._most = most if submit is not None else 0
        self._enough = 0
        self._patience = _BEGINNINGS_AHEAD
        # A page may be a little shorter than it was asked for, and rows in front of it may leave.
        self._longest_step = size - min(16, size // 8)
        self._overlap = min(8, max(1, size // 8))
        self._early: deque[_Early] = deque()
        self._next = self._place = self._bound_place = 0
        self._bound: datetime | None = None

    def begin(self, bound: datetime, size: int, seconds: float) -> None:
        """A page has come that begins at the first row of `bound`: places count from there.

        It took `seconds`: while it came, so many pages could have been looked at.
        """
        self._enough = min(self._most, 3 + int(seconds / _SECONDS_A_PAGE))
        self._bound, self._place, self._bound_place = bound, 0, 0
        self._next = min(size, self._longest_step) - self._overlap

    def follow(
        self,
        ask: Callable[[datetime, int], Query],
        rows: Sequence[_Row | _Undated],
        behind: int,
        size: int,
    ) -> int:
        """Asks for pages behind one of `rows` that is followed by `behind` more; how many."""
        end = self._place + len(rows)
        self._count_from(rows)
        step = min(size, self._longest_step) - self._overlap
        asked = 0
        while (
            self._submit is not None
            and self._bound is not None
            and self._patience
            and len(self._early) < self._enough
            and step > 0
            and self._next + self._overlap < end + behind
        ):
            start = self._next - self._bound_place + 1
            page = self._submit(ask(self._bound, start))
            self._early.append(_Early(self._bound, start, self._next, page))
            self._next += step
            asked += 1
        return asked

    def _count_from(self, rows: Sequence[_Row | _Undated]) -> None:
        """Counts places from the last second that begins on this page and before the next one."""
        at = min(self._next - self._place, len(rows) - 1)
        while at > 0 and rows[at - 1].second == rows[at].second:
            at -= 1
        if at > 0:
            self._bound, self._bound_place = rows[at].second, self._place + at

    def take(self) -> _Early | None:
        """The next page in order, if it was asked for."""
        if not self._early:
            return None
        early = self._early.popleft()
        self._place = early.place
        return early

    def forget(self) -> int:
        """Gives up all that is on its way; how many were not even sent."""
        unsent = sum(early.page.cancel() for early in self._early)
        self._early.clear()
        return unsent

    def failed(self) -> int:
        """The same, because a page did not follow."""
        self._patience -= 1
        return self.forget()

    def close(self) -> None:
        """The same, because the walk has ended."""
        self.forget()


class _Attempt:
    """One attempt to read a window.

    Why not page by offset
    ----------------------
    Intacct evaluates every page anew. With `start` 1, 4001, 8001, ... over one query, a row that
    changes or is deleted after its page was read leaves the rows before us, everything behind it
    moves up by one, and the row that moves across the boundary is never seen. Nothing in any
    answer shows it. (The order must be given, too: without one it is arbitrary.)

    So pages are ordered by change time, then key, and each begins AT the last change time of the
    one before: `audit.modifiedDateTime >= last`, `start` 1. Where a page begins no longer depends
    on how many rows precede it. A row that is touched while we read gets a change time of now,
    which is at or behind the upper bound: it leaves the window, and can neither hide nor displace
    another one. The bound includes the last second because there may be more of it than fitted
    onto the page; what we have of it is read again, and its keys are known, so it counts once.
    Keys are never compared with each other: whether "10" sorts before "9" is Intacct's affair.

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
    first page's total had said, then all that was there when the walk began has been read; a
    window that fits onto one page costs one request. Where a page's total is lower than what
    should remain, either rows ahead of us have left the window, or a page hid some: so the keys of
    the parts of the window that were closed before and after it are asked for once more, and must
    all be among those that were read; and the whole must hold no more. Rows that leave, before or
    behind us, harm nothing, and do not make the walk begin anew. If a key shows that was not read,
    or a count finds more, the attempt is worth nothing, and it does. (To count the parts would not
    do: a row that was read may leave, and so make up for one that was hidden. To ask for their keys
    costs the same.)

    Pages are also asked for before it is their turn, at an offset from a second that was read a
    moment ago (see _Ahead). Such a page is taken only if it begins within what was read: before our
    last second, or in it with a row that we have. A page is one evaluation, so it has all between
    its first row and its last; so nothing is between the two. Its count is held against the chain
    like any other, in both directions, for it may have been counted before the page in front of it:
    where they differ, the keys on both sides are asked for again.

    What it keeps in memory is a page and the keys of its last second, however many rows there are,
    and the few pages that came early.
    An object without change times is read like a single second: by key, with the overlap.

    Every loop here ends: the number of pages is bounded by the number of rows they brought.
    """

    def __init__(
        self,
        ask: Ask,
        ahead: _Ahead,
        query: Query,
        window: Window | None,
        changed: str,
        about: About,
        folder: Path,
        progress: _Progress,
        lines: RawIOBase,
        told: Told | None = None,
    ) -> None:
        self._ask = ask
        self._told = told
        self._ahead = ahead
        self._query = query
        self._window = window
        self._about = about
        self._folder = folder
        self._at = progress
        self._lines = lines
        self._size = query.size
        self._changed = changed
        dated = window is not None
        self._decoder: _Decoder = _dated(changed, None) if dated else _UNDATED
        self._ours: _Decoder = _dated(changed, about.entity) if dated else _UNDATED
        self._order = ({changed: "asc"}, {"key": "asc"}) if window else ({"key": "asc"},)
        self._second: datetime | None = None
        self._keys_of_second: set[str] = set()
        self._last_page: Sequence[_Row | _Undated] = ()
        self._seconds = 0.0

    def file(self, number: int) -> Path:
        """The file of a page, counted from 1."""
        return self._folder / f"{number:06}{PAGE}"

    def run(self) -> int:
        """Reads everything and returns the count that proves it. Raises _NotProven."""
        beginnings = self._beginnings()
        at = self._at
        if at.pages:
            try:
                self._remember_second()
            except (OSError, ValueError, msgspec.DecodeError) as error:
                raise _NotProven(f"what an interrupted walk left is damaged: {error}") from error
        else:
            at.bound = beginnings[0]
        while at.beginning < len(beginnings):
            self._read_on()
            at.beginning += 1
            at.bound = beginnings[at.beginning] if at.beginning < len(beginnings) else None
            at.start, at.anchor, at.expected = 1, None, None
            at.dropped, at.closed, at.segment_from = False, None, at.files + 1
            self._second, self._keys_of_second, self._last_page = None, set(), ()
            at.requests -= self._ahead.forget()
        return self._proven(beginnings)

    def _beginnings(self) -> list[datetime | None]:
        if self._window is None:
            return [None]
        if self._window.since is not None:
            return [self._window.since]
        return [_THE_BEGINNING, None]

    def _proven(self, beginnings: Sequence[datetime | None]) -> int:
        at = self._at
        if at.distinct == at.count_before:
            return at.distinct
        count_after = sum(self._count_from(beginning) for beginning in beginnings)
        if count_after <= at.distinct:
            return at.distinct
        raise _NotProven(
            f"{at.distinct:,} distinct keys were read, but Intacct counted "
            f"{at.count_before:,} before and {count_after:,} after"
        )

    def _read_on(self) -> None:
        """Reads from where the progress is to the end of this beginning."""
        at = self._at
        while True:
            early, page, rows = self._next_page()
            start = early.start if early is not None else at.start
            if at.expected is None:
                at.count_before += page.total_count
            elif early is not None:
                behind = at.expected - len(self._keys_of_second)
                if page.total_count - (start - 1) - self._read_before(rows) != behind:
                    self._doubt()
            elif page.total_count < at.expected:
                self._doubt()
            if at.anchor is None or (rows and rows[0].key == at.anchor):
                self._keep(page, rows)
                if start - 1 + len(rows) == page.total_count:
                    if at.dropped:
                        self._look_again(_Segment(at.bound, None, at.segment_from, at.files))
                    return
                last = rows[-1]
                if rows[0].second == last.second:
                    at.expected = page.total_count
                    at.start, at.anchor = at.start + len(rows) - 1, last.key
                else:
                    in_second = len(_tail(rows))
                    at.expected = page.total_count - (start - 1) - len(rows) + in_second
                    at.start, at.anchor = 1, None
                    self._close_segment(last.second)
                    if early is None and start == 1 and at.bound is not None:
                        self._ahead.begin(at.bound, self._size, self._seconds)
                    self._read_ahead(page, rows, start)
                at.bound = last.second
            else:
                at.expected = None if at.expected is None else page.total_count
                at.start, at.anchor = 1, None
            self._save()

    def _next_page(self) -> tuple[_Early | None, QueryPage, Sequence[_Row | _Undated]]:
        """The next page: one that was asked for early, if it follows what was read."""
        early = self._ahead.take() if self._at.anchor is None and self._at.start == 1 else None
        if early is not None:
            page = self._understood(early.page.result)
            rows = self._received(page, early.bound, early.start)
            if self._follows(rows):
                return early, page, rows
            self._at.requests -= self._ahead.failed()
        page, rows = self._page(self._at.bound, self._at.start)
        return None, page, rows

    def _follows(self, rows: Sequence[_Row | _Undated]) -> bool:
        """Whether a page begins within what was read, and goes on behind it.

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

    def _read_ahead(self, page: QueryPage, rows: Sequence[_Row | _Undated], start: int) -> None:
        behind = page.total_count - (start - 1) - len(rows)
        self._at.requests += self._ahead.follow(self._asked_at, rows, behind, self._size)

    def _asked_at(self, bound: datetime | None, start: int) -> Query:
        return replace(self._query, filters=self._filters(bound), order_by=self._order, start=start)

    def _doubt(self) -> None:
        """Fewer rows remain than should: what the last page closed is looked at again at once."""
        at = self._at
        if at.closed is not None:
            self._look_again(at.closed)
            at.closed = None
        at.dropped = True

    def _close_segment(self, until: datetime | None) -> None:
        at = self._at
        if at.bound is None or until is None:
            return
        at.closed = _Segment(at.bound, until, at.segment_from, at.files)
        if at.dropped:
            self._look_again(at.closed)
        at.dropped, at.segment_from = False, at.second_from

    def _look_again(self, segment: _Segment) -> None:
        """That Intacct now has no key in a part of the window which was not read of it."""
        since, until = segment.since, segment.until
        known: set[str] = set()
        for number in range(segment.first, segment.last + 1):
            read: list[_Row] | list[_Undated] = self._decoder.decode(page_bytes(self.file(number)))
            known.update(
                row.key
                for row in read
                if since is None
                or (row.second and row.second >= since and (until is None or row.second < until))
            )
        asked = replace(
            self._query,
            fields=("key",),
            filters=self._filters(since, until),
            order_by=self._order,
        )
        start = 1
        while True:  # ends: each page brings a key, and no more of them than were read
            self._at.requests += 1
            page = self._ask(replace(asked, start=start))
            rows = self._decode(page, _UNDATED)
            self._check_length(page, rows, start)
            for row in rows:
                if row.key not in known:
                    raise _NotProven(f"key {row.key} was not read, and is there")
            start += len(rows)
            if start > page.total_count:
                return
            if page.total_count > len(known):
                raise _NotProven(
                    f"{len(known):,} keys were read where Intacct counts {page.total_count:,}"
                )

    def _save(self) -> None:
        self._lines.write(msgspec.json.encode(self._at) + b"\n")
        if self._told is not None:
            self._told(self._at.distinct, self._at.count_before)

    def _remember_second(self) -> None:
        """After an interruption: the keys of the last second, from the files that hold it."""
        at = self._at
        if at.bound is None and self._window is not None and at.expected is None:
            return
        for number in range(max(1, at.second_from), at.files + 1):
            rows: list[_Row] | list[_Undated] = self._decoder.decode(page_bytes(self.file(number)))
            self._keys_of_second.update(row.key for row in rows if row.second == at.bound)
        self._second = at.bound

    def _page(
        self, bound: datetime | None, start: int
    ) -> tuple[QueryPage, Sequence[_Row | _Undated]]:
        """One page whose length, order and bounds are as asked for. Raises _NotProven."""
        self._at.requests += 1
        began = self._ahead.clock()
        page = self._understood(lambda: self._ask(self._asked_at(bound, start)))
        self._seconds = self._ahead.clock() - began
        return page, self._received(page, bound, start)

    def _understood(self, get: Callable[[], QueryPage]) -> QueryPage:
        try:
            return get()
        except AnswerNotUnderstood as error:
            told = f"Page {self._at.pages + 1}: {error.what}"
            raise self._not_understood(told, error.remedy) from None

    def _received(
        self, page: QueryPage, bound: datetime | None, start: int
    ) -> Sequence[_Row | _Undated]:
        self._spend_a_page()
        self._size = min(self._size, page.page_size)
        try:
            rows: Sequence[_Row | _Undated] = self._ours.decode(page.raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            rows = self._decode(page, self._decoder)
        self._check_length(page, rows, start)
        if self._window is not None:
            self._check_times(bound, rows, self._window.until)
        return rows

    def _check_length(self, page: QueryPage, rows: Sequence[_Row | _Undated], start: int) -> None:
        left = page.total_count - (start - 1)
        pages = self._at.pages
        if page.total_count < 0 or self._size < 2 or len(rows) != max(0, min(page.page_size, left)):
            raise _NotProven(
                f"page {pages} has {len(rows):,} rows where, by its own count, {left:,} are "
                f"left and {page.page_size:,} fit"
            )
        if len(rows) == left and page.next not in (None, page.total_count + 1):
            raise _NotProven(f"page {pages} is the last by its count, but names a next one")

    def _spend_a_page(self) -> None:
        # Two pages in a row bring at least a page of new rows, unless a second is begun again; so
        # half of this would do. An answer that never ends is stopped here, whatever it claims.
        at = self._at
        allowed = 16 + 4 * (at.distinct // self._size)
        if at.pages >= allowed:
            raise _NotProven(f"{at.pages:,} pages brought only {at.distinct:,} rows")
        if at.distinct > 2 * at.count_before + 16 * self._query.size:
            raise _NotProven(f"{at.distinct:,} rows came where Intacct counted {at.count_before:,}")
        at.pages += 1

    def _decode(self, page: QueryPage, decoder: _Decoder) -> Sequence[_Row | _Undated]:
        try:
            return decoder.decode(page.raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            told = f"Page {self._at.pages} of {self._about} is not understood: {error}"
            told += f"{_key_at(error, page)}."
            raise self._not_understood(told, "Nothing of the walk was kept.") from None

    def _not_understood(self, told: str, remedy: str) -> AnswerNotUnderstood:
        return AnswerNotUnderstood(
            told, remedy=remedy, entity=self._about.entity, object=self._about.object
        )

    def _check_times(
        self, bound: datetime | None, rows: Sequence[_Row | _Undated], until: datetime
    ) -> None:
        if bound is None:
            stray: _Row | _Undated | None = next(
                (row for row in rows if row.changed is not None), None
            )
        else:
            stray, previous = None, bound
            for row in rows:
                changed = row.changed
                if changed is None or changed < previous or changed >= until:
                    stray = row
                    break
                previous = changed
        if stray is not None:
            raise _NotProven(
                f"page {self._at.pages} has key {stray.key} with change time {stray.changed}, out "
                "of the order or the bounds that were asked for"
            )

    def _keep(self, page: QueryPage, rows: Sequence[_Row | _Undated]) -> None:
        """Stores a page that is needed, once every row of it is known to be ours."""
        at, ours = self._at, self._about.entity
        if ours is not None:
            owners = {row.entity for row in rows} - {None, ""}
            if owners - {ours}:
                other = next(row for row in rows if row.entity and row.entity != ours)
                raise WrongEntity(
                    f"Page {at.pages} of {self._about} came with key {other.key}, which belongs "
                    f"to entity {other.entity}; nothing of it was kept.",
                    remedy=f"The session is not bound to {ours}: check the user that is "
                    f"configured for {ours}, and that no proxy drops X-IA-API-Param-Entity.",
                    entity=ours,
                    object=self._about.object,
                )
            at.own_rows = at.own_rows or bool(owners)
        if rows:
            self._spool(page, rows)
            self._count_keys(rows)

    def _spool(self, page: QueryPage, rows: Sequence[_Row | _Undated]) -> None:
        """Writes the rows that were not read before: what pages overlap by is written once."""
        read_before = self._read_before(rows)
        if read_before == len(rows):
            return
        self._at.files += 1
        write_page(self.file(self._at.files), _without_first(page.raw, read_before))

    def _read_before(self, rows: Sequence[_Row | _Undated]) -> int:
        """How many of the first rows were on a page before."""
        lately = self._lately_from(rows[0].second if rows else None)
        count = 0
        while count < len(rows) and self._known(rows[count], lately):
            count += 1
        return count

    def _known(self, row: _Row | _Undated, lately: Mapping[str, datetime | None]) -> bool:
        if row.key in self._keys_of_second and row.second == self._second:
            return True
        return row.second is not None and lately.get(row.key) == row.second

    def _lately_from(self, second: datetime | None) -> Mapping[str, datetime | None]:
        """The keys of the last page's rows of `second` and later: few, where pages overlap."""
        lately: dict[str, datetime | None] = {}
        for row in reversed(self._last_page):
            if second is None or row.second is None or row.second < second:
                break
            lately.setdefault(row.key, row.second)
        return lately

    def _count_keys(self, rows: Sequence[_Row | _Undated]) -> None:
        """Counts the keys that are new; only the last page's and the last second's can be old."""
        at = self._at
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
        at.distinct += len(fresh)
        if rows[-1].second == self._second:
            self._keys_of_second |= fresh
        else:
            self._second = rows[-1].second
            self._keys_of_second = {row.key for row in _tail(rows)}
            at.second_from = at.files
        self._last_page = rows

    def _count_from(self, beginning: datetime | None) -> int:
        return self._count(self._filters(beginning))

    def _count(self, filters: Sequence[Filter]) -> int:
        self._at.requests += 1
        counted = replace(self._query, fields=("key",), filters=filters, size=1)
        return self._ask(counted).total_count

    def _filters(self, bound: datetime | None, until: datetime | None = None) -> tuple[Filter, ...]:
        given = tuple(self._query.filters)
        if self._window is None:
            return given
        if bound is None:
            return (*given, {"$eq": {self._changed: None}})
        end = until if until is not None else self._window.until
        since: Filter = {"$gte": {self._changed: _wire(bound)}}
        return (*given, since, {"$lt": {self._changed: _wire(end)}})


def _without_first(page: msgspec.Raw, count: int) -> tuple[bytes | memoryview, ...]:
    """The bytes of a JSON array without its first `count` elements, of which it has more."""
    if not count:
        return (memoryview(page),)
    whole = memoryview(page)
    head = bytes(whole[: count * _LIKELY_ROW]).decode("utf-8", "ignore")
    at = head.index("[")
    try:
        for _ in range(count):
            at = _NOT_SPACE.search(head, at + 1).start()  # type: ignore[union-attr]
            _, at = _ANY_JSON.raw_decode(head, at)
            at = head.index(",", at)
    except (ValueError, AttributeError):  # they are longer than that
        elements = msgspec.json.decode(page, type=list[msgspec.Raw])[count:]
        return (b"[", b",".join(elements), b"]")
    return (b"[", whole[len(head[: at + 1].encode()) :])


def _key_at(error: Exception, page: QueryPage) -> str:
    """The key of the row that a decoder names by its place ("$[3].key"), in words."""
    place = re.search(r"\$\[(\d+)\]", str(error))
    try:
        return f", in the row with key {page.rows[int(place[1])].get('key')}" if place else ""
    except (AnswerNotUnderstood, IndexError):
        return ""


def _tail(rows: Sequence[_Row | _Undated]) -> Sequence[_Row | _Undated]:
    """The rows at the end that share the last row's second."""
    last, first = rows[-1].second, len(rows)
    while first and rows[first - 1].second == last:
        first -= 1
    return rows[first:]


def _wire(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
