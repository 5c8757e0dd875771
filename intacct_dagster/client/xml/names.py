"""What names of the XML API are called in REST: what names.yaml tells."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from importlib.resources import files

import msgspec
import yaml

from intacct_dagster.client.xml.objects import xml_objects


class _Names(msgspec.Struct, frozen=True):
    objects: Mapping[str, str]
    only_xml: Mapping[str, frozenset[str]]
    instead: Mapping[str, str]
    fields: Mapping[str, tuple[str, ...]]


@cache
def _names() -> _Names:
    text = files(__package__).joinpath("names.yaml").read_text(encoding="utf-8")
    return msgspec.convert(yaml.safe_load(text), _Names)


def rest_name(xml: str) -> str | None:
    """The REST object that an XML one is ("APBILL"), or the `xml/…` one that reads it, or None."""
    here = {each.xml: name for name, each in xml_objects().items()}
    return _names().objects.get(xml) or here.get(xml)


def only_in_xml(xml: str) -> bool:
    """Return whether an XML object is known to have no equal in REST."""
    return any(xml in of_module for of_module in _names().only_xml.values())


def instead_of(xml: str) -> str | None:
    """Where much of what an XML object without an equal has is to be had, if that is known."""
    return _names().instead.get(xml)


def xml_name(rest: str) -> str | None:
    """Return the XML object that is the same as a REST one, if that is known."""
    return next((xml for xml, name in _names().objects.items() if name == rest), None)


def rest_path(xml: str, offered: Collection[str]) -> str | None:
    """The path among those `offered` that a field of the XML API is ("WHENMODIFIED"), or None."""
    return next((path for path in _names().fields.get(xml, ()) if path in offered), None)


def known_names() -> frozenset[str]:
    """Return all XML objects that are known by name."""
    return frozenset(_names().objects).union(*_names().only_xml.values())
