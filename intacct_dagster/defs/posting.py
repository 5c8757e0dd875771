"""Posting: what is missing in Intacct goes there in chunks, and checks say what became of it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal

import dagster as dg

from intacct_dagster.config import Feed, Settings
from intacct_dagster.defs.failures import in_words, plainly
from intacct_dagster.defs.partitions import (
    days_by_entity,
    entity_days,
    partition_key,
    partitions_of,
)
from intacct_dagster.defs.reconcile import reconciled_key
from intacct_dagster.defs.resources import IntacctResource, WarehouseResource
from intacct_dagster.defs.tables import relation
from intacct_dagster.defs.verdicts import Fate, PostingCheck, posting_checks
from intacct_dagster.intacct import IntacctClient, IntacctError
from intacct_dagster.post import PostingEngine, Sent
from intacct_dagster.read_back import Difference, read_back
from intacct_dagster.warehouse import (
    Item,
    ItemState,
    Ledger,
    Warehouse,
    payloads,
    reconciled_documents,
)

GROUP = "posted"

#: What reconciliation says of a document that may be planned. What is uncertain may turn out, when
#: it is settled, never to have arrived; the ledger leaves alone what it must.
PLANNED = ("missing", "uncertain")
#: What reconciliation says of a document whose place is in the ledger.
IN_LEDGER = (*PLANNED, "posted", "refused")

Partition = tuple[str, date]


def posted_key(feed: str) -> dg.AssetKey:
    """The posted asset of a feed: what became of each document, in the table `posting.<feed>`."""
    return dg.AssetKey(["posting", feed])


def posting_asset(settings: Settings, name: str, feed: Feed) -> dg.AssetsDefinition:
    """The posting graph of a feed: plan chunks, post each, collect the fates.

    A day with refused documents still materializes; its checks say what was refused and why.
    """
    key = posted_key(name)
    partitions = entity_days(settings)

    @contextmanager
    def counted(
        intacct: IntacctResource, warehouse: WarehouseResource, run_id: str, entity: str
    ) -> Iterator[IntacctClient]:
        """A client whose requests are put to the month's account, whatever becomes of them."""
        client = intacct.entity(entity)
        try:
            yield client
        finally:
            warehouse.allowance(settings.company).spend(
                at=datetime.now(UTC),
                run_id=run_id,
                entity=entity,
                object=feed.object,
                requests=client.usage.requests,
                transactions=client.usage.transactions,
            )

    spec = feed.spec(name)
    checks = posting_checks(live=settings.posting.enabled)

    @dg.op(
        name=f"{name}_plan_chunks",
        ins={"reconciled": dg.In(dg.Nothing)},
        out=dg.DynamicOut(dict),
        pool="intacct_api",
        description="Settles what was left unanswered, then writes what is missing in the ledger.",
    )
    def plan_chunks(
        context: dg.OpExecutionContext, intacct: IntacctResource, warehouse: WarehouseResource
    ) -> Iterator[dg.DynamicOutput[dict[str, str]]]:
        if not settings.posting.enabled:
            context.log.info("posting.enabled is false in intacct.yaml: a dry run, nothing is sent")
            return
        ledger = warehouse.ledger(settings.company)
        days = days_by_entity(context.partition_keys)
        documents = plainly(
            settings, payloads, warehouse.warehouse, spec, partitions_of(days), PLANNED
        )
        for entity in days:
            with counted(intacct, warehouse, context.run.run_id, entity) as client:
                engine = PostingEngine(client, ledger)
                for settled in plainly(settings, engine.settle, feed.object, feed.match_on):
                    context.log.warning(
                        f"{entity}: left unanswered by an earlier run: {_told(settled)}"
                    )
                planned = plainly(
                    settings,
                    engine.plan,
                    name,
                    feed.object,
                    feed.match_on,
                    [
                        Item(each.source_id, each.day, str(each.amount), each.payload)
                        for each in documents
                        if each.entity == entity
                    ],
                    run_id=context.run.run_id,
                    chunk_size=settings.limits.chunk_size,
                    chunk_bytes=settings.limits.chunk_bytes,
                )
            for source_id, keys in planned.already_there.items():
                context.log.warning(
                    f"{entity}: {source_id} came into Intacct since it was read last (key "
                    f"{', '.join(keys)}) and is not posted again: extract and reconcile anew"
                )
            for number, chunk in enumerate(planned.chunks, start=1):
                yield dg.DynamicOutput(
                    {"entity": entity, "chunk_id": chunk.chunk_id},
                    mapping_key=f"{re.sub(r'[^A-Za-z0-9_]', '_', entity)}_{number:04d}",
                    metadata={"documents": chunk.size, "bytes": len(chunk.body)},
                )

    @dg.op(
        name=f"{name}_post_chunk",
        pool="intacct_api",
        # Only what certainly never arrived is raised, so sending again cannot double anything.
        retry_policy=dg.RetryPolicy(
            max_retries=3, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
        ),
        description="Sends one chunk and writes down what came back, by position.",
    )
    def post_chunk(
        context: dg.OpExecutionContext,
        intacct: IntacctResource,
        warehouse: WarehouseResource,
        chunk: dict[str, str],
    ) -> dict[str, str]:
        with counted(intacct, warehouse, context.run.run_id, chunk["entity"]) as client:
            engine = PostingEngine(client, warehouse.ledger(settings.company))
            sent = plainly(settings, engine.send, chunk["chunk_id"])
        context.add_output_metadata(
            {
                "documents": sent.items,
                "posted": sent.posted,
                "refused": sent.refused,
                "uncertain": sent.uncertain,
                "note": sent.note,
            }
        )
        context.log.info(f"{chunk['entity']}: {_told(sent)}")
        return chunk

    @dg.op(
        name=f"{name}_collect",
        out={"result": dg.Out(dg.Nothing), **{check.name: dg.Out() for check in checks}},
        description="Puts the fates in the warehouse, and judges every partition.",
    )
    def collect(
        context: dg.AssetExecutionContext,
        intacct: IntacctResource,
        warehouse: WarehouseResource,
        chunks: list[dict[str, str]],
    ) -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
        days = days_by_entity(context.partition_keys)
        for entity in {chunk["entity"] for chunk in chunks}:
            # An answer that was lost on the way a moment ago can often be had now.
            with counted(intacct, warehouse, context.run.run_id, entity) as client:
                engine = PostingEngine(client, warehouse.ledger(settings.company))
                for left in plainly(settings, engine.settle, feed.object, feed.match_on):
                    context.log.warning(f"{entity}: asked what became of a chunk: {_told(left)}")
        ledger = warehouse.ledger(settings.company)
        found: list[Difference] = []
        for entity in days:
            try:
                with counted(intacct, warehouse, context.run.run_id, entity) as client:
                    found += read_back(client, ledger, feed.object).differences
            except IntacctError as error:
                # What was posted is posted; that it could not be read yet is for the check to say.
                context.log.warning(f"{entity}: not read back: {in_words(error, settings)}")
        fates = plainly(
            settings,
            _fates,
            warehouse.warehouse,
            ledger,
            name,
            feed.object,
            days,
            found,
        )
        plainly(
            settings,
            warehouse.warehouse.replace_outcomes,
            name,
            partitions_of(days),
            [_outcome(partition, fate) for partition, each in fates.items() for fate in each],
        )
        for partition, each in fates.items():
            context.add_asset_metadata(
                _counts(each), asset_key=key, partition_key=partition_key(*partition)
            )
        # The asset's own output first: then the checks know which materialization they judge.
        yield dg.Output(None, "result", metadata={"chunks": len(chunks)})
        everything = [fate for each in fates.values() for fate in each]
        for check in checks:
            if not context.has_partition_key:
                # The result of a ranged run has no partition: each key needs its own evaluation.
                for partition, each in fates.items():
                    context.log_event(_evaluation(key, check, each, partition_key(*partition)))
            verdict = check.judge(everything)
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name=check.name,
                passed=verdict.passed,
                severity=verdict.severity,
                description=verdict.description,
                metadata=verdict.metadata,
            )

    @dg.graph_asset(
        key=key,
        ins={"reconciled": dg.AssetIn(key=reconciled_key(name), dagster_type=dg.Nothing)},
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=GROUP,
        kinds={"intacct"},
        description=(
            f"`{name}` in Intacct's `{feed.object}`: what was missing is posted in chunks of at "
            f"most {settings.limits.chunk_size}, each document once. The table has a row for each "
            "document, with its key in Intacct or the reason why it was refused."
        ),
        metadata=relation(settings, key),
        check_specs=[
            dg.AssetCheckSpec(
                check.name, asset=key, description=check.promise, partitions_def=partitions
            )
            for check in checks
        ],
    )
    def posted(reconciled: None) -> dict[str, object]:
        outputs = collect(plan_chunks(reconciled).map(post_chunk).collect())
        graph = key.to_python_identifier()
        return {
            "result": outputs.result,
            **{f"{graph}_{check.name}": getattr(outputs, check.name) for check in checks},
        }

    return posted


