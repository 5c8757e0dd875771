"""Rows as pagination sees them: three fields of each are decoded, the rest stays bytes."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from intacct_dagster.client.errors import AnswerNotUnderstood
from intacct_dagster.client.query import QueryPage

_Key = Annotated[str, msgspec.Meta(min_length=1)]
_Time = Annotated[datetime, msgspec.Meta(tz=True)]
_ENTITY: Final = msgspec.field(name="entity.id")

_ANY_JSON: Final = json.JSONDecoder()
_NOT_SPACE: Final = re.compile(r"\S")
_LIKELY_ROW: Final = 16 * 1024  # bytes


class DatedRow(msgspec.Struct, gc=False):  # it cannot be part of a cycle
    """The three fields of a row that pagination itself looks at; the rest is never decoded."""

    key: _Key
    changed: _Time | None
    entity: str | None

    @property
    def second(self) -> datetime | None:
        """The change time in whole seconds, as filters compare it."""
        changed = self.changed
        return changed.replace(microsecond=0) if changed and changed.microsecond else changed


class UndatedRow(msgspec.Struct, gc=False):
    """The same of a row of an object without change times; it need not belong to an entity."""

    key: _Key
    entity: str | None = msgspec.field(name="entity.id", default=None)

    @property
    def changed(self) -> None:
        """No change time."""
        return

    @property
    def second(self) -> None:
        """No change time."""
        return


Rows = Sequence[DatedRow | UndatedRow]
RowDecoder = msgspec.json.Decoder[list[DatedRow]] | msgspec.json.Decoder[list[UndatedRow]]

UNDATED: Final = msgspec.json.Decoder(list[UndatedRow])


@functools.cache
def dated_decoder(changed: str, ours: str | None) -> msgspec.json.Decoder[list[DatedRow]]:
    """Return a decoder of rows whose change time is at the path `changed`.

    With `ours` it accepts rows of that entity (or of none) only.
    """
    row = msgspec.defstruct(
        "_DatedRow",
        [
            ("key", _Key),
            ("changed", _Time | None, msgspec.field(name=changed)),
            # The decoder compares what it would otherwise make a text of, for each row.
            ("entity", Literal[ours, "", None] if ours else str | None, _ENTITY),
        ],
        bases=(DatedRow,),
        gc=False,
    )
    return msgspec.json.Decoder(list[row])  # type: ignore[valid-type]


def rows_of_last_second(rows: Rows) -> Rows:
    """Return the rows at the end that share the last row's second."""
    last, first = rows[-1].second, len(rows)
    while first and rows[first - 1].second == last:
        first -= 1
    return rows[first:]


def without_first(page: msgspec.Raw, count: int) -> tuple[bytes | memoryview, ...]:
    """Return the bytes of a JSON array without its first `count` elements, of which it has more."""
    if not count:
        return (memoryview(page),)
    whole = memoryview(page)
    head = bytes(whole[: count * _LIKELY_ROW]).decode("utf-8", "ignore")
    at = head.index("[")
    try:
        for _ in range(count):
            at = _NOT_SPACE.search(head, at + 1).start()  # type: ignore[union-attr]
            _, at = _ANY_JSON.raw_decode(head, at)
            at = head.index(",", at)
    except (ValueError, AttributeError, RecursionError):  # they are longer than that
        elements = msgspec.json.decode(page, type=list[msgspec.Raw])[count:]
        return (b"[", b",".join(elements), b"]")
    return (b"[", whole[len(head[: at + 1].encode()) :])


def key_at(error: Exception, page: QueryPage) -> str:
    """Return the key of the row that a decoder names by its place ("$[3].key"), in words."""
    place = re.search(r"\$\[(\d+)\]", str(error))
    try:
        return f", in the row with key {page.rows[int(place[1])].get('key')}" if place else ""
    except (AnswerNotUnderstood, IndexError):
        return ""
