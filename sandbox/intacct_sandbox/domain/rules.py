"""What Intacct's books do not take: the business rules, each with the words it is rejected in.

Texts are those that production clients match on, where one is known: "The vendor 'X' is invalid.",
"This transaction is missing the Department dimension for the Account 16200", "Another record with
the value already exists", "period is closed"; GL-0951 with GL-1009 for an entry that does not
balance is from a fixture of a production client.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from intacct_sandbox.company import LegalEntity
from intacct_sandbox.errors.envelopes import RejectionDetail
from intacct_sandbox.objects.catalogue import ObjectType
from intacct_sandbox.objects.tables import Row, Tables

from .payloads import Given

_DIMENSION_LABELS = {
    "class": "Class",
    "costType": "Cost type",
    "affiliateEntity": "Affiliate entity",
}


def entity_of(row: Row, tables: Tables) -> LegalEntity | None:
    """Return the entity that a record belongs to; None for the top level."""
    return tables.company.by_key.get(str(row.get("entity.key")))


@dataclass(frozen=True)
class Draft:
    """A document or master as it would be stored, before the rules have seen it."""

    type: ObjectType
    row: Row
    lines: Sequence[Row]
    entity: LegalEntity | None
    """The entity it belongs to; None at the top level."""


def _invalid(label: str, id_: str, at: str) -> RejectionDetail:
    return RejectionDetail(
        "invalidParameter",
        f"The {label} '{id_}' is invalid.",
        "SBX-7101",
        "IA.REFERENCE_IS_INVALID",
        {"LABEL": label, "ID": id_},
        target=at,
    )


def resolve(
    given: Given, tables: Tables, entity_key: str | None
) -> tuple[Row, list[RejectionDetail]]:
    """Return the references of a body as they are stored, and what is wrong with them.

    A reference counts when the record exists, is visible in the entity, and is not inactive.
    """
    row: Row = {}
    problems = []
    for path, named in given.refs.items():
        ref = given.type.refs[path]
        at = f"{given.at}/{path.replace('.', '/')}"
        if named is None:
            row[f"{path}.key"] = None
            continue
        if ref.object not in tables:
            row[f"{path}.key"] = named.get("key")
            row[f"{path}.id"] = named.get("id", named.get("key"))
            continue
        table = tables[ref.object]
        key = named.get("key") or table.key_of(named["id"])
        label = ref.object.rpartition("/")[2].replace("-", " ")
        shown = named.get("id") or named["key"]
        both_fit = "id" not in named or key == table.key_of(named["id"])
        if (
            key is None
            or not both_fit
            or not tables.is_visible(ref.object, key, entity_key)
            or table.rows[key].get("status") == "inactive"
        ):
            problems.append(_invalid(label, shown, at))
        else:
            row[f"{path}.key"] = key
    return row, problems


def broken_rules(draft: Draft, tables: Tables) -> list[RejectionDetail]:
    """Return everything that speaks against storing the draft."""
    return [
        *closed_period(draft, tables),
        *_lines_elsewhere(draft, tables),
        *(_account_rules(draft, tables) if draft.type.kind == "transaction" else ()),
        *(_unexplained(draft) if draft.type.name == "expenses/employee-expense" else ()),
        *(_unbalanced(draft, tables) if draft.type.name == "general-ledger/journal-entry" else ()),
    ]


def taken_values(draft: Draft, tables: Tables) -> list[RejectionDetail]:
    """Return what another record has already and only one may have."""
    table = tables[draft.type.name]
    if draft.type.kind == "master":
        same_id = table.key_of(str(draft.row["id"]))
        taken = same_id is not None and same_id != draft.row["key"]
        at = "/id"
    else:
        taken = table.same_unique_values(draft.row) is not None
        at = f"/{draft.type.unique[-1]}" if draft.type.unique else "/"
    if not taken:
        return []
    value = draft.row.get(at.removeprefix("/"))
    return [
        RejectionDetail(
            "duplicateRecord",
            f"Another record with the value already exists: {value}",
            "SBX-7102",
            "IA.ANOTHER_RECORD_WITH_THE_VALUE_EXISTS",
            {"VALUE": str(value)},
            target=at,
        )
    ]


def _posting_date(draft: Draft) -> tuple[str, str] | None:
    for path in draft.type.dated_by:
        day = draft.row.get(path)
        if isinstance(day, str):
            return path, day
    return None


def _entities(draft: Draft, tables: Tables) -> Iterator[LegalEntity]:
    """Yield the entities whose books a draft touches: the session's, or at the top level its
    lines'."""
    if draft.entity is not None:
        yield draft.entity
        return
    seen = {_entity_of_place(line, tables) for line in draft.lines}
    entities = tables.company.by_key
    yield from (entities[key] for key in sorted(key for key in seen if key is not None))


