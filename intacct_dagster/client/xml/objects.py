"""The objects that only the XML API has: what objects.yaml tells of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Final, Literal, cast

import msgspec
import yaml

from intacct_dagster.client.errors import RequestRefused
from intacct_dagster.client.model import ModelField, ObjectModel

#: What the names of these objects begin with: no REST object can come to be called so.
XML_ONLY: Final = "xml/"

#: Where a row says whose it is. No field of the XML object does: the answer does.
ENTITY: Final = "entity.id"

FieldType = Literal["text", "integer", "decimal", "boolean", "date", "time", "side"]

_AS_IN_A_MODEL: Mapping[FieldType, tuple[str, str | None]] = {
    "text": ("string", None),
    "integer": ("integer", None),
    "decimal": ("string", "decimal-precision-2"),
    "boolean": ("boolean", None),
    "date": ("string", "date"),
    "time": ("string", "date-time"),
    "side": ("string", None),
}


@dataclass(frozen=True)
class XmlField:
    """A field of an XML object: its name there, its path here, and how it is written there."""

    xml: str
    path: str
    type: FieldType


class _Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    xml: str
    read: Literal["query", "by_period"]
    about: str
    fields: dict[str, str]
    identified_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class XmlObject:
    """An object of the XML API under the name that it has here.

    `by_period` ones have no record number and are read whole, reporting period by period.
    """

    name: str
    xml: str
    about: str
    by_period: bool
    identified_by: tuple[str, ...]
    fields: tuple[XmlField, ...]

    @cached_property
    def by_path(self) -> Mapping[str, XmlField]:
        """The fields by the path that they have here."""
        return {each.path: each for each in self.fields}

    @cached_property
    def by_xml(self) -> Mapping[str, XmlField]:
        """The fields by the name that they have there."""
        return {each.xml: each for each in self.fields}

    def key_of(self, row: Mapping[str, str | None]) -> str:
        """What tells a row without a record number from all others: its names and dimensions."""
        dimensions = {
            name: value
            for name, value in row.items()
            if value and (name.endswith("ID") or name.startswith("GLDIM"))
        }
        named = {name: row.get(name) or "" for name in self.identified_by}
        parts = [
            *named.values(),
            *(f"{n}={v}" for n, v in sorted(dimensions.items() - named.items())),
        ]
        return "|".join(part.replace("\\", "\\\\").replace("|", "\\|") for part in parts)

    @cached_property
    def model(self) -> ObjectModel:
        """The same as the model of a REST object."""
        fields = [
            ModelField(each.path, *_AS_IN_A_MODEL[each.type], description=each.xml)
            for each in self.fields
        ]
        if "key" not in self.by_path:
            fields.append(ModelField("key", "string", description=f"Made of {self.identified_by}"))
        whose = "The entity of the session that it was read in, as the answer tells it"
        fields.append(ModelField(ENTITY, "string", description=whose))
        return ObjectModel(
            name=self.name,
            fields=tuple(sorted(fields, key=lambda each: each.path)),
            write_only=(),
            idempotence_supported=False,
            by_period=self.by_period,
        )


@cache
def xml_objects() -> Mapping[str, XmlObject]:
    """Return all of them, by name."""
    text = files(__package__).joinpath("objects.yaml").read_text(encoding="utf-8")
    facts = msgspec.convert(yaml.safe_load(text), dict[str, _Facts])
    return {
        name: XmlObject(
            name, each.xml, each.about, each.read == "by_period", each.identified_by, _fields(each)
        )
        for name, each in facts.items()
    }


def _fields(facts: _Facts) -> tuple[XmlField, ...]:
    split = ((xml, *text.split()) for xml, text in facts.fields.items())
    return tuple(XmlField(xml, path, cast(FieldType, kind)) for xml, path, kind in split)


def xml_object(name: str) -> XmlObject | None:
    """Return the object of this name, or None if it is a REST object's.

    Raises RequestRefused for a name that begins like one of these and is none.
    """
    if not name.startswith(XML_ONLY):
        return None
    found = xml_objects().get(name)
    if found is not None:
        return found
    raise RequestRefused(
        f"{name} is not among the objects that are read through the XML API.",
        object=name,
        remedy=f"Did you mean {_or(difflib.get_close_matches(name, xml_objects(), 2, 0))}?",
    )


def _or(names: Iterable[str]) -> str:
    return " or ".join(names)
