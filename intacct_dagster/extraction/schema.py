"""What each configured object offers: learnt from Intacct, held against what was known before.

The model names an object's fields and says of none whether a query may ask for it. So one query
asks for all of them; what it refuses is left out. What was learnt is kept in the warehouse, what is
refused by entity, because it depends on the user's permissions. It is asked again when the model
has more fields, and after a week.
"""

from __future__ import annotations

import difflib
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
    RequestRefused,
    Throttled,
    WrongEntity,
)
from intacct_dagster.config import ObjectSettings
from intacct_dagster.extraction.columns import ENTITY, KEY, Columns, got_columns
from intacct_dagster.extraction.parents import Parent, parent_of
from intacct_dagster.extraction.permissions import (
    find_refused,
    may_be_about_fields,
    refused_field,
)
from intacct_dagster.locks import LockError
from intacct_dagster.state import StateError
from intacct_dagster.warehouse import Column, Warehouse, WarehouseError
from intacct_dagster.warehouse.raw import (
    AskedFields,
    SchemaField,
    read_asked_fields,
    read_schemas,
    store_schemas,
)

#: Without these nothing can be read.
ALWAYS = (KEY, ENTITY, CHANGED)
# A permission that was given since is found within this time.
_ASKED_AGAIN = timedelta(days=7)
#: How often schemas are learnt that other processes learn at the same time.
_MOST_ROUNDS = 5
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
    """The schemas of a company's objects, as each entity's user may read them.

    Thread-safe; asks for each object of an entity once.
    """

    def __init__(self, warehouse: Warehouse, now: Callable[[], datetime]) -> None:
        self._warehouse = warehouse
        self._now = now
        self._schemas: dict[tuple[str, str | None], ObjectSchema] = {}
        self._known: dict[str, list[SchemaField]] = {}
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
            return {each.name: self._schemas[each.name, client.entity_id] for each in objects}

    def learn_each(
        self, client: IntacctClient, objects: Sequence[ObjectSettings]
    ) -> Mapping[str, Exception]:
        """Learn the schemas of these objects, and return the errors of those that cannot be learnt.

        One that cannot be learnt does not keep the others from it. Raises what concerns all of
        them: no session, no connection, a warehouse that is held.
        """
        with self._lock:
            errors: dict[str, Exception] = {}
            wanted = [e for e in objects if (e.name, client.entity_id) not in self._schemas]
            for _ in range(_MOST_ROUNDS):
                if not wanted:
                    break
                failed, overtaken = self._learn(client, wanted)
                errors |= failed
                wanted = [each for each in wanted if each.name in overtaken]
            return errors | {
                each.name: RequestRefused(
                    f"The fields of {each.name} were not stored: other processes store others.",
                    entity=client.entity_id,
                    object=each.name,
                    remedy="Run it again; nothing of it was read.",
                )
                for each in wanted
            }

    def fields(self, object: str) -> Sequence[SchemaField]:
        """Return what was learnt of the fields of an object, as the warehouse keeps it."""
        with self._lock:
            return self._known[object]

    def without_refused(
        self,
        client: IntacctClient,
        what: ObjectSettings,
        schema: ObjectSchema,
        error: RequestRefused,
    ) -> ObjectSchema:
        """Return the schema without the fields of which a query was refused, as `error` says.

        A field that it names is asked for again next time. One that it does not name takes several
        requests to find, and is left out for as long as what is refused at first.

        Raises:
            RequestRefused: `error`, if it is about no field, or about one that is always needed.
        """
        named = refused_field(error, schema.query_paths)
        if named is not None:
            if named in ALWAYS:
                raise error
            return schema.without(named)
        if not may_be_about_fields(error):
            raise error
        refused = find_refused(client, what.name, schema.query_paths)
        if not refused or refused & set(ALWAYS):
            raise error
        for path in sorted(refused):
            schema = schema.without(path)
        with self._lock:
            of_entity = what.name, client.entity_id or ""
            before = read_asked_fields(self._warehouse).get(of_entity)
            asked = frozenset(schema.query_paths) | refused
            asked_at = self._now()
            if before is not None:
                # what was refused before is asked for again when its own time has come
                asked_at = before.asked_at if before.refused else asked_at
                asked |= before.asked
                refused |= before.refused
            fields = AskedFields(*of_entity, asked_at, asked, frozenset(refused))
            store_schemas(self._warehouse, {}, asked=[fields])
            self._schemas[what.name, client.entity_id] = schema
        return schema

    def _learn(
        self, client: IntacctClient, objects: Sequence[ObjectSettings]
    ) -> tuple[dict[str, Exception], set[str]]:
        """Learn these objects; return errors, and objects that another process learnt meanwhile."""
        held = read_schemas(self._warehouse)
        permissions = read_asked_fields(self._warehouse)
        errors: dict[str, Exception] = {}
        learnt: dict[str, _Learnt] = {}
        for each in objects:
            of_object = {e: a for (name, e), a in permissions.items() if name == each.name}
            try:
                learnt[each.name] = self._examined(client, each, held.get(each.name, {}), of_object)
            except _OF_ALL_OBJECTS:
                raise
            except Exception as error:  # also a defect of ours: the others are learnt all the same
                if isinstance(error, AccessDenied | WrongEntity) and error.object is None:
                    raise  # it is the session that is refused, and so it is for the others
                errors[each.name] = error
        changed = {
            name: found.fields
            for name, found in learnt.items()
            if {field.path: field for field in found.fields} != held.get(name, {})
        }
        asked = [found.asked for found in learnt.values() if found.asked is not None]
        overtaken = store_schemas(self._warehouse, changed, known=held, asked=asked)
        for name, found in learnt.items():
            if name not in overtaken:
                self._schemas[name, client.entity_id] = found.schema
                self._known[name] = found.fields
        return errors, overtaken

    def _examined(
        self,
        client: IntacctClient,
        each: ObjectSettings,
        known: Mapping[str, SchemaField],
        permissions: Mapping[str, AskedFields],
    ) -> _Learnt:
        found = self._examine(client, each, known, permissions)
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
        known = read_schemas(self._warehouse).get(what.name, {})
        asked = read_asked_fields(self._warehouse)
        permissions = {e: a for (name, e), a in asked.items() if name == what.name}
        found = self._examine(client, what, known, permissions)
        return found if isinstance(found, list) else found.schema

    def _examine(
        self,
        client: IntacctClient,
        each: ObjectSettings,
        known: Mapping[str, SchemaField],
        permissions: Mapping[str, AskedFields],
    ) -> _Learnt | list[str]:
        try:
            model = client.model(each.name)
        except RequestRefused as error:
            return [" ".join(str(error).splitlines())]
        amiss = _not_offered(each, model, known)
        refused: set[str] = set()
        asked: AskedFields | None = None
        if not amiss and not model.by_period:
            refused, asked = self._refused(client, each, model, permissions)
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
        now_known = permissions if asked is None else {**permissions, asked.entity: asked}
        fields = self._fields(model, known, refused, columns, now_known)
        return _Learnt(schema, fields, asked)

    def _refused(
        self,
        client: IntacctClient,
        what: ObjectSettings,
        model: ObjectModel,
        permissions: Mapping[str, AskedFields],
    ) -> tuple[set[str], AskedFields | None]:
        """Return the fields of the model that a query refuses, and what was asked to learn that.

        Each refused field costs a request or more: once for each entity, and again after
        `_ASKED_AGAIN`, because a permission may have been given since.
        """
        entity = client.entity_id or ""
        offered = {field.path for field in model.fields}
        before = permissions.get(entity)
        if before is not None and offered <= before.asked:
            refused = set(before.refused & offered)
            if not refused or self._now() - before.asked_at < _ASKED_AGAIN:
                return refused, None
        refused = find_refused(client, what.name, offered)
        asked = AskedFields(what.name, entity, self._now(), frozenset(offered), frozenset(refused))
        return refused, asked

    def _fields(
        self,
        model: ObjectModel,
        known: Mapping[str, SchemaField],
        refused: set[str],
        columns: Columns,
        permissions: Mapping[str, AskedFields],
    ) -> list[SchemaField]:
        now = self._now()
        given = {path for each in permissions.values() for path in each.asked - each.refused}
        asked_at = max((each.asked_at for each in permissions.values()), default=None)
        fields: dict[str, SchemaField] = {}
        for field in model.fields:
            column, held = columns.of(field), known.get(field.path)
            fields[field.path] = SchemaField(
                path=field.path,
                column_name=column.name,
                column_type=column.type,
                description=column.comment,
                selectable=field.path not in refused or field.path in given,
                first_seen_at=held.first_seen_at if held is not None else now,
                asked_at=asked_at or (held.asked_at if held is not None else now),
            )
        for path, held in known.items():
            if path not in fields:
                fields[path] = replace(held, vanished_at=held.vanished_at or now)
        return [fields[path] for path in sorted(fields)]


@dataclass(frozen=True)
class _Learnt:
    """What was learnt of an object; `asked` is None where nothing had to be asked for."""

    schema: ObjectSchema
    fields: list[SchemaField]
    asked: AskedFields | None


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
