"""Feeds: files that land in a folder become typed lines by entity and day, or go to quarantine.

Documents are judged over all files of the feed at once, whichever partitions are written: a line in
quarantine, a second document with the same id, lines that contradict each other or do not add up
make a document invalid as a whole, so that none is ever posted in part. The verdict is stored on
the document's lines, where a later change of the files cannot part the two.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from intacct_dagster.warehouse.database import CATALOG, StagingSession, Warehouse
from intacct_dagster.warehouse.errors import FeedError, SchemaChanged
from intacct_dagster.warehouse.feeds.columns import feed_columns
from intacct_dagster.warehouse.feeds.records import stage_feed_records
from intacct_dagster.warehouse.feeds.spec import CsvForm, FeedSpec, Kind
from intacct_dagster.warehouse.partitions import Partition, delete_partitions, stage_partitions
from intacct_dagster.warehouse.sql import identifier, literal, readable_amount, statement, try_cast
from intacct_dagster.warehouse.tables import TIME, TableColumn, ensure_table, existing_columns

FEED = "feed"

_QUARANTINE = (
    TableColumn("feed", "VARCHAR", "The feed whose source it is in"),
    TableColumn("file", "VARCHAR", "The file, relative to the feed's folder"),
    TableColumn("line", "BIGINT", "The line of the file on which the record begins, from 1"),
    TableColumn("kind", "VARCHAR", "The sort of flaw, to count by"),
    TableColumn("reason", "VARCHAR", "What is wrong with it"),
    TableColumn("source_id", "VARCHAR", "The document it belongs to, where that can be read"),
    TableColumn("entity", "VARCHAR", "The entity, as it stands in the file"),
    TableColumn("day", "DATE", "The date, where it can be read"),
    TableColumn("raw", "VARCHAR", "The record as it stands in the file"),
    TableColumn("run_id", "VARCHAR", "The run that read it"),
    TableColumn("read_at", TIME, "When the files were read"),
)
_PLAUSIBLE_DATES = ("1970-01-01", "2099-12-31")
_PLAIN: Mapping[Kind, str] = {
    "date": r"\d{4}-\d{2}-\d{2}",
    "decimal": r"[+-]?\d{1,18}(\.\d{1,10})?",
    "number": r"[+-]?\d{1,18}(\.\d{1,10})?",
    "integer": r"[+-]?\d{1,18}",
}
_FLAWS: Mapping[Kind, tuple[str, str]] = {
    "date": ("bad date", "is no date ({date})"),
    "decimal": ("bad amount", "is no exact amount (such as 1234.50)"),
    "number": ("bad number", "is no exact number (such as 7.5)"),
    "integer": ("bad integer", "is no whole number"),
    "boolean": ("bad flag", "is neither true nor false"),
}


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
    file: Warehouse,
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
    files that are in the folder now. A file that cannot be read to its end, or changes meanwhile,
    is there as a whole, and none of its lines is used. Raises FeedError if the feed's query fails
    or its columns changed their type; nothing is written then.
    """
    with file.staging() as staging:
        files = _stage(staging, spec, set(entities), folder)
        stage_partitions(staging.connection, partitions)
        values = {"run_id": run_id, "read_at": read_at or datetime.now(UTC)}
        with staging.transaction() as connection:
            table = identifier(CATALOG, FEED, spec.name)
            _ensure_tables(staging, spec)
            delete_partitions(connection, table)
            connection.execute(
                statement(
                    __name__,
                    "replace",
                    feed=table,
                    columns=", ".join(f"lines.{identifier(column)}" for column in spec.columns),
                    entity=identifier(spec.entity),
                    date=identifier(spec.date),
                ),
                values,
            )
            connection.execute("DELETE FROM warehouse.feed.quarantine WHERE feed = ?", [spec.name])
            connection.execute(
                statement(
                    __name__,
                    "quarantine",
                    entity=identifier(spec.entity),
                    date=identifier(spec.date),
                ),
                {**values, "feed": spec.name},
            )
        return _result(staging, spec, partitions, files)


