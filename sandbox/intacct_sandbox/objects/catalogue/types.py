"""What the catalogue says about an object, as values.

An `ObjectType` is a tree: fields, groups of fields, references to other objects, and lists of
lines. Model service, validation, storage and query all read this tree; none of them knows an object
by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

Kind = Literal[
    "string", "date", "date-time", "decimal", "number", "integer", "boolean", "key", "enum"
]
"""How a value is compared. `key` is Intacct's record number: a text that counts as a number."""

ObjectKind = Literal["master", "transaction", "line"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `path` is dotted from the object's root (`audit.modifiedDateTime`)."""

    path: str
    kind: Kind
    type: str
    """JSON type as the model service names it: string, number, integer, boolean."""
    format: str | None = None
    enum: tuple[str | None, ...] | None = None
    default: Json = None
    """What the model service names as the default."""
    initially: Json = None
    """What a new record has when nothing was sent."""
    required: bool = False
    read_only: bool = False
    write_only: bool = False
    deprecated: bool = False
    nullable: bool = True
    mutable: bool = True
    max_length: int | None = None
    same_as: str | None = None
    computed: str | None = None
    of: str | None = None
    """In what a reference shows: the field of the other record, where it has another name."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to a record of another object: `{key, id, name?, href}` on the wire."""

    path: str
    object: str
    named: bool = False
    required: bool = False
    read_only: bool = False
    is_owner: bool = False
    shown: Mapping[str, str] = field(default_factory=dict)
    """Further fields that the reference shows: name in the reference -> path in the record."""
    sent_as: str | None = None
    """Another name under which the id may be sent (`financialEntity.entityId`)."""
    shows: FieldGroup | None = None
    """How the model service describes what the reference shows, where that is known."""
    inline: bool = False
    """Whether the other record may be written through the reference."""
    mutable: bool = True
    key_only: bool = False
    """Whether only the key is shown, as for custom references (recorded live 2026-03)."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def members(self) -> tuple[str, ...]:
        """Names under the reference, `href` last; dotted where they stand in a group."""
        if self.key_only:
            return ("key",)
        named = ("name",) if self.named and "name" not in self.shown else ()
        return ("key", "id", *named, *self.shown, "href")


@dataclass(frozen=True, slots=True)
class LineList:
    """A list of owned lines and how many a document needs at least."""

    name: str
    object: str
    minimum: int
    path: str = ""
    kept: bool = False
    """Whether the items are kept in the record as they were sent, and are no records themselves."""
    by: str | None = None
    """A reference that no two lines share: a line without a key that names the same record as one
    that is there changes that one."""


@dataclass(frozen=True, slots=True)
class FieldGroup:
    """Fields, references, lists and further groups under one name; the root has the path ''."""

    path: str
    fields: Mapping[str, Field] = field(default_factory=dict)
    refs: Mapping[str, Ref] = field(default_factory=dict)
    groups: Mapping[str, FieldGroup] = field(default_factory=dict)
    lists: Mapping[str, LineList] = field(default_factory=dict)

    def all_fields(self) -> Iterator[Field]:
        """Yield every field below, groups included."""
        yield from self.fields.values()
        for group in self.groups.values():
            yield from group.all_fields()

    def all_refs(self) -> Iterator[Ref]:
        """Yield every reference below, groups included."""
        yield from self.refs.values()
        for group in self.groups.values():
            yield from group.all_refs()


@dataclass(frozen=True, slots=True)
class Numbering:
    """The document sequence of an object: which field it fills, and with what before the number."""

    field: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Mirror:
    """The read-only object in which a record shows as well (a checking account among the bank
    accounts), and the values it has there besides."""

    object: str
    values: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Transition:
    """What a workflow action does to a document: from one of some states to another."""

    action: str
    before: tuple[str, ...]
    after: str
    dated: bool = False
    """Whether the action needs a date (`reversedDate`)."""


@dataclass(frozen=True)
class ObjectType:
    """One object of the catalogue, such as `accounts-receivable/invoice`."""

    name: str
    kind: ObjectKind
    root: FieldGroup
    methods: tuple[str, ...]
    owner: str | None = None
    """On a line: the name of the reference to its document."""
    numbering: Numbering | None = None
    unasked_column: bool = False
    unique: tuple[str, ...] = ()
    """Paths whose values together no two records share (a document number of one customer)."""
    dated_by: tuple[str, ...] = ()
    """On a document: the fields that say when it is posted, the first that is filled."""
    states: tuple[str, ...] = ()
    """On a document: the states that a new one may ask for."""
    one_of: tuple[tuple[str, ...], ...] = ()
    """Of each of these groups of paths a new record needs one."""
    required_if: Mapping[str, tuple[str, Json]] = field(default_factory=dict)
    """Path -> (another path, the value there with which the first is needed)."""
    mirror: Mirror | None = None
    singleton: bool = False
    """Whether there is one record only, found under its own name instead of a key."""
    unlisted: frozenset[str] = frozenset()
    """Fields that can be asked for and that the model service does not name."""
    query_parameters: Mapping[str, Any] = field(default_factory=dict)
    """Filter parameters of its own, as the model service tells them."""
    workflows: Mapping[str, Transition] = field(default_factory=dict)
    """By action."""
    variant: str | None = None
    """On a document of one type (`purchasing/document::Purchase Order`): that type."""
    fields: Mapping[str, Field] = field(init=False)
    refs: Mapping[str, Ref] = field(init=False)
    defaults: Mapping[str, Json] = field(init=False)
    members: Mapping[str, tuple[Ref, str]] = field(init=False)
    """`customer.name` -> (the reference, `name`)."""

    def __post_init__(self) -> None:
        fields = {one.path: one for one in self.root.all_fields()}
        refs = {one.path: one for one in self.root.all_refs()}
        put = object.__setattr__
        put(self, "fields", fields)
        put(self, "refs", refs)
        put(
            self,
            "defaults",
            {
                path: one.initially
                for path, one in fields.items()
                if one.initially is not None and not one.write_only
            },
        )
        put(
            self,
            "members",
            {f"{ref.path}.{name}": (ref, name) for ref in refs.values() for name in ref.members},
        )

    def beyond(self, path: str) -> tuple[Ref, str] | None:
        """Return the reference that a path goes through, and the path in the record that it names;
        None for what the object shows itself."""
        if path in self.fields or path in self.members:
            return None
        for ref in self.refs.values():
            if path.startswith(f"{ref.path}."):
                return ref, path[len(ref.path) + 1 :]
        return None

    @property
    def lines(self) -> LineList | None:
        """The list of owned lines, if the object has one."""
        return next((one for one in self.root.lists.values() if not one.kept), None)
