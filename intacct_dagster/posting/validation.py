"""Validation rules: what must hold of a document before Intacct is asked to take it.

A document that fails a rule is held: it is not sent, and a person learns why. The rules ask
Intacct itself (its model, its master data, the entity's open periods), as the session of the
entity sees them, because a copy may be hours old. Dagster is not needed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from intacct_dagster.client import (
    LARGEST_PAGE,
    AccessDenied,
    IntacctClient,
    ModelField,
    ObjectModel,
    Query,
    RequestRefused,
    document_facts,
)

#: Ids in one query for them; no limit of Intacct's is known.
IDS_IN_A_QUERY = 200

#: Objects whose records must be there and active. Others are left to Intacct: what their references
#: point to differs from company to company.
MASTER_DATA = {
    "general-ledger/account": "account",
    "general-ledger/journal": "journal",
    "accounts-receivable/customer": "customer",
    "accounts-payable/vendor": "vendor",
    "company-config/department": "department",
    "company-config/location": "location",
    "company-config/employee": "employee",
    "company-config/class": "class",
    "projects/project": "project",
    "inventory-control/item": "item",
}

#: ISO 4217: currencies whose amounts have another number of decimals than two.
_NO_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
DECIMALS = {
    **dict.fromkeys(_NO_DECIMALS.split(), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
_CURRENCY = ("currency.txnCurrency", "txnCurrency.currency", "currency.baseCurrency")

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DECIMAL = re.compile(r"[+-]?\d+(\.\d+)?")
_DEEPEST = 8


class ValidationRule(StrEnum):
    """The rules, in the order in which a person corrects what they find."""

    PAYLOAD = "payload_valid"
    BALANCED = "debits_equal_credits"
    PERIOD = "period_open"
    REFERENCES = "references_usable"
    NEW = "not_entered_already"
    PRECISION = "amounts_fit_currency"
    CHANGE = "change_allowed"


@dataclass(frozen=True)
class Candidate:
    """A document that may be posted; `payload` is the exact JSON object."""

    source_id: str
    day: date
    payload: bytes


@dataclass(frozen=True)
class Held:
    """Why a document is not sent. One document may be held for several reasons."""

    source_id: str
    rule: ValidationRule
    field: str
    reason: str
    what_to_do: str


class ValidationFinding(NamedTuple):
    """What is wrong with a document at a field of its payload, and what a person does about it."""

    field: str
    reason: str
    what_to_do: str


@dataclass(frozen=True)
class PossibleDuplicate:
    """A record of Intacct that no feed claims and that looks like this document."""

    source_id: str
    intacct_key: str
    why: str


class Known(NamedTuple):
    """What a document is known by besides its id: whom it is with, and of which day."""

    party: str
    dated: str


def known_by(object: str, payload: bytes) -> Known | None:
    """Return the party and date of a document, which tell possible duplicates; or None."""
    facts = document_facts(object)
    if facts.party is None or not facts.dated:
        return None
    document = msgspec.json.decode(payload)
    party, dated = _at(document, facts.party), _at(document, facts.dated[-1])
    return Known(str(party), str(dated)) if party and dated else None


class _Read(NamedTuple):
    """A payload and its leaves: (object, path to show, path within that object, value).

    The object is that of the list that the leaf is in; "lines[2].txnAmount" is the path to show
    of a line's "txnAmount".
    """

    payload: Mapping[str, Any]
    leaves: tuple[tuple[str, str, str, Any], ...]


class Validator:
    """The validation rules of one entity for documents of one object.

    First `look` asks Intacct about all of the documents, then each can be judged: they are gone
    through twice, and never held together. `not_judged` are rules that could not judge, with why.
    `in_flight` requests are under way at once. Its requests are the client's to count.
    """

    def __init__(self, client: IntacctClient, object: str, *, in_flight: int = 1) -> None:
        if client.entity_id is None:
            raise ValueError("documents are posted to an entity, not to the top level")
        self._client = client
        self._entity = client.entity_id
        self._object = object
        self._in_flight = in_flight
        self._facts = document_facts(object)
        self._models: dict[str, ObjectModel] = {}
        self._fields: dict[str, dict[str, ModelField]] = {}
        self._references_of: dict[str, dict[str, str]] = {}
        self._opened: date | None = None
        self._currency: str | None = None
        self._wrong: Mapping[tuple[str, str], str] = {}
        self.not_judged: dict[ValidationRule, str] = {}

    def look(self, documents: Iterable[Candidate]) -> None:
        """Ask Intacct whatever has to be known to judge these documents; nothing if there is none.

        Raises IntacctError if Intacct cannot be asked at all; what it does not show to this user is
        `not_judged`.
        """
        left = iter(documents)
        if (first := next(left, None)) is None:
            return
        self._model(self._object)
        self._opened, self._currency = self._of_entity()
        self._wrong = self._missing(
            self._read(each.payload) for each in itertools.chain([first], left)
        )

    def judge(self, document: Candidate, duplicate: PossibleDuplicate | None = None) -> list[Held]:
        """Check a document against every rule: why it is held, by rule; nothing if it passes.

        It is one of those that were looked at. `duplicate` is a record of Intacct that looks like
        it.
        """
        read = self._read(document.payload)
        entered = []
        if duplicate is not None:
            entered = [
                ValidationFinding(
                    self._facts.party or "",
                    f"{duplicate.why}: key {duplicate.intacct_key}",
                    f"If it is the same document, put {duplicate.source_id} into that record, so "
                    "that it is found; if not, post it with `intacct-dagster posting allow`.",
                )
            ]
        findings: dict[ValidationRule, Iterable[ValidationFinding]] = {
            ValidationRule.PAYLOAD: self._invalid(read),
            ValidationRule.BALANCED: self._unbalanced(read.payload),
            ValidationRule.PERIOD: self._closed(read.payload),
            ValidationRule.REFERENCES: self._unusable(read),
            ValidationRule.NEW: entered,
            ValidationRule.PRECISION: self._imprecise(read),
        }
        return [
            Held(document.source_id, rule, each.field, each.reason, each.what_to_do)
            for rule, found in findings.items()
            for each in found
        ]

    # -- what Intacct is asked ----------------------------------------------------------------

    def _model(self, object: str) -> ObjectModel:
        if object not in self._models:
            model = self._models[object] = self._client.model(object)
            self._fields[object] = {each.path: each for each in (*model.fields, *model.write_only)}
            self._references_of[object] = {each.path: each.object for each in model.references}
        return self._models[object]

    def _of_entity(self) -> tuple[date | None, str | None]:
        """The first open day of the entity's books, and its base currency; None if not shown."""
        query = Query(
            "company-config/entity",
            ("id", "openBooksStartDate", "baseCurrency.id"),
            ({"$eq": {"id": self._entity}},),
            size=2,
        )
        why = f"Intacct does not show entity {self._entity} to this user"
        try:
            rows = self._client.query(query).rows
        except (AccessDenied, RequestRefused) as error:
            rows, why = [], f"{why}: {error.what}"
        if len(rows) != 1:
            self.not_judged[ValidationRule.PERIOD] = why
            return None, None
        opened = rows[0].get("openBooksStartDate")
        if not opened:
            self.not_judged[ValidationRule.PERIOD] = (
                f"Intacct does not say from when {self._entity} is open"
            )
        currency = rows[0].get("baseCurrency.id")
        return (
            date.fromisoformat(str(opened)) if opened else None,
            str(currency) if currency else None,
        )

    def _missing(self, documents: Iterable[_Read]) -> dict[tuple[str, str], str]:
        """(object, id) of master data that is not there or not active, and what is wrong."""
        wanted: dict[str, set[str]] = {}
        for document in documents:
            for _, target, name in self._references(document):
                wanted.setdefault(target, set()).add(name)
        questions = [
            (target, part)
            for target, ids in sorted(wanted.items())
            for part in _parts(sorted(ids), IDS_IN_A_QUERY)
        ]
        wrong: dict[tuple[str, str], str] = {}
        with ThreadPoolExecutor(self._in_flight) as threads:
            for (target, part), found in zip(
                questions, threads.map(lambda each: self._statuses(*each), questions), strict=True
            ):
                if isinstance(found, str):
                    self.not_judged[ValidationRule.REFERENCES] = found
                    continue
                for name in part:
                    status = found.get(name, "")
                    if name not in found:
                        wrong[target, name] = "does not exist"
                    elif status not in ("active", ""):
                        wrong[target, name] = f"is {status}"
        return wrong

    def _statuses(self, object: str, ids: Sequence[str]) -> dict[str, str] | str:
        query = Query(object, ("id", "status"), ({"$in": {"id": list(ids)}},), size=LARGEST_PAGE)
        try:
            rows = self._client.query(query).rows
        except (AccessDenied, RequestRefused) as error:
            return f"{object} cannot be looked up: {error.what}"
        return {str(row["id"]): str(row.get("status") or "") for row in rows}

    def _references(self, document: _Read) -> Iterator[tuple[str, str, str]]:
        """(path, object, id) of the master data that a document names."""
        for owner, path, plain, value in document.leaves:
            group, _, last = plain.rpartition(".")
            target = self._references_of[owner].get(group)
            if last == "id" and target in MASTER_DATA and isinstance(value, str):
                yield path, target, value

    # -- what is judged -----------------------------------------------------------------------

    def _read(self, payload: bytes) -> _Read:
        decoded = msgspec.json.decode(payload)
        return _Read(decoded, tuple(self._leaves(self._object, decoded, "", "", 0)))

    def _leaves(
        self, owner: str, node: Any, shown: str, path: str, depth: int
    ) -> Iterator[tuple[str, str, str, Any]]:
        if isinstance(node, Mapping) and depth < _DEEPEST:
            for name, value in node.items():
                yield from self._leaves(
                    owner,
                    value,
                    f"{shown}.{name}" if shown else name,
                    f"{path}.{name}" if path else name,
                    depth + 1,
                )
        elif isinstance(node, list) and path in self._model(owner).lists:
            inner = self._model(owner).lists[path]
            self._model(inner)
            for position, item in enumerate(node):
                yield from self._leaves(inner, item, f"{shown}[{position}]", "", depth + 1)
        else:
            yield owner, shown, path, node

    def _invalid(self, document: _Read) -> Iterator[ValidationFinding]:
        payload = document.payload
        for owner, path, plain, value in document.leaves:
            model = self._model(owner)
            if known := self._fields[owner].get(plain):
                if wrong := _wrong(known, value, self._facts.most.get(path)):
                    yield ValidationFinding(path, f"{path} {wrong}", "Correct it in the source.")
            elif plain not in model.lists and not any(
                plain.startswith(f"{name}.") for name in self._references_of[owner]
            ):
                yield ValidationFinding(
                    path,
                    f"{owner} has no field {plain}",
                    "Correct `payload` of the feed in intacct.yaml.",
                )
        empty = "Give it in the source, or a constant for it in `payload` of the feed."
        for path in self._facts.required:
            if not _has(payload, path):
                yield ValidationFinding(path, f"{path} is required and is empty", empty)
        for group in self._facts.one_of:
            if not any(_has(payload, path) for path in group):
                yield ValidationFinding(group[0], f"one of {', '.join(group)} is required", empty)
        for path, least in self._facts.least_items.items():
            held = _at(payload, path)
            if isinstance(held, list) and len(held) < least:
                yield ValidationFinding(
                    path, f"{path} has {len(held)} of at least {least}", "Correct the source."
                )

    def _unbalanced(self, payload: Mapping[str, Any]) -> Iterator[ValidationFinding]:
        facts = self._facts.balanced
        lines = _at(payload, facts.list) if facts else None
        if facts is None or not isinstance(lines, list):
            return
        sums: dict[str, list[Decimal]] = {}
        for line in lines:
            amount, side = _decimal(line.get(facts.amount)), line.get(facts.side, "debit")
            if amount is None or side not in ("debit", "credit"):
                return  # the payload is invalid, which another rule says
            currency = str(_first(line, _CURRENCY) or _first(payload, _CURRENCY) or "")
            both = sums.setdefault(currency, [Decimal(), Decimal()])
            both[side == "credit"] += amount
        for currency, (debit, credit) in sums.items():
            if debit != credit:
                suffix = f" {currency}" if currency else ""
                yield ValidationFinding(
                    facts.list,
                    f"debits are {debit:,}{suffix} and credits {credit:,}{suffix} in "
                    f"{self._entity}",
                    f"Correct the entry in the source: it is {abs(debit - credit):,}{suffix} off.",
                )

    def _closed(self, payload: Mapping[str, Any]) -> Iterator[ValidationFinding]:
        opened = self._opened
        for path in self._facts.dated:
            value = _at(payload, path)
            if not isinstance(value, str) or not _DATE.fullmatch(value):
                continue
            if opened is not None and value < opened.isoformat():
                yield ValidationFinding(
                    path,
                    f"the books of {self._entity} are closed before {opened}",
                    f"Open the period of {value} in Intacct, or date the document in an open one.",
                )
            return

    def _unusable(self, document: _Read) -> Iterator[ValidationFinding]:
        wrong = self._wrong
        reported: set[tuple[str, str]] = set()
        for path, target, name in self._references(document):
            if (target, name) in wrong and (target, name) not in reported:
                reported.add((target, name))
                what = MASTER_DATA[target]
                remedy = (
                    f"Enter {what} {name} in Intacct, or make it active for {self._entity} there"
                )
                yield ValidationFinding(
                    path,
                    f"{what} {name} {wrong[target, name]} for entity {self._entity}",
                    f"{remedy}; or correct the id in the source.",
                )

    def _imprecise(self, document: _Read) -> Iterator[ValidationFinding]:
        currency = str(_first(document.payload, _CURRENCY) or self._currency or "")
        if not currency:
            return
        most = DECIMALS.get(currency, 2)
        for _, path, _, value in document.leaves:
            amount = _decimal(value) if path.lower().endswith("amount") else None
            if amount is not None and -int(amount.normalize().as_tuple().exponent) > most:
                yield ValidationFinding(
                    path,
                    f"{path} is {value}, and {currency} has {most or 'no'} decimals",
                    "Round it in the source: here nobody may decide which way.",
                )


