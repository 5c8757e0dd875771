"""Reads every row that changed in a window of time, and proves that none is missing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec

from intacct_dagster.intacct.errors import (
    About,
    AnswerNotUnderstood,
    WalkIncomplete,
    WrongEntity,
)
from intacct_dagster.intacct.query import Filter, Query, QueryPage, Scalar

#: Tries of a whole walk, the first included.
ATTEMPTS: Final = 3

#: Read with every row: what tells rows apart, what orders them, and whose they are.
ALWAYS_READ: Final = ("key", "audit.modifiedDateTime", "entity.id")

_CHANGED: Final = "audit.modifiedDateTime"
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

    `pages` are those of the attempt that was proven; `requests` and `attempts` are all it took.
    """

    distinct_keys: int
    total_count: int
    pages: int
    requests: int
    attempts: int


@dataclass(frozen=True)
class WalkResult:
    """The pages of a proven walk, each a file with one JSON array of flat rows.

    A key can be in several files, where two pages overlap or a row changed between them: keep the
    row with the latest change time. There are `proof.distinct_keys` different keys in all.
    """

    files: tuple[Path, ...]
    proof: Proof


Ask = Callable[[Query], QueryPage]


class _Row(msgspec.Struct):
    """The three fields of a row that the walk itself looks at; the rest is never decoded."""

    key: Annotated[str, msgspec.Meta(min_length=1)]
    changed: Annotated[datetime, msgspec.Meta(tz=True)] | None = msgspec.field(name=_CHANGED)
    entity: str | None = msgspec.field(name="entity.id")

    @property
    def second(self) -> datetime | None:
        return self.changed.replace(microsecond=0) if self.changed else None


_ROWS = msgspec.json.Decoder(list[_Row])


class _NotProven(Exception):
    """This attempt cannot be trusted; another one may."""


