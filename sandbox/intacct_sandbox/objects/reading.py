"""What a record shows: stored values, values seen through references, values worked out on reading.

Everything is read by column (a list of values for a list of rows), because pages hold thousands of
rows and a call a value would be the slowest thing the sandbox does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import TypeAlias, cast

from .catalogue import Field, FieldGroup, Json, ObjectCatalogue, ObjectType, Ref
from .tables import Row, Table, Tables

Column: TypeAlias = Callable[[Sequence[Row]], list[Json]]


WEB_URL = "https://www.intacct.com/ia/acct/ur.phtml?.r="
"""What the address of a record in Intacct's pages begins with; a hash of its name follows."""


class RecordReader:
    """Columns and nested forms of one object's records, as of one day, for one request.

    `today` is the sandbox's date: due days are counted from it.
    """

    def __init__(
        self, catalogue: ObjectCatalogue, tables: Tables, object_: str, today: date
    ) -> None:
        self.catalogue = catalogue
        self._tables = tables
        self.type = catalogue[object_]
        self._today = today
        self._columns: dict[str, Column] = {}
        self._readers: dict[str, RecordReader] = {}

    def column(self, path: str) -> Column:
        """Return the column of a field or of a reference's member; raises `KeyError` for
        neither."""
        found = self._columns.get(path)
        if found is None:
            found = self._columns[path] = self._make(path)
        return found

    def table(self, object_: str) -> Table | None:
        """Return the records of another object, if the sandbox holds any."""
        return self._tables.get(object_)

    def of(self, object_: str) -> RecordReader:
        """Return a reader of another object."""
        return RecordReader(self.catalogue, self._tables, object_, self._today)

    def version_of(self, object_: str, member: str) -> object:
        """Return what is the same as long as a reference shows the same of every record of an
        object."""
        table = self._tables[object_]
        path = self.catalogue[object_].fields.get(member)
        if path is not None and path.same_as is None and path.computed is None:
            return table.version
        everything = (each.version for each in self._tables.values() if not each.is_archived)
        return (self._today, *everything)

    def _make(self, path: str) -> Column:
        if path == "href":
            prefix = f"/objects/{self.type.name}/"
            return lambda rows: [prefix + cast(str, row["key"]) for row in rows]
        field = self.type.fields.get(path)
        if field is not None:
            if field.same_as:
                other = self.column(field.same_as)
                if field.read_only:
                    return other
                return lambda rows: [
                    shown if (own := row.get(path)) is None else own
                    for row, shown in zip(rows, other(rows), strict=True)
                ]
            if field.computed:
                return self._computed(field)
            return lambda rows: [row.get(path) for row in rows]
        beyond = self.type.beyond(path)
        ref, member = beyond if beyond is not None else self.type.members[path]
        return self._through(ref, member)

    def _through(self, ref: Ref, member: str) -> Column:
        key_path = f"{ref.path}.key"
        if member == "key":
            return lambda rows: [row.get(key_path) for row in rows]
        if member == "href":
            prefix = f"/objects/{ref.object}/"
            return lambda rows: [
                None if (key := row.get(key_path)) is None else f"{prefix}{key}" for row in rows
            ]
        if ref.object not in self.catalogue:
            # A record of an object that the sandbox does not hold: kept as it was given.
            path = f"{ref.path}.{member}"
            return lambda rows: [row.get(path) for row in rows]
        target = self._tables[ref.object]
        other = RecordReader(self.catalogue, self._tables, ref.object, self._today)
        seen_through = other.column(ref.shown.get(member, member))

        def column(rows: Sequence[Row]) -> list[Json]:
            keys = [row.get(key_path) for row in rows]
            wanted = [str(key) for key in dict.fromkeys(keys) if key in target.rows]
            values = seen_through([target.rows[key] for key in wanted])
            known: dict[Json, Json] = dict(zip(wanted, values, strict=True))
            return [known.get(key) for key in keys]

        return column

    def _computed(self, field: Field) -> Column:
        match field.computed:
            case "days-overdue":
                return self._days_overdue(as_text=field.type == "string")
            case "days-to-pay":
                return self._days_to_pay
            case "web-url":
                return self._web_url
            case "open-invoices":
                return self._open_amount("accounts-receivable/invoice", "customer.key")
            case "open-bills":
                return self._open_amount("accounts-payable/bill", "vendor.key")
            case "last-invoice-date":
                return self._latest("accounts-receivable/invoice", "customer.key", "invoiceDate")
            case "last-bill-date":
                return self._latest("accounts-payable/bill", "vendor.key", "createdDate")
        raise ValueError(f"{self.type.name}: nobody computes {field.computed!r}")

    def _days_overdue(self, *, as_text: bool) -> Column:
        def days(row: Row) -> Json:
            due = row.get("dueDate")
            # Nothing is due of what is paid (recorded live 2026-03).
            if not isinstance(due, str) or row.get("state") == "paid":
                return None
            over = (self._today - date.fromisoformat(due)).days
            return str(over) if as_text else over

        return lambda rows: [days(row) for row in rows]

    def _days_to_pay(self, rows: Sequence[Row]) -> list[Json]:
        days: list[Json] = []
        for row in rows:
            begun, paid = row.get("invoiceDate"), row.get("paymentInformation.fullyPaidDate")
            if isinstance(begun, str) and isinstance(paid, str):
                days.append((date.fromisoformat(paid) - date.fromisoformat(begun)).days)
            else:
                days.append(None)
        return days

    def _web_url(self, rows: Sequence[Row]) -> list[Json]:
        return [
            WEB_URL + hashlib.md5(f"{self.type.name}:{row['key']}".encode()).hexdigest()  # noqa: S324
            for row in rows
        ]

    def _open_amount(self, object_: str, party_path: str) -> Column:
        def by_party() -> dict[Json, Json]:
            due: dict[Json, Decimal] = {}
            for document in self._tables[object_].rows.values():
                if document.get("state") not in ("draft", "reversed"):
                    amount = Decimal(str(document.get("totalBaseAmountDue") or 0))
                    party = document.get(party_path)
                    due[party] = due.get(party, Decimal(0)) + amount
            return {party: f"{amount:.2f}" for party, amount in due.items()}

        return _looked_up(by_party, "0.00")

    def _latest(self, object_: str, party_path: str, date_path: str) -> Column:
        def by_party() -> dict[Json, Json]:
            latest: dict[Json, str] = {}
            for document in self._tables[object_].rows.values():
                party, day = document.get(party_path), document.get(date_path)
                if isinstance(day, str):
                    latest[party] = max(latest.get(party, day), day)
            return dict(latest)

        return _looked_up(by_party, None)

    # --- nested: what a GET by key answers ------------------------------------------------

    def nested(self, row: Row) -> dict[str, Json]:
        """Return one record as a tree with its lines; empty references have no `href`."""
        return self._nest(self.type.root, row)

    def _of_lines(self, object_: str) -> RecordReader:
        if object_ not in self._readers:
            self._readers[object_] = RecordReader(
                self.catalogue, self._tables, object_, self._today
            )
        return self._readers[object_]

    def _value(self, path: str, row: Row) -> Json:
        return self.column(path)([row])[0]

    def _nest(self, group: FieldGroup, row: Row) -> dict[str, Json]:
        shown: dict[str, Json] = {}
        for name, field in group.fields.items():
            if not field.write_only:
                shown[name] = self._value(field.path, row)
        for name, below in group.groups.items():
            shown[name] = self._nest(below, row)
        for name, ref in group.refs.items():
            members: dict[str, Json] = {}
            for member in ref.members:
                *groups, last = member.split(".")
                at = members
                for group_name in groups:
                    at = cast("dict[str, Json]", at.setdefault(group_name, {}))
                at[last] = self._value(f"{ref.path}.{member}", row)
            if members.get("href") is None:
                members.pop("href", None)
            shown[name] = members
        for name, lines in group.lists.items():
            if lines.kept:
                shown[name] = row.get(lines.path) or []
                continue
            reader = self._of_lines(lines.object)
            owned = self._tables[lines.object].lines_of(cast(str, row["key"]))
            shown[name] = [reader.nested(line) for line in owned]
        return shown


def _looked_up(find: Callable[[], dict[Json, Json]], otherwise: Json) -> Column:
    """Return a column by record key, from a mapping that is made once, when it is first needed."""
    found: list[dict[Json, Json]] = []

    def column(rows: Sequence[Row]) -> list[Json]:
        if not found:
            found.append(find())
        return [found[0].get(row["key"], otherwise) for row in rows]

    return column


def reference(type_: ObjectType, key: str, tables: Tables) -> dict[str, Json]:
    """`{key, id, href}`: how lists and writes name a record."""
    id_ = tables[type_.name].rows[key]["id"] if type_.kind == "master" else key
    return {"key": key, "id": id_, "href": f"/objects/{type_.name}/{key}"}
