"""Source documents against Intacct's records and the posting ledger: each gets one status."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG, StagingSession, Warehouse
from intacct_dagster.warehouse.errors import NotMaterialized, ReconciliationRefused, SchemaChanged
from intacct_dagster.warehouse.feeds.payloads import payload, payload_changes, payload_hash
from intacct_dagster.warehouse.feeds.read import FEED
from intacct_dagster.warehouse.feeds.spec import FeedSpec
from intacct_dagster.warehouse.partitions import (
    Partition,
    delete_partitions,
    stage_partitions,
)
from intacct_dagster.warehouse.raw.names import ENTITY, INTACCT, KEY, table_name
from intacct_dagster.warehouse.sql import identifier, literal, readable_amount, statement
from intacct_dagster.warehouse.tables import (
    AMOUNT,
    TIME,
    TableColumn,
    ensure_table,
    existing_columns,
    stage_records,
)
from intacct_dagster.warehouse.types import column_name

RECONCILED = "reconciled"

STATUSES = (
    "matched",
    "different",
    "changed",
    "missing",
    "duplicate",
    "invalid",
    "posted",
    "rejected",
    "uncertain",
    "duplicate_in_intacct",
    "cancelled",
)
"""Every status that a source document can have; see reconcile.sql for what each means."""

#: Statuses that checks list, and how many documents of each in a partition.
FLAGGED = ("duplicate_in_intacct", "cancelled")
SHOWN = 100

RECONCILED_COLUMNS = (
    TableColumn("_entity", "VARCHAR", "The document's entity: half the partition"),
    TableColumn("_day", "DATE", "The document's date: the partition's other half"),
    TableColumn("source_id", "VARCHAR", "The document's id in the source system"),
    TableColumn("number", "VARCHAR", "Its number, as Intacct is to keep it"),
    TableColumn("party", "VARCHAR", "Its vendor or customer, where numbers are each party's own"),
    TableColumn("occurrence", "BIGINT", "1 where the document came first, 2 where it came again"),
    TableColumn("status", "VARCHAR", f"One of {', '.join(STATUSES)}"),
    TableColumn("reason", "VARCHAR", "Why it has this status, where that needs saying"),
    TableColumn(
        "differences",
        "JSON",
        'For each field that differs: {"source": …, "intacct" or "posted": …}',
    ),
    TableColumn("intacct_key", "VARCHAR", "Intacct's key of the one record with this id"),
    TableColumn("amount", AMOUNT, "The document's amount; 0 if the feed has none"),
    TableColumn("file", "VARCHAR", "The file in which it begins"),
    TableColumn("line", "BIGINT", "The line of that file on which it begins"),
    TableColumn("lines", "BIGINT", "How many lines it has"),
    TableColumn("payload", "VARCHAR", "What Intacct would be sent; null where nothing would be"),
    TableColumn("payload_hash", "VARCHAR", "SHA-256 of the payload"),
    TableColumn("run_id", "VARCHAR", "The run that reconciled it"),
    TableColumn("reconciled_at", TIME, "When it was reconciled"),
)
_LEDGER = (
    TableColumn("entity", "VARCHAR"),
    TableColumn("source_id", "VARCHAR"),
    TableColumn("state", "VARCHAR"),
    TableColumn("payload_hash", "VARCHAR"),
    TableColumn("reason", "VARCHAR"),
    TableColumn("ahead", "BOOLEAN"),
    TableColumn("rejected_hash", "VARCHAR"),
    TableColumn("change_reason", "VARCHAR"),
    TableColumn("day", "DATE"),
    TableColumn("amount", AMOUNT),
    TableColumn("intacct_key", "VARCHAR"),
    TableColumn("number", "VARCHAR"),
)
_PAYLOADS = (
    TableColumn("entity", "VARCHAR"),
    TableColumn("day", "DATE"),
    TableColumn("source_id", "VARCHAR"),
    TableColumn("occurrence", "BIGINT"),
    TableColumn("payload", "VARCHAR"),
    TableColumn("payload_hash", "VARCHAR"),
)
_CHANGED = (
    TableColumn("entity", "VARCHAR"),
    TableColumn("source_id", "VARCHAR"),
    TableColumn("differences", "VARCHAR"),
)
PostedPayloads = Callable[[str, Sequence[str]], Mapping[str, bytes]]
"""What was posted: (entity, source ids) -> the exact JSON objects, by source id."""

_FETCHED = 10_000  # lines in memory at a time while payloads are built
_DOCUMENTS_AT_ONCE = 2_000  # in memory


@dataclass(frozen=True, slots=True)
class LedgerState:
    """What the posting ledger knows of a document: planned, sending, posted, rejected, uncertain.

    `payload_hash` is the SHA-256 (hexadecimal) of what was planned or sent last. `ahead`: it was
    changed there after the copy was read. `rejected_hash` is of a change that Intacct rejected,
    or of one whose outcome is unknown; `change_reason` says so. `day`, `amount` and `intacct_key`
    are those with which it was posted; without a day it is not missed when its source drops it.
    """

    entity: str
    source_id: str
    state: str
    payload_hash: str | None = None
    reason: str | None = None
    ahead: bool = False
    rejected_hash: str | None = None
    change_reason: str | None = None
    day: date | None = None
    amount: str | None = None
    intacct_key: str | None = None
    number: str | None = None


class FlaggedDocument(NamedTuple):
    """A document that a person must see, and why."""

    entity: str
    day: date
    status: str
    source_id: str
    reason: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """How many documents of each (entity, day) have each status; what is 0 is left out.

    `flagged` are those of the statuses in FLAGGED, of each partition and status SHOWN at most.
    """

    counts: Mapping[tuple[str, date, str], int]
    flagged: Sequence[FlaggedDocument] = ()

    @property
    def documents(self) -> int:
        """All occurrences of documents: each is counted once."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Document:
    """A source document as it would be posted; `payload` is the exact JSON object."""

    source_id: str
    entity: str
    day: date
    payload: bytes
    amount: Decimal
    file: str
    line: int
    status: str

    @property
    def payload_hash(self) -> str:
        """SHA-256 of the payload, in hexadecimal."""
        return payload_hash(self.payload)