def partitions_of_files(
    file: Warehouse,
    spec: FeedSpec,
    entities: Collection[str],
    folder: Path,
    names: Collection[str],
    gone: Collection[str] = (),
) -> set[Partition]:
    """Return the partitions that would come out otherwise if these files were read again.

    Those of their good lines as they are now, and those of every document that they have lines of,
    or had when they, or files that are `gone`, were read last: files may contradict each other.
    `entities` are all configured ones. Raises FeedError.
    """
    with file.staging() as staging:
        connection = staging.connection
        if names:
            _stage(staging, spec, set(entities), folder, set(names))
            connection.execute(
                "CREATE TABLE memory.main.documents AS SELECT DISTINCT _source_id AS source_id"
                " FROM memory.main.checked WHERE _source_id IS NOT NULL"
            )
            found = set(
                connection.execute(
                    f"SELECT DISTINCT {identifier(spec.entity)}, {identifier(spec.date)}"
                    " FROM memory.main.lines"
                ).fetchall()
            )
        else:
            connection.execute("CREATE TABLE memory.main.documents (source_id VARCHAR)")
            found = set()
        if not file.path.exists():
            return found
        with staging.attached(read_only=True):
            if existing_columns(connection, CATALOG, FEED, spec.name):
                table = identifier(CATALOG, FEED, spec.name)
                document = f"CAST({identifier(spec.source_id)} AS VARCHAR)"
                found |= set(
                    connection.execute(
                        f"SELECT DISTINCT _entity, _day FROM {table} WHERE {document} IN ("
                        f" SELECT {document} FROM {table}"
                        " WHERE _file IN (SELECT unnest($files::VARCHAR[]))"
                        " UNION SELECT source_id FROM memory.main.documents)",
                        {"files": [*names, *gone]},
                    ).fetchall()
                )
        return found


def quarantined_lines(file: Warehouse, feed: str, *, limit: int) -> list[dict[str, object]]:
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


def _stage(
    staging: StagingSession,
    spec: FeedSpec,
    entities: set[str],
    folder: Path,
    only: Collection[str] | None = None,
) -> dict[str, int]:
    """Read, type, number and judge, beside the file: `checked`, `lines` and `sources`.

    Lines lie in files of the scratch folder, so that a feed of any size fits into memory.
    """
    files = stage_feed_records(staging, spec, folder, only)
    _stage_checked(staging, spec, entities)
    _stage_lines(staging, spec)
    _stage_sources(staging, spec)
    return files


def _stage_checked(staging: StagingSession, spec: FeedSpec, entities: set[str]) -> None:
    """Stage the typed records, each with what is wrong with it."""
    checks = list(_checks(spec, entities))
    staging.stage(
        "checked",
        statement(
            __name__,
            "lines",
            typed=",\n        ".join(
                f"{_typed(spec, column)} AS {identifier(column)}" for column in spec.source_columns
            ),
            source_columns=", ".join(
                f"records.{identifier(column)} AS {_cell(column)}" for column in spec.source_columns
            ),
            tried="".join(f", {_tried(spec, column)}" for column in spec.expressions),
            computed="".join(f", {_computed(column)}" for column in spec.expressions),
            source_id=_cell(spec.source_id),
            document=spec.document_sql,
            columns=", ".join(map(identifier, spec.columns)),
            kinds=f"CASE {' '.join(f'WHEN {c} THEN {literal(k)}' for c, k, _ in checks)} END",
            reasons=", ".join(f"CASE WHEN {c} THEN {reason} END" for c, _, reason in checks),
        ),
    )


def _stage_lines(staging: StagingSession, spec: FeedSpec) -> None:
    """Stage the good records as lines of documents, numbered by occurrence."""
    by = [*_identity(spec), *([] if spec.line_id is None else [spec.line_id])]
    staging.stage(
        "lines",
        statement(
            __name__,
            "occurrences",
            columns=", ".join(map(identifier, spec.columns)),
            by=", ".join(map(identifier, by)),
            again="count(*) > 1"
            if spec.line_id is not None or spec.one_line_each
            else "min(_file_order) <> max(_file_order)",
            occurrence=_occurrence(spec),
        ),
    )


