"""The payload template: where each of its values comes from, as `payload:` of a feed says it.

customer.id: customer_id              a column of the line; dots make groups
currency.txnCurrency: {value: USD}    the same for every document
customer.id: {sql: "upper(customer)"} an expression of DuckDB SQL over the line's columns
lines: {txnAmount: amount, …}         a list with an item for each line of the document
lines: {each: {…}, where: "amount <> 0"}   only for some of its lines
lines: [{…}, {…}, {each: {…}}]        a list with these items
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TypeAlias

Place = tuple[str | int, ...]
"""The keys that lead to a part of a payload."""


@dataclass(frozen=True, slots=True)
class FromColumn:
    """The value of a column of the line."""

    column: str


@dataclass(frozen=True, slots=True)
class Constant:
    """The same JSON value in every document."""

    value: object


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object: dotted paths -> values."""

    fields: Mapping[str, Node]


@dataclass(frozen=True, slots=True)
class EachLine:
    """An item for each line of the document, or for those for which the column `where` is true."""

    item: Fields
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Items:
    """A list with these items; an EachLine among them stands for as many as it makes."""

    items: tuple[Node, ...]


Node: TypeAlias = FromColumn | Constant | Fields | EachLine | Items

Refuse = Callable[[Place, str, str], Exception]
"""Makes the error for a place: what is wrong there, and what to do."""

Expression = Callable[[Place, str, "str | None", bool], str]
"""Takes note of an expression (its text, the type asked for, whether it is a condition) and gives
the column that will hold its value."""

_FORMS = "Name a column, or write {value: …} or {sql: …}."


@dataclass(frozen=True)
class PayloadReader:
    """Reads `payload:` as it stands in a feed."""

    refuse: Refuse
    expression: Expression

    def read(self, payload: Mapping[str, object]) -> Fields:
        """Return the template of a payload."""
        return self._fields(payload, ("payload",))

    def _fields(self, given: Mapping[str, object], at: Place) -> Fields:
        fields: dict[str, Node] = {}
        taken: set[tuple[str, ...]] = set()
        for path, value in given.items():
            here = (*at, path)
            parts = tuple(str(path).split("."))
            if not all(parts):
                raise self.refuse(here, f"{path!r} is no field", "Write e.g. customer.id.")
            shorter = {parts[:length] for length in range(1, len(parts))}
            if shorter & taken or any(other[: len(parts)] == parts for other in taken):
                raise self.refuse(here, f"{path} is inside another field", "Keep one of the two.")
            taken.add(parts)
            fields[path] = self._node(value, here)
        return Fields(fields)

    def _node(self, value: object, at: Place) -> Node:
        if isinstance(value, str) and value:
            return FromColumn(value)
        if isinstance(value, list | tuple):
            return Items(tuple(self._item(one, (*at, place)) for place, one in enumerate(value)))
        if not isinstance(value, Mapping) or not value:
            raise self.refuse(at, f"{path_of(at)} must name a column", _FORMS)
        if value.keys() == {"value"}:
            return Constant(self._constant(value["value"], at))
        if "sql" in value and value.keys() <= {"sql", "type"}:
            return FromColumn(self._sql(value, at))
        return self._each(value, at)

    def _item(self, value: object, at: Place) -> Node:
        if isinstance(value, Mapping) and not _is_form(value):
            return self._fields(value, at)
        return self._node(value, at)

    def _each(self, value: Mapping[str, object], at: Place) -> EachLine:
        if "each" not in value:
            return EachLine(self._fields(value, at))
        item, where = value["each"], value.get("where")
        if value.keys() - {"each", "where"} or not isinstance(item, Mapping) or not item:
            raise self.refuse(
                at, f"{path_of(at)} mixes `each` with other keys", "Keep `each` and `where` only."
            )
        if where is not None and not isinstance(where, str):
            raise self.refuse((*at, "where"), "`where` is no expression", "Write e.g. amount <> 0.")
        column = None if where is None else self.expression((*at, "where"), where, None, True)
        return EachLine(self._fields(item, (*at, "each")), column)

    def _sql(self, value: Mapping[str, object], at: Place) -> str:
        sql, type_ = value["sql"], value.get("type")
        if not isinstance(sql, str) or not (type_ is None or isinstance(type_, str)):
            raise self.refuse(at, f"{path_of(at)}.sql is no text", 'Write {sql: "upper(name)"}.')
        return self.expression(at, sql, type_, False)

    def _constant(self, value: object, at: Place) -> object:
        if isinstance(value, list | tuple):
            return [self._constant(one, at) for one in value]
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, bool | int | str) and value != "":
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        raise self.refuse(at, f"{path_of(at)}.value is no value", "Leave out what is to be empty.")


def columns_of(node: Node, *, each_line: bool = False) -> Iterator[tuple[str, bool]]:
    """Return the columns of a template in order, each with whether it is of a line (of an EachLine)
    rather than of the document as a whole."""
    match node:
        case FromColumn(column):
            yield column, each_line
        case Fields(fields):
            for inner in fields.values():
                yield from columns_of(inner, each_line=each_line)
        case Items(items):
            for inner in items:
                yield from columns_of(inner, each_line=each_line)
        case EachLine(item, where):
            if where is not None:
                yield where, True
            yield from columns_of(item, each_line=True)


def fields_of(node: Node, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield where the columns go: (Intacct's field, the column that it has the value of)."""
    match node:
        case FromColumn(column):
            yield path, column
        case Fields(fields):
            for name, inner in fields.items():
                yield from fields_of(inner, f"{path}.{name}" if path else name)
        case Items(items):
            for inner in items:
                yield from fields_of(inner, path)
        case EachLine(item, _):
            yield from fields_of(item, path)


def repeats(node: Node) -> bool:
    """Return whether a template has an item for each line of a document somewhere."""
    match node:
        case EachLine():
            return True
        case Fields(fields):
            return any(repeats(inner) for inner in fields.values())
        case Items(items):
            return any(repeats(inner) for inner in items)
    return False


def path_of(at: Place) -> str:
    """Return a place as a person writes it: payload.lines[0].memo."""
    return "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" if index else step
        for index, step in enumerate(at)
    )


def _is_form(value: Mapping[str, object]) -> bool:
    """Return whether a mapping is one of a template's forms rather than the fields of an item."""
    keys = value.keys()
    return keys == {"value"} or ("sql" in keys and keys <= {"sql", "type"}) or "each" in keys
