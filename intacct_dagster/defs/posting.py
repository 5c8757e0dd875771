"""Posting: what is missing in Intacct goes there in chunks, and checks say what became of it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal

import dagster as dg

from intacct_dagster.config import Feed, Settings
from intacct_dagster.defs.entities import counted, for_each
from intacct_dagster.defs.failures import in_words, plainly
from intacct_dagster.defs.partitions import (
    days_by_entity,
    entity_days,
    partition_key,
    partitions_of,
)
from intacct_dagster.defs.plan import PLANNED, plan_key
from intacct_dagster.defs.resources import POOL, IntacctResource, WarehouseResource
from intacct_dagster.defs.tables import relation, table_of
from intacct_dagster.defs.verdicts import POSTING_CHECKS, Fate, evaluation, result
from intacct_dagster.intacct import IntacctError
from intacct_dagster.post import Planned, PostingEngine, Sent
from intacct_dagster.read_back import Difference, ReadBack, Reader
from intacct_dagster.warehouse import (
    SHOWN_HASH,
    Approvals,
    Item,
    ItemState,
    Ledger,
    Partition,
    PlannedDocument,
    Request,
    Warehouse,
    payload_hash,
    payloads,
    plan_hash,
    plan_hashes,
    planned_documents,
    reconciled_documents,
)

GROUP = "posted"

#: What reconciliation says of a document whose place is in the ledger.
IN_LEDGER = (*PLANNED, "posted", "refused")

#: Rounds of chunks in one step: many enough that a step's end, where some wait for the last, is
#: rare; few enough that the UI shows how far it has come, and a retry repeats little.
_ROUNDS = 16

_CHUNKS = {
    "entity": "string",
    "chunk": "string",
    "items": "int",
    "posted": "int",
    "refused": "int",
    "uncertain": "int",
    "note": "string",
}


class Approval(dg.Config):
    """A person's leave to post: the hash of the plan of the run's partitions, from plan/<feed>."""

    approve: str = ""


@dataclass(frozen=True)
class PlannedChunk:
    """A chunk in the ledger that waits to be sent."""

    entity: str
    chunk_id: str


def posted_key(feed: str) -> dg.AssetKey:
    """The posted asset of a feed: what became of each document, in the table `posting.<feed>`."""
    return dg.AssetKey(["posting", feed])


def posting_asset(settings: Settings, name: str, feed: Feed) -> dg.AssetsDefinition:
    """The posting graph of a feed: plan chunks, post each, collect the fates.

    A day with refused documents still materializes; its checks say what was refused and why.
    """
    key = posted_key(name)
    partitions = entity_days(settings)

    spec = feed.spec(name)
    in_flight = settings.limits.concurrency

    @contextmanager
    def at(
        intacct: IntacctResource, warehouse: WarehouseResource, run_id: str, entity: str
    ) -> Iterator[tuple[PostingEngine, Reader]]:
        """What posts to an entity, and what reads it back."""
        with counted(settings, intacct, warehouse, run_id, entity, feed.object) as client:
            ledger = warehouse.ledger(settings.company)
            yield (
                PostingEngine(client, ledger, in_flight=in_flight),
                Reader(client, ledger, feed.object, in_flight=in_flight),
            )

    def set_aside(
        planned: Sequence[PlannedDocument], warehouse: WarehouseResource
    ) -> dict[tuple[str, str], str]:
        """(entity, source id) of what is not to be sent, and why: held, or without leave yet."""
        approved = warehouse.approvals(settings.company).approved(name, plan_hashes(planned))
        aside: dict[tuple[str, str], str] = {}
        for each in planned:
            if each.held:
                why = "held by a gate, see the checks of the plan"
            elif not settings.posting.enabled:
                why = "would be posted: a dry run, posting.enabled is false"
            elif settings.posting.approval == "required" and (
                (each.entity, each.day) not in approved
            ):
                why = "to be posted when a person has approved the plan"
            else:
                continue
            aside[each.entity, each.source_id] = why
        return aside

    @dg.op(
        name=f"{name}_plan_chunks",
        ins={"plan": dg.In(dg.Nothing)},
        out=dg.DynamicOut(list),
        pool=POOL,
        description=(
            "Settles what was left unanswered, then writes the plan's documents in the ledger."
        ),
    )
    def plan_chunks(
        context: dg.OpExecutionContext,
        config: Approval,
        intacct: IntacctResource,
        warehouse: WarehouseResource,
    ) -> Iterator[dg.DynamicOutput[list[PlannedChunk]]]:
        if not settings.posting.enabled:
            context.log.info("posting.enabled is false in intacct.yaml: a dry run, nothing is sent")
            return
        days = days_by_entity(context.partition_keys)
        plan_of_run = plainly(
            settings, planned_documents, warehouse.warehouse, name, partitions_of(days)
        )
        if config.approve:
            _approve(warehouse.approvals(settings.company), name, plan_of_run, config.approve)
        aside = set_aside(plan_of_run, warehouse)
        leave = {
            (each.entity, each.source_id): each.payload_hash
            for each in plan_of_run
            if (each.entity, each.source_id) not in aside
        }
        documents: dict[str, list[Item]] = {entity: [] for entity in days}
        changed = 0
        for document in plainly(
            settings, payloads, warehouse.warehouse, spec, partitions_of(days), PLANNED
        ):
            who = document.entity, document.source_id
            if leave.get(who) == payload_hash(document.payload):
                documents[document.entity].append(
                    Item(document.source_id, document.day, str(document.amount), document.payload)
                )
            elif who not in aside:
                changed += 1
        if changed:
            context.log.warning(
                f"{changed:,} documents are not in the plan as they are now: materialize "
                f"plan/{name} for these partitions; they are not sent"
            )

        def plan(entity: str) -> tuple[list[Sent], Planned]:
            with at(intacct, warehouse, context.run.run_id, entity) as (engine, _):
                settled = engine.settle(feed.object, feed.match_on)
                return settled, engine.plan(
                    name,
                    feed.object,
                    feed.match_on,
                    documents[entity],
                    run_id=context.run.run_id,
                    chunk_size=settings.limits.chunk_size,
                    chunk_bytes=settings.limits.chunk_bytes,
                    known_until=warehouse.warehouse.known_until(feed.object, entity),
                )

        chunks: list[PlannedChunk] = []
        for entity, (settled, planned) in plainly(settings, for_each, plan, days, in_flight):
            for each in settled:
                context.log.warning(f"{entity}: left unanswered by an earlier run: {_told(each)}")
            for source_id, keys in planned.already_there.items():
                context.log.warning(
                    f"{entity}: {source_id} came into Intacct since it was read last (key "
                    f"{', '.join(keys)}) and is not posted again: extract and reconcile anew"
                )
            chunks += [PlannedChunk(entity, chunk.chunk_id) for chunk in planned.chunks]
        size = in_flight * _ROUNDS
        for number, first in enumerate(range(0, len(chunks), size), start=1):
            part = chunks[first : first + size]
            yield dg.DynamicOutput(
                part, mapping_key=f"{number:03d}", metadata={"chunks": len(part)}
            )

    @dg.op(
        name=f"{name}_post_chunks",
        pool=POOL,
        # Only what certainly never arrived is raised, so sending again cannot double anything.
        retry_policy=dg.RetryPolicy(
            max_retries=3, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
        ),
        description=(
            f"Sends chunks, {in_flight} at a time, and writes down what came back, by position."
        ),
    )
    def post_chunks(
        context: dg.OpExecutionContext,
        intacct: IntacctResource,
        warehouse: WarehouseResource,
        chunks: list[PlannedChunk],
    ) -> list[PlannedChunk]:
        by_entity: dict[str, list[str]] = {}
        for chunk in chunks:
            by_entity.setdefault(chunk.entity, []).append(chunk.chunk_id)

        def post(entity: str) -> list[Sent]:
            def told(sent: Sent) -> None:
                context.log.info(f"{entity}: {_told(sent)}")
                proof.posted(sent.chunk_id, sent.posted)

            with (
                at(intacct, warehouse, context.run.run_id, entity) as (engine, reader),
                reader.alongside() as proof,
            ):
                return engine.send(*by_entity[entity], told=told)

        done = dict(plainly(settings, for_each, post, by_entity, in_flight))
        context.add_output_metadata(
            {
                "documents": sum(sent.items for each in done.values() for sent in each),
                "posted": sum(sent.posted for each in done.values() for sent in each),
                "refused": sum(sent.refused for each in done.values() for sent in each),
                "uncertain": sum(sent.uncertain for each in done.values() for sent in each),
                "chunks": table_of(
                    (
                        {"entity": entity, "chunk": sent.chunk_id[:12], **asdict(sent)}
                        for entity, each in done.items()
                        for sent in each
                    ),
                    _CHUNKS,
                ),
            }
        )
        return chunks

    @dg.op(
        name=f"{name}_collect",
        out={"result": dg.Out(dg.Nothing), **{check.name: dg.Out() for check in POSTING_CHECKS}},
        description="Puts the fates in the warehouse, and judges every partition.",
        pool=POOL,
    )
    def collect(
        context: dg.AssetExecutionContext,
        intacct: IntacctResource,
        warehouse: WarehouseResource,
        sent: list[list[PlannedChunk]],
    ) -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
        days = days_by_entity(context.partition_keys)
        ledger = warehouse.ledger(settings.company)

        def settle(entity: str) -> list[Sent]:
            # An answer that was lost on the way a moment ago can often be had now.
            with at(intacct, warehouse, context.run.run_id, entity) as (engine, _):
                return engine.settle(feed.object, feed.match_on)

        def prove(entity: str) -> ReadBack | str:
            with at(intacct, warehouse, context.run.run_id, entity) as (_, reader):
                try:
                    return reader.read_back()
                except IntacctError as error:
                    # What was posted is posted; that it could not be read is for a check to say.
                    return in_words(error, settings)

        posted_to = {chunk.entity for each in sent for chunk in each}
        for entity, left in plainly(settings, for_each, settle, sorted(posted_to), in_flight):
            for asked in left:
                context.log.warning(f"{entity}: asked what became of a chunk: {_told(asked)}")
        found: list[Difference] = []
        for entity, proof in plainly(settings, for_each, prove, days, in_flight):
            if isinstance(proof, ReadBack):
                found += proof.differences
            else:
                context.log.warning(f"{entity}: not read back: {proof}")
        aside = set_aside(
            plainly(settings, planned_documents, warehouse.warehouse, name, partitions_of(days)),
            warehouse,
        )
        fates = plainly(
            settings, _fates, warehouse.warehouse, ledger, name, feed.object, days, found, aside
        )
        plainly(
            settings,
            warehouse.warehouse.replace_outcomes,
            name,
            partitions_of(days),
            [_outcome(partition, fate) for partition, each in fates.items() for fate in each],
        )
        plainly(
            settings,
            warehouse.warehouse.replace_chunks,
            name,
            days.keys(),
            [
                _request(name, entity, feed.object, request)
                for entity in days
                for request in ledger.requests(feed.object, entity, feed=name)
            ],
        )
        for partition, each in fates.items():
            context.add_asset_metadata(
                _counts(each), asset_key=key, partition_key=partition_key(*partition)
            )
        # The asset's own output first: then the checks know which materialization they judge.
        yield dg.Output(None, "result", metadata={"chunks": sum(map(len, sent))})
        everything = [fate for each in fates.values() for fate in each]
        for check in POSTING_CHECKS:
            if not context.has_partition_key:
                # The result of a ranged run has no partition: each key needs its own evaluation.
                for partition, each in fates.items():
                    context.log_event(
                        evaluation(key, check.name, check.judge(each), partition_key(*partition))
                    )
            yield result(key, check.name, check.judge(everything))

    @dg.graph_asset(
        key=key,
        ins={"plan": dg.AssetIn(key=plan_key(name), dagster_type=dg.Nothing)},
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=GROUP,
        kinds={"intacct"},
        description=(
            f"`{name}` in Intacct's `{feed.object}`: what the plan says is posted in chunks of at "
            f"most {settings.limits.chunk_size}, each document once. The table has a row for each "
            "document, with its key in Intacct or the reason why it was refused."
        ),
        metadata=relation(settings, key),
        check_specs=[
            dg.AssetCheckSpec(
                check.name, asset=key, description=check.promise, partitions_def=partitions
            )
            for check in POSTING_CHECKS
        ],
    )
    def posted(plan: None) -> dict[str, object]:
        outputs = collect(plan_chunks(plan).map(post_chunks).collect())
        graph = key.to_python_identifier()
        return {
            "result": outputs.result,
            **{f"{graph}_{check.name}": getattr(outputs, check.name) for check in POSTING_CHECKS},
        }

    return posted


def _approve(
    approvals: Approvals, feed: str, planned: Sequence[PlannedDocument], said: str
) -> None:
    """Takes a person's word in the launchpad, if it is about this very plan. Raises Failure."""
    found = plan_hash(planned)
    if len(said) < SHOWN_HASH or not found.startswith(said):
        raise dg.Failure(
            f"The plan of these partitions is {found[:SHOWN_HASH] or 'empty'}, and {said} was "
            f"approved: nothing is sent. Look at the plan as it is now (plan/{feed}), and approve "
            "that one.",
            allow_retries=False,
        )
    approvals.approve(feed, plan_hashes(planned), by="the launchpad")


