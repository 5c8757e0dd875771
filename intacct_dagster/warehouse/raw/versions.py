"""Which version of a record counts, and `intacct.<object>`, the table of those that do.

Of the versions of a key that were read within the lag (settling and look-back) of its newest
reading, the one with the greatest change time counts; where several have it, that of the entity
which owns the record, else that of the first entity in intacct.yaml; of one entity the one read
last. Objects without change times are read whole, and no version of them is too old. So a
reading that was late to be committed, a copy that lags behind, or a session that sees less never
puts an older version in place of a newer one, and a record that was restored to an earlier state in
Intacct follows when the lag is over.

What a delete scan found gone is left out: versions read before it count no more, those read after
it do.

The table is brought up to date by the keys of a load, in the load's transaction. What was stored
before is looked at for these keys only.
"""

from __future__ import annotations

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG
from intacct_dagster.warehouse.raw.deletes import ensure_tombstones
from intacct_dagster.warehouse.raw.history import ensure_history
from intacct_dagster.warehouse.raw.log import ObjectLog, renamed_entities
from intacct_dagster.warehouse.raw.names import ENTITY, INTACCT, KEY, RAW, table_name
from intacct_dagster.warehouse.sql import identifier, literal, statement
from intacct_dagster.warehouse.tables import ensure_table, existing_columns
from intacct_dagster.warehouse.types import column_name
from intacct_dagster.warehouse.widening import widen_columns

_KEY = column_name(KEY)
_OWNER = column_name(ENTITY)


def current_relation(object: str) -> str:
    """Return the table of the versions that count, quoted."""
    return identifier(CATALOG, INTACCT, table_name(object))


def apply_load(connection: DuckDBPyConnection, log: ObjectLog, load_id: int) -> int:
    """Bring the current table up to date with what a load appended, in its transaction.

    Returns:
        How many of its records have an earlier change time than an earlier reading had.
    """
    if _ensure_current(connection, log):
        recompute_all(connection, log)
        return 0
    places = _places(connection, log)
    connection.execute(statement(__name__, "versions_touched", load=str(load_id), **places))
    connection.execute(statement(__name__, "versions_contested", load=str(load_id), **places))
    _pick_winners(connection, log, places)
    connection.execute(statement(__name__, "versions_replace", **places))
    fresh = f"read._load_id = {load_id} AND read.{places['unit']} NOT IN (FROM temp.main.contested)"
    _insert(connection, log, places, fresh)
    _insert_winners(connection, log, places)
    (went_back,) = connection.execute(
        statement(__name__, "versions_went_back", load=str(load_id))
    ).fetchall()[0]
    _drop(connection, "touched", "standing", "contested", "gone", "candidates", "winners")
    return int(went_back)


def recompute(connection: DuckDBPyConnection, log: ObjectLog, keys: str) -> None:
    """Choose again which versions count of the units in `keys`, a relation with one column."""
    if _ensure_current(connection, log):
        recompute_all(connection, log)
        return
    places = _places(connection, log)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE touched AS SELECT key FROM {keys}")
    connection.execute(statement(__name__, "versions_contested", load="0", **places))
    connection.execute("CREATE OR REPLACE TEMP TABLE contested AS FROM temp.main.touched")
    _pick_winners(connection, log, places)
    connection.execute(statement(__name__, "versions_replace", **places))
    _insert_winners(connection, log, places)
    _drop(connection, "touched", "standing", "contested", "gone", "candidates", "winners")


def recompute_all(connection: DuckDBPyConnection, log: ObjectLog) -> None:
    """Make the current table from the whole log."""
    _ensure_current(connection, log)
    places = _places(connection, log)
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE contested AS"
        f" SELECT DISTINCT {places['unit_of_versions']} AS key FROM {places['versions']}"
    )
    _pick_winners(connection, log, places)
    connection.execute(f"DELETE FROM {places['current']}")
    _insert_winners(connection, log, places)
    _drop(connection, "contested", "gone", "candidates", "winners")


