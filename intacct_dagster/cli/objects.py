"""`intacct-dagster objects …`: what is known of each object, and how to read one from the start."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from intacct_dagster.client import IntacctError
from intacct_dagster.company import company_in
from intacct_dagster.config import ObjectSettings, Settings, load_settings
from intacct_dagster.extraction.extract import Extractor
from intacct_dagster.state import ApiUsage, open_state
from intacct_dagster.warehouse import Warehouse, WarehouseError
from intacct_dagster.warehouse.raw.forget import forget_object, last_load_id
from intacct_dagster.warehouse.raw.status import ObjectStatus, object_status


def show_status(console: Console) -> None:
    """Print of each object and entity how far it is known, and of each object what is amiss."""
    settings = load_settings()
    warehouse = _warehouse(settings)
    found = object_status(warehouse, [each.name for each in settings.objects])
    table = Table("object", "entity", "records", "as of", "complete since", "deletes as of")
    for each in found:
        for known in each.entities or ():
            table.add_row(
                each.object,
                known.entity,
                f"{known.records:,}",
                _moment(known.as_of),
                _since(known.complete_since),
                _moment(known.deletes_as_of),
            )
        if not each.entities:
            table.add_row(each.object, "", "", "nothing was read yet", "", "")
    console.print(table)
    for each in found:
        for line in _remarks(each):
            console.print(line, markup=False, soft_wrap=True)


def _remarks(each: ObjectStatus) -> list[str]:
    remarks = []
    if each.unreadable:
        remarks.append(f"{each.object}: no query may ask for {', '.join(each.unreadable)}")
    if each.vanished:
        remarks.append(f"{each.object}: the model no longer has {', '.join(each.vanished)}")
    if each.quarantined:
        remarks.append(
            f"{each.object}: {each.quarantined:,} values could not be converted: see raw.quarantine"
        )
    if each.went_back:
        remarks.append(
            f"{each.object}: {each.went_back:,} records had an earlier change time than before"
        )
    return remarks


def _since(moment: datetime | None) -> str:
    if moment is None:
        return "not proven"
    return "the beginning" if moment.year == 1 else _moment(moment)


def _moment(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def forget(name: str, entities: tuple[str, ...]) -> None:
    """Withdraw what was loaded of an object. Raises click.UsageError for an unknown one."""
    settings = load_settings()
    what = _object(settings, name)
    _check_entities(settings, entities)
    loads = forget_object(_warehouse(settings), what.name, entities=entities, now=datetime.now(UTC))
    click.echo(
        f"{loads:,} loads of {what.name} count no more, and its days are to be read again: "
        "backfill its raw asset, or run `intacct-dagster objects reload`."
    )


def reload(name: str, entities: tuple[str, ...]) -> None:
    """Read an object from the start, and then withdraw what was loaded before.

    Until all of it is read, what was there stays. Raises click.ClickException if an entity fails.
    """
    settings = load_settings()
    what = _object(settings, name)
    _check_entities(settings, entities)
    warehouse = _warehouse(settings)
    state = open_state(settings.state)
    days = _days(settings)
    run_id = f"reload-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    failed = []
    with company_in(state, settings) as company:
        for entity in entities or settings.active:
            before = last_load_id(warehouse)
            extractor = Extractor(
                company,
                warehouse,
                start_date=settings.start_date,
                run_id=run_id,
                page_size=settings.limits.page_size,
                reading=settings.reading,
                api_usage=ApiUsage(state, settings.company),
                entities=settings.active,
                renamed={e.was: e.id for e in settings.entities if e.was is not None},
                end_date=settings.end_date,
            )
            try:
                done = extractor.extract(what, entity, days)
            except (IntacctError, WarehouseError) as error:
                failed.append(f"{entity}: {error}")
                continue
            forget_object(
                warehouse, what.name, entities=[entity], until=before, now=datetime.now(UTC)
            )
            click.echo(f"{what.name} of {entity}: {done.distinct_keys:,} records were read")
    if failed:
        raise click.ClickException("\n".join(failed))


def _days(settings: Settings) -> list[date]:
    last = datetime.now(UTC).date() - timedelta(days=1)
    if settings.end_date is not None:
        last = min(last, settings.end_date)
    days = (last - settings.start_date).days + 1
    return [settings.start_date + timedelta(n) for n in range(days)]


def _object(settings: Settings, name: str) -> ObjectSettings:
    for each in settings.objects:
        if each.name == name:
            return each
    names = ", ".join(each.name for each in settings.objects)
    raise click.UsageError(f"{name} is not among the objects of intacct.yaml: {names}.")


def _check_entities(settings: Settings, entities: tuple[str, ...]) -> None:
    there = [each.id for each in settings.entities]
    for entity in entities:
        if entity not in there:
            raise click.UsageError(f"{entity} is not among the entities: {', '.join(there)}.")


def _warehouse(settings: Settings) -> Warehouse:
    return Warehouse(Path(settings.warehouse), lock_timeout=settings.limits.lock_timeout)
