"""What one pagination asks for, and the queries that ask for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from intacct_dagster.client.errors import About
from intacct_dagster.client.pagination.window import (
    CHANGED,
    THE_BEGINNING,
    ChangeWindow,
    timestamp,
)
from intacct_dagster.client.query import Filter, Query, Scalar


@dataclass(frozen=True)
class PageRequest:
    """The rows to read: those of `object` that changed in `window` (None: all rows, by key).

    `entity` is the only entity whose rows may come; None allows all. `changed` is the path of the
    change time that the window is of. `filters` narrow what is read. `page_size` is in rows.
    """

    object: str
    fields: Sequence[str]
    window: ChangeWindow | None
    entity: str | None
    page_size: int
    parameters: Mapping[str, Scalar]
    changed: str = CHANGED
    filters: Sequence[Filter] = ()

    def __post_init__(self) -> None:
        if self.page_size < 2:
            raise ValueError("pages overlap by a row, so a page has at least two")

    @property
    def about(self) -> About:
        """The entity and the object, for messages."""
        return About(self.entity, self.object)

    @property
    def identity(self) -> str:
        """A hash of all that decides which rows come: an interrupted pagination resumes by it."""
        asked = f"{self.entity} {self.window}".encode() + self._query.body()
        return hashlib.sha256(asked).hexdigest()

    @property
    def beginnings(self) -> Sequence[datetime | None]:
        """The change times to begin at, in order; None is for rows without a change time."""
        if self.window is None:
            return [None]
        if self.window.since is not None:
            return [self.window.since, *([None] if self.window.undated else [])]
        return [THE_BEGINNING, None]

    def page(self, bound: datetime | None, start: int) -> Query:
        """Return the query of the page at row `start` (from 1) of the rows from `bound` on."""
        return replace(self._query, filters=self._between(bound), order_by=self._order, start=start)

    def count(self, bound: datetime | None) -> Query:
        """Return the query whose total is the number of rows from `bound` to the window's end."""
        return replace(self._query, fields=("key",), filters=self._between(bound), size=1)

    def keys(self, since: datetime | None, until: datetime | None) -> Query:
        """Return the query of the keys of rows from `since` to before `until` (None: the end)."""
        return replace(
            self._query,
            fields=("key",),
            filters=self._between(since, until),
            order_by=self._order,
        )

    @cached_property
    def _query(self) -> Query:
        always = ("key", self.changed, "entity.id") if self.window is not None else ("key",)
        return Query(
            self.object,
            tuple(dict.fromkeys((*always, *self.fields))),
            tuple(self.filters),
            size=self.page_size,
            parameters=self.parameters,
        )

    @property
    def _order(self) -> tuple[Mapping[str, str], ...]:
        by_key = {"key": "asc"}
        return ({self.changed: "asc"}, by_key) if self.window else (by_key,)

    def _between(self, bound: datetime | None, until: datetime | None = None) -> tuple[Filter, ...]:
        given = tuple(self.filters)
        if self.window is None:
            return given
        if bound is None:
            return (*given, {"$eq": {self.changed: None}})
        end = until if until is not None else self.window.until
        since: Filter = {"$gte": {self.changed: timestamp(bound)}}
        return (*given, since, {"$lt": {self.changed: timestamp(end)}})
