"""Reads the one-line notation of the catalogue files; `shared.yaml` explains it to a reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .types import Field, FieldGroup, Kind, LineList, Ref

_TYPES: Mapping[str, tuple[Kind, str, str | None]] = {
    "string": ("string", "string", None),
    "date": ("date", "string", "date"),
    "date-time": ("date-time", "string", "date-time"),
    "decimal-2": ("decimal", "string", "decimal-precision-2"),
    "decimal-10": ("decimal", "string", "decimal-precision-10"),
    "number": ("number", "number", None),
    "integer": ("integer", "integer", None),
    "boolean": ("boolean", "boolean", None),
    "download": ("string", "string", "outbound-binary"),
    "key": ("key", "string", None),
    "base64": ("string", "string", "base64zip"),
    "enum": ("enum", "string", None),
}


class CatalogueMistake(ValueError):
    """A line of a catalogue file that cannot be read; the message names the path."""


def _literal(word: str, kind: Kind) -> Any:
    if word.startswith("'"):
        return word.strip("'")
    if kind == "boolean":
        return word == "true"
    if kind in ("number", "integer"):
        return int(word)
    return word


def read_field(path: str, text: str) -> Field:
    """Return a field from its line, such as `date required` or `enum a|b|null default=a`."""
    type_name, *words = text.split()
    if type_name not in _TYPES:
        raise CatalogueMistake(f"{path}: there is no type {type_name!r}")
    kind, json_type, format_ = _TYPES[type_name]
    enum: tuple[str | None, ...] | None = None
    nullable = True
    if kind == "enum":
        choices = words.pop(0).split("|")
        enum = tuple(
            None if choice == "null" else "" if choice == "''" else choice for choice in choices
        )
        nullable = None in enum
    flags = {word for word in words if "=" not in word}
    values = dict(word.split("=", 1) for word in words if "=" in word)
    unknown = (flags - {"required", "read-only", "write-only", "deprecated", "immutable"}) | (
        values.keys() - {"default", "initially", "max", "same-as", "computed", "of"}
    )
    if unknown:
        raise CatalogueMistake(f"{path}: unknown words {', '.join(sorted(unknown))}")
    default = _literal(values["default"], kind) if "default" in values else None
    initially = _literal(values["initially"], kind) if "initially" in values else default
    read_only = "read-only" in flags
    return Field(
        path=path,
        kind=kind,
        type=json_type,
        format=format_,
        enum=enum,
        default=default,
        initially=initially,
        required="required" in flags,
        read_only=read_only,
        write_only="write-only" in flags,
        deprecated="deprecated" in flags,
        nullable=nullable,
        mutable=not read_only and "immutable" not in flags,
        max_length=int(values["max"]) if "max" in values else None,
        same_as=values.get("same-as"),
        computed=values.get("computed"),
        of=values.get("of"),
    )


def read_ref(
    path: str,
    given: str | Mapping[str, Any],
    *,
    is_owner: bool,
    shared: Mapping[str, Any] | None = None,
) -> Ref:
    """Return a reference from its line, such as `accounts-receivable/customer name required`; or
    from that line as `ref` and what the reference shows as `shows`, a group."""
    text, below = (given, None) if isinstance(given, str) else (given["ref"], given["shows"])
    target, *words = text.split()
    flags = {word for word in words if "=" not in word}
    unknown = flags - {"name", "required", "read-only", "immutable", "key-only", "inline"}
    if unknown:
        raise CatalogueMistake(f"{path}: unknown words {', '.join(sorted(unknown))}")
    shown = dict(word.split("=", 1) for word in words if "=" in word)
    sent_as = shown.pop("sent-as", None)
    if sent_as is not None:
        shown[sent_as] = "id"
    shows = None
    if below is not None:
        content = (shared or {})[below] if isinstance(below, str) else below
        shows = read_group("", content, shared or {}, None)
        shown |= {one.path: one.of or one.path for one in shows.all_fields()}
    return Ref(
        path=path,
        object=target,
        named="name" in flags,
        required="required" in flags,
        read_only="read-only" in flags,
        is_owner=is_owner,
        shown=shown,
        sent_as=sent_as,
        shows=shows,
        inline="inline" in flags,
        mutable="immutable" not in flags,
        key_only="key-only" in flags,
    )


def _read_list(path: str, text: str) -> LineList:
    target, word, *rest = text.split()
    minimum = word.removeprefix("min=")
    by = next((one.removeprefix("by=") for one in rest if one.startswith("by=")), None)
    if (word != "kept" and not minimum.isdigit()) or len(rest) != (by is not None):
        raise CatalogueMistake(f"{path}: a list is `min=` some number, or `kept`")
    return LineList(
        name=path.rpartition(".")[2],
        object=target,
        minimum=0 if word == "kept" else int(minimum),
        path=path,
        kept=word == "kept",
        by=by,
    )


def read_group(
    path: str, given: Mapping[str, Any], shared: Mapping[str, Any], owner: str | None
) -> FieldGroup:
    """Return a group and everything below it. `shared` holds the groups that may be used by
    name."""
    dot = f"{path}." if path else ""
    groups: dict[str, FieldGroup] = {}
    for name, below in given.get("groups", {}).items():
        content = shared[below] if isinstance(below, str) else below
        groups[name] = read_group(dot + name, content, shared, None)
    return FieldGroup(
        path=path,
        fields={
            name: read_field(dot + name, text) for name, text in given.get("fields", {}).items()
        },
        refs={
            name: read_ref(dot + name, text, is_owner=name == owner, shared=shared)
            for name, text in given.get("refs", {}).items()
        },
        groups=groups,
        lists={name: _read_list(dot + name, text) for name, text in given.get("lists", {}).items()},
    )
