"""What Sage documents of the objects that are posted to, where the model service is silent."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec
import yaml


class Balance(msgspec.Struct, frozen=True):
    """A list whose items are debits and credits: the fields that say which, and how much."""

    list: str
    side: str
    amount: str


class Reversal(msgspec.Struct, frozen=True):
    """The workflow that undoes a posted record, and what its body needs besides `key`."""

    action: str
    needs: tuple[str, ...] = ()


class DocumentFacts(msgspec.Struct, frozen=True):
    """What a new record of an object needs; documents.yaml tells what each field means."""

    required: tuple[str, ...] = ()
    one_of: tuple[tuple[str, ...], ...] = ()
    most: Mapping[str, int] = {}
    least_items: Mapping[str, int] = {}
    dated: tuple[str, ...] = ()
    party: str | None = None
    numbered_by: Literal["party"] | None = None
    total: str | None = None
    numbers: tuple[str, ...] = ()
    balanced: Balance | None = None
    change: tuple[str, ...] | None = None
    reverse: Reversal | None = None


@cache
def _all() -> Mapping[str, DocumentFacts]:
    text = files(__package__).joinpath("documents.yaml").read_text(encoding="utf-8")
    return msgspec.convert(yaml.safe_load(text), dict[str, DocumentFacts])


def document_facts(object: str) -> DocumentFacts:
    """Return what is documented of an object; of one that is not in documents.yaml, nothing."""
    return _all().get(object, DocumentFacts())
