"""Rows of queries brought together with values of whole records, all of it as it came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from intacct_dagster.warehouse.database import Warehouse
from intacct_dagster.warehouse.raw.exact_numbers import exact_pages
from intacct_dagster.warehouse.raw.lines import count_keys, rows_of
from intacct_dagster.warehouse.sql import identifier, literal, statement

# A record holds its lines, and DuckDB's read buffer grows with it.
_LARGEST_RECORD = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CompleteRows:
    """Rows that can be loaded: `file` has one JSON array of flat rows, `keys` of them different.

    `left` others were read, and changed or went before their record was.
    """

    file: Path
    keys: int
    left: int


def join_records(
    file: Warehouse,
    *,
    pages: Sequence[Path],
    paths: Sequence[str],
    records: Sequence[Path],
    got: Sequence[str],
    changed: str | None,
    into: Path,
) -> CompleteRows:
    """The rows in `pages` (with the values at `paths`), and the values at `got` of their records.

    `records` each hold one JSON array of nested records. With `changed`, the path of the change
    time, only a record of the same version counts. Nothing is read from the warehouse.
    """
    pages, _ = exact_pages(pages, into / "exact_pages")
    records, _ = exact_pages(records, into / "exact_records")
    columns = list(dict.fromkeys(("key", *paths, *([changed] if changed else []))))
    rows = rows_of(pages, dict.fromkeys(columns, "JSON"))
    time = f"json_extract_string(pages.{identifier(changed)}, '$')" if changed else ""
    sql = statement(
        __name__,
        "details_complete",
        columns=", ".join(f"pages.{identifier(path)}" for path in columns),
        got=", ".join(
            f"json_extract(records.json, {literal(_place(path))}) AS {identifier(path)}"
            for path in got
        ),
        pages=rows,
        records=(
            f"read_json_objects([{', '.join(literal(str(each)) for each in records)}],"
            f" format = 'array', maximum_object_size = {_LARGEST_RECORD})"
            if records
            else "(SELECT CAST(NULL AS JSON) AS json WHERE false)"
        ),
        same_time=(
            f"json_extract_string(records.json, {literal(_place(changed))})"
            f" IS NOT DISTINCT FROM {time}"
            if changed
            else "true"
        ),
    )
    complete = into / "complete.json"
    with file.staging() as staging:
        staging.connection.execute(
            f"COPY ({sql}) TO {literal(str(complete))} (FORMAT json, ARRAY true)"
        )
        read = count_keys(staging.connection, rows)
        keys = count_keys(staging.connection, rows_of([complete], {"key": "JSON"}))
    return CompleteRows(complete, keys, read - keys)


def _place(path: str) -> str:
    """`a.nsp::b` -> `$."a"."nsp::b"`."""
    return "$" + "".join(f'."{part}"' for part in path.split("."))
