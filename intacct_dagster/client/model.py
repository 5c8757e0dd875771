"""What an object offers: the model service, flattened into the paths that a query can select.

The model says of no field whether a query may select it. From live answers (recorded 2026-03):
everything but `writeOnly` fields and lists, deprecated fields included. It calls no field required.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from intacct_dagster.client.errors import About, AnswerNotUnderstood

# Of a reference, what identifies it. The rest belongs to the object referred to, and is read there.
_OF_A_REFERENCE = ("key", "id", "name")
_DEEPEST_GROUP = 8


@dataclass(frozen=True)
class ModelField:
    """A field of an object. `path` is dotted, e.g. "customer.id" or "nsp::REGION".

    `type` is string, integer, number or boolean; `format` e.g. date, date-time (UTC, whole
    seconds), decimal-precision-2 (a decimal in a string). `enum` is None or all allowed values,
    without null; new ones may appear at any release.
    """

    path: str
    type: str
    format: str | None = None
    description: str | None = None
    enum: tuple[str, ...] | None = None
    write_only: bool = False
    read_only: bool = False
    nullable: bool = True
    deprecated: bool = False


@dataclass(frozen=True)
class Reference:
    """A reference of an object: its dotted `path`, the `object` it names a record of.

    `is_owner` marks the document that a line belongs to (developer portal: owned objects).
    """

    path: str
    object: str
    is_owner: bool


@dataclass(frozen=True)
class ObjectModel:
    """An object's model. `fields` can be selected in a query; `write_only` can only be sent.

    `lists` are the dotted paths of its lists, with the objects whose records they hold. `methods`
    are those of HTTP that it takes: POST, if records can be created. `by_period` is true of one
    that is read whole, reporting period by period, and takes no queries.
    """

    name: str
    fields: tuple[ModelField, ...]
    write_only: tuple[ModelField, ...]
    idempotence_supported: bool
    references: tuple[Reference, ...] = ()
    lists: Mapping[str, str] = field(default_factory=dict)
    by_period: bool = False
    methods: frozenset[str] = frozenset()


def read_model(result: object, name: str, about: About) -> ObjectModel:
    """Return the model in an answer's `ia::result`. Raises AnswerNotUnderstood."""
    model = _mapping(result)
    if not model.get("fields"):
        raise AnswerNotUnderstood(
            f"The model of {about} has no fields.", entity=about.entity, object=about.object
        )
    fields = sorted(_flatten(model, "", 0), key=lambda each: each.path)
    return ObjectModel(
        name=name,
        fields=tuple(each for each in fields if not each.write_only),
        write_only=tuple(each for each in fields if each.write_only),
        idempotence_supported=model.get("idempotenceSupported") is True,
        references=tuple(
            Reference(path, _object(each), each.get("isOwner") is True)
            for path, each in _walk(model, "refs", "", 0)
        ),
        methods=frozenset((_text(model.get("httpMethods")) or "").replace(" ", "").split(",")),
        lists={path: _object(each) for path, each in _walk(model, "lists", "", 0)},
    )


def _walk(
    node: Mapping[str, object], kind: str, prefix: str, depth: int
) -> Iterator[tuple[str, Mapping[str, object]]]:
    """References or lists, here and in groups below, by path."""
    for name, each in _mapping(node.get(kind)).items():
        yield prefix + name, _mapping(each)
    if depth < _DEEPEST_GROUP:
        for name, group in _mapping(node.get("groups")).items():
            yield from _walk(_mapping(group), kind, f"{prefix}{name}.", depth + 1)


def _object(named: Mapping[str, object]) -> str:
    return (_text(named.get("apiObject")) or "").removeprefix("objects/")


def _flatten(node: Mapping[str, object], prefix: str, depth: int) -> Iterator[ModelField]:
    """Fields here, in groups below, and what identifies each reference; lists are left out."""
    for name, each in _mapping(node.get("fields")).items():
        if name != "href":
            yield _field(prefix + name, _mapping(each))
    for name, reference in _mapping(node.get("refs")).items():
        fields = _mapping(_mapping(reference).get("fields"))
        for part in _OF_A_REFERENCE:
            if part in fields:
                yield _field(f"{prefix}{name}.{part}", _mapping(fields[part]))
    if depth < _DEEPEST_GROUP:
        for name, group in _mapping(node.get("groups")).items():
            yield from _flatten(_mapping(group), f"{prefix}{name}.", depth + 1)


def _field(path: str, described: Mapping[str, object]) -> ModelField:
    enum = described.get("enum")
    values = cast("list[object]", enum) if isinstance(enum, list) else []
    return ModelField(
        path=path,
        type=_text(described.get("type")) or "string",
        format=_text(described.get("format")),
        description=_text(described.get("description")),
        enum=tuple(str(value) for value in values if value is not None) or None,
        write_only=described.get("writeOnly") is True,
        read_only=described.get("readOnly") is True,
        nullable=described.get("nullable") is not False,
        deprecated=described.get("deprecated") is True,
    )


def object_names(result: object) -> list[str]:
    """The names in the list of all models: "objects/general-ledger/account" without its kind."""
    entries: Iterable[object] = cast("list[object]", result) if isinstance(result, list) else ()
    names = (_text(_mapping(entry).get("apiObject")) for entry in entries)
    return [name.removeprefix("objects/") for name in names if name]


def _mapping(value: object) -> dict[str, object]:
    # An empty collection comes as [] where a full one is an object (recorded live 2026-03).
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
