"""The order of a query's rows. Empty values come last when ascending, as databases of Oracle's make
do, or first, as a behaviour says; when descending the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from intacct_sandbox.objects.catalogue import Kind
from intacct_sandbox.objects.reading import RecordReader
from intacct_sandbox.objects.tables import Row

from .definition import ObjectQuery
from .filters import Value, comparable


def sorted_places(
    places: Sequence[int], values: Sequence[Any], *, descending: bool, first: bool
) -> list[int]:
    """`places` in the order of their values, empty ones `first` or last when ascending; what is
    equal stays as it was."""
    empty = (0, 0) if first else (2, 0)
    ranks = [empty if value is None else (1, value) for value in values]
    return sorted(places, key=ranks.__getitem__, reverse=descending)


def order_values(kind: Kind, values: Sequence[Value]) -> list[Value]:
    """Return the values of a field as they are put in order: times as the texts they are."""
    convert = comparable("string" if kind == "date-time" else kind, fold="")
    return [convert(value) for value in values]


def ordered(
    query: ObjectQuery, reader: RecordReader, rows: Sequence[Row], *, first: bool
) -> list[Row]:
    """Return the rows as a query wants them; what it leaves open stays as it was."""
    places = list(range(len(rows)))
    # The last order first: each sort keeps what the ones before it did among equals.
    for path, descending in reversed(query.order_by):
        values = order_values(query.kinds[path], reader.column(path)(rows))
        places = sorted_places(places, values, descending=descending, first=first)
    return [rows[place] for place in places]
