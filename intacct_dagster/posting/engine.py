"""Planned documents into Intacct, each exactly once as far as can be proven. Dagster is not needed.

The ledger decides what may be sent; this module sends it, writes down what came back by position,
and finds out what became of a request that was never answered.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from intacct_dagster.client import (
    LARGEST_PAGE,
    AccessDenied,
    AuthenticationRefused,
    BatchResponse,
    ClockWrong,
    Created,
    IntacctClient,
    IntacctError,
    NotReached,
    OutcomeUnknown,
    RequestRefused,
    Throttled,
    explain,
)
from intacct_dagster.posting.amendments import stray_key
from intacct_dagster.posting.clock import require_clock
from intacct_dagster.posting.lookup import DocumentLookup, Found
from intacct_dagster.posting.results import Done, Planned, PostingTarget, Sent, StandsTwice
from intacct_dagster.posting.settlement import SETTLE_AFTER, Settlement
from intacct_dagster.posting.steps import Step, Watch, unwatched
from intacct_dagster.state.ledger import (
    Accepted,
    Chunk,
    ChunkState,
    Item,
    ItemState,
    Ledger,
    Rejected,
)

#: How often the parts of one chunk may be split to find the document that fails it. Enough for
#: three single documents among 500; of more, what is not singled out is rejected together.
MOST_SPLITS = 9

#: Parts of a chunk that was refused as a whole. More parts are more requests, fewer are more waits.
_PARTS = 8

#: Answers about the address that was asked, not about what was sent to it.
_NO_SUCH_PLACE = (404, 405)

#: Chunks that are planned and not yet answered, for each thread that sends: enough that none is
#: idle while more are planned, so few that a posting of any size takes the same memory.
_MOST_AHEAD = 3

#: Chunks that are written at once: while they are, no answer can be.
_PLANNED_AT_ONCE = 2


def _parts(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    left = iter(items)
    while part := list(itertools.islice(left, size)):
        yield part


@dataclass(frozen=True)
class _Refused:
    """A chunk that Intacct refused as a whole, and the answer."""

    chunk: Chunk
    answer: BatchResponse


class _Tries:
    """A number of times that something may be done."""

    def __init__(self, left: int) -> None:
        self._left = left

    def take(self) -> bool:
        self._left -= 1
        return self._left >= 0


class PostingEngine:
    """Plans and sends the documents of one entity.

    Args:
        client: The session of the entity.
        ledger: The ledger of creations or of amendments.
        in_flight: Requests that are under way at once, at most.
        settle_after: What was sent shows in queries after this long at the latest.
        now: Gives aware UTC times.
        pause: Waits for so long.
        watch: Is called with every step.
        settlement: Settles what was not answered.
    """

    def __init__(
        self,
        client: IntacctClient,
        ledger: Ledger,
        *,
        in_flight: int = 1,
        settle_after: timedelta = SETTLE_AFTER,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        pause: Callable[[timedelta], None] = lambda span: time.sleep(span.total_seconds()),
        watch: Watch = unwatched,
        settlement: type[Settlement] = Settlement,
    ) -> None:
        if client.entity_id is None:
            raise ValueError("documents are posted to an entity, not to the top level")
        self._client = client
        self._entity = client.entity_id
        self._ledger = ledger
        self._in_flight = in_flight
        self._slots = threading.BoundedSemaphore(in_flight)
        self._settle_after = settle_after
        self._now = now
        self._pause = pause
        self._watch = watch
        self._lookup = DocumentLookup(client, self._slots, in_flight, now)
        self._settlement = settlement(
            client,
            ledger,
            self._lookup,
            settle_after=settle_after,
            now=now,
            step=self._step,
            again=self._create,
            record=self._replayed,
        )

    def plan(
        self,
        target: PostingTarget,
        items: Sequence[Item],
        *,
        run_id: str,
        chunk_size: int,
        chunk_bytes: int = 4_000_000,
        known_until: datetime | None = None,
    ) -> Planned:
        """Write down what is to be posted, after a last look whether Intacct has it by now.

        Reconciliation judged by a copy that is hours old: of what changed until `known_until`
        (None: nobody says). What somebody entered since is left out of the plan: the next
        extraction will see it, and reconciliation compare it. Raises IntacctError, WrongEntity for
        a session that is not in its entity; nothing is planned then.
        """
        with self._step(Step.SCOPE):
            self._client.prove_scope(target.object)
        with self._ledger.lock(target.object, self._entity):
            with self._step(Step.LOOK):
                there = self._look(target, len(items), known_until)(items)
            with self._step(Step.PLAN):
                chunks = self._ledger.plan(
                    target.object,
                    self._entity,
                    target.feed,
                    [item for item in items if item.source_id not in there],
                    run_id=run_id,
                    match_on=target.match_on,
                    chunk_size=chunk_size,
                    chunk_bytes=chunk_bytes,
                )
        return Planned(
            chunks, {source_id: [key for key, _ in each] for source_id, each in there.items()}
        )

    def send(
        self,
        *chunk_ids: str,
        on_sent: Callable[[Sent], None] = lambda sent: None,
    ) -> list[Sent]:
        """Send ready chunks of one object, and record the outcome of each item.

        `on_sent` is called with each when it is recorded, in no certain order; what is returned is
        in the order of the chunks. A chunk that another run sent meanwhile is reported as that run
        left it.

        Raises WrongEntity before anything is sent in a session that is not in its entity. Raises
        NotReached, Throttled, AuthenticationRefused or AccessDenied if a request certainly did
        nothing: its chunk is ready as before, and so are those that were not begun; those that
        were under way are recorded first. `send` may be called again. Raises RequestRefused if
        there is nothing at the object's address: the documents are to be planned again. An answer
        that does not come, or does not add up, leaves a chunk uncertain; nothing is raised for it.
        """
        if not chunk_ids:
            return []
        target = self._ledger.chunk(chunk_ids[0]).object
        with self._step(Step.SCOPE):
            self._client.prove_scope(target)
        with self._ledger.lock(target, self._entity):
            require_clock(self._client, self._ledger, target, self._now())
            return self._send_all(chunk_ids, on_sent)

    def post(
        self,
        target: PostingTarget,
        items: Iterable[Item],
        *,
        documents: int,
        run_id: str,
        chunk_size: int,
        chunk_bytes: int = 4_000_000,
        known_until: datetime | None = None,
        on_sent: Callable[[Sent], None] = lambda sent: None,
    ) -> Done:
        """Plan and send at once: what is on disk goes out while more of it is planned.

        `items` come by (day, source id), each once, and are about as many as `documents` says; only
        some of them are in memory at a time, and the first is asked for when the session is proven.
        Otherwise as `plan` and `send`, and in one turn.
        """
        there: dict[str, Sequence[str]] = {}

        def prove() -> None:
            with self._step(Step.SCOPE):
                self._client.prove_scope(target.object)

        def planned() -> Iterator[str]:
            with ThreadPoolExecutor(1) as meanwhile:
                proven = meanwhile.submit(prove)
                look = self._look(target, documents, known_until)
            proven.result()
            for part in _parts(items, chunk_size * _PLANNED_AT_ONCE):
                with self._step(Step.LOOK):
                    found = look(part)
                there.update({name: [key for key, _ in each] for name, each in found.items()})
                with self._step(Step.PLAN):
                    chunks = self._ledger.plan(
                        target.object,
                        self._entity,
                        target.feed,
                        [item for item in part if item.source_id not in found],
                        run_id=run_id,
                        match_on=target.match_on,
                        chunk_size=chunk_size,
                        chunk_bytes=chunk_bytes,
                    )
                yield from (chunk.chunk_id for chunk in chunks)

        with self._ledger.lock(target.object, self._entity):
            require_clock(self._client, self._ledger, target.object, self._now())
            return Done(tuple(self._send_all(planned(), on_sent)), there)

    def _look(
        self, target: PostingTarget, documents: int, known_until: datetime | None
    ) -> Callable[[Sequence[Item]], Found]:
        if self._ledger.holds_amendments:
            return lambda items: self._lookup.moved(target.object, items)
        return self._lookup.since(target, documents, known_until)

    def _send_all(self, chunk_ids: Iterable[str], on_sent: Callable[[Sent], None]) -> list[Sent]:
        stop = threading.Event()

        def one(chunk_id: str) -> Sent | None:
            if stop.is_set():
                return None
            try:
                return self._send(chunk_id, _Tries(MOST_SPLITS))
            except BaseException:
                stop.set()
                raise

        begun: list[Future[Sent | None]] = []
        under_way: set[Future[Sent | None]] = set()

        def hear(most: int) -> None:
            nonlocal under_way
            while len(under_way) > most:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for each in done:
                    if each.exception() is None and (sent := each.result()) is not None:
                        on_sent(sent)

        # More threads than requests: they write in the ledger while the others wait for Intacct.
        size = 2 * self._in_flight if self._in_flight > 1 else 1
        with ThreadPoolExecutor(size) as threads:
            try:
                for chunk_id in chunk_ids:
                    if stop.is_set():
                        break
                    begun.append(threads.submit(one, chunk_id))
                    under_way.add(begun[-1])
                    hear(_MOST_AHEAD * size)
            except BaseException:
                stop.set()
                raise
            hear(0)
        return [sent for each in begun if (sent := each.result()) is not None]

    def _send(self, chunk_id: str, splits: _Tries) -> Sent:
        outcome = self._attempt(chunk_id)
        if isinstance(outcome, Sent):
            return outcome
        if isinstance(outcome, _Refused):
            return self._search([outcome], [], splits)
        return self._search([], outcome, splits)

    def _attempt(self, chunk_id: str) -> Sent | _Refused | list[Chunk]:
        """Send a ready chunk.

        Returns:
            What became of it, or that it was refused as a whole, or the parts into which it was
            split earlier and which are still to be sent.
        """
        chunk = self._ledger.chunk(chunk_id)
        with self._step(Step.CLAIM):
            claimed = self._ledger.start_sending(chunk_id)
        if not claimed:
            parts = self._ledger.parts(chunk_id)
            if any(part.state is ChunkState.READY for part in parts):
                return parts
            return self._as_left(chunk)
        began = time.monotonic()
        try:
            # Again, now that the ledger has the time of sending: it may have been set meanwhile.
            self._client.check_clock(chunk.object)
            with self._step(Step.SEND):
                answer = self._create(chunk)
        except (NotReached, Throttled, AuthenticationRefused, AccessDenied, ClockWrong) as error:
            with self._step(Step.GIVE_BACK):
                self._ledger.never_arrived(chunk_id, str(error))
            raise
        except OutcomeUnknown as error:
            return self._settlement.left_uncertain(
                chunk,
                str(error),
                http_status=error.http_status,
                # by no wall clock: that may have been set meanwhile
                took=timedelta(seconds=time.monotonic() - began),
            )
        return self._read(chunk, answer)

    def resolve(
        self, object: str, match_on: str, *, chosen: Mapping[str, str] | None = None
    ) -> list[Sent]:
        """Find out what became of every chunk of `object` that was sent and never answered.

        By asking Intacct for the source ids, after the time that it may take until they show; of
        what is not there, by the same bytes with the same key. What cannot be proven yet stays
        uncertain. `match_on` is the field that keeps the ids, of chunks that do not say so.
        `chosen` is a person's word for source ids of which it is uncertain whose record Intacct
        holds: the key of the document's own.
        """
        with self._ledger.lock(object, self._entity):
            chunks = self._ledger.unresolved(object, self._entity)
            if not chunks:
                return []
            try:
                with self._step(Step.ASK_MODEL):
                    idempotent = self._client.model(object).idempotence_supported
            except IntacctError as error:
                note = f"Intacct cannot be asked: {error}"
                return [self._settlement.left_uncertain(chunk, note) for chunk in chunks]
            return [
                self._settlement.settle(
                    chunk, chunk.match_on or match_on, chosen or {}, idempotent=idempotent
                )
                for chunk in chunks
            ]

    def standing_twice(self, target: PostingTarget, days: Collection[date]) -> list[StandsTwice]:
        """Return the posted documents of these days of which Intacct holds several records.

        From whatever cause, and whichever run posted them: another installation may have posted
        them at the same moment. Costs one request, unless others created records since. Raises
        IntacctError.
        """
        posted = {
            each.source_id: each
            for each in self._ledger.entries(
                target.object, self._entity, days=days, feed=target.feed
            )
            if each.intacct_key is not None
        }
        keys = [str(each.intacct_key) for each in posted.values()]
        if not keys:
            return []
        if len({len(key) for key in keys}) == 1:  # else nobody knows how Intacct compares them
            since = self._client.count(target.object, ({"$gte": {"key": min(keys)}},))
            if since <= len(keys):
                return []
        twice: list[StandsTwice] = []
        names = sorted(posted)
        for start in range(0, len(names), LARGEST_PAGE):
            part = names[start : start + LARGEST_PAGE]
            payloads = self._ledger.payloads(target.object, self._entity, part)
            items = [
                Item(name, posted[name].day, posted[name].amount, payloads[name]) for name in part
            ]
            for name, records in self._lookup.find(target, items).items():
                if len(records) > 1:
                    each = posted[name]
                    others = tuple(key for key, _ in records if key != each.intacct_key)
                    twice.append(
                        StandsTwice(name, each.day, each.amount, str(each.intacct_key), others)
                    )
        return twice

    def _as_left(self, chunk: Chunk) -> Sent:
        """Return a chunk that may not be sent from here: what the ledger knows of it."""
        if self._ledger.chunk(chunk.chunk_id).state is ChunkState.SUPERSEDED:
            return Sent(chunk.chunk_id, chunk.size, note="not sent: it was planned again")
        outcomes = self._ledger.outcome_counts(chunk.chunk_id)
        return Sent(
            chunk.chunk_id,
            chunk.size,
            posted=outcomes.get(ItemState.POSTED, 0),
            rejected=outcomes.get(ItemState.REJECTED, 0),
            uncertain=outcomes.get(ItemState.UNCERTAIN, 0) + outcomes.get(ItemState.SENDING, 0),
            note="sent before, by another run or an earlier try of this one",
        )

    def _create(self, chunk: Chunk) -> BatchResponse:
        with self._slots:
            return self._client.create_batch(
                chunk.object,
                chunk.body,
                count=chunk.size,
                idempotency_key=chunk.idempotency_key,
                change=chunk.amends,
            )

    def _replayed(self, chunk: Chunk, answer: BatchResponse) -> Sent:
        outcome = self._read(chunk, answer)
        if isinstance(outcome, _Refused):
            return self._search([outcome], [], _Tries(MOST_SPLITS))
        return outcome

    def _read(self, chunk: Chunk, answer: BatchResponse) -> Sent | _Refused:
        """Record what an answer says, unless it refuses the request as a whole."""
        if chunk.amends and (stray := stray_key(chunk, answer)):
            return self._settlement.left_uncertain(
                chunk, f"the answer is about {stray}, which was not sent at its place"
            )
        if not answer.whole:
            return self._record(chunk, answer)
        self._settlement.left_uncertain(
            chunk,
            f"refused as a whole (HTTP {answer.http_status}); Intacct is asked whether it holds "
            "any of it",
            http_status=answer.http_status,
        )
        return _Refused(chunk, answer)

    def _search(self, refused: Sequence[_Refused], parts: Sequence[Chunk], splits: _Tries) -> Sent:
        """Find the documents that fail a request as a whole, by smaller and smaller parts.

        An answer that refuses a request is no proof that nothing of it was created. So what was
        refused is looked for in Intacct, once and after the time that records take to show, before
        it is split or its documents count as rejected. Parts of one request wait together.

        Args:
            refused: What was refused.
            parts: Parts of it that are still to be sent.
            splits: How often a part may still be split.
        """
        first = (refused[0].chunk if refused else self._ledger.chunk(parts[0].chunk_id)).chunk_id
        ended: list[Sent] = []
        stopped: IntacctError | None = None
        while refused or parts:
            if refused:
                self._pause(self._settle_after)
            to_send = list(parts)
            for each in refused:
                outcome = self._after_refusal(each, splits)
                if isinstance(outcome, Sent):
                    ended.append(outcome)
                else:
                    to_send += outcome
            refused, parts = [], []
            for part in to_send if stopped is None else ():
                try:
                    attempted = self._attempt(part.chunk_id)
                except IntacctError as error:
                    stopped = error
                    break
                if isinstance(attempted, Sent):
                    ended.append(attempted)
                elif isinstance(attempted, _Refused):
                    refused = [*refused, attempted]
                else:
                    parts = [*parts, *attempted]
            if stopped is not None:
                parts = []
        if stopped is not None:
            raise stopped
        return _together(first, ended)

    def _after_refusal(self, refused: _Refused, splits: _Tries) -> Sent | list[Chunk]:
        chunk, answer = refused.chunk, refused.answer
        found = self._settlement.after_refusal(chunk)
        if found is not None:
            return found
        # a change of a record that is gone is answered with 404 as well
        if answer.http_status in _NO_SUCH_PLACE and not chunk.amends:
            with self._step(Step.PUT_BACK):
                self._ledger.nothing_created(
                    chunk.chunk_id, http_status=answer.http_status, note="no such place"
                )
            raise RequestRefused(
                f"Intacct does not create {chunk.object} here (HTTP {answer.http_status}); "
                f"{chunk.size} documents of {self._entity} are still to be posted.",
                entity=self._entity,
                object=chunk.object,
                remedy="Check the feed's `object` and the base URL in intacct.yaml.",
            )
        if chunk.size > 1 and splits.take():
            with self._step(Step.SPLIT):
                return self._ledger.split(
                    chunk.chunk_id,
                    into=_PARTS,
                    http_status=answer.http_status,
                    note="rejected as a whole, and split",
                )
        return self._record(chunk, answer)

    def _record(self, chunk: Chunk, answer: BatchResponse) -> Sent:
        recorded: list[Accepted | Rejected] = []
        for outcome in answer.outcomes:
            if isinstance(outcome, Created):
                recorded.append(Accepted(outcome.position, outcome.key, outcome.id))
            else:
                reason = explain(outcome)
                recorded.append(
                    Rejected(
                        outcome.position,
                        reason=reason.reason,
                        what_to_do=reason.what_to_do,
                        error_id=outcome.error_id,
                        field=outcome.field,
                        support_id=outcome.support_id,
                    )
                )
        with self._step(Step.RECORD):
            self._ledger.record(chunk.chunk_id, recorded, http_status=answer.http_status)
        keys = [each.key for each in recorded if isinstance(each, Accepted)]
        return Sent(
            chunk.chunk_id,
            chunk.size,
            posted=len(keys),
            rejected=len(recorded) - len(keys),
            first_key=min(keys, default=None),
        )

    @contextmanager
    def _step(self, step: Step) -> Iterator[None]:
        self._watch(step, "before")
        yield
        self._watch(step, "after")


def _together(chunk_id: str, parts: Sequence[Sent]) -> Sent:
    return Sent(
        chunk_id,
        sum(each.items for each in parts),
        posted=sum(each.posted for each in parts),
        rejected=sum(each.rejected for each in parts),
        uncertain=sum(each.uncertain for each in parts),
        note="; ".join(dict.fromkeys(each.note for each in parts if each.note)),
    )
