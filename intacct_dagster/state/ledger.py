"""The posting ledger: what was meant to be posted, the exact bytes that were sent, and each fate.

One row per (company, object, entity, source id), and the only ways between its states:

    planned   -> sending
    sending   -> posted | rejected | uncertain
    uncertain -> posted | rejected | planned     only by proof
    rejected  -> planned                         only when the payload changed

A chunk's bytes and its Idempotency-Key are on disk before the first byte is sent, so a process that
dies leaves enough behind for the next one to find out what became of them. Nothing here talks to
Intacct: the ledger says what may be sent, and is told what came back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy as sa

from intacct_dagster.state.bulk_values import given_at, given_rows, told
from intacct_dagster.state.errors import StateError
from intacct_dagster.state.locks import state_locks
from intacct_dagster.state.store import METADATA, reading, writing

_FETCHED = 5_000  # rows in memory at a time

#: How long one run waits for another that posts to the same object of the same entity.
PATIENCE_SECONDS = 3600.0


class ItemState(StrEnum):
    """The state of one source document in the ledger."""

    PLANNED = "planned"
    SENDING = "sending"
    POSTED = "posted"
    REJECTED = "rejected"
    UNCERTAIN = "uncertain"


class ChunkState(StrEnum):
    """The state of one request: its items move with it."""

    READY = "ready"  # on disk, never sent, may be sent
    SUPERSEDED = "superseded"  # never sent, and its items were planned anew
    SENDING = "sending"
    UNCERTAIN = "uncertain"
    ANSWERED = "answered"  # every item's fate is known


_WAYS = {
    ItemState.PLANNED: {ItemState.SENDING},
    ItemState.SENDING: {ItemState.POSTED, ItemState.REJECTED, ItemState.UNCERTAIN},
    ItemState.UNCERTAIN: {ItemState.POSTED, ItemState.REJECTED, ItemState.PLANNED},
    ItemState.REJECTED: {ItemState.PLANNED},
    ItemState.POSTED: set[ItemState](),
}


class LedgerError(StateError):
    """The ledger was asked for a transition that it does not allow. Nothing was changed."""


def _one_of(column: str, states: type[StrEnum]) -> sa.CheckConstraint:
    allowed = ", ".join(f"'{state.value}'" for state in states)
    return sa.CheckConstraint(f"{column} IN ({allowed})", name=f"{column}_is_known")


_chunks = sa.Table(
    "posting_chunks",
    METADATA,
    sa.Column("chunk_id", sa.Text, primary_key=True),
    sa.Column("company", sa.Text, nullable=False),
    sa.Column("object", sa.Text, nullable=False),
    sa.Column("entity", sa.Text, nullable=False),
    sa.Column("feed", sa.Text, nullable=False),
    sa.Column("idempotency_key", sa.Text, nullable=False, unique=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("body_sha256", sa.Text, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("planned_at", sa.Text, nullable=False),
    sa.Column("first_sent_at", sa.Text),
    sa.Column("last_sent_at", sa.Text),
    sa.Column("answered_at", sa.Text),
    sa.Column("http_status", sa.Integer),
    sa.Column("note", sa.Text),
    # how it is sent: null is POST, which creates; PATCH changes what was created
    sa.Column("method", sa.Text),
    # the chunk of which this one is a half, where Intacct refused that one in one piece
    sa.Column("split_from", sa.Text, sa.ForeignKey("posting_chunks.chunk_id")),
    _one_of("state", ChunkState),
    sa.CheckConstraint(
        "state NOT IN ('sending', 'uncertain', 'answered') OR first_sent_at IS NOT NULL",
        name="what_was_sent_says_when",
    ),
)


def _items_of(name: str, unique: str, *more: sa.Column[Any]) -> sa.Table:
    """A table of documents to send: one row for each, with what became of it."""
    return sa.Table(
        name,
        METADATA,
        sa.Column("company", sa.Text, primary_key=True),
        sa.Column("object", sa.Text, primary_key=True),
        sa.Column("entity", sa.Text, primary_key=True),
        sa.Column("source_id", sa.Text, primary_key=True),
        sa.Column("feed", sa.Text, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("amount", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("payload_sha256", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("chunk_id", sa.Text, sa.ForeignKey("posting_chunks.chunk_id")),
        sa.Column("position", sa.Integer),
        sa.Column("intacct_key", sa.Text),
        sa.Column("intacct_id", sa.Text),
        sa.Column("error_id", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("what_to_do", sa.Text),
        sa.Column("field", sa.Text),
        sa.Column("support_id", sa.Text),
        # when Intacct was found to hold what it was sent
        sa.Column("read_back_at", sa.Text),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("updated_at", sa.Text, nullable=False),
        *more,
        _one_of("state", ItemState),
        sa.CheckConstraint(
            "(state = 'posted') = (intacct_key IS NOT NULL)", name="posted_has_a_key"
        ),
        sa.CheckConstraint(
            "state <> 'rejected' OR reason IS NOT NULL", name="refused_has_a_reason"
        ),
        sa.CheckConstraint(
            "state = 'planned' OR (chunk_id IS NOT NULL AND position IS NOT NULL)",
            name="what_was_sent_has_a_place",
        ),
        # One Intacct record answers for one source document.
        sa.UniqueConstraint("company", "object", "intacct_key", name=unique),
        sa.Index(f"{name}_by_chunk", "chunk_id", "position"),
    )


_items = _items_of("posting_items", "a_key_is_posted_once")

# A row is the last change of a document that was posted: `payload` is the change as it is sent, and
# `document` all of the document as Intacct holds it afterwards; `applied` is the last that it took.
_changes = _items_of(
    "posting_changes",
    "a_key_is_changed_by_one",
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("document_sha256", sa.Text, nullable=False),
    sa.Column("applied", sa.LargeBinary),
    sa.Column("applied_sha256", sa.Text),
    sa.Column("applied_amount", sa.Text),
)


def _guard_states(table: sa.Table, ways: Mapping[ItemState, set[ItemState]]) -> None:
    """Has the database itself refuse every change of state that `ways` does not name."""
    known = " OR ".join(
        [
            "NEW.state = OLD.state",
            *(
                f"(OLD.state = '{before.value}' AND NEW.state = '{after.value}')"
                for before, afters in ways.items()
                for after in sorted(afters)
            ),
        ]
    )
    name = table.name
    statements = {
        "sqlite": (
            f"""
            CREATE TRIGGER {name}_ways BEFORE UPDATE OF state ON {name}
            WHEN NOT ({known})
            BEGIN SELECT RAISE(ABORT, 'the ledger knows no such way'); END
            """,
            f"""
            CREATE TRIGGER {name}_stay BEFORE DELETE ON {name}
            BEGIN SELECT RAISE(ABORT, 'the ledger forgets nothing'); END
            """,
        ),
        "postgresql": (
            f"""
            CREATE OR REPLACE FUNCTION {name}_ways() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
              IF TG_OP = 'DELETE' THEN
                RAISE EXCEPTION 'the ledger forgets nothing' USING ERRCODE = 'check_violation';
              END IF;
              IF NOT ({known}) THEN
                RAISE EXCEPTION 'the ledger knows no such way' USING ERRCODE = 'check_violation';
              END IF;
              RETURN NEW;
            END $$
            """,
            f"""
            CREATE TRIGGER {name}_ways BEFORE UPDATE OR DELETE ON {name}
            FOR EACH ROW EXECUTE FUNCTION {name}_ways()
            """,
        ),
    }
    for dialect, ddls in statements.items():
        for statement in ddls:
            ddl = sa.DDL(statement.replace("%", "%%"))  # type: ignore[no-untyped-call]
            sa.event.listen(table, "after_create", ddl.execute_if(dialect=dialect))


#: A document may change more than once; it is never created again.
_WAYS_OF_CHANGES = _WAYS | {ItemState.POSTED: {ItemState.PLANNED}}
_guard_states(_items, _WAYS)
_guard_states(_changes, _WAYS_OF_CHANGES)


@dataclass(frozen=True)
class Item:
    """A document to post: `payload` is the exact JSON object that will stand in the request.

    Of a change of a document that was posted, it is what changes in the record `key`; `document` is
    all of the document as Intacct is to hold it then, and `as_of` the change time of the record for
    which the change was made.
    """

    source_id: str
    day: date
    amount: str
    payload: bytes
    key: str | None = None
    document: bytes | None = None
    as_of: str | None = None

    @property
    def sha256(self) -> str:
        """The payload's fingerprint: a change of it is what makes a refused item plannable."""
        return _sha256(self.payload)


