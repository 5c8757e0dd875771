"""Context of every function of the ledger: a store, a company, and a table of documents."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime

import sqlalchemy as sa

from intacct_dagster.state.errors import LedgerError
from intacct_dagster.state.ledger.schema import (
    AMENDMENT_TRANSITIONS,
    AMENDMENTS,
    ITEMS,
    TRANSITIONS,
    ItemState,
    Transitions,
)
from intacct_dagster.state.store import reading, writing


class LedgerContext:
    """The ledger of one company in a state store: of creations, or of amendments.

    Args:
        engine: The state store, from `open_state`.
        company: The company whose documents are posted; others in the same store are not seen.
        now: Gives aware UTC times; a test passes its own.
        for_amendments: Work on the amendments of posted documents instead of on creations.
    """

    def __init__(
        self,
        engine: sa.Engine,
        company: str,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        for_amendments: bool = False,
    ) -> None:
        self.engine = engine
        self.company = company
        self.now = now
        self.holds_amendments = for_amendments
        self.table = AMENDMENTS if for_amendments else ITEMS
        self.transitions: Transitions = AMENDMENT_TRANSITIONS if for_amendments else TRANSITIONS

    @property
    def method(self) -> str | None:
        """The HTTP method as chunks store it: null is POST."""
        return "PATCH" if self.holds_amendments else None

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """Return a connection that only reads."""
        return reading(self.engine)

    def writing(self) -> AbstractContextManager[sa.Connection]:
        """Return a transaction that writes, on disk when its block is over."""
        return writing(self.engine)

    def stamp(self) -> str:
        """Return the present time as the tables store it."""
        return self.now().astimezone(UTC).isoformat(timespec="milliseconds")

    def of(self, object: str, entity: str) -> tuple[sa.ColumnElement[bool], ...]:
        """Return the conditions on the documents of an object and entity."""
        return (
            self.table.c.company == self.company,
            self.table.c.object == object,
            self.table.c.entity == entity,
        )

    def check_transition(self, before: ItemState, after: ItemState) -> None:
        """Raise LedgerError if no document may go from `before` to `after`.

        The database enforces the same, but only for statements that find a row.
        """
        if before is not after and after not in self.transitions[before]:
            raise LedgerError(
                f"Illegal state transition of {self.table.name} in the ledger of {self.company}: "
                f"{before.value} -> {after.value}. Nothing was changed."
            )


def amendment_of_item() -> sa.ColumnElement[bool]:
    """Return the condition that joins a created document with its last amendment."""
    key = ("company", "object", "entity", "source_id")
    return sa.and_(*(AMENDMENTS.c[name] == ITEMS.c[name] for name in key))
