"""A small world whose rows change between any two pages, and how its pages are read."""

from __future__ import annotations

import functools
import itertools
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from intacct_dagster.client import (
    ChangeWindow,
    PaginationResult,
    Query,
)
from intacct_dagster.client.pagination import PageRequest, PageSource, paginate
from intacct_dagster.client.query import QueryPage
from intacct_dagster.pages import page_bytes
from intacct_dagster_tests.extraction.extraction_worlds import Shuffled

SINCE = datetime(2026, 10, 1, tzinfo=UTC)
UNTIL = datetime(2026, 10, 2, tzinfo=UTC)
LATER = datetime(2026, 10, 3, tzinfo=UTC)
INVOICE = "accounts-receivable/invoice"


def second(number: int) -> datetime:
    return SINCE + timedelta(seconds=number)


def wire(time: datetime | None) -> str | None:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ") if time else None


@dataclass
class World:
    """Rows by key: change time and entity. Answers queries as Intacct documents them."""

    rows: dict[str, datetime | None]
    entity: Mapping[str, str | None] = field(default_factory=dict)
    numeric_keys: bool = False
    before_each: Callable[[int], None] = lambda number: None
    after_each: Callable[[QueryPage, Query], QueryPage] = lambda page, query: page
    asked: list[Query] = field(default_factory=list)

    def __call__(self, query: Query) -> QueryPage:
        self.before_each(len(self.asked))
        self.asked.append(query)
        found = sorted(
            (key for key, time in self.rows.items() if self._matches(query, time)),
            key=lambda key: (
                self.rows[key] or SINCE,
                (int(key), "") if self.numeric_keys else (0, key),
            ),
        )
        part = found[query.start - 1 : query.start - 1 + query.size]
        following = query.start + query.size
        page = page_of(
            [self._row(key) for key in part],
            len(found),
            query.size,
            following if following <= len(found) else None,
        )
        return self.after_each(page, query)

    @staticmethod
    def _matches(query: Query, time: datetime | None) -> bool:
        for condition in query.filters:
            ((operator, operand),) = condition.items()
            ((name, value),) = operand.items()
            assert name == "audit.modifiedDateTime"
            if operator == "$eq":
                assert value is None
                if time is not None:
                    return False
            else:
                # A comparison with null holds for no row, as in SQL.
                text = wire(time)
                if text is None or not isinstance(value, str):
                    return False
                if not {"$gte": text >= value, "$lt": text < value}[operator]:
                    return False
        return True

    def _row(self, key: str) -> dict[str, object]:
        return {
            "key": key,
            "audit.modifiedDateTime": wire(self.rows[key]),
            "entity.id": self.entity.get(key),
            "totalDue": "12.50",
        }


def page_of(
    rows: Sequence[Mapping[str, object]], total: int, size: int, following: int | None
) -> QueryPage:
    return QueryPage(msgspec.Raw(json.dumps(list(rows)).encode()), total, size, following)


def read(
    world: Callable[[Query], QueryPage],
    into: Path,
    *,
    size: int = 10,
    since: datetime | None = SINCE,
    entity: str | None = "E110",
    ahead: int = 0,
    chance: random.Random | None = None,
) -> PaginationResult:
    lanes = Shuffled(ahead, chance or random.Random(1))
    return paginate(
        PageSource(
            world,
            submit=lambda query: lanes.submit(0, functools.partial(world, query)),
            ahead=ahead,
            clock=itertools.count().__next__,
        ),
        request(ChangeWindow(since, UNTIL), size, entity),
        into=into,
    )


def request(window: ChangeWindow | None, size: int, entity: str | None = "E110") -> PageRequest:
    return PageRequest(INVOICE, ["totalDue"], window, entity=entity, page_size=size, parameters={})


def keys_in(result: PaginationResult) -> set[str]:
    rows: list[dict[str, Any]] = []
    for file in result.files:
        rows += json.loads(page_bytes(file))
    return {row["key"] for row in rows}
