"""The views for analysts as assets: general ledger, trial balance, ageing, and what was posted."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.defs.failures import as_dagster_failure
from intacct_dagster.defs.pictures import BAD, DOUBTFUL, GOOD, PLAIN, bars
from intacct_dagster.defs.resources import WarehouseResource, warehouse_in
from intacct_dagster.defs.source_code import made_by
from intacct_dagster.defs.tables import column_schema, lineage, relation
from intacct_dagster.naming import Names
from intacct_dagster.warehouse.reporting import (
    ANALYST_VIEWS,
    AnalystView,
    posted_by_day,
    refresh_analysts,
)

GROUP = "analysts"

#: Days in a picture.
_DAYS = 31

#: What stands in a column's sources for a table of every feed.
_OF_FEEDS = {"reconciled.": Names.reconciled, "plan.": Names.plan, "posting.": Names.posted}


def analyst_keys(settings: Settings) -> list[dg.AssetKey]:
    """Return the views that the settings have all objects and feeds for."""
    names = Names.of(settings)
    return [names.view(view.name) for view in ANALYST_VIEWS if not _lacks(settings, view)]


def views_of(names: Names, objects: Collection[str]) -> list[dg.AssetKey]:
    """Return the views that show only these objects."""
    views = [view for view in ANALYST_VIEWS if view.needs and not view.missing(objects)]
    return [names.view(view.name) for view in views]


def views_of_feeds(names: Names) -> list[dg.AssetKey]:
    """Return the views that show the outcomes of the feeds' documents."""
    return [names.view(view.name) for view in ANALYST_VIEWS if view.of_feeds]


def analyst_assets(settings: Settings) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """Build the op that makes the views, and an asset that says why for each that cannot be made.

    They are not partitioned: a view shows all entities and days that have landed, at any time.
    """
    names = Names.of(settings)
    views = {names.view(each.name): each for each in ANALYST_VIEWS if not _lacks(settings, each)}
    others: list[dg.AssetsDefinition | dg.AssetSpec] = [
        dg.AssetSpec(
            names.view(each.name),
            group_name=names.group(GROUP),
            description=f"Not made: {_lacks(settings, each)}.\n\n{each.about}",
            metadata=made_by(analyst_assets),
        )
        for each in ANALYST_VIEWS
        if _lacks(settings, each)
    ]
    if not views:
        return others

    @dg.multi_asset(
        name=names.refresh_analysts,
        specs=[
            dg.AssetSpec(
                key,
                deps=_deps(settings, view),
                group_name=names.group(GROUP),
                kinds={"duckdb", "view"},
                description="\n\n".join([view.about, *_macros(view)]),
                metadata=relation(settings, key),
            )
            for key, view in views.items()
        ],
        can_subset=True,
        required_resource_keys={names.warehouse},
    )
    def refresh(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        warehouse = warehouse_in(context, settings)
        for key, view in views.items():
            if key in context.selected_asset_keys:
                yield dg.MaterializeResult(
                    asset_key=key, metadata=_refresh(settings, warehouse, view)
                )

    return [refresh, *others]


def _refresh(settings: Settings, warehouse: WarehouseResource, view: AnalystView) -> dict[str, Any]:
    """Make a view, and return its metadata."""
    file, feeds = warehouse.warehouse, list(settings.feeds)
    made = as_dagster_failure(settings, refresh_analysts, file, view, feeds)
    days = as_dagster_failure(settings, posted_by_day, file, _DAYS) if view.of_feeds else []
    return {
        "dagster/row_count": made.rows,
        "dagster/column_schema": column_schema(made.columns),
        "dagster/column_lineage": _lineage(settings, view),
        **_by_day(days),
    }


def _lacks(settings: Settings, view: AnalystView) -> str:
    """Return why a view cannot be made; empty if it can."""
    if view.of_feeds and not settings.feeds:
        return "there is no feed in intacct.yaml"
    missing = view.missing([each.name for each in settings.objects])
    return f"it needs {', '.join(missing)} among the objects of intacct.yaml" if missing else ""


def _macros(view: AnalystView) -> Iterator[str]:
    for about in view.macros.values():
        call, text = about.split(":", 1)
        yield f"`intacct.{call}`:{text}"


def _deps(settings: Settings, view: AnalystView) -> Sequence[dg.AssetKey]:
    names = Names.of(settings)
    if view.of_feeds:
        return [key(names, feed) for feed in settings.feeds for key in _OF_FEEDS.values()]
    return [names.current(each) for each in view.needs]


def _lineage(settings: Settings, view: AnalystView) -> dg.MetadataValue[Any]:
    names = Names.of(settings)
    deps: dict[str, list[tuple[dg.AssetKey, str]]] = {}
    for column in view.columns:
        deps[column.name] = [
            (key, name)
            for table, name in column.sources
            for key in (
                [_OF_FEEDS[table](names, feed) for feed in settings.feeds]
                if table in _OF_FEEDS
                else [names.current(table)]
            )
        ]
    return lineage(deps)


def _by_day(
    days: Sequence[tuple[date, Mapping[str, int]]],
) -> dict[str, dg.MetadataValue[Any]]:
    """Return the outcomes of the documents of the last days, as a picture."""
    if not days:
        return {}
    colours = {"posted": GOOD, "matched": PLAIN, "rejected or held": BAD, "uncertain": DOUBTFUL}
    return {
        "documents_by_day": bars(
            "Documents by day: posted, in Intacct already, rejected or held, uncertain",
            [(day.isoformat(), counts) for day, counts in days],
            colours,
        )
    }
