"""CSV files: each record knows its file and line, and a broken one stops no other."""

from __future__ import annotations

import codecs
import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

from intacct_dagster.warehouse.feeds.spec import FeedSpec

LONGEST_RECORD = 100
"""Physical lines that one record may span: a quote that is never closed must not eat the file."""

LONGEST_LINE = 1_000_000
"""Characters of a physical line: a file without line ends must not come into memory as a whole."""

_LINE_ENDS = "\r\n"
_NO_TEXT = re.compile("[\udc80-\udcff]")  # what surrogateescape makes of bytes that are no text
_RAW_KEPT = 4_000  # characters of a quarantined record that are kept
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class FileUnusable(Exception):
    """Nothing of a file may be used; the message says why. The others go on."""


class Record(NamedTuple):
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
    """What the feed's patterns name, each once, in the order of their paths; hidden files are left
    alone. A directory may be among it."""
    found = {path for pattern in spec.files for path in folder.glob(pattern)}
    return sorted(path for path in found if not path.name.startswith("."))


def read_file(spec: FeedSpec, path: Path) -> Iterator[Record]:
    """Yield the records of one CSV file, the broken ones among them; blank lines are skipped.

    Raises FileUnusable if it cannot be read or changes meanwhile: what was read of it so far must
    not be used then, since a document may continue in what was not read.
    """
    with unchanged(path):
        try:
            with path.open(
                encoding=_encoding(path, spec.csv.encoding), errors="surrogateescape", newline=""
            ) as stream:
                yield from _CsvReader(spec, stream).records()
        except UnicodeError:
            raise FileUnusable(f"it is not {spec.csv.encoding}: say its `encoding`") from None


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Raises FileUnusable if the file cannot be read in this block, or is another after it."""
    try:
        if path.is_dir():
            raise FileUnusable("it is a directory, not a file")
        before = _stamp(path)
        yield
        after = _stamp(path)
    except OSError as error:
        raise FileUnusable(f"it cannot be read ({error.strerror or error})") from error
    if before != after:
        raise FileUnusable(
            "it changed while it was read: write files under another name, then rename them"
        )


def _encoding(path: Path, configured: str) -> str:
    """Return the encoding that a byte order mark tells, else the configured one."""
    with path.open("rb") as stream:
        start = stream.read(4)
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return encoding
    return configured


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


class _FileLines:
    """Physical lines with a way back: what a broken record swallowed is given out again."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._again: deque[str] = deque()
        self.taken: list[str] = []
        self.first = 1

    def __iter__(self) -> _FileLines:
        return self

    def __next__(self) -> str:
        if len(self.taken) >= LONGEST_RECORD:
            raise csv.Error(f"a record of more than {LONGEST_RECORD} lines: a quote is not closed")
        line = self._again.popleft() if self._again else self._read()
        self.taken.append(line)
        if len(line) == LONGEST_LINE and line[-1] not in _LINE_ENDS:
            raise csv.Error(f"a line of more than {LONGEST_LINE:,} characters")
        return line

    def _read(self) -> str:
        line = self._stream.readline(LONGEST_LINE)
        if not line:
            raise StopIteration
        rest = line
        while len(rest) == LONGEST_LINE and rest[-1] not in _LINE_ENDS:
            rest = self._stream.readline(LONGEST_LINE)
        return line

    def record_ends(self, keep: int | None = None) -> tuple[int, str]:
        """(line it began on, its text) of the record; lines after the first `keep` come again."""
        taken = self.taken if keep is None else self.taken[:keep]
        if len(taken) < len(self.taken):
            self._again.extendleft(reversed(self.taken[len(taken) :]))
        began = self.first
        self.first += len(taken)
        self.taken = []
        return began, taken[0] if len(taken) == 1 else "".join(taken)


class _CsvReader:
    def __init__(self, spec: FeedSpec, stream: TextIO) -> None:
        self._form = spec.csv
        self._columns = spec.source_columns
        self._source_id = spec.source_id
        self._lines = _FileLines(stream)
        self._places: tuple[int, ...] = ()
        self._id_place: int | None = None
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
        return csv.reader(self._lines, delimiter=self._form.separator, strict=True)

    def _read_header(self) -> Record | None:
        try:
            names = [cell.strip() for cell in next(self._rows(), [])]
        except csv.Error as error:
            line, raw = self._lines.record_ends()
            return Record(line, _kept(raw), kind="header", reason=f"the header: {error}")
        line, raw = self._lines.record_ends()
        flaw = header_flaw(self._columns, names)
        if flaw is not None:
            return Record(line, _kept(raw), kind="header", reason=flaw)
        self._places = tuple(names.index(column) for column in self._columns)
        if self._source_id in names:
            self._id_place = names.index(self._source_id)
        self._width = len(names)
        return None

    def _record(self, line: int, raw: str, cells: Sequence[str]) -> Record:
        if len(cells) != self._width:
            few = "few" if len(cells) < self._width else "many"
            return self._refused(
                line, raw, f"too {few} columns", f"{len(cells)} columns, not {self._width}", cells
            )
        if not raw.isascii() and _NO_TEXT.search(raw):
            reason = f"the line is not {self._form.encoding.upper()}"
            return self._refused(line, raw, "encoding", reason, cells)
        if "\0" in raw:
            return self._refused(line, raw, "encoding", "the line holds a NUL character", cells)
        if raw[-1] not in _LINE_ENDS and self._form.last_line == "closed":
            reason = (
                "the last line has no line end and may be half-written; `last_line: open` takes it"
            )
            # the last cell may be cut: it tells no id
            return self._refused(line, raw, "half-written", reason, cells[:-1], moved=False)
        if len(raw) > LONGEST_LINE:
            reason = f"a record of more than {LONGEST_LINE:,} characters"
            return self._refused(line, raw, "too long", reason, cells)
        return Record(
            line,
            raw[:_RAW_KEPT].rstrip(_LINE_ENDS),
            tuple([cells[place].strip() for place in self._places]),
        )

    def _broken(self, reason: str) -> Record:
        """Only the first physical line is given up: the others are read again, each for itself."""
        line, raw = self._lines.record_ends(keep=1)
        cells = [
            cell.strip().strip('"') for cell in raw.rstrip(_LINE_ENDS).split(self._form.separator)
        ]
        return self._refused(line, raw, "quoting", reason, cells)

    def _refused(
        self,
        line: int,
        raw: str,
        kind: str,
        reason: str,
        cells: Sequence[str],
        *,
        moved: bool | None = None,
    ) -> Record:
        place = self._id_place
        moved = len(cells) != self._width if moved is None else moved
        source_id = cells[place].strip() if place is not None and place < len(cells) else ""
        return Record(
            line,
            _kept(raw),
            kind=kind,
            reason=reason,
            source_id=_kept(source_id) or None,
            # cells may have moved, unless the id stands before all that could have moved them
            certain=bool(source_id) and (place == 0 or not moved),
        )


def header_flaw(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """Why a file with columns of these names is left out; None if it has each column once."""
    amiss = [
        f"column {column} {'is missing' if names.count(column) == 0 else 'is there twice'}"
        for column in columns
        if names.count(column) != 1
    ]
    if not names:
        return "the file is empty"
    return f"the file was left out: {', '.join(amiss)}" if amiss else None


def _kept(raw: str) -> str:
    """Text that can be stored as UTF-8, bytes that are none shown as \\x.., cut to a bound."""
    shown = raw[:_RAW_KEPT].rstrip(_LINE_ENDS).encode("utf-8", "surrogateescape")
    return shown.decode("utf-8", "backslashreplace").replace("\0", "\\x00")[:_RAW_KEPT]
