"""Answer a query from the tables.

Rows are flat, dotted paths stay as keys, missing values are null; `totalCount` counts every match
and not the page (recorded live 2026-03). Size 1 to 4,000, start from 1; `count:`, `avg:`, `sum:`,
`min:` and `max:` before a field make the other fields what is grouped by (facts: Sage OpenAPI).
How an aggregate is written in the answer is not documented: here under the name it was asked by,
sums and averages as texts with two decimals, counts as numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from intacct_sandbox.errors import rejections
from intacct_sandbox.objects.catalogue import Json
from intacct_sandbox.objects.reading import RecordReader
from intacct_sandbox.objects.tables import Found, Row, Table, Visibility

from .definition import Filter, ObjectQuery
from .filter_expression import Mask, holds
from .filters import comparable, mask
from .grouping import groups_of, shown_groups
from .ordering import ordered
from .source import QuerySource, SearchableTable


@dataclass(frozen=True)
class Page:
    """The page that a query asks for."""

    query: ObjectQuery
    found: Found

    @property
    def body(self) -> dict[str, Any]:
        """As it stands in the answer."""
        query, total = self.query, self.found.total
        after = query.start + query.size
        return {
            "ia::result": self.found.rows,
            "ia::meta": {
                "totalCount": total,
                "start": query.start,
                "pageSize": query.size,
                "next": after if after <= total else None,
                "previous": max(query.start - query.size, 1) if query.start > 1 else None,
            },
        }


def answer(query: ObjectQuery, books: QuerySource, entity: str | None) -> Page:
    """Return the page a query asks for. `entity` None is the top level."""
    table, visibility = books.tables[query.object], _visibility(query, books, entity)
    reader = RecordReader(books.catalogue, books.tables, query.object, books.today())
    first = books.behaviours["null_order"] == "first"
    found = None
    if isinstance(table, SearchableTable):
        found = table.page(query, reader, visibility, null_first=first)
    if found is None:
        rows = matching(query, reader, table.seen(visibility))
        wanted = slice(query.start - 1, query.start - 1 + query.size)
        if query.is_grouped:
            groups = groups_of(query, reader, rows, lambda number: number)
            every_group = shown_groups(query, groups)
            page, total = every_group[wanted], len(every_group)
        else:
            rows = ordered(query, reader, rows, first=first)
            page, total = shown(query, reader, rows[wanted]), len(rows)
        found = Found(page, len(page), total)
    if query.start > max(found.total, 1) and books.behaviours["start_beyond_end"] == "rejected":
        raise rejections.query_invalid(f"start must be from 1 to {found.total}", "/start")
    return Page(query, found)


def everything(
    query: ObjectQuery, books: QuerySource, entity: str | None
) -> Iterator[dict[str, Json]]:
    """Return all rows that a query matches, whatever page it asks for; columns are as asked."""
    query = replace(query, start=1, size=sys.maxsize // 2)
    table, visibility = books.tables[query.object], _visibility(query, books, entity)
    reader = RecordReader(books.catalogue, books.tables, query.object, books.today())
    first = books.behaviours["null_order"] == "first"
    rows: Iterable[dict[str, Json]] | None = None
    if isinstance(table, SearchableTable):
        rows = table.all_of(query, reader, visibility, null_first=first)
    if rows is None:
        rows = cast("list[dict[str, Json]]", answer(query, books, entity).found.rows)
    return ({name: row[name] for name in query.fields} for row in rows)


def _visibility(query: ObjectQuery, books: QuerySource, entity: str | None) -> Visibility:
    behaviours, asked = books.behaviours, books.audit_log.current
    shuffle: int | None = 0
    if behaviours["default_order"] == "by_key":
        shuffle = None
    elif behaviours["default_order"] == "reshuffled" and asked is not None:
        shuffle = asked.number
    return Visibility(
        books.entity_key(entity),
        include_private=query.include_private,
        shared=behaviours["shared_masters"] != "hidden",
        unseen=books.unseen(query.object),
        shuffle=shuffle,
    )


def matching(query: ObjectQuery, reader: RecordReader, rows: list[Row]) -> list[Row]:
    """Return the rows that pass a query's filters."""
    if query.expression is None:
        return rows
    masks: list[Mask] = []
    for one in query.filters:
        convert = comparable(one.kind, fold=query.fold)
        values = [convert(value) for value in reader.column(one.path)(rows)]
        masks.append(mask(one.test, values))
    chosen = holds(query.expression, masks)
    return [row for row, wanted in zip(rows, chosen, strict=True) if wanted]


def shown(query: ObjectQuery, reader: RecordReader, rows: Sequence[Row]) -> list[dict[str, Json]]:
    """Return the rows with the fields that a query asks for, and the column that nobody asks
    for."""
    columns = [reader.column(path)(rows) for path in query.fields]
    names = list(query.fields)
    if reader.type.unasked_column:
        # Recorded live 2026-03: one column more than asked for, numbered after the last one.
        names.insert(0, f"API_QUERY_ALIAS__{len(names) + 1}")
        # What it holds is not known: "2" for some invoices of order entry, nothing for others.
        columns.insert(0, ["2" if row.get("documentId") else None for row in rows])
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def holding(
    table: Table, filters: Sequence[Filter], reader: RecordReader, most: int
) -> tuple[int, list[Row]]:
    """Count the records of any entity that pass all filters, and give the first, oldest first."""
    if isinstance(table, SearchableTable):
        return table.holding(filters, reader, most)
    rows = passing(filters, reader, table.rows.values())
    return len(rows), rows[:most]


def passing(filters: Sequence[Filter], reader: RecordReader, rows: Iterable[Row]) -> list[Row]:
    """Return the rows that pass all filters."""
    rows = list(rows)
    for one in filters:
        convert = comparable(one.kind, fold="")
        masked = mask(one.test, [convert(value) for value in reader.column(one.path)(rows)])
        rows = [row for row, wanted in zip(rows, masked, strict=True) if wanted]
    return rows
