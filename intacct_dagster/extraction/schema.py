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

from intacct_dagster.client import (
    CHANGED,
    AuthenticationRefused,
    IntacctClient,
    ModelField,
    NotReached,
    ObjectModel,
    Query,
    Reference,
    RequestRefused,
    Throttled,
)
from intacct_dagster.config import ObjectSettings
from intacct_dagster.locks import LockError
from intacct_dagster.state import StateError
from intacct_dagster.warehouse import Column, Warehouse, WarehouseError, column_for
from intacct_dagster.warehouse.raw import (
    SchemaField,
    read_schemas,
    store_schemas,
)

KEY = "key"
ENTITY = "entity.id"

# Refused one at a time, so an object with more of them costs that many requests, once.
_MOST_REFUSED = 40
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
class Parent:
    """The document that an object's rows are lines of, by whose change time they are read.

    `reference` is the path of the reference to it, `object` its object. `reached` says that a query
    of the lines may ask for the change time through the reference.
    """

    reference: str
    object: str
    reached: bool

    @property
    def key(self) -> str:
        """Where a line has the key of its document."""
        return f"{self.reference}.{KEY}"

    @property
    def changed(self) -> str:
        """What the change time of the document is called in a line."""
        return f"{self.reference}.{CHANGED}"

    @property
    def column(self) -> Column:
        """The column for it."""
        about = f"When the {self.object} that the line belongs to changed last: the partition's day"
        return column_for(self.changed, "string", "date-time", about)


@dataclass(frozen=True)
class ObjectSchema:
    """How an object is read: the columns, and what it is read by.

    `dated`: by change times of its own; with a `parent`, by those of the document that its rows
    are lines of; else it is read whole. `columns` come from queries, `got` from whole records.

    `by_period`: it is given by reporting period, and read whole.

    `new` and `vanished` are fields that came and went since it was read last; the column of a
    vanished one stays in the table, and is null in what is read from now on. `unreadable` are
    named by the model, but no query may ask for them.
    """

    columns: tuple[Column, ...]
    dated: bool
    parent: Parent | None = None
    got: tuple[Column, ...] = ()
    new: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()
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
        parent = (self.parent.column,) if self.parent is not None else ()
        return (*self.columns, *self.got, *parent)

    @property
    def fence(self) -> tuple[str, ...]:
        """What is read to tell rows apart and whose they are."""
        return tuple(c.path for c in self.columns if c.path in (KEY, ENTITY))


