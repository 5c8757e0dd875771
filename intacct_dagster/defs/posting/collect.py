"""Store what became of the documents of a feed, and check it: the second op of posting."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal

import dagster as dg

from intacct_dagster.client import IntacctError
from intacct_dagster.config import Feed
from intacct_dagster.defs.checks.reconciled import STANDS_ONCE
from intacct_dagster.defs.checks.results import (
    CHANGES_MADE,
    POSTING_CHECKS,
    CheckResult,
    changes_made,
    nothing_judged,
    result_by_partition,
)
from intacct_dagster.defs.failures import error_text
from intacct_dagster.defs.partitions import partition_key
from intacct_dagster.defs.posting.entities import for_each
from intacct_dagster.defs.posting.feed_run import FeedRun
from intacct_dagster.defs.posting.plan import PLANNED
from intacct_dagster.defs.posting.send import (
    actions_of,
    approved_plans,
    describe,
    posting_session,
)
from intacct_dagster.defs.tables import SHOWN_ROWS
from intacct_dagster.posting.agreement import FieldDifference
from intacct_dagster.posting.amendments import changed_fields
from intacct_dagster.posting.results import PostingTarget, Sent
from intacct_dagster.state.ledger import (
    Entry,
    ItemState,
    LastAmendment,
    Request,
)
from intacct_dagster.warehouse import Partition
from intacct_dagster.warehouse.reconciliation import (
    FlaggedDocument,
    Outcomes,
    PostingPermission,
    ReadBackProof,
    replace_changes,
    replace_outcomes,
)
from intacct_dagster.warehouse.reconciliation.outcomes import replace_chunks

#: The reconciliation statuses of documents that the ledger has, or that may be planned. 0.1.0 wrote
#: `refused` for `rejected`; its rows stay until their day is reconciled again.
IN_LEDGER = (*PLANNED, "posted", "rejected", "refused")


@dataclass(frozen=True)
class Collected:
    """What became of the documents of a run.

    Attributes:
        outcomes: The documents by partition.
        differences: What was read back otherwise than it was sent, by (entity, source id).
        twice: The posted documents that stand twice in Intacct, by entity; or why Intacct could
            not be asked.
    """

    outcomes: Mapping[Partition, Outcomes]
    differences: Mapping[tuple[str, str], Sequence[FieldDifference]] = field(default_factory=dict)
    twice: Mapping[str, Sequence[FlaggedDocument] | str] = field(default_factory=dict)

    def metadata(self) -> dict[dg.MultiPartitionKey, dict[str, int]]:
        """Return the counts of each partition."""
        return {partition_key(*each): _counts(found) for each, found in self.outcomes.items()}

    @property
    def together(self) -> Outcomes:
        """The documents of all partitions."""
        return sum(self.outcomes.values(), Outcomes())


def checks_of(feed: Feed) -> dict[str, str]:
    """Return the checks of a feed's posting, with their descriptions."""
    checks = {check.name: check.description for check in POSTING_CHECKS}
    checks[STANDS_ONCE.name] = "No document that was posted stands twice in Intacct."
    if feed.on_change == "patch":
        checks[CHANGES_MADE] = "Intacct accepted every change of a posted document in the source."
    return checks


def collect_outcomes(run: FeedRun, posted_to: Collection[str]) -> Collected:
    """Resolve what was left unanswered, read back what was posted, and store all outcomes.

    Args:
        posted_to: The entities that something was sent to.

    Raises:
        IntacctError, StateError, WarehouseError: The next run collects them.
    """
    for entity, asked in for_each(lambda each: _resolve(run, each), posted_to, run.in_flight):
        for sent in asked:
            run.log.warning(f"{entity}: asked what became of a chunk: {describe(sent)}")
    differences: dict[tuple[str, str], list[FieldDifference]] = {}
    with ThreadPoolExecutor(1) as meanwhile:
        reading = meanwhile.submit(
            for_each, lambda each: _read_back(run, each), run.days, run.in_flight
        )

        def proof() -> ReadBackProof:
            differences.update(_differences(run, reading))
            return ReadBackProof(
                run.ledger.unread(run.feed.object, run.days, run.name), differences.keys()
            )

        outcomes = replace_outcomes(
            run.warehouse,
            run.name,
            run.partitions,
            run.ledger.outcomes(run.feed.object, run.days, run.name),
            leave=_not_to_be_sent(run),
            statuses=IN_LEDGER,
            shown=SHOWN_ROWS,
            proof=proof,
        )
    twice = dict(for_each(lambda each: _twice(run, each), run.days, run.in_flight))
    _store_chunks(run)
    if run.feed.on_change == "patch":
        _store_changes(run)
    return Collected(outcomes, differences, twice)


def _twice(run: FeedRun, entity: str) -> list[FlaggedDocument] | str:
    """Return which posted documents stand twice, or why Intacct could not be asked."""
    target = PostingTarget(run.name, run.feed.object, run.feed.match_on, run.feed.party)
    try:
        with posting_session(run, entity, "create") as (engine, _):
            found = engine.standing_twice(target, run.days[entity])
    except IntacctError as error:
        return error_text(error, run.settings)
    return [
        FlaggedDocument(
            entity,
            each.day,
            STANDS_ONCE.status,
            each.source_id,
            f"posted from here is {each.key}; another is {', '.join(each.others)}",
            Decimal(each.amount),
        )
        for each in found
    ]


