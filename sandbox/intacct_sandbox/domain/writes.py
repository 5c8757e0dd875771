"""Create, change and delete records: form, then sense, then the books.

Every function takes one item and raises `Rejection` for it. Whether the whole request fails with it
is decided in `api/batches.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from intacct_sandbox.control.clock import wire_time
from intacct_sandbox.errors import rejections
from intacct_sandbox.errors.envelopes import RejectionDetail
from intacct_sandbox.objects.catalogue import Json, LineList, ObjectType, Transition
from intacct_sandbox.objects.tables import Row

from .books import Books, UnitOfWork
from .completion import COMPLETIONS, number_lines
from .payloads import Given, read_record
from .rules import Draft, broken_rules, closed_period, entity_of, resolve, taken_values
from .settlement import is_paid, settle, unpayable


def create(books: Books, work: UnitOfWork, type_: ObjectType, body: Json) -> str:
    """Store a new record with its lines and give its key."""
    if type_.owner:
        return _create_line(books, work, type_, type_.owner, body)
    given = read_record(books.catalogue, type_, body, "create")
    _check_state(type_, given)
    _write_inline(books, work, given)
    entity_key = books.entity_key(work.session.entity)
    header, problems = _row(books, given, entity_key)
    lines = []
    for line in given.lines or ():
        row, more = _row(books, line, entity_key)
        lines.append(row)
        problems += more
    if problems:
        raise rejections.operation_failed("POST", type_.name, problems)
    table = books.tables[type_.name]
    header["key"] = key = table.take_key()
    if entity_key is not None:
        header["entity.key"] = entity_key
    _number(type_, header)
    _finish(books, work, type_, header, lines, method="POST", is_new=True)
    return key


def change(books: Books, work: UnitOfWork, type_: ObjectType, key: str, body: Json) -> str:
    """Change fields of a record; what is not in the body stays. Gives the key."""
    before = _own(books, work, type_, key)
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name != "key"}
    if type_.owner:
        return _through_owner(books, work, type_, before, body)
    given = read_record(books.catalogue, type_, body, "change")
    if type_.states and "state" in given.values and given.values["state"] != before["state"]:
        raise rejections.payload_errors(
            [
                RejectionDetail(
                    "invalidParameter", "The state cannot be changed", "SBX-1112", target="/state"
                )
            ]
        )
    _write_inline(books, work, given, before)
    entity_key = books.entity_key(work.session.entity)
    refs, problems = resolve(given, books.tables, entity_key)
    if problems:
        raise rejections.operation_failed("PATCH", type_.name, problems)
    header = before | given.values | refs
    lines = _lines(books, type_, key)
    _check_open(books, type_, before, lines, "PATCH")
    settle(work, books.tables, type_.name, before, lines, undo=True)
    if given.lines is not None and type_.lines is not None:
        lines = _changed_lines(books, work, type_, type_.lines, lines, given.lines)
    _finish(books, work, type_, header, lines, method="PATCH", is_new=False)
    return key


def _write_inline(books: Books, work: UnitOfWork, given: Given, before: Row | None = None) -> None:
    """Write what was sent through references: a contact that is not there is created, one that is
    there is changed (the first is fact, Sage OpenAPI; the second a guess)."""
    for path, body in given.inline.items():
        type_ = books.catalogue[given.type.refs[path].object]
        table = books.tables[type_.name]
        named = given.refs.get(path) or {}
        key = named.get("key") or table.key_of(named.get("id", ""))
        if key is None and not named and before is not None:
            held = before.get(f"{path}.key")
            key = None if held is None else str(held)
        if key is not None:
            change(books, work, type_, key, dict(body))
        else:
            name = given.values.get("name") or (before or {}).get("name")
            printed = body.get("printAs") or body.get("companyName") or name
            id_ = named.get("id") or f"{printed} ({len(table.rows) + 1})"
            key = create(books, work, type_, {**body, "id": id_, "printAs": printed})
        given.refs[path] = {"key": key}


def _changed_lines(
    books: Books,
    work: UnitOfWork,
    type_: ObjectType,
    list_: LineList,
    lines: list[Row],
    given: list[Given],
) -> list[Row]:
    """Return the lines of a document after a change: those without a key are added, those with one
    are changed or, if the change says so, deleted (fact: Sage's guide to owned objects). Lines that
    are not named stay."""
    entity_key = books.entity_key(work.session.entity)
    after = {str(line["key"]): line for line in lines}
    added: list[Row] = []
    problems: list[RejectionDetail] = []
    for one in given:
        key = one.key or _same_there(books, list_, after.values(), one)
        if key is not None and key not in after:
            message = f"The key '{key}' is not that of a line of this record"
            problems.append(
                RejectionDetail("invalidKey", message, "SBX-0412", target=f"{one.at}/key")
            )
        elif key is None:
            row, more = _row(books, one, entity_key)
            added.append(row)
            problems += more
        elif one.deleted:
            work.delete(list_.object, key)
            del after[key]
        else:
            refs, more = resolve(one, books.tables, entity_key)
            after[key] = after[key] | one.values | refs
            problems += more
    if len(after) + len(added) < list_.minimum:
        message = f"At least {list_.minimum} of {list_.name} must be left"
        problems.append(
            RejectionDetail("invalidRequest", message, "SBX-1114", target=f"/{list_.name}")
        )
    if problems:
        raise rejections.operation_failed("PATCH", type_.name, problems)
    return [*after.values(), *added]


def _same_there(books: Books, list_: LineList, lines: Iterable[Row], given: Given) -> str | None:
    """Return the key of the line that names the same record as a new one does, where only one
    may."""
    named = given.refs.get(list_.by) if list_.by else None
    if not named:
        return None
    table = books.tables[given.type.refs[str(list_.by)].object]
    key = named.get("key") or table.key_of(named["id"])
    return next((str(one["key"]) for one in lines if one.get(f"{list_.by}.key") == key), None)


def _list_name(owner: ObjectType) -> str:
    return next(name for name, one in owner.root.lists.items() if not one.kept)


def _create_line(
    books: Books, work: UnitOfWork, type_: ObjectType, owner_name: str, body: Json
) -> str:
    """Return a line sent by itself: a change of the document that it names."""
    owner = books.catalogue[type_.refs[owner_name].object]
    named = body.get(owner_name) if isinstance(body, dict) else None
    key = named.get("key") or named.get("id") if isinstance(named, dict) else None
    if not isinstance(body, dict) or not isinstance(key, str):
        message = f"The required field /{owner_name} is missing"
        raise rejections.payload_errors(
            [RejectionDetail("invalidRequest", message, "SBX-1111", target=f"/{owner_name}")]
        )
    if owner.kind == "master" and isinstance(named, dict) and "key" not in named:
        key = books.tables[owner.name].key_of(key) or key
    before = {str(line["key"]) for line in _lines(books, owner, key)}
    line = {name: value for name, value in body.items() if name != owner_name}
    begun = len(work.changes)
    _change_line(books, work, owner, key, line)
    new = {str(line["key"]) for line in _lines(books, owner, key)} - before
    if new:
        return new.pop()
    # One was there already of which there may be one only: it is the one whose content changed.
    changed = {one.key: one for one in work.changes[begun:] if one.object == type_.name}
    given = read_record(books.catalogue, type_, line, "change")
    refs, _ = resolve(given, books.tables, books.entity_key(work.session.entity))
    by = f"{owner.lines.by}.key" if owner.lines else ""
    return next(key for key, one in changed.items() if (one.after or {}).get(by) == refs.get(by))


def _through_owner(
    books: Books, work: UnitOfWork, type_: ObjectType, before: Row, body: Json
) -> str:
    """Return a change of a line sent by itself: a change of its document."""
    owner = books.catalogue[type_.refs[str(type_.owner)].object]
    if not isinstance(body, dict):
        raise rejections.bad_json("a record is an object")
    key = str(before["key"])
    _change_line(books, work, owner, str(before[f"{type_.owner}.key"]), {**body, "key": key})
    return key


def move(
    books: Books,
    work: UnitOfWork,
    type_: ObjectType,
    key: str,
    transition: Transition,
    when: str | None,
) -> str:
    """Take a document from one state to another, with what follows from it; gives the new state."""
    before = _own(books, work, type_, key)
    if before.get("state") not in transition.before:
        message = f"A document that is {before.get('state')} cannot be {transition.after}"
        raise rejections.operation_failed(
            "POST",
            type_.name,
            [RejectionDetail("invalidRequest", message, "SBX-7111", target="/key")],
        )
    lines = _lines(books, type_, key)
    settle(work, books.tables, type_.name, before, lines, undo=True)
    after = before | {"state": transition.after}
    if when is not None and transition.dated:
        dated = Draft(
            type_, after | {type_.dated_by[0]: when}, lines, entity_of(after, books.tables)
        )
        closed = list(closed_period(dated, books.tables))
        if closed:
            raise rejections.operation_failed("POST", type_.name, closed)
        if is_paid(before):
            message = "A document that a payment stands against cannot be reversed"
            raise rejections.operation_failed(
                "POST",
                type_.name,
                [RejectionDetail("invalidRequest", message, "SBX-7112", target="/key")],
            )
        for what in ("totalTxnAmountDue", "totalBaseAmountDue"):
            if what in type_.fields:
                after[what] = "0.00"
        _stamp(work, [after, *lines], is_new=False)
        work.put(type_.name, after)
    else:
        _finish(books, work, type_, after, lines, method="POST", is_new=False)
    return transition.after


def _change_line(
    books: Books, work: UnitOfWork, owner: ObjectType, key: str, line: dict[str, Json]
) -> None:
    before = books.tables[owner.name].rows.get(key, {})
    change(books, work, owner, key, {_list_name(owner): [line]})
    if books.behaviours["line_touches_document"] == "false":
        changed = ("audit.modifiedDateTime", "audit.modifiedByUser.key")
        old = {path: before[path] for path in changed}
        work.put(owner.name, books.tables[owner.name].rows[key] | old)


def delete(books: Books, work: UnitOfWork, type_: ObjectType, key: str) -> None:
    """Delete a record with its lines, unless another record refers to it."""
    before = _own(books, work, type_, key)
    if type_.owner:
        _through_owner(books, work, type_, before, {"ia::operation": "delete"})
        return
    lines = _lines(books, type_, key)
    _check_open(books, type_, before, lines, "DELETE")
    mirrored = _mirrored(books, type_, key)
    if type_.kind == "master" or is_paid(before):
        user = _who_refers_to(books, type_, key)
        if user is None and type_.mirror is not None and mirrored is not None:
            user = _who_refers_to(books, books.catalogue[type_.mirror.object], mirrored)
        if user is None and is_paid(before):
            user = "a payment"
        if user is not None:
            raise rejections.operation_failed(
                "DELETE",
                type_.name,
                [
                    RejectionDetail(
                        "operationFailed",
                        f"The record cannot be deleted because {user} refers to it",
                        "SBX-7107",
                    )
                ],
            )
    settle(work, books.tables, type_.name, before, lines, undo=True)
    if type_.lines:
        for line in lines:
            work.delete(type_.lines.object, str(line["key"]))
    work.delete(type_.name, key)
    if type_.mirror is not None and mirrored is not None:
        work.delete(type_.mirror.object, mirrored)


def _mirrored(books: Books, type_: ObjectType, key: str) -> str | None:
    """Return the key under which a record shows in the object that mirrors it."""
    if type_.mirror is None:
        return None
    for row in books.tables[type_.mirror.object].rows.values():
        if row.get("referenceKey") == key and type_.mirror.values.items() <= row.items():
            return str(row["key"])
    return None


def _own(books: Books, work: UnitOfWork, type_: ObjectType, key: str) -> Row:
    """Return the stored record, if the session may write it."""
    entity_key = books.entity_key(work.session.entity)
    if not books.tables.is_visible(type_.name, key, entity_key):
        raise rejections.key_unknown(type_.name, key)
    row = books.tables[type_.name].rows[key]
    writable = books.behaviours["shared_masters"] == "writable"
    if entity_key is not None and row.get("entity.key") is None and not writable:
        raise rejections.shared_is_read_only(type_.name, key)
    return row


def _lines(books: Books, type_: ObjectType, key: str) -> list[Row]:
    if type_.lines is None:
        return []
    return [dict(row) for row in books.tables[type_.lines.object].lines_of(key)]


def _check_open(
    books: Books, type_: ObjectType, before: Row, lines: list[Row], method: str
) -> None:
    """Reject a change of a document in a closed period, also of its date."""
    draft = Draft(type_, before, lines, entity_of(before, books.tables))
    closed = list(closed_period(draft, books.tables))
    if closed:
        raise rejections.operation_failed(method, type_.name, closed)


def _check_state(type_: ObjectType, given: Given) -> None:
    state = given.values.get("state")
    if not type_.states or state is None or state in type_.states:
        return
    allowed = " or ".join(type_.states)
    raise rejections.payload_errors(
        [
            RejectionDetail(
                "invalidParameter",
                f"Not a valid state. State must be {allowed} or not included in the request.",
                "SBX-1113",
                target="/state",
            )
        ]
    )


def _row(books: Books, given: Given, entity_key: str | None) -> tuple[Row, list[RejectionDetail]]:
    refs, problems = resolve(given, books.tables, entity_key)
    filled = {path: value for path, value in given.values.items() if value is not None}
    filled |= {path: value for path, value in refs.items() if value is not None}
    return dict(given.type.defaults) | filled, problems


def _number(type_: ObjectType, header: Row) -> None:
    if type_.numbering and header.get(type_.numbering.field) is None:
        header[type_.numbering.field] = f"{type_.numbering.prefix}{int(str(header['key'])):06d}"


def _finish(
    books: Books,
    work: UnitOfWork,
    type_: ObjectType,
    header: Row,
    lines: list[Row],
    *,
    method: str,
    is_new: bool,
) -> None:
    entity = entity_of(header, books.tables)
    complete = COMPLETIONS.get(type_.name)
    if complete is not None:
        complete(header, lines, entity.currency if entity else _currency(header), books.tables)
    else:
        number_lines(lines)
    draft = Draft(type_, header, lines, entity)
    broken = [*broken_rules(draft, books.tables), *unpayable(draft, books.tables)]
    if broken:
        raise rejections.operation_failed(method, type_.name, broken)
    taken = taken_values(draft, books.tables)
    if taken:
        raise rejections.duplicate(method, type_.name, taken)
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
    settle(work, books.tables, type_.name, header, lines, undo=False)
    if type_.mirror is not None:
        mirror = books.tables[type_.mirror.object]
        key = _mirrored(books, type_, str(header["key"])) or mirror.take_key()
        shown = {path: header[path] for path in header if path in mirror.type.fields}
        own = {"key": key, "referenceKey": header["key"], **type_.mirror.values}
        audit = {path: header[path] for path in header if path.startswith(("audit.", "entity."))}
        work.put(mirror.type.name, dict(mirror.type.defaults) | shown | audit | own)


def _currency(header: Row) -> str | None:
    found = header.get("currency.baseCurrency") or header.get("currency.txnCurrency")
    return found if isinstance(found, str) else None


def _stamp(work: UnitOfWork, rows: Iterable[Row], *, is_new: bool) -> None:
    at = wire_time(work.now, work.behaviours["audit_precision"])
    user = work.session.user.key
    for row in rows:
        if is_new or "audit.createdDateTime" not in row:
            row["audit.createdDateTime"] = at
            row["audit.createdByUser.key"] = user
        row["audit.modifiedDateTime"] = at
        row["audit.modifiedByUser.key"] = user


def _who_refers_to(books: Books, type_: ObjectType, key: str) -> str | None:
    for other, table in books.tables.items():
        # Its own lines go with a record.
        paths = [
            f"{ref.path}.key"
            for ref in table.type.refs.values()
            if ref.object == type_.name and not ref.is_owner
        ]
        for path in paths:
            row = table.first_with(path, key, but=key if other == type_.name else None)
            if row is not None:
                return f"{other} {row['key']}"
    return None
