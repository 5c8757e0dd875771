"""The plan of a feed: which documents would be posted, which are held and why: `plan.<feed>`."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG, StagingSession, Warehouse
from intacct_dagster.warehouse.errors import FeedError
from intacct_dagster.warehouse.partitions import (
    Partition,
    replace_rows,
    rows_of,
    stage_partitions,
)
from intacct_dagster.warehouse.raw.names import ENTITY, INTACCT, KEY, table_name
from intacct_dagster.warehouse.reconciliation.comparison import RECONCILED
from intacct_dagster.warehouse.sql import identifier, literal, statement
from intacct_dagster.warehouse.tables import (
    AMOUNT,
    TIME,
    TableColumn,
    existing_columns,
    stage_records,
)
from intacct_dagster.warehouse.types import column_name

PLAN = "plan"

#: Of the hash of a plan, as much as a person is shown and has to type.
SHOWN_HASH = 12

PLAN_COLUMNS = (
    TableColumn("_entity", "VARCHAR", "The document's entity: half the partition"),
    TableColumn("_day", "DATE", "The document's date: the partition's other half"),
    TableColumn("source_id", "VARCHAR", "The document's id in the source system"),
    TableColumn("action", "VARCHAR", "create, change (its record), or held: by a gate"),
    TableColumn("gate", "VARCHAR", "The first gate that holds it"),
    TableColumn("reason", "VARCHAR", "Why it is held: all reasons of all gates"),
    TableColumn("what_to_do", "VARCHAR", "What a person does about the first of them"),
    TableColumn("amount", AMOUNT, "The document's amount; 0 if the feed has none"),
    TableColumn("payload_hash", "VARCHAR", "SHA-256 of what Intacct would be sent"),
    TableColumn("document_hash", "VARCHAR", "SHA-256 of the whole document, as it was reconciled"),
    TableColumn("change", "VARCHAR", "What is sent to change its record"),
    TableColumn("changes_key", "VARCHAR", "The record that is changed"),
    TableColumn("changes_as_of", "VARCHAR", "The change time of the record that it was made for"),
    TableColumn("plan", "VARCHAR", "The plan of the whole partition, by what it would do"),
    TableColumn("run_id", "VARCHAR", "The run that planned it"),
    TableColumn("planned_at", TIME, "When it was planned"),
)
_APPROVED = (
    TableColumn("entity", "VARCHAR"),
    TableColumn("day", "DATE"),
    TableColumn("plan", "VARCHAR"),
)
_FETCHED = 2_000  # documents in memory at a time while they are posted
_DOCUMENTS = (
    TableColumn("source_id", "VARCHAR"),
    TableColumn("number", "VARCHAR"),
    TableColumn("entity", "VARCHAR"),
    TableColumn("party", "VARCHAR"),
    TableColumn("amount", AMOUNT),
    TableColumn("dated", "VARCHAR"),
)


@dataclass(frozen=True, slots=True)
class PlannedDocument:
    """A document of a plan. `gate`, `reason` and `what_to_do` are of one that is held.

    `payload_hash` is of what is sent. Of a document whose record `changes_key` is to be changed,
    `change` is that, made for the record as it was at `changes_as_of`; and `document_hash` is of
    the document as a whole, which is otherwise the same.
    """

    entity: str
    day: date
    source_id: str
    amount: Decimal
    payload_hash: str
    gate: str | None = None
    reason: str | None = None
    what_to_do: str | None = None
    document_hash: str | None = None
    change: bytes | None = None
    changes_key: str | None = None
    changes_as_of: str | None = None

    @property
    def held(self) -> bool:
        """Whether a gate keeps it back."""
        return self.gate is not None

    @property
    def action(self) -> str:
        """create, change or held."""
        return "held" if self.held else "create" if self.change is None else "change"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a document is known by: its number, whom it is with, how much, and of which day."""

    source_id: str
    number: str
    entity: str
    party: str
    amount: Decimal
    dated: str


