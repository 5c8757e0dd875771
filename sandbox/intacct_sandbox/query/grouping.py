"""Records taken together: the groups of a query with aggregates.

What is worked out of some records can be added to what was worked out of others, so that a group
may be counted in parts, wherever its records are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, TypeAlias

from intacct_sandbox.objects.catalogue import Json
from intacct_sandbox.objects.reading import RecordReader
from intacct_sandbox.objects.tables import Row

from .definition import Aggregate, ObjectQuery
from .filters import comparable
from .ordering import sorted_places

Ranked: TypeAlias = tuple[Any, Json]
"""A value as it compares, and as it is shown."""


@dataclass
class Sums:
    """What is known of one field of a group. Empty values do not count."""

    count: int = 0
    total: Decimal = Decimal(0)
    least: Ranked | None = None
    most: Ranked | None = None

    def add(self, other: Sums) -> None:
        """Count in what is known of further records."""
        self.count += other.count
        self.total += other.total
        if other.least is not None and (self.least is None or other.least[0] < self.least[0]):
            self.least = other.least
        if other.most is not None and (self.most is None or other.most[0] > self.most[0]):
            self.most = other.most

    def result(self, function: str) -> Ranked:
        """Return the aggregate: how it compares, and how it is shown."""
        if function == "count":
            return self.count, self.count
        if not self.count:
            return None, None
        if function in ("min", "max"):
            found = self.least if function == "min" else self.most
            return found or (None, None)
        total = self.total / self.count if function == "avg" else self.total
        return total, str(total.quantize(Decimal("0.01"), ROUND_HALF_UP))


@dataclass
class RowGroup:
    """Records that have the same values where a query groups by them."""

    place: int
    """Where its first record stands among all that were found."""
    sums: dict[str, Sums] = field(default_factory=dict)
    """By the name that the aggregate was asked by."""


Groups: TypeAlias = dict[tuple[Json, ...], RowGroup]


def grouped_by(query: ObjectQuery) -> list[str]:
    """Return the fields that a query groups by."""
    return [name for name, aggregate in query.fields.items() if aggregate is None]


def groups_of(
    query: ObjectQuery, reader: RecordReader, rows: Sequence[Row], place: Callable[[int], int]
) -> Groups:
    """Return the groups of some records; `place` says of the n-th of them where it stands among
    all."""
    by = grouped_by(query)
    keys = list(zip(*(reader.column(path)(rows) for path in by), strict=True)) or [()] * len(rows)
    groups: Groups = {}
    members: dict[tuple[Json, ...], list[int]] = {}
    for number, key in enumerate(keys):
        members.setdefault(key, []).append(number)
    for key, numbers in members.items():
        groups[key] = RowGroup(min(map(place, numbers)))
    for name, aggregate in query.fields.items():
        if aggregate is not None:
            convert = comparable(aggregate.kind, fold="")
            values = reader.column(aggregate.path)(rows)
            for key, numbers in members.items():
                filled = [values[number] for number in numbers if values[number] is not None]
                groups[key].sums[name] = _sums(aggregate, [(convert(v), v) for v in filled])
    return groups


def _sums(aggregate: Aggregate, filled: list[Ranked]) -> Sums:
    sums = Sums(len(filled))
    if filled and aggregate.function in ("min", "max"):
        sums.least = min(filled, key=lambda one: one[0])
        sums.most = max(filled, key=lambda one: one[0])
    elif aggregate.function in ("avg", "sum"):
        sums.total = sum((Decimal(str(value)) for _, value in filled), Decimal(0))
    return sums


def merge(groups: Groups, more: Groups) -> None:
    """Count the groups of further records into `groups`."""
    for key, other in more.items():
        group = groups.setdefault(key, other)
        if group is not other:
            group.place = min(group.place, other.place)
            for name, sums in other.sums.items():
                group.sums[name].add(sums)


def shown_groups(query: ObjectQuery, groups: Groups) -> list[dict[str, Json]]:
    """Return the groups as the rows of the answer, in the order asked for."""
    by = grouped_by(query)
    if not by:
        empty = {name: Sums() for name, one in query.fields.items() if one is not None}
        groups = groups or {(): RowGroup(0, empty)}
    found = sorted(groups.items(), key=lambda one: one[1].place)
    columns: dict[str, list[Json]] = {}
    ranks: dict[str, list[Any]] = {}
    for name, aggregate in query.fields.items():
        if aggregate is None:
            convert = comparable(query.kinds[name], fold="")
            columns[name] = [key[by.index(name)] for key, _ in found]
            ranks[name] = [convert(value) for value in columns[name]]
        else:
            results = [group.sums[name].result(aggregate.function) for _, group in found]
            ranks[name] = [rank for rank, _ in results]
            columns[name] = [shown for _, shown in results]
    places = list(range(len(found)))
    for name, descending in reversed(query.order_by):
        places = sorted_places(places, ranks[name], descending=descending, first=False)
    return [{name: columns[name][place] for name in query.fields} for place in places]
