"""What became of the documents that were posted, for analysts and accountants: `posting.<feed>`."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG, StagingSession, Warehouse
from intacct_dagster.warehouse.errors import FeedError, SchemaChanged
from intacct_dagster.warehouse.partitions import (
    Partition,
    delete_partitions,
    stage_partitions,
)
from intacct_dagster.warehouse.reconciliation.comparison import RECONCILED
from intacct_dagster.warehouse.reconciliation.plan import PLAN
from intacct_dagster.warehouse.sql import identifier, literal, statement
from intacct_dagster.warehouse.tables import (
    AMOUNT,
    TIME,
    TableColumn,
    ensure_table,
    existing_columns,
    stage_arrays,
    stage_records,
)

POSTING = "posting"

OUTCOME_COLUMNS = (
    TableColumn("_entity", "VARCHAR", "The document's entity: half the partition"),
    TableColumn("_day", "DATE", "The document's date: the partition's other half"),
    TableColumn("source_id", "VARCHAR", "The document's id in the source system"),
    TableColumn("state", "VARCHAR", "planned, sending, posted, rejected or uncertain"),
    TableColumn("intacct_key", "VARCHAR", "Intacct's key of the record that was created"),
    TableColumn("reason", "VARCHAR", "Why Intacct rejected it, or why nobody knows"),
    TableColumn("what_to_do", "VARCHAR", "What a person does about it"),
    TableColumn("field", "VARCHAR", "The field that Intacct named"),
    TableColumn("error_id", "VARCHAR", "Intacct's id of the error, e.g. REST-1064"),
    TableColumn("support_id", "VARCHAR", "What Sage support asks for"),
    TableColumn("chunk", "VARCHAR", "The request it went in"),
    TableColumn("position", "BIGINT", "Its place in that request, from 0"),
    TableColumn("amount", AMOUNT, "The document's amount"),
    TableColumn("run_id", "VARCHAR", "The run that recorded it"),
    TableColumn("recorded_at", TIME, "When its state was recorded"),
)
_CHUNKS = (
    TableColumn("feed", "VARCHAR", "The feed that the documents are of"),
    TableColumn("entity", "VARCHAR", "The entity that they were posted to"),
    TableColumn("object", "VARCHAR", "The object that they were posted as"),
    TableColumn("chunk", "VARCHAR", "The request; posting.items names it for each document"),
    TableColumn("state", "VARCHAR", "ready, superseded, sending, uncertain or answered"),
    TableColumn("documents", "BIGINT", "How many documents were in it"),
    TableColumn("bytes", "BIGINT", "How long its body was"),
    TableColumn("planned_at", TIME, "When it was written down"),
    TableColumn("first_sent_at", TIME, "When it went out first; null if it never did"),
    TableColumn("last_sent_at", TIME, "When the same bytes went out last, under the same key"),
    TableColumn("answered_at", TIME, "When each document in it had a final status"),
    TableColumn("http_status", "BIGINT", "The status of the answer"),
    TableColumn("note", "VARCHAR", "What should be known of it"),
    TableColumn("run_id", "VARCHAR", "The run that planned it"),
)
#: Tables of `posting` that are not a feed's.
ITEMS, CHUNKS, CHANGES = "items", "chunks", "changes"
CHANGE_COLUMNS = (
    TableColumn("feed", "VARCHAR", "The feed that the document is of"),
    TableColumn("_entity", "VARCHAR", "The document's entity"),
    TableColumn("_day", "DATE", "The document's date"),
    TableColumn("source_id", "VARCHAR", "The document's id in the source system"),
    TableColumn("state", "VARCHAR", "Of the change: planned, sending, posted, rejected, uncertain"),
    TableColumn("fields", "VARCHAR", "The fields that it changes, without their values"),
    TableColumn("reason", "VARCHAR", "Why Intacct rejected it"),
    TableColumn("what_to_do", "VARCHAR", "What a person does about it"),
    TableColumn("error_id", "VARCHAR", "Intacct's id of the error, e.g. REST-1064"),
    TableColumn("support_id", "VARCHAR", "What Sage support asks for"),
    TableColumn("chunk", "VARCHAR", "The request it went in"),
    TableColumn("position", "BIGINT", "Its place in that request, from 0"),
    TableColumn("amount", AMOUNT, "The document's amount after it"),
    TableColumn("payload_hash", "VARCHAR", "SHA-256 of what Intacct was sent"),
    TableColumn("read_back", "BOOLEAN", "Whether the record was found so afterwards"),
    TableColumn("run_id", "VARCHAR", "The run that recorded it"),
    TableColumn("recorded_at", TIME, "When its state was recorded"),
)
_LEDGER = (
    TableColumn("entity", "VARCHAR"),
    TableColumn("source_id", "VARCHAR"),
    TableColumn("day", "DATE"),
    TableColumn("amount", AMOUNT),
    TableColumn("state", "VARCHAR"),
    TableColumn("intacct_key", "VARCHAR"),
    TableColumn("reason", "VARCHAR"),
    TableColumn("what_to_do", "VARCHAR"),
    TableColumn("field", "VARCHAR"),
    TableColumn("error_id", "VARCHAR"),
    TableColumn("support_id", "VARCHAR"),
    TableColumn("chunk", "VARCHAR"),
    TableColumn("position", "BIGINT"),
    TableColumn("run_id", "VARCHAR"),
    TableColumn("recorded_at", TIME),
)
_RECONCILED = (
    TableColumn("_entity", "VARCHAR"),
    TableColumn("_day", "DATE"),
    TableColumn("source_id", "VARCHAR"),
    TableColumn("status", "VARCHAR"),
    TableColumn("amount", AMOUNT),
    TableColumn("file", "VARCHAR"),
    TableColumn("line", "BIGINT"),
)
_PLANNED = (
    TableColumn("_entity", "VARCHAR"),
    TableColumn("_day", "DATE"),
    TableColumn("source_id", "VARCHAR"),
    TableColumn("gate", "VARCHAR"),
    TableColumn("plan", "VARCHAR"),
)
_APPROVED = (
    TableColumn("entity", "VARCHAR"),
    TableColumn("day", "DATE"),
    TableColumn("plan", "VARCHAR"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A document that is not posted, and the reason if one is known.

    `file` and `line` are None where the source no longer has it; `state` is None where the ledger
    does not have it. `aside` says why it was not to be sent at all.
    """

    entity: str
    day: date
    source_id: str
    amount: Decimal
    file: str | None
    line: int | None
    state: str | None
    aside: str | None
    position: int | None
    reason: str | None
    what_to_do: str | None
    field: str | None
    error_id: str | None
    support_id: str | None


