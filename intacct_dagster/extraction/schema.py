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
from datetime import datetime, timedelta

from intacct_dagster.client import (
    CHANGED,
    AccessDenied,
    AuthenticationRefused,
    IntacctClient,
    NotReached,
    ObjectModel,
    Query,
    RequestRefused,
    Throttled,
    WrongEntity,
)
from intacct_dagster.config import ObjectSettings
from intacct_dagster.extraction.columns import ENTITY, KEY, Columns, got_columns
from intacct_dagster.extraction.parents import Parent, parent_of
from intacct_dagster.locks import LockError
from intacct_dagster.state import StateError
from intacct_dagster.warehouse import Column, Warehouse, WarehouseError
from intacct_dagster.warehouse.raw import (
    SchemaField,
    read_schemas,
    store_schemas,
)

# A permission that was given since is found within this time.
_ASKED_AGAIN = timedelta(days=7)
_NAMED = re.compile(r"The (\S+) field")
# What keeps every object from being learnt, so that asking for the next one is no use.
_OF_ALL_OBJECTS = (
    AuthenticationRefused,
    NotReached,
    Throttled,
    LockError,
    StateError,
    WarehouseError,
)


@dataclass(frozen=True)
class ObjectSchema:
    """How an object is read: the columns, and what it is read by.

    `dated`: by change times of its own; with a `parent`, by those of the document that its rows
    are lines of; else it is read whole. `columns` come from queries, `got` from whole records.

    `by_period`: it is given by reporting period, and read whole.

    `new` and `vanished` are fields that came and went since it was read last; the column of a
    vanished one stays in the table, and is null in what is read from now on. `retyped` have another
    type than when they were read last. `parent_column` has the change time of the document.
    `unreadable` are
    named by the model, but no query may ask for them.
    """

    columns: tuple[Column, ...]
    dated: bool
    parent: Parent | None = None
    got: tuple[Column, ...] = ()
    parent_column: Column | None = None
    new: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()
    retyped: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    by_period: bool = False

    @property
    def read_by(self) -> str:
        """In words, for people."""
        if self.dated:
            return f"changes: by {CHANGED}"
        if self.by_period:
            return "snapshot: whole reporting periods, because it has no keys and takes no queries"
        if self.parent is None:
            return "snapshot: all of it, because it has no change times"
        if self.parent.reached:
            return f"lines: by {self.parent.changed}"
        return f"lines: by {self.parent.key}, of each {self.parent.object} that changed"

    @property
    def query_paths(self) -> list[str]:
        """The paths that queries ask for."""
        return [column.path for column in self.columns]

    @property
    def record_paths(self) -> list[str]:
        """The paths whose values whole records fill."""
        return [column.path for column in self.got]

    @property
    def raw_columns(self) -> tuple[Column, ...]:
        """The columns of the raw table that are read, the change time of a document included."""
        parent = (self.parent_column,) if self.parent_column is not None else ()
        return (*self.columns, *self.got, *parent)

    @property
    def fence(self) -> tuple[str, ...]:
        """What is read to tell rows apart and whose they are."""
        return tuple(c.path for c in self.columns if c.path in (KEY, ENTITY))

    def without(self, path: str) -> ObjectSchema:
        """Return the schema without a field that a query refuses."""
        return replace(
            self,
            columns=tuple(each for each in self.columns if each.path != path),
            unreadable=tuple(sorted({*self.unreadable, path})),
        )


