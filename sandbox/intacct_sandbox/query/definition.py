"""A query as it is understood: what `read_query` makes of a payload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from intacct_sandbox.objects.catalogue import Json, Kind

from .filter_expression import Expression
from .filters import Comparison, Test


@dataclass(frozen=True)
class Filter:
    """One filter: the values at `path` that pass `test`."""

    path: str
    kind: Kind
    test: Test
    operator: str | None = None
    """What it was asked by, and with which value; None for a test that has no name."""
    given: Json = None


@dataclass(frozen=True)
class Aggregate:
    """`sum:totalTxnAmount`: a field of the answer that is worked out over a group of records."""

    function: str
    path: str
    kind: Kind


@dataclass(frozen=True)
class ObjectQuery:
    """A query that makes sense for its object."""

    object: str
    fields: Mapping[str, Aggregate | None]
    """By the name it was asked by; None for a field of the records themselves."""
    filters: tuple[Filter, ...]
    expression: Expression | None
    order_by: tuple[tuple[str, bool], ...]
    """Names, each with whether it descends."""
    start: int
    size: int
    include_private: bool
    how: Comparison
    kinds: Mapping[str, Kind]
    """Of every field that is asked for, filtered, sorted or grouped by."""

    @property
    def fold(self) -> str:
        """How texts compare; see `Comparison`."""
        return self.how.fold

    @property
    def is_grouped(self) -> bool:
        """Whether the rows of the answer are groups of records."""
        return any(self.fields.values())