@dataclass(frozen=True)
class Outcomes:
    """What became of the documents of a partition, or of several: how many, and their amounts.

    `states` are the ledger's (None: not in it), with the amounts that the ledger has; `aside` are
    reasons for not sending documents that were not sent, with the source's amounts; `rejections`
    are Intacct's reasons. `shown` are documents that are not posted, not more than can be shown.
    Of those that are posted, `not_read_back` is how many were not seen to be in Intacct as they
    were sent, and `differing`, (entity, source id), are those that differ.
    """

    documents: int = 0
    amount: Decimal = Decimal()
    states: Mapping[str | None, tuple[int, Decimal]] = field(default_factory=dict)
    aside: Mapping[str, tuple[int, Decimal]] = field(default_factory=dict)
    rejections: Mapping[str, int] = field(default_factory=dict)
    not_read_back: int = 0
    shown: tuple[Outcome, ...] = ()
    differing: tuple[tuple[str, str], ...] = ()

    def count(self, state: str) -> int:
        """Return how many documents are in a state."""
        return self.states.get(state, (0, Decimal()))[0]

    def __add__(self, other: Outcomes) -> Outcomes:
        return Outcomes(
            self.documents + other.documents,
            self.amount + other.amount,
            _sums(self.states, other.states),
            _sums(self.aside, other.aside),
            Counter(self.rejections) + Counter(other.rejections),
            self.not_read_back + other.not_read_back,
            (*self.shown, *other.shown),
            (*self.differing, *other.differing),
        )


@dataclass(frozen=True, slots=True)
class PostingPermission:
    """Which planned documents were not to be sent, and what is said of them.

    `held` is said of what a gate holds, `dry_run` of everything else unless it is None. Unless
    `waiting` is None, it is said of partitions whose plan is not among `approved`: (entity, day,
    plan).
    """

    held: str
    dry_run: str | None = None
    waiting: str | None = None
    approved: Collection[tuple[str, date, str]] = ()


@dataclass(frozen=True, slots=True)
class ReadBackProof:
    """What reading back came to: (entity, source id) of documents that were not seen to be in
    Intacct as they were sent, and of those that were seen to be otherwise."""

    unread: Collection[tuple[str, str]] = ()
    differing: Collection[tuple[str, str]] = ()


_N = TypeVar("_N")


def _sums(
    one: Mapping[_N, tuple[int, Decimal]], other: Mapping[_N, tuple[int, Decimal]]
) -> dict[_N, tuple[int, Decimal]]:
    summed = dict(one)
    for name, (count, amount) in other.items():
        before, sum_before = summed.get(name, (0, Decimal()))
        summed[name] = (before + count, sum_before + amount)
    return summed


