"""What a load is: the pages, the partitions that they fill, and the proof of completeness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from intacct_dagster.warehouse import types
from intacct_dagster.warehouse.errors import LoadRefused
from intacct_dagster.warehouse.raw.exact_numbers import exact_pages, unmarked
from intacct_dagster.warehouse.raw.lines import Parents
from intacct_dagster.warehouse.raw.log import Kind
from intacct_dagster.warehouse.raw.names import CHANGED
from intacct_dagster.warehouse.sql import identifier, literal
from intacct_dagster.warehouse.types import Column

_LARGEST_ROW = 1024 * 1024  # bytes of JSON; DuckDB's read buffer grows with it


@dataclass(frozen=True, slots=True)
class LoadProof:
    """Why a load is complete: `distinct_keys` were read, of `total_count` that Intacct counted.

    `requests` and `attempts` are what it took.
    """

    distinct_keys: int
    total_count: int
    requests: int
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class RawLoad:
    """The pages of one pagination, and the partitions they fill.

    `files` each hold one JSON array of flat rows; none, or `[]`, is a pagination without rows.
    `columns` name at least the paths `key`, `audit.modifiedDateTime` and `entity.id`. `days` are
    all the days it covers; with `takes_older` the first of them also takes rows changed before it,
    or never. All moments are aware. `read_until` is given where reading ended before the last day
    did, or went on beyond it: changes from then on are not in it. A `snapshot` is of an object
    without change times: its rows, all there are, belong to the last of the days, and it need not
    have `entity.id`. `dated_by` is the path of the change time that days are of; of lines, whose
    documents `parents` names, it is that of the document, and they need not have `entity.id`
    either. `left` rows were read and are not in it: their records changed meanwhile.

    `read_at` says of each of the files when Intacct answered with it, by Intacct's own clock; where
    it is missing or None, that is `extracted_at`. `lag` is how long after a change a reading may
    still show what was before. An `undated` load has rows without a change time as well, which are
    of its first day. A load `by_key` covers no days: its records were asked for by name. `kept` are
    keys that a snapshot has not, and that are not gone: another entity has them, or may have them.
    `has_marked_numbers` says that long numbers are marked in the files: see `exact_numbers`.
    """

    object: str
    columns: Sequence[Column]
    entity: str
    days: Sequence[date]
    files: Sequence[Path]
    run_id: str
    extracted_at: datetime
    takes_older: bool
    proof: LoadProof
    read_until: datetime | None = None
    snapshot: bool = False
    dated_by: str = CHANGED
    parents: Parents | None = None
    left: int = 0
    read_at: Sequence[datetime | None] = ()
    by_key: bool = False
    undated: bool = False
    lag: timedelta = timedelta(0)
    kept: Sequence[str] = ()
    has_marked_numbers: bool = False

    @property
    def read_times(self) -> list[datetime]:
        """When Intacct answered with each of the files."""
        times = [*self.read_at, *[None] * (len(self.files) - len(self.read_at))]
        return [each if each is not None else self.extracted_at for each in times]

    @property
    def kind(self) -> Kind:
        """What a version is of."""
        if self.snapshot:
            return "snapshot"
        return "records" if self.parents is None else "lines"

    @property
    def kind_of_load(self) -> str:
        """What `meta.loads` calls it."""
        return "by_key" if self.by_key else self.kind

    def column(self, path: str) -> str:
        """Return the quoted column of a path; NULL where a snapshot has none."""
        named = (identifier(column.name) for column in self.columns if column.path == path)
        return next(named, "CAST(NULL AS VARCHAR)")

    @property
    def day(self) -> str:
        """An SQL expression for the partition that a row belongs to."""
        if self.snapshot:
            return f"CAST({literal(max(self.days).isoformat())} AS DATE)"
        # The same as AT TIME ZONE 'UTC', five times as fast.
        day = f"CAST(make_timestamp(epoch_us({self.column(self.dated_by)})) AS DATE)"
        if self.by_key:
            return f"coalesce({day}, CAST({literal(self.extracted_at.date().isoformat())} AS DATE))"
        first = f"CAST({literal(min(self.days).isoformat())} AS DATE)"
        if not self.takes_older:
            return f"coalesce({day}, {first})" if self.undated else day
        return f"greatest(coalesce({day}, {first}), {first})"

    @property
    def last_day(self) -> date:
        """The last day that a row may be of."""
        last = max(self.days)
        if self.read_until is None:
            return last
        return max(last, (self.read_until.astimezone(UTC) - timedelta(microseconds=1)).date())

    def pages(self, *, exact: bool, file: str = "") -> str:
        """Return the rows of the pages as a relation, each value as it came.

        `file` names a column for the page that a row is on.
        """
        if not self.files:
            return types.no_rows(self.columns)
        named = f" filename = {literal(file)}," if file else ""
        read = (
            f"read_json([{', '.join(literal(str(file)) for file in self.files)}],"
            f" format = 'array', records = true, maximum_object_size = {_LARGEST_ROW},{named}"
            f" columns = {types.read_columns(self.columns, exact=exact)})"
        )
        if not self.has_marked_numbers:
            return read
        values = ", ".join(
            f"{unmarked(identifier(column.path), types.read_as(column, exact=exact))}"
            f" AS {identifier(column.path)}"
            for column in self.columns
        )
        return f"(SELECT * REPLACE ({values}) FROM {read})"

    def with_exact_numbers(self, into: Path, *, thorough: bool = False) -> RawLoad:
        """Return the load with long numbers marked, in copies of its pages in the folder `into`."""
        files, marked = exact_pages(self.files, into, thorough=thorough)
        return replace(self, files=files, has_marked_numbers=marked)

    def refused(
        self, reason: str, remedy: str, *, column: str | None = None, key: str | None = None
    ) -> LoadRefused:
        """Return the error for a load that cannot be stored."""
        return LoadRefused(self.object, self.entity, reason, remedy, column=column, key=key)
