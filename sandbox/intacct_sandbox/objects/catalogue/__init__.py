"""The catalogue: what the sandbox knows about each object, read from one YAML file an application.

Field names, types, enumerations, required fields and references follow Sage's OpenAPI and models
recorded from the live API in 2026-03. What is not in the files the sandbox does not have.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import yaml

from .notation import CatalogueMistake, read_group
from .types import (
    Field,
    FieldGroup,
    Json,
    Kind,
    LineList,
    Mirror,
    Numbering,
    ObjectType,
    Ref,
    Transition,
)

__all__ = [
    "CatalogueMistake",
    "Field",
    "FieldGroup",
    "Json",
    "Kind",
    "LineList",
    "ObjectCatalogue",
    "ObjectType",
    "Ref",
    "Transition",
    "load_catalogue",
]

_ALL_METHODS = "GET,POST,DELETE,PATCH"

# Every object has them, so no file repeats them.
_EVERYWHERE = {"key": "key read-only", "id": "string read-only", "href": "string read-only"}
_ENTITY = {"entity": "company-config/entity name read-only"}
_AUDIT = {"audit": "audit"}


class ObjectCatalogue(Mapping[str, ObjectType]):
    """Object types by name (`accounts-receivable/invoice`)."""

    def __init__(self, types: Mapping[str, ObjectType]) -> None:
        self._types = dict(types)

    def __getitem__(self, name: str) -> ObjectType:
        return self._types[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)


def _yaml(name: str) -> Any:
    # libyaml reads ten times as fast; the pure reader is the fallback of odd platforms.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
    return yaml.load(text, Loader=loader)  # noqa: S506 - both are safe loaders


def _transition(action: str, line: str) -> Transition:
    before, arrow, after, *dated = line.split()
    if arrow != "->" or dated not in ([], ["dated"]):
        raise CatalogueMistake(f"{action}: a workflow is `STATE|STATE -> STATE [dated]`")
    return Transition(action, tuple(before.split("|")), after, bool(dated))


def _object_type(name: str, given: Mapping[str, Any], shared: Mapping[str, Any]) -> ObjectType:
    kind = given["kind"]
    everywhere = dict(_EVERYWHERE)
    if kind != "master":
        # A transaction's id is its record number.
        everywhere["id"] = "key read-only same-as=key"
    refs, groups = given.get("refs", {}), given.get("groups", {})
    tree = {
        **given,
        "fields": {**everywhere, **given.get("fields", {})},
        "refs": refs | {name: line for name, line in _ENTITY.items() if name not in refs},
        "groups": groups | {name: line for name, line in _AUDIT.items() if name not in groups},
    }
    methods = given.get("methods", _ALL_METHODS)
    numbering, mirror = given.get("numbering"), given.get("mirrored_in")
    return ObjectType(
        name=name,
        kind=kind,
        root=read_group("", tree, shared, given.get("owner")),
        methods=tuple(methods.split(",")),
        owner=given.get("owner"),
        numbering=Numbering(**numbering) if numbering else None,
        unasked_column=bool(given.get("unasked_column", False)),
        unique=tuple(given.get("unique", ())),
        dated_by=tuple(given.get("dated_by", ())),
        states=tuple(given.get("states", ())),
        one_of=tuple(tuple(paths) for paths in given.get("one_of", ())),
        required_if={
            path: (other, value)
            for path, (other, value) in (
                (path, condition.split("=", 1))
                for path, condition in given.get("required_if", {}).items()
            )
        },
        mirror=Mirror(mirror.pop("object"), mirror) if mirror else None,
        singleton=bool(given.get("singleton", False)),
        unlisted=frozenset(given.get("unlisted", ())),
        query_parameters=given.get("query_parameters", {}),
        workflows={
            action: _transition(action, line) for action, line in given.get("workflows", {}).items()
        },
    )


@functools.cache
def load_catalogue() -> ObjectCatalogue:
    """Read the catalogue that comes with the package; the same object every time.

    Raises `CatalogueMistake` when a line cannot be read.
    """
    shared = _yaml("shared.yaml")["groups"]
    types: dict[str, ObjectType] = {}
    for file in sorted(resources.files(__name__).iterdir(), key=lambda one: one.name):
        if not file.name.endswith(".yaml") or file.name == "shared.yaml":
            continue
        content = _yaml(file.name)
        for short, given in content["objects"].items():
            name = f"{content['application']}/{short}"
            types[name] = type_ = _object_type(name, given, shared)
            for variant in given.get("variants", ()):
                one = f"{name}::{variant}"
                types[one] = dataclasses.replace(type_, name=one, variant=variant)
    return ObjectCatalogue(types)
