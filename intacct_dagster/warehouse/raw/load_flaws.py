"""What is wrong with the pages of a load that was stopped: the row, the column and the value."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import duckdb

from intacct_dagster.warehouse import types
from intacct_dagster.warehouse.database import Warehouse
from intacct_dagster.warehouse.errors import LoadRefused
from intacct_dagster.warehouse.raw.names import ENTITY, KEY
from intacct_dagster.warehouse.raw.raw_load import RawLoad
from intacct_dagster.warehouse.sql import identifier, literal, statement

_BETWEEN = "\x1f"  # stands between a column's name and the value that is wrong


class _FlawedRow(NamedTuple):
    """A row of a page as `load_flaws.sql` gives it; `flaw` is a column's name and its value."""

    key: str | None
    entity: str | None
    flaw: str | None
    changed: datetime | None
    file: str


def refuse_flaws(file: Warehouse, load: RawLoad) -> None:
    """Raise LoadRefused with what must not be stored of the pages, if there is such."""
    if not load.files:
        return
    with file.staging() as staging:
        try:
            found = staging.connection.execute(
                _statement(load), {"own": load.entity, "days": sorted(set(load.days))}
            ).fetchall()
        except (duckdb.InvalidInputException, duckdb.IOException) as error:
            reason = str(error).splitlines()[0].rstrip(". ")
            raise load.refused(
                f"a page is not an array of flat JSON rows ({reason})",
                "Read the object again; if it comes back, Intacct or something between answers in "
                "another form.",
            ) from error
    if found:
        raise _refusal(load, _FlawedRow(*found[0]))


def _statement(load: RawLoad) -> str:
    # Other values that cannot be converted go into quarantine.
    needed = {KEY, ENTITY, load.dated_by, load.parents.key if load.parents is not None else KEY}
    checks = [
        f"WHEN {condition}"
        f" THEN concat({literal(column.name + _BETWEEN)}, {identifier(column.path)})"
        for column in load.columns
        if column.path in needed and (condition := types.flaw(column)) is not None
    ]
    return statement(
        __name__,
        "load_flaws",
        typed=", ".join(f"{types.lenient(c)} AS {identifier(c.name)}" for c in load.columns),
        flaw=f"CASE {' '.join(checks)} END" if checks else "CAST(NULL AS VARCHAR)",
        pages=load.pages(exact=True, file="_file"),
        key=load.column(KEY),
        entity=load.column(ENTITY),
        changed=load.column(load.dated_by),
        day=load.day,
    )


def _refusal(load: RawLoad, row: _FlawedRow) -> LoadRefused:
    page = f" on page {[str(each) for each in load.files].index(row.file) + 1}"
    if not row.key:
        return load.refused(
            f"a row{page} has no key",
            "Read the object again; report it to Sage support if it comes back.",
            column=KEY,
        )
    if row.entity not in {None, "", load.entity}:
        return load.refused(
            f"the row with key {row.key}{page} belongs to entity {row.entity}",
            f"Check that the session is bound to {load.entity}: the user's entity access, and the "
            "X-IA-API-Param-Entity header.",
            column=ENTITY,
            key=row.key,
        )
    if row.flaw is None:
        when = f"was changed at {row.changed}" if row.changed is not None else "has no change time"
        return load.refused(
            f"the row with key {row.key}{page} {when}, outside the days {min(load.days)} to "
            f"{max(load.days)}",
            "Read the object again for these days; the answer holds more than was asked for.",
            column=load.dated_by,
            key=row.key,
        )
    name, _, shown = row.flaw.partition(_BETWEEN)
    column = next(c for c in load.columns if c.name == name)
    return load.refused(
        f"column {name} ({column.path}) of the row with key {row.key}{page} holds "
        f"{_shorten(shown)}, which is not exactly a {column.type}",
        "Leave the field out of the object's `fields:` in intacct.yaml, or give it another type.",
        column=name,
        key=row.key,
    )


def _shorten(shown: str) -> str:
    text = shown if shown.startswith('"') else f"'{shown}'"
    return text if len(text) <= 60 else f"{text[:57]}…"