def _stage_sources(staging: StagingSession, spec: FeedSpec) -> None:
    """Stage what is wrong with documents as a whole."""
    source_id = identifier(spec.source_id)
    staging.stage(
        "occurrences",
        statement(
            __name__,
            "documents",
            source_id=source_id,
            entity=identifier(spec.entity),
            content=", ".join(map(identifier, spec.columns)),
            conflicts=", ".join(_conflict(column) for column in spec.header_columns),
            totals=", ".join(_total_flaw(*pair) for pair in spec.control_totals.items()) or "NULL",
        ),
    )
    staging.connection.execute(
        statement(
            __name__,
            "sources",
            source_id=source_id,
            entity=identifier(spec.entity),
            line_id="_line" if spec.line_id is None else identifier(spec.line_id),
            mixed_reason=literal(
                f"its lines differ in {' or '.join(filter(None, (spec.entity, spec.party_column)))}"
            ),
            cannot_be_cut="true" if spec.control_totals or spec.one_line_each else "false",
            spans_files="false" if spec.line_id is None else "true",
        )
    )


def _typed(spec: FeedSpec, column: str) -> str:
    """The value of a cell, or null where its text is none of its type: nothing is guessed."""
    name, kind = f"records.{identifier(column)}", spec.kind(column)
    if kind == "text":
        return f"nullif({name}, '')"
    if kind == "boolean":
        return (
            f"CASE WHEN lower({name}) IN ('true', 'yes', 'y', 't', '1') THEN true"
            f" WHEN lower({name}) IN ('false', 'no', 'n', 'f', '0') THEN false END"
        )
    plain = _matching(name, _PLAIN[kind], try_cast(name, spec.sql_type(column)))
    form = spec.csv
    if kind == "date" and form.dates is not None:
        local = f"CAST(try_strptime({name}, {literal(form.dates)}) AS DATE)"
    elif kind in {"decimal", "number"} and (form.decimal != "." or form.thousands is not None):
        marked = f"replace({name}, {literal(form.thousands or '')}, '')"
        canonical = f"replace({marked}, {literal(form.decimal)}, '.')"
        local = _matching(name, _local_amount(form), try_cast(canonical, spec.sql_type(column)))
    else:
        return plain
    # what a query or a Parquet file gives has its own types, and was not written by hand
    return f"CASE WHEN records._written THEN {local} ELSE {plain} END"


def _matching(name: str, pattern: str, value: str) -> str:
    return f"CASE WHEN regexp_full_match({name}, {literal(pattern)}) THEN {value} END"


def _local_amount(form: CsvForm) -> str:
    mark = re.escape(form.decimal)
    grouped = rf"|\d{{1,3}}({re.escape(form.thousands)}\d{{3}})+" if form.thousands else ""
    return rf"[+-]?(\d{{1,18}}{grouped})({mark}\d{{1,10}})?"


def _tried(spec: FeedSpec, column: str) -> str:
    """Return an expression's value in a struct; null where it cannot be computed."""
    sql = spec.expressions[column].sql
    # the line end closes a comment that the expression may end with
    return f"TRY(struct_pack(v := CAST(({sql}\n) AS {spec.sql_type(column)}))) AS {_try(column)}"


def _computed(column: str) -> str:
    value = f"{_try(column)}.v"
    text = f"coalesce(CAST({value} AS VARCHAR), '')"
    return f"{value} AS {identifier(column)}, {text} AS {_cell(column)}"


def _try(column: str) -> str:
    return identifier("_try_" + column)


