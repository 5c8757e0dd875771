"""Types that hold the values of two types, and columns that get them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.sql import identifier
from intacct_dagster.warehouse.tables import TableColumn, existing_columns

_DECIMAL: Final = re.compile(r"DECIMAL\((\d+),(\d+)\)")


def holds_both(held: str, fresh: str) -> str | None:
    """Return the type that holds the values of both types as they are; None if there is none.

    A text holds every value as it was sent. A date is not a moment: it has no time zone.
    """
    if "VARCHAR" in (held, fresh):
        return held if held == "VARCHAR" else None
    sizes = [_digits(each) for each in (held, fresh)]
    if None in sizes:
        return None
    (whole, scale), (more_whole, more_scale) = sizes  # type: ignore[misc]
    scale = max(scale, more_scale)
    if max(whole, more_whole) > 38:
        return None
    return "BIGINT" if scale == 0 and held == fresh == "BIGINT" else f"DECIMAL(38,{scale})"


def _digits(type: str) -> tuple[int, int] | None:
    """Return the digits before the point and behind it of a type of numbers."""
    decimal = _DECIMAL.fullmatch(type)
    if decimal is not None:
        return int(decimal[1]) - int(decimal[2]), int(decimal[2])
    return (19, 0) if type == "BIGINT" else None


def widen_columns(
    connection: DuckDBPyConnection,
    catalog: str,
    schema: str,
    table: str,
    columns: Sequence[TableColumn],
) -> tuple[TableColumn, ...]:
    """Give columns of numbers the types that hold what is there and what `columns` say.

    A column is never narrowed: a load of an older schema, such as one of kept pages, would round
    what is there. Meant to run before `ensure_table`, in the same transaction. DuckDB fails where a
    value does not fit.

    Returns:
        The columns, those of numbers with the types that the table has now.
    """
    held = {
        column.name.lower(): column.type
        for column in existing_columns(connection, catalog, schema, table)
    }
    widened = []
    for column in columns:
        was = held.get(column.name.lower(), column.type)
        both = holds_both(was, column.type) if _digits(was) is not None else None
        if was == column.type or both is None:
            widened.append(column)
            continue
        if both != was:
            connection.execute(
                f"ALTER TABLE {identifier(catalog, schema, table)}"
                f" ALTER COLUMN {identifier(column.name)} TYPE {both}"
            )
        widened.append(replace(column, type=both))
    return tuple(widened)
