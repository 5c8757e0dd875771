"""The log of versions: raw tables to which loads append, and the rows of `meta` that describe them.

A row of `raw.<object>` is one version of a record as the session of one entity read it. A load adds
versions and takes none away. It is there when its row in `meta.loads` is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Literal

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG
from intacct_dagster.warehouse.errors import SchemaChanged
from intacct_dagster.warehouse.raw.deletes import ensure_tombstones
from intacct_dagster.warehouse.raw.names import (
    CHANGED,
    KEY,
    META,
    RAW,
    documents_name,
    table_name,
)
from intacct_dagster.warehouse.sql import identifier, statement
from intacct_dagster.warehouse.tables import (
    TIME,
    TableColumn,
    ensure_table,
    existing_columns,
)
from intacct_dagster.warehouse.types import column_name
from intacct_dagster.warehouse.widening import widen_columns

#: What the unit of an object's versions is: a record; a document, of whose lines a version has all;
#: or a record of an object that has no change times and is read whole.
Kind = Literal["records", "lines", "snapshot"]

#: Rows that were adopted are taken to have been read with the default of `reading`.
_LAG_ADOPTED: Final = timedelta(days=1, seconds=120)

#: What every raw table has besides the fields of its object.
RAW_COLUMNS: Final = (
    TableColumn("_entity", "VARCHAR", "The entity whose session read this version"),
    TableColumn("_day", "DATE", "The UTC day of the version's change"),
    TableColumn("_run_id", "VARCHAR", "The run that loaded this version"),
    TableColumn("_extracted_at", TIME, "When the reading began that brought this version"),
    TableColumn("_read_at", TIME, "When Intacct answered with this version, by its own clock"),
    TableColumn("_load_id", "BIGINT", "The load that brought this version: see meta.loads"),
)
#: What a load of lines says of each document that it covered, also of those without lines.
_DOCUMENT_COLUMNS: Final = (
    TableColumn("key", "VARCHAR", "The document's key"),
    TableColumn("changed", TIME, "When the document was changed last"),
    TableColumn("lines", "BIGINT", "How many lines it had"),
    *(column for column in RAW_COLUMNS if column.name in ("_entity", "_read_at", "_load_id")),
)
_LOADS: Final = (
    TableColumn("load_id", "BIGINT", "Ascending in the order in which loads were committed"),
    TableColumn("object", "VARCHAR", "The REST object, e.g. accounts-receivable/invoice"),
    TableColumn("entity", "VARCHAR", "The entity whose session read"),
    TableColumn("kind", "VARCHAR", "records, lines, snapshot, by_key or delete_scan"),
    TableColumn("run_id", "VARCHAR"),
    TableColumn("extracted_at", TIME, "When reading began"),
    TableColumn("read_from", TIME, "The first answer, by Intacct's clock"),
    TableColumn("read_to", TIME, "The last answer, by Intacct's clock"),
    TableColumn("first_day", "DATE", "The first of the days that were read"),
    TableColumn("last_day", "DATE", "The last of them"),
    TableColumn("read_until", TIME, "Changes before this were read; later ones were not"),
    TableColumn("rows", "BIGINT", "Versions that it added; a repeat that was dropped is none"),
    TableColumn("distinct_keys", "BIGINT", "Keys that were read"),
    TableColumn("total_count", "BIGINT", "Rows that Intacct counted"),
    TableColumn("requests", "BIGINT", "Requests that it took"),
    TableColumn("went_back", "BIGINT", "Records that had an earlier change time than read before"),
    TableColumn("withdrawn_at", TIME, "When `objects forget` withdrew it; null while it counts"),
)
_DAYS: Final = (
    TableColumn("object", "VARCHAR", "The REST object, e.g. accounts-receivable/invoice"),
    TableColumn("entity", "VARCHAR"),
    TableColumn("day", "DATE"),
    TableColumn("rows", "BIGINT", "Rows of this day that its last reading brought"),
    TableColumn("run_id", "VARCHAR"),
    TableColumn("extracted_at", TIME),
    TableColumn("takes_older", "BOOLEAN", "This day also holds all rows changed before it"),
    TableColumn("walk_days", "BIGINT", "How many days were read together with this one"),
    TableColumn("distinct_keys", "BIGINT", "Keys that were read, all those days together"),
    TableColumn("total_count", "BIGINT", "Rows that Intacct counted in those days"),
    TableColumn("requests", "BIGINT", "Requests that it took, all those days together"),
    TableColumn("read_until", TIME, "Changes from then on were not read: the day was not over"),
    TableColumn("snapshot", "BOOLEAN", "The object has no change times: all of it, as it was then"),
    TableColumn("dated_by", "VARCHAR", "The field whose day is the partition; null in a snapshot"),
    TableColumn("load_id", "BIGINT", "The load that read this day last: see meta.loads"),
    TableColumn("read_to", TIME, "When that load had its last answer, by Intacct's clock"),
)
_AS_OF: Final = (
    TableColumn("object", "VARCHAR", "The REST object, e.g. accounts-receivable/invoice"),
    TableColumn("entity", "VARCHAR", "The entity whose session reads"),
    TableColumn("as_of", TIME, "What did not change while it was read is as it was at this moment"),
    TableColumn("complete_since", TIME, "All changes since then are known; null if not proven"),
    TableColumn("deletes_as_of", TIME, "Records that went before then are gone here as well"),
)
_OBJECTS: Final = (
    TableColumn("object", "VARCHAR", "The REST object, e.g. accounts-receivable/invoice"),
    TableColumn("kind", "VARCHAR", "records, lines or snapshot"),
    TableColumn("unit", "VARCHAR", "The column whose value versions are of"),
    TableColumn("changed", "VARCHAR", "The column with the change time; null in a snapshot"),
    TableColumn("lag_seconds", "BIGINT", "How long a read may still show what was before"),
    TableColumn("maintained_load", "BIGINT", "The last load when repeats were dropped last"),
)
_ENTITIES: Final = (
    TableColumn("entity", "VARCHAR", "The entity's id, as sessions were bound to it"),
    TableColumn("name", "VARCHAR", "What it is called now: another id where it was renamed"),
    TableColumn("rank", "BIGINT", "Its place in intacct.yaml, from 0"),
)


@dataclass(frozen=True, slots=True)
class ObjectLog:
    """How the versions of an object are kept.

    Attributes:
        unit: The column whose value versions are of: the key, or of lines the document's.
        changed: The column with the change time; None in a snapshot.
        lag: How long after a change a read may still show what was before.
    """

    object: str
    kind: Kind
    unit: str
    changed: str | None
    lag: timedelta

    @property
    def raw(self) -> str:
        """The raw table, quoted."""
        return identifier(CATALOG, RAW, table_name(self.object))

    @property
    def documents(self) -> str:
        """The table of the documents that loads of lines covered, quoted."""
        return identifier(CATALOG, RAW, documents_name(self.object))


def ensure_log(
    connection: DuckDBPyConnection, log: ObjectLog, columns: Sequence[TableColumn]
) -> None:
    """Make the tables of an object's log, and adopt what an older version kept of it.

    Meant for the transaction that appends. Raises SchemaChanged, also where an object that was
    read by its own changes is to be read as lines of documents, or the other way round.
    """
    ensure_meta(connection)
    table = table_name(log.object)
    held = {column.name for column in existing_columns(connection, CATALOG, RAW, table)}
    columns = widen_columns(connection, CATALOG, RAW, table, columns)
    ensure_table(connection, CATALOG, RAW, table, (*columns, *RAW_COLUMNS), _about(log.object))
    if log.kind == "lines":
        ensure_table(
            connection,
            CATALOG,
            RAW,
            documents_name(log.object),
            _DOCUMENT_COLUMNS,
            f"{log.object}: a row is a document whose lines a load read, all of one version of it",
        )
    if held and "_load_id" not in held:
        _adopt(connection, log)
    _remember(connection, log)


def adopt_log(connection: DuckDBPyConnection, object: str) -> None:
    """Make the log of an object of what an older version kept of it; nothing if there is none."""
    table = table_name(object)
    columns = existing_columns(connection, CATALOG, RAW, table)
    if not columns or read_log(connection, object) is not None:
        return
    ensure_meta(connection)
    last = connection.execute(
        "SELECT dated_by, snapshot FROM warehouse.meta.raw_loads WHERE object = ?"
        " ORDER BY extracted_at DESC LIMIT 1",
        [object],
    ).fetchall()
    dated_by, snapshot = last[0] if last else (None, False)
    log = ObjectLog(object, "records", column_name(KEY), column_name(CHANGED), _LAG_ADOPTED)
    if snapshot:
        log = replace(log, kind="snapshot", changed=None)
    elif dated_by not in (None, CHANGED):
        unit = f"{dated_by.removesuffix(CHANGED)}{KEY}"
        log = replace(log, kind="lines", unit=column_name(unit), changed=column_name(dated_by))
    own = {column.name for column in RAW_COLUMNS}
    ensure_log(connection, log, [each for each in columns if each.name not in own])


def ensure_meta(connection: DuckDBPyConnection) -> None:
    """Make the tables of `meta` that describe logs."""
    ensure_tombstones(connection)
    for name, columns, about in (
        ("loads", _LOADS, "One row per load: what it read, when, and the proof that it is whole"),
        (
            "raw_loads",
            _DAYS,
            "One row per (object, entity, day) that was read: by which load last, and its proof",
        ),
        ("as_of", _AS_OF, "One row per (object, entity): as of when it is known, and since when"),
        ("objects", _OBJECTS, "One row per object: how its versions are kept"),
        ("entities", _ENTITIES, "One row per entity that is or was configured"),
    ):
        ensure_table(connection, CATALOG, META, name, columns, about)


def read_log(connection: DuckDBPyConnection, object: str) -> ObjectLog | None:
    """Return how the versions of an object are kept; None before its first load."""
    if not existing_columns(connection, CATALOG, META, "objects"):
        return None
    rows = connection.execute(
        "SELECT kind, unit, changed, lag_seconds FROM warehouse.meta.objects WHERE object = ?",
        [object],
    ).fetchall()
    if not rows:
        return None
    kind, unit, changed, lag = rows[0]
    return ObjectLog(object, kind, unit, changed, timedelta(seconds=lag))


def next_load_id(connection: DuckDBPyConnection) -> int:
    """Return the id of the load that is being made, in its transaction."""
    return int(
        connection.execute(
            "SELECT coalesce(max(load_id), 0) + 1 FROM warehouse.meta.loads"
        ).fetchall()[0][0]
    )


def renamed_entities(connection: DuckDBPyConnection) -> dict[str, str]:
    """Return what entities are called now that were called otherwise, by their former id."""
    return dict(
        connection.execute(
            "SELECT entity, name FROM warehouse.meta.entities WHERE name <> entity"
        ).fetchall()
    )


def present_id(connection: DuckDBPyConnection, entity: str) -> str:
    """Return what an entity is called now: another id where it was renamed."""
    return renamed_entities(connection).get(entity, entity)


def _about(object: str) -> str:
    return (
        f"{object} as Intacct sent it. A row is a version of a record as a session of _entity read "
        f"it at _read_at, and no load takes one away: see intacct.{table_name(object)} for the "
        "version of each record that counts."
    )


def _remember(connection: DuckDBPyConnection, log: ObjectLog) -> None:
    known = read_log(connection, log.object)
    if known == log:
        return
    if known is not None and "lines" in (known.kind, log.kind) and known.unit != log.unit:
        raise SchemaChanged(
            f"{log.object} was read as {known.kind}, by {known.unit}, and would be read as "
            f"{log.kind}, by {log.unit}",
            "If that is meant, read it from the start: intacct-dagster objects reload "
            f"{log.object}",
        )
    values = [log.kind, log.unit, log.changed, int(log.lag.total_seconds()), log.object]
    if known is None:
        connection.execute(
            "INSERT INTO warehouse.meta.objects (kind, unit, changed, lag_seconds, object)"
            " VALUES (?, ?, ?, ?, ?)",
            values,
        )
    else:
        connection.execute(
            "UPDATE warehouse.meta.objects"
            " SET kind = ?, unit = ?, changed = ?, lag_seconds = ? WHERE object = ?",
            values,
        )


def _adopt(connection: DuckDBPyConnection, log: ObjectLog) -> None:
    """Take the rows that an older version left of each entity as versions of one load.

    They were read when their reading began, as far as is known. Ids of such loads are negative.
    """
    connection.execute(statement(__name__, "adopt_versions", raw=log.raw))
    names = {"raw": log.raw, "unit": identifier(log.unit), "documents": log.documents}
    if log.kind == "lines" and log.changed is not None:
        connection.execute(
            statement(__name__, "adopt_documents", changed=identifier(log.changed), **names)
        )
    if log.kind == "snapshot":
        connection.execute(statement(__name__, "adopt_snapshot", **names), {"object": log.object})
    connection.execute(statement(__name__, "adopt_load", **names), {"object": log.object})