def reconcile(
    file: Warehouse,
    spec: FeedSpec,
    object: str,
    partitions: Collection[Partition],
    ledger: Sequence[LedgerState],
    run_id: str,
    *,
    posted: PostedPayloads = lambda entity, source_ids: {},
    at: datetime | None = None,
) -> ReconcileResult:
    """Give every source document of these partitions its status, in `reconciled.<feed>`.

    The partitions are replaced in one transaction. `ledger` holds the states of the documents of
    this object; at most one for an (entity, source id). `posted` is asked for what was posted of
    documents that would be sent otherwise now, to tell what changed.

    Raises NotMaterialized when the feed or the object was not read, or not every day of it: what
    was never loaded would look missing, and be posted twice. Raises ReconciliationRefused when
    Intacct's copy lacks a field of `match_on` or `compare`.
    """
    with file.staging() as staging:
        stage_partitions(staging.connection, partitions)
        if spec.partner is not None and file.path.exists():
            with staging.attached(read_only=True) as connection:
                there = existing_columns(connection, CATALOG, INTACCT, table_name(object))
            spec = spec.comparing_partner({each.name for each in there})
        states = (
            (
                *(s.entity, s.source_id, s.state, s.payload_hash, s.reason),
                *(s.ahead, s.rejected_hash, s.change_reason),
                *(s.day, s.amount, s.intacct_key, s.number),
            )
            for s in ledger
        )
        stage_records(staging.connection, "ledger", _LEDGER, states, staging.scratch)
        _copy(staging, spec, object)
        staging.connection.execute(
            statement(
                __name__, "reconcile_matches", differences=_differences(staging.connection, spec)
            )
        )
        stage_records(
            staging.connection,
            "payloads",
            _PAYLOADS,
            _payloads(staging.connection, spec),
            staging.scratch,
        )
        stage_records(
            staging.connection,
            "changed",
            _CHANGED,
            _changed(staging.connection, spec, posted),
            staging.scratch,
        )
        _replace(staging, spec, run_id, at or datetime.now(UTC))
        counts = staging.connection.execute(
            "SELECT _entity, _day, status, count(*) FROM memory.main.reconciled"
            " GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        flagged = staging.connection.execute(
            "SELECT _entity, _day, status, source_id, reason, amount FROM memory.main.reconciled"
            " WHERE list_contains($flagged::VARCHAR[], status)"
            " QUALIFY row_number() OVER (PARTITION BY _entity, _day, status ORDER BY source_id)"
            " <= $shown ORDER BY ALL",
            {"flagged": list(FLAGGED), "shown": SHOWN},
        ).fetchall()
    return ReconcileResult(
        {(entity, day, status): n for entity, day, status, n in counts},
        [FlaggedDocument(*row) for row in flagged],
    )