def _fates(
    warehouse: Warehouse,
    ledger: Ledger,
    feed: str,
    object: str,
    days: Mapping[str, Sequence[date]],
    differences: Sequence[Difference],
    aside: Mapping[tuple[str, str], str],
) -> dict[Partition, list[Fate]]:
    """What became of each document that was to be posted, by partition; none is an empty list."""
    fates: dict[Partition, list[Fate]] = {
        (entity, day): [] for entity, each in days.items() for day in each
    }
    entries = {
        (entry.entity, entry.source_id): entry
        for entity in days
        for entry in ledger.entries(object, entity, feed=feed)
    }
    differing: dict[tuple[str, str], list[Difference]] = {}
    for each in differences:
        differing.setdefault((each.entity, each.source_id), []).append(each)
    for row in reconciled_documents(warehouse, feed, set(fates)):
        entry = entries.pop((row.entity, row.source_id), None)
        if entry is not None or row.status in IN_LEDGER:
            wrong = tuple(differing.get((row.entity, row.source_id), ()))
            why = aside.get((row.entity, row.source_id))
            fates[row.entity, row.day].append(
                Fate(row.source_id, row.amount, row.file, row.line, entry, wrong, why)
            )
    for entry in entries.values():
        # The source has it no longer on this day; what became of it in Intacct stays told.
        if (entry.entity, entry.day) in fates:
            fates[entry.entity, entry.day].append(
                Fate(entry.source_id, Decimal(entry.amount), None, None, entry)
            )
    return fates


