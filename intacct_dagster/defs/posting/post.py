"""Posting: what is missing in Intacct goes there in chunks, and checks say what became of it."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Self

import dagster as dg

from intacct_dagster.client import IntacctError
from intacct_dagster.config import Feed, Settings
from intacct_dagster.defs.checks.results import (
    CHANGES_MADE,
    POSTING_CHECKS,
    PostingCheck,
    Verdict,
    changes_made,
    evaluation,
    result,
)
from intacct_dagster.defs.failures import in_words, plainly
from intacct_dagster.defs.partitions import (
    days_by_entity,
    entity_days,
    partition_key,
    partitions_of,
    tell_partitions,
)
from intacct_dagster.defs.posting.entities import counted, for_each
from intacct_dagster.defs.posting.plan import CHANGED, PLANNED, plan_key
from intacct_dagster.defs.resources import POOL, IntacctResource, WarehouseResource
from intacct_dagster.defs.tables import SHOWN_ROWS, relation, table_of, table_rows
from intacct_dagster.posting.agreement import FieldDifference
from intacct_dagster.posting.amendments import changed_fields
from intacct_dagster.posting.engine import PostingEngine
from intacct_dagster.posting.results import Done, PostingTarget, Sent
from intacct_dagster.posting.verification import PostedReader
from intacct_dagster.state import Approvals
from intacct_dagster.state.ledger import (
    Entry,
    Item,
    ItemState,
    LastChange,
    Request,
)
from intacct_dagster.warehouse import Partition
from intacct_dagster.warehouse.raw.load import known_until
from intacct_dagster.warehouse.reconciliation import (
    SHOWN_HASH,
    Outcomes,
    PlannedDocument,
    PostingPermission,
    ReadBackProof,
    ToPost,
    numbers_planned,
    plan_hash,
    plan_hashes,
    planned_documents,
    replace_changes,
    replace_outcomes,
    to_post,
)
from intacct_dagster.warehouse.reconciliation.outcomes import replace_chunks

GROUP = "posted"

#: What reconciliation says of a document whose place is in the ledger.
IN_LEDGER = (*PLANNED, "posted", "refused")

_CHUNKS = {
    "entity": "string",
    "chunk": "string",
    "items": "int",
    "posted": "int",
    "refused": "int",
    "uncertain": "int",
    "note": "string",
}


_SECONDS_OF_AN_EVENT = 1.0


class Approval(dg.Config):
    """A person's leave to post: the hash of the plan of the run's partitions, from plan/<feed>."""

    approve: str = ""


def posted_key(feed: str) -> dg.AssetKey:
    """The posted asset of a feed: what became of each document, in the table `posting.<feed>`."""
    return dg.AssetKey(["posting", feed])


def posting_asset(settings: Settings, name: str, feed: Feed) -> dg.AssetsDefinition:
    """The posting graph of a feed: plan chunks, post each, collect the fates.

    A day with refused documents still materializes; its checks say what was refused and why.
    """
    key = posted_key(name)
    partitions = entity_days(settings)
    in_flight = settings.limits.concurrency
    checks = {check.name: check.promise for check in POSTING_CHECKS}
    if feed.on_change == "patch":
        checks[CHANGES_MADE] = "What changed in the source after it was posted, Intacct took."
    actions = ("create", "change") if feed.on_change == "patch" else ("create",)

    @contextmanager
    def at(
        intacct: IntacctResource,
        warehouse: WarehouseResource,
        run_id: str,
        entity: str,
        action: str,
    ) -> Iterator[tuple[PostingEngine, PostedReader]]:
        """What posts to an entity, and what reads it back."""
        with counted(settings, intacct, warehouse, run_id, entity, feed.object) as client:
            ledger = warehouse.ledger(settings.company)
            if action == "change":
                ledger = ledger.of_changes
            yield (
                PostingEngine(client, ledger, in_flight=in_flight),
                PostedReader(client, ledger, feed.object, in_flight=in_flight),
            )

    def leave(warehouse: WarehouseResource) -> PostingPermission:
        """What is said of documents that were not to be sent."""
        needed = settings.posting.approval == "required"
        dry_run = "would be posted: a dry run, posting.enabled is false"
        waiting = "to be posted when a person has approved the plan"
        return PostingPermission(
            "held by a gate, see the checks of the plan",
            None if settings.posting.enabled else dry_run,
            waiting if needed else None,
            warehouse.approvals(settings.company).held(name) if needed else (),
        )

    @dg.op(
        name=f"{name}_post",
        ins={"plan": dg.In(dg.Nothing)},
        pool=POOL,
        # Only what certainly never arrived is raised, so sending again cannot double anything.
        retry_policy=dg.RetryPolicy(
            max_retries=3, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
        ),
        description=(
            "Settles what was left unanswered, then writes the plan's documents in the ledger and "
            f"sends them in chunks, {in_flight} at a time. What came back is written down by "
            "position, and read back meanwhile."
        ),
    )
    def post(
        context: dg.OpExecutionContext,
        config: Approval,
        intacct: IntacctResource,
        warehouse: WarehouseResource,
    ) -> list[str]:
        if not settings.posting.enabled:
            context.log.info("posting.enabled is false in intacct.yaml: a dry run, nothing is sent")
            return []
        days = days_by_entity(context.partition_keys)
        approvals = warehouse.approvals(settings.company)
        if config.approve:
            plan_of_run = plainly(
                settings, planned_documents, warehouse.warehouse, name, partitions_of(days)
            )
            _approve(approvals, name, plan_of_run, config.approve)
        needed = settings.posting.approval == "required"
        numbers = plainly(settings, numbers_planned, warehouse.warehouse, name, partitions_of(days))

        # all of it before the documents are got ready, for which the warehouse is held
        changes_known_until = {
            entity: plainly(settings, known_until, warehouse.warehouse, feed.object, entity)
            for entity in days
        }

        def to_entity(entity: str, plan: Callable[[], ToPost]) -> list[Done]:
            return [part(entity, action, plan) for action in actions]

        def part(entity: str, action: str, plan: Callable[[], ToPost]) -> Done:
            def documents() -> Iterator[Item]:
                yield from (Item(*each) for each in plan().documents(entity, action))

            def told(sent: Sent) -> None:
                lines.add(f"{entity}: {_told(sent)}")
                proof.posted(sent.chunk_id, sent.posted, sent.first_key)

            with (
                _Lines(context.log) as lines,
                at(intacct, warehouse, context.run.run_id, entity, action) as (engine, reader),
                reader.alongside() as proof,
            ):
                for each in engine.settle(feed.object, feed.match_on):
                    context.log.warning(
                        f"{entity}: left unanswered by an earlier run: {_told(each)}"
                    )
                return engine.post(
                    PostingTarget(name, feed.object, feed.match_on),
                    documents(),
                    documents=numbers.get((entity, action), 0),
                    run_id=context.run.run_id,
                    chunk_size=settings.limits.chunk_size,
                    chunk_bytes=settings.limits.chunk_bytes,
                    known_until=changes_known_until[entity],
                    on_sent=told,
                )

        def post_all() -> list[tuple[str, list[Done]]]:
            with ExitStack() as kept, ThreadPoolExecutor(1) as meanwhile:
                # sessions are proven while the documents are got ready
                ready = meanwhile.submit(
                    kept.enter_context,
                    to_post(
                        warehouse.warehouse,
                        name,
                        partitions_of(days),
                        (*PLANNED, CHANGED),
                        approvals.held(name) if needed else None,
                    ),
                )
                done = for_each(lambda entity: to_entity(entity, ready.result), days, in_flight)
                if changed := ready.result().changed:
                    context.log.warning(
                        f"{changed:,} documents are not in the plan as they are now: "
                        f"materialize plan/{name} for these partitions; they are not sent"
                    )
                return done

        done = plainly(settings, post_all)
        for entity, (created, *changed) in done:
            for source_id, keys in created.already_there.items():
                context.log.warning(
                    f"{entity}: {source_id} came into Intacct since it was read last (key "
                    f"{', '.join(keys)}) and is not posted again: extract and reconcile anew"
                )
            for each in changed:
                for source_id in each.already_there:
                    context.log.warning(
                        f"{entity}: {source_id} changed in Intacct since it was planned, and is "
                        "not changed: plan it again"
                    )
        sent = [(entity, chunk) for entity, parts in done for each in parts for chunk in each.sent]
        context.add_output_metadata(
            {
                "documents": sum(chunk.items for _, chunk in sent),
                "posted": sum(chunk.posted for _, chunk in sent),
                "refused": sum(chunk.refused for _, chunk in sent),
                "uncertain": sum(chunk.uncertain for _, chunk in sent),
                "chunks": table_of(
                    (
                        {"entity": entity, "chunk": chunk.chunk_id[:12], **asdict(chunk)}
                        for entity, chunk in sent
                    ),
                    _CHUNKS,
                ),
            }
        )
        return sorted({entity for entity, _ in sent})

    @dg.op(
        name=f"{name}_collect",
        out={"result": dg.Out(dg.Nothing), **{check: dg.Out() for check in checks}},
        description="Puts the fates in the warehouse, and judges every partition.",
        pool=POOL,
    )
    def collect(
        context: dg.AssetExecutionContext,
        intacct: IntacctResource,
        warehouse: WarehouseResource,
        posted_to: list[str],
    ) -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
        days = days_by_entity(context.partition_keys)
        ledger = warehouse.ledger(settings.company)

        def settle(entity: str) -> list[Sent]:
            # An answer that was lost on the way a moment ago can often be had now.
            left: list[Sent] = []
            for action in actions:
                with at(intacct, warehouse, context.run.run_id, entity, action) as (engine, _):
                    left += engine.settle(feed.object, feed.match_on)
            return left

        def prove(entity: str) -> list[FieldDifference] | str:
            different: list[FieldDifference] = []
            for action in actions:
                with at(intacct, warehouse, context.run.run_id, entity, action) as (_, reader):
                    try:
                        different += reader.read_back().differences
                    except IntacctError as error:
                        # What was posted is posted; that it could not be read a check must say.
                        return in_words(error, settings)
            return different

        for entity, left in plainly(settings, for_each, settle, posted_to, in_flight):
            for asked in left:
                context.log.warning(f"{entity}: asked what became of a chunk: {_told(asked)}")
        found: dict[tuple[str, str], list[FieldDifference]] = {}
        with ThreadPoolExecutor(1) as meanwhile:
            proving = meanwhile.submit(for_each, prove, days, in_flight)

            def proof() -> ReadBackProof:
                for entity, differences in proving.result():
                    if isinstance(differences, str):
                        context.log.warning(f"{entity}: not read back: {differences}")
                        continue
                    for one in differences:
                        found.setdefault((entity, one.source_id), []).append(one)
                return ReadBackProof(ledger.unread(feed.object, days, name), found.keys())

            outcomes = plainly(
                settings,
                replace_outcomes,
                warehouse.warehouse,
                name,
                partitions_of(days),
                ledger.outcomes(feed.object, days, name),
                leave=leave(warehouse),
                statuses=IN_LEDGER,
                shown=SHOWN_ROWS,
                proof=proof,
            )
        plainly(
            settings,
            replace_chunks,
            warehouse.warehouse,
            name,
            days.keys(),
            [
                _request(name, entity, feed.object, request)
                for entity in days
                for request in ledger.requests(feed.object, entity, feed=name)
            ],
        )
        if feed.on_change == "patch":
            changes = ledger.of_changes
            rows = []
            for entity in days:
                entries = changes.entries(feed.object, entity, feed=name)
                names = [entry.source_id for entry in entries]
                bodies = changes.payloads(feed.object, entity, names)
                rows += [_change(name, entry, bodies[entry.source_id]) for entry in entries]
            plainly(settings, replace_changes, warehouse.warehouse, name, days.keys(), rows)
        tell_partitions(
            context,
            key,
            {partition_key(*partition): _counts(each) for partition, each in outcomes.items()},
        )
        everything = sum(outcomes.values(), Outcomes())
        # The asset's own output first: then the checks know which materialization they judge.
        yield dg.Output(
            None,
            "result",
            metadata={
                "documents": everything.documents,
                **table_rows(settings, warehouse, [key])[key],
            },
        )
        for check in POSTING_CHECKS:

            def judge(of: Outcomes, check: PostingCheck = check) -> Verdict:
                return check.judge(of, [one for who in of.differing for one in found[who]])

            if not context.has_partition_key:
                # The result of a ranged run has no partition: each key needs its own evaluation.
                for partition, each in outcomes.items():
                    context.log_event(
                        evaluation(key, check.name, judge(each), partition_key(*partition))
                    )
            yield result(key, check.name, judge(everything))
        if feed.on_change != "patch":
            return
        last = {
            (entity, source_id): change
            for entity in days
            for source_id, change in ledger.last_changes(feed.object, entity, name).items()
        }

        def of(partition: Partition) -> dict[str, LastChange]:
            return {
                source_id: change
                for (entity, source_id), change in last.items()
                if (entity, change.day) == partition
            }

        by_partition = {partition: of(partition) for partition in outcomes}
        if not context.has_partition_key:
            for partition, made in by_partition.items():
                verdict = changes_made(made)
                context.log_event(evaluation(key, CHANGES_MADE, verdict, partition_key(*partition)))
        together = {
            f"{partition[0]} {source_id}": change
            for partition, made in by_partition.items()
            for source_id, change in made.items()
        }
        yield result(key, CHANGES_MADE, changes_made(together))

    @dg.graph_asset(
        key=key,
        ins={"plan": dg.AssetIn(key=plan_key(name), dagster_type=dg.Nothing)},
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=GROUP,
        kinds={"intacct", "duckdb"},
        description=(
            f"`{name}` in Intacct's `{feed.object}`: what the plan says is posted in chunks of at "
            f"most {settings.limits.chunk_size}, each document once. The table has a row for each "
            "document, with its key in Intacct or the reason why it was refused."
        ),
        metadata=relation(settings, key),
        check_specs=[
            dg.AssetCheckSpec(check, asset=key, description=promise, partitions_def=partitions)
            for check, promise in checks.items()
        ],
    )
    def posted(plan: None) -> dict[str, object]:
        outputs = collect(post(plan))
        graph = key.to_python_identifier()
        return {
            "result": outputs.result,
            **{f"{graph}_{check}": getattr(outputs, check) for check in checks},
        }

    return posted


class _Lines:
    """Lines of a run's log, those of about a second in one event: each is a write to Dagster's
    storage. Use it in a `with`, at the end of which all are told."""

    def __init__(self, log: dg.DagsterLogManager) -> None:
        self._log = log
        self._lines: list[str] = []
        self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tell()

    def add(self, line: str) -> None:
        """One more line, told soon."""
        self._lines.append(line)
        if time.monotonic() - self._told >= _SECONDS_OF_AN_EVENT:
            self._tell()

    def _tell(self) -> None:
        if self._lines:
            self._log.info("\n".join(self._lines))
        self._lines = []
        self._told = time.monotonic()


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


def _change(feed: str, entry: Entry, body: bytes) -> tuple[object, ...]:
    return (
        feed,
        entry.entity,
        entry.day,
        entry.source_id,
        entry.state.value,
        changed_fields(body),
        entry.reason,
        entry.what_to_do,
        entry.error_id,
        entry.support_id,
        entry.chunk_id,
        entry.position,
        entry.amount,
        entry.payload_sha256,
        entry.read_back_at is not None,
        entry.run_id,
        entry.updated_at,
    )


def _counts(outcomes: Outcomes) -> dict[str, int]:
    return {
        "dagster/partition_row_count": outcomes.documents,
        **{
            state.value: outcomes.count(state)
            for state in (ItemState.POSTED, ItemState.REJECTED, ItemState.UNCERTAIN)
        },
    }


def _told(sent: Sent) -> str:
    told = (
        f"{sent.posted} posted, {sent.refused} refused, {sent.uncertain} uncertain "
        f"of {sent.items} documents"
    )
    return f"{told} ({sent.note})" if sent.note else told