def _resolve(run: FeedRun, entity: str) -> list[Sent]:
    """Ask for the answers that were lost a moment ago: they can often be had now."""
    asked: list[Sent] = []
    for action in actions_of(run.feed):
        with posting_session(run, entity, action) as (engine, _):
            asked += engine.resolve(run.feed.object, run.feed.match_on)
    return asked


def _read_back(run: FeedRun, entity: str) -> list[FieldDifference] | str:
    """Return what differs from what was sent, or the message why it could not be read back."""
    different: list[FieldDifference] = []
    for action in actions_of(run.feed):
        with posting_session(run, entity, action) as (_, reader):
            try:
                different += reader.read_back().differences
            except IntacctError as error:
                # What was posted stays posted: a check reports that it was not read back.
                return error_text(error, run.settings)
    return different


def _differences(
    run: FeedRun, reading: Future[list[tuple[str, list[FieldDifference] | str]]]
) -> dict[tuple[str, str], list[FieldDifference]]:
    """Wait until everything is read back; return the differences by (entity, source id)."""
    found: dict[tuple[str, str], list[FieldDifference]] = {}
    for entity, differences in reading.result():
        if isinstance(differences, str):
            run.log.warning(f"{entity}: not read back: {differences}")
            continue
        for each in differences:
            found.setdefault((entity, each.source_id), []).append(each)
    return found


def _not_to_be_sent(run: FeedRun) -> PostingPermission:
    """Return which documents were not to be sent, with the reasons."""
    approved = approved_plans(run)
    dry_run = "would be posted: a dry run, posting.enabled is false"
    return PostingPermission(
        "held by a gate, see the checks of the plan",
        None if run.settings.posting.enabled else dry_run,
        None if approved is None else "to be posted when a person has approved the plan",
        approved or (),
    )


def _store_chunks(run: FeedRun) -> None:
    rows = [
        _chunk_row(run.name, entity, run.feed.object, request)
        for entity in run.days
        for request in run.ledger.requests(run.feed.object, entity, feed=run.name)
    ]
    replace_chunks(run.warehouse, run.name, run.days.keys(), rows)


def _store_changes(run: FeedRun) -> None:
    changes = run.ledger.amendments
    rows = []
    for entity in run.days:
        entries = changes.entries(run.feed.object, entity, feed=run.name)
        names = [entry.source_id for entry in entries]
        bodies = changes.payloads(run.feed.object, entity, names)
        rows += [_change_row(run.name, entry, bodies[entry.source_id]) for entry in entries]
    replace_changes(run.warehouse, run.name, run.days.keys(), rows)


def check_postings(
    context: dg.AssetExecutionContext,
    key: dg.AssetKey,
    run: FeedRun,
    collected: Collected,
) -> Iterator[dg.AssetCheckResult]:
    """Yield the results of the checks of a posting, over the partitions of the run."""
    for check in POSTING_CHECKS:
        by_partition = {
            partition_key(*each): check.judge(found, _differences_of(collected, found))
            for each, found in collected.outcomes.items()
        }
        together = check.judge(collected.together, _differences_of(collected, collected.together))
        yield result_by_partition(context, key, check.name, together, by_partition)
    yield _check_twice(context, key, collected)
    if run.feed.on_change == "patch":
        yield _check_changes(context, key, run, collected.outcomes.keys())


def _check_twice(
    context: dg.AssetExecutionContext, key: dg.AssetKey, collected: Collected
) -> dg.AssetCheckResult:
    """Return the result of the check whether anything that was posted stands twice."""
    by_partition: dict[dg.MultiPartitionKey, CheckResult] = {}
    for entity, day in collected.outcomes:
        asked = collected.twice.get(entity, ())
        if isinstance(asked, str):
            found = nothing_judged(f"Intacct could not be asked: {asked}")
        else:
            here = [each for each in asked if each.day == day]
            found = STANDS_ONCE.judge(len(here), here)
        by_partition[partition_key(entity, day)] = found
    everything = [
        each for asked in collected.twice.values() if not isinstance(asked, str) for each in asked
    ]
    unasked = [each for each in collected.twice.values() if isinstance(each, str)]
    together = STANDS_ONCE.judge(len(everything), everything)
    if unasked and together.passed:
        together = nothing_judged(f"Intacct could not be asked: {unasked[0]}")
    return result_by_partition(context, key, STANDS_ONCE.name, together, by_partition)


def _differences_of(collected: Collected, outcomes: Outcomes) -> list[FieldDifference]:
    return [each for document in outcomes.differing for each in collected.differences[document]]


def _check_changes(
    context: dg.AssetExecutionContext,
    key: dg.AssetKey,
    run: FeedRun,
    partitions: Collection[Partition],
) -> dg.AssetCheckResult:
    """Return the result of the check whether Intacct accepted the changes."""
    by_partition: dict[Partition, dict[str, LastAmendment]] = {each: {} for each in partitions}
    together: dict[str, LastAmendment] = {}
    for entity in run.days:
        last = run.ledger.last_amendments(run.feed.object, entity, run.name)
        for source_id, change in last.items():
            if (entity, change.day) in by_partition:
                by_partition[entity, change.day][source_id] = change
                together[f"{entity} {source_id}"] = change
    results = {partition_key(*each): changes_made(made) for each, made in by_partition.items()}
    return result_by_partition(context, key, CHANGES_MADE, changes_made(together), results)


def _chunk_row(feed: str, entity: str, object: str, request: Request) -> tuple[object, ...]:
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


def _change_row(feed: str, entry: Entry, body: bytes) -> tuple[object, ...]:
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
