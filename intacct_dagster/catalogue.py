"""What each configured object offers: learnt from Intacct, held against what was known before.

The model names an object's fields and says of none whether a query may ask for it. So one query
asks for all of them; what it refuses is left out. What was learnt is kept in the warehouse, and
asked again only when the model has changed.
"""

from __future__ import annotations

import difflib
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from intacct_dagster.config import ObjectSettings
from intacct_dagster.intacct import (
    IntacctClient,
    ModelField,
    ObjectModel,
    Query,
    RequestRefused,
)
from intacct_dagster.warehouse import (
    CatalogueField,
    Column,
    Warehouse,
    column_for,
    read_catalogue,
    store_catalogue,
)

KEY = "key"
CHANGED = "audit.modifiedDateTime"
ENTITY = "entity.id"

# Refused one at a time, so an object with more of them costs that many requests, once.
_MOST_REFUSED = 40
_NAMED = re.compile(r"The (\S+) field")


@dataclass(frozen=True)
class Shape:
    """How an object is read: the columns, and whether it has change times to read it by.

    `new` and `vanished` are fields that came and went since it was read last; the column of a
    vanished one stays in the table, and is null in what is read from now on. `unreadable` are
    named by the model, but no query may ask for them.
    """

    columns: tuple[Column, ...]
    dated: bool
    new: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    @property
    def fence(self) -> tuple[str, ...]:
        """What is read to tell rows apart and whose they are."""
        return tuple(c.path for c in self.columns if c.path in (KEY, ENTITY))


class Catalogue:
    """The shapes of a company's objects. Thread-safe; asks for each object once."""

    def __init__(self, warehouse: Warehouse, now: Callable[[], datetime]) -> None:
        self._warehouse = warehouse
        self._now = now
        self._shapes: dict[str, Shape] = {}
        self._lock = threading.Lock()

    def learn(
        self, client: IntacctClient, objects: Sequence[ObjectSettings]
    ) -> Mapping[str, Shape]:
        """The shapes of these objects. Raises RequestRefused, with a line for each thing amiss."""
        with self._lock:
            wanted = [each for each in objects if each.name not in self._shapes]
            if wanted:
                self._learn(client, wanted)
            return {each.name: self._shapes[each.name] for each in objects}

    def _learn(self, client: IntacctClient, objects: Sequence[ObjectSettings]) -> None:
        held = read_catalogue(self._warehouse)
        problems: list[str] = []
        learnt: dict[str, Shape] = {}
        changed: dict[str, list[CatalogueField]] = {}
        for each in objects:
            try:
                model = client.model(each.name)
            except RequestRefused as error:
                problems.append(" ".join(str(error).splitlines()))
                continue
            known = held.get(each.name, {})
            amiss = [*_not_offered(each, model), *_other_types(each, model, known)]
            refused: set[str] = set()
            if not amiss:
                refused = self._refused(client, each, model, known)
                amiss = [
                    f"{each.name} has the field {path}, but no query may ask for it"
                    for path in sorted(refused & set(each.fields or ()))
                ]
            if amiss:
                problems += amiss
                continue
            fields = self._fields(model, known, refused)
            if fields != sorted(known.values(), key=lambda field: field.path):
                changed[each.name] = fields
            learnt[each.name] = _shape(each, model, known, refused)
        if problems:
            raise RequestRefused(
                "\n".join(problems),
                remedy="Correct `objects` in intacct.yaml; nothing was read.",
            )
        store_catalogue(self._warehouse, changed)
        self._shapes |= learnt

    def _refused(
        self,
        client: IntacctClient,
        what: ObjectSettings,
        model: ObjectModel,
        known: Mapping[str, CatalogueField],
    ) -> set[str]:
        """Fields of the model that a query refuses: as known, or learnt by asking for all."""
        offered = {field.path for field in model.fields}
        if offered == {path for path, field in known.items() if field.vanished_at is None}:
            return {path for path in offered if not known[path].selectable}
        refused: set[str] = set()
        asked = sorted(offered)
        for _ in range(_MOST_REFUSED):
            try:
                client.query(Query(what.name, asked, size=1))
            except RequestRefused as error:
                named = _named(error, asked)
                if named is None:
                    raise
                refused.add(named)
                asked.remove(named)
            else:
                return refused
        raise RequestRefused(
            f"{what.name} has more than {_MOST_REFUSED} fields that no query may ask for.",
            object=what.name,
            remedy="Name the `fields` that you want in intacct.yaml.",
        )

    def _fields(
        self,
        model: ObjectModel,
        known: Mapping[str, CatalogueField],
        refused: set[str],
    ) -> list[CatalogueField]:
        now = self._now()
        fields = {
            field.path: CatalogueField(
                path=field.path,
                column_name=column.name,
                column_type=column.type,
                description=column.comment,
                selectable=field.path not in refused,
                first_seen_at=known[field.path].first_seen_at if field.path in known else now,
            )
            for field in model.fields
            for column in [_column(field)]
        }
        for path, field in known.items():
            if path not in fields:
                fields[path] = replace(field, vanished_at=field.vanished_at or now)
        return [fields[path] for path in sorted(fields)]