def replace_outcomes(
    file: Warehouse,
    feed: str,
    partitions: Collection[Partition],
    ledger: Iterable[bytes],
    *,
    leave: PostingPermission,
    statuses: Collection[str],
    shown: int,
    proof: Callable[[], ReadBackProof] = ReadBackProof,
) -> dict[Partition, Outcomes]:
    """Replace these partitions of `posting.<feed>`, in one transaction; return what is in each.

    In it are the documents of `reconciled.<feed>` that the ledger knows or that have one of these
    `statuses`, and those that only the ledger has. `ledger` is as `Ledger.outcomes` gives it;
    no document has two. `shown` is how many of a kind are listed besides the counts. `proof`
    is asked last, and may wait: Intacct can be read meanwhile.
    """
    with file.staging() as staging:
        connection = staging.connection
        stage_partitions(connection, partitions)
        stage_arrays(connection, "ledger", _LEDGER, ledger, staging.scratch)
        stage_records(connection, "approved", _APPROVED, leave.approved, staging.scratch)
        with staging.attached(read_only=True):
            _copy(connection, "reconciled", RECONCILED, feed, _RECONCILED, "occurrence = 1")
            _copy(connection, "planned", PLAN, feed, _PLANNED, "true")
        connection.execute(
            statement(__name__, "outcomes"),
            {
                "held": leave.held,
                "dry_run": leave.dry_run,
                "waiting": leave.waiting,
                "statuses": list(statuses),
            },
        )
        with staging.transaction():
            _write(connection, feed)
        counts = connection.execute(statement(__name__, "outcomes_counts")).fetchall()
        rows = connection.execute(
            statement(__name__, "outcomes_shown"), {"shown": shown}
        ).fetchall()
        proven = proof()
        unread = _posted_among(staging, "unread", proven.unread)
        different = _posted_among(staging, "differing", proven.differing)
    found = _by_partition(partitions, counts)
    for each in itertools.starmap(Outcome, rows):
        found[each.entity, each.day] += Outcomes(shown=(each,))
    for (entity, day), number in Counter((entity, day) for entity, day, _ in unread).items():
        found[entity, day] += Outcomes(not_read_back=number)
    for entity, day, source_id in different:
        found[entity, day] += Outcomes(differing=((entity, source_id),))
    return found


