"""Changes by other users while a client reads: in Intacct's own pages, or through other programs.

They go into the books like any write, under the user `external`; `/_sandbox/books` lists them.
"""

from __future__ import annotations

from datetime import timedelta
from random import Random

from intacct_sandbox.company import User
from intacct_sandbox.control.audit_log import AuditedRequest
from intacct_sandbox.control.clock import wire_time
from intacct_sandbox.control.faults import ExternalChanges
from intacct_sandbox.objects.catalogue import ObjectType
from intacct_sandbox.objects.tables import Row, Visibility

from .books import Books, UnitOfWork
from .sessions import UserSession

EXTERNAL = User("external", "1", "Somebody else")
"""Who it is that writes; in the books it shows as the company's first user."""


def write_external_changes(
    books: Books, exchange: AuditedRequest, what: ExternalChanges, chance: Random
) -> None:
    """Insert, change and delete records of the object that a request asks for, or of another, in
    the request's entity. Objects that are not there, or read-only, stay as they are."""
    type_ = books.catalogue.get(what.object or exchange.object or "")
    if type_ is None or "PATCH" not in type_.methods:
        return
    session = UserSession(EXTERNAL, exchange.entity)
    with books.work(session) as work:
        at = wire_time(work.now - timedelta(seconds=what.modified_ago))
        for _ in range(what.delete):
            _delete(books, work, type_, chance)
        for number in range(what.change):
            row = _any(books, work, type_, chance)
            if row is not None:
                _change(work, type_, row, at, number)
        for _ in range(what.insert):
            row = _any(books, work, type_, chance)
            if row is not None:
                _insert(books, work, type_, row, at)
        books.commit(work)


def _any(books: Books, work: UnitOfWork, type_: ObjectType, chance: Random) -> Row | None:
    visibility = Visibility(books.entity_key(work.session.entity), include_private=True)
    return books.tables[type_.name].pick(visibility, chance)


def _change(work: UnitOfWork, type_: ObjectType, row: Row, at: str, number: int) -> None:
    changed = {**row, "audit.modifiedDateTime": at}
    changed["audit.modifiedByUser.key"] = EXTERNAL.key
    if "description" in type_.fields:
        changed["description"] = f"Changed externally ({number + 1})"
    work.put(type_.name, changed)


def _delete(books: Books, work: UnitOfWork, type_: ObjectType, chance: Random) -> None:
    row = _any(books, work, type_, chance)
    if row is None:
        return
    if type_.lines is not None:
        for line in books.tables[type_.lines.object].lines_of(str(row["key"])):
            work.delete(type_.lines.object, str(line["key"]))
    work.delete(type_.name, str(row["key"]))


def _insert(books: Books, work: UnitOfWork, type_: ObjectType, model: Row, at: str) -> None:
    """Write a copy of a record with its lines, under keys and numbers of its own."""
    key = books.tables[type_.name].take_key()
    row = _fresh(model, key, at)
    if type_.kind == "master":
        row["id"] = f"EXTERNAL-{key}"
    if type_.numbering is not None:
        row[type_.numbering.field] = f"EXTERNAL-{key}"
    work.put(type_.name, row)
    if type_.lines is None:
        return
    table = books.tables[type_.lines.object]
    for line in table.lines_of(str(model["key"])):
        copied = _fresh(line, table.take_key(), at)
        copied[f"{table.type.owner}.key"] = key
        work.put(type_.lines.object, copied)


def _fresh(model: Row, key: str, at: str) -> Row:
    return {
        **model,
        "key": key,
        "audit.createdDateTime": at,
        "audit.modifiedDateTime": at,
        "audit.createdByUser.key": EXTERNAL.key,
        "audit.modifiedByUser.key": EXTERNAL.key,
    }
