"""What became of requests whose outcome is not known: settled by looking in Intacct first.

What Intacct holds decides. Only if it holds nothing of a request, twice in a row, do the same bytes
go out again under the same key: then they either tell what happened, or happen now. Dagster is not
needed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any

from intacct_dagster.client import (
    BatchResponse,
    IntacctClient,
    IntacctError,
    OutcomeUnknown,
    RequestRefused,
    document_facts,
)
from intacct_dagster.posting.agreement import FieldDifference, agrees, compare_fields
from intacct_dagster.posting.amendments import key_of_change
from intacct_dagster.posting.clock import why_not_settled
from intacct_dagster.posting.identity import at_path, identity_of
from intacct_dagster.posting.lookup import DocumentLookup
from intacct_dagster.posting.results import PostingTarget, Sent
from intacct_dagster.posting.steps import Step
from intacct_dagster.state.ledger import Chunk, Item, Ledger, Posted

#: Sage replays a stored answer to the same Idempotency-Key for 48 hours. Inside that time the same
#: bytes with the same key either tell what happened, or happen now for the first time.
REPLAY_WITHIN = timedelta(hours=47)

#: What was sent shows in queries after this long at the latest. The settings have another.
SETTLE_AFTER = timedelta(minutes=5)

#: After this long nothing of a request can still be under way: the client itself gave up long
#: before, so what Intacct does not hold by then, it never created.
UNDER_WAY_AT_MOST = timedelta(minutes=30)

#: Posted documents that are looked for by their ids, to see whether that finds them.
_SAMPLE = 5

_CREATED_BY = "audit.createdByUser.id"


class Looking(Enum):
    """What it says that no record is found by the field that keeps a document's id."""

    PROVES = "documents that were posted are found by it"
    UNTRIED = "nothing that was posted could be looked for yet"
    PROVES_NOTHING = "Intacct does not keep the field as it was sent, or does not filter by it"


@dataclass(frozen=True)
class _Seen:
    """What Intacct holds of a chunk: the records that are ours, and why others are not."""

    ours: Mapping[str, tuple[str, str | None]]
    in_doubt: Sequence[str]


