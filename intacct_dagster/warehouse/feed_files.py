"""CSV files: each record knows its file and line, and a broken one stops no other."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from intacct_dagster.warehouse.errors import FeedError
from intacct_dagster.warehouse.feed_spec import FeedSpec

LONGEST_RECORD = 100
"""Physical lines that one record may span: a quote that is never closed must not eat the file."""

_RAW_KEPT = 4_000  # characters of a quarantined record that are kept


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file: its cells in the order of `FeedSpec.columns`, or why it has none.

    `line` is the physical line it begins on, from 1. `source_id` is the document it belongs to
    where that can be read; `certain` is False when a broken record may belong to another one.
    """

    line: int
    raw: str
    cells: tuple[str, ...] = ()
    kind: str | None = None
    reason: str | None = None
    source_id: str | None = None
    certain: bool = True


def find_files(spec: FeedSpec, folder: Path) -> list[Path]:
    """The feed's files, each once, in the order of their paths; hidden files are left alone."""
    found = {path for pattern in spec.files for path in folder.glob(pattern)}
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


def read_file(spec: FeedSpec, path: Path, name: str) -> Iterator[Record]:
    """The records of one file, the broken ones among them; blank lines are skipped.

    Raises FeedError, naming the file, if it cannot be read or changes meanwhile: what was read of
    it so far must not be used then, since a document may continue in what was not read.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            before = _stamp(path)
            yield from _Reader(spec, stream).records()
            after = _stamp(path)
    except OSError as error:
        raise FeedError(
            spec.name,
            f"{name} cannot be read ({error.strerror or error})",
            "Nothing of the feed was changed. Make the file readable, or move it away.",
            file=name,
        ) from error
    if before != after:
        raise FeedError(
            spec.name,
            f"{name} changed while it was read",
            "Nothing of the feed was changed. Write files under another name, then rename them.",
            file=name,
        )


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


class _Lines:
    """Physical lines with a way back: what a broken record swallowed is given out again."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._again: deque[str] = deque()
        self.taken: list[str] = []
        self.first = 1

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if len(self.taken) >= LONGEST_RECORD:
            raise csv.Error(f"a record of more than {LONGEST_RECORD} lines: a quote is not closed")
        line = self._again.popleft() if self._again else next(self._stream)
        self.taken.append(line)
        return line

    def record_ends(self, keep: int | None = None) -> tuple[int, str]:
        """(line it began on, its text) of the record; lines after the first `keep` come again."""
        taken = self.taken if keep is None else self.taken[:keep]
        self._again.extendleft(reversed(self.taken[len(taken) :]))
        began = self.first
        self.first += len(taken)
        self.taken = []
        return began, "".join(taken).rstrip("\r\n")


class _Reader:
    def __init__(self, spec: FeedSpec, stream: TextIO) -> None:
        self._spec = spec
        self._lines = _Lines(stream)
        self._places: tuple[int, ...] = ()
        self._width = 0

    def records(self) -> Iterator[Record]:
        broken = self._read_header()
        if broken is not None:
            yield broken
            return
        rows = self._rows()
        while True:
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                if not self._lines.taken:
                    raise  # cannot be: an error comes from a line that was taken
                yield self._broken(str(error))
                rows = self._rows()
                continue
            line, raw = self._lines.record_ends()
            if cells and not (len(cells) == 1 and not cells[0].strip()):
                yield self._record(line, raw, cells)

    def _rows(self) -> Iterator[list[str]]:
        return csv.reader(self._lines, delimiter=self._spec.delimiter, strict=True)

    def _read_header(self) -> Record | None:
        try:
            names = [cell.strip() for cell in next(self._rows(), [])]
        except csv.Error as error:
            line, raw = self._lines.record_ends()
            return Record(line, _kept(raw), kind="header", reason=f"the header: {error}")
        line, raw = self._lines.record_ends()
        amiss = [
            f"column {column} {'is missing' if names.count(column) == 0 else 'is there twice'}"
            for column in self._spec.columns
            if names.count(column) != 1
        ]
        if amiss:
            reason = f"the file was left out: {', '.join(amiss)}" if names else "the file is empty"
            return Record(line, _kept(raw), kind="header", reason=reason)
        self._places = tuple(names.index(column) for column in self._spec.columns)
        self._width = len(names)
        return None

    def _record(self, line: int, raw: str, cells: Sequence[str]) -> Record:
        if len(cells) != self._width:
            few = "few" if len(cells) < self._width else "many"
            return self._refused(
                line, raw, f"too {few} columns", f"{len(cells)} columns, not {self._width}", cells
            )
        if any("\udc80" <= character <= "\udcff" for character in raw):
            return self._refused(line, raw, "encoding", "the line is not UTF-8", cells)
        if "\0" in raw:
            return self._refused(line, raw, "encoding", "the line holds a NUL character", cells)
        return Record(line, raw, tuple(cells[place].strip() for place in self._places))

    def _broken(self, told: str) -> Record:
        """Only the first physical line is given up: the others are read again, each for itself."""
        line, raw = self._lines.record_ends(keep=1)
        cells = [cell.strip().strip('"') for cell in raw.split(self._spec.delimiter)]
        return self._refused(line, raw, "quoting", told, cells)

    def _refused(self, line: int, raw: str, kind: str, reason: str, cells: Sequence[str]) -> Record:
        place = self._places[self._spec.columns.index(self._spec.source_id)]
        source_id = cells[place].strip() if place < len(cells) else ""
        return Record(
            line,
            _kept(raw),
            kind=kind,
            reason=reason,
            source_id=_kept(source_id) or None,
            # cells may have moved, unless the id stands before all that could have moved them
            certain=bool(source_id) and (place == 0 or len(cells) == self._width),
        )


def _kept(raw: str) -> str:
    """Text that can be stored as UTF-8, bytes that are none shown as \\x.., cut to a bound."""
    shown = raw.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return shown.replace("\0", "\\x00")[:_RAW_KEPT]