def _entity_of_place(line: Row, tables: Tables) -> str | None:
    key = line.get("dimensions.location.key")
    if not isinstance(key, str):
        return None
    place = tables["company-config/location"].rows[key]
    if place.get("locationType") == "entity":
        return key
    return cast("str | None", place.get("entity.key"))


def closed_period(draft: Draft, tables: Tables) -> Iterator[RejectionDetail]:
    """Yield what speaks against touching a document of its date."""
    dated = _posting_date(draft)
    if dated is None or draft.row.get("state") == "draft":
        return
    path, day = dated
    for entity in _entities(draft, tables):
        if day < entity.open_from.isoformat():
            yield RejectionDetail(
                "invalidDate",
                f"The date {day} cannot be posted to because its period is closed: the books of "
                f"{entity.id} are open from {entity.open_from.isoformat()}",
                "SBX-7103",
                "IA.PERIOD_IS_CLOSED",
                {"DATE": day, "ENTITY": entity.id},
                target=f"/{path}",
            )


def _lines_elsewhere(draft: Draft, tables: Tables) -> Iterator[RejectionDetail]:
    if draft.entity is None:
        return
    for number, line in enumerate(draft.lines):
        at = _entity_of_place(line, tables)
        if at is not None and at != draft.entity.key:
            place = tables["company-config/location"].rows[str(line["dimensions.location.key"])]
            yield _invalid("location", str(place["id"]), f"/lines/{number}/dimensions/location")


def _account_rules(draft: Draft, tables: Tables) -> Iterator[RejectionDetail]:
    accounts = tables["general-ledger/account"].rows
    for number, line in enumerate(draft.lines):
        account = accounts.get(str(line.get("glAccount.key")))
        if account is None:
            continue
        if account.get("disallowDirectPosting") is True:
            yield RejectionDetail(
                "invalidParameter",
                f"Direct posting to the Account {account['id']} is not allowed",
                "SBX-7104",
                target=f"/lines/{number}/glAccount",
            )
        for path, needed in account.items():
            group, _, dimension = path.partition(".")
            if group != "requireDimensions" or needed is not True:
                continue
            if line.get(f"dimensions.{dimension}.key") is None:
                label = _DIMENSION_LABELS.get(dimension, dimension.capitalize())
                yield RejectionDetail(
                    "missingDimension",
                    f"This transaction is missing the {label} dimension for the Account "
                    f"{account['id']}",
                    "SBX-7105",
                    "IA.TRANSACTION_IS_MISSING_DIMENSION",
                    {"DIMENSION": label, "ACCOUNT": str(account["id"])},
                    target=f"/lines/{number}/dimensions/{dimension}",
                )


def _unexplained(draft: Draft) -> Iterator[RejectionDetail]:
    for number, line in enumerate(draft.lines):
        if line.get("glAccount.key") is None:
            yield RejectionDetail(
                "invalidParameter",
                "A line of an expense report needs an expense type or an account",
                "SBX-7110",
                target=f"/lines/{number}/expenseType",
            )


def _unbalanced(draft: Draft, tables: Tables) -> Iterator[RejectionDetail]:
    sums: dict[str | None, Decimal] = {}
    for number, line in enumerate(draft.lines):
        amount = Decimal(str(line["txnAmount"]))
        if amount <= 0:
            yield RejectionDetail(
                "invalidParameter",
                "The amount of a journal entry line must be greater than zero",
                "SBX-7106",
                target=f"/lines/{number}/txnAmount",
            )
        place = _entity_of_place(line, tables) or (draft.entity.key if draft.entity else None)
        signed = amount if line.get("txnType") == "debit" else -amount
        sums[place] = sums.get(place, Decimal(0)) + signed
    if any(sums.values()):
        yield RejectionDetail(
            "unableToCreateRecordError",
            "Could not create GLBatch record.",
            "GL-0951",
            "IA.COULD_NOT_CREATE_GLBATCH_RECORD",
        )
        yield RejectionDetail(
            "invalidConfiguration",
            "Transactions do not balance for Place ,",
            "GL-1009",
            "IA.TRANSACTIONS_DO_NOT_BALANCE_FOR",
            {"RENAMED_TEXT": "Place", "ERR_STR": ", "},
        )
