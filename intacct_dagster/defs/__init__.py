"""What Dagster sees: assets, checks, jobs, schedules, sensors and resources."""

import warnings

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.defs.automation.assemble import build_automation
from intacct_dagster.defs.binding import bind
from intacct_dagster.defs.checks.api_quota import api_quota_check
from intacct_dagster.defs.checks.closing import closing_check
from intacct_dagster.defs.checks.data_quality import company_checks, raw_checks
from intacct_dagster.defs.checks.quarantined_values import quarantined_values_check
from intacct_dagster.defs.checks.sessions import sessions_check
from intacct_dagster.defs.extraction.current import current_assets
from intacct_dagster.defs.extraction.deletes import deletes_assets
from intacct_dagster.defs.extraction.raw import raw_assets, sage_intacct
from intacct_dagster.defs.metadata import add_metadata
from intacct_dagster.defs.posting.crosswalk import crosswalk_asset
from intacct_dagster.defs.posting.feed import feed_asset
from intacct_dagster.defs.posting.plan import plan_asset
from intacct_dagster.defs.posting.post import posting_asset
from intacct_dagster.defs.posting.reconcile import reconciled_asset
from intacct_dagster.defs.reporting.analysts import analyst_assets, analyst_keys
from intacct_dagster.defs.reporting.control import control_assets
from intacct_dagster.defs.reporting.snapshot import snapshot_asset
from intacct_dagster.defs.resources import (
    IntacctResource,
    WarehouseResource,
    build_resources,
)
from intacct_dagster.naming import (
    Names,
    crosswalk_key,
    current_key,
    deletes_key,
    feed_key,
    plan_key,
    posted_key,
    raw_key,
    reconciled_key,
)

__all__ = [
    "IntacctResource",
    "Names",
    "WarehouseResource",
    "analyst_keys",
    "bind",
    "build_definitions",
    "crosswalk_key",
    "current_key",
    "deletes_key",
    "feed_key",
    "plan_key",
    "posted_key",
    "raw_key",
    "reconciled_key",
]


def build_definitions(settings: Settings) -> dg.Definitions:
    """Build everything that the settings describe. Reads nothing from the network.

    How runs are executed is left to the code location: see `intacct_dagster.definitions`.
    """
    with warnings.catch_warnings():
        # Partitioned checks are a preview and backfill policies a beta of Dagster 1.13, the series
        # that pyproject.toml pins.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        warnings.simplefilter("ignore", dg.BetaWarning)
        feeds = [
            build(settings, name, feed)
            for name, feed in settings.feeds.items()
            for build in (feed_asset, reconciled_asset, plan_asset, posting_asset, crosswalk_asset)
        ]
        reads = settings.reader.enabled
        automation = build_automation(settings)
        return dg.Definitions(
            assets=add_metadata(
                settings,
                [
                    sage_intacct(settings),
                    raw_assets(settings),
                    deletes_assets(settings),
                    current_assets(settings),
                    *feeds,
                    *analyst_assets(settings),
                    *control_assets(settings),
                    *([snapshot_asset(settings, _for_analysts(settings))] if reads else []),
                ],
            ),
            asset_checks=[
                api_quota_check(settings),
                closing_check(settings),
                raw_checks(settings),
                *company_checks(settings),
                quarantined_values_check(settings),
                *(
                    [sessions_check(settings)]
                    if settings.auth.grant == "authorization_code"
                    else []
                ),
            ],
            jobs=automation.jobs,
            schedules=automation.schedules,
            sensors=automation.sensors,
            resources=build_resources(settings),
        )


def _for_analysts(settings: Settings) -> list[dg.AssetKey]:
    """Return the assets that analysts find in their copy."""
    names = Names.of(settings)
    return [
        *(names.current(each.name) for each in settings.objects),
        *(names.crosswalk(name) for name in settings.feeds),
        *analyst_keys(settings),
    ]
