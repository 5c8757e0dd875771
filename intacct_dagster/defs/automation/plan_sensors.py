"""From raw to posted without a person: plans are renewed when their sources change, and approved
plans are posted.

Both sensors ask the warehouse what is due and keep no cursor. What failed, was done by hand, or
happened while Dagster was off is found at the next tick all the same.
"""

from collections.abc import Collection, Mapping, Sequence

import dagster as dg

from intacct_dagster.config import Feed, Settings
from intacct_dagster.defs.automation.ticks import (
    SensorSpec,
    TickContext,
    TickResult,
    build_sensor,
    launchable,
)
from intacct_dagster.defs.partitions import last_day
from intacct_dagster.defs.posting.plan import CHANGED, PLANNED
from intacct_dagster.defs.reporting.analysts import views_of_feeds
from intacct_dagster.defs.run_requests import (
    PLANNING,
    POSTING,
    Clock,
    Job,
    Range,
    clock,
    last_night,
    listed,
    ranges,
    run_of,
    unread_entities,
    warehouse_of,
)
from intacct_dagster.naming import Names
from intacct_dagster.state import Approvals, open_state
from intacct_dagster.warehouse import Partition
from intacct_dagster.warehouse.reconciliation import (
    SHOWN_HASH,
    PlannedDocument,
    plan_backlog,
    plan_hash,
    plan_hashes,
    planned_documents,
    uncertain_partitions,
    unposted_plans,
)
from intacct_dagster.warehouse.reconciliation.backlog import BacklogPlan

_SECONDS = 60


def post_job(settings: Settings, name: str) -> Job:
    """Build the job that posts partitions of a feed, and brings the crosswalk up to date."""
    names = Names.of(settings)
    return dg.define_asset_job(
        names.post_job(name),
        selection=[names.posted(name), names.crosswalk(name), *views_of_feeds(names)],
        description=f"Posts what the plan of partitions of {name} says, where it may be posted.",
        tags={**names.tags, "dagster/priority": str(POSTING)},
    )


def renewal_sensor(
    settings: Settings, name: str, feed: Feed, *, now: Clock = clock
) -> dg.SensorDefinition:
    """Build the sensor that reconciles and plans the partitions whose plan is out of date.

    A plan is out of date if the feed was read since, if the records that stand for its documents
    came or changed in Intacct, or, once a night, if it holds documents.
    """
    names = Names.of(settings)
    spec = SensorSpec(
        names.plan_of(name),
        names.plan_job(name),
        _SECONDS,
        f"Plans partitions of {name} again where the feed or Intacct changed since, and once a "
        "night where documents are held.",
    )
    return build_sensor(settings, spec, lambda tick: _renew_plans(tick, name, feed), now)


def _renew_plans(tick: TickContext, name: str, feed: Feed) -> TickResult:
    settings = tick.settings
    found = plan_backlog(
        warehouse_of(settings),
        name,
        feed.object,
        feed.match_on,
        settings.active,
        planned=(*PLANNED, CHANGED) if feed.on_change == "patch" else PLANNED,
        held_before=last_night(settings, tick.at),
    )
    unread = unread_entities(settings, feed.object, {each.partition[0] for each in found})
    last = last_day(settings, tick.at)
    due = {
        each.partition: each
        for each in found
        if each.partition[0] not in unread and settings.start_date <= each.partition[1] <= last
    }
    launched = launchable(tick, ranges(due), _jobs_of(tick.names, name))
    requests = [_plan_request(tick, name, each, due) for each in launched.now]
    notes = [f"{feed.object} of {each} was not read yet" for each in sorted(unread)]
    notes += launched.notes()
    if requests:
        return TickResult(requests, [f"out of date: {listed(launched.now)}", *notes])
    return TickResult(notes=notes or ["every plan is up to date"])