@dataclass(frozen=True)
class Documents:
    """Documents that lie on disk, not in memory: they can be gone through again and again."""

    _connection: DuckDBPyConnection

    def of(self, entity: str | None = None, *statuses: str) -> Iterator[Document]:
        """Those of an entity (None: of all) with one of these statuses (none named: with any), by
        (entity, day, source id). Several threads may read at once."""
        rows = self._connection.cursor().execute(
            "SELECT source_id, _entity, _day, payload, amount, file, line, status"
            " FROM memory.main.documents WHERE ($entity IS NULL OR _entity = $entity)"
            " AND (len($statuses::VARCHAR[]) = 0 OR list_contains($statuses::VARCHAR[], status))"
            " ORDER BY _entity, _day, source_id",
            {"entity": entity, "statuses": list(statuses)},
        )
        while batch := rows.fetchmany(_DOCUMENTS_AT_ONCE):
            for source_id, of, day, text, amount, file_name, line, status in batch:
                yield Document(source_id, of, day, text.encode(), amount, file_name, line, status)


@contextmanager
def documents(
    file: Warehouse,
    spec: FeedSpec,
    partitions: Collection[Partition],
    statuses: Collection[str] = ("missing",),
) -> Iterator[Documents]:
    """The documents of these partitions with one of these statuses.

    What comes is exactly what was reconciled, whatever became of the files since. Documents that
    are invalid, duplicates or in Intacct already have no payload and never come. Raises
    NotMaterialized when the feed was not reconciled yet.
    """
    with file.staging() as staging:
        stage_partitions(staging.connection, partitions)
        with staging.attached(read_only=True) as connection:
            if not existing_columns(connection, CATALOG, RECONCILED, spec.name):
                raise NotMaterialized(
                    f"There is no {RECONCILED}.{spec.name} yet.\n"
                    f"Materialize the reconciliation of {spec.name} first."
                )
            staging.stage(
                "documents",
                "SELECT source_id, _entity, _day, payload, amount, file, line, status"
                f" FROM {identifier(CATALOG, RECONCILED, spec.name)} AS reconciled"
                " INNER JOIN memory.main.partitions"
                " ON partitions.entity = _entity AND partitions.day = _day"
                " WHERE payload IS NOT NULL AND status IN"
                f" ({', '.join(map(literal, statuses))})"
                " ORDER BY _entity, _day, source_id",
            )
        yield Documents(staging.connection)


def _copy(staging: StagingSession, spec: FeedSpec, object: str) -> None:
    """Copy what is compared out of the file; the file is held for that only."""
    table = table_name(object)
    with staging.attached(read_only=True) as connection:
        _refuse_unread_feed(connection, spec)
        _refuse_unread_object(connection, spec, object)
        held = {each.name for each in existing_columns(connection, CATALOG, FEED, spec.name)}
        connection.execute(
            statement(
                __name__,
                "reconcile_lines",
                feed=identifier(CATALOG, FEED, spec.name),
                document=_document(held, spec),
                columns=", ".join(f"feed.{identifier(each)}" for each in held - {_DOCUMENT}),
            )
        )
        amount = spec.amount_column
        compared = ", ".join(
            f"c{position} := any_value({identifier(column)})"
            for position, column in enumerate(spec.compare.values())
        )
        connection.execute(
            statement(
                __name__,
                "reconcile_documents",
                source_id=identifier(spec.source_id),
                party=_party(spec),
                amount="0" if amount is None else f"coalesce(any_value({identifier(amount)}), 0)",
                compared=f"struct_pack({compared})" if compared else "NULL",
            )
        )
        picked = [
            f"{identifier(column_name(KEY))} AS key",
            f"{identifier(column_name(ENTITY))} AS entity_id",
            f"{identifier(column_name(spec.match_on))} AS match_on",
            f"{_intacct_party(connection, spec, table)} AS party",
            *(
                f"{identifier(column_name(path))} AS f{position}"
                for position, path in enumerate(spec.compare)
            ),
        ]
        connection.execute(f"USE {CATALOG}")
        connection.execute(
            statement(
                __name__,
                "reconcile_intacct",
                columns=", ".join(picked),
                current=identifier(CATALOG, INTACCT, table),
                match_on=identifier(column_name(spec.match_on)),
            )
        )