@dataclass(frozen=True)
class Chunk:
    """One request: at most 500 items in a fixed order, its bytes and its key."""

    chunk_id: str
    object: str
    entity: str
    feed: str
    idempotency_key: str
    body: bytes
    size: int
    state: ChunkState
    first_sent_at: datetime | None
    last_sent_at: datetime | None
    changes: bool = False


@dataclass(frozen=True)
class Request:
    """What is known of the request that a chunk is, without what was in it."""

    chunk_id: str
    idempotency_key: str
    state: ChunkState
    size: int
    bytes: int
    run_id: str
    planned_at: datetime
    first_sent_at: datetime | None
    last_sent_at: datetime | None
    answered_at: datetime | None
    http_status: int | None
    note: str | None


@dataclass(frozen=True)
class Entry:
    """An item's row, without its payload."""

    entity: str
    source_id: str
    day: date
    amount: str
    payload_sha256: str
    state: ItemState
    chunk_id: str | None
    position: int | None
    intacct_key: str | None
    error_id: str | None
    reason: str | None
    what_to_do: str | None
    field: str | None
    support_id: str | None
    run_id: str
    updated_at: datetime
    read_back_at: datetime | None


# Of what there are hundreds of thousands in a long posting, Python need not look for garbage in it:
# `gc=False` is for objects that hold only texts, numbers and bytes.


class Posted(msgspec.Struct, frozen=True, gc=False):
    """A posted item with the exact JSON object that was sent."""

    source_id: str
    intacct_key: str
    payload: bytes
    chunk_id: str


@dataclass(frozen=True)
class LastChange:
    """The last change of a document that was posted: its state, and the document as it is to be.

    `applied_sha256` is of the document as it was changed last, None if no change was ever taken.
    """

    day: date
    state: ItemState
    document_sha256: str
    applied_sha256: str | None
    reason: str | None
    what_to_do: str | None
    updated_at: datetime


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """Intacct created the item at this position of the chunk."""

    position: int
    key: str
    id: str | None = None


@dataclass(frozen=True)
class Rejected:
    """Intacct refused the item at this position of the chunk, for this reason."""

    position: int
    reason: str
    what_to_do: str
    error_id: str | None = None
    field: str | None = None
    support_id: str | None = None