class CompanySchema:
    """The schemas of a company's objects. Thread-safe; asks for each object once."""

    def __init__(self, warehouse: Warehouse, now: Callable[[], datetime]) -> None:
        self._warehouse = warehouse
        self._now = now
        self._schemas: dict[str, ObjectSchema] = {}
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
        amiss = [*_not_offered(each, model), *_other_types(each, model, known)]
        refused: set[str] = set()
        if not amiss and not model.by_period:
            refused = self._refused(client, each, model, known)
            amiss = [
                f"{each.name} has the field {path}, but no query may ask for it"
                for path in sorted(refused & set(each.fields or ()))
            ]
        parent: Parent | None = None
        got: tuple[Column, ...] = ()
        if not amiss:
            offered = {field.path for field in model.fields} - refused
            parent, amiss = _parent(client, each, model, offered)
            got, not_there = _got(each, model)
            amiss += not_there
        if amiss:
            return amiss
        schema = _schema_of(each, model, known, refused, parent, got)
        return schema, self._fields(model, known, refused)

    def _refused(
        self,
        client: IntacctClient,
        what: ObjectSettings,
        model: ObjectModel,
        known: Mapping[str, SchemaField],
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
                named = refused_field(error, asked)
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
        known: Mapping[str, SchemaField],
        refused: set[str],
    ) -> list[SchemaField]:
        now = self._now()
        fields = {
            field.path: SchemaField(
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
    """Return what is configured or needed, and not there, with what may have been meant."""
    offered = [field.path for field in model.fields]
    amiss = (
        [] if KEY in offered else [f"{what.name} has no key, so its rows cannot be distinguished"]
    )
    if CHANGED in offered and ENTITY not in offered:
        amiss.append(
            f"{what.name} has no {ENTITY}, so its rows cannot be distinguished from others'"
        )
    for path in what.fields or ():
        if path not in offered:
            near = difflib.get_close_matches(path, offered, n=3)
            meant = f": did you mean {' or '.join(near)}?" if near else ""
            only_sent = path in {field.path for field in model.write_only}
            why = "can only be sent, not read" if only_sent else "is not a field that can be read"
            amiss.append(f"{what.name}: {path} {why}{meant}")
    return amiss


def _parent(
    client: IntacctClient, what: ObjectSettings, model: ObjectModel, offered: set[str]
) -> tuple[Parent | None, list[str]]:
    """The document that its rows are to be read through, if they are; or what is amiss with it."""
    asked = what.read_by == "lines" or what.parent is not None
    if not asked and (CHANGED in offered or what.read_by is not None):
        if what.read_by == "changes" and CHANGED not in offered:
            return None, [f"{what.name} has no {CHANGED} that a query gives: leave read_by out"]
        return None, []
    if what.parent is not None:
        named = {each.path: each for each in model.references}
        if what.parent not in named:
            near = difflib.get_close_matches(what.parent, named, n=3)
            meant = f": did you mean {' or '.join(near)}?" if near else ""
            return None, [f"{what.name}: {what.parent} is not a reference{meant}"]
        candidates = [named[what.parent]]
    else:
        candidates = _owners(model)
    for each in candidates:
        if f"{each.path}.{KEY}" not in offered:
            continue
        try:
            document = client.model(each.object)
        except RequestRefused:
            continue
        if CHANGED not in {field.path for field in document.fields}:
            continue
        if not (asked or each.is_owner or what.name in document.lists.values()):
            continue
        reached = ENTITY in offered and _reaches(client, what, each)
        return Parent(each.path, each.object, reached), []
    if not asked:
        return None, []
    why = f"{what.parent} names no record" if what.parent else "its model names no document"
    return None, [f"{what.name} cannot be read as lines: {why} with a {CHANGED}"]


def _got(what: ObjectSettings, model: ObjectModel) -> tuple[tuple[Column, ...], list[str]]:
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
            got.append(_column(fields[path]))
        elif path in whole:
            got.append(column_for(path, "object", comment=f"{path}, as the record has it"))
        else:
            near = difflib.get_close_matches(path, {*fields, *whole}, n=3)
            meant = f": did you mean {' or '.join(near)}?" if near else ""
            why = "can only be sent, not read" if path in sent else "is not in its records"
            amiss.append(f"{what.name}: {path} {why}{meant}")
    return tuple(got), amiss


def _owners(model: ObjectModel) -> list[Reference]:
    """References that may name the document: the one that says so, else those named alike."""
    owners = [each for each in model.references if each.is_owner]
    return owners or [
        each
        for each in model.references
        if each.object and each.object != model.name and model.name.startswith(each.object)
    ]


def _reaches(client: IntacctClient, what: ObjectSettings, reference: Reference) -> bool:
    """Whether a query may ask for the document's change time. Nobody says so: it is tried."""
    changed = f"{reference.path}.{CHANGED}"
    since = {"$gte": {changed: "1970-01-01T00:00:00Z"}}
    try:
        page = client.ask(
            Query(what.name, (KEY, changed), (since,), order_by=({changed: "asc"},), size=1)
        )
    except RequestRefused:
        return False
    return all(row.get(changed) for row in page.rows)


def _other_types(
    what: ObjectSettings, model: ObjectModel, known: Mapping[str, SchemaField]
) -> list[str]:
    chosen = set(what.fields) | {KEY, CHANGED, ENTITY} if what.fields is not None else None
    return [
        f"{what.name}: {field.path} was {known[field.path].column_type} and is now "
        f"{column.type}; drop raw.{_table(what.name)} and its rows in meta.catalogue, "
        "and materialize it again, or leave the field out"
        for field in model.fields
        for column in [_column(field)]
        if (chosen is None or field.path in chosen)
        and field.path in known
        and known[field.path].column_type != column.type
    ]


def _table(object: str) -> str:
    return re.sub(r"[^0-9a-z]+", "_", object.lower())


def _schema_of(
    what: ObjectSettings,
    model: ObjectModel,
    known: Mapping[str, SchemaField],
    refused: set[str],
    parent: Parent | None,
    got: tuple[Column, ...],
) -> ObjectSchema:
    offered = {field.path for field in model.fields}
    needed = {KEY, CHANGED, ENTITY} | ({parent.key} if parent is not None else set())
    wanted = None if what.fields is None else set(what.fields) | needed
    elsewhere = {column.path for column in got} | refused
    return ObjectSchema(
        columns=tuple(
            _column(field)
            for field in model.fields
            if field.path not in elsewhere and (wanted is None or field.path in wanted)
        ),
        dated=CHANGED in offered - refused and parent is None and what.read_by != "snapshot",
        parent=parent,
        got=got,
        new=tuple(sorted(offered - known.keys())) if known else (),
        vanished=tuple(
            sorted(p for p, f in known.items() if p not in offered and f.vanished_at is None)
        ),
        unreadable=tuple(sorted(refused)),
        by_period=model.by_period,
    )


def refused_field(error: RequestRefused, asked: Sequence[str]) -> str | None:
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
