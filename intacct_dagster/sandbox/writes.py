"""Creates, changes and deletes records: form, then sense, then the books.

Every function takes one item and raises `Refusal` for it; whether a whole request fails with it is
`batches`' business.
"""

from __future__ import annotations

from collections.abc import Iterable

from . import refusals
from .books import Books, Work
from .catalogue import Json, ObjectType
from .clock import wire_time
from .completion import COMPLETIONS
from .envelopes import Detail
from .payloads import Given, read_record
from .rules import (
    Draft,
    broken_rules,
    closed_period,
    entity_of,
    resolve,
    taken_values,
)
from .tables import Row


def create(books: Books, work: Work, type_: ObjectType, body: Json) -> str:
    """Store a new record with its lines and give its key."""
    given = read_record(books.catalogue, type_, body, "create")
    _check_state(type_, given)
    entity_key = books.entity_key(work.session.entity)
    header, problems = _row(books, given, entity_key)
    lines = []
    for line in given.lines or ():
        row, more = _row(books, line, entity_key)
        lines.append(row)
        problems += more
    if problems:
        raise refusals.operation_failed("POST", type_.name, problems)
    table = books.tables[type_.name]
    header["key"] = key = table.take_key()
    if entity_key is not None:
        header["entity.key"] = entity_key
    _number(type_, header)
    _finish(books, work, type_, header, lines, method="POST", is_new=True)
    return key


def change(books: Books, work: Work, type_: ObjectType, key: str, body: Json) -> str:
    """Change fields of a record; what is not in the body stays. Gives the key."""
    before = _own(books, work, type_, key)
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name != "key"}
    given = read_record(books.catalogue, type_, body, "change")
    if given.lines is not None:
        raise refusals.not_simulated("lines in a PATCH: delete the document and create it again")
    if type_.states and "state" in given.values and given.values["state"] != before["state"]:
        raise refusals.payload_errors(
            [Detail("invalidParameter", "The state cannot be changed", "SBX-1112", target="/state")]
        )
    entity_key = books.entity_key(work.session.entity)
    refs, problems = resolve(given, books.tables, entity_key)
    if problems:
        raise refusals.operation_failed("PATCH", type_.name, problems)
    header = before | given.values | refs
    lines = _lines(books, type_, key)
    _check_open(books, type_, before, lines, "PATCH")
    _finish(books, work, type_, header, lines, method="PATCH", is_new=False)
    return key


def delete(books: Books, work: Work, type_: ObjectType, key: str) -> None:
    """Delete a record with its lines, unless another record refers to it."""
    before = _own(books, work, type_, key)
    _check_open(books, type_, before, _lines(books, type_, key), "DELETE")
    if type_.kind == "master":
        user = _who_refers_to(books, type_, key)
        if user is not None:
            raise refusals.operation_failed(
                "DELETE",
                type_.name,
                [
                    Detail(
                        "operationFailed",
                        f"The record cannot be deleted because {user} refers to it",
                        "SBX-7107",
                    )
                ],
            )
    if type_.lines:
        for line in books.tables[type_.lines.object].lines_of(key):
            work.delete(type_.lines.object, str(line["key"]))
    work.delete(type_.name, key)


def _own(books: Books, work: Work, type_: ObjectType, key: str) -> Row:
    """The stored record, if the session may write it."""
    entity_key = books.entity_key(work.session.entity)
    if not books.tables.is_visible(type_.name, key, entity_key):
        raise refusals.key_unknown(type_.name, key)
    row = books.tables[type_.name].rows[key]
    if entity_key is not None and row.get("entity.key") is None:
        raise refusals.shared_is_read_only(type_.name, key)
    return row


def _lines(books: Books, type_: ObjectType, key: str) -> list[Row]:
    if type_.lines is None:
        return []
    return [dict(row) for row in books.tables[type_.lines.object].lines_of(key)]


def _check_open(
    books: Books, type_: ObjectType, before: Row, lines: list[Row], method: str
) -> None:
    """A document in a closed period stays as it is, also when it is to leave the period."""
    draft = Draft(type_, before, lines, entity_of(before))
    closed = list(closed_period(draft, books.tables))
    if closed:
        raise refusals.operation_failed(method, type_.name, closed)


def _check_state(type_: ObjectType, given: Given) -> None:
    state = given.values.get("state")
    if not type_.states or state is None or state in type_.states:
        return
    allowed = " or ".join(type_.states)
    raise refusals.payload_errors(
        [
            Detail(
                "invalidParameter",
                f"Not a valid state. State must be {allowed} or not included in the request.",
                "SBX-1113",
                target="/state",
            )
        ]
    )


def _row(books: Books, given: Given, entity_key: str | None) -> tuple[Row, list[Detail]]:
    refs, problems = resolve(given, books.tables, entity_key)
    filled = {path: value for path, value in given.values.items() if value is not None}
    filled |= {path: value for path, value in refs.items() if value is not None}
    return dict(given.type.defaults) | filled, problems


def _number(type_: ObjectType, header: Row) -> None:
    if type_.numbering and header.get(type_.numbering.field) is None:
        header[type_.numbering.field] = f"{type_.numbering.prefix}{int(str(header['key'])):06d}"


def _finish(
    books: Books,
    work: Work,
    type_: ObjectType,
    header: Row,
    lines: list[Row],
    *,
    method: str,
    is_new: bool,
) -> None:
    entity = entity_of(header)
    complete = COMPLETIONS.get(type_.name)
    if complete is not None:
        complete(header, lines, entity.currency if entity else _currency(header))
    draft = Draft(type_, header, lines, entity)
    broken = broken_rules(draft, books.tables)
    if broken:
        raise refusals.operation_failed(method, type_.name, broken)
    taken = taken_values(draft, books.tables)
    if taken:
        raise refusals.duplicate(method, type_.name, taken)
    _stamp(work, [header, *lines], is_new=is_new)
    work.put(type_.name, header)
    if type_.lines:
        table = books.tables[type_.lines.object]
        owner = table.type.owner
        for line in lines:
            line.setdefault("key", table.take_key())
            line[f"{owner}.key"] = header["key"]
            if "entity.key" in header:
                line["entity.key"] = header["entity.key"]
            work.put(type_.lines.object, line)


def _currency(header: Row) -> str | None:
    found = header.get("currency.baseCurrency") or header.get("currency.txnCurrency")
    return found if isinstance(found, str) else None


def _stamp(work: Work, rows: Iterable[Row], *, is_new: bool) -> None:
    at, user = wire_time(work.now), work.session.user.key
    for row in rows:
        if is_new:
            row["audit.createdDateTime"] = at
            row["audit.createdByUser.key"] = user
        row["audit.modifiedDateTime"] = at
        row["audit.modifiedByUser.key"] = user


def _who_refers_to(books: Books, type_: ObjectType, key: str) -> str | None:
    for other, table in books.tables.items():
        paths = [f"{ref.path}.key" for ref in table.type.refs.values() if ref.object == type_.name]
        for path in paths:
            for row in table.rows.values():
                if row.get(path) == key and not (other == type_.name and row["key"] == key):
                    return f"{other} {row['key']}"
    return None
