"""Feeds: files that land in a folder become typed lines by entity and day, or go to quarantine.

Documents are judged over all files of the feed at once, whichever partitions are written: a line in
quarantine, a second document with the same id, lines that contradict each other or do not add up
make a document invalid as a whole, so that none is ever posted in part. The verdict is stored on
the document's lines, where a later change of the files cannot part the two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from intacct_dagster.warehouse.duckdb_file import CATALOG, DuckDBFile, Workbench
from intacct_dagster.warehouse.errors import FeedError, SchemaChanged
from intacct_dagster.warehouse.feed_files import find_files, read_file
from intacct_dagster.warehouse.feed_spec import FeedSpec
from intacct_dagster.warehouse.partitions import Partition, delete_partitions, stage_partitions
from intacct_dagster.warehouse.sql import identifier, literal, readable_amount, statement, try_cast
from intacct_dagster.warehouse.tables import TIME, TableColumn, ensure_table, stage_records

FEED = "feed"

_RECORD = (
    TableColumn("_file", "VARCHAR"),
    TableColumn("_file_order", "BIGINT"),
    TableColumn("_line", "BIGINT"),
    TableColumn("_raw", "VARCHAR"),
    TableColumn("_kind", "VARCHAR"),
    TableColumn("_reason", "VARCHAR"),
    TableColumn("_source_id", "VARCHAR"),
    TableColumn("_certain", "BOOLEAN"),
)
_OURS = (
    TableColumn("_entity", "VARCHAR", "The line's entity: half the partition"),
    TableColumn("_day", "DATE", "The line's date: the partition's other half"),
    TableColumn("_file", "VARCHAR", "The file, relative to the feed's folder"),
    TableColumn("_line", "BIGINT", "The line of the file on which the record begins, from 1"),
    TableColumn("_occurrence", "BIGINT", "1 where the document came first, 2 where it came again"),
    TableColumn("_invalid", "VARCHAR", "Why the document may not be posted; null if it may"),
    TableColumn("_run_id", "VARCHAR", "The run that read this line"),
    TableColumn("_read_at", TIME, "When the files were read"),
)
_QUARANTINE = (
    TableColumn("feed", "VARCHAR"),
    TableColumn("file", "VARCHAR", "The file, relative to the feed's folder"),
    TableColumn("line", "BIGINT", "The line of the file on which the record begins, from 1"),
    TableColumn("kind", "VARCHAR", "The sort of flaw, to count by"),
    TableColumn("reason", "VARCHAR", "What is wrong with it"),
    TableColumn("source_id", "VARCHAR", "The document it belongs to, where that can be read"),
    TableColumn("entity", "VARCHAR", "The entity, as it stands in the file"),
    TableColumn("day", "DATE", "The date, where it can be read"),
    TableColumn("raw", "VARCHAR", "The record as it stands in the file"),
    TableColumn("run_id", "VARCHAR"),
    TableColumn("read_at", TIME),
)
_PLAUSIBLE_DATES = ("1970-01-01", "2099-12-31")


@dataclass(frozen=True, slots=True)
class FeedResult:
    """What was read.

    `rows`: good lines of each partition that was replaced, 0 included. `elsewhere`: good lines of
    partitions that were not asked for. `files`: records of each file. `quarantined`: records in
    quarantine by kind, over all files. `invalid`: documents that may not be posted, over all files.
    """

    rows: Mapping[Partition, int]
    elsewhere: Mapping[Partition, int]
    files: Mapping[str, int]
    quarantined: Mapping[str, int]
    invalid: int


def read_feed(
    file: DuckDBFile,
    spec: FeedSpec,
    partitions: Collection[Partition],
    entities: Collection[str],
    folder: Path,
    run_id: str,
    *,
    read_at: datetime | None = None,
) -> FeedResult:
    """Read all files of a feed and replace these partitions of `feed.<name>`, in one transaction.

    `entities` are all configured ones, whichever the partitions are of; `folder` is what the
    feed's patterns are relative to.

    The feed's rows of `feed.quarantine` are replaced as a whole: they are what is wrong with the
    files that are in the folder now. Raises FeedError if a file cannot be read to its end, since
    documents may continue in it, or the feed's columns changed their type; nothing is written then.
    """
    with file.workbench() as bench:
        files = _stage(bench, spec, set(entities), folder)
        stage_partitions(bench.connection, partitions)
        values = {"run_id": run_id, "read_at": read_at or datetime.now(UTC)}
        with bench.transaction() as connection:
            table = identifier(CATALOG, FEED, spec.name)
            _ensure_tables(bench, spec)
            delete_partitions(connection, table)
            connection.execute(
                statement(
                    "feed_replace",
                    feed=table,
                    columns=", ".join(f"lines.{identifier(column)}" for column in spec.columns),
                    entity=identifier(spec.entity),
                    date=identifier(spec.date),
                    source_id=identifier(spec.source_id),
                ),
                values,
            )
            connection.execute("DELETE FROM warehouse.feed.quarantine WHERE feed = ?", [spec.name])
            connection.execute(
                statement(
                    "feed_quarantine",
                    entity=identifier(spec.entity),
                    date=identifier(spec.date),
                ),
                {**values, "feed": spec.name},
            )
        return _result(bench, spec, partitions, files)


def quarantined_lines(file: DuckDBFile, feed: str, *, limit: int) -> list[dict[str, object]]:
    """What is in quarantine of a feed, in the order of files and lines; at most `limit` of it.

    Each has `file`, `line`, `reason` and `source_id` (None where it cannot be read).
    """
    names = ("file", "line", "reason", "source_id")
    with file.connect(read_only=True) as connection:
        rows = connection.execute(
            f"SELECT {', '.join(names)} FROM feed.quarantine WHERE feed = ?"
            " ORDER BY file, line LIMIT ?",
            [feed, limit],
        ).fetchall()
    return [dict(zip(names, row, strict=True)) for row in rows]


def _stage(bench: Workbench, spec: FeedSpec, entities: set[str], folder: Path) -> dict[str, int]:
    """Read, type, number and judge, in memory: `checked`, `lines` and `sources`."""
    files: dict[str, int] = {}
    columns = (*_RECORD, *(TableColumn(column, "VARCHAR") for column in spec.columns))
    stage_records(
        bench.connection, "records", columns, _records(spec, folder, files), bench.scratch
    )
    source_id, names = identifier(spec.source_id), [identifier(column) for column in spec.columns]
    checks = list(_checks(spec, entities))
    bench.connection.execute(
        statement(
            "feed_lines",
            typed=",\n        ".join(
                f"{_typed(spec, column)} AS {identifier(column)}" for column in spec.columns
            ),
            source_id=f"records.{source_id}",
            source_columns=", ".join(
                f"records.{name} AS {identifier('_text_' + column)}"
                for name, column in zip(names, spec.columns, strict=True)
            ),
            columns=", ".join(names),
            kinds=f"CASE {' '.join(f'WHEN {c} THEN {literal(k)}' for c, k, _ in checks)} END",
            reasons=", ".join(f"CASE WHEN {c} THEN {reason} END" for c, _, reason in checks),
        )
    )
    bench.connection.execute(
        statement("feed_occurrences", columns=", ".join(names), occurrence=_occurrence(spec))
    )
    bench.connection.execute(
        statement(
            "feed_documents",
            source_id=source_id,
            content=", ".join(f"CAST({name} AS VARCHAR)" for name in names),
            conflicts=", ".join(
                f"CASE WHEN count(DISTINCT coalesce(CAST({identifier(column)} AS VARCHAR), '')) > 1"
                f" THEN {literal(column)} END"
                for column in spec.header_columns
            ),
            totals=", ".join(_total_flaw(*pair) for pair in spec.total.items()) or "NULL",
            has_total="true" if spec.total else "false",
        )
    )
    return files


def _records(spec: FeedSpec, folder: Path, files: dict[str, int]) -> Iterator[tuple[object, ...]]:
    nothing = (None,) * len(spec.columns)
    for order, path in enumerate(find_files(spec, folder)):
        name = path.relative_to(folder).as_posix()
        files[name] = 0
        for record in read_file(spec, path, name):
            files[name] += 1
            yield (
                name,
                order,
                record.line,
                record.raw,
                record.kind,
                record.reason,
                record.source_id,
                record.certain,
                *(record.cells or nothing),
            )


def _typed(spec: FeedSpec, column: str) -> str:
    """The value of a cell, or null where its text is none of its type: nothing is guessed."""
    name = f"records.{identifier(column)}"
    pattern = {
        "date": r"\d{4}-\d{2}-\d{2}",
        "decimal": r"[+-]?\d{1,18}(\.\d{1,10})?",
        "integer": r"[+-]?\d{1,18}",
    }.get(spec.kind(column))
    if pattern is None:
        return f"nullif({name}, '')"
    return (
        f"CASE WHEN regexp_full_match({name}, {literal(pattern)})"
        f" THEN {try_cast(name, spec.sql_type(column))} END"
    )


def _checks(spec: FeedSpec, entities: set[str]) -> Iterator[tuple[str, str, str]]:
    """(condition, kind, reason) of everything that sends a record into quarantine, in SQL."""
    needed = [spec.source_id, spec.entity, spec.date, *spec.total, *spec.total.values()]
    if spec.line_id is not None:
        needed.append(spec.line_id)
    for column in dict.fromkeys(needed):
        yield f"{_cell(column)} = ''", "empty", literal(f"{column} is empty")
    for column in spec.columns:
        what = {
            "date": ("bad date", "is no date (YYYY-MM-DD)"),
            "decimal": ("bad amount", "is no exact amount (such as 1234.50)"),
            "integer": ("bad integer", "is no whole number"),
        }.get(spec.kind(column))
        if what is None:
            continue
        kind, reason = what
        yield (
            f"{_cell(column)} <> '' AND {identifier(column)} IS NULL",
            kind,
            _shown(column, reason),
        )
        if spec.kind(column) == "date":
            first, last = _PLAUSIBLE_DATES
            yield (
                f"{identifier(column)} NOT BETWEEN DATE '{first}' AND DATE '{last}'",
                kind,
                _shown(column, f"is not between {first} and {last}"),
            )
    known = ", ".join(literal(entity) for entity in sorted(entities))
    yield (
        f"{_cell(spec.entity)} <> ''"
        + (f" AND {_cell(spec.entity)} NOT IN ({known})" if known else ""),
        "unknown entity",
        _shown(spec.entity, "is none of the configured entities"),
    )


def _cell(column: str) -> str:
    return identifier("_text_" + column)


def _shown(column: str, reason: str) -> str:
    before, after = literal(f"{column}: '"), literal(f"' {reason}")
    return f"concat({before}, left({_cell(column)}, 60), {after})"


def _occurrence(spec: FeedSpec) -> str:
    by = identifier(spec.source_id)
    if spec.line_id is None:
        return f"dense_rank() OVER (PARTITION BY {by} ORDER BY _file_order)"
    by = f"{by}, {identifier(spec.line_id)}"
    return f"row_number() OVER (PARTITION BY {by} ORDER BY _file_order, _line)"


def _total_flaw(header: str, line: str) -> str:
    total, added = f"min({identifier(header)})", f"sum({identifier(line)})"
    return (
        f"CASE WHEN {total} IS DISTINCT FROM {added} THEN concat({literal(header)}, ' is ',"
        f" {readable_amount(total)}, ', its lines add up to ', {readable_amount(added)}) END"
    )


def _ensure_tables(bench: Workbench, spec: FeedSpec) -> None:
    columns = (*(TableColumn(name, spec.sql_type(name)) for name in spec.columns), *_OURS)
    about = f"Feed {spec.name}. A row is a line of a document, typed, as it stood in the file."
    quarantine = "A row is a record of a feed's file that could not be used, and why."
    try:
        ensure_table(bench.connection, CATALOG, FEED, spec.name, columns, about)
        ensure_table(bench.connection, CATALOG, FEED, "quarantine", _QUARANTINE, quarantine)
    except SchemaChanged as error:
        raise FeedError(spec.name, error.reason, error.remedy) from error


def _result(
    bench: Workbench, spec: FeedSpec, partitions: Collection[Partition], files: Mapping[str, int]
) -> FeedResult:
    rows = dict.fromkeys(sorted(partitions), 0)
    elsewhere: dict[Partition, int] = {}
    counted = bench.connection.execute(
        f"SELECT {identifier(spec.entity)}, {identifier(spec.date)}, count(*)"
        " FROM memory.main.lines GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    for entity, day, count in counted:
        (rows if (entity, day) in rows else elsewhere)[entity, day] = count
    quarantined = bench.connection.execute(
        "SELECT _kind, count(*) FROM memory.main.checked WHERE _kind IS NOT NULL"
        " GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    invalid = bench.connection.execute(
        "SELECT count(*) FROM memory.main.sources WHERE invalid IS NOT NULL"
    ).fetchall()
    return FeedResult(rows, elsewhere, files, dict(quarantined), invalid[0][0])