class CompanySchema:
    """The schemas of a company's objects. Thread-safe; asks for each object once."""

    def __init__(self, warehouse: Warehouse, now: Callable[[], datetime]) -> None:
        self._warehouse = warehouse
        self._now = now
        self._schemas: dict[str, ObjectSchema] = {}
        self._known: dict[str, list[SchemaField]] = {}
        self._asked: set[str] = set()
        self._lock = threading.Lock()

    def learn(
        self, client: IntacctClient, objects: Sequence[ObjectSettings]
    ) -> Mapping[str, ObjectSchema]:
        """Return the schemas of these objects.

        Raises RequestRefused, with a line for each thing that is wrong.
        """
        amiss = self.learn_each(client, objects)
        for error in amiss.values():
            if not isinstance(error, RequestRefused):
                raise error
        if amiss:
            raise RequestRefused("\n".join(map(str, amiss.values())))
        with self._lock:
            return {each.name: self._schemas[each.name] for each in objects}

    def learn_each(
        self, client: IntacctClient, objects: Sequence[ObjectSettings]
    ) -> Mapping[str, Exception]:
        """Learn the schemas of these objects, and return the errors of those that cannot be learnt.

        One that cannot be learnt does not keep the others from it. Raises what concerns all of
        them: no session, no connection, a warehouse that is held.
        """
        with self._lock:
            wanted = [each for each in objects if each.name not in self._schemas]
            return self._learn(client, wanted) if wanted else {}

    def fields(self, object: str) -> Sequence[SchemaField]:
        """Return what was learnt of the fields of an object, as the warehouse keeps it."""
        with self._lock:
            return self._known[object]

    def _learn(
        self, client: IntacctClient, objects: Sequence[ObjectSettings]
    ) -> Mapping[str, Exception]:
        held = read_schemas(self._warehouse)
        errors: dict[str, Exception] = {}
        learnt: dict[str, ObjectSchema] = {}
        all_: dict[str, list[SchemaField]] = {}
        changed: dict[str, list[SchemaField]] = {}
        for each in objects:
            known = held.get(each.name, {})
            try:
                learnt[each.name], fields = self._examined(client, each, known)
            except _OF_ALL_OBJECTS:
                raise
            except Exception as error:  # also a defect of ours: the others are learnt all the same
                if isinstance(error, AccessDenied | WrongEntity) and error.object is None:
                    raise  # it is the session that is refused, and so it is for the others
                errors[each.name] = error
                continue
            all_[each.name] = fields
            if fields != sorted(known.values(), key=lambda field: field.path):
                changed[each.name] = fields
        store_schemas(self._warehouse, changed)
        self._schemas |= learnt
        self._known |= all_
        return errors

    def _examined(
        self, client: IntacctClient, each: ObjectSettings, known: Mapping[str, SchemaField]
    ) -> tuple[ObjectSchema, list[SchemaField]]:
        found = self._examine(client, each, known)
        if isinstance(found, list):
            raise RequestRefused(
                "\n".join(found),
                entity=client.entity_id,
                object=each.name,
                remedy="Correct `objects` in intacct.yaml; nothing of it was read.",
            )
        return found

    def look(self, client: IntacctClient, what: ObjectSettings) -> ObjectSchema | list[str]:
        """Return how an object would be read, or all that is amiss with it. Nothing is kept."""
        found = self._examine(client, what, read_schemas(self._warehouse).get(what.name, {}))
        return found if isinstance(found, list) else found[0]

    def _examine(
        self, client: IntacctClient, each: ObjectSettings, known: Mapping[str, SchemaField]
    ) -> tuple[ObjectSchema, list[SchemaField]] | list[str]:
        try:
            model = client.model(each.name)
        except RequestRefused as error:
            return [" ".join(str(error).splitlines())]
        amiss = _not_offered(each, model, known)
        refused: set[str] = set()
        if not amiss and not model.by_period:
            refused = self._refused(client, each, model, known)
            amiss = [
                f"{each.name} has the field {path}, but no query may ask for it"
                for path in sorted(refused & set(each.fields or ()) - known.keys())
            ]
            amiss += _not_distinguished(each, model, refused)
        if amiss:
            return amiss
        offered = {field.path for field in model.fields} - refused
        parent, amiss = parent_of(client, each, model, offered)
        paths = [*(field.path for field in model.fields), *each.get_fields]
        columns = Columns(each, known, [*paths, *([parent.changed] if parent is not None else [])])
        got, not_there = got_columns(each, model, columns)
        amiss += not_there
        if amiss:
            return amiss
        schema = _schema_of(each, model, known, refused, parent, got, columns)
        return schema, self._fields(each, model, known, refused, columns)

    def _refused(
        self,
        client: IntacctClient,
        what: ObjectSettings,
        model: ObjectModel,
        known: Mapping[str, SchemaField],
    ) -> set[str]:
        """Fields of the model that a query refuses: as known, or learnt by asking for all.

        Each answer names one of them (recorded live 2026-03), so each costs a request: once, and
        again after `_ASKED_AGAIN`, because a permission may have been given since.
        """
        offered = {field.path for field in model.fields}
        present = {path: field for path, field in known.items() if field.vanished_at is None}
        if offered == present.keys():
            refused = {path for path in offered if not present[path].selectable}
            asked_at = [each.asked_at for each in present.values() if each.asked_at is not None]
            if not refused or (asked_at and self._now() - min(asked_at) < _ASKED_AGAIN):
                return refused
        return self._ask_for_all(client, what, offered)

    def _ask_for_all(
        self, client: IntacctClient, what: ObjectSettings, offered: set[str]
    ) -> set[str]:
        refused: set[str] = set()
        asked = sorted(offered)
        while asked:
            try:
                client.query(Query(what.name, asked, size=1))
            except RequestRefused as error:
                named = refused_field(error, asked)
                if named is None:
                    raise
                refused.add(named)
                asked.remove(named)
            else:
                break
        self._asked.add(what.name)
        return refused

    def _fields(
        self,
        what: ObjectSettings,
        model: ObjectModel,
        known: Mapping[str, SchemaField],
        refused: set[str],
        columns: Columns,
    ) -> list[SchemaField]:
        now = self._now()
        asked = what.name in self._asked
        fields: dict[str, SchemaField] = {}
        for field in model.fields:
            column, held = columns.of(field), known.get(field.path)
            fields[field.path] = SchemaField(
                path=field.path,
                column_name=column.name,
                column_type=column.type,
                description=column.comment,
                selectable=field.path not in refused,
                first_seen_at=held.first_seen_at if held is not None else now,
                asked_at=now if asked or held is None else held.asked_at,
            )
        for path, held in known.items():
            if path not in fields:
                fields[path] = replace(held, vanished_at=held.vanished_at or now)
        self._asked.discard(what.name)
        return [fields[path] for path in sorted(fields)]