def _plan_request(
    tick: TickContext, name: str, wanted: Range, due: Mapping[Partition, BacklogPlan]
) -> dg.RunRequest:
    causes = [plan for partition, plan in due.items() if partition in wanted]
    since = max(plan.since for plan in causes)
    return run_of(
        tick.names,
        wanted,
        cause=listed(dict.fromkeys(plan.why for plan in causes)),
        priority=PLANNING,
        # Once a day for the same cause, so that what fails is tried again, but not all the time.
        run_key=f"{name}|{wanted}|{since.isoformat()}|{tick.at.date()}",
        assets=[tick.names.reconciled(name), tick.names.plan(name)],
    )


def posting_sensor(
    settings: Settings, name: str, feed: Feed, *, now: Clock = clock
) -> dg.SensorDefinition:
    """Build the sensor that posts the plans that may be posted. Each plan is launched once.

    With `approval: required` those are the plans that a person approved. A plan that holds nothing
    but changes is posted like any other. A plan whose run failed is not launched again, because a
    person has to look first. Where requests were left unanswered, a run is launched every hour: it
    asks Intacct what became of them before it sends anything.
    """
    required = settings.posting.approval == "required"
    names = Names.of(settings)
    spec = SensorSpec(
        names.posting_of(name),
        names.post_job(name),
        _SECONDS,
        f"Posts the plans of {name} that "
        + ("a person approved." if required else "are there: `approval: none`."),
    )
    return build_sensor(settings, spec, lambda tick: _post_plans(tick, name, feed), now)


def _post_plans(tick: TickContext, name: str, feed: Feed) -> TickResult:
    settings = tick.settings
    if not settings.posting.enabled:
        return TickResult(notes=["posting.enabled is false in intacct.yaml: a dry run"])
    warehouse = warehouse_of(settings)
    changes = feed.on_change == "patch"
    unposted = set(unposted_plans(warehouse, name, settings.active, changes=changes))
    plans = planned_documents(warehouse, name, unposted) if unposted else []
    uncertain = set(uncertain_partitions(warehouse, name, settings.active))
    approved = _approved(settings, name, unposted, plans)
    launched = launchable(tick, ranges(approved | uncertain), _jobs_of(tick.names, name))
    requests = [_post_request(tick, name, each, plans, uncertain) for each in launched.now]
    notes = []
    if waiting := unposted - approved:
        notes.append(f"a person has to approve {listed(ranges(waiting))}")
    notes += [
        f"what became of documents of {each} is not known: Intacct is asked"
        for each in launched.now
        if _holds(each, uncertain)
    ]
    notes += launched.notes()
    if requests:
        return TickResult(requests, [f"launched: {listed(launched.now)}", *notes])
    return TickResult(notes=notes or ["no plan waits to be posted"])


def _post_request(
    tick: TickContext,
    name: str,
    wanted: Range,
    plans: Sequence[PlannedDocument],
    uncertain: Collection[Partition],
) -> dg.RunRequest:
    if _holds(wanted, uncertain):
        cause = "what became of documents is not known"
        key = f"{tick.at:%Y-%m-%dT%H}"
    else:
        key = plan_hash([plan for plan in plans if (plan.entity, plan.day) in wanted])
        cause = f"plan {key[:SHOWN_HASH]}"
    run_key = f"{name}|{wanted}|{key}"
    return run_of(tick.names, wanted, cause=cause, priority=POSTING, run_key=run_key)


def _holds(wanted: Range, partitions: Collection[Partition]) -> bool:
    return any(each in wanted for each in partitions)


def _jobs_of(names: Names, name: str) -> set[str]:
    return {names.plan_job(name), names.post_job(name)}


def _approved(
    settings: Settings,
    feed: str,
    unposted: set[Partition],
    plans: Sequence[PlannedDocument],
) -> set[Partition]:
    """Return the partitions whose plan may be posted: all, unless approval is required."""
    if settings.posting.approval != "required" or not unposted:
        return unposted
    engine = open_state(settings.state)
    try:
        return Approvals(engine, settings.company).approved(feed, plan_hashes(plans))
    finally:
        engine.dispose()