def _ensure_current(connection: DuckDBPyConnection, log: ObjectLog) -> bool:
    """Make the current table with the columns of the raw table; return whether it was not there.

    An older version of this package had a view in its place.
    """
    table = table_name(log.object)
    view = connection.execute(
        "SELECT 1 FROM duckdb_views()"
        " WHERE database_name = ? AND schema_name = ? AND view_name = ?",
        [CATALOG, INTACCT, table],
    ).fetchall()
    if view:
        connection.execute(f"DROP VIEW {current_relation(log.object)}")
    columns = existing_columns(connection, CATALOG, RAW, table)
    held = () if view else existing_columns(connection, CATALOG, INTACCT, table)
    if held != columns:
        about = (
            f"{log.object}: the version that counts of each record that Intacct still has, as far "
            "as was read and scanned for deletes. A row is a record, by its key."
        )
        columns = widen_columns(connection, CATALOG, INTACCT, table, columns)
        ensure_table(connection, CATALOG, INTACCT, table, columns, about)
        ensure_history(connection, log)
    ensure_tombstones(connection)
    return not held


def _places(connection: DuckDBPyConnection, log: ObjectLog) -> dict[str, str]:
    """Return what the statements of this module are filled in with."""
    columns = {c.name for c in existing_columns(connection, CATALOG, RAW, table_name(log.object))}
    lines = log.kind == "lines"
    changed = "CAST(NULL AS TIMESTAMP WITH TIME ZONE)"
    if lines:
        changed = "read.changed"
    elif log.changed is not None:
        changed = f"read.{identifier(log.changed)}"
    owner = f"read.{identifier(_OWNER)}" if _OWNER in columns and not lines else "NULL"
    return {
        "raw": log.raw,
        "current": current_relation(log.object),
        "unit": identifier(log.unit),
        "key": identifier(_KEY),
        # of lines a version is of a document, and the covered documents are the versions
        "versions": log.documents if lines else log.raw,
        "unit_of_versions": "key" if lines else identifier(log.unit),
        "changed": changed,
        "owner": owner,
        "object": literal(log.object),
        "lag": f"INTERVAL {int(log.lag.total_seconds())} SECOND",
        # of lines it is the line that may be gone, and not its document
        "is_line": "true" if lines else "false",
        "is_snapshot": "true" if log.kind == "snapshot" else "false",
    }


def _pick_winners(connection: DuckDBPyConnection, log: ObjectLog, places: dict[str, str]) -> None:
    """Make `temp.main.winners`: of each contested unit the version that counts, if one does."""
    of_keys = "true" if log.kind == "lines" else "key IN (FROM temp.main.contested)"
    connection.execute(statement(__name__, "versions_gone", of_keys=of_keys, **places))
    connection.execute(statement(__name__, "versions_candidates", **places))
    connection.execute(statement(__name__, "versions_winners", **places))


def _insert_winners(connection: DuckDBPyConnection, log: ObjectLog, places: dict[str, str]) -> None:
    if log.kind == "lines":
        # rows that were adopted are of one load, whoever read them, and of any version
        changed = f"read.{identifier(log.changed)}" if log.changed is not None else "NULL"
        where = (
            "EXISTS (SELECT 1 FROM temp.main.winners AS winner"
            f" WHERE winner.key = read.{places['unit']} AND winner.load_id = read._load_id"
            f" AND winner.read_by = read._entity AND winner.changed IS NOT DISTINCT FROM {changed})"
        )
    else:
        where = "read.rowid IN (SELECT place FROM temp.main.winners)"
    _insert(connection, log, places, where)


def _insert(
    connection: DuckDBPyConnection, log: ObjectLog, places: dict[str, str], where: str
) -> None:
    connection.execute(
        statement(
            __name__,
            "versions_insert",
            columns=_columns(connection, log),
            where=where,
            **places,
        )
    )


def _columns(connection: DuckDBPyConnection, log: ObjectLog) -> str:
    """Return the columns of the raw table, with what entities are called now."""
    table = table_name(log.object)
    names = [c.name for c in existing_columns(connection, CATALOG, RAW, table)]
    renamed = renamed_entities(connection)
    if not renamed:
        return ", ".join(f"read.{identifier(name)}" for name in names)
    whens = " ".join(
        f"WHEN {literal(was)} THEN {literal(name)}" for was, name in sorted(renamed.items())
    )
    return ", ".join(
        f"CASE {name} {whens} ELSE {name} END AS {name.removeprefix('read.')}"
        if name in ('read."_entity"', f"read.{identifier(_OWNER)}")
        else name
        for name in (f"read.{identifier(each)}" for each in names)
    )


def _drop(connection: DuckDBPyConnection, *tables: str) -> None:
    for table in tables:
        connection.execute(f"DROP TABLE IF EXISTS temp.main.{identifier(table)}")