_DOCUMENT = "_document"


def _document(held: Collection[str], spec: FeedSpec) -> str:
    """The identity of a line's document; an older version stored none."""
    if _DOCUMENT not in held:
        return spec.document_sql
    return f"coalesce({_DOCUMENT}, {spec.document_sql})"


def _party(spec: FeedSpec) -> str:
    column = spec.party_column
    return "NULL::VARCHAR" if column is None else f"CAST({identifier(column)} AS VARCHAR)"


def _intacct_party(connection: DuckDBPyConnection, spec: FeedSpec, table: str) -> str:
    if spec.party_column is None or spec.party is None:
        return "NULL::VARCHAR"
    name = column_name(spec.party)
    there = {each.name for each in existing_columns(connection, CATALOG, INTACCT, table)}
    return f"CAST({identifier(name)} AS VARCHAR)" if name in there else "NULL::VARCHAR"


def _refuse_unread_feed(connection: DuckDBPyConnection, spec: FeedSpec) -> None:
    read = {each.name for each in existing_columns(connection, CATALOG, FEED, spec.name)}
    if not read:
        raise NotMaterialized(
            f"There is no {FEED}.{spec.name} yet.\nMaterialize the feed {spec.name} first."
        )
    unread = [column for column in spec.columns if column not in read]
    if unread:
        raise NotMaterialized(
            f"{FEED}.{spec.name} was read before the feed named {', '.join(unread)}.\n"
            f"Materialize the feed {spec.name} again."
        )


def _refuse_unread_object(connection: DuckDBPyConnection, spec: FeedSpec, object: str) -> None:
    table = table_name(object)
    current = {each.name for each in existing_columns(connection, CATALOG, INTACCT, table)}
    if not current:
        raise NotMaterialized(
            f"There is no {INTACCT}.{table} yet, so every document would look missing.\n"
            f"Materialize {object}, raw and current, first."
        )
    _refuse_gaps(connection, object)
    fields = [spec.match_on, *spec.compare]
    absent = [path for path in fields if column_name(path) not in current]
    if absent:
        raise ReconciliationRefused(
            f"Feed {spec.name} is compared with {', '.join(absent)}, which {INTACCT}.{table} "
            "does not have.\n"
            f"Add it to the `fields:` of {object} in intacct.yaml and materialize it again, or "
            "correct `match_on:` and `compare:`."
        )


def _refuse_gaps(connection: DuckDBPyConnection, object: str) -> None:
    gaps = connection.execute(statement(__name__, "reconcile_gaps"), {"object": object}).fetchall()
    if not gaps:
        return
    entity, first_day, day, days = gaps[0]
    if first_day is None:
        missing = f"its first day for {entity}, which holds all older records, was never loaded"
    else:
        missing = f"{days} of its days for {entity} are not loaded, the first of them {day}"
    raise NotMaterialized(
        f"{object} is not complete in the warehouse: {missing}.\n"
        "Materialize what is missing first: a record that is not loaded would look missing in "
        "Intacct, and be posted twice."
    )


def _differences(connection: DuckDBPyConnection, spec: FeedSpec) -> str:
    """An expression for the JSON object of what differs between a document and its record."""
    types = {
        column.name: column.type
        for column in existing_columns(connection, "memory", "main", "intacct")
    }
    parts = []
    for position, (path, column) in enumerate(spec.compare.items()):
        ours, theirs = f"documents.compared.c{position}", f"intacct.f{position}"
        number = types[f"f{position}"].startswith(("BIGINT", "DECIMAL"))
        if number and spec.kind(column) in {"decimal", "integer"}:
            ours, theirs = f"CAST({ours} AS {AMOUNT})", f"CAST({theirs} AS {AMOUNT})"
            shown = (readable_amount(ours), readable_amount(theirs))
        else:
            ours, theirs = (f"nullif(CAST({side} AS VARCHAR), '')" for side in (ours, theirs))
            shown = (ours, theirs)
        name = literal('"' + path.replace("\\", "\\\\").replace('"', '\\"') + '":')
        parts.append(
            f"CASE WHEN {ours} IS DISTINCT FROM {theirs} THEN concat({name},"
            f" json_object('source', {shown[0]}, 'intacct', {shown[1]})) END"
        )
    listed = ", ".join(parts) or "NULL"
    return f"concat('{{', concat_ws(',', {listed}), '}}')"


