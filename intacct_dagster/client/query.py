"""The query service, `POST /services/core/query`: what is asked, and one page of the answer.

Rows are flat: a dotted path stays one key ("customer.id"). Columns nobody asked for may appear and
are ignored (recorded live 2026-03: `API_QUERY_ALIAS__25`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from intacct_dagster.client.errors import About, AnswerNotUnderstood
from intacct_dagster.client.http.responses import UNREADABLE

#: The most rows that Intacct gives in one page (Sage's OpenAPI, core-query).
LARGEST_PAGE: Final = 4000

Scalar = str | int | bool | None
#: For example ``{"$gte": {"audit.modifiedDateTime": "2026-10-01T00:00:00Z"}}``. The operators are
#: $eq $ne $lt $lte $gt $gte $in $notIn $between $contains $startsWith $endsWith and their $not
#: forms; there is no $ge, $like or $isNull. $eq and $ne take null.
Filter = Mapping[str, Mapping[str, Scalar | Sequence[Scalar]]]
#: For example ``{"key": "asc"}``.
Order = Mapping[str, str]


@dataclass(frozen=True)
class Query:
    """One page of a query. `start` counts from 1; `size` is at most 4,000.

    Filters are numbered from 1 in `filter_expression` ("(1 and 2) or 3"); without one all must
    hold. `parameters` are the service's filterParameters, such as ``{"includePrivate": True}``.
    """

    object: str
    fields: Sequence[str]
    filters: Sequence[Filter] = ()
    filter_expression: str | None = None
    order_by: Sequence[Order] = ()
    start: int = 1
    size: int = 100
    parameters: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError(f"a query of {self.object} names at least one field")
        if self.start < 1 or not 1 <= self.size <= LARGEST_PAGE:
            raise ValueError(f"start {self.start} or size {self.size} is out of range")

    def body(self) -> bytes:
        """Return the request body. Keys that are not needed are left out."""
        wire: dict[str, object] = {
            "object": self.object,
            "fields": list(self.fields),
            "start": self.start,
            "size": self.size,
        }
        if self.filters:
            wire["filters"] = list(self.filters)
        if self.filter_expression:
            wire["filterExpression"] = self.filter_expression
        if self.order_by:
            wire["orderBy"] = list(self.order_by)
        if self.parameters:
            wire["filterParameters"] = dict(self.parameters)
        return msgspec.json.encode(wire)


@dataclass(frozen=True)
class QueryPage:
    """One page. `raw` is the exact bytes of the JSON array of rows.

    `total_count` counts everything that the query matches, not only this page. `page_size` is the
    size in force, also on a short last page, and `start` is the one asked for (recorded live
    2026-03). `read_at` is the time of the answer by Intacct's own clock, its `Date` header.
    """

    raw: msgspec.Raw
    total_count: int
    page_size: int
    next: int | None
    start: int | None = None
    read_at: datetime | None = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as dicts, decoded at each call. JSON numbers with a fraction are Decimal.

        Raises AnswerNotUnderstood if they are not a list of objects.
        """
        try:
            return _ROWS.decode(self.raw)
        except UNREADABLE as error:
            raise AnswerNotUnderstood(f"The rows of a query are not objects: {error}") from None


class _Meta(msgspec.Struct):
    total_count: int = msgspec.field(name="totalCount")
    page_size: int = msgspec.field(name="pageSize")
    next: int | None = None
    start: int | None = None


class _Envelope(msgspec.Struct):
    result: msgspec.Raw = msgspec.field(name="ia::result")
    meta: _Meta = msgspec.field(name="ia::meta")


class _Closing(msgspec.Struct):
    meta: _Meta = msgspec.field(name="ia::meta")


_BEGINS: Final = re.compile(rb'\s*\{\s*"ia::result"\s*:\s*(?=\[)')
_ENDS: Final = re.compile(rb"\]\s*,\s*\Z")
_SPACE: Final = 64  # bytes between the rows and what follows them

_CLOSING = msgspec.json.Decoder(_Closing)
_ROWS = msgspec.json.Decoder(list[dict[str, Any]], float_hook=Decimal)
_ENVELOPE = msgspec.json.Decoder(_Envelope)


def _opened(body: bytes) -> _Envelope | None:
    """The envelope of a body of the usual form, without a look at its rows; None for another form.

    What is between its beginning and its end is decoded by whoever looks at the rows, which proves
    it to be one array: to find where a value ends, a decoder would go through all of it once more.
    """
    head = _BEGINS.match(body)
    end = body.rfind(b'"ia::meta"')
    last = _ENDS.search(body, max(end - _SPACE, 0), max(end, 0))
    if head is None or last is None:
        return None
    try:
        meta = _CLOSING.decode(b"{" + body[end:]).meta
    except UNREADABLE:
        return None
    return _Envelope(msgspec.Raw(memoryview(body)[head.end() : last.start() + 1]), meta)


def read_page(body: bytes, about: About, read_at: datetime | None = None) -> QueryPage:
    """Return the page in the body of an answer of `read_at`. Raises AnswerNotUnderstood."""
    try:
        envelope = _opened(body) or _ENVELOPE.decode(body)
    except UNREADABLE as error:
        raise AnswerNotUnderstood(
            f"The answer to a query of {about} is not understood: {error}",
            remedy="Check base_url and any proxy in between; nothing of the answer was used.",
            entity=about.entity,
            object=about.object,
        ) from None
    meta = envelope.meta
    return QueryPage(
        envelope.result, meta.total_count, meta.page_size, meta.next, meta.start, read_at
    )
