"""The document that an object's rows are lines of: which it is, and how it is reached."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from intacct_dagster.client import (
    CHANGED,
    IntacctClient,
    ObjectModel,
    Query,
    Reference,
    RequestRefused,
)
from intacct_dagster.config import ObjectSettings
from intacct_dagster.extraction.columns import ENTITY, KEY


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


def parent_of(
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
