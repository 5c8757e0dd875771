"""The records of a feed, as texts with their file and line: from CSV, Parquet or a query.

They go by way of files in the scratch folder: memory does not grow with the feed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import duckdb
import msgspec
from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG, StagingSession
from intacct_dagster.warehouse.errors import FeedError
from intacct_dagster.warehouse.feeds.expression import tables_of
from intacct_dagster.warehouse.feeds.files import (
    FileUnusable,
    find_files,
    header_flaw,
    read_file,
    unchanged,
)
from intacct_dagster.warehouse.feeds.spec import FeedSpec
from intacct_dagster.warehouse.sql import identifier, literal

#: What the records of a query call the file that they are in.
QUERY = "sql"

_AT_ONCE = 1_000  # records in memory at a time

_ABOUT = {
    "_file": "VARCHAR",
    "_file_order": "BIGINT",
    "_line": "BIGINT",
    "_written": "BOOLEAN",
    "_raw": "VARCHAR",
    "_kind": "VARCHAR",
    "_reason": "VARCHAR",
    "_source_id": "VARCHAR",
    "_certain": "BOOLEAN",
}


def stage_feed_records(
    staging: StagingSession, spec: FeedSpec, folder: Path, only: Collection[str] | None = None
) -> dict[str, int]:
    """Make the view `memory.main.records` of all records of a feed; how many each file has.

    `only` names the files that are read, relative to the folder; None: all of them.
    Cells are texts, "" where there is nothing. Raises FeedError if the feed's query fails.
    """
    stage = _Stage(staging, spec)
    if spec.query is not None:
        stage.query(spec.query, folder)
    else:
        for order, path in enumerate(find_files(spec, folder)):
            name = path.relative_to(folder).as_posix()
            if only is None or name in only:
                stage.file(order, path, name)
    stage.close()
    return stage.files


@dataclass
class _Stage:
    """Where records are put down: texts as lines of JSON, what DuckDB read as Parquet."""

    staging: StagingSession
    spec: FeedSpec
    files: dict[str, int] = field(default_factory=dict)
    _unusable: list[int] = field(default_factory=list)
    _parquet: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._columns = self.spec.source_columns
        self._nothing = ("",) * len(self._columns)
        self._encoder = msgspec.json.Encoder()
        self._spool = self.staging.scratch / "records.ndjson"
        self._out = self._spool.open("wb")

    def file(self, order: int, path: Path, name: str) -> None:
        """Return the records of a file; where nothing of it can be used, one that says so."""
        self.files[name] = 0
        try:
            if path.suffix.lower() == ".parquet":
                self._parquet_file(order, path, name)
            else:
                self._csv_file(order, path, name)
        except FileUnusable as unusable:
            self._unusable.append(order)
            self.files[name] = 0
            self._put([self._flawed(name, order, 1, "file", f"the file was left out: {unusable}")])

    def _csv_file(self, order: int, path: Path, name: str) -> None:
        records = (
            (
                name,
                order,
                record.line,
                True,
                record.raw,
                record.kind,
                record.reason,
                record.source_id,
                record.certain,
                *(record.cells or self._nothing),
            )
            for record in read_file(self.spec, path)
        )
        self.files[name] = self._put(records)

    def _parquet_file(self, order: int, path: Path, name: str) -> None:
        source = f"read_parquet({literal(str(path))}, file_row_number = true)"
        try:
            with unchanged(path):
                self._take(source, "file_row_number + 1", order, name)
        except duckdb.Error as error:
            raise FileUnusable(f"it is no Parquet that can be read ({_first(error)})") from None
        except _HeaderFlaw as flaw:
            self.files[name] = self._put([self._flawed(name, order, 1, "header", str(flaw))])

    def query(self, sql: str, folder: Path) -> None:
        """Return the rows of the feed's query. Raises FeedError if it fails or lacks a column."""
        connection = self.staging.connection
        try:
            with ExitStack() as stack:
                if _reads_warehouse(self.spec, sql):
                    stack.enter_context(self.staging.attached(read_only=True))
                    connection.execute(f"USE {CATALOG}")
                connection.execute(f"SET file_search_path = {literal(str(folder))}")
                for name, where in self.spec.attach.items():
                    target = literal(_located(where, folder))
                    connection.execute(f"ATTACH {target} AS {identifier(name)} (READ_ONLY)")
                    stack.callback(_detach, connection, name)
                connection.execute(f"CREATE TEMP VIEW feed_query AS {sql}")
                self._take("feed_query", "row_number() OVER ()", 0, QUERY)
        except (duckdb.Error, _HeaderFlaw) as error:
            raise FeedError(
                self.spec.name,
                f"its query fails: {_first(error)}",
                "Correct `sql:` (or `attach:`) of the feed in intacct.yaml.",
                where=("sql",),
            ) from None

    def _take(self, source: str, line: str, order: int, name: str) -> None:
        """Put down what DuckDB can read, each value as the text that a file would have."""
        connection = self.staging.connection
        described = connection.execute(f"DESCRIBE SELECT * FROM {source} AS source").fetchall()
        types = {column: str(type_) for column, type_, *_ in described}
        flaw = header_flaw(self._columns, [column for column, *_ in described])
        if flaw is not None:
            raise _HeaderFlaw(flaw)
        raw = "CAST(source AS VARCHAR)"
        nul = f"CASE WHEN contains({raw}, chr(0)) THEN"
        about = {
            "_file": literal(name),
            "_file_order": str(order),
            "_line": line,
            "_written": "false",
            "_raw": f"replace(left({raw}, 4000), chr(0), '\\x00')",
            "_kind": f"{nul} 'encoding' END",
            "_reason": f"{nul} 'the row holds a NUL character' END",
            "_source_id": "NULL",
            "_certain": "true",
        }
        picked = [
            *(f"CAST({sql} AS {_ABOUT[column]}) AS {column}" for column, sql in about.items()),
            *(
                f"{_text(column, types[column])} AS {identifier(column)}"
                for column in self._columns
            ),
        ]
        path = self.staging.scratch / f"records_{order}.parquet"
        [(count,)] = connection.execute(
            f"COPY (SELECT {', '.join(picked)} FROM {source} AS source)"
            f" TO {literal(str(path))} (FORMAT parquet)"
        ).fetchall()
        self._parquet.append(path)
        self.files[name] = count

    def _flawed(
        self, name: str, order: int, line: int, kind: str, reason: str
    ) -> tuple[object, ...]:
        return name, order, line, True, "", kind, reason, None, True, *self._nothing

    def _put(self, records: Iterable[tuple[object, ...]]) -> int:
        count, left = 0, iter(records)
        while part := list(islice(left, _AT_ONCE)):
            self._out.write(self._encoder.encode_lines(part))
            count += len(part)
        return count

    def close(self) -> None:
        """Make the view of all that was put down."""
        self._out.close()
        columns = {**_ABOUT, **dict.fromkeys(self._columns, "VARCHAR")}
        picked = ", ".join(
            f"CAST(record[{position}] AS {type_}) AS {identifier(column)}"
            for position, (column, type_) in enumerate(columns.items(), start=1)
        )
        spool = (
            f"SELECT {picked} FROM read_json({literal(str(self._spool))},"
            " format = 'newline_delimited', records = false, columns = {record: 'VARCHAR[]'},"
            " maximum_object_size = 16777216)"
        )
        parts = [spool]
        if self._parquet:
            listed = ", ".join(literal(str(path)) for path in self._parquet)
            parts.append(f"SELECT * FROM read_parquet([{listed}])")
        left_out = ", ".join(str(order) for order in self._unusable) or "NULL"
        self.staging.connection.execute(
            "CREATE VIEW memory.main.records AS"
            f" SELECT * FROM ({' UNION ALL BY NAME '.join(parts)})"
            f" WHERE _kind = 'file' OR coalesce(_file_order NOT IN ({left_out}), true)"
        )