class Ledger:
    """The ledger of one company. Every method is one transaction.

    `now` gives aware UTC times; a test passes its own. `of_changes` is the ledger of what changed
    in documents that were posted: the same in everything, but that its chunks are sent by PATCH and
    that what is posted may be planned again.
    """

    def __init__(
        self,
        engine: sa.Engine,
        company: str,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine = engine
        self._company = company
        self._now = now
        self._items = _items
        self._ways: Mapping[ItemState, set[ItemState]] = _WAYS

    @property
    def is_of_changes(self) -> bool:
        """Whether this is the ledger of changes."""
        return self._items is _changes

    @property
    def of_changes(self) -> Ledger:
        """The ledger of changes of documents that are posted in this one."""
        changes = Ledger(self._engine, self._company, now=self._now)
        changes._items, changes._ways = _changes, _WAYS_OF_CHANGES
        return changes

    @contextmanager
    def turn(self, object: str, entity: str) -> Iterator[None]:
        """The sole right to post to `object` of `entity`; another run is waited for.

        What the ledger calls `sending` was left behind by a process that died, for whoever has the
        lock. Raises LockTimeout after PATIENCE_SECONDS.
        """
        name = f"posting to {object} of {entity} ({self._company})"
        with state_locks(self._engine).exclusive(name, wait_seconds=PATIENCE_SECONDS):
            yield

    # -- what is known ------------------------------------------------------------------------

    def entries(
        self,
        object: str,
        entity: str,
        *,
        days: Iterable[date] | None = None,
        feed: str | None = None,
    ) -> list[Entry]:
        """The items of an object and entity, by (day, source id); of some days or one feed."""
        query = sa.select(*(c for c in self._items.c if c.name != "payload")).where(
            self._items.c.company == self._company,
            self._items.c.object == object,
            self._items.c.entity == entity,
        )
        if days is not None:
            query = query.where(self._items.c.day.in_(sorted(day.isoformat() for day in days)))
        if feed is not None:
            query = query.where(self._items.c.feed == feed)
        with reading(self._engine) as connection:
            rows = connection.execute(
                query.order_by(self._items.c.day, self._items.c.source_id)
            ).all()
        return [
            Entry(
                entity=row.entity,
                source_id=row.source_id,
                day=date.fromisoformat(row.day),
                amount=row.amount,
                payload_sha256=row.payload_sha256,
                state=ItemState(row.state),
                chunk_id=row.chunk_id,
                position=row.position,
                intacct_key=row.intacct_key,
                error_id=row.error_id,
                reason=row.reason,
                what_to_do=row.what_to_do,
                field=row.field,
                support_id=row.support_id,
                run_id=row.run_id,
                updated_at=datetime.fromisoformat(row.updated_at),
                read_back_at=_time(row.read_back_at),
            )
            for row in rows
        ]

    def outcomes(self, object: str, entities: Iterable[str], feed: str) -> Iterator[bytes]:
        """Items of a feed, thousands at a time, each as a line: a JSON array of its entity, ...

        ... source id, day, amount, state, Intacct's key, reason, what to do, field, error id,
        support id, chunk, position, run id, and when that was recorded. All but position are texts.
        """
        items = self._items.c
        columns = (
            *(items.entity, items.source_id, items.day),
            sa.func.coalesce(_changes.c.applied_amount, items.amount),
            *(items.state, items.intacct_key, items.reason, items.what_to_do, items.field),
            *(items.error_id, items.support_id, items.chunk_id, items.position, items.run_id),
            items.updated_at,
        )
        query = self._of_feed(sa.select(told(*columns)), object, entities, feed)
        with reading(self._engine) as connection:
            for rows in connection.scalars(query).partitions(_FETCHED):
                yield "\n".join(rows).encode()

    def unread(self, object: str, entities: Iterable[str], feed: str) -> list[tuple[str, str]]:
        """(entity, source id) of posted items of a feed that Intacct was not seen to hold as sent.

        Of an item that was changed since, as it was changed last.
        """
        items = self._items.c
        read = sa.case(
            (_changes.c.state == ItemState.POSTED, _changes.c.read_back_at.is_not(None)),
            else_=items.read_back_at.is_not(None) | _changes.c.applied.is_not(None),
        )
        query = self._of_feed(sa.select(items.entity, items.source_id), object, entities, feed)
        with reading(self._engine) as connection:
            found = connection.execute(query.where(items.state == ItemState.POSTED, ~read))
            return [(row.entity, row.source_id) for row in found]

    def _of_feed(
        self, query: sa.Select[Any], object: str, entities: Iterable[str], feed: str
    ) -> sa.Select[Any]:
        """The items of a feed, each with its last change."""
        return query.join(_changes, self._changed(), isouter=True).where(
            self._items.c.company == self._company,
            self._items.c.object == object,
            self._items.c.entity.in_(sorted(set(entities))),
            self._items.c.feed == feed,
        )

    def chunk(self, chunk_id: str) -> Chunk:
        """A chunk by its id. Raises LedgerError where there is none."""
        with reading(self._engine) as connection:
            return self._chunk(connection, chunk_id)

    def halves(self, chunk_id: str) -> list[Chunk]:
        """The chunks that came of splitting this one, in order; none if it was not split."""
        query = (
            sa.select(_chunks.c.chunk_id)
            .join(self._items, self._items.c.chunk_id == _chunks.c.chunk_id, isouter=True)
            .where(_chunks.c.split_from == chunk_id)
            .group_by(_chunks.c.chunk_id)
            .order_by(sa.func.min(self._items.c.day), sa.func.min(self._items.c.source_id))
        )
        with reading(self._engine) as connection:
            return [self._chunk(connection, each) for each in connection.scalars(query).all()]

    def unsettled(self, object: str, entity: str) -> list[Chunk]:
        """Chunks that were sent and whose fate is not known, oldest first."""
        query = (
            sa.select(_chunks.c.chunk_id)
            .where(
                _chunks.c.company == self._company,
                _chunks.c.object == object,
                _chunks.c.entity == entity,
                _chunks.c.state.in_([ChunkState.SENDING, ChunkState.UNCERTAIN]),
                _chunks.c.method.is_not_distinct_from(self._method),
            )
            .order_by(_chunks.c.first_sent_at, _chunks.c.chunk_id)
        )
        with reading(self._engine) as connection:
            return [
                self._chunk(connection, chunk_id) for chunk_id in connection.scalars(query).all()
            ]

    def fates(self, chunk_id: str) -> dict[ItemState, int]:
        """How many items of a chunk are in each state."""
        query = (
            sa.select(self._items.c.state, sa.func.count())
            .where(self._items.c.chunk_id == chunk_id)
            .group_by(self._items.c.state)
        )
        with reading(self._engine) as connection:
            return {ItemState(state): count for state, count in connection.execute(query)}

    def requests(
        self, object: str, entity: str, *, feed: str | None = None, chunk_id: str | None = None
    ) -> list[Request]:
        """The requests of an object and entity, in the order of planning; of one feed or chunk."""
        query = sa.select(
            *(c for c in _chunks.c if c.name != "body"),
            sa.func.length(_chunks.c.body).label("bytes"),
        ).where(
            _chunks.c.company == self._company,
            _chunks.c.object == object,
            _chunks.c.entity == entity,
        )
        if feed is not None:
            query = query.where(_chunks.c.feed == feed)
        if chunk_id is not None:
            query = query.where(_chunks.c.chunk_id == chunk_id)
        with reading(self._engine) as connection:
            rows = connection.execute(
                query.order_by(_chunks.c.planned_at, _chunks.c.chunk_id)
            ).all()
        return [
            Request(
                chunk_id=row.chunk_id,
                idempotency_key=row.idempotency_key,
                state=ChunkState(row.state),
                size=row.size,
                bytes=row.bytes,
                run_id=row.run_id,
                planned_at=datetime.fromisoformat(row.planned_at),
                first_sent_at=_time(row.first_sent_at),
                last_sent_at=_time(row.last_sent_at),
                answered_at=_time(row.answered_at),
                http_status=row.http_status,
                note=row.note,
            )
            for row in rows
        ]

    def payloads(self, object: str, entity: str, source_ids: Sequence[str]) -> dict[str, bytes]:
        """The exact JSON objects that items were, or will be, sent as, by source id."""
        found: dict[str, bytes] = {}
        with reading(self._engine) as connection:
            for start in range(0, len(source_ids), 500):
                query = sa.select(self._items.c.source_id, self._items.c.payload).where(
                    *self._of(object, entity),
                    self._items.c.source_id.in_(source_ids[start : start + 500]),
                )
                found |= {row.source_id: row.payload for row in connection.execute(query)}
        return found

    def source_ids(self, chunk_id: str) -> list[str]:
        """The source ids of a chunk, in the order in which they were sent."""
        query = (
            sa.select(self._items.c.source_id)
            .where(self._items.c.chunk_id == chunk_id)
            .order_by(self._items.c.position)
        )
        with reading(self._engine) as connection:
            return list(connection.scalars(query))

    def not_read_back(self, object: str, entity: str) -> list[tuple[str, int]]:
        """Chunks with posted items that were not yet compared with what Intacct holds; how many.

        In the order of Intacct's keys, as far as chunks have one.
        """
        first = sa.func.min(self._items.c.intacct_key)
        query = (
            sa.select(self._items.c.chunk_id, sa.func.count())
            .where(
                *self._of(object, entity),
                self._items.c.state == ItemState.POSTED,
                self._items.c.read_back_at.is_(None),
                *self._unchanged(),
            )
            .group_by(self._items.c.chunk_id)
            .order_by(sa.func.length(first), first)
        )
        with reading(self._engine) as connection:
            return [(chunk_id, count) for chunk_id, count in connection.execute(query)]

    def posted(self, chunk_ids: Sequence[str]) -> list[Posted]:
        """The posted items of these chunks that were not yet compared with what Intacct holds."""
        query = (
            sa.select(
                self._items.c.source_id,
                self._items.c.intacct_key,
                self._held,
                self._items.c.chunk_id,
            )
            .where(
                self._items.c.chunk_id.in_(chunk_ids),
                self._items.c.state == ItemState.POSTED,
                self._items.c.read_back_at.is_(None),
                *self._unchanged(),
            )
            .order_by(self._items.c.chunk_id, self._items.c.position)
        )
        with reading(self._engine) as connection:
            return [Posted(*row) for row in connection.execute(query)]

    def sent_for(self, object: str, feed: str) -> list[tuple[str, str, ItemState]]:
        """(entity, source id, state) of every item of a feed that may be in Intacct, wherever."""
        arrived = (ItemState.POSTED, ItemState.SENDING, ItemState.UNCERTAIN)
        query = sa.select(self._items.c.entity, self._items.c.source_id, self._items.c.state).where(
            self._items.c.company == self._company,
            self._items.c.object == object,
            self._items.c.feed == feed,
            self._items.c.state.in_(arrived),
        )
        with reading(self._engine) as connection:
            return [
                (row.entity, row.source_id, ItemState(row.state))
                for row in connection.execute(query)
            ]

    def posted_payloads(
        self, object: str, entity: str, source_ids: Sequence[str]
    ) -> dict[str, bytes]:
        """The exact JSON objects that were posted, by source id; those of `source_ids` that are.

        Of a document that was changed since, all of it as it was changed last.
        """
        found: dict[str, bytes] = {}
        payload = sa.func.coalesce(_changes.c.applied, self._items.c.payload)
        with reading(self._engine) as connection:
            for start in range(0, len(source_ids), 500):
                query = (
                    sa.select(self._items.c.source_id, payload.label("payload"))
                    .join(_changes, self._changed(), isouter=True)
                    .where(
                        *self._of(object, entity),
                        self._items.c.state == ItemState.POSTED,
                        self._items.c.source_id.in_(source_ids[start : start + 500]),
                    )
                )
                found |= {row.source_id: row.payload for row in connection.execute(query)}
        return found

    def posted_keys(self, object: str, entity: str, feed: str) -> dict[str, str]:
        """Intacct's keys of the posted items of a feed, by source id."""
        query = sa.select(self._items.c.source_id, self._items.c.intacct_key).where(
            *self._of(object, entity),
            self._items.c.feed == feed,
            self._items.c.state == ItemState.POSTED,
        )
        with reading(self._engine) as connection:
            return {row.source_id: row.intacct_key for row in connection.execute(query)}

    def last_changes(self, object: str, entity: str, feed: str) -> dict[str, LastChange]:
        """The last change of each document of a feed that was ever to be changed, by source id."""
        query = sa.select(
            _changes.c.source_id,
            _changes.c.day,
            _changes.c.state,
            _changes.c.document_sha256,
            _changes.c.applied_sha256,
            _changes.c.reason,
            _changes.c.what_to_do,
            _changes.c.updated_at,
        ).where(
            _changes.c.company == self._company,
            _changes.c.object == object,
            _changes.c.entity == entity,
            _changes.c.feed == feed,
        )
        with reading(self._engine) as connection:
            return {
                row.source_id: LastChange(
                    date.fromisoformat(row.day),
                    ItemState(row.state),
                    row.document_sha256,
                    row.applied_sha256,
                    row.reason,
                    row.what_to_do,
                    datetime.fromisoformat(row.updated_at),
                )
                for row in connection.execute(query)
            }

    def sent(self, chunk_id: str) -> list[Item]:
        """The items of a chunk, in the order in which they were sent."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                sa.select(
                    self._items.c.source_id,
                    self._items.c.day,
                    self._items.c.amount,
                    self._items.c.payload,
                    *((_changes.c.document,) if self.is_of_changes else ()),
                )
                .where(self._items.c.chunk_id == chunk_id)
                .order_by(self._items.c.position)
            ).all()
        return [
            Item(
                row.source_id,
                date.fromisoformat(row.day),
                row.amount,
                row.payload,
                document=row.document if self.is_of_changes else None,
            )
            for row in rows
        ]

    def agreed(self, posted: Iterable[Posted]) -> None:
        """Notes that Intacct holds these items as they were sent."""
        by_chunk: dict[str, list[str]] = {}
        for each in posted:
            by_chunk.setdefault(each.chunk_id, []).append(each.source_id)
        if not by_chunk:
            return
        with writing(self._engine) as connection:
            for chunk_id, source_ids in by_chunk.items():
                # of this very chunk: what was sent anew since is another payload
                connection.execute(
                    sa.update(self._items)
                    .where(
                        self._items.c.chunk_id == chunk_id,
                        self._items.c.state == ItemState.POSTED,
                        self._items.c.source_id.in_(source_ids),
                    )
                    .values(read_back_at=self._stamp())
                )

    # -- planning -----------------------------------------------------------------------------

    def plan(
        self,
        object: str,
        entity: str,
        feed: str,
        items: Sequence[Item],
        *,
        run_id: str,
        chunk_size: int = 500,
        chunk_bytes: int = 4_000_000,
    ) -> list[Chunk]:
        """Writes down what is to be posted, and returns the chunks to send, in a stable order.

        A chunk has at most `chunk_size` items, and a body of at most `chunk_bytes` unless it is
        of one item only.

        An item that is posted, being sent, uncertain, or refused with the same payload is left as
        it is. Items that were planned before and never sent are planned anew; the chunk they were
        in is superseded, so whoever still holds its id can no longer send it.

        Raises LedgerError if a source id comes twice.
        """
        ordered = sorted(items, key=lambda item: (item.day, item.source_id))
        if len({item.source_id for item in ordered}) != len(ordered):
            raise LedgerError(f"{feed}: a source id of {entity} comes twice in one plan.")
        with writing(self._engine) as connection:
            known = self._known(connection, object, entity, ordered)
            attempts = {
                item.source_id: attempt
                for item in ordered
                if (attempt := self._next_attempt(known.get(item.source_id), item)) is not None
            }
            self._supersede(
                connection,
                {
                    row.chunk_id
                    for source_id, row in known.items()
                    if source_id in attempts and row.chunk_id and row.state == ItemState.PLANNED
                },
            )
            chunk_ids = []
            plannable = [item for item in ordered if item.source_id in attempts]
            for part in _cut(plannable, chunk_size, chunk_bytes):
                chunk_id = self._write_chunk(
                    connection, object, entity, feed, part, attempts, run_id
                )
                placed = [(item, position) for position, item in enumerate(part)]
                if fresh := [each for each in placed if each[0].source_id not in known]:
                    self._plan_first(
                        connection, object, entity, feed, chunk_id, fresh, run_id=run_id
                    )
                if again := [each for each in placed if each[0].source_id in known]:
                    self._plan_again(
                        connection, object, entity, feed, chunk_id, again, attempts, run_id=run_id
                    )
                chunk_ids.append(chunk_id)
            return [self._chunk(connection, chunk_id) for chunk_id in chunk_ids]

    def _known(
        self, connection: sa.Connection, object: str, entity: str, items: Sequence[Item]
    ) -> dict[str, Any]:
        """What the ledger holds of these items, by source id."""
        query = sa.select(
            self._items.c.source_id,
            self._items.c.state,
            self._items.c.payload_sha256,
            self._items.c.attempt,
            self._items.c.chunk_id,
        ).where(*self._of(object, entity))
        return {
            row.source_id: row
            for part in _slices(items, 500)
            for row in connection.execute(
                query.where(self._items.c.source_id.in_([item.source_id for item in part]))
            )
        }

    def _plan_first(
        self,
        connection: sa.Connection,
        object: str,
        entity: str,
        feed: str,
        chunk_id: str,
        placed: Sequence[tuple[Item, int]],
        *,
        run_id: str,
    ) -> None:
        """Writes items that the ledger does not know, at their positions of a chunk."""
        source_id, day, amount, payload, sha256, position, document, document_sha256 = given_rows(
            connection,
            [
                (
                    i.source_id,
                    i.day.isoformat(),
                    i.amount,
                    i.payload.decode(),
                    i.sha256,
                    position,
                    None if i.document is None else i.document.decode(),
                    None if i.document is None else _sha256(i.document),
                )
                for i, position in placed
            ],
            (
                *(sa.Text, sa.Text, sa.Text, sa.LargeBinary, sa.Text, sa.Integer),
                *(sa.LargeBinary, sa.Text),
            ),
        )
        values: dict[str, Any] = {
            "company": sa.literal(self._company),
            "object": sa.literal(object),
            "entity": sa.literal(entity),
            "source_id": source_id,
            "feed": sa.literal(feed),
            "day": day,
            "amount": amount,
            "payload": payload,
            "payload_sha256": sha256,
            "state": sa.literal(ItemState.PLANNED.value),
            "attempt": sa.literal(1),
            "chunk_id": sa.literal(chunk_id),
            "position": position,
            "run_id": sa.literal(run_id),
            "updated_at": sa.literal(self._stamp()),
        }
        if self.is_of_changes:
            values |= {"document": document, "document_sha256": document_sha256}
        connection.execute(
            sa.insert(self._items).from_select(list(values), sa.select(*values.values()))
        )

    def _plan_again(
        self,
        connection: sa.Connection,
        object: str,
        entity: str,
        feed: str,
        chunk_id: str,
        placed: Sequence[tuple[Item, int]],
        attempts: Mapping[str, int],
        *,
        run_id: str,
    ) -> None:
        """Plans items anew that the ledger knows, at their positions of another chunk."""
        for before in (ItemState.PLANNED, ItemState.REJECTED):
            self._check_way(before, ItemState.PLANNED)
        changing = ["day", "amount", "payload", "payload_sha256", "attempt", "position"]
        if self.is_of_changes:
            changing += ["document", "document_sha256"]
        connection.execute(
            sa.update(self._items)
            .where(
                *self._of(object, entity), self._items.c.source_id == sa.bindparam("b_source_id")
            )
            .values(
                {
                    **_NOT_SENT_YET,
                    "intacct_key": None,
                    "intacct_id": None,
                    "read_back_at": None,
                    **{name: sa.bindparam(f"b_{name}") for name in changing},
                    "feed": feed,
                    "state": ItemState.PLANNED,
                    "chunk_id": chunk_id,
                    "run_id": run_id,
                    "updated_at": self._stamp(),
                }
            ),
            [
                {
                    "b_source_id": item.source_id,
                    "b_day": item.day.isoformat(),
                    "b_amount": item.amount,
                    "b_payload": item.payload,
                    "b_payload_sha256": item.sha256,
                    "b_attempt": attempts[item.source_id],
                    "b_position": position,
                    **(
                        {
                            "b_document": item.document,
                            "b_document_sha256": _sha256(item.document),
                        }
                        if self.is_of_changes and item.document is not None
                        else {}
                    ),
                }
                for item, position in placed
            ],
        )

    def _supersede(self, connection: sa.Connection, chunk_ids: Iterable[str]) -> None:
        """Takes back chunks that were never sent; items they held alone stay planned."""
        for chunk_id in sorted(chunk_ids):
            moved = connection.execute(
                sa.update(_chunks)
                .where(_chunks.c.chunk_id == chunk_id, _chunks.c.state == ChunkState.READY)
                .values(state=ChunkState.SUPERSEDED)
            )
            if moved.rowcount:
                connection.execute(
                    sa.update(self._items)
                    .where(
                        self._items.c.chunk_id == chunk_id, self._items.c.state == ItemState.PLANNED
                    )
                    .values(chunk_id=None, position=None)
                )

    def _write_chunk(
        self,
        connection: sa.Connection,
        object: str,
        entity: str,
        feed: str,
        items: Sequence[Item],
        attempts: Mapping[str, int],
        run_id: str,
        split_from: str | None = None,
    ) -> str:
        body = b"[" + b",".join(item.payload for item in items) + b"]"
        body_sha256 = hashlib.sha256(body).hexdigest()
        key = _idempotency_key(
            self._company,
            entity,
            object,
            [(item.source_id, attempts[item.source_id]) for item in items],
            body_sha256,
        )
        values = {
            "company": self._company,
            "object": object,
            "entity": entity,
            "feed": feed,
            "idempotency_key": key,
            "body": body,
            "body_sha256": body_sha256,
            "size": len(items),
            "state": ChunkState.READY,
            "run_id": run_id,
            "planned_at": self._stamp(),
            "method": self._method,
            "split_from": split_from,
        }
        # The same items with the same payloads make the same key: a chunk that was superseded
        # unsent comes back to life instead of standing twice in the ledger.
        revived = connection.execute(
            sa.update(_chunks)
            .where(_chunks.c.chunk_id == key, _chunks.c.state == ChunkState.SUPERSEDED)
            .values(values)
        )
        if revived.rowcount == 0:
            connection.execute(sa.insert(_chunks).values(chunk_id=key, **values))
        return key

    def release(self, object: str, entity: str, source_ids: Iterable[str]) -> list[str]:
        """A person's word that refused items may be sent once more as they are.

        For what was mended in Intacct: a period opened, a customer created. The items are planned,
        for another attempt; the next run of their partitions posts them. Returns the source ids
        that were refused, in order; others are left as they are.
        """
        wanted = sorted(set(source_ids))
        self._check_way(ItemState.REJECTED, ItemState.PLANNED)
        with writing(self._engine) as connection:
            query = sa.select(self._items.c.source_id).where(
                *self._of(object, entity), self._items.c.state == ItemState.REJECTED
            )
            refused = [
                source_id
                for start in range(0, len(wanted), 500)
                for source_id in connection.scalars(
                    query.where(self._items.c.source_id.in_(wanted[start : start + 500]))
                )
            ]
            if refused:
                connection.execute(
                    sa.update(self._items)
                    .where(
                        *self._of(object, entity), self._items.c.source_id == sa.bindparam("b_id")
                    )
                    .values(
                        state=ItemState.PLANNED,
                        attempt=self._items.c.attempt + 1,
                        updated_at=self._stamp(),
                        **_NOT_SENT_YET,
                    ),
                    [{"b_id": source_id} for source_id in refused],
                )
            return sorted(refused)

    # -- sending ------------------------------------------------------------------------------

    def start_sending(self, chunk_id: str) -> bool:
        """Claims a ready chunk: True exactly once, and on disk when this returns.

        False says that it may not be sent from here: superseded, or someone else sent it.
        """
        stamp = self._stamp()
        with writing(self._engine) as connection:
            claimed = connection.execute(
                sa.update(_chunks)
                .where(_chunks.c.chunk_id == chunk_id, _chunks.c.state == ChunkState.READY)
                .values(state=ChunkState.SENDING, first_sent_at=stamp, last_sent_at=stamp)
            )
            if claimed.rowcount == 0:
                return False
            self._move_all(connection, chunk_id, ItemState.PLANNED, ItemState.SENDING)
            return True

    def start_replay(self, chunk_id: str) -> bool:
        """Notes that the same bytes go out again with the same key, to learn what became of them.

        The chunk is uncertain from here on, so that a replay that does not get through can never
        be mistaken for a request that never arrived. False if its fate is known by now.
        """
        self.uncertain(chunk_id, "whoever sent it left no answer")
        with writing(self._engine) as connection:
            noted = connection.execute(
                sa.update(_chunks)
                .where(_chunks.c.chunk_id == chunk_id, _chunks.c.state == ChunkState.UNCERTAIN)
                .values(last_sent_at=self._stamp())
            )
            return noted.rowcount == 1

    def record(
        self, chunk_id: str, fates: Sequence[Accepted | Rejected], *, http_status: int
    ) -> bool:
        """Writes down the fate of every item of a chunk, by position.

        False if another process recorded it before. Raises LedgerError, and changes nothing, if
        the fates are not exactly one for each position.
        """
        with writing(self._engine) as connection:
            chunk = self._chunk(connection, chunk_id)
            if chunk.state is ChunkState.ANSWERED:
                return False
            if chunk.state not in (ChunkState.SENDING, ChunkState.UNCERTAIN):
                raise LedgerError(f"Chunk {chunk_id} was never sent and cannot have an answer.")
            if sorted(fate.position for fate in fates) != list(range(chunk.size)):
                raise LedgerError(
                    f"{chunk.entity} {chunk.object}: {len(fates)} fates for a chunk of "
                    f"{chunk.size} items; its outcome stays uncertain."
                )
            self._finish(connection, chunk, fates, http_status=http_status, note=None)
            return True

    def uncertain(self, chunk_id: str, note: str) -> None:
        """The chunk was sent and nobody knows what became of it; `note` says why."""
        with writing(self._engine) as connection:
            moved = connection.execute(
                sa.update(_chunks)
                .where(_chunks.c.chunk_id == chunk_id, _chunks.c.state == ChunkState.SENDING)
                .values(state=ChunkState.UNCERTAIN, note=note)
            )
            if moved.rowcount:
                self._move_all(connection, chunk_id, ItemState.SENDING, ItemState.UNCERTAIN)

    def never_arrived(self, chunk_id: str, note: str) -> None:
        """The request certainly did not reach Intacct: the chunk may be sent as it is.

        The caller answers for the proof (no connection was made, or Intacct refused the request
        before it looked at it). Only the first sending of a chunk can be taken back this way.
        """
        with writing(self._engine) as connection:
            moved = connection.execute(
                sa.update(_chunks)
                .where(_chunks.c.chunk_id == chunk_id, _chunks.c.state == ChunkState.SENDING)
                .values(state=ChunkState.READY, first_sent_at=None, last_sent_at=None, note=note)
            )
            if moved.rowcount:
                self._move_all(connection, chunk_id, ItemState.SENDING, ItemState.UNCERTAIN)
                self._move_all(connection, chunk_id, ItemState.UNCERTAIN, ItemState.PLANNED)

    def split(self, chunk_id: str, *, http_status: int, note: str) -> list[Chunk]:
        """Halves a chunk that Intacct refused in one piece: one bad item can fail a whole request.

        The answer is the proof that nothing of it was created. The halves are ready, under keys
        of their own; their items are on another attempt. Raises LedgerError for a single item.
        """
        with writing(self._engine) as connection:
            chunk = self._chunk(connection, chunk_id)
            if chunk.size < 2:
                raise LedgerError(f"Chunk {chunk_id} is one item and cannot be split.")
            if chunk.state is ChunkState.ANSWERED:
                return []
            self._nothing_created(connection, chunk, http_status=http_status, note=note)
            rows = connection.execute(
                sa.select(
                    self._items.c.source_id,
                    self._items.c.day,
                    self._items.c.amount,
                    self._items.c.payload,
                    self._items.c.attempt,
                    self._items.c.run_id,
                )
                .where(
                    *self._of(chunk.object, chunk.entity),
                    self._items.c.chunk_id == chunk_id,
                )
                .order_by(self._items.c.position)
            ).all()
            items = [
                Item(row.source_id, date.fromisoformat(row.day), row.amount, row.payload)
                for row in rows
            ]
            attempts = {row.source_id: row.attempt for row in rows}
            middle = len(items) // 2
            halves = []
            for part in (items[:middle], items[middle:]):
                half = self._write_chunk(
                    connection,
                    chunk.object,
                    chunk.entity,
                    chunk.feed,
                    part,
                    attempts,
                    rows[0].run_id,
                    split_from=chunk_id,
                )
                connection.execute(
                    sa.update(self._items)
                    .where(
                        *self._of(chunk.object, chunk.entity),
                        self._items.c.source_id == sa.bindparam("b_source_id"),
                    )
                    .values(chunk_id=half, position=sa.bindparam("b_position")),
                    [
                        {"b_source_id": item.source_id, "b_position": position}
                        for position, item in enumerate(part)
                    ],
                )
                halves.append(half)
            return [self._chunk(connection, each) for each in halves]

    def nothing_created(self, chunk_id: str, *, http_status: int, note: str) -> None:
        """An answer about the request, not about its items: they are planned for another one.

        The caller answers for the proof that nothing of the chunk was created.
        """
        with writing(self._engine) as connection:
            chunk = self._chunk(connection, chunk_id)
            if chunk.state is not ChunkState.ANSWERED:
                self._nothing_created(connection, chunk, http_status=http_status, note=note)
                connection.execute(
                    sa.update(self._items)
                    .where(
                        self._items.c.chunk_id == chunk_id, self._items.c.state == ItemState.PLANNED
                    )
                    .values(**_NOT_SENT_YET)
                )

    def settle_by_read_back(
        self, chunk_id: str, found: Mapping[str, tuple[str, str | None]], note: str
    ) -> None:
        """Settles an unknown chunk by what Intacct holds: source id -> (key, id).

        What was found is posted; what was not is planned anew under another attempt, hence
        another key. The caller answers for the proof that nothing is still under way.
        """
        with writing(self._engine) as connection:
            chunk = self._chunk(connection, chunk_id)
            if chunk.state is ChunkState.SENDING:
                self._move_all(connection, chunk_id, ItemState.SENDING, ItemState.UNCERTAIN)
                chunk = replace(chunk, state=ChunkState.UNCERTAIN)
            elif chunk.state is not ChunkState.UNCERTAIN:
                return
            rows = connection.execute(
                sa.select(self._items.c.source_id, self._items.c.position)
                .where(self._items.c.chunk_id == chunk_id)
                .order_by(self._items.c.position)
            ).all()
            self._finish(
                connection,
                chunk,
                [
                    Accepted(row.position, *found[row.source_id])
                    for row in rows
                    if row.source_id in found
                ],
                http_status=None,
                note=note,
            )
            self._check_way(ItemState.UNCERTAIN, ItemState.PLANNED)
            connection.execute(
                sa.update(self._items)
                .where(
                    self._items.c.chunk_id == chunk_id, self._items.c.state == ItemState.UNCERTAIN
                )
                .values(
                    state=ItemState.PLANNED,
                    attempt=self._items.c.attempt + 1,
                    updated_at=self._stamp(),
                    **_NOT_SENT_YET,
                )
            )

    # -- the one place where states change ----------------------------------------------------

    def _nothing_created(
        self, connection: sa.Connection, chunk: Chunk, *, http_status: int, note: str
    ) -> None:
        """The chunk is answered, and its items planned for another attempt, so another key.

        They keep their place in it until they are given another.
        """
        if chunk.state is ChunkState.SENDING:
            self._move_all(connection, chunk.chunk_id, ItemState.SENDING, ItemState.UNCERTAIN)
        self._move_all(connection, chunk.chunk_id, ItemState.UNCERTAIN, ItemState.PLANNED)
        connection.execute(
            sa.update(self._items)
            .where(self._items.c.chunk_id == chunk.chunk_id)
            .values(attempt=self._items.c.attempt + 1)
        )
        connection.execute(
            sa.update(_chunks)
            .where(_chunks.c.chunk_id == chunk.chunk_id)
            .values(
                state=ChunkState.ANSWERED,
                answered_at=self._stamp(),
                http_status=http_status,
                note=note,
            )
        )

    def _finish(
        self,
        connection: sa.Connection,
        chunk: Chunk,
        fates: Sequence[Accepted | Rejected],
        *,
        http_status: int | None,
        note: str | None,
    ) -> None:
        stamp = self._stamp()
        # Until it is answered, a chunk's items share its state.
        before = ItemState(chunk.state)
        self._check_way(before, ItemState.POSTED)
        self._check_way(before, ItemState.REJECTED)
        accepted = {fate.position: fate for fate in fates if isinstance(fate, Accepted)}
        rejected = [fate for fate in fates if isinstance(fate, Rejected)]
        here = (self._items.c.chunk_id == chunk.chunk_id, self._items.c.state == before)
        if accepted:
            # in one statement, for all positions at once
            keys = {position: fate.key for position, fate in accepted.items()}
            ids = {position: fate.id for position, fate in accepted.items()}
            places = range(chunk.size)
            key = given_at(self._items.c.position, [keys.get(place) for place in places])
            connection.execute(
                sa.update(self._items)
                .where(*here, key.is_not(None))
                .values(
                    state=ItemState.POSTED,
                    intacct_key=key,
                    intacct_id=given_at(
                        self._items.c.position, [ids.get(place) for place in places]
                    ),
                    updated_at=stamp,
                    **(
                        {
                            "applied": _changes.c.document,
                            "applied_sha256": _changes.c.document_sha256,
                            "applied_amount": _changes.c.amount,
                        }
                        if self.is_of_changes
                        else {}
                    ),
                )
            )
        if rejected:
            connection.execute(
                sa.update(self._items)
                .where(*here, self._items.c.position == sa.bindparam("b_position"))
                .values(
                    state=ItemState.REJECTED,
                    error_id=sa.bindparam("b_error_id"),
                    reason=sa.bindparam("b_reason"),
                    what_to_do=sa.bindparam("b_what_to_do"),
                    field=sa.bindparam("b_field"),
                    support_id=sa.bindparam("b_support_id"),
                    updated_at=stamp,
                ),
                [
                    {
                        "b_position": fate.position,
                        "b_error_id": fate.error_id,
                        "b_reason": fate.reason,
                        "b_what_to_do": fate.what_to_do,
                        "b_field": fate.field,
                        "b_support_id": fate.support_id,
                    }
                    for fate in rejected
                ],
            )
        unanswered = connection.scalar(
            sa.select(sa.func.count())
            .select_from(self._items)
            .where(self._items.c.chunk_id == chunk.chunk_id, self._items.c.state == before)
        )
        if unanswered != chunk.size - len(fates):
            raise LedgerError(
                f"{chunk.entity} {chunk.object}: the answers do not fit the items of chunk "
                f"{chunk.chunk_id}; nothing was recorded."
            )
        connection.execute(
            sa.update(_chunks)
            .where(_chunks.c.chunk_id == chunk.chunk_id)
            .values(
                state=ChunkState.ANSWERED, answered_at=stamp, http_status=http_status, note=note
            )
        )

    def _move_all(
        self, connection: sa.Connection, chunk_id: str, before: ItemState, after: ItemState
    ) -> None:
        self._check_way(before, after)
        expected = connection.scalar(
            sa.select(_chunks.c.size).where(_chunks.c.chunk_id == chunk_id)
        )
        moved = connection.execute(
            sa.update(self._items)
            .where(self._items.c.chunk_id == chunk_id, self._items.c.state == before)
            .values(state=after, updated_at=self._stamp())
        ).rowcount
        if moved != expected:
            raise LedgerError(
                f"{moved} of {expected} items of chunk {chunk_id} were {before.value}; "
                "nothing was changed."
            )

    # -- creations and changes ----------------------------------------------------------------

    @property
    def _method(self) -> str | None:
        return "PATCH" if self.is_of_changes else None

    @property
    def _held(self) -> sa.ColumnElement[Any]:
        """What Intacct holds of an item that is posted."""
        return _changes.c.applied if self.is_of_changes else self._items.c.payload

    def _changed(self) -> sa.ColumnElement[bool]:
        """The change of an item, to be joined with it."""
        key = ("company", "object", "entity", "source_id")
        return sa.and_(*(_changes.c[name] == _items.c[name] for name in key))

    def _unchanged(self) -> tuple[sa.ColumnElement[bool], ...]:
        """Of what was created, only what was not changed since: the change is compared instead."""
        if self.is_of_changes:
            return ()
        applied = sa.select(1).where(self._changed(), _changes.c.applied.is_not(None))
        return (~applied.correlate(_items).exists(),)

    def _check_way(self, before: ItemState, after: ItemState) -> None:
        if before is not after and after not in self._ways[before]:
            raise LedgerError(f"The ledger knows no way from {before.value} to {after.value}.")

    def _next_attempt(self, row: Any, item: Item) -> int | None:
        """The attempt on which an item may be planned; None if what is known of it forbids that."""
        if row is None:
            return 1
        if row.state == ItemState.PLANNED:
            return int(row.attempt)
        again = ItemState.PLANNED in self._ways[ItemState(row.state)]
        if again and row.state != ItemState.UNCERTAIN and row.payload_sha256 != item.sha256:
            return int(row.attempt) + 1
        return None

    # -- small things -------------------------------------------------------------------------

    def _of(self, object: str, entity: str) -> tuple[sa.ColumnElement[bool], ...]:
        return (
            self._items.c.company == self._company,
            self._items.c.object == object,
            self._items.c.entity == entity,
        )

    def _stamp(self) -> str:
        return self._now().astimezone(UTC).isoformat(timespec="milliseconds")

    def _chunk(self, connection: sa.Connection, chunk_id: str) -> Chunk:
        row = connection.execute(sa.select(_chunks).where(_chunks.c.chunk_id == chunk_id)).first()
        if row is None:
            raise LedgerError(f"The ledger of {self._company} has no chunk {chunk_id}.")
        return Chunk(
            chunk_id=row.chunk_id,
            object=row.object,
            entity=row.entity,
            feed=row.feed,
            idempotency_key=row.idempotency_key,
            body=row.body,
            size=row.size,
            state=ChunkState(row.state),
            first_sent_at=_time(row.first_sent_at),
            last_sent_at=_time(row.last_sent_at),
            changes=row.method is not None,
        )


_NOT_SENT_YET = {
    "chunk_id": None,
    "position": None,
    "error_id": None,
    "reason": None,
    "what_to_do": None,
    "field": None,
    "support_id": None,
}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _slices(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _cut(items: Sequence[Item], size: int, most_bytes: int) -> Iterator[list[Item]]:
    part: list[Item] = []
    length = 1  # the brackets; each item brings a comma or the second one
    for item in items:
        added = len(item.payload) + 1
        if part and (len(part) == size or length + added > most_bytes):
            yield part
            part, length = [], 1
        part.append(item)
        length += added
    if part:
        yield part


def _idempotency_key(
    company: str, entity: str, object: str, items: Sequence[tuple[str, int]], body_sha256: str
) -> str:
    """Derived, not drawn: who plans the same items again sends under the same key."""
    digest = hashlib.sha256()
    for part in (company, entity, object, body_sha256):
        digest.update(f"{len(part)}:{part}".encode())
    for source_id, attempt in items:
        digest.update(f"{len(source_id)}:{source_id}{attempt}".encode())
    return digest.hexdigest()


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)