def _parts(values: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _at(payload: Any, path: str) -> Any:
    for name in path.split("."):
        payload = payload.get(name) if isinstance(payload, Mapping) else None
    return payload


def _first(payload: Mapping[str, Any], paths: Sequence[str]) -> Any:
    return next((found for path in paths if (found := _at(payload, path))), None)


def _has(payload: Any, path: str) -> bool:
    """Return whether a path leads to a value; with [], in each item of a list that is not empty."""
    head, found, rest = path.partition("[].")
    value = _at(payload, head)
    if not found:
        return value not in (None, "", [], {})
    return isinstance(value, list) and bool(value) and all(_has(item, rest) for item in value)


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return None


def _wrong(known: ModelField, value: Any, most: int | None) -> str | None:
    """Return what is wrong with a value by the model of its field; None if nothing is."""
    if known.read_only and not known.path.endswith((".id", ".key")):
        return "cannot be set: Intacct computes it"
    if value is None:
        return None if known.nullable else "may not be empty"
    check: Callable[[Any], bool] = _CHECKS.get(known.type, lambda each: True)
    if known.format is not None and known.format.startswith("decimal"):
        check = _is_decimal
    elif known.format == "date":
        check = _is_date
    if not check(value):
        return f"is {value!r}, which is no {known.format or known.type}"
    if known.enum is not None and str(value) not in known.enum:
        return f"is {value!r}, and may be {', '.join(known.enum)}"
    if most is not None and isinstance(value, str) and len(value) > most:
        return f"has {len(value)} characters, and may have {most}"
    return None


def _is_date(value: Any) -> bool:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_decimal(value: Any) -> bool:
    if isinstance(value, str):
        return bool(_DECIMAL.fullmatch(value))
    return isinstance(value, int | float) and not isinstance(value, bool)


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: (
        (isinstance(value, int) and not isinstance(value, bool))
        or (isinstance(value, str) and value.lstrip("-").isdigit())
    ),
    "number": _is_decimal,
    "boolean": lambda value: isinstance(value, bool),
}
