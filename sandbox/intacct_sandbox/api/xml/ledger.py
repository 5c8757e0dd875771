"""What only the XML API has of the general ledger, worked out of the journal entry lines, so that
it always agrees with what REST says: GLDETAIL and GLACCOUNTBALANCE.

Names of fields and how dates and amounts are written: Sage's XML developer documentation and public
clients. Guessed: that AMOUNT is debit less credit, what BOOKID says, that lines of entries that are
not posted are in GLDETAIL with their BATCH_STATE, and that balances are of the base currency alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import cast

import msgspec

from intacct_sandbox import query
from intacct_sandbox.domain.books import Books
from intacct_sandbox.objects.catalogue import Json
from intacct_sandbox.objects.reading import RecordReader
from intacct_sandbox.objects.tables import Row

from .document import Element

LARGEST_PAGE = 2000
"""Rows of one answer to `query` (fact: Sage's XML developer documentation)."""

_ENTRY = "general-ledger/journal-entry"
_LINE = "general-ledger/journal-entry-line"
_PERIOD = "general-ledger/reporting-period"
_TIME = "%m/%d/%Y %H:%M:%S"
_NOT_POSTED: list[Json] = ["draft", "submitted", "partiallyApproved", "approved", "declined"]

_DIMENSIONS = {
    "DEPARTMENTID": "department",
    "LOCATIONID": "location",
    "CUSTOMERID": "customer",
    "VENDORID": "vendor",
    "EMPLOYEEID": "employee",
    "PROJECTID": "project",
    "ITEMID": "item",
    "CLASSID": "class",
}
_OF_LINES = {
    "RECORDNO": "key",
    "GLENTRYKEY": "key",
    "BATCHKEY": "journalEntry.key",
    "LINE_NO": "lineNumber",
    "ENTRY_DATE": "entryDate",
    "DOCUMENT": "documentId",
    "DESCRIPTION": "description",
    "ACCOUNTNO": "glAccount.id",
    "ACCOUNTTITLE": "glAccount.name",
    "BASECURR": "currency.baseCurrency",
    "CURRENCY": "currency.txnCurrency",
    "CLEARED": "reconciliationGroup.cleared",
    "CLRDATE": "reconciliationGroup.clearingDate",
    "WHENMODIFIED": "audit.modifiedDateTime",
    **{name: f"dimensions.{which}.id" for name, which in _DIMENSIONS.items()},
}
_OF_ENTRIES = {
    "BATCH_NO": "txnNumber",
    "BATCH_DATE": "postingDate",
    "BATCH_TITLE": "description",
    "BATCH_STATE": "state",
    "ENTRY_STATE": "state",
    "SYMBOL": "glJournal.id",
    "REFERENCENO": "referenceNumber",
    "MODULEKEY": "moduleName",
}
_ALWAYS = {"BOOKID": "ACCRUAL", "ADJ": "false", "STATISTICAL": "false"}
_OF_SUBLEDGERS = ("RECORDTYPE", "RECORDID", "DOCNUMBER")
_AMOUNTS: Mapping[str, tuple[str, Callable[[str, Decimal], Decimal]]] = {
    "DEBITAMOUNT": ("baseAmount", lambda side, one: one if side == "debit" else Decimal(0)),
    "CREDITAMOUNT": ("baseAmount", lambda side, one: one if side == "credit" else Decimal(0)),
    "AMOUNT": ("baseAmount", lambda side, one: one if side == "debit" else -one),
    "TRX_DEBITAMOUNT": ("txnAmount", lambda side, one: one if side == "debit" else Decimal(0)),
    "TRX_CREDITAMOUNT": ("txnAmount", lambda side, one: one if side == "credit" else Decimal(0)),
    "TRX_AMOUNT": ("txnAmount", lambda side, one: one if side == "debit" else -one),
}
_DATES = ("ENTRY_DATE", "BATCH_DATE", "CLRDATE")
DETAIL_FIELDS = frozenset(
    (*_OF_LINES, *_OF_ENTRIES, *_ALWAYS, *_OF_SUBLEDGERS, *_AMOUNTS, "TR_TYPE")
)
"""The fields of GLDETAIL that the sandbox has."""

_COMPARISONS = {
    "equalto": "$eq",
    "notequalto": "$ne",
    "lessthan": "$lt",
    "lessthanorequalto": "$lte",
    "greaterthan": "$gt",
    "greaterthanorequalto": "$gte",
    "in": "$in",
    "notin": "$notIn",
    "isnull": "$eq",
    "isnotnull": "$ne",
}


class UnsupportedFunction(ValueError):
    """A function that cannot be done; the message says why."""


@dataclass(frozen=True)
class DetailPage:
    """A page of GLDETAIL: its rows, where it begins, and how many there are in all."""

    rows: list[dict[str, str]]
    offset: int
    total: int


def detail(books: Books, entity: str | None, asked: Element) -> DetailPage:
    """Return a page of GLDETAIL, as `query` asks for it.

    Raises `UnsupportedFunction`, and `Rejection` where REST would.
    """
    ahead = offset_of(books)
    fields = [one.text.strip() for one in (asked.find("select") or Element("")).all("field")]
    if not fields:
        raise UnsupportedFunction("The select element needs at least one field")
    for name in fields:
        if name not in DETAIL_FIELDS:
            raise UnsupportedFunction(f"Field {name} does not exist in object GLDETAIL")
    offset = _whole(asked.said("offset") or "0", "offset", 0, None)
    size = _whole(asked.said("pagesize") or "100", "pagesize", 1, LARGEST_PAGE)
    filters: list[Json] = [dict(one) for one in _filters(asked.find("filter"), ahead)]
    private = asked.said("options", "showprivate") == "true"
    paths = {_OF_LINES[name] for name in fields if name in _OF_LINES}
    needed = ("key", "journalEntry.key", "txnType", "baseAmount", "txnAmount")
    payload: dict[str, Json] = {
        "object": _LINE,
        "fields": [*dict.fromkeys((*needed, *sorted(paths)))],
        "filters": filters,
        "orderBy": [dict(one) for one in _orders(asked.find("orderby"))],
        "start": offset + 1,
        "size": size,
        "filterParameters": {"includePrivate": private and entity is None},
    }
    with books.lock:
        found = query.answer(query.read_query(payload, books), books, entity).found
        lines = _plain(found.rows)
        entries = _entries(books, [str(one["journalEntry.key"]) for one in lines], fields)
    rows = [
        {name: _shown(name, line, entry, ahead) for name in fields}
        for line, entry in zip(lines, entries, strict=True)
    ]
    return DetailPage(rows, offset, found.total)


def balances(books: Books, entity: str | None, condition: str) -> list[dict[str, str]]:
    """Return the balances of the period that a `readByQuery` asks for; raises
    `UnsupportedFunction`."""
    name = condition.strip()
    if not (name.startswith("PERIOD = '") and name.endswith("'")):
        raise UnsupportedFunction(
            "PERIOD is required, as PERIOD = 'name'; the sandbox takes nothing else"
        )
    name = name.removeprefix("PERIOD = '")[:-1].replace("\\'", "'").replace("\\\\", "\\")
    with books.lock:
        rows = books.tables[_PERIOD].rows.values()
        period = next((one for one in rows if one["id"] == name), None)
        if period is None or period.get("isBudgetable") is False:
            raise UnsupportedFunction(f"{name} is not a budgetable reporting period")
        first, last = str(period["startDate"]), str(period["endDate"])
        unposted = _keys(books, entity, _ENTRY, [{"$in": {"state": _NOT_POSTED}}])
        before = _sums(books, entity, [{"$lt": {"entryDate": first}}], unposted)
        within: list[Json] = [{"$gte": {"entryDate": first}}, {"$lte": {"entryDate": last}}]
        during = _sums(books, entity, within, unposted)
    return [
        _balance(name, key, before.get(key, _NOTHING), during.get(key, _NOTHING))
        for key in dict.fromkeys((*before, *during))
    ]


Key = tuple[Json, ...]
Sums = dict[str, Decimal]
_NOTHING: Sums = {}
_GROUPED = (
    "glAccount.key",
    "glAccount.id",
    "glAccount.name",
    "currency.baseCurrency",
    *(f"dimensions.{which}.id" for which in _DIMENSIONS.values()),
)


def _balance(period: str, key: Key, before: Sums, during: Sums) -> dict[str, str]:
    account, number, title, currency, *dimensions = ("" if one is None else str(one) for one in key)
    debit, credit = during.get("debit", Decimal(0)), during.get("credit", Decimal(0))
    opening = before.get("debit", Decimal(0)) - before.get("credit", Decimal(0))
    amounts = {
        "OPENBAL": opening,
        "TOTDEBIT": debit,
        "TOTCREDIT": credit,
        "TOTADJDEBIT": Decimal(0),
        "TOTADJCREDIT": Decimal(0),
        "FORBAL": debit - credit,
        "ENDBAL": opening + debit - credit,
    }
    return {
        "BOOKID": "ACCRUAL",
        "CURRENCY": currency,
        "PERIOD": period,
        **{name: f"{amount:.2f}" for name, amount in amounts.items()},
        "ACCOUNTREC": account,
        "ACCOUNTNO": number,
        "ACCOUNTTITLE": title,
        **dict(zip(_DIMENSIONS, dimensions, strict=True)),
    }


def _sums(
    books: Books, entity: str | None, filters: Sequence[Json], unposted: Sequence[Json]
) -> dict[Key, Sums]:
    more: list[Json] = [{"$notIn": {"journalEntry.key": list(unposted)}}] if unposted else []
    asked: dict[str, Json] = {
        "object": _LINE,
        "fields": [*_GROUPED, "txnType", "sum:baseAmount"],
        "filters": [*filters, *more],
    }
    found: dict[Key, Sums] = {}
    for row in _everything(books, entity, asked):
        sums = found.setdefault(tuple(row[path] for path in _GROUPED), {})
        sums[str(row["txnType"])] = Decimal(str(row["sum:baseAmount"] or 0))
    return found


def _keys(books: Books, entity: str | None, object_: str, filters: list[Json]) -> list[Json]:
    asked: dict[str, Json] = {"object": object_, "fields": ["key"], "filters": filters}
    return [row["key"] for row in _everything(books, entity, asked)]


def _everything(
    books: Books, entity: str | None, payload: dict[str, Json]
) -> list[dict[str, Json]]:
    asked = replace(query.read_query(payload, books), size=sys.maxsize // 2)
    return _plain(query.answer(asked, books, entity).found.rows)


def _plain(rows: list[dict[str, Json]] | msgspec.Raw) -> list[dict[str, Json]]:
    if isinstance(rows, list):
        return rows
    return cast("list[dict[str, Json]]", msgspec.json.decode(rows))


def _entries(books: Books, keys: Sequence[str], fields: Sequence[str]) -> list[Row]:
    """Return what is shown of the journal entries of lines, by the names of GLDETAIL."""
    reader = RecordReader(books.catalogue, books.tables, _ENTRY, books.today())
    table = books.tables[_ENTRY]
    rows = {key: table.rows[key] for key in dict.fromkeys(keys)}
    wanted = [name for name in fields if name in _OF_ENTRIES]
    columns = [reader.column(_OF_ENTRIES[name])(list(rows.values())) for name in wanted]
    shown = {
        key: {name: column[number] for name, column in zip(wanted, columns, strict=True)}
        for number, key in enumerate(rows)
    }
    return [shown[key] for key in keys]


def _shown(name: str, line: Mapping[str, Json], entry: Row, ahead: timedelta) -> str:
    side = str(line["txnType"])
    if name == "TR_TYPE":
        return "1" if side == "debit" else "-1"
    if name in _AMOUNTS:
        path, amount = _AMOUNTS[name]
        return f"{amount(side, Decimal(str(line[path] or 0))):.2f}"
    if name in _ALWAYS:
        return _ALWAYS[name]
    value = entry.get(name) if name in _OF_ENTRIES else line.get(_OF_LINES.get(name, ""))
    if value is None:
        return ""
    if name in _DATES:
        return date.fromisoformat(str(value)).strftime("%m/%d/%Y")
    if name == "WHENMODIFIED":
        return (datetime.fromisoformat(str(value)) + ahead).strftime(_TIME)
    return str(value)


def offset_of(books: Books) -> timedelta:
    """Return how far the times that the gateway writes are ahead of UTC."""
    return timedelta(hours=-8 if books.behaviours["xml_time_zone"] == "pacific" else 0)


def _filters(given: Element | None, ahead: timedelta) -> Iterator[Mapping[str, Json]]:
    for one in given.children if given is not None else ():
        if one.name == "and":
            yield from _filters(one, ahead)
            continue
        operator = _COMPARISONS.get(one.name)
        name = one.said("field")
        if operator is None:
            raise UnsupportedFunction(f"The sandbox has no filter {one.name[:40]}")
        if name not in _OF_LINES:
            raise UnsupportedFunction(
                f"Field {name[:40]} does not exist in object GLDETAIL, or is no filter"
            )
        values: list[Json] = [_value(name, each.text.strip(), ahead) for each in one.all("value")]
        if one.name.startswith("is"):
            yield {operator: {_OF_LINES[name]: None}}
        elif operator in ("$in", "$notIn"):
            yield {operator: {_OF_LINES[name]: values}}
        elif len(values) == 1:
            yield {operator: {_OF_LINES[name]: values[0]}}
        else:
            raise UnsupportedFunction(f"The filter {one.name} takes one value")


def _value(name: str, text: str, ahead: timedelta) -> Json:
    try:
        if name in _DATES:
            return datetime.strptime(text, "%m/%d/%Y").replace(tzinfo=UTC).date().isoformat()
        if name == "WHENMODIFIED":
            moment = datetime.strptime(text, _TIME).replace(tzinfo=UTC) - ahead
            return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        return int(text) if name == "LINE_NO" else text
    except ValueError:
        raise UnsupportedFunction(f"{text[:40]} is no value for {name}") from None


def _orders(given: Element | None) -> Iterator[Mapping[str, Json]]:
    for one in given.all("order") if given is not None else ():
        name = one.said("field")
        if name not in _OF_LINES:
            raise UnsupportedFunction(
                f"Field {name[:40]} does not exist in object GLDETAIL, or is no order"
            )
        yield {_OF_LINES[name]: "desc" if one.find("descending") is not None else "asc"}


def _whole(text: str, name: str, least: int, most: int | None) -> int:
    if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
        limit = f"from {least} to {most}" if most is not None else f"{least} or more"
        raise UnsupportedFunction(f"{name} must be {limit}, not {text[:40]}")
    return int(text)