def _not_offered(
    what: ObjectSettings, model: ObjectModel, known: Mapping[str, SchemaField]
) -> list[str]:
    """Return what is configured or needed, and not there, with what may have been meant.

    A field that was there once, and went, keeps no object from being read.
    """
    offered = [field.path for field in model.fields]
    amiss = (
        [] if KEY in offered else [f"{what.name} has no key, so its rows cannot be distinguished"]
    )
    if CHANGED in offered and ENTITY not in offered:
        amiss.append(
            f"{what.name} has no {ENTITY}, so its rows cannot be distinguished from others'"
        )
    for path in (*(what.fields or ()), *what.exclude, *what.types):
        if path not in offered and path not in known:
            near = difflib.get_close_matches(path, offered, n=3)
            meant = f": did you mean {' or '.join(near)}?" if near else ""
            only_sent = path in {field.path for field in model.write_only}
            why = "can only be sent, not read" if only_sent else "is not a field that can be read"
            amiss.append(f"{what.name}: {path} {why}{meant}")
    return amiss


def _not_distinguished(what: ObjectSettings, model: ObjectModel, refused: set[str]) -> list[str]:
    """Return what is needed of each row, and no query gives."""
    dated = CHANGED in {field.path for field in model.fields} - refused
    needed = {KEY, ENTITY} if dated else {KEY}
    return [
        f"{what.name} has the field {path}, but no query gives it, so its rows cannot be "
        "distinguished: leave the object out, or ask Sage why"
        for path in sorted(needed & refused)
    ]


def _schema_of(
    what: ObjectSettings,
    model: ObjectModel,
    known: Mapping[str, SchemaField],
    refused: set[str],
    parent: Parent | None,
    got: tuple[Column, ...],
    columns: Columns,
) -> ObjectSchema:
    offered = {field.path for field in model.fields}
    needed = {KEY, CHANGED, ENTITY} | ({parent.key} if parent is not None else set())
    wanted = None if what.fields is None else set(what.fields) | needed
    alike = _alike_but_for_case(offered - refused, known)
    elsewhere = {column.path for column in got} | refused | alike | (set(what.exclude) - needed)
    return ObjectSchema(
        columns=tuple(
            columns.of(field)
            for field in model.fields
            if field.path not in elsewhere and (wanted is None or field.path in wanted)
        ),
        parent_column=_parent_column(parent, columns),
        retyped=tuple(
            field.path
            for field in model.fields
            if field.path in known and columns.of(field).type != known[field.path].column_type
        ),
        dated=CHANGED in offered - refused and parent is None and what.read_by != "snapshot",
        parent=parent,
        got=got,
        new=tuple(sorted(offered - known.keys())) if known else (),
        vanished=tuple(
            sorted(p for p, f in known.items() if p not in offered and f.vanished_at is None)
        ),
        unreadable=tuple(sorted(refused | alike)),
        by_period=model.by_period,
    )


def _alike_but_for_case(paths: set[str], known: Mapping[str, SchemaField]) -> set[str]:
    """Return all but one of those paths that differ only in case: DuckDB reads one of them.

    That is one which every row needs, else the one which the model named first.
    """

    def place(path: str) -> tuple[bool, bool, str, str]:
        held = known.get(path)
        seen = held.first_seen_at.isoformat() if held is not None else ""
        return path not in (KEY, ENTITY, CHANGED), held is None, seen, path

    first: dict[str, str] = {}
    return {
        path for path in sorted(paths, key=place) if first.setdefault(path.lower(), path) != path
    }


def _parent_column(parent: Parent | None, columns: Columns) -> Column | None:
    if parent is None:
        return None
    about = f"When the {parent.object} that the line belongs to changed last: the partition's day"
    return columns.at(parent.changed, "string", "date-time", about)


def refused_field(error: RequestRefused, asked: Sequence[str]) -> str | None:
    """The field that a refusal is about (fact: one field a refusal, recorded live 2026-03)."""
    texts = [error.what, *(detail.message for detail in error.details)]
    targets = [detail.target.lstrip("/") for detail in error.details if detail.target]
    named = [match for text in texts for match in _NAMED.findall(text)]
    return next((name.strip() for name in [*named, *targets] if name.strip() in asked), None)
