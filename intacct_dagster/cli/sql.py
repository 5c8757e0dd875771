"""`intacct-dagster sql`: a query to the readers' copy, as a table, CSV or JSON."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal, TextIO

import duckdb
from rich import box
from rich.console import Console
from rich.table import Table

from intacct_dagster.config import load_settings
from intacct_dagster.warehouse import (
    Snapshot,
    Warehouse,
    WarehouseError,
    WarehouseUnreadable,
)

Form = Literal["table", "csv", "json"]

_AT_ONCE = 1000
#: Nothing is cut where a file or another program reads.
_ENDLESS = 10_000
#: They leave a query the attached snapshot and nothing else; the last one keeps a statement from
#: taking the others back. They follow ATTACH, which is itself external access.
_LOCKED = (
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET python_enable_replacements = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
# A comment between the words is not recognized, and the statement is refused: what follows has to
# mean the same to DuckDB when it stands alone.
_EXPLAIN = re.compile(
    r"\s*EXPLAIN\b\s*(?:ANALYZE\s+)?(?:\([\w\s,]*\)\s*)?(?!ANALYZE\b)(?=[A-Z(])", re.IGNORECASE
)
# DuckDB 1.5 aborts the process where it may not write the log that one of these asks for. External
# access is what keeps the log from being written; this only makes an error of it.
_LOGGING = re.compile(r"\b(?:enable_logging|disable_logging|truncate_duckdb_logs)\b", re.IGNORECASE)
_READING = "SELECT, WITH, FROM, VALUES, PIVOT, SHOW, DESCRIBE, SUMMARIZE or EXPLAIN"
_NUMBER = re.compile(r"DECIMAL\(.*\)|U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|DOUBLE|FLOAT")


class QueryRefused(WarehouseError):
    """The statement does something else than read the snapshot, or DuckDB cannot run it."""


def run_sql(sql: str, *, form: Form, rows: int, out: TextIO, notes: TextIO) -> None:
    """Answer a query on `out`, and print its number of rows and its time on `notes`.

    The query is one statement that reads the snapshot: files, the network, extensions and settings
    are out of its reach.

    Of a table at most `rows` rows are shown (0: all); CSV and JSON have all of them. Amounts are
    exact: text in JSON. Raises QueryRefused, WarehouseUnreadable, WarehouseLocked.
    """
    if not sql.strip(" \n\t;"):
        raise QueryRefused("There is no statement: say what to ask, in SQL.")
    settings = load_settings()
    file, about = _source(Warehouse(settings.warehouse))
    console = Console(file=notes, stderr=True, highlight=False)
    try:
        with file.connect(read_only=True) as connection:
            for setting in _LOCKED:
                connection.execute(setting)
            _refuse_unless_it_reads(connection, sql)
            cursor = connection.execute(sql)
            names = [str(column[0]) for column in cursor.description or ()]
            types = [str(column[1]) for column in cursor.description or ()]
            count = _WRITERS[form](names, types, _rows(cursor), rows, out)
    except duckdb.Error as error:
        raise QueryRefused(str(error).strip()) from None
    console.print(f"{count:,} row{'' if count == 1 else 's'} {about}", style="dim", soft_wrap=True)


def _refuse_unless_it_reads(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raise QueryRefused unless `sql` is one statement that reads.

    An allow-list of DuckDB's own statement types, because words in the text can be hidden from a
    search in it. EXPLAIN ANALYZE runs what it explains, so that has to read as well.
    """
    statements = connection.extract_statements(sql)
    if not statements:
        raise QueryRefused("There is no statement: say what to ask, in SQL.")
    # DuckDB makes a PIVOT without a list of values into CREATE TYPE and SELECT, neither with a text
    *before, last = statements
    pivot = not last.query and all(
        not each.query and each.type == duckdb.StatementType.CREATE for each in before
    )
    if before and not pivot:
        raise QueryRefused(
            "There is more than one statement here, or one that keeps what a PIVOT gives: "
            "`intacct-dagster sql` runs one statement, which only reads.\nRun them one by one."
        )
    kind = _first_word(sql) if _first_word(sql) == "PRAGMA" else last.type.name
    if kind == "EXPLAIN":
        explained = _EXPLAIN.match(sql)
        if explained is not None:
            _refuse_unless_it_reads(connection, sql[explained.end() :])
            return
        kind = "EXPLAIN of a statement that does not read, or with a comment in front of it,"
    if kind != "SELECT":
        raise QueryRefused(
            f"{kind} is not allowed here: `intacct-dagster sql` only reads.\n"
            f"Use {_READING}; for anything else open a copy of the file in DuckDB."
        )
    logging = _LOGGING.search(sql)
    if logging is not None:
        raise QueryRefused(f"{logging[0]} changes settings: `intacct-dagster sql` only reads.")


