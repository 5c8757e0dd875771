"""(e): a company of 600 entities: what one entity's night costs beside all the others' rows.

Three ratios in one run, each the best of several: the control totals of one entity-day against
the same statement over that entity's rows alone; the sum by account of the whole ledger against the
same sum over a plain clustered table; and what a load of one entity-day takes in a log of all
entities against the same load into a log of that entity alone.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from intacct_dagster.warehouse import Warehouse, column_for
from intacct_dagster.warehouse.raw import LoadProof, RawLoad
from intacct_dagster.warehouse.raw.load import load_raw
from intacct_dagster.warehouse.reporting.control import control_general_ledger

ENTITIES = 600
ENTITY = "E007"
LINE = "general-ledger/journal-entry-line"
DAY = date(2026, 9, 1)
COLUMNS = (
    column_for("key", "string"),
    column_for("audit.modifiedDateTime", "string", "date-time"),
    column_for("entity.id", "string"),
    column_for("journalEntry.key", "string"),
    column_for("entryDate", "string", "date"),
    column_for("txnType", "string"),
    column_for("baseAmount", "string", "decimal-precision-2"),
    column_for("glAccount.id", "string"),
)
_LINES = """
SELECT
    i::VARCHAR AS key,
    TIMESTAMPTZ '2026-01-01 00:00:00Z' + INTERVAL (i // 3 * 20000000 // {lines}) SECOND
        AS audit_modified_date_time,
    entity AS entity_id,
    (i // 3)::VARCHAR AS journal_entry_key,
    DATE '2026-01-01' + (i // 3 * 700 // {lines})::INTEGER AS entry_date,
    CASE WHEN i % 3 = 0 THEN 'debit' ELSE 'credit' END AS txn_type,
    CASE WHEN i % 3 = 0 THEN 2 ELSE 1 END::DECIMAL(38, 2) AS base_amount,
    (i % 200)::VARCHAR AS gl_account_id,
    entity AS _entity,
    CAST(audit_modified_date_time AS DATE) AS _day,
    'run' AS _run_id,
    audit_modified_date_time AS _extracted_at,
    audit_modified_date_time AS _read_at,
    -1 - i // 20000 AS _load_id
FROM (
    SELECT i, 'E' || lpad((i // 3 * 7919 % {entities})::VARCHAR, 3, '0') AS entity
    FROM range({lines}) AS numbers(i)
)
WHERE {where}
"""
_ENTRIES = """
SELECT
    journal_entry_key AS key, any_value(entity_id) AS entity_id,
    any_value(entry_date) AS posting_date, 'posted' AS state,
    'r' || journal_entry_key AS reference_number, any_value(_entity) AS _entity,
    any_value(_day) AS _day
FROM intacct.general_ledger_journal_entry_line
GROUP BY journal_entry_key
ORDER BY _entity, key
"""


def made(path: Path, lines: int, where: str) -> Warehouse:
    """A warehouse with a log of so many lines, in the order of their loads."""
    warehouse = Warehouse(path)
    load_raw(warehouse, load(path.parent / f"{path.stem}-first", ["first"], "E999"))
    with warehouse.connect() as connection:
        log, current = (
            f"{schema}.general_ledger_journal_entry_line" for schema in ("raw", "intacct")
        )
        sql = _LINES.format(lines=lines, entities=ENTITIES, where=where)
        connection.execute(f"INSERT INTO {log} BY NAME {sql}")
        connection.execute(f"INSERT INTO {current} BY NAME FROM {log} ORDER BY _entity, key")
        connection.execute(f"CREATE TABLE plain AS FROM {current} ORDER BY _entity, key")
        connection.execute(f"CREATE TABLE intacct.general_ledger_journal_entry AS {_ENTRIES}")
        connection.execute("CREATE TABLE intacct.general_ledger (key VARCHAR)")
    return warehouse


def load(folder: Path, keys: list[str], entity: str) -> RawLoad:
    """A load of an entity-day with these keys."""
    folder.mkdir(parents=True)
    page = folder / "page.json"
    rows = [
        {
            "key": key,
            "audit.modifiedDateTime": f"{DAY}T12:00:00Z",
            "entity.id": entity,
            "journalEntry.key": key,
            "entryDate": str(DAY),
            "txnType": "debit",
            "baseAmount": "1.00",
            "glAccount.id": "1",
        }
        for key in keys
    ]
    page.write_text(json.dumps(rows))
    return RawLoad(
        object=LINE,
        columns=COLUMNS,
        entity=entity,
        days=[DAY],
        files=[page],
        run_id="bench",
        extracted_at=datetime.combine(DAY + timedelta(days=1), datetime.min.time(), UTC),
        takes_older=True,
        proof=LoadProof(len(keys), len(keys), 1),
        lag=timedelta(days=1),
    )


def best(work: Callable[[int], object], times: int = 4) -> float:
    """The seconds of the fastest of several runs."""
    seconds = []
    for number in range(times):
        began = time.perf_counter()
        work(number)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _sum(warehouse: Warehouse, table: str) -> Callable[[int], object]:
    sql = f"SELECT gl_account_id, sum(base_amount) FROM {table} GROUP BY ALL"

    def work(_number: int) -> object:
        with warehouse.connect(read_only=True) as connection:
            return connection.execute(sql).fetchall()

    return work


def entities_results(data: Path, lines: int) -> list[dict[str, Any]]:
    """Measure (e), print a table, and return its rows."""
    everyone = made(data / "all.duckdb", lines, "true")
    alone = made(data / "alone.duckdb", lines, f"entity = '{ENTITY}'")
    with everyone.connect(read_only=True) as connection:
        keys = [
            key
            for (key,) in connection.execute(
                f"SELECT key FROM plain WHERE _entity = '{ENTITY}' LIMIT 300"
            ).fetchall()
        ]
        (day,) = connection.execute(
            f"SELECT _day FROM plain WHERE _entity = '{ENTITY}' LIMIT 1"
        ).fetchall()[0]

    def control(warehouse: Warehouse) -> Callable[[int], object]:
        return lambda _number: control_general_ledger(warehouse, [(ENTITY, day)])

    def loading(warehouse: Warehouse) -> Callable[[int], object]:
        name = warehouse.path.stem
        return lambda number: load_raw(warehouse, load(data / f"{name}-{number}", keys, ENTITY))

    measured = [
        ("control totals of an entity-day", best(control(everyone)), best(control(alone)), 1.5),
        (
            "sum by account of all lines, against a plain table",
            best(_sum(everyone, "intacct.general_ledger_journal_entry_line")),
            best(_sum(everyone, "plain")),
            1.5,
        ),
        ("load of 300 lines", best(loading(everyone)), best(loading(alone)), None),
    ]
    table = Table(
        f"(e) {lines:,} lines of {ENTITIES} entities", "s", "against s", "ratio", "target"
    )
    results = []
    for what, ours, limit, target in measured:
        ratio = ours / limit
        shown = "" if target is None else str(target)
        table.add_row(what, f"{ours:.3f}", f"{limit:.3f}", f"{ratio:.2f}", shown)
        results.append(
            {"what": what, "seconds": ours, "limit": limit, "ratio": ratio, "target": target}
        )
    Console(width=140).print(table)
    return results