class _HeaderFlaw(Exception):
    """The columns are not those that the feed needs."""


def _text(column: str, type_: str) -> str:
    name = f"source.{identifier(column)}"
    text = f"CAST({name} AS VARCHAR)"
    if type_.startswith("TIMESTAMP") and not type_.endswith("ZONE"):
        # a day, as most sources have it, is a day; a time of day would not be one
        day = f"CAST(CAST({name} AS DATE) AS VARCHAR)"
        text = f"CASE WHEN {name} = date_trunc('day', {name}) THEN {day} ELSE {text} END"
    return f"coalesce(trim({text}), '')"


def _reads_warehouse(spec: FeedSpec, sql: str) -> bool:
    """Whether a query names a table in a schema: files have none, and databases are attached."""
    return any(
        place and not ({catalog, schema} & set(spec.attach))
        for catalog, schema, _ in tables_of(sql)
        for place in (catalog or schema,)
    )


def _located(where: str, folder: Path) -> str:
    """Return a database's place as ATTACH takes it: a path is relative to the feed's folder."""
    return where if re.match(r"[a-z_]{2,}:", where) else str(folder / where)


def _detach(connection: DuckDBPyConnection, name: str) -> None:
    connection.execute("USE memory")
    connection.execute(f"DETACH {identifier(name)}")


def _first(error: Exception) -> str:
    return str(error).splitlines()[0]
