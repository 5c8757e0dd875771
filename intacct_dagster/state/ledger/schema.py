"""The tables of the posting ledger, and the transitions that the database itself enforces.

    planned   -> sending
    sending   -> posted | rejected | uncertain
    uncertain -> posted | rejected | planned     only by proof
    rejected  -> planned                         only when the payload changed, or a person says so

A state store cannot be rebuilt: names of tables, columns, constraints and triggers stay as they
are, and a new column is nullable, so that `open_state` can add it to a table that exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from intacct_dagster.state.store import METADATA


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
    SUPERSEDED = "superseded"  # never sent, and another plan took its items
    SENDING = "sending"
    UNCERTAIN = "uncertain"
    ANSWERED = "answered"  # every item's outcome is known


Transitions = Mapping[ItemState, set[ItemState]]

TRANSITIONS: Transitions = {
    ItemState.PLANNED: {ItemState.SENDING},
    ItemState.SENDING: {ItemState.POSTED, ItemState.REJECTED, ItemState.UNCERTAIN},
    ItemState.UNCERTAIN: {ItemState.POSTED, ItemState.REJECTED, ItemState.PLANNED},
    ItemState.REJECTED: {ItemState.PLANNED},
    ItemState.POSTED: set[ItemState](),
}

#: A document may be amended more than once; it is never created a second time.
AMENDMENT_TRANSITIONS: Transitions = {**TRANSITIONS, ItemState.POSTED: {ItemState.PLANNED}}


def _one_of(column: str, states: type[StrEnum]) -> sa.CheckConstraint:
    allowed = ", ".join(f"'{state.value}'" for state in states)
    return sa.CheckConstraint(f"{column} IN ({allowed})", name=f"{column}_is_known")


#: A row is a request: the bytes as they are sent, their Idempotency-Key, and what came back.
CHUNKS = sa.Table(
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
    # null is POST, which creates; PATCH amends what was created
    sa.Column("method", sa.Text),
    # the chunk of which this one is a part, where Intacct rejected that one as a whole
    sa.Column("split_from", sa.Text, sa.ForeignKey("posting_chunks.chunk_id")),
    # the field of the object that carries its documents' ids
    sa.Column("match_on", sa.Text),
    # when Intacct was first seen not to hold all of it, since it was sent last
    sa.Column("looked_at", sa.Text),
    _one_of("state", ChunkState),
    sa.CheckConstraint(
        "state NOT IN ('sending', 'uncertain', 'answered') OR first_sent_at IS NOT NULL",
        name="what_was_sent_says_when",
    ),
)


def _document_table(name: str, unique: str, *more: sa.Column[Any]) -> sa.Table:
    """Return a table of documents to send: one row for each, with its state and outcome."""
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


#: A row is a document to create in Intacct.
ITEMS = _document_table("posting_items", "a_key_is_posted_once")

#: A row is the last amendment of a posted document: `payload` is the amendment as it is sent,
#: `document` the whole document as Intacct holds it afterwards, and `applied` the last whole
#: document that Intacct accepted.
AMENDMENTS = _document_table(
    "posting_changes",
    "a_key_is_changed_by_one",
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("document_sha256", sa.Text, nullable=False),
    sa.Column("applied", sa.LargeBinary),
    sa.Column("applied_sha256", sa.Text),
    sa.Column("applied_amount", sa.Text),
)

_ILLEGAL = "illegal state transition"
_NO_DELETE = "ledger rows cannot be deleted"


def _enforce(table: sa.Table, transitions: Transitions) -> None:
    """Make the database itself reject every other change of state, and every deletion.

    The triggers are made with the table; a database of an older version keeps its own, which
    allow the same transitions and differ in the texts of their errors.
    """
    legal = " OR ".join(
        [
            "NEW.state = OLD.state",
            *(
                f"(OLD.state = '{before.value}' AND NEW.state = '{after.value}')"
                for before, afters in transitions.items()
                for after in sorted(afters)
            ),
        ]
    )
    name = table.name
    statements = {
        "sqlite": (
            f"""
            CREATE TRIGGER {name}_ways BEFORE UPDATE OF state ON {name}
            WHEN NOT ({legal})
            BEGIN SELECT RAISE(ABORT, '{_ILLEGAL}'); END
            """,
            f"""
            CREATE TRIGGER {name}_stay BEFORE DELETE ON {name}
            BEGIN SELECT RAISE(ABORT, '{_NO_DELETE}'); END
            """,
        ),
        "postgresql": (
            f"""
            CREATE OR REPLACE FUNCTION {name}_ways() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
              IF TG_OP = 'DELETE' THEN
                RAISE EXCEPTION '{_NO_DELETE}' USING ERRCODE = 'check_violation';
              END IF;
              IF NOT ({legal}) THEN
                RAISE EXCEPTION '{_ILLEGAL}' USING ERRCODE = 'check_violation';
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


_enforce(ITEMS, TRANSITIONS)
_enforce(AMENDMENTS, AMENDMENT_TRANSITIONS)