class PlanHash:
    """The name of a plan: of what it would create and change, whatever else is held.

    A document more or less, another payload, or a record that changed since, makes another plan. A
    plan that creates and changes nothing has the empty name.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._last: tuple[str, ...] | None = None

    def add(self, document: PlannedDocument) -> None:
        """One more document; they come by (entity, day, source id). Raises ValueError else."""
        if document.held:
            return
        what = (
            *(document.entity, document.day.isoformat(), document.source_id, document.payload_hash),
            # the same change of a record that was changed there and back is not the same plan
            *((document.changes_as_of,) if document.changes_as_of else ()),
        )
        if self._last is not None and what < self._last:
            raise ValueError(f"{document.source_id} comes after {self._last[2]} in a plan")
        self._last = what
        for part in what:
            self._digest.update(f"{len(part)}:{part}".encode())

    def __str__(self) -> str:
        return self._digest.hexdigest() if self._last is not None else ""


def plan_hash(documents: Iterable[PlannedDocument]) -> str:
    """Return the hash of the plan of these documents, in whichever order they come."""
    found = PlanHash()
    for each in sorted(documents, key=lambda each: (each.entity, each.day, each.source_id)):
        found.add(each)
    return str(found)


def by_partition(
    documents: Iterable[PlannedDocument],
) -> dict[Partition, list[PlannedDocument]]:
    """Return the documents of each partition that has any."""
    parts: dict[Partition, list[PlannedDocument]] = {}
    for each in documents:
        parts.setdefault((each.entity, each.day), []).append(each)
    return parts


def plan_hashes(documents: Iterable[PlannedDocument]) -> dict[Partition, str]:
    """Return the hash of the plan of each partition that has documents."""
    return {partition: plan_hash(each) for partition, each in by_partition(documents).items()}


def replace_plan(
    file: Warehouse,
    feed: str,
    partitions: Collection[Partition],
    documents: Iterable[PlannedDocument],
    *,
    run_id: str,
    at: datetime,
) -> dict[Partition, str]:
    """Replace these partitions of `plan.<feed>` in one transaction; the hash of each.

    The documents come by (entity, day, source id). Raises ValueError for one of another partition.
    """
    hashes = {partition: PlanHash() for partition in partitions}

    def records() -> Iterator[tuple[object, ...]]:
        for each in documents:
            if (each.entity, each.day) not in hashes:
                raise ValueError(
                    f"feed {feed}: a planned document is of a partition that is not replaced"
                )
            hashes[each.entity, each.day].add(each)
            yield (
                each.entity,
                each.day,
                each.source_id,
                each.action,
                each.gate,
                each.reason,
                each.what_to_do,
                each.amount,
                each.payload_hash,
                each.document_hash or each.payload_hash,
                None if each.change is None else each.change.decode(),
                each.changes_key,
                each.changes_as_of,
                None,
                run_id,
                at,
            )

    def named(staging: StagingSession) -> None:
        rows = ((entity, day, str(found)) for (entity, day), found in hashes.items())
        stage_records(staging.connection, "hashes", _APPROVED, rows, staging.scratch)
        staging.connection.execute(
            "UPDATE memory.main.fresh SET plan = hashes.plan FROM memory.main.hashes"
            " WHERE hashes.entity = _entity AND hashes.day = _day"
        )

    about = f"Feed {feed}. A row is a document that is to be posted, or is held back by a gate."
    replace_rows(file, PLAN, feed, PLAN_COLUMNS, about, partitions, records(), filled=named)
    return {partition: str(found) for partition, found in hashes.items()}


def planned_documents(
    file: Warehouse, feed: str, partitions: Collection[Partition]
) -> list[PlannedDocument]:
    """The plan of these partitions as materialized last; empty if the feed was never planned."""
    columns = ("_entity", "_day", "source_id", "amount", "payload_hash")
    held = ("gate", "reason", "what_to_do")
    change = ("document_hash", "change", "changes_key", "changes_as_of")
    rows = rows_of(file, PLAN, feed, (*columns, *held, *change), partitions)
    return [
        PlannedDocument(*(*known, None if body is None else body.encode(), key, as_of))
        for *known, body, key, as_of in rows
    ]


class DocumentToPost(NamedTuple):
    """One document to create, or one change of a posted document.

    `payload` is the exact JSON object to send. For a change, it holds the changed fields of the
    record `key`; `document` is the complete document that Intacct is to hold afterwards, and
    `as_of` is the change time of the record that the change was computed from.
    """

    source_id: str
    day: date
    amount: str
    payload: bytes
    key: str | None = None
    document: bytes | None = None
    as_of: str | None = None


@dataclass(frozen=True)
class ToPost:
    """The documents that may be posted now, on disk, not in memory.

    `changed` is how many others could be, if the plan had them as they were reconciled last.
    """

    changed: int
    _connection: DuckDBPyConnection

    def documents(self, entity: str, action: str) -> Iterator[DocumentToPost]:
        """Those of an entity to create or change (the action), by (day, source id). Several threads
        may read at once."""
        rows = self._connection.cursor().execute(
            "SELECT _day, source_id, amount, payload, change, changes_key, changes_as_of"
            " FROM memory.main.to_post WHERE _entity = ? AND action = ? ORDER BY _day, source_id",
            [entity, action],
        )
        while batch := rows.fetchmany(_FETCHED):
            for day, source_id, amount, payload, change, key, as_of in batch:
                document = payload.encode()
                if change is None:
                    yield DocumentToPost(source_id, day, str(amount), document)
                else:
                    body = change.encode()
                    yield DocumentToPost(source_id, day, str(amount), body, key, document, as_of)


@contextmanager
def to_post(
    file: Warehouse,
    feed: str,
    partitions: Collection[Partition],
    statuses: Collection[str],
    approved: Collection[tuple[str, date, str]] | None,
) -> Iterator[ToPost]:
    """What of the plan of these partitions may be posted, as reconciled with these statuses.

    Of partitions whose plan is in `approved`, (entity, day, plan), or of all if that is None.
    Raises FeedError if a source id is on two days: it is one document, and would be posted once.
    """
    with file.staging() as staging:
        connection = staging.connection
        stage_partitions(connection, partitions)
        stage_records(connection, "approved", _APPROVED, approved or (), staging.scratch)
        tables = {
            name: identifier(CATALOG, schema, feed)
            for name, schema in (("plan", PLAN), ("reconciled", RECONCILED))
        }
        given = {
            "approved": "true"
            if approved is None
            else "(planned._entity, planned._day, planned.plan) IN"
            " (SELECT (entity, day, plan) FROM memory.main.approved)",
            "statuses": ", ".join(map(literal, statuses)),
        }
        changed = 0
        with staging.attached(read_only=True):
            if existing_columns(connection, CATALOG, RECONCILED, feed):
                held = {each.name for each in existing_columns(connection, CATALOG, PLAN, feed)}
                if "change" not in held:
                    # nothing was planned yet, or by an older version
                    nothing = ", ".join(f"CAST(NULL AS {c.type}) AS {c.name}" for c in PLAN_COLUMNS)
                    tables["plan"] = f"(SELECT {nothing} WHERE false)"
                staging.stage("to_post", statement(__name__, "plan_to_post", **tables, **given))
                ((changed,),) = connection.execute(
                    statement(__name__, "plan_changed", **tables, **given)
                ).fetchall()
            else:
                columns = ("_entity", "_day", "source_id", "action", "amount", "payload", "change")
                nothing = ", ".join(
                    f"CAST(NULL AS VARCHAR) AS {each}"
                    for each in (*columns, "changes_key", "changes_as_of")
                )
                staging.stage("to_post", f"SELECT {nothing} WHERE false")
        twice = connection.execute(
            "SELECT _entity FROM memory.main.to_post GROUP BY _entity, action"
            " HAVING count(*) <> count(DISTINCT source_id) ORDER BY _entity"
        ).fetchall()
        if twice:
            raise FeedError(
                feed,
                f"a source id of {twice[0][0]} is planned on two days",
                "Materialize the feed and its plan again for both.",
            )
        yield ToPost(changed, connection)


def held_plans(
    file: Warehouse, feed: str, partitions: Collection[Partition]
) -> dict[Partition, str]:
    """Return the hash of the plan that this warehouse holds of each partition that has one.

    A partition whose plan has no document is left out, as is one that was never planned.
    """
    with file.staging() as staging:
        stage_partitions(staging.connection, partitions)
        with staging.attached(read_only=True) as connection:
            if not existing_columns(connection, CATALOG, PLAN, feed):
                return {}
            rows = connection.execute(
                f"SELECT _entity, _day, any_value(plan) FROM {identifier(CATALOG, PLAN, feed)}"
                " SEMI JOIN memory.main.partitions AS these"
                " ON these.entity = _entity AND these.day = _day GROUP BY ALL"
            ).fetchall()
    return {(entity, day): plan for entity, day, plan in rows}


def numbers_planned(
    file: Warehouse, feed: str, partitions: Collection[Partition]
) -> dict[tuple[str, str], int]:
    """How many documents of the plan no gate holds, by (entity, action): create or change."""
    with file.staging() as staging:
        stage_partitions(staging.connection, partitions)
        with staging.attached(read_only=True) as connection:
            if not existing_columns(connection, CATALOG, PLAN, feed):
                return {}
            counts = connection.execute(
                f"SELECT _entity, action, count(*) FROM {identifier(CATALOG, PLAN, feed)}"
                " SEMI JOIN memory.main.partitions AS these"
                " ON these.entity = _entity AND these.day = _day WHERE gate IS NULL GROUP BY ALL"
            ).fetchall()
    return {(entity, action): number for entity, action, number in counts}


def find_possible_duplicates(
    file: Warehouse,
    object: str,
    match_on: str,
    documents: Iterable[Mark],
    *,
    party: str,
    total: str | None,
    dated: str,
    numbers: Sequence[str],
) -> list[tuple[str, str, str]]:
    """Return records of the copy that look like a document and do not carry its id.

    (source id, Intacct's key, why): of the same party with the source id in another field of
    `numbers`, or of the same party, `total` and `dated`, with nothing in `match_on`. The paths are
    Intacct's; what the copy does not have is not looked at.
    """
    table = table_name(object)
    with file.staging() as staging:
        records = (
            (each.source_id, each.number, each.entity, each.party, each.amount, each.dated)
            for each in documents
        )
        stage_records(staging.connection, "documents", _DOCUMENTS, records, staging.scratch)
        with staging.attached(read_only=True) as connection:
            there = {each.name for each in existing_columns(connection, CATALOG, INTACCT, table)}
            if not {column_name(party), column_name(match_on), column_name(ENTITY)} <= there:
                return []
            alike = [
                (
                    f"intacct.{identifier(column_name(path))} = documents.number",
                    f"a record of the same party has its id in {path}",
                )
                for path in numbers
                if path != match_on and column_name(path) in there
            ]
            if total is not None and {column_name(total), column_name(dated)} <= there:
                same = (
                    f"coalesce(intacct.{identifier(column_name(match_on))}, '') = ''"
                    f" AND intacct.{identifier(column_name(total))} = documents.amount"
                    f" AND CAST(intacct.{identifier(column_name(dated))} AS VARCHAR)"
                    " = documents.dated"
                )
                why = "a record of the same party, amount and date is there without an id"
                alike.append((same, why))
            if not alike:
                return []
            connection.execute(f"USE {CATALOG}")
            return connection.execute(
                statement(
                    __name__,
                    "plan_possible_duplicates",
                    current=identifier(CATALOG, INTACCT, table),
                    key=identifier(column_name(KEY)),
                    entity=identifier(column_name(ENTITY)),
                    party=identifier(column_name(party)),
                    match_on=identifier(column_name(match_on)),
                    why=" ".join(f"WHEN {test} THEN {literal(why)}" for test, why in alike),
                )
            ).fetchall()
