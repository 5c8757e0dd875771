"""Plan assets: what would be posted, validated, and what a person must correct first."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from intacct_dagster.client import document_facts
from intacct_dagster.config import Feed, Settings
from intacct_dagster.defs.checks.results import result_by_partition
from intacct_dagster.defs.failures import as_dagster_failure
from intacct_dagster.defs.partitions import entity_days, partition_key, tell_partitions
from intacct_dagster.defs.posting.entities import for_each
from intacct_dagster.defs.posting.feed_run import FeedRun
from intacct_dagster.defs.posting.plan_summary import PlanSummary, ValidatedDocument
from intacct_dagster.defs.tables import relation, table_rows
from intacct_dagster.naming import Names
from intacct_dagster.posting.amendments import Change, Changed, NotChanged, changes_of
from intacct_dagster.posting.identity import identity_of
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

#: The reconciliation statuses of documents that may be planned. An uncertain document may prove
#: never to have arrived; the ledger does not send one whose outcome is still open.
PLANNED = ("missing", "uncertain")

#: The reconciliation status of documents whose record in Intacct may be changed.
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


def plan_asset(settings: Settings, name: str, feed: Feed) -> dg.AssetsDefinition:
    """Build the asset that validates what reconciliation found missing. It sends nothing."""
    names = Names.of(settings)
    key = names.plan(name)
    partitions = entity_days(settings)
    rules = [
        rule
        for rule in ValidationRule
        if feed.on_change == "patch" or rule is not ValidationRule.CHANGE
    ]

    @dg.asset(
        key=key,
        deps=[names.reconciled(name)],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=names.group(GROUP),
        kinds={"intacct", "duckdb"},
        pool=names.pool,
        required_resource_keys={names.intacct, names.warehouse},
        description=(
            f"What would be posted of `{name}` to Intacct's `{feed.object}`. Each document is "
            "validated first; one that fails a rule is held, with the reason. Nothing is sent."
        ),
        metadata=relation(settings, key),
        check_specs=[
            dg.AssetCheckSpec(
                rule.value, asset=key, description=_PROMISES[rule], partitions_def=partitions
            )
            for rule in rules
        ],
    )
    def plan(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        run = FeedRun.of(context, settings, name, feed)
        made = as_dagster_failure(settings, _make_plan, run)
        summaries = {partition_key(*each): made.by_partition[each] for each in made.by_partition}
        metadata = {
            partition_key(*each): summary.metadata(made.hashes[each])
            for each, summary in made.by_partition.items()
        }
        tell_partitions(context, key, metadata)
        context.log.info(made.summary.describe(made.hash))
        yield dg.MaterializeResult(metadata=table_rows(settings, run.resource, [key])[key])
        for rule in rules:
            by_partition = {each: summary.check(rule) for each, summary in summaries.items()}
            yield result_by_partition(
                context, key, rule.value, made.summary.check(rule), by_partition
            )

    return plan


@dataclass(frozen=True)
class _MadePlan:
    """The plan of a run: its hash and summary, as a whole and by partition."""

    hash: str
    summary: PlanSummary
    hashes: Mapping[Partition, str]
    by_partition: Mapping[Partition, PlanSummary]


def _make_plan(run: FeedRun) -> _MadePlan:
    """Validate the documents of the run's partitions and store the plan.

    Raises:
        IntacctError, StateError, WarehouseError: Nothing was stored.
    """
    whole, summary = PlanHash(), PlanSummary()
    by_partition = {partition: PlanSummary() for partition in sorted(run.partitions)}
    no_duplicates = run.approvals.no_duplicates(run.name)

    def planned(validated: Iterable[ValidatedDocument]) -> Iterator[PlannedDocument]:
        for each in validated:
            whole.add(each.planned)
            summary.add(each)
            by_partition[each.planned.entity, each.planned.day].add(each)
            yield each.planned

    spec = run.feed.spec(run.name)
    with documents(run.warehouse, spec, run.partitions, (*PLANNED, CHANGED)) as found:
        new = (each for each in found.of(None, *PLANNED) if each.source_id not in no_duplicates)
        duplicates = _possible_duplicates(run.warehouse, run.feed, new)
        hashes = replace_plan(
            run.warehouse,
            run.name,
            run.partitions,
            planned(_validate(run, found, duplicates)),
            run_id=run.run_id,
            at=datetime.now(UTC),
        )
        run.plans.record(run.name, hashes, run_id=run.run_id)
    return _MadePlan(str(whole), summary, hashes, by_partition)


def _validate(
    run: FeedRun, found: Documents, duplicates: Mapping[str, PossibleDuplicate]
) -> Iterator[ValidatedDocument]:
    """Yield the documents, entity by entity, with the rules that hold them."""
    asked = for_each(lambda entity: _ask(run, entity, found), sorted(run.days), run.in_flight)
    for entity, (validator, changes) in asked:
        for document in found.of(entity):
            held = validator.judge(_candidate(document), duplicates.get(document.source_id))
            change = changes.get(document.source_id)
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
            planned = _planned(document, held, change)
            yield ValidatedDocument(document, planned, held, validator.not_judged)


def _ask(
    run: FeedRun, entity: str, found: Documents
) -> tuple[Validator, dict[str, Change | NotChanged]]:
    """Ask Intacct what validation needs to know about an entity's documents.

    Returns:
        The rules with what Intacct answered, and the possible changes by source id.
    """
    with run.client(entity) as client:
        validator = Validator(client, run.feed.object, in_flight=run.in_flight)
        validator.look(map(_candidate, found.of(entity)))
        documents_changed = list(found.of(entity, CHANGED))
        posted = _changed(run.ledger, run.name, run.feed, entity, documents_changed)
        changes = changes_of(client, run.feed.object, posted, in_flight=run.in_flight)
    return validator, {each.source_id: each for each in changes}


def _candidate(document: Document) -> Candidate:
    return Candidate(document.source_id, document.day, document.payload)


def _possible_duplicates(
    warehouse: Warehouse, feed: Feed, documents: Iterable[Document]
) -> dict[str, PossibleDuplicate]:
    facts = document_facts(feed.object)
    if facts.party is None:
        return {}
    marks = (
        Mark(
            each.source_id,
            identity_of(each.payload, feed.match_on, None, otherwise=each.source_id).number,
            each.entity,
            known.party,
            each.amount,
            known.dated,
        )
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
    """Return the documents of an entity that are to be changed, with their posted payloads."""
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
        gate=held[0].rule.value if held else None,
        reason="; ".join(one.reason for one in held) if held else None,
        what_to_do=held[0].what_to_do if held else None,
        document_hash=whole,
        change=change.body if change else None,
        changes_key=change.key if change else None,
        changes_as_of=change.as_of if change else None,
    )