def walk(
    ask: Ask,
    object: str,
    fields: Sequence[str],
    window: Window,
    *,
    entity: str | None,
    into: Path,
    page_size: int,
    parameters: Mapping[str, Scalar],
) -> WalkResult:
    """Reads `window` of `object` into files under `into`.

    Pages cannot be got at before they are proven: those of a failed attempt are deleted, and
    nothing is left behind when this raises. Raises WalkIncomplete, WrongEntity (a row of another
    entity than `entity`; None allows all) and AnswerNotUnderstood, besides what `ask` raises.
    """
    if page_size < 2:
        raise ValueError("pages overlap by a row, so a page has at least two")
    into.mkdir(parents=True, exist_ok=True)
    all_fields = tuple(dict.fromkeys((*ALWAYS_READ, *fields)))
    requests, reason = 0, ""
    for number in range(1, ATTEMPTS + 1):
        attempt = _Attempt(
            ask,
            Query(object, all_fields, size=page_size, parameters=parameters),
            window,
            About(entity, object),
            Path(tempfile.mkdtemp(prefix=f"walk-{number}-", dir=into)),
        )
        try:
            total_count = attempt.run()
        except _NotProven as not_proven:
            attempt.discard()
            requests += attempt.requests
            reason = str(not_proven)
        except BaseException:
            attempt.discard()
            raise
        else:
            return WalkResult(
                tuple(attempt.files),
                Proof(
                    distinct_keys=len(attempt.keys),
                    total_count=total_count,
                    pages=attempt.pages,
                    requests=requests + attempt.requests,
                    attempts=number,
                ),
            )
    raise WalkIncomplete(
        f"{About(entity, object)}, changed in {window}, was read {ATTEMPTS} times and never proven "
        f"complete: {reason}.",
        remedy="Rows may be changing while they are read: run it again, or end the window earlier.",
        entity=entity,
        object=object,
    )


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

    The whole proves itself by counting. The first page's `totalCount` is of the whole window at
    the moment the walk began: if that many distinct keys were read, all that was there has been
    read, and a window that fits onto one page costs one request. If rows left the window while we
    read, fewer were found than there had been, or more than there still are; then the window is
    counted once more, and if that many were read, the rows that left did so before we came to
    them and nothing that remains is missing. If neither count agrees, the attempt is worth
    nothing, and the walk begins anew.

    Every loop here ends: the number of pages is bounded by the number of rows they brought.
    """

    def __init__(self, ask: Ask, query: Query, window: Window, about: About, folder: Path) -> None:
        self.keys: set[str] = set()
        self.files: list[Path] = []
        self.pages = 0
        self.requests = 0
        self._ask = ask
        self._query = query
        self._window = window
        self._about = about
        self._folder = folder
        self._size = query.size
        self._count_before = 0

    def run(self) -> int:
        """Reads everything and returns the count that proves it. Raises _NotProven."""
        beginnings: list[datetime | None] = [self._window.since or _THE_BEGINNING]
        if self._window.since is None:
            beginnings.append(None)
        for beginning in beginnings:
            self._read_from(beginning)
        if len(self.keys) == self._count_before:
            return self._count_before
        count_after = sum(self._count_from(beginning) for beginning in beginnings)
        if len(self.keys) == count_after:
            return count_after
        raise _NotProven(
            f"{len(self.keys):,} distinct keys were read, but Intacct counted "
            f"{self._count_before:,} before and {count_after:,} after"
        )

    def discard(self) -> None:
        """Deletes what was read."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read_from(self, bound: datetime | None) -> None:
        """Reads to the end, from a change time or (None) the rows that have none."""
        start, anchor = 1, None
        page, rows = self._page(bound, start)
        self._count_before += page.total_count
        while True:
            if anchor is None or (rows and rows[0].key == anchor):
                self._keep(page, rows)
                if start - 1 + len(rows) == page.total_count:
                    return
                last = rows[-1]
                if rows[0].second == last.second:
                    start, anchor = start + len(rows) - 1, last.key
                else:
                    start, anchor = 1, None
                bound = last.second
            else:
                start, anchor = 1, None
            page, rows = self._page(bound, start)

    def _page(self, bound: datetime | None, start: int) -> tuple[QueryPage, list[_Row]]:
        """One page whose length, order and bounds are as asked for. Raises _NotProven."""
        self._spend_a_page()
        page = self._ask(
            replace(
                self._query,
                filters=self._filters(bound),
                order_by=({_CHANGED: "asc"}, {"key": "asc"}),
                start=start,
            )
        )
        self._size = min(self._size, page.page_size)
        rows = self._decode(page)
        left = page.total_count - (start - 1)
        if page.total_count < 0 or self._size < 2 or len(rows) != max(0, min(page.page_size, left)):
            raise _NotProven(
                f"page {self.pages} has {len(rows):,} rows where, by its own count, {left:,} are "
                f"left and {page.page_size:,} fit"
            )
        if len(rows) == left and page.next not in (None, page.total_count + 1):
            raise _NotProven(f"page {self.pages} is the last by its count, but names a next one")
        self._check_times(bound, rows)
        return page, rows

    def _spend_a_page(self) -> None:
        # Two pages in a row bring at least a page of new rows, unless a second is begun again; so
        # half of this would do. An answer that never ends is stopped here, whatever it claims.
        allowed = 16 + 4 * (len(self.keys) // self._size)
        if self.pages >= allowed:
            raise _NotProven(f"{self.pages:,} pages brought only {len(self.keys):,} rows")
        if len(self.keys) > 2 * self._count_before + 16 * self._query.size:
            raise _NotProven(
                f"{len(self.keys):,} rows came where Intacct counted {self._count_before:,}"
            )
        self.pages += 1
        self.requests += 1

    def _decode(self, page: QueryPage) -> list[_Row]:
        try:
            return _ROWS.decode(page.raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AnswerNotUnderstood(
                f"Page {self.pages} of {self._about} is not understood: {error}",
                remedy="Nothing of the walk was kept.",
                entity=self._about.entity,
                object=self._about.object,
            ) from None

    def _check_times(self, bound: datetime | None, rows: list[_Row]) -> None:
        previous = bound
        for row in rows:
            if row.changed is None or previous is None:
                as_asked = row.changed is None and previous is None
            else:
                as_asked = previous <= row.changed < self._window.until
            if not as_asked:
                raise _NotProven(
                    f"page {self.pages} has key {row.key} with change time {row.changed}, out of "
                    "the order or the bounds that were asked for"
                )
            previous = row.changed

    def _keep(self, page: QueryPage, rows: list[_Row]) -> None:
        """Stores a page that is needed, once every row of it is known to be ours."""
        ours = self._about.entity
        if ours is not None:
            for row in rows:
                if row.entity and row.entity != ours:
                    raise WrongEntity(
                        f"{self._about} came with key {row.key}, which belongs to entity "
                        f"{row.entity}; nothing of it was kept.",
                        remedy=f"The session is not bound to {ours}: check the user that is "
                        f"configured for {ours}, and that no proxy drops X-IA-API-Param-Entity.",
                        entity=ours,
                        object=self._about.object,
                    )
        if rows:
            path = self._folder / f"{len(self.files) + 1:06}.json"
            path.write_bytes(page.raw)
            self.files.append(path)
            self.keys.update(row.key for row in rows)

    def _count_from(self, beginning: datetime | None) -> int:
        self.requests += 1
        counted = replace(self._query, fields=("key",), filters=self._filters(beginning), size=1)
        return self._ask(counted).total_count

    def _filters(self, bound: datetime | None) -> tuple[Filter, ...]:
        if bound is None:
            return ({"$eq": {_CHANGED: None}},)
        return ({"$gte": {_CHANGED: _wire(bound)}}, {"$lt": {_CHANGED: _wire(self._window.until)}})


def _wire(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
