"""What an extraction did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from intacct_dagster.client import Usage
from intacct_dagster.extraction.schema import ObjectSchema
from intacct_dagster.warehouse import Column


@dataclass(frozen=True)
class Extracted:
    """What one extraction did. `rows_by_day` has an entry for every day that was asked for.

    `looked_back` counts the rows of the days before, which were read again for what came late.
    `read_until` is given where the last day is not over: later changes are still to be read.
    `left` rows were read and not stored: the record, or the document that they are lines of,
    changed meanwhile, so a later day has them. `usage` is all that it cost.
    """

    object: str
    entity: str
    rows_by_day: Mapping[date, int]
    read_until: datetime | None
    distinct_keys: int
    schema: ObjectSchema
    usage: Usage
    looked_back: int = 0
    left: int = 0
    attempts: int = 0
    seconds_reading: float = 0.0
    seconds_loading: float = 0.0

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the raw table that were read."""
        return self.schema.raw_columns

    @property
    def rows(self) -> int:
        """Rows in all days together."""
        return sum(self.rows_by_day.values())


def together(ranges: Sequence[Extracted], asked: Sequence[date], usage: Usage) -> Extracted:
    """Return what the extractions of several ranges of days did, as one; it cost `usage`."""
    rows = {day: count for each in ranges for day, count in each.rows_by_day.items()}
    return replace(
        ranges[-1],
        rows_by_day={day: rows[day] for day in asked},
        looked_back=sum(count for day, count in rows.items() if day not in asked),
        read_until=next((each.read_until for each in reversed(ranges) if each.read_until), None),
        distinct_keys=sum(each.distinct_keys for each in ranges),
        left=sum(each.left for each in ranges),
        attempts=max(each.attempts for each in ranges),
        usage=usage,
        seconds_reading=sum(each.seconds_reading for each in ranges),
        seconds_loading=sum(each.seconds_loading for each in ranges),
    )