def _outcome(partition: Partition, fate: Fate) -> dict[str, object]:
    entity, day = partition
    outcome: dict[str, object] = {
        "entity": entity,
        "day": day,
        "source_id": fate.source_id,
        "state": "not sent",
        "amount": fate.amount,
        "reason": fate.aside,
    }
    if fate.entry is not None:
        entry = fate.entry
        outcome |= {
            "state": entry.state.value,
            "intacct_key": entry.intacct_key,
            "reason": entry.reason,
            "what_to_do": entry.what_to_do,
            "field": entry.field,
            "error_id": entry.error_id,
            "support_id": entry.support_id,
            "chunk": entry.chunk_id,
            "position": entry.position,
            "run_id": entry.run_id,
            "at": entry.updated_at,
        }
    return outcome


def _request(feed: str, entity: str, object: str, request: Request) -> tuple[object, ...]:
    return (
        feed,
        entity,
        object,
        request.chunk_id,
        request.state.value,
        request.size,
        request.bytes,
        request.planned_at,
        request.first_sent_at,
        request.last_sent_at,
        request.answered_at,
        request.http_status,
        request.note,
        request.run_id,
    )


def _counts(fates: Sequence[Fate]) -> dict[str, int]:
    return {
        "dagster/partition_row_count": len(fates),
        **{
            state.value: sum(fate.state is state for fate in fates)
            for state in (ItemState.POSTED, ItemState.REJECTED, ItemState.UNCERTAIN)
        },
    }


def _told(sent: Sent) -> str:
    told = (
        f"{sent.posted} posted, {sent.refused} refused, {sent.uncertain} uncertain "
        f"of {sent.items} documents"
    )
    return f"{told} ({sent.note})" if sent.note else told