def _checks(spec: FeedSpec, entities: set[str]) -> Iterator[tuple[str, str, str]]:
    """(condition, kind, reason) of everything that sends a record into quarantine, in SQL."""
    needed = [
        spec.source_id,
        spec.entity,
        spec.date,
        *spec.control_totals,
        *spec.control_totals.values(),
    ]
    if spec.line_id is not None:
        needed.append(spec.line_id)
    for column in dict.fromkeys(needed):
        there = f" AND {_try(column)} IS NOT NULL" if column in spec.expressions else ""
        yield f"{_cell(column)} = ''{there}", "empty", literal(f"{column} is empty")
    for column in spec.columns:
        if column in spec.expressions:
            reason = f"{column}: {spec.expressions[column].sql} cannot be computed"
            yield f"{_try(column)} IS NULL", "bad expression", literal(reason)
        elif spec.kind(column) in _FLAWS:
            kind, reason = _FLAWS[spec.kind(column)]
            yield (
                f"{_cell(column)} <> '' AND {identifier(column)} IS NULL",
                kind,
                _shown(column, reason.format(date=spec.csv.dates or "YYYY-MM-DD")),
            )
        if spec.kind(column) == "date":
            first, last = _PLAUSIBLE_DATES
            yield (
                f"{identifier(column)} NOT BETWEEN DATE '{first}' AND DATE '{last}'",
                "bad date",
                _shown(column, f"is not between {first} and {last}"),
            )
    # What a spreadsheet was to compute is nobody's id. In other texts it may be meant, and is kept.
    yield f"{_cell(spec.source_id)} LIKE '=%'", "formula", _shown(spec.source_id, "is a formula")
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


def _identity(spec: FeedSpec) -> tuple[str, ...]:
    """Return the columns that say which document a line is of."""
    return "_document", spec.entity


def _occurrence(spec: FeedSpec) -> str:
    by = ", ".join(map(identifier, _identity(spec)))
    if spec.one_line_each:
        return f"row_number() OVER (PARTITION BY {by} ORDER BY _file_order, _line)"
    if spec.line_id is None:
        return f"dense_rank() OVER (PARTITION BY {by} ORDER BY _file_order)"
    by = f"{by}, {identifier(spec.line_id)}"
    return f"row_number() OVER (PARTITION BY {by} ORDER BY _file_order, _line)"


def _conflict(column: str) -> str:
    value = f"hash({identifier(column)})"
    return f"CASE WHEN min({value}) <> max({value}) THEN {literal(column)} END"


def _total_flaw(header: str, line: str) -> str:
    total, added = f"min({identifier(header)})", f"sum({identifier(line)})"
    return (
        f"CASE WHEN {total} IS DISTINCT FROM {added} THEN concat({literal(header)}, ' is ',"
        f" {readable_amount(total)}, ', its lines add up to ', {readable_amount(added)}) END"
    )


def _ensure_tables(staging: StagingSession, spec: FeedSpec) -> None:
    columns = feed_columns(spec)
    about = f"Feed {spec.name}. A row is a line of a document, typed, as its source had it."
    quarantine = "A row is a record of a feed's file that could not be used, and why."
    try:
        ensure_table(staging.connection, CATALOG, FEED, spec.name, columns, about)
        ensure_table(staging.connection, CATALOG, FEED, "quarantine", _QUARANTINE, quarantine)
    except SchemaChanged as error:
        raise FeedError(spec.name, error.reason, error.remedy) from error


def _result(
    staging: StagingSession,
    spec: FeedSpec,
    partitions: Collection[Partition],
    files: Mapping[str, int],
) -> FeedResult:
    rows = dict.fromkeys(sorted(partitions), 0)
    elsewhere: dict[Partition, int] = {}
    counted = staging.connection.execute(
        f"SELECT {identifier(spec.entity)}, {identifier(spec.date)}, count(*)"
        " FROM memory.main.lines GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    for entity, day, count in counted:
        (rows if (entity, day) in rows else elsewhere)[entity, day] = count
    quarantined = staging.connection.execute(
        "SELECT _kind, count(*) FROM memory.main.checked WHERE _kind IS NOT NULL"
        " GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    invalid = staging.connection.execute("SELECT count(*) FROM memory.main.sources").fetchall()
    return FeedResult(rows, elsewhere, files, dict(quarantined), invalid[0][0])
