"""Commands on the warehouse: ask it, rebuild it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from intacct_dagster.cli.user_errors import report_user_errors


@click.command()
@click.argument("statement")
@click.option("--csv", "form", flag_value="csv", help="As CSV, all rows.")
@click.option("--json", "form", flag_value="json", help="As JSON, all rows; amounts are text.")
@click.option(
    "--rows",
    default=100,
    show_default=True,
    type=click.IntRange(0),
    help="Rows of a table; 0 shows all.",
)
@report_user_errors
def sql(statement: str, form: str | None, rows: int) -> None:
    """Ask the warehouse, in SQL.

    Reads the copy for analysts, so no run waits for it. Takes one statement, which only reads, and
    opens no other file and no network. `-` reads the statement from standard input.
    docs/questions.md has ten questions to begin with.
    """
    from intacct_dagster.cli.sql import read_statement, run_sql

    asked: Any = form or "table"
    run_sql(read_statement(statement), form=asked, rows=rows, out=sys.stdout, notes=sys.stderr)


@click.command()
@click.option("--object", "objects", multiple=True, help="Only this object; may be repeated.")
@click.option("--entity", "entities", multiple=True, help="Only this entity; may be repeated.")
@click.option(
    "--into",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Another DuckDB file.  [default: the warehouse]",
)
@report_user_errors
def rebuild(objects: tuple[str, ...], entities: tuple[str, ...], into: Path | None) -> None:
    """Make raw tables again from kept pages, without asking Intacct.

    Does again, in order and with all proofs, every load whose pages are kept
    (`page_retention_days` in intacct.yaml), and what delete scans found deleted since; an object
    that the catalogue has lost gets the newest one kept. Partitions whose pages are not kept any
    more stay as they are. Everything else in the warehouse is made of raw tables: materialize it
    again.
    """
    from intacct_dagster.cli.rebuild import rebuild_raw_tables

    rebuild_raw_tables(objects, entities, into)
