"""Planned documents into Intacct, each exactly once as far as can be proven. Dagster is not needed.

The ledger decides what may be sent; this module sends it, writes down what came back by position,
and finds out what became of a request that was never answered.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from intacct_dagster.client import (
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
from intacct_dagster.posting.agreement import agrees
from intacct_dagster.posting.amendments import key_of_change, stray_key
from intacct_dagster.posting.clock import require_clock, why_not_settled
from intacct_dagster.posting.lookup import DocumentLookup, Found
from intacct_dagster.posting.results import Done, Planned, PostingTarget, Sent
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

#: Sage replays a stored answer to the same Idempotency-Key for 48 hours. Inside that time the same
#: bytes with the same key either tell what happened, or happen now for the first time.
REPLAY_WITHIN = timedelta(hours=47)

#: After this long nothing of a request can still be under way: the client itself gave up long
#: before, so what Intacct does not hold by then, it never created.
READ_BACK_AFTER = timedelta(minutes=30)

#: How often the parts of one chunk may be halved to find the document that fails it. Enough for
#: three single documents among 500; of more, what is not singled out is rejected together.
MOST_SPLITS = 30

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


class _Tries:
    """A number of times that something may be done."""

    def __init__(self, left: int) -> None:
        self._left = left

    def take(self) -> bool:
        self._left -= 1
        return self._left >= 0


class PostingEngine:
    """Plans and sends the documents of one entity.

    At most `in_flight` of its requests are under way at once. `now` gives aware UTC times; `watch`
    is called with every step.
    """

    def __init__(
        self,
        client: IntacctClient,
        ledger: Ledger,
        *,
        in_flight: int = 1,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        watch: Watch = unwatched,
    ) -> None:
        if client.entity_id is None:
            raise ValueError("documents are posted to an entity, not to the top level")
        self._client = client
        self._entity = client.entity_id
        self._ledger = ledger
        self._in_flight = in_flight
        self._slots = threading.BoundedSemaphore(in_flight)
        self._now = now
        self._watch = watch
        self._lookup = DocumentLookup(client, self._slots, in_flight, now)

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
        return self._lookup.since(target.object, target.match_on, documents, known_until)

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
        chunk = self._ledger.chunk(chunk_id)
        with self._step(Step.CLAIM):
            claimed = self._ledger.start_sending(chunk_id)
        if not claimed:
            halves = self._ledger.halves(chunk_id)
            if any(half.state is ChunkState.READY for half in halves):
                return self._send_halves(chunk, halves, splits)
            return self._as_left(chunk)
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
            with self._step(Step.DOUBT):
                self._ledger.uncertain(chunk_id, str(error))
            return Sent(chunk_id, chunk.size, uncertain=chunk.size, note=str(error))
        return self._record(chunk, answer, splits)

    def resolve(
        self, object: str, match_on: str, *, chosen: Mapping[str, str] | None = None
    ) -> list[Sent]:
        """Find out what became of every chunk of `object` that was sent and never answered.

        Within Sage's 48 hours by the same bytes with the same key, afterwards by asking Intacct
        for the source ids (`match_on` is the field that keeps them). What cannot be proven yet
        stays uncertain. `chosen` is a person's word for source ids that Intacct holds more than
        once: the key of the record that is the document's.
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
                return [self._still_uncertain(chunk, note) for chunk in chunks]
            return [
                self._resolve(chunk, match_on, chosen or {}, idempotent=idempotent)
                for chunk in chunks
            ]

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

    def _resolve(
        self, chunk: Chunk, match_on: str, chosen: Mapping[str, str], *, idempotent: bool
    ) -> Sent:
        if chunk.first_sent_at is None or chunk.last_sent_at is None:
            raise AssertionError("the database holds that a sent chunk says when")
        now = self._now()
        if (wrong := why_not_settled(self._client, chunk, now)) is not None:
            return self._still_uncertain(chunk, wrong)
        if idempotent and now - chunk.first_sent_at < REPLAY_WITHIN:
            with self._step(Step.CLAIM_REPLAY):
                claimed = self._ledger.start_replay(chunk.chunk_id)
            if not claimed:
                return Sent(chunk.chunk_id, chunk.size, note="resolved by another run")
            try:
                with self._step(Step.REPLAY):
                    answer = self._create(chunk)
            except IntacctError as error:
                return self._still_uncertain(chunk, f"asked again, without an answer: {error}")
            return self._record(chunk, answer, _Tries(MOST_SPLITS))
        if now - chunk.last_sent_at < READ_BACK_AFTER:
            return self._still_uncertain(
                chunk,
                f"sent {chunk.last_sent_at:%Y-%m-%d %H:%M} UTC without an answer; it may still be "
                f"under way. Run this partition again after {READ_BACK_AFTER.seconds // 60} min.",
            )
        try:
            if chunk.amends:
                return self._compare(chunk)
            return self._read_back(chunk, match_on, chosen)
        except IntacctError as error:
            return self._still_uncertain(chunk, f"Intacct cannot be asked: {error}")

    def _create(self, chunk: Chunk) -> BatchResponse:
        with self._slots:
            return self._client.create_batch(
                chunk.object,
                chunk.body,
                count=chunk.size,
                idempotency_key=chunk.idempotency_key,
                change=chunk.amends,
            )

    def _record(self, chunk: Chunk, answer: BatchResponse, splits: _Tries) -> Sent:
        if chunk.amends and (stray := stray_key(chunk, answer)):
            note = f"the answer is about {stray}, which was not sent at its place"
            if chunk.state is not ChunkState.UNCERTAIN:
                with self._step(Step.DOUBT):
                    self._ledger.uncertain(chunk.chunk_id, note)
            return Sent(chunk.chunk_id, chunk.size, uncertain=chunk.size, note=note)
        # a change of a record that is gone is answered with 404 as well
        if answer.whole and answer.http_status in _NO_SUCH_PLACE and not chunk.amends:
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
        if answer.whole and chunk.size > 1 and splits.take():
            # One bad document can fail all: the halves tell in which of them it is.
            with self._step(Step.SPLIT):
                halves = self._ledger.split(
                    chunk.chunk_id,
                    http_status=answer.http_status,
                    note="rejected in one piece, and halved",
                )
            return self._send_halves(chunk, halves, splits)
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

    def _send_halves(self, chunk: Chunk, halves: Sequence[Chunk], splits: _Tries) -> Sent:
        sent = [self._send(half.chunk_id, splits) for half in halves]
        return Sent(
            chunk.chunk_id,
            chunk.size,
            posted=sum(each.posted for each in sent),
            rejected=sum(each.rejected for each in sent),
            uncertain=sum(each.uncertain for each in sent),
            note="; ".join(dict.fromkeys(each.note for each in sent if each.note)),
        )

    def _read_back(self, chunk: Chunk, match_on: str, chosen: Mapping[str, str]) -> Sent:
        with self._step(Step.READ_BACK):
            found = self._lookup.find(
                chunk.object, match_on, self._ledger.source_ids(chunk.chunk_id)
            )
        for source_id, key in chosen.items():
            if right := [each for each in found.get(source_id, ()) if each[0] == key]:
                found[source_id] = right
        twice = sorted(source_id for source_id, records in found.items() if len(records) > 1)
        if twice:
            return self._still_uncertain(
                chunk,
                f"Intacct holds {', '.join(twice[:3])} more than once ({match_on}): a person must "
                "decide which record is the right one",
            )
        with self._step(Step.RESOLVE):
            self._ledger.resolve_by_read_back(
                chunk.chunk_id,
                {source_id: records[0] for source_id, records in found.items()},
                f"read back: {len(found)} of {chunk.size} were there",
            )
        return Sent(
            chunk.chunk_id,
            chunk.size,
            posted=len(found),
            note=f"read back: {chunk.size - len(found)} were never created and are planned again",
        )

    def _compare(self, chunk: Chunk) -> Sent:
        """Settle changes by what Intacct holds: what is not as it was to be is changed again.

        A change that was made once more is made for the record as it is, so nothing is done twice.
        """
        items = self._ledger.sent(chunk.chunk_id)
        keys = {item.source_id: str(key_of_change(item.payload)) for item in items}
        with self._step(Step.COMPARE):
            records = self._client.get(chunk.object, keys.values())
        made = {
            item.source_id: (keys[item.source_id], None)
            for item in items
            if item.document is not None
            and agrees(item.document, records.get(keys[item.source_id]))
        }
        with self._step(Step.RESOLVE):
            self._ledger.resolve_by_read_back(
                chunk.chunk_id, made, f"compared: {len(made)} of {chunk.size} were changed"
            )
        return Sent(
            chunk.chunk_id,
            chunk.size,
            posted=len(made),
            note=f"compared: {chunk.size - len(made)} were not changed and are planned again",
        )

    @contextmanager
    def _step(self, step: Step) -> Iterator[None]:
        self._watch(step, "before")
        yield
        self._watch(step, "after")

    def _still_uncertain(self, chunk: Chunk, note: str) -> Sent:
        if chunk.state is ChunkState.SENDING:
            with self._step(Step.DOUBT):
                self._ledger.uncertain(chunk.chunk_id, note)
        return Sent(chunk.chunk_id, chunk.size, uncertain=chunk.size, note=note)