class Settlement:
    """Settles the requests of one entity, those of creations or those of amendments.

    Args:
        client: The session of the entity.
        ledger: The ledger of creations or of amendments.
        lookup: Finds documents by their ids.
        settle_after: What was sent shows in queries after this long at the latest.
        now: Gives aware UTC times.
        step: Wraps every step of posting.
        again: Sends the same bytes of a chunk once more, under the same key, and returns the
            answer.
        record: Records an answer to a chunk.
    """

    def __init__(
        self,
        client: IntacctClient,
        ledger: Ledger,
        lookup: DocumentLookup,
        *,
        settle_after: timedelta,
        now: Callable[[], datetime],
        step: Callable[[Step], AbstractContextManager[None]],
        again: Callable[[Chunk], BatchResponse],
        record: Callable[[Chunk, BatchResponse], Sent],
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._lookup = lookup
        self._settle_after = settle_after
        self._now = now
        self._step = step
        self._again = again
        self._record = record
        self._looking: dict[tuple[str, str], Looking] = {}
        self._looking_lock = threading.Lock()

    def settle(
        self, chunk: Chunk, match_on: str, chosen: Mapping[str, str], *, idempotent: bool
    ) -> Sent:
        """Find out what became of a chunk that was never answered, as far as can be proven.

        Args:
            chunk: The chunk, which is uncertain or being sent.
            match_on: The field that keeps the documents' ids.
            chosen: A person's word: source id -> key of the record that is the document's.
            idempotent: Whether Intacct keeps answers under an Idempotency-Key for this object.
        """
        if chunk.last_sent_at is None:
            raise AssertionError("the database holds that a sent chunk says when")
        now = self._now()
        if (wrong := why_not_settled(self._client, chunk, now)) is not None:
            return self.left_uncertain(chunk, wrong)
        shows_at = chunk.last_sent_at + self._settle_after
        if now < shows_at:
            return self.left_uncertain(
                chunk,
                f"sent {chunk.last_sent_at:%Y-%m-%d %H:%M} UTC without an answer. What Intacct "
                f"created may not show before {shows_at:%H:%M} UTC; run this partition again then.",
            )
        try:
            if chunk.amends:
                return self._compare(chunk)
            looking = self._what_looking_proves(chunk.object, match_on)
            if looking is Looking.PROVES_NOTHING:
                return self._replay(chunk, looking, idempotent=idempotent)
            return self._look(chunk, match_on, chosen, looking, idempotent=idempotent)
        except IntacctError as error:
            return self.left_uncertain(chunk, f"Intacct cannot be asked: {error}")

    def after_refusal(self, chunk: Chunk) -> Sent | None:
        """Look whether Intacct holds anything of a chunk although it refused it as a whole.

        The caller has waited until what was created shows. Nothing of an answered request is under
        way, so what is not there was not created.

        Returns:
            None if nothing is there, or looking proves nothing: then Sage's word counts, that a
            refused request creates nothing.
        """
        try:
            if chunk.amends:
                records = self._records(chunk)
                if not any(self._made(item, records) for item in self._ledger.sent(chunk.chunk_id)):
                    return None
                return self._compared(chunk, records)
            if chunk.match_on is None:
                return self.left_uncertain(chunk, "The field that carries its ids is not known.")
            if self._what_looking_proves(chunk.object, chunk.match_on) is Looking.PROVES_NOTHING:
                return None
            seen = self._see(chunk, chunk.match_on, {})
        except IntacctError as error:
            return self.left_uncertain(chunk, f"Intacct cannot be asked: {error}")
        if seen.in_doubt:
            return self._for_a_person(chunk, seen)
        return self._found(chunk, seen) if seen.ours else None

    def left_uncertain(
        self,
        chunk: Chunk,
        note: str,
        *,
        http_status: int | None = None,
        took: timedelta = timedelta(0),
    ) -> Sent:
        """Record that the outcome of a chunk is not known, and why.

        Args:
            chunk: The chunk.
            note: Why.
            http_status: The status of its answer; None if it had none.
            took: How long after it was claimed its request ended.
        """
        with self._step(Step.DOUBT):
            self._ledger.uncertain(chunk.chunk_id, note, http_status=http_status, took=took)
        return Sent(chunk.chunk_id, chunk.size, uncertain=chunk.size, note=note)

    # -- creations ----------------------------------------------------------------------------

    def _look(
        self,
        chunk: Chunk,
        match_on: str,
        chosen: Mapping[str, str],
        looking: Looking,
        *,
        idempotent: bool,
    ) -> Sent:
        seen = self._see(chunk, match_on, chosen)
        if seen.in_doubt:
            return self._for_a_person(chunk, seen)
        if len(seen.ours) == chunk.size:
            return self._found(chunk, seen)
        if not self._looked_twice(chunk):
            return self.left_uncertain(
                chunk,
                f"Intacct holds {len(seen.ours)} of its {chunk.size} documents. They are looked "
                f"for once more after {_minutes(self._settle_after)}; run this partition again "
                "then.",
            )
        # A key that is taken and whose answer is not given again never tells anything.
        silent = chunk.http_status == _CONFLICT and looking is Looking.PROVES
        if seen.ours or silent or not self._may_replay(chunk, idempotent=idempotent):
            return self._never_created(chunk, seen, looking)
        return self._replay(chunk, looking, idempotent=idempotent)

    def _never_created(self, chunk: Chunk, seen: _Seen, looking: Looking) -> Sent:
        """Plan what is not there under another key, if that is proven."""
        if looking is not Looking.PROVES and not seen.ours:
            return self.left_uncertain(
                chunk,
                "Intacct shows none of it, and no other posted document shows whether it would. "
                "A person must look it up, and say so with `intacct-dagster posting`.",
            )
        if self._now() - _last_sent(chunk) < UNDER_WAY_AT_MOST:
            return self.left_uncertain(
                chunk,
                f"Intacct holds {len(seen.ours)} of its {chunk.size} documents; the others may "
                "still be under way. Run this partition again after "
                f"{_minutes(UNDER_WAY_AT_MOST)}.",
            )
        return self._found(chunk, seen)

    def _found(self, chunk: Chunk, seen: _Seen) -> Sent:
        with self._step(Step.RESOLVE):
            self._ledger.resolve_by_read_back(
                chunk.chunk_id,
                seen.ours,
                f"read back: {len(seen.ours)} of {chunk.size} were there",
            )
        missing = chunk.size - len(seen.ours)
        return Sent(
            chunk.chunk_id,
            chunk.size,
            posted=len(seen.ours),
            note=f"read back: {missing} were never created and are planned again"
            if missing
            else "read back: all were there",
        )

    def _for_a_person(self, chunk: Chunk, seen: _Seen) -> Sent:
        return self.left_uncertain(
            chunk, f"{'; '.join(seen.in_doubt[:3])}: a person must decide whose record it is"
        )

    def _may_replay(self, chunk: Chunk, *, idempotent: bool) -> bool:
        first = chunk.first_sent_at
        return idempotent and first is not None and self._now() - first < REPLAY_WITHIN

    def _replay(self, chunk: Chunk, looking: Looking, *, idempotent: bool) -> Sent:
        if not self._may_replay(chunk, idempotent=idempotent):
            return self.left_uncertain(
                chunk,
                f"Its key has expired, and looking for it proves nothing ({looking.value}). A "
                "person must look it up, and say so with `intacct-dagster posting`.",
            )
        with self._step(Step.CLAIM_REPLAY):
            claimed = self._ledger.start_replay(chunk.chunk_id)
        if not claimed:
            return Sent(chunk.chunk_id, chunk.size, note="resolved by another run")
        began = time.monotonic()
        try:
            with self._step(Step.REPLAY):
                answer = self._again(chunk)
        except IntacctError as error:
            status = error.http_status if isinstance(error, OutcomeUnknown) else None
            return self.left_uncertain(
                chunk,
                f"asked again, without an answer: {error}",
                http_status=status,
                took=_since(began),
            )
        return self._record(self._ledger.chunk(chunk.chunk_id), answer)

    def _looked_twice(self, chunk: Chunk) -> bool:
        with self._step(Step.LOOKED):
            return self._ledger.looked(chunk.chunk_id, again_after=self._settle_after)

    def _see(self, chunk: Chunk, match_on: str, chosen: Mapping[str, str]) -> _Seen:
        """Return which records of Intacct are those of a chunk's documents."""
        items = self._ledger.sent(chunk.chunk_id)
        with self._step(Step.READ_BACK):
            found = self._lookup.find(_target(chunk.object, match_on), items)
            keys = [key for records in found.values() for key, _ in records]
            whole = self._client.get(chunk.object, keys) if keys else {}
        ours: dict[str, tuple[str, str | None]] = {}
        in_doubt: list[str] = []
        for item in items:
            records = found.get(item.source_id, [])
            if picked := [each for each in records if each[0] == chosen.get(item.source_id)]:
                ours[item.source_id] = picked[0]
                continue
            others = {key: self._not_ours(chunk, item, whole.get(key)) for key, _ in records}
            mine = [each for each in records if others[each[0]] is None]
            if len(mine) == 1:
                ours[item.source_id] = mine[0]
            elif mine:
                keys_of_mine = " and ".join(key for key, _ in mine)
                in_doubt.append(
                    f"Intacct holds {item.source_id} more than once ({match_on}; keys "
                    f"{keys_of_mine})"
                )
            elif records:
                key, _ = records[0]
                in_doubt.append(
                    f"Intacct holds {item.source_id} under key {key}, which {others[key]}"
                )
        return _Seen(ours, in_doubt)

    def _not_ours(self, chunk: Chunk, item: Item, record: Mapping[str, Any] | None) -> str | None:
        """Return why a record cannot be what this request created; None if it can.

        None carried the document's id when it was planned, so it was created after that.
        """
        user = _text(record, _CREATED_BY)
        if record is None:
            return "could not be read"
        if user and user.lower() != self._client.user.lower():
            return f"was created by {user}, and this session is of {self._client.user}"
        posted = Posted(item.source_id, "", item.payload, chunk.chunk_id)
        differences = compare_fields(posted, record, chunk.entity)
        wrong = next((each for each in differences if isinstance(each, FieldDifference)), None)
        if wrong is not None:
            return f"has {wrong.found} in {wrong.field} where {wrong.sent} was sent"
        return None

    def _what_looking_proves(self, object: str, match_on: str) -> Looking:
        with self._looking_lock:
            known = self._looking.get((object, match_on))
            if known in (None, Looking.UNTRIED):
                with self._step(Step.TRY_LOOKING):
                    known = self._try_looking(object, match_on)
                self._looking[object, match_on] = known
            return known

    def _try_looking(self, object: str, match_on: str) -> Looking:
        """Look for documents whose records are known."""
        entity = self._client.entity_id or ""
        sample = self._ledger.last_posted(object, entity, _SAMPLE)
        payloads = self._ledger.payloads(object, entity, list(sample))
        items = [Item(name, date.min, "0", payloads[name]) for name in sample]
        try:
            found = self._lookup.find(_target(object, match_on), items)
        except RequestRefused:
            return Looking.PROVES_NOTHING
        for source_id, key in sample.items():
            if any(each == key for each, _ in found.get(source_id, ())):
                return Looking.PROVES
        records = self._client.get(object, list(sample.values())) if sample else {}
        for item in items:
            kept = at_path(records.get(sample[item.source_id]), match_on)
            if kept is not None and str(kept) != identity_of(item.payload, match_on, None).number:
                return Looking.PROVES_NOTHING
        return Looking.UNTRIED

    # -- amendments ---------------------------------------------------------------------------

    def _compare(self, chunk: Chunk) -> Sent:
        """Settle changes by what Intacct holds: what is not as it was to be is changed again.

        A change that was made once more is made for the record as it is, so nothing is done twice.
        """
        records = self._records(chunk)
        items = self._ledger.sent(chunk.chunk_id)
        made = sum(self._made(item, records) for item in items)
        if made < chunk.size:
            twice = self._looked_twice(chunk)
            if not twice or self._now() - _last_sent(chunk) < UNDER_WAY_AT_MOST:
                return self.left_uncertain(
                    chunk,
                    f"Intacct shows {made} of its {chunk.size} changes; the others may not show "
                    f"yet. Run this partition again after {_minutes(UNDER_WAY_AT_MOST)}.",
                )
        return self._compared(chunk, records)

    def _records(self, chunk: Chunk) -> Mapping[str, Mapping[str, Any]]:
        keys = [_changed_key(item) for item in self._ledger.sent(chunk.chunk_id)]
        with self._step(Step.COMPARE):
            return self._client.get(chunk.object, keys)

    def _made(self, item: Item, records: Mapping[str, Mapping[str, Any]]) -> bool:
        return item.document is not None and agrees(item.document, records.get(_changed_key(item)))

    def _compared(self, chunk: Chunk, records: Mapping[str, Mapping[str, Any]]) -> Sent:
        made: dict[str, tuple[str, str | None]] = {
            item.source_id: (_changed_key(item), None)
            for item in self._ledger.sent(chunk.chunk_id)
            if self._made(item, records)
        }
        with self._step(Step.RESOLVE):
            self._ledger.resolve_by_read_back(
                chunk.chunk_id, made, f"compared: {len(made)} of {chunk.size} were changed"
            )
        return Sent(
            chunk.chunk_id,
            chunk.size,
            posted=len(made),
            note=f"compared: {chunk.size - len(made)} were not changed and are planned again"
            if len(made) < chunk.size
            else "compared: all were changed",
        )


#: The status of an answer about the key: it was used, and its answer is not given again.
_CONFLICT = 409


def _target(object: str, match_on: str) -> PostingTarget:
    return PostingTarget("", object, match_on, document_facts(object).party)


def _changed_key(item: Item) -> str:
    return str(key_of_change(item.payload))


def _last_sent(chunk: Chunk) -> datetime:
    if chunk.last_sent_at is None:
        raise AssertionError("the database holds that a sent chunk says when")
    return chunk.last_sent_at


def _since(began: float) -> timedelta:
    return timedelta(seconds=time.monotonic() - began)


def _minutes(span: timedelta) -> str:
    return f"{-(-span.total_seconds() // 60):.0f} min"


def _text(record: Any, path: str) -> str | None:
    value = at_path(record, path)
    return value if isinstance(value, str) else None
