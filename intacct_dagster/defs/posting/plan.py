"""Plan assets: what would be posted, put through the gates, and what a person must mend first."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import dagster as dg
import msgspec

from intacct_dagster.client import document_facts
from intacct_dagster.config import Feed, Settings
from intacct_dagster.defs.checks.results import Verdict, evaluation, result, severity
from intacct_dagster.defs.failures import plainly
from intacct_dagster.defs.partitions import (
    days_by_entity,
    entity_days,
    partition_key,
    partitions_of,
    tell_partitions,
)
from intacct_dagster.defs.posting.entities import counted, for_each
from intacct_dagster.defs.posting.reconcile import reconciled_key
from intacct_dagster.defs.resources import POOL, IntacctResource, WarehouseResource
from intacct_dagster.defs.tables import SHOWN_ROWS, relation, table_of, table_rows
from intacct_dagster.posting.amendments import Change, Changed, NotChanged, changes_of
from intacct_dagster.posting.validation import (
    Candidate,
    Held,
    PossibleDuplicate,
    ValidationRule,
    Validator,
    known_by,
)
from intacct_dagster.state.ledger import Ledger
from intacct_dagster.warehouse import Partition, Warehouse
from intacct_dagster.warehouse.feeds import payload_hash
from intacct_dagster.warehouse.reconciliation import (
    SHOWN_HASH,
    Document,
    Documents,
    Mark,
    PlanHash,
    PlannedDocument,
    documents,
    find_possible_duplicates,
    replace_plan,
)

GROUP = "planned"

#: What reconciliation says of a document that may be planned. What is uncertain may turn out, when
#: it is settled, never to have arrived; the ledger leaves alone what it must.
PLANNED = ("missing", "uncertain")

#: What reconciliation says of a document whose record may be changed.
CHANGED = "changed"

_PROMISES = {
    ValidationRule.PAYLOAD: "Every document is what Intacct's model asks for: required fields, "
    "types, allowed values, lengths.",
    ValidationRule.BALANCED: "Debits equal credits in each entry and currency, to the cent.",
    ValidationRule.PERIOD: "The books of the entity are open on the day of each document.",
    ValidationRule.REFERENCES: "Accounts, customers, vendors, departments, locations and "
    "employees that are named exist and are active in the entity.",
    ValidationRule.NEW: "No record of the same party, amount and date, or with the document's id "
    "in another field, is in Intacct already.",
    ValidationRule.PRECISION: "No amount has more decimals than its currency.",
    ValidationRule.CHANGE: "What changed in the source after it was posted may be changed in "
    "Intacct.",
}
_HELD = {
    "source_id": "string",
    "reason": "string",
    "what_to_do": "string",
    "field": "string",
    "amount": "string",
    "file": "string",
    "line": "int",
}
_CREATED = {
    "source_id": "string",
    "entity": "string",
    "day": "string",
    "amount": "string",
    "file": "string",
    "line": "int",
}
_CHANGE = {"source_id": "string", "intacct_key": "string", "change": "string"}
_TOTALS = {"entity": "string", "account": "string", "lines": "int", "amount": "string"}


def plan_key(feed: str) -> dg.AssetKey:
    """The plan of a feed: what would be posted and what is held, in the table `plan.<feed>`."""
    return dg.AssetKey(["plan", feed])


@dataclass
class _Found:
    """What a gate holds: how many documents, for which reasons, and some of them to be shown."""

    documents: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    rows: list[Mapping[str, object]] = field(default_factory=list)


class _Shown:
    """What a reader is shown of a plan: sums, and of each kind so many documents as can be shown.

    It is told of one document after the other, and keeps none.
    """

    def __init__(self) -> None:
        self.documents = self.held = self.create = self.change = 0
        self.amount = Decimal()
        self.totals: dict[tuple[str, str], tuple[int, Decimal]] = {}
        self.created: list[Mapping[str, object]] = []
        self.changed: list[Mapping[str, object]] = []
        self.found = {gate: _Found() for gate in ValidationRule}
        self.not_judged: dict[str, Mapping[ValidationRule, str]] = {}

    def add(
        self,
        source: Document,
        planned: PlannedDocument,
        held: Sequence[Held],
        not_judged: Mapping[ValidationRule, str],
    ) -> None:
        """One more document, and why it is held."""
        self.documents += 1
        self.not_judged[planned.entity] = not_judged
        if planned.held:
            self.held += 1
        elif planned.action == "change":
            self.change += 1
            made = {
                "source_id": planned.source_id,
                "intacct_key": planned.changes_key,
                "change": (planned.change or b"").decode(),
            }
            _keep(self.changed, made)
        else:
            self.create += 1
            self.amount += planned.amount
            for account, amount in _lines(msgspec.json.decode(source.payload)):
                lines, total = self.totals.get((planned.entity, account), (0, Decimal()))
                self.totals[planned.entity, account] = (lines + 1, total + amount)
            _keep(self.created, {**_place(source), "entity": source.entity, "day": source.day})
        for gate in {one.gate for one in held}:
            self.found[gate].documents += 1
        for one in held:
            found = self.found[one.gate]
            found.reasons[one.reason] += 1
            row = {
                **_place(source),
                "reason": one.reason,
                "what_to_do": one.what_to_do,
                "field": one.field,
            }
            _keep(found.rows, row)


def _keep(rows: list[Mapping[str, object]], row: Mapping[str, object]) -> None:
    if len(rows) < SHOWN_ROWS:
        rows.append(row)


def plan_asset(settings: Settings, name: str, feed: Feed) -> dg.AssetsDefinition:
    """Puts what reconciliation found missing through the gates. Nothing is sent."""
    key = plan_key(name)
    spec = feed.spec(name)
    partitions = entity_days(settings)
    in_flight = settings.limits.concurrency
    changes = feed.on_change == "patch"
    gates = [gate for gate in ValidationRule if changes or gate is not ValidationRule.CHANGE]

    @dg.asset(
        key=key,
        deps=[reconciled_key(name)],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=GROUP,
        kinds={"intacct", "duckdb"},
        pool=POOL,
        description=(
            f"What would be posted of `{name}` to Intacct's `{feed.object}`. Each document passes "
            "the gates first; what fails one is held, and told why. Nothing is sent."
        ),
        metadata=relation(settings, key),
        check_specs=[
            dg.AssetCheckSpec(
                gate.value, asset=key, description=_PROMISES[gate], partitions_def=partitions
            )
            for gate in gates
        ],
    )
    def plan(
        context: dg.AssetExecutionContext, intacct: IntacctResource, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        days = days_by_entity(context.partition_keys)
        run_id = context.run.run_id
        ledger = warehouse.ledger(settings.company)
        allowed = warehouse.approvals(settings.company).no_duplicates(name)
        everything, whole = _Shown(), PlanHash()
        by_partition = {partition: _Shown() for partition in sorted(partitions_of(days))}

        def looked(
            entity: str, found: Documents
        ) -> tuple[Validator, dict[str, Change | NotChanged]]:
            """What Intacct says of the documents of an entity, without which none is judged."""
            with counted(settings, intacct, warehouse, run_id, entity, feed.object) as client:
                gates_of = Validator(client, feed.object, in_flight=in_flight)
                gates_of.look(map(_candidate, found.of(entity)))
                other = _changed(ledger, name, feed, entity, list(found.of(entity, CHANGED)))
                changed = changes_of(client, feed.object, other, in_flight=in_flight)
            return gates_of, {each.source_id: each for each in changed}

        def planned(
            found: Documents, twins: Mapping[str, PossibleDuplicate]
        ) -> Iterator[PlannedDocument]:
            done = for_each(lambda entity: looked(entity, found), sorted(days), in_flight)
            for entity, (gates_of, changed) in done:
                for document in found.of(entity):
                    held = gates_of.judge(_candidate(document), twins.get(document.source_id))
                    change = changed.get(document.source_id)
                    if isinstance(change, NotChanged):
                        held.append(
                            Held(
                                document.source_id,
                                ValidationRule.CHANGE,
                                "",
                                change.reason,
                                change.what_to_do,
                            )
                        )
                        change = None
                    each = _planned(document, held, change)
                    whole.add(each)
                    for shown in (everything, by_partition[entity, document.day]):
                        shown.add(document, each, held, gates_of.not_judged)
                    yield each

        def plan_all() -> dict[Partition, str]:
            statuses = (*PLANNED, CHANGED)
            with documents(warehouse.warehouse, spec, partitions_of(days), statuses) as found:
                new = (each for each in found.of(None, *PLANNED) if each.source_id not in allowed)
                return replace_plan(
                    warehouse.warehouse,
                    name,
                    partitions_of(days),
                    planned(found, _twins(warehouse.warehouse, feed, new)),
                    run_id=run_id,
                    at=datetime.now(UTC),
                )

        hashes = plainly(settings, plan_all)
        tell_partitions(
            context,
            key,
            {
                partition_key(*partition): _metadata(shown, hashes[partition])
                for partition, shown in by_partition.items()
            },
        )
        context.log.info(_told(everything, str(whole)))
        yield dg.MaterializeResult(metadata=table_rows(settings, warehouse, [key])[key])
        for gate in gates:
            if not context.has_partition_key:
                for partition, shown in by_partition.items():
                    context.log_event(
                        evaluation(
                            key, gate.value, _verdict(gate, shown), partition_key(*partition)
                        )
                    )
            yield result(key, gate.value, _verdict(gate, everything))

    return plan


def _candidate(document: Document) -> Candidate:
    return Candidate(document.source_id, document.day, document.payload)


def _twins(
    warehouse: Warehouse, feed: Feed, documents: Iterable[Document]
) -> dict[str, PossibleDuplicate]:
    facts = document_facts(feed.object)
    if facts.party is None:
        return {}
    marks = (
        Mark(each.source_id, each.entity, known.party, each.amount, known.dated)
        for each in documents
        if (known := known_by(feed.object, each.payload)) is not None
    )
    found = find_possible_duplicates(
        warehouse,
        feed.object,
        feed.match_on,
        marks,
        party=facts.party,
        total=facts.total,
        dated=facts.dated[-1],
        numbers=facts.numbers,
    )
    return {source_id: PossibleDuplicate(source_id, key, why) for source_id, key, why in found}


def _changed(
    ledger: Ledger, name: str, feed: Feed, entity: str, mine: Sequence[Document]
) -> list[Changed]:
    """The documents of an entity that are to be changed, with what was posted of them."""
    if not mine:
        return []
    keys = ledger.posted_keys(feed.object, entity, name)
    posted = ledger.posted_payloads(feed.object, entity, [each.source_id for each in mine])
    return [
        Changed(each.source_id, keys[each.source_id], posted[each.source_id], each.payload)
        for each in mine
        if each.source_id in posted and each.source_id in keys
    ]


def _planned(document: Document, held: Sequence[Held], change: Change | None) -> PlannedDocument:
    whole = document.payload_hash
    return PlannedDocument(
        document.entity,
        document.day,
        document.source_id,
        document.amount,
        payload_hash(change.body) if change else whole,
        gate=held[0].gate.value if held else None,
        reason="; ".join(one.reason for one in held) if held else None,
        what_to_do=held[0].what_to_do if held else None,
        document_hash=whole,
        change=change.body if change else None,
        changes_key=change.key if change else None,
        changes_as_of=change.as_of if change else None,
    )


def _told(shown: _Shown, plan: str) -> str:
    to_change = f"{shown.change:,} to change, " if shown.change else ""
    name = plan[:SHOWN_HASH] or "nothing to create"
    return f"plan {name}: {shown.create:,} to create, {to_change}{shown.held:,} held"


def _metadata(shown: _Shown, plan: str) -> dict[str, dg.MetadataValue]:
    """What a person approves: how many documents, their total, by entity and account."""
    return {
        "dagster/partition_row_count": dg.MetadataValue.int(shown.documents),
        "plan": dg.MetadataValue.text(plan[:SHOWN_HASH] or "nothing to create"),
        "to_create": dg.MetadataValue.int(shown.create),
        **(
            {
                "to_change": dg.MetadataValue.int(shown.change),
                "documents_to_change": table_of(shown.changed, _CHANGE),
            }
            if shown.change
            else {}
        ),
        "held": dg.MetadataValue.int(shown.held),
        "amount_to_create": dg.MetadataValue.text(f"{shown.amount:,.2f}"),
        "totals": table_of(
            (
                {"entity": entity, "account": account, "lines": lines, "amount": f"{total:,.2f}"}
                for (entity, account), (lines, total) in sorted(shown.totals.items())
            ),
            _TOTALS,
        ),
        "documents_to_create": table_of(shown.created, _CREATED),
    }


def _lines(document: Mapping[str, Any]) -> Iterator[tuple[str, Decimal]]:
    """(account, amount) of the lines of a payload that name an account; a credit is negative."""
    for value in document.values():
        for line in value if isinstance(value, list) else ():
            account = line.get("glAccount") if isinstance(line, Mapping) else None
            amount = line.get("txnAmount") if account else None
            if isinstance(account, Mapping) and isinstance(amount, str | int):
                sign = -1 if line.get("txnType") == "credit" else 1
                yield str(account.get("id") or account.get("key")), sign * Decimal(str(amount))


def _place(document: Document) -> dict[str, object]:
    return {
        "source_id": document.source_id,
        "amount": f"{document.amount:.2f}",
        "file": document.file and document.file.rpartition("/")[2],
        "line": document.line,
    }


def _verdict(gate: ValidationRule, shown: _Shown) -> Verdict:
    found = shown.found[gate]
    unjudged = sorted({why[gate] for why in shown.not_judged.values() if gate in why})
    count = f"{shown.documents:,} document{'' if shown.documents == 1 else 's'}"
    told = (
        f"{found.documents:,} of {count} held: {_by_reason(found.reasons)}. Mend them and plan "
        "again."
        if found.documents
        else f"{count} passed."
    )
    if unjudged:
        told = f"Not judged: {'; '.join(unjudged)}. {told if found.documents else ''}".strip()
    return Verdict(
        not found.documents and not unjudged,
        severity(found.documents, shown.documents),
        told,
        {
            "documents": dg.MetadataValue.int(shown.documents),
            "held": dg.MetadataValue.int(found.documents),
            **({"documents_held": table_of(found.rows, _HELD)} if found.documents else {}),
        },
    )


def _by_reason(reasons: Counter[str]) -> str:
    told = reasons.most_common()
    shown = "; ".join(f"{reason} ({count})" for reason, count in told[:3])
    return f"{shown}; and {len(told) - 3} other reasons" if len(told) > 3 else shown
