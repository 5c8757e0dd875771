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
_NUMBER = re.compile(r"DECIMAL\(.*\)|U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|DOUBLE|FLOAT")


class QueryRefused(WarehouseError):
    """DuckDB says that the statement cannot be done; the message is what it said."""


def run_sql(sql: str, *, form: Form, rows: int, out: TextIO, told: TextIO) -> None:
    """Answers a query on `out`, and says on `told` of when the answer is.

    Of a table at most `rows` rows are shown (0: all); CSV and JSON have all of them. Amounts are
    exact: text in JSON. Raises QueryRefused, WarehouseUnreadable, WarehouseLocked.
    """
    if not sql.strip(" \n\t;"):
        raise QueryRefused("There is no statement: say what to ask, in SQL.")
    settings = load_settings()
    file, about = _source(Warehouse(settings.warehouse))
    told_to = Console(file=told, stderr=True, highlight=False)
    with file.connect(read_only=True) as connection:
        try:
            cursor = connection.execute(sql)
            names = [str(column[0]) for column in cursor.description or ()]
            types = [str(column[1]) for column in cursor.description or ()]
            count = _WRITERS[form](names, types, _rows(cursor), rows, out)
        except duckdb.Error as error:
            raise QueryRefused(str(error).strip()) from None
    told_to.print(f"{count:,} row{'' if count == 1 else 's'} {about}", style="dim", soft_wrap=True)


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
