"""Fields of an object as columns: a name of its own for each, a type, and what it holds.

A name that was given to a field stays its name. Where two fields would get one name, all but the
first of their paths get theirs with a few characters of a hash of the path, so that it does not
depend on the order in which fields came. Where a type changes, the column takes both if no value
changes by it; otherwise the field gets another column, and the old one keeps what it has.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from intacct_dagster.client import CHANGED, ModelField, ObjectModel
from intacct_dagster.config import ObjectSettings
from intacct_dagster.warehouse import Column, column_for
from intacct_dagster.warehouse.raw import RAW_COLUMNS, SchemaField
from intacct_dagster.warehouse.widening import holds_both

KEY = "key"
ENTITY = "entity.id"

#: Their names are written into statements: nothing else may have them.
_FIRST = (KEY, ENTITY, CHANGED)
_OWN = frozenset(column.name for column in RAW_COLUMNS)
#: What the view of an object's history has besides its fields.
_OF_HISTORY = frozenset({"valid_from", "valid_to", "known_from", "known_to"})
_NUMBERED = re.compile(r"_\d+$")


class Columns:
    """The columns of an object, as `known` (by path, as stored) and its settings have them."""

    def __init__(
        self, what: ObjectSettings, known: Mapping[str, SchemaField], paths: Iterable[str]
    ) -> None:
        self._types = what.types
        self._known = known
        self._names = column_names(known, paths)

    def of(self, field: ModelField) -> Column:
        """Return the column of a field."""
        allowed = [str(value) for value in field.enum or () if value not in (None, "")]
        one_of = f": one of {', '.join(allowed)}" if allowed else ""
        return self.at(
            field.path, field.type, field.format, f"{field.description or field.path}{one_of}"
        )

    def at(self, path: str, type: str, form: str | None, comment: str) -> Column:
        """Return the column of what is at a path, by the model's type and format of it."""
        column = column_for(path, type, form, comment)
        if path in self._types:
            column = replace(column, type=TYPES[self._types[path]])
        name = self._names.get(path, column.name)
        held = self._known.get(path)
        if held is None or held.column_type == column.type:
            return replace(column, name=name)
        # A type that the user asks for is that of a column of its own, and not a wider one's.
        both = None if path in self._types else holds_both(held.column_type, column.type)
        if both is not None:
            return replace(column, name=name, type=both)
        return replace(column, name=self._next_name(name))

    def _next_name(self, name: str) -> str:
        base = _NUMBERED.sub("", name) if _NUMBERED.search(name) else name
        number = int(name.rpartition("_")[2]) if base != name else 1
        taken = {each.column_name for each in self._known.values()} | set(self._names.values())
        return next(
            each for n in range(number + 1, number + 1000) if (each := f"{base}_{n}") not in taken
        )


#: What `types:` of an object in intacct.yaml may say, and the type of the column.
TYPES: Mapping[str, str] = {
    "text": "VARCHAR",
    "integer": "BIGINT",
    "decimal": "DECIMAL(38,10)",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "json": "JSON",
}


def column_names(known: Mapping[str, SchemaField], paths: Iterable[str]) -> dict[str, str]:
    """Return the names of the columns of these paths: those that are known keep theirs."""
    names = {path: field.column_name for path, field in known.items()}
    taken = {*names.values(), *_OWN, *_OF_HISTORY}
    for path, name in names.items():
        taken |= _columns_before(path, name)
    fresh = sorted(set(paths) - names.keys(), key=lambda path: (path not in _FIRST, path))
    for path in fresh:
        plain = column_for(path, "string").name
        names[path] = plain if plain and plain not in taken else _with_hash(plain, path, taken)
        taken.add(names[path])
    return names


def _columns_before(path: str, name: str) -> set[str]:
    """Return the columns that the field had before its type changed: the table still has them."""
    base, _, number = name.rpartition("_")
    if name == column_for(path, "string").name or not number.isdecimal() or not base:
        return set()
    return {base, *(f"{base}_{n}" for n in range(2, min(int(number), 1000)))}


def _with_hash(plain: str, path: str, taken: set[str]) -> str:
    digest = hashlib.sha256(path.encode()).hexdigest()
    start = f"{plain or 'field'}_"
    return next(name for length in range(6, 64) if (name := start + digest[:length]) not in taken)


def got_columns(
    what: ObjectSettings, model: ObjectModel, columns: Columns
) -> tuple[tuple[Column, ...], list[str]]:
    """The columns that whole records fill; or what of it there is not, with what may be meant."""
    fields = {field.path: field for field in model.fields}
    sent = {field.path for field in model.write_only}
    whole = {*model.lists, *(each.path for each in model.references)}
    whole |= {path.rsplit(".", n)[0] for path in fields for n in range(1, path.count(".") + 1)}
    got: list[Column] = []
    amiss: list[str] = []
    for path in dict.fromkeys(what.get_fields):
        if path in (KEY, CHANGED, ENTITY):
            amiss.append(f"{what.name}: {path} is always read by query: leave it out of get_fields")
        elif path in fields:
            got.append(columns.of(fields[path]))
        elif path in whole:
            got.append(columns.at(path, "object", None, f"{path}, as the record has it"))
        else:
            near = difflib.get_close_matches(path, {*fields, *whole}, n=3)
            meant = f": did you mean {' or '.join(near)}?" if near else ""
            why = "can only be sent, not read" if path in sent else "is not in its records"
            amiss.append(f"{what.name}: {path} {why}{meant}")
    return tuple(got), amiss
