"""How far an attempt has come, in a journal on disk, so that another process can resume it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from intacct_dagster.client.http.responses import UNREADABLE
from intacct_dagster.pages import PAGE

_JOURNAL_FILE: Final = "progress.jsonl"


class Segment(msgspec.Struct):
    """Change times from `since` to before `until`, whose rows are in files `first` to `last`.

    Without `since` it is what has no change time, without `until` the rest of the window.
    """

    since: datetime | None
    until: datetime | None
    first: int
    last: int


class AttemptProgress(msgspec.Struct):
    """How far an attempt has come: the journal gets a line after every whole page."""

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
    #: when the last of the files was read, by Intacct's clock
    read_at: datetime | None = None
    #: which of the beginnings is being read; where the next page begins
    beginning: int = 0
    bound: datetime | None = None
    start: int = 1
    anchor: str | None = None
    #: what the next page's total should be, if nothing has left meanwhile
    expected: int | None = None
    #: whether fewer rows remained than should, since the bound moved last
    dropped: bool = False
    closed: Segment | None = None
    #: the first files that hold rows of what was read since then, and of the last second
    segment_from: int = 1
    second_from: int = 0

    def next_attempt(self) -> AttemptProgress:
        """Return the progress of another attempt, which begins from nothing."""
        return AttemptProgress(
            self.identity,
            attempt=self.attempt + 1,
            requests_before=self.requests_before + self.requests,
        )

    def next_beginning(self, bound: datetime | None) -> None:
        """Go on to the next of the beginnings, at `bound`."""
        self.beginning += 1
        self.bound = bound
        self.start, self.anchor, self.expected = 1, None, None
        self.dropped, self.closed, self.segment_from = False, None, self.files + 1


_PROGRESS: Final = msgspec.json.Decoder(AttemptProgress)


class ProgressJournal:
    """The journal of the pagination whose pages lie under `into`."""

    def __init__(self, into: Path) -> None:
        self._into = into
        self._file = into / _JOURNAL_FILE

    def resume(self, identity: str) -> AttemptProgress:
        """Return how far an interrupted pagination had come, if it asked for the same.

        Otherwise delete what it left, and return the progress of a first attempt.
        """
        try:
            # What follows the last line's end was not written to its end.
            whole, _, torn = self._file.read_bytes().rpartition(b"\n")
            found = _PROGRESS.decode(whole.rpartition(b"\n")[2])
        except (OSError, *UNREADABLE):
            found = None
        if found is not None and found.identity == identity:
            if torn:
                os.truncate(self._file, len(whole) + 1)
            return found
        discard(self._into)
        return AttemptProgress(identity)

    def read_times(self, last: AttemptProgress) -> list[datetime | None]:
        """Return when each file of an attempt was read, by Intacct's clock; `last` is its end.

        A line of the journal names the files so far, and when the last of them was read.
        """
        times: dict[int, datetime | None] = {}
        for line in self._file.read_bytes().splitlines():
            at = _PROGRESS.decode(line)
            if at.attempt == last.attempt:
                times.setdefault(at.files, at.read_at)
        times[last.files] = last.read_at
        return [times.get(number) for number in range(1, last.files + 1)]

    @contextmanager
    def writing(self) -> Iterator[Callable[[AttemptProgress], None]]:
        """Yield a function that appends a line to the journal."""
        # A line more costs a hundredth of what a new file in place of the old one does.
        with self._file.open("ab", buffering=0) as lines:
            yield lambda progress: _append(lines.write, progress)


def _append(write: Callable[[bytes], object], progress: AttemptProgress) -> None:
    write(msgspec.json.encode(progress) + b"\n")


def attempt_folder(into: Path, attempt: int) -> Path:
    """Return the folder of the pages of an attempt, counted from 1."""
    return into / f"attempt-{attempt}"


def page_file(folder: Path, number: int) -> Path:
    """Return the file of a page in its attempt's folder, counted from 1."""
    return folder / f"{number:06}{PAGE}"


def discard(into: Path) -> None:
    """Delete the pages and the journal that paginations left under `into`."""
    (into / _JOURNAL_FILE).unlink(missing_ok=True)
    for folder in into.glob("attempt-*"):
        shutil.rmtree(folder, ignore_errors=True)
