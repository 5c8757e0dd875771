"""Lines of documents: their pages brought together with the change times of the documents.

A line belongs to the day on which its document changed, and all lines of a document that are loaded
together are of one version of it. A load also says which documents it covered, those without lines
among them: so the lines that count of a document are those of its version that counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import Warehouse
from intacct_dagster.warehouse.raw.exact_numbers import exact_pages
from intacct_dagster.warehouse.raw.names import CHANGED, KEY
from intacct_dagster.warehouse.sql import identifier, literal, statement

_LARGEST_ROW = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Parents:
    """The documents of a load of lines: `file` has one JSON array of `{key, changed}`.

    `key` is the path at which a line has its document's key.
    """

    key: str
    file: Path


@dataclass(frozen=True, slots=True)
class LinesOfDocuments:
    """Lines that can be loaded: `file` has one JSON array of flat rows, `keys` of them different.

    `left` lines were read, and went with a document that changed meanwhile. `read_at` is when the
    first answer was given that they come from, by Intacct's clock.
    """

    file: Path
    parents: Parents
    keys: int
    left: int
    read_at: datetime | None = None


def join_lines(
    file: Warehouse,
    *,
    pages: Sequence[Path],
    paths: Sequence[str],
    before: Sequence[Path] | None,
    after: Sequence[Path],
    parent_key: str,
    dated_by: str,
    into: Path,
) -> LinesOfDocuments:
    """Return the lines in `pages` (with the values at `paths`) of documents that did not change.

    `after` are pages of the documents, read when the lines had been, `before` those read earlier;
    where that is None the lines have the change time themselves, at the path `dated_by`, which all
    lines have afterwards. Nothing is read from the warehouse.
    """
    into.mkdir(parents=True, exist_ok=True)
    pages, _ = exact_pages(pages, into / "exact_pages")
    documents = {KEY: "VARCHAR", CHANGED: "VARCHAR"}
    with file.staging() as staging:
        connection = staging.connection
        unchanged = rows_of(after, documents)
        connection.execute(
            statement(
                __name__,
                "lines_parents",
                changed=CHANGED.replace('"', '""'),
                after=unchanged,
                before=unchanged if before is None else rows_of(before, documents),
            )
        )
        columns = [path for path in dict.fromkeys(("key", parent_key, *paths)) if path != dated_by]
        asked = [*columns, dated_by] if before is None else columns
        lines = rows_of(pages, dict.fromkeys(asked, "JSON"))
        time = f"json_extract_string(lines.{identifier(dated_by)}, '$')"
        kept = statement(
            __name__,
            "lines_kept",
            columns=", ".join(f"lines.{identifier(path)}" for path in columns),
            dated_by=identifier(dated_by),
            parent_key=identifier(parent_key),
            pages=lines,
            same_time=f"parents.changed IS NOT DISTINCT FROM {time}" if before is None else "true",
        )
        joined, parents = into / "lines.json", into / "documents.json"
        for sql, to in ((kept, joined), ("SELECT * FROM memory.main.parents", parents)):
            connection.execute(f"COPY ({sql}) TO {literal(str(to))} (FORMAT json, ARRAY true)")
        read = count_keys(connection, lines)
        keys = count_keys(connection, rows_of([joined], {"key": "JSON"}))
    return LinesOfDocuments(joined, Parents(parent_key, parents), keys, read - keys)


def rows_of(pages: Sequence[Path], columns: dict[str, str]) -> str:
    """The rows of pages as a relation with these columns (path and DuckDB type), as they came."""
    if not pages:
        nulls = ", ".join(f"CAST(NULL AS {t}) AS {identifier(p)}" for p, t in columns.items())
        return f"(SELECT {nulls} WHERE false)"
    spelled = ", ".join(f"{literal(path)}: '{kind}'" for path, kind in columns.items())
    return (
        f"read_json([{', '.join(literal(str(page)) for page in pages)}], format = 'array',"
        f" records = true, maximum_object_size = {_LARGEST_ROW}, columns = {{{spelled}}})"
    )


def count_keys(connection: DuckDBPyConnection, lines: str) -> int:
    """Return how many different keys a relation has, whose `key` is JSON."""
    return int(
        connection.execute(
            f"SELECT count(DISTINCT json_extract_string(key, '$')) FROM {lines}"
        ).fetchall()[0][0]
    )
