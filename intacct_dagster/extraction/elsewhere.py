"""Records that an entity sees no more: whether another one does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from intacct_dagster.client import (
    AccessDenied,
    AuthenticationRefused,
    IntacctClient,
    IntacctError,
    RequestRefused,
)
from intacct_dagster.extraction.delete_scan import existing
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.errors import NotMaterialized
from intacct_dagster.warehouse.raw import (
    RawLoad,
    ScannedPages,
    compare_keys,
    readers_of,
    seen_by,
)

#: Entities that are asked for a record that they have not read, in which it may be by now.
_MOST_STRANGERS = 20
_NOT_ALLOWED = (AccessDenied, AuthenticationRefused, RequestRefused)


@dataclass(frozen=True)
class Elsewhere:
    """What the other entities say of the records that one sees no more.

    Attributes:
        read: Keys that an entity shows which has read them.
        unread: By entity, the keys that it shows and has not read.
        unknown: Keys that an entity may have which could not be asked.
    """

    read: frozenset[str] = frozenset()
    unread: Mapping[str, Sequence[str]] | None = None
    unknown: frozenset[str] = frozenset()

    @property
    def deleted_of(self) -> Callable[[str], bool]:
        """Return a function that says whether no entity has a key."""
        shown = self.read.union(*(self.unread or {}).values(), self.unknown)
        return lambda key: key not in shown


def find_elsewhere(
    warehouse: Warehouse,
    object: str,
    gone: Sequence[str],
    *,
    others: Sequence[str],
    client_of: Callable[[str], IntacctClient],
) -> Elsewhere:
    """Ask the `others` for the keys `gone` from an entity.

    Those that have read a record are asked for it first, and for what none of them shows the rest:
    a record may have moved there, and not have been read yet. So that a company of hundreds of
    entities stays affordable, of these no more than a few are asked.
    """
    if not gone:
        return Elsewhere()
    readers = seen_by(warehouse, object, gone)
    reading = readers_of(warehouse, object)
    strangers = sorted(others, key=lambda entity: entity not in reading)[:_MOST_STRANGERS]
    unknown: set[str] = set()

    def asked(entity: str, keys: Sequence[str]) -> set[str]:
        try:
            return existing(client_of(entity), object, keys) if keys else set()
        except IntacctError as error:
            # One that may not be read, and never was, would block all deletes for good.
            if entity in reading or not isinstance(error, _NOT_ALLOWED):
                unknown.update(keys)
            return set()

    read: set[str] = set()
    for entity in others:
        read |= asked(entity, [k for k in gone if k not in read and entity in readers.get(k, ())])
    unread: dict[str, list[str]] = {}
    left = [key for key in gone if key not in read]
    for entity in strangers:
        there = asked(entity, [key for key in left if entity not in readers.get(key, ())])
        if there:
            unread[entity] = sorted(there)
            left = [key for key in left if key not in there]
    return Elsewhere(frozenset(read), unread, frozenset(unknown.intersection(left)))


def not_gone(
    client: IntacctClient,
    warehouse: Warehouse,
    load: RawLoad,
    *,
    others: Collection[str],
    client_of: Callable[[str], IntacctClient],
) -> tuple[str, ...]:
    """Return the keys that a reading of a whole object lacks, and that are to stay as they are.

    Another entity has them, or may have them, and was not read since.
    """
    pages = ScannedPages(load.object, load.entity, load.files, None, None)
    try:
        missing = compare_keys(warehouse, pages).missing
    except NotMaterialized:
        return ()
    there = existing(client, load.object, missing)
    gone = [key for key in missing if key not in there]
    elsewhere = find_elsewhere(
        warehouse, load.object, gone, others=list(others), client_of=client_of
    )
    unread = {key for keys in (elsewhere.unread or {}).values() for key in keys}
    return tuple(sorted(there | unread | elsewhere.unknown))