def posted_here(
    file: Warehouse, feed: str, partitions: Collection[Partition] | None = None
) -> dict[str, dict[str, str]]:
    """Return Intacct's keys of the documents that `posting.<feed>` has as posted.

    Args:
        file: The warehouse.
        feed: The feed.
        partitions: Only those of these partitions; None for all.

    Returns:
        Entity -> source id -> key.
    """
    with file.staging() as staging:
        stage_partitions(staging.connection, partitions or ())
        these = "" if partitions is None else _OF_PARTITIONS
        if not file.path.exists():
            return {}
        with staging.attached(read_only=True) as connection:
            if not existing_columns(connection, CATALOG, POSTING, feed):
                return {}
            rows = connection.execute(
                "SELECT _entity, source_id, intacct_key FROM "
                f"{identifier(CATALOG, POSTING, feed)}{these} WHERE state = 'posted'"
            ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for entity, source_id, key in rows:
        found.setdefault(entity, {})[source_id] = key
    return found


_OF_PARTITIONS = (
    " SEMI JOIN memory.main.partitions AS these ON these.entity = _entity AND these.day = _day"
)


def _write(connection: DuckDBPyConnection, feed: str) -> None:
    """Replace the partitions of `posting.<feed>` by the outcomes that were staged."""
    about = f"What became of the documents of feed {feed}. A row is a document that was posted."
    try:
        ensure_table(connection, CATALOG, POSTING, feed, OUTCOME_COLUMNS, about)
    except SchemaChanged as error:
        raise FeedError(feed, error.reason, error.remedy) from error
    table = identifier(CATALOG, POSTING, feed)
    delete_partitions(connection, table)
    connection.execute(
        f"INSERT INTO {table} BY NAME SELECT * EXCLUDE"
        " (file, line, aside, amount_in_ledger) REPLACE"
        " (coalesce(state, 'not sent') AS state, coalesce(reason, CASE WHEN state IS NULL"
        " THEN aside END) AS reason) FROM memory.main.outcomes"
    )


def _by_partition(
    partitions: Collection[Partition], counts: Iterable[tuple[Any, ...]]
) -> dict[Partition, Outcomes]:
    """Add up rows of `outcomes_counts.sql`."""
    found = dict.fromkeys(partitions, Outcomes())
    for entity, day, state, aside, reason, documents, amount, in_ledger in counts:
        found[entity, day] += Outcomes(
            documents,
            amount,
            {state: (documents, in_ledger)},
            {aside: (documents, amount)} if aside else {},
            {reason: documents} if reason else {},
        )
    return found


def _posted_among(
    staging: StagingSession, name: str, documents: Collection[tuple[str, str]]
) -> list[tuple[str, date, str]]:
    """(entity, day, source id) of those of these documents, (entity, source id), that are posted
    and are of the partitions."""
    if not documents:
        return []
    stage_records(staging.connection, name, _LEDGER[:2], sorted(documents), staging.scratch)
    return staging.connection.execute(
        f"SELECT _entity, _day, source_id FROM memory.main.outcomes SEMI JOIN memory.main.{name}"
        f" AS named ON named.entity = _entity AND named.source_id = outcomes.source_id"
        " WHERE state = 'posted' ORDER BY ALL"
    ).fetchall()


def _copy(
    connection: DuckDBPyConnection,
    name: str,
    schema: str,
    feed: str,
    columns: Sequence[TableColumn],
    where: str,
) -> None:
    """`memory.main.<name>`: these columns of the partitions of a table, which may not be there."""
    names = ", ".join(identifier(each.name) for each in columns)
    if existing_columns(connection, CATALOG, schema, feed):
        rows = (
            f"SELECT {names} FROM {identifier(CATALOG, schema, feed)} INNER JOIN"
            " memory.main.partitions ON partitions.entity = _entity AND partitions.day = _day"
            f" WHERE {where}"
        )
    else:
        empty = ", ".join(f"CAST(NULL AS {each.type}) AS {each.name}" for each in columns)
        rows = f"SELECT {empty} WHERE false"
    connection.execute(f"CREATE TABLE memory.main.{identifier(name)} AS {rows}")


def replace_chunks(
    file: Warehouse, feed: str, entities: Collection[str], rows: Sequence[Sequence[object]]
) -> None:
    """Replace a feed's requests of these entities in `posting.chunks`; rows are as its columns.

    Makes the view `posting.items` too, which shows the documents of all feeds together.
    """
    about = "A row is a request that was planned, of at most 500 documents; never what was in it."
    with file.staging() as staging:
        stage_records(staging.connection, "fresh", _CHUNKS, rows, staging.scratch)
        with staging.transaction() as connection:
            _replace(connection, CHUNKS, _CHUNKS, about, feed, "entity", entities)
            _show_items(connection)


def replace_changes(
    file: Warehouse, feed: str, entities: Collection[str], rows: Sequence[Sequence[object]]
) -> None:
    """Replace a feed's changes of these entities in `posting.changes`; rows are as its columns."""
    about = "A row is the last change of a document that was posted; never what was sent for it."
    with file.staging() as staging:
        stage_records(staging.connection, "fresh", CHANGE_COLUMNS, rows, staging.scratch)
        with staging.transaction() as connection:
            _replace(connection, CHANGES, CHANGE_COLUMNS, about, feed, "_entity", entities)


def _replace(
    connection: DuckDBPyConnection,
    name: str,
    columns: Sequence[TableColumn],
    about: str,
    feed: str,
    entity_column: str,
    entities: Collection[str],
) -> None:
    """Put the staged rows in place of a feed's of these entities, in a table of all feeds."""
    ensure_table(connection, CATALOG, POSTING, name, columns, about)
    table = identifier(CATALOG, POSTING, name)
    connection.execute(
        f"DELETE FROM {table}"
        f" WHERE feed = $feed AND list_contains($entities, {identifier(entity_column)})",
        {"feed": feed, "entities": sorted(entities)},
    )
    connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM memory.main.fresh")


def _show_items(connection: DuckDBPyConnection) -> None:
    feeds = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = ? AND schema_name = ?"
        " AND NOT list_contains(?, table_name) ORDER BY table_name",
        [CATALOG, POSTING, [CHUNKS, CHANGES]],
    ).fetchall()
    if feeds:
        connection.execute(f"USE {CATALOG}")
        connection.execute(
            f"CREATE OR REPLACE VIEW {identifier(CATALOG, POSTING, ITEMS)} AS "
            + " UNION ALL BY NAME ".join(
                f"SELECT {literal(feed)} AS feed, * FROM {identifier(POSTING, feed)}"
                for (feed,) in feeds
            )
        )
        connection.execute(
            f"COMMENT ON VIEW {identifier(CATALOG, POSTING, ITEMS)} IS"
            " 'A row is a document that was to be posted, of whichever feed.'"
        )
