"""`intacct-dagster rebuild`: make raw tables again from archived pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from intacct_dagster.config import Settings, load_settings
from intacct_dagster.state import Pairing, open_state
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import RawLoad
from intacct_dagster.warehouse.raw import rebuild as rebuild_raw
from intacct_dagster.warehouse.raw.current import refresh_current
from intacct_dagster.warehouse.raw.entities import know_entities


def rebuild_raw_tables(
    objects: tuple[str, ...], entities: tuple[str, ...], into: Path | None
) -> None:
    """Rebuild the tables of the objects and entities (default: all), and print each load.

    Args:
        objects: Names of objects; empty: all.
        entities: Ids of entities; empty: all.
        into: Another DuckDB file than the warehouse.

    Raises:
        click.ClickException: No pages of them are kept.
    """
    settings = load_settings()
    with _warehouse(settings, into) as warehouse:
        _rebuild(settings, warehouse, objects, entities)


@contextmanager
def _warehouse(settings: Settings, into: Path | None) -> Iterator[Warehouse]:
    timeout = settings.limits.lock_timeout
    if into is not None:
        yield Warehouse(into, lock_timeout=timeout)
        return
    path = Path(settings.warehouse).resolve()
    state = open_state(settings.state)
    try:
        paired = Pairing(state, settings.company, path).carry_over
        yield Warehouse(path, lock_timeout=timeout, paired=paired)
    finally:
        state.dispose()


def _rebuild(
    settings: Settings,
    warehouse: Warehouse,
    objects: tuple[str, ...],
    entities: tuple[str, ...],
) -> None:
    if any(settings.pages.glob("*/*/*/*")):  # else there is nothing to make a warehouse of
        renamed = {each.was: each.id for each in settings.entities if each.was is not None}
        know_entities(warehouse, settings.active, renamed)
    rebuilt: dict[str, int] = {}

    def report(load: RawLoad, rows: int) -> None:
        rebuilt[load.object] = rebuilt.get(load.object, 0) + 1
        days = f"{min(load.days)} to {max(load.days)}" if load.days else "by key"
        click.echo(f"{load.object} of {load.entity}, {days}: {rows:,} rows")

    done = rebuild_raw(
        warehouse, settings.pages, objects=objects, entities=entities, on_loaded=report
    )
    for name in rebuilt:
        refresh_current(warehouse, name)
    if not done.loads:
        raise click.ClickException(
            f"No pages of that are kept in {settings.pages}: say `page_retention_days: 30` in "
            "intacct.yaml, and they will be from the next run on."
        )
    click.echo(
        f"{done.loads} loads of {len(rebuilt)} objects are in {warehouse.path}, with the deletes "
        f"of {done.delete_scans} sweeps and the catalogue of {len(done.objects)} objects that it "
        "lacked."
    )
    click.echo(
        "What was read or found before pages were kept is not: a backfill and `deletes/…` bring it."
    )
