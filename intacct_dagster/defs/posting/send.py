"""Send the documents of a plan to Intacct: the first op of posting."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any, Self

import dagster as dg

from intacct_dagster.config import Feed
from intacct_dagster.defs.partitions import partition_key
from intacct_dagster.defs.posting.entities import for_each
from intacct_dagster.defs.posting.feed_run import FeedRun
from intacct_dagster.defs.posting.plan import CHANGED, PLANNED
from intacct_dagster.defs.tables import table_of
from intacct_dagster.naming import Names
from intacct_dagster.posting.engine import PostingEngine
from intacct_dagster.posting.recovery import lost_postings
from intacct_dagster.posting.results import Done, PostingTarget, Sent
from intacct_dagster.posting.verification import PostedReader
from intacct_dagster.state.ledger import Item
from intacct_dagster.warehouse.raw.loads import known_until
from intacct_dagster.warehouse.reconciliation import (
    SHOWN_HASH,
    ToPost,
    held_plans,
    numbers_planned,
    plan_hash,
    plan_hashes,
    planned_documents,
    posted_here,
    to_post,
)

_CHUNKS = {
    "entity": "string",
    "chunk": "string",
    "items": "int",
    "posted": "int",
    "rejected": "int",
    "uncertain": "int",
    "note": "string",
}

_SECONDS_OF_AN_EVENT = 1.0


def actions_of(feed: Feed) -> tuple[str, ...]:
    """Return what a feed may do in Intacct, in the order in which it is done."""
    return ("create", "change") if feed.on_change == "patch" else ("create",)


def approved_plans(run: FeedRun) -> set[tuple[str, date, str]] | None:
    """Return (entity, day, plan) of the approved plans; None where no approval is required."""
    if run.settings.posting.approval != "required":
        return None
    return run.approvals.held(run.name)


def approve_plan(run: FeedRun, approved: str) -> None:
    """Store the approval that a person gave in the launchpad, if it names the current plan.

    Args:
        approved: The hash of the plan, or at least its first SHOWN_HASH digits.

    Raises:
        dagster.Failure: The plan of the run's partitions has another hash.
    """
    planned = planned_documents(run.warehouse, run.name, run.partitions)
    current = plan_hash(planned)
    if len(approved) < SHOWN_HASH or not current.startswith(approved):
        raise dg.Failure(
            f"The plan of these partitions is {current[:SHOWN_HASH] or 'empty'}, and {approved} "
            "was approved: nothing is sent. Look at the plan as it is now "
            f"(plan/{run.name}), and approve that one.",
            allow_retries=False,
        )
    run.approvals.approve(run.name, plan_hashes(planned), by="the launchpad")


@contextmanager
def posting_session(
    run: FeedRun, entity: str, action: str
) -> Iterator[tuple[PostingEngine, PostedReader]]:
    """Open the engine that posts to an entity, and the reader that reads back what was posted."""
    with run.client(entity) as client:
        ledger = run.ledger.amendments if action == "change" else run.ledger
        yield (
            PostingEngine(
                client,
                ledger,
                in_flight=run.in_flight,
                settle_after=timedelta(seconds=run.settings.posting.settle_seconds),
            ),
            PostedReader(client, ledger, run.feed.object, in_flight=run.in_flight),
        )


def check_plans(run: FeedRun) -> None:
    """Check that the plan of each partition in this warehouse is the last one that was made.

    Raises:
        dagster.Failure: A partition was never planned, or its last plan is not in this warehouse:
            it was made on another machine, or the warehouse was replaced since.
    """
    last = run.plans.last(run.name, run.partitions)
    held = held_plans(run.warehouse, run.name, run.partitions)
    # A plan that an older version made is in the warehouse alone.
    never = sorted(each for each in run.partitions if each not in last and each not in held)
    other = sorted(each for each, plan in last.items() if held.get(each, "") != plan)
    if not never and not other:
        return
    entity, day = (never or other)[0]
    why = (
        "were never planned"
        if never
        else "have another plan in this warehouse than the one that was made last (it was made on "
        "another machine, or this warehouse was replaced since)"
    )
    raise dg.Failure(
        f"Nothing is sent of {run.name}: {len(never or other)} of its partitions {why}, the first "
        f"is {partition_key(entity, day)}. Materialize plan/{run.name} for them, here, and post "
        "again.",
        allow_retries=False,
    )


def check_ledger(run: FeedRun) -> None:
    """Check that the ledger knows what this warehouse knows to be posted.

    Raises:
        dagster.Failure: It does not: it was lost or put back from a backup since, and what is
            missing was not compared with Intacct yet.
    """
    lost = lost_postings(
        posted_here(run.warehouse, run.name, run.partitions),
        run.ledger,
        run.resource.lost_postings(run.settings.company).compared(run.feed.object),
        run.name,
        run.feed.object,
    )
    number = sum(map(len, lost.values()))
    if number:
        entity = min(lost)
        raise dg.Failure(
            f"Nothing is sent of {run.name}: the warehouse knows {number:,} documents as posted "
            f"that the posting ledger does not know, the first of {entity}: {min(lost[entity])}. "
            "The state store was lost, or put back from a backup. Run `intacct-dagster state "
            "compare`, which asks Intacct what it holds, and post again.",
            allow_retries=False,
        )


def send_plan(run: FeedRun) -> list[tuple[str, list[Done]]]:
    """Send the planned documents of all entities of a run.

    Returns:
        For each entity what was done, by action in the order of `actions_of`.

    Raises:
        IntacctError, StateError, WarehouseError: Not everything was sent.
    """
    check_plans(run)
    check_ledger(run)
    # Both are read before the documents are prepared, because that holds the warehouse.
    numbers = numbers_planned(run.warehouse, run.name, run.partitions)
    known = {each: known_until(run.warehouse, run.feed.object, each) for each in run.days}
    documents = to_post(
        run.warehouse, run.name, run.partitions, (*PLANNED, CHANGED), approved_plans(run)
    )
    with ExitStack() as kept, ThreadPoolExecutor(1) as meanwhile:
        # Sessions are proven while the documents are prepared.
        ready = meanwhile.submit(kept.enter_context, documents)

        def send(entity: str) -> list[Done]:
            return [
                _send(
                    run,
                    _EntityBatch(entity, action, numbers.get((entity, action), 0), known[entity]),
                    ready.result,
                )
                for action in actions_of(run.feed)
            ]

        done = for_each(send, run.days, run.in_flight)
        if changed := ready.result().changed:
            plan = Names.of(run.settings).plan(run.name).to_user_string()
            run.log.warning(
                f"{changed:,} documents are not in the plan as they are now: materialize {plan} "
                "for these partitions; they are not sent"
            )
        return done


@dataclass(frozen=True)
class _EntityBatch:
    """The documents of an entity that are created, or those that are changed.

    Attributes:
        documents: How many there are.
        known_until: Until when the warehouse knows the changes in Intacct.
    """

    entity: str
    action: str
    documents: int
    known_until: datetime | None


def _send(run: FeedRun, batch: _EntityBatch, prepared: Callable[[], ToPost]) -> Done:
    """Resolve what an earlier run left unanswered, then send the batch and read it back."""
    feed, limits = run.feed, run.settings.limits

    def items() -> Iterator[Item]:
        yield from (Item(*each) for each in prepared().documents(batch.entity, batch.action))

    def on_sent(sent: Sent) -> None:
        lines.add(f"{batch.entity}: {describe(sent)}")
        proof.posted(sent.chunk_id, sent.posted, sent.first_key)

    with (
        _BufferedLog(run.log) as lines,
        posting_session(run, batch.entity, batch.action) as (engine, reader),
        reader.alongside() as proof,
    ):
        for each in engine.resolve(feed.object, feed.match_on):
            run.log.warning(f"{batch.entity}: left unanswered by an earlier run: {describe(each)}")
        return engine.post(
            PostingTarget(run.name, feed.object, feed.match_on, feed.party),
            items(),
            documents=batch.documents,
            run_id=run.run_id,
            chunk_size=limits.chunk_size,
            chunk_bytes=limits.chunk_bytes,
            known_until=batch.known_until,
            on_sent=on_sent,
        )


def log_already_there(log: dg.DagsterLogManager, done: Sequence[tuple[str, list[Done]]]) -> None:
    """Warn about documents that were not sent because Intacct changed since the plan was made."""
    for entity, (created, *changed) in done:
        for source_id, keys in created.already_there.items():
            log.warning(
                f"{entity}: {source_id} came into Intacct since it was read last (key "
                f"{', '.join(keys)}) and is not posted again: extract and reconcile again"
            )
        for each in changed:
            for source_id in each.already_there:
                log.warning(
                    f"{entity}: {source_id} changed in Intacct since it was planned, and is "
                    "not changed: plan it again"
                )


def sent_metadata(sent: Sequence[tuple[str, Sent]]) -> dict[str, Any]:
    """Return the metadata of what was sent, given as (entity, chunk)."""
    rows = (
        {"entity": entity, "chunk": chunk.chunk_id[:12], **asdict(chunk)} for entity, chunk in sent
    )
    return {
        "documents": sum(chunk.items for _, chunk in sent),
        "posted": sum(chunk.posted for _, chunk in sent),
        "rejected": sum(chunk.rejected for _, chunk in sent),
        "uncertain": sum(chunk.uncertain for _, chunk in sent),
        "chunks": table_of(rows, _CHUNKS),
    }


def describe(sent: Sent) -> str:
    """Return one line for the log about a chunk that was sent."""
    text = (
        f"{sent.posted} posted, {sent.rejected} rejected, {sent.uncertain} uncertain "
        f"of {sent.items} documents"
    )
    return f"{text} ({sent.note})" if sent.note else text


class _BufferedLog:
    """Writes lines to a run's log, those of about a second as one event.

    Each event is a write to Dagster's storage. What is left is written when the `with` block ends.
    """

    def __init__(self, log: dg.DagsterLogManager) -> None:
        self._log = log
        self._lines: list[str] = []
        self._written = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()

    def add(self, line: str) -> None:
        """Add a line; it is written within about a second."""
        self._lines.append(line)
        if time.monotonic() - self._written >= _SECONDS_OF_AN_EVENT:
            self._write()

    def _write(self) -> None:
        if self._lines:
            self._log.info("\n".join(self._lines))
        self._lines = []
        self._written = time.monotonic()