def _not_offered(what: ObjectSettings, model: ObjectModel) -> list[str]:
    """What is configured or needed, and not there, with what may have been meant."""
    offered = [field.path for field in model.fields]
    amiss = [] if KEY in offered else [f"{what.name} has no key, so its rows cannot be told apart"]
    if CHANGED in offered and ENTITY not in offered:
        amiss.append(f"{what.name} has no {ENTITY}, so its rows cannot be told from others'")
    for path in what.fields or ():
        if path not in offered:
            near = difflib.get_close_matches(path, offered, n=3)
            meant = f": did you mean {' or '.join(near)}?" if near else ""
            only_sent = path in {field.path for field in model.write_only}
            why = "can only be sent, not read" if only_sent else "is not a field that can be read"
            amiss.append(f"{what.name}: {path} {why}{meant}")
    return amiss


def _other_types(
    what: ObjectSettings, model: ObjectModel, known: Mapping[str, CatalogueField]
) -> list[str]:
    chosen = set(what.fields) | {KEY, CHANGED, ENTITY} if what.fields is not None else None
    return [
        f"{what.name}: {field.path} was {known[field.path].column_type} and is now "
        f"{column.type}; drop raw.{_table(what.name)} and its rows in meta.catalogue, "
        "and materialize it anew, or leave the field out"
        for field in model.fields
        for column in [_column(field)]
        if (chosen is None or field.path in chosen)
        and field.path in known
        and known[field.path].column_type != column.type
    ]


def _table(object: str) -> str:
    return re.sub(r"[^0-9a-z]+", "_", object.lower())


def _shape(
    what: ObjectSettings,
    model: ObjectModel,
    known: Mapping[str, CatalogueField],
    refused: set[str],
) -> Shape:
    offered = {field.path for field in model.fields}
    wanted = None if what.fields is None else set(what.fields) | {KEY, CHANGED, ENTITY}
    return Shape(
        columns=tuple(
            _column(field)
            for field in model.fields
            if field.path not in refused and (wanted is None or field.path in wanted)
        ),
        dated=CHANGED in offered - refused,
        new=tuple(sorted(offered - known.keys())) if known else (),
        vanished=tuple(
            sorted(p for p, f in known.items() if p not in offered and f.vanished_at is None)
        ),
        unreadable=tuple(sorted(refused)),
    )


def _named(error: RequestRefused, asked: Sequence[str]) -> str | None:
    """The field that a refusal is about (fact: one field a refusal, recorded live 2026-03)."""
    texts = [error.what, *(detail.message for detail in error.details)]
    targets = [detail.target.lstrip("/") for detail in error.details if detail.target]
    named = [match for text in texts for match in _NAMED.findall(text)]
    return next((name.strip() for name in [*named, *targets] if name.strip() in asked), None)


def _column(field: ModelField) -> Column:
    allowed = [str(value) for value in field.enum or () if value not in (None, "")]
    one_of = f": one of {', '.join(allowed)}" if allowed else ""
    return column_for(
        field.path, field.type, field.format, f"{field.description or field.path}{one_of}"
    )
