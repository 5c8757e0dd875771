"""The company's books: records, what was written to them, and what must outlive a restart.

The books are generated from a seed and changed only through a `Work`: a request's changes, which
are journaled together or undone together.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, cast

from .catalogue import Catalogue, Json, load_catalogue
from .clock import Clock, wire_time
from .company import ENTITIES
from .errors import SandboxError
from .generator import generate
from .idempotency import Answers, StoredAnswer
from .journal import Journal
from .oauth import TokenOffice
from .scope import Session
from .tables import Row, Tables
from .usage import Usage

_DOCUMENT_NUMBERS = ("referenceNumber", "invoiceNumber", "billNumber")

Operation = Literal["create", "update", "delete"]


@dataclass(frozen=True)
class Change:
    """One record written through the API since the books were generated."""

    object: str
    key: str
    operation: Operation
    before: Row | None
    after: Row | None
    at: datetime
    user: str
    entity: str | None

    def shown(self) -> dict[str, Json]:
        """As the control API tells it: `id` and `document` are what the record had last."""
        row = self.after or self.before or {}
        numbers = [row[name] for name in _DOCUMENT_NUMBERS if row.get(name) is not None]
        document = numbers[0] if numbers else row.get("id")
        return {
            "object": self.object,
            "key": self.key,
            "id": row.get("id", self.key),
            "entity": self.entity,
            "operation": self.operation,
            "at": wire_time(self.at),
            "user": self.user,
            "document": document,
        }


class Work:
    """The changes of one request. They show at once, and are kept only if the request commits."""

    def __init__(self, books: Books, session: Session) -> None:
        self._books = books
        self.session = session
        self.now = books.clock.now()
        self.changes: list[Change] = []

    def put(self, object_: str, row: Row) -> None:
        """Add a record, or replace the one with its key."""
        table = self._books.tables[object_]
        key = cast(str, row["key"])
        before = table.rows.get(key)
        table.put(row)
        self._note(object_, key, "update" if before else "create", before, row)

    def delete(self, object_: str, key: str) -> None:
        """Take a record away."""
        table = self._books.tables[object_]
        before = table.rows[key]
        table.remove(key)
        self._note(object_, key, "delete", before, None)

    def _note(
        self, object_: str, key: str, operation: Operation, before: Row | None, after: Row | None
    ) -> None:
        user, entity = self.session.user.id, self.session.entity
        self.changes.append(Change(object_, key, operation, before, after, self.now, user, entity))

    def undo(self, *, down_to: int = 0) -> None:
        """Take back all changes but the first `down_to`, the last one first."""
        while len(self.changes) > down_to:
            change = self.changes.pop()
            table = self._books.tables[change.object]
            if change.before is None:
                table.remove(change.key)
            else:
                table.put(change.before)


class Books:
    """Everything one sandbox knows.

    `seed` fixes the generated company. With `state`, a directory, what is written outlives the
    process; raises `SandboxError` when that directory cannot be used.
    """

    def __init__(
        self, *, seed: int = 1, state: Path | None = None, clock: Clock | None = None
    ) -> None:
        self.seed = seed
        self.clock = clock or Clock()
        self.lock = threading.RLock()
        self.catalogue: Catalogue = load_catalogue()
        self.usage = Usage()
        self.changes: list[Change] = []
        self.answers = Answers()
        self._journal = Journal(state, seed) if state is not None else None
        self.tables: Tables = generate(seed)
        self.tokens = TokenOffice(seed, self._keep_token_event)
        if self._journal is not None:
            self._replay_all(self._journal)

    @property
    def journal(self) -> Journal | None:
        """The journal, if these books are kept."""
        return self._journal

    def today(self) -> date:
        """The sandbox's date, in UTC."""
        return self.clock.now().date()

    @contextmanager
    def work(self, session: Session) -> Iterator[Work]:
        """A request's changes; undone if the block raises or does not `commit`."""
        with self.lock:
            work = Work(self, session)
            try:
                yield work
            finally:
                work.undo()

    def commit(self, work: Work, answer: StoredAnswer | None = None) -> None:
        """Keep the changes of `work`, and the answer to be given again, in one journal line.

        Raises `OSError` if the journal cannot be written: then nothing is kept.
        """
        if not work.changes and answer is None:
            return
        if self._journal is not None:
            entry: dict[str, Json] = {
                "at": work.now.isoformat(),
                "user": work.session.user.id,
                "entity": work.session.entity,
                "changes": [[c.object, c.operation, c.key, c.after] for c in work.changes],
            }
            if answer is not None:
                entry["answer"] = answer.kept()
            self._journal.append(entry)
        self.changes.extend(work.changes)
        if answer is not None:
            self.answers.keep(answer)
        work.changes = []

    def _keep_token_event(self, event: dict[str, Json]) -> None:
        if self._journal is not None:
            self._journal.append({"at": self.clock.now().isoformat(), "token": event})

    def _replay_all(self, journal: Journal) -> None:
        for number, entry in enumerate(journal.entries(), start=2):
            try:
                self._replay(entry)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                journal.close()
                raise SandboxError(
                    f"Line {number} of the journal in {journal.directory} does not fit these books:"
                    " restore the file, or remove it to begin with fresh books."
                ) from error

    def _replay(self, entry: dict[str, Any]) -> None:
        at = datetime.fromisoformat(entry["at"])
        # Time does not run backwards over a restart.
        self.clock.advance_to(at)
        if "token" in entry:
            self.tokens.replay(entry["token"])
            return
        for object_, operation, key, row in entry["changes"]:
            table = self.tables[object_]
            before = table.rows.get(key)
            if row is None:
                table.remove(key)
            else:
                table.put(row)
            self.changes.append(
                Change(object_, key, operation, before, row, at, entry["user"], entry["entity"])
            )
        if "answer" in entry:
            self.answers.keep(StoredAnswer.from_kept(entry["answer"]))

    def written(self) -> list[dict[str, Json]]:
        """What was created, changed and deleted through the API, oldest first; a document's lines
        go with the document and are not told apart."""
        return [
            change.shown()
            for change in self.changes
            if self.catalogue[change.object].kind != "line"
        ]

    def entity_key(self, entity: str | None) -> str | None:
        """The key of an entity by its id; None is the top level."""
        return None if entity is None else ENTITIES[entity].key

    def close(self) -> None:
        """Give the state directory free. The books stay readable."""
        if self._journal is not None:
            self._journal.close()