def _payloads(connection: DuckDBPyConnection, spec: FeedSpec) -> Iterator[tuple[object, ...]]:
    """The payload of every document that is not in Intacct and may be posted, now or later."""
    rows = connection.cursor().execute(
        statement(
            __name__,
            "reconcile_postable",
            columns=", ".join(f"feed_lines.{identifier(column)}" for column in spec.columns),
            line_order=_line_order(spec),
        )
    )

    def fetched() -> Iterator[tuple[object, ...]]:
        while batch := rows.fetchmany(_FETCHED):
            yield from batch

    for (entity, day, source_id), lines in groupby(fetched(), key=lambda row: row[:3]):
        cells = [dict(zip(spec.columns, row[3:], strict=True)) for row in lines]
        document = payload(spec, cells)
        yield entity, day, source_id, 1, document.decode(), payload_hash(document)


def _changed(
    connection: DuckDBPyConnection, spec: FeedSpec, posted: PostedPayloads
) -> Iterator[tuple[object, ...]]:
    """(entity, source id, differences) of documents that were posted otherwise than they are now.

    Fields that are compared with Intacct anyway are left to that: a correction there counts.
    """
    rows = connection.execute(statement(__name__, "reconcile_changed")).fetchall()
    for entity, of_entity in groupby(rows, key=lambda row: row[0]):
        now = {source_id: payload.encode() for _, source_id, payload in of_entity}
        before = posted(entity, list(now))
        for source_id, document in now.items():
            if source_id not in before:
                yield entity, source_id, "{}"
                continue
            changes = {
                path: {"source": new, "posted": old}
                for path, (old, new) in payload_changes(before[source_id], document).items()
                if path not in spec.compare
            }
            if changes:
                yield entity, source_id, json.dumps(changes, ensure_ascii=False)


def _line_order(spec: FeedSpec) -> str:
    """The order of a document's lines: by number, so that a copy of a file gives the same bytes."""
    if spec.line_id is None:
        return "feed_lines._file, feed_lines._line"
    line_id = f"feed_lines.{identifier(spec.line_id)}"
    return (
        f"TRY_CAST({line_id} AS BIGINT) NULLS LAST, {line_id}, feed_lines._file, feed_lines._line"
    )


def _replace(staging: StagingSession, spec: FeedSpec, run_id: str, at: datetime) -> None:
    """Decide the statuses in memory, prove that each document has one, and write them."""
    connection = staging.connection
    given = {"run_id": run_id, "at": at, "changes": spec.changes}
    connection.execute(statement(__name__, "reconcile"), given)
    [(documents, distinct, rows)] = connection.execute(
        "SELECT (SELECT count(*) FROM memory.main.documents),"
        " (SELECT count(DISTINCT (_entity, _day, source_id, occurrence))"
        " FROM memory.main.reconciled), count(*)"
        " FROM memory.main.reconciled WHERE status <> 'cancelled'"
    ).fetchall()
    cancelled = connection.execute(
        "SELECT count(*) FROM memory.main.reconciled WHERE status = 'cancelled'"
    ).fetchall()[0][0]
    if not documents == distinct - cancelled == rows:
        raise ReconciliationRefused(
            f"Feed {spec.name}: {documents} documents would get {rows} statuses; nothing was "
            "written.\nThe posting ledger names a document twice, or this is a fault of this "
            "program: please report it."
        )
    about = f"Feed {spec.name} against Intacct. A row is one occurrence of a source document."
    with staging.transaction():
        try:
            ensure_table(connection, CATALOG, RECONCILED, spec.name, RECONCILED_COLUMNS, about)
        except SchemaChanged as error:
            raise ReconciliationRefused(str(error)) from error
        table = identifier(CATALOG, RECONCILED, spec.name)
        delete_partitions(connection, table)
        connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM memory.main.reconciled")