def _fates(
    warehouse: Warehouse,
    ledger: Ledger,
    feed: str,
    object: str,
    days: Mapping[str, Sequence[date]],
    differences: Sequence[Difference],
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
    differing: dict[str, list[Difference]] = {}
    for each in differences:
        differing.setdefault(each.source_id, []).append(each)
    for row in reconciled_documents(warehouse, feed, set(fates)):
        entry = entries.pop((row.entity, row.source_id), None)
        if entry is not None or row.status in IN_LEDGER:
            wrong = tuple(differing.get(row.source_id, ()))
            fates[row.entity, row.day].append(
                Fate(row.source_id, row.amount, row.file, row.line, entry, wrong)
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


def _counts(fates: Sequence[Fate]) -> dict[str, int]:
    return {
        "dagster/partition_row_count": len(fates),
        **{
            state.value: sum(fate.state is state for fate in fates)
            for state in (ItemState.POSTED, ItemState.REJECTED, ItemState.UNCERTAIN)
        },
    }


def _evaluation(
    key: dg.AssetKey, check: PostingCheck, fates: Sequence[Fate], partition: str
) -> dg.AssetCheckEvaluation:
    verdict = check.judge(fates)
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=check.name,
        partition=partition,
        passed=verdict.passed,
        severity=verdict.severity,
        description=verdict.description,
        metadata=verdict.metadata,
    )


def _told(sent: Sent) -> str:
    told = (
        f"{sent.posted} posted, {sent.refused} refused, {sent.uncertain} uncertain "
        f"of {sent.items} documents"
    )
    return f"{told} ({sent.note})" if sent.note else told
