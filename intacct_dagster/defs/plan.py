"""Plan assets: what would be posted, put through the gates, and what a person must mend first."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import dagster as dg
import msgspec

from intacct_dagster.changes import Change, Changed, NotChanged, changes_of
from intacct_dagster.config import Feed, Settings
from intacct_dagster.defs.entities import counted, for_each
from intacct_dagster.defs.failures import plainly
from intacct_dagster.defs.partitions import (
    days_by_entity,
    entity_days,
    partition_key,
    partitions_of,
)
from intacct_dagster.defs.reconcile import reconciled_key
from intacct_dagster.defs.resources import POOL, IntacctResource, WarehouseResource
from intacct_dagster.defs.tables import relation, table_of
from intacct_dagster.defs.verdicts import Verdict, evaluation, result, severity
from intacct_dagster.gates import Candidate, Gate, Gates, Held, Judged, Twin, known_by
from intacct_dagster.intacct import document_facts
from intacct_dagster.warehouse import (
    SHOWN_HASH,
    Document,
    Ledger,
    Mark,
    Partition,
    PlannedDocument,
    Warehouse,
    find_twins,
    payload_hash,
    payloads,
    plan_hash,
    replace_plan,
)

GROUP = "planned"

#: What reconciliation says of a document that may be planned. What is uncertain may turn out, when
#: it is settled, never to have arrived; the ledger leaves alone what it must.
PLANNED = ("missing", "uncertain")

#: What reconciliation says of a document whose record may be changed.
CHANGED = "changed"

_PROMISES = {
    Gate.PAYLOAD: "Every document is what Intacct's model asks for: required fields, types, "
    "allowed values, lengths.",
    Gate.BALANCED: "Debits equal credits in each entry and currency, to the cent.",
    Gate.PERIOD: "The books of the entity are open on the day of each document.",
    Gate.REFERENCES: "Accounts, customers, vendors, departments, locations and employees that are "
    "named exist and are active in the entity.",
    Gate.NEW: "No record of the same party, amount and date, or with the document's id in another "
    "field, is in Intacct already.",
    Gate.PRECISION: "No amount has more decimals than its currency.",
    Gate.CHANGE: "What changed in the source after it was posted may be changed in Intacct.",
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


@dataclass(frozen=True)
class _Planned:
    """A plan with what a reader is shown of it."""

    documents: tuple[PlannedDocument, ...]
    sources: Mapping[tuple[str, str], Document]
    held: Mapping[tuple[str, str], Sequence[Held]]
    not_judged: Mapping[str, Mapping[Gate, str]]

    def by_partition(self, partitions: Iterable[Partition]) -> dict[Partition, "_Planned"]:
        """The same for each partition alone; of one without documents there is nothing in it."""
        parts: dict[Partition, list[PlannedDocument]] = {each: [] for each in sorted(partitions)}
        for document in self.documents:
            parts[document.entity, document.day].append(document)
        return {
            (entity, day): _Planned(
                tuple(documents),
                self.sources,
                self.held,
                {entity: self.not_judged.get(entity, {})} if documents else {},
            )
            for (entity, day), documents in parts.items()
        }


def plan_asset(settings: Settings, name: str, feed: Feed) -> dg.AssetsDefinition:
    """Puts what reconciliation found missing through the gates. Nothing is sent."""
    key = plan_key(name)
    spec = feed.spec(name)
    partitions = entity_days(settings)
    in_flight = settings.limits.concurrency
    changes = feed.on_change == "patch"
    gates = [gate for gate in Gate if changes or gate is not Gate.CHANGE]

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
        new = plainly(settings, payloads, warehouse.warehouse, spec, partitions_of(days), PLANNED)
        other = plainly(
            settings, payloads, warehouse.warehouse, spec, partitions_of(days), (CHANGED,)
        )
        ledger = warehouse.ledger(settings.company)
        allowed = warehouse.approvals(settings.company).no_duplicates(name)
        twins = plainly(
            settings,
            _twins,
            warehouse.warehouse,
            feed,
            [each for each in new if each.source_id not in allowed],
        )

        def judge(entity: str) -> tuple[Judged, list[Change | NotChanged]]:
            mine = [each for each in (*new, *other) if each.entity == entity]
            with counted(settings, intacct, warehouse, run_id, entity, feed.object) as client:
                judged = Gates(client, feed.object, in_flight=in_flight).judge(
                    [Candidate(each.source_id, each.day, each.payload) for each in mine],
                    [twins[each.source_id] for each in mine if each.source_id in twins],
                )
                return judged, changes_of(
                    client,
                    feed.object,
                    _changed(ledger, name, feed, entity, other),
                    in_flight=in_flight,
                )

        planned = _planned(
            (*new, *other), dict(plainly(settings, for_each, judge, days, in_flight))
        )
        plainly(
            settings,
            replace_plan,
            warehouse.warehouse,
            name,
            partitions_of(days),
            planned.documents,
            run_id=run_id,
            at=datetime.now(UTC),
        )
        by_partition = planned.by_partition(partitions_of(days))
        for partition, each in by_partition.items():
            # Of each partition its own: what a run yields stands in the events of all of them.
            context.add_asset_metadata(_shown(each), partition_key=partition_key(*partition))
        context.log.info(_told(planned))
        yield dg.MaterializeResult()
        for gate in gates:
            if not context.has_partition_key:
                for partition, each in by_partition.items():
                    context.log_event(
                        evaluation(key, gate.value, _verdict(gate, each), partition_key(*partition))
                    )
            yield result(key, gate.value, _verdict(gate, planned))

    return plan


def _twins(warehouse: Warehouse, feed: Feed, documents: Sequence[Document]) -> dict[str, Twin]:
    facts = document_facts(feed.object)
    if facts.party is None:
        return {}
    marks = [
        Mark(each.source_id, each.entity, known.party, each.amount, known.dated)
        for each in documents
        if (known := known_by(feed.object, each.payload)) is not None
    ]
    found = find_twins(
        warehouse,
        feed.object,
        feed.match_on,
        marks,
        party=facts.party,
        total=facts.total,
        dated=facts.dated[-1],
        numbers=facts.numbers,
    )
    return {source_id: Twin(source_id, key, why) for source_id, key, why in found}


def _changed(
    ledger: Ledger, name: str, feed: Feed, entity: str, documents: Sequence[Document]
) -> list[Changed]:
    """The documents of an entity that are to be changed, with what was posted of them."""
    mine = [each for each in documents if each.entity == entity]
    if not mine:
        return []
    keys = ledger.posted_keys(feed.object, entity, name)
    posted = ledger.posted_payloads(feed.object, entity, [each.source_id for each in mine])
    return [
        Changed(each.source_id, keys[each.source_id], posted[each.source_id], each.payload)
        for each in mine
        if each.source_id in posted and each.source_id in keys
    ]


def _planned(
    documents: Sequence[Document],
    judged: Mapping[str, tuple[Judged, Sequence[Change | NotChanged]]],
) -> _Planned:
    held: dict[tuple[str, str], list[Held]] = {}
    changes: dict[tuple[str, str], Change] = {}
    for entity, (verdict, changed) in judged.items():
        for one in verdict.held:
            held.setdefault((entity, one.source_id), []).append(one)
        for each in changed:
            if isinstance(each, Change):
                changes[entity, each.source_id] = each
            else:
                why = Held(each.source_id, Gate.CHANGE, "", each.reason, each.what_to_do)
                held.setdefault((entity, each.source_id), []).append(why)
    planned = []
    for document in documents:
        who = document.entity, document.source_id
        reasons, change = held.get(who, ()), changes.get(who)
        whole = payload_hash(document.payload)
        planned.append(
            PlannedDocument(
                document.entity,
                document.day,
                document.source_id,
                document.amount,
                payload_hash(change.body) if change else whole,
                gate=reasons[0].gate.value if reasons else None,
                reason="; ".join(one.reason for one in reasons) if reasons else None,
                what_to_do=reasons[0].what_to_do if reasons else None,
                document_hash=whole,
                change=change.body if change else None,
                changes_key=change.key if change else None,
                changes_as_of=change.as_of if change else None,
            )
        )
    return _Planned(
        tuple(planned),
        {(each.entity, each.source_id): each for each in documents},
        held,
        {entity: verdict.not_judged for entity, (verdict, _) in judged.items()},
    )


def _told(planned: _Planned) -> str:
    held = sum(each.held for each in planned.documents)
    plan = plan_hash(planned.documents)[:SHOWN_HASH] or "nothing to create"
    change = sum(each.action == "change" for each in planned.documents)
    create = len(planned.documents) - held - change
    to_change = f"{change:,} to change, " if change else ""
    return f"plan {plan}: {create:,} to create, {to_change}{held:,} held"


def _shown(planned: _Planned) -> dict[str, dg.MetadataValue]:
    """What a person approves: how many documents, their total, by entity and account."""
    create = [each for each in planned.documents if each.action == "create"]
    change = [each for each in planned.documents if each.action == "change"]
    sources = [planned.sources[each.entity, each.source_id] for each in create]
    totals: dict[tuple[str, str], tuple[int, Decimal]] = {}
    for source in sources:
        for account, amount in _lines(msgspec.json.decode(source.payload)):
            lines, total = totals.get((source.entity, account), (0, Decimal()))
            totals[source.entity, account] = (lines + 1, total + amount)
    return {
        "dagster/partition_row_count": dg.MetadataValue.int(len(planned.documents)),
        "plan": dg.MetadataValue.text(
            plan_hash(planned.documents)[:SHOWN_HASH] or "nothing to create"
        ),
        "to_create": dg.MetadataValue.int(len(create)),
        **(
            {
                "to_change": dg.MetadataValue.int(len(change)),
                "documents_to_change": table_of(
                    (
                        {
                            "source_id": each.source_id,
                            "intacct_key": each.changes_key,
                            "change": (each.change or b"").decode(),
                        }
                        for each in change
                    ),
                    _CHANGE,
                ),
            }
            if change
            else {}
        ),
        "held": dg.MetadataValue.int(sum(each.held for each in planned.documents)),
        "amount_to_create": dg.MetadataValue.text(
            f"{sum((each.amount for each in create), Decimal()):,.2f}"
        ),
        "totals": table_of(
            (
                {"entity": entity, "account": account, "lines": lines, "amount": f"{total:,.2f}"}
                for (entity, account), (lines, total) in sorted(totals.items())
            ),
            _TOTALS,
        ),
        "documents_to_create": table_of(
            ({**_place(each), "entity": each.entity, "day": each.day} for each in sources),
            _CREATED,
        ),
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


def _verdict(gate: Gate, planned: _Planned) -> Verdict:
    found = [
        (each, one)
        for each in planned.documents
        for one in planned.held.get((each.entity, each.source_id), ())
        if one.gate is gate
    ]
    held = {(each.entity, each.source_id) for each, _ in found}
    unjudged = sorted({why[gate] for why in planned.not_judged.values() if gate in why})
    count = f"{len(planned.documents):,} document{'' if len(planned.documents) == 1 else 's'}"
    told = (
        f"{len(held):,} of {count} held: {_by_reason(one for _, one in found)}. Mend them and plan "
        "again."
        if held
        else f"{count} passed."
    )
    if unjudged:
        told = f"Not judged: {'; '.join(unjudged)}. {told if held else ''}".strip()
    rows = (
        {
            **_place(planned.sources[each.entity, each.source_id]),
            "reason": one.reason,
            "what_to_do": one.what_to_do,
            "field": one.field,
        }
        for each, one in found
    )
    return Verdict(
        not held and not unjudged,
        severity(len(held), len(planned.documents)),
        told,
        {
            "documents": dg.MetadataValue.int(len(planned.documents)),
            "held": dg.MetadataValue.int(len(held)),
            **({"documents_held": table_of(rows, _HELD)} if held else {}),
        },
    )


def _by_reason(held: Iterator[Held]) -> str:
    told = Counter(each.reason for each in held).most_common()
    shown = "; ".join(f"{reason} ({count})" for reason, count in told[:3])
    return f"{shown}; and {len(told) - 3} other reasons" if len(told) > 3 else shown