def _first_word(sql: str) -> str:
    """Return the first word behind comments, in capitals: some PRAGMA have the type of a SELECT."""
    (start, _), *_ = duckdb.tokenize(sql)
    word = re.match(rb"\w*", sql.encode()[start:])
    return word[0].decode().upper() if word else ""


def _source(warehouse: Warehouse) -> tuple[Warehouse, str]:
    """What is read, and what is said of it."""
    copy = Snapshot(warehouse)
    if copy.as_of is not None:
        return Warehouse(copy.path), f"as of {copy.as_of:%Y-%m-%d %H:%M:%S} UTC"
    if not warehouse.path.exists():
        raise WarehouseUnreadable(
            f"There is no warehouse at {warehouse.path} yet.\n"
            "Materialize an asset first (`make demo` does), or correct `warehouse:` in "
            "intacct.yaml."
        )
    about = (
        f"from {warehouse.path.name} itself: there is no {copy.path.name} yet, which runs make as "
        "they end. Runs wait while this reads."
    )
    return warehouse, about


def _rows(cursor: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while part := cursor.fetchmany(_AT_ONCE):
        yield from part


def _table(
    names: Sequence[str],
    types: Sequence[str],
    rows: Iterator[tuple[Any, ...]],
    most: int,
    out: TextIO,
) -> int:
    console = Console(file=out, highlight=False)
    if not console.is_terminal:
        console = Console(file=out, highlight=False, width=_ENDLESS)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name, kind in zip(names, types, strict=True):
        table.add_column(
            name, justify="right" if _NUMBER.fullmatch(kind) else "left", overflow="fold"
        )
    count = 0
    for row in rows:
        count += 1
        if not most or count <= most:
            table.add_row(*map(_shown, row))
    console.print(table)
    if most and count > most:
        console.print(f"… and {count - most:,} rows more: --rows 0 shows all of them")
    return count


def _shown(value: Any) -> str:
    if value is None:
        return "[dim]null[/]"
    if isinstance(value, Decimal):
        # two decimals as people write amounts; more only where they say something
        text = f"{value:,f}"
        return re.sub(r"(\.\d\d\d*?)0+$", r"\1", text)
    if isinstance(value, bool) or not isinstance(value, int):
        text = str(_plain(value))
        return text.replace("[", r"\[")
    return str(value)


def _csv(
    names: Sequence[str],
    _types: Sequence[str],
    rows: Iterator[tuple[Any, ...]],
    _most: int,
    out: TextIO,
) -> int:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    count = 0
    for count, row in enumerate(rows, start=1):  # noqa: B007 - the count is the answer
        writer.writerow(["" if value is None else _plain(value) for value in row])
    return count


def _json(
    names: Sequence[str],
    _types: Sequence[str],
    rows: Iterator[tuple[Any, ...]],
    _most: int,
    out: TextIO,
) -> int:
    count = 0
    out.write("[")
    for count, row in enumerate(rows, start=1):
        record = dict(zip(names, map(_plain, row), strict=True))
        out.write(",\n " if count > 1 else "\n ")
        out.write(json.dumps(record, ensure_ascii=False, default=str))
    out.write("\n]\n")
    return count


def _plain(value: Any) -> Any:
    """A value as CSV and JSON have it: moments are UTC, amounts all their digits."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        aware = value.astimezone(UTC) if value.tzinfo is not None else value
        return aware.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return value


_WRITERS = {"table": _table, "csv": _csv, "json": _json}


def read_statement(given: str) -> str:
    """The statement as it was given, or what standard input holds where that is `-`."""
    return sys.stdin.read() if given == "-" else given
