"""What a load is: the pages, the partitions that they fill, and the proof of completeness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from intacct_dagster.warehouse import types
from intacct_dagster.warehouse.errors import LoadRefused
from intacct_dagster.warehouse.raw.lines import Parents
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

    `files` each hold one JSON array of flat rows; none, or `[]`, is a pagination without rows, and
    clears the days. `columns` name at least the paths `key`, `audit.modifiedDateTime` and
    `entity.id`. `days` are all the days it covers; with `takes_older` the first of them also takes
    rows changed before it, or never. `extracted_at` and `read_until` are aware; the latter is given
    where reading ended before the last day did. A `snapshot` is of an object without change times:
    its rows, all there are, belong to the last of the days, and it need not have `entity.id`.
    `dated_by` is the path of the change time that days are of; of lines, whose documents `parents`
    names, it is that of the document, and they need not have `entity.id` either. `left` rows were
    read and are not in it: their records changed meanwhile.
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
        if not self.takes_older:
            return day
        first = f"CAST({literal(min(self.days).isoformat())} AS DATE)"
        return f"greatest(coalesce({day}, {first}), {first})"

    def pages(self, *, exact: bool, file: str = "") -> str:
        """Return the rows of the pages as a relation, each value as it came.

        `file` names a column for the page that a row is on.
        """
        if not self.files:
            return types.no_rows(self.columns)
        named = f" filename = {literal(file)}," if file else ""
        return (
            f"read_json([{', '.join(literal(str(file)) for file in self.files)}],"
            f" format = 'array', records = true, maximum_object_size = {_LARGEST_ROW},{named}"
            f" columns = {types.read_columns(self.columns, exact=exact)})"
        )

    def refused(
        self, reason: str, remedy: str, *, column: str | None = None, key: str | None = None
    ) -> LoadRefused:
        """Return the error for a load that cannot be stored."""
        return LoadRefused(self.object, self.entity, reason, remedy, column=column, key=key)
