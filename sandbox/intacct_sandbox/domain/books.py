"""The company's books: records, what was written to them, and what must outlive a restart.

The books are generated from a seed and changed only through a `UnitOfWork`: the changes of one
request, which are journaled together or undone together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast
from zoneinfo import ZoneInfo

from intacct_sandbox.company import Company, User
from intacct_sandbox.control.audit_log import AuditLog
from intacct_sandbox.control.behaviours import Behaviours
from intacct_sandbox.control.clock import Clock, wire_time
from intacct_sandbox.control.faults import FaultPlan
from intacct_sandbox.control.throttle import Throttle
from intacct_sandbox.errors import SandboxError
from intacct_sandbox.objects.catalogue import Json, ObjectCatalogue, load_catalogue
from intacct_sandbox.objects.tables import Row, Table, Tables
from intacct_sandbox.seed.generator import generate
from intacct_sandbox.seed.generator.large_company import write_large_company
from intacct_sandbox.seed.size import Size

from .authorization import AuthorizationServer
from .idempotency import StoredResponse, StoredResponses
from .journal import Journal
from .sessions import UserSession
from .webhooks import Webhooks

if TYPE_CHECKING:
    from intacct_sandbox.seed.archive import Archive, Progress

_DOCUMENT_NUMBERS = ("referenceNumber", "invoiceNumber", "billNumber")

MOST_SNAPSHOTS = 20
"""How many snapshots are kept."""

Operation = Literal["create", "update", "delete"]


@dataclass(frozen=True)
class RecordChange:
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
        """Return it as the control API shows it: `id` and `document` are what the record had
        last."""
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


_HISTORY = "company-config/audit-history"
_USERS = "company-config/user"
_ACTIONS: dict[Operation, str] = {"create": "create", "update": "modify", "delete": "delete"}
_MOST_DIFFERENCES = 50


def _differences(change: RecordChange) -> list[tuple[str | None, Json, Json]]:
    """Return what an entry of the audit trail tells of a change: the fields, with the values before
    and after; of a record that is created or deleted that it is."""
    before, after = change.before, change.after
    if before is None or after is None:
        return [(None, None, None)]
    paths = [path for path in {**before, **after} if not path.startswith("audit.")]
    found: list[tuple[str | None, Json, Json]] = [
        (path, before.get(path), after.get(path))
        for path in paths
        if before.get(path) != after.get(path)
    ]
    return found[:_MOST_DIFFERENCES]


class UnitOfWork:
    """The changes of one request. They show at once, and are kept only if the request commits."""

    def __init__(self, books: Books, session: UserSession) -> None:
        self._books = books
        self.session = session
        self.behaviours = books.behaviours
        self.now = books.clock.now()
        self.changes: list[RecordChange] = []

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
        self.changes.append(
            RecordChange(object_, key, operation, before, after, self.now, user, entity)
        )

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

    `seed` fixes the generated company, and chance with it. With `state`, a directory, what is
    written outlives the process; raises `SandboxError` when that directory cannot be used. A
    company of some `size` keeps its journal entries in the state directory, which it cannot do
    without: they are generated at the first start, and `progress` is called with how far that is.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        state: Path | None = None,
        clock: Clock | None = None,
        behaviours: Behaviours | None = None,
        size: Size | None = None,
        progress: Progress | None = None,
    ) -> None:
        if size is not None and state is None:
            raise SandboxError(
                f"A company of {size} is kept on disk: say in which directory with --state."
            )
        self.seed = seed
        self.clock = clock or Clock()
        self.lock = threading.RLock()
        self.behaviours = behaviours or Behaviours()
        self.catalogue: ObjectCatalogue = load_catalogue()
        self.audit_log = AuditLog()
        self.faults = FaultPlan(seed)
        self.throttle = Throttle()
        self.webhooks = Webhooks(self.clock, self._keep_webhook_event)
        self.job_events: list[dict[str, Json]] = []
        """What happened to the jobs that were put off, for whoever does them."""
        self.changes: list[RecordChange] = []
        self.answers = StoredResponses()
        self._late: dict[tuple[str, str], datetime] = {}
        self._snapshots: dict[str, Callable[[], None]] = {}
        self._journal = Journal(state, seed, size) if state is not None else None
        self._archive: Archive | None = None
        self._untouched: dict[str, Table] = {}
        try:
            self.tables: Tables = self._generated(size, state, progress)
        except BaseException:
            self.close()
            raise
        self.tokens = AuthorizationServer(
            seed, self._keep_token_event, self.behaviours, self.company, self.user
        )
        # Generated again rather than copied: most sandboxes are never reset.
        self._as_started = self._remember(None, lambda: self._generated(size, state, progress))
        if self._journal is not None:
            self._replay_all(self._journal)

    def _generated(
        self, size: Size | None, state: Path | None, progress: Progress | None
    ) -> Tables:
        tables = generate(self.seed)
        if size is None or state is None:
            return tables
        try:
            # Only a large company needs DuckDB.
            from intacct_sandbox.seed.archive import (  # noqa: PLC0415
                ARCHIVED,
                Archive,
                ArchivedTable,
            )
        except ModuleNotFoundError as error:
            if error.name != "duckdb":
                raise
            raise SandboxError(
                "A large company needs DuckDB: run `pip install 'intacct-sandbox[large]'`."
            ) from None

        large_company = write_large_company(tables, size, self.seed)
        if self._archive is None:
            self._archive = Archive(state, large_company, self.seed, progress)
            for name in ARCHIVED:
                table = ArchivedTable(tables[name].type, self.seed, self._archive)
                self._untouched[name] = table
        tables.update((name, table.copy()) for name, table in self._untouched.items())
        return tables

    @property
    def journal(self) -> Journal | None:
        """The journal, if these books are kept."""
        return self._journal

    @property
    def company(self) -> Company:
        """Who is in the company."""
        return self.tables.company

    def today(self) -> date:
        """Return the sandbox's date, in the company's time zone."""
        return self.clock.now().astimezone(ZoneInfo(self.behaviours["company_time_zone"])).date()

    def user(self, id_: str) -> User | None:
        """Return the Web Services user of this id, if there is one who is active. Users who were
        created through the API may enter what their records say (facts: Sage OpenAPI,
        entityAccess)."""
        table = self.tables[_USERS]
        key = table.key_of(id_)
        if key is None:
            return None
        row = table.rows[key]
        if row.get("status") != "active" or row.get("webServices.isEnabled") is False:
            return None
        return self.company.users.get(id_) or User(id_, key, id_, self._entities_of(row))

    def _entities_of(self, row: Row) -> frozenset[str | None] | None:
        if row.get("entityAccess.allowUnrestrictedAccess") is not False:
            return None
        given = row.get("entities")
        named = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
        keys = {key: id_ for id_, key in self.company.entity_keys.items()}
        ids = {str(one.get("id") or keys.get(str(one.get("key")))) for one in named}
        at_top = row.get("entityAccess.allowTopLevelAccess") is True
        return frozenset(ids | ({None} if at_top else set()))

    # --- going back -----------------------------------------------------------------------

    def _remember(
        self, journaled: bytes | None, tables: Callable[[], Tables]
    ) -> Callable[[], None]:
        changes, answers = list(self.changes), self.answers.copy()
        late, tokens, now = dict(self._late), self.tokens.snapshot(), self.clock.now()
        webhooks, job_events = self.webhooks.snapshot(), list(self.job_events)

        def restore() -> None:
            if self._journal is not None:
                self._journal.rewrite(journaled)
            self.tables, self.changes = tables(), list(changes)
            self.answers, self._late = answers.copy(), dict(late)
            tokens()
            webhooks()
            self.job_events = list(job_events)
            self.clock.restart(now)

        return restore

    def snapshot(self, name: str) -> None:
        """Remember books, tokens, kept answers and the time under a name, as long as the process
        lives; raises `SandboxError` when there are too many."""
        if name not in self._snapshots and len(self._snapshots) >= MOST_SNAPSHOTS:
            raise SandboxError(f"There are {MOST_SNAPSHOTS} snapshots already: use a name again.")
        with self.lock:
            journaled = self._journal.content() if self._journal is not None else None
            self._snapshots[name] = self._remember(journaled, self.tables.copy().copy)

    @property
    def snapshots(self) -> list[str]:
        """Their names, oldest first."""
        return list(self._snapshots)

    def restore(self, name: str) -> None:
        """Go back to a snapshot; raises `SandboxError` when there is none of that name.

        What was asked meanwhile stays on record, and rules of the fault plan go on counting.
        """
        if name not in self._snapshots:
            raise SandboxError(f"There is no snapshot {name!r}.")
        with self.lock:
            self._snapshots[name]()

    def reset(self) -> None:
        """Back to the beginning: books as generated, no tokens, no kept answers, the clock as it
        was at the start, requests counted from 1, and the rules of the fault plan too."""
        with self.lock:
            self._as_started()
            self.tokens.begin_era()
            self.audit_log.reset()
            self.faults.reset()

    # --- time -----------------------------------------------------------------------------

    def advance(self, span: timedelta) -> None:
        """Let time pass; it does not come back with a restart."""
        with self.lock:
            self.clock.advance(span)
            self._note({"clock": "moved"})

    def hide(self, object_: str, key: str, until: datetime) -> None:
        """Keep a record out of queries for a while, as a replica that lags behind does."""
        self._late[object_, key] = until

    def unseen(self, object_: str) -> frozenset[str]:
        """Return keys of the records that queries do not show yet, or no more."""
        now = self.clock.now()
        if object_ == _HISTORY and self.behaviours["audit_retention"] == "90_days":
            oldest = wire_time(now - timedelta(days=90))
            path = "changeSource.accessDateTime"
            rows = self.tables[object_].rows
            return frozenset(key for key, row in rows.items() if str(row[path]) < oldest)
        if not self._late:
            return frozenset()
        self._late = {which: until for which, until in self._late.items() if until > now}
        return frozenset(key for name, key in self._late if name == object_)

    # --- writing --------------------------------------------------------------------------

    @contextmanager
    def work(self, session: UserSession) -> Iterator[UnitOfWork]:
        """Give a request's changes; undone if the block raises or does not `commit`."""
        with self.lock:
            work = UnitOfWork(self, session)
            try:
                yield work
            finally:
                work.undo()

    def commit(self, work: UnitOfWork, answer: StoredResponse | None = None) -> None:
        """Keep the changes of `work`, and the answer to be given again, in one journal line.

        Raises `OSError` if the journal cannot be written: then nothing is kept.
        """
        if not work.changes and answer is None:
            return
        wrote = [(one.operation, one.object, one.key) for one in work.changes]
        self._tell_history(work)
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
        exchange = self.audit_log.current
        if exchange is not None:
            exchange.wrote += wrote
        work.changes = []

    def _tell_history(self, work: UnitOfWork) -> None:
        """Enter what was written in the audit trail, which tells it of masters and documents but
        not of their lines."""
        behaviour, table = self.behaviours["audit_history"], self.tables.get(_HISTORY)
        if behaviour == "off" or table is None:
            return
        at = wire_time(work.now, self.behaviours["audit_precision"])
        for one in list(work.changes):
            deletes_untold = one.operation == "delete" and behaviour == "without_deletes"
            if self.catalogue[one.object].kind == "line" or deletes_untold:
                continue
            record = one.after or one.before or {}
            for path, before, after in _differences(one):
                row: Row = {
                    "changeDetails.objectName": one.object.rpartition("/")[2],
                    "changeDetails.objectId": record.get("id", one.key),
                    "changeDetails.fieldName": path,
                    "changeDetails.previousValue": None if before is None else str(before),
                    "changeDetails.newValue": None if after is None else str(after),
                    "changeSource.completedBy": one.user,
                    "changeSource.accessDateTime": at,
                    "changeSource.actionPerformed": _ACTIONS[one.operation],
                    "changeSource.clientIPAddress": "192.0.2.10",
                    "changeSource.source": "Web Services",
                }
                work.put(_HISTORY, {**table.type.defaults, **row, "key": table.take_key()})

    def lose_answer(self, owner: str, key: str) -> None:
        """Do what the behaviour says with a stored response that did not reach anyone."""
        how = self.behaviours["idempotency_after_timeout"]
        if how != "replay":
            self._note({"lost": [owner, key, how]})
            self.answers.lose(owner, key, how)

    def _note(self, entry: dict[str, Json]) -> None:
        if self._journal is not None:
            self._journal.append({"at": self.clock.now().isoformat(), **entry})

    def _keep_token_event(self, event: dict[str, Json]) -> None:
        self._note({"token": event})

    def _keep_webhook_event(self, event: dict[str, Json]) -> None:
        self._note({"webhook": event})

    def keep_job_event(self, event: dict[str, Json]) -> None:
        """Keep what happened to a job, also over a restart."""
        self._note({"job": event})
        self.job_events.append(event)

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
        if "webhook" in entry:
            self.webhooks.replay(entry["webhook"])
        if "job" in entry:
            self.job_events.append(entry["job"])
        if "lost" in entry:
            self.answers.lose(*entry["lost"])
        for object_, operation, key, row in entry.get("changes", ()):
            table = self.tables[object_]
            before = table.rows.get(key)
            if row is None:
                table.remove(key)
            else:
                table.put(row)
            self.changes.append(
                RecordChange(
                    object_, key, operation, before, row, at, entry["user"], entry["entity"]
                )
            )
        if "answer" in entry:
            self.answers.keep(StoredResponse.from_kept(entry["answer"]))

    def written(self) -> list[dict[str, Json]]:
        """Return what was created, changed and deleted through the API, oldest first; a document's
        lines go with the document and are not listed."""
        return [
            change.shown()
            for change in self.changes
            if self.catalogue[change.object].kind != "line" and change.object != _HISTORY
        ]

    def entity_key(self, entity: str | None) -> str | None:
        """Return the key of an entity by its id; None is the top level."""
        return None if entity is None else self.company.entity_keys[entity]

    def close(self) -> None:
        """Give the state directory free. Books in memory stay readable."""
        if self._archive is not None:
            self._archive.close()
        if self._journal is not None:
            self._journal.close()
