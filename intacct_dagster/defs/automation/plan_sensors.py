"""From raw to posted without a person: plans are renewed when what they rest on changes, and what
may be posted is posted.

Both sensors ask the warehouse what is due, and remember nothing: what failed, was done by hand, or
happened while Dagster was off, is found at the next tick all the same.
"""

from collections.abc import Collection

import dagster as dg

from intacct_dagster.config import Feed, Settings
from intacct_dagster.config.timetable import last_daily
from intacct_dagster.defs.partitions import last_day
from intacct_dagster.defs.posting.crosswalk import crosswalk_key
from intacct_dagster.defs.posting.plan import CHANGED, PLANNED, plan_key
from intacct_dagster.defs.posting.post import posted_key
from intacct_dagster.defs.posting.reconcile import reconciled_key
from intacct_dagster.defs.reporting.analysts import views_of_feeds
from intacct_dagster.defs.run_requests import (
    PLANNING,
    POSTING,
    Clock,
    Job,
    Range,
    clock,
    listed,
    ranges,
    run_of,
    status_of,
    underway,
    unread_entities,
    warehouse_of,
)
from intacct_dagster.state import Approvals, StateError, open_state
from intacct_dagster.warehouse import Partition, WarehouseError
from intacct_dagster.warehouse.reconciliation import (
    SHOWN_HASH,
    plan_backlog,
    plan_hash,
    plan_hashes,
    planned_documents,
    uncertain_partitions,
    unposted_plans,
)

_SECONDS = 60


def post_job(settings: Settings, name: str) -> Job:
    """The job that posts partitions of a feed, and brings the crosswalk up to date."""
    return dg.define_asset_job(
        f"post_{name}",
        selection=[posted_key(name), crosswalk_key(name), *views_of_feeds()],
        description=f"Posts what the plan of partitions of {name} says, where it may be posted.",
        tags={"dagster/priority": str(POSTING)},
    )


def renewal_sensor(
    settings: Settings, name: str, feed: Feed, *, now: Clock = clock
) -> dg.SensorDefinition:
    """Reconciles and plans the partitions of a feed whose plan is out of date, and no others.

    That is: the feed was read since, the records that stand for its documents came or changed in
    Intacct, or, once a night, what a gate holds may have been mended.
    """
    jobs = {f"plan_{name}", f"post_{name}"}

    @dg.sensor(
        name=f"plan_of_{name}",
        job_name=f"plan_{name}",
        minimum_interval_seconds=_SECONDS,
        default_status=status_of(settings),
        description=(
            f"Plans partitions of {name} anew where the feed or Intacct changed since, and once a "
            "night where a gate holds something."
        ),
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        at = now()
        window = settings.schedules.maintenance_at(at)
        if window is not None:
            return dg.SkipReason(f"Sage's maintenance: {window}")
        try:
            found = plan_backlog(
                warehouse_of(settings),
                name,
                feed.object,
                feed.match_on,
                settings.active,
                planned=(*PLANNED, CHANGED) if feed.on_change == "patch" else PLANNED,
                held_before=last_daily(settings.schedules.nightly, at, settings.schedules.zone),
            )
            entities = {each.partition[0] for each in found}
            unread = unread_entities(settings, feed.object, entities)
        except (StateError, WarehouseError) as error:
            return dg.SkipReason(f"{error}\nNothing was launched; the next tick looks again.")
        last = last_day(settings, at)
        due = {
            each.partition: each
            for each in found
            if each.partition[0] not in unread and settings.start_date <= each.partition[1] <= last
        }
        told = [f"{feed.object} of {each} was not read yet" for each in sorted(unread)]
        launched, busy, left = _launchable(context.instance, settings, set(due), jobs)
        requests = []
        for each in launched:
            causes = [plan for partition, plan in due.items() if partition in each]
            since = max(plan.since for plan in causes)
            requests.append(
                run_of(
                    each,
                    cause=listed(dict.fromkeys(plan.why for plan in causes)),
                    priority=PLANNING,
                    # once a day for the same cause: what failed is tried again, and not for ever
                    run_key=f"{name}|{each}|{since.isoformat()}|{at.date()}",
                    assets=[reconciled_key(name), plan_key(name)],
                )
            )
        told += _told(busy, left)
        if requests:
            context.log.info("; ".join([f"out of date: {listed(launched)}", *told]))
            return dg.SensorResult(run_requests=requests)
        return dg.SkipReason("; ".join(told or ["every plan is up to date"]))

    return look


def posting_sensor(
    settings: Settings, name: str, feed: Feed, *, now: Clock = clock
) -> dg.SensorDefinition:
    """Posts the plans that may be posted; each plan, by its hash, is launched once.

    A plan of nothing but changes is one of them.

    With `approval: required` those are the plans that a person approved. A plan whose run failed is
    not launched again by itself: a person looks first. What was sent and never answered is asked
    about every hour: the run asks Intacct what became of it, before it sends anything.
    """
    jobs = {f"plan_{name}", f"post_{name}"}
    required = settings.posting.approval == "required"

    @dg.sensor(
        name=f"posting_of_{name}",
        job_name=f"post_{name}",
        minimum_interval_seconds=_SECONDS,
        default_status=status_of(settings),
        description=(
            f"Posts the plans of {name} that "
            + ("a person approved." if required else "are there: `approval: none`.")
        ),
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        at = now()
        if not settings.posting.enabled:
            return dg.SkipReason("posting.enabled is false in intacct.yaml: a dry run")
        window = settings.schedules.maintenance_at(at)
        if window is not None:
            return dg.SkipReason(f"Sage's maintenance: {window}")
        try:
            warehouse = warehouse_of(settings)
            unposted = unposted_plans(
                warehouse, name, settings.active, changes=feed.on_change == "patch"
            )
            plans = planned_documents(warehouse, name, set(unposted)) if unposted else []
            uncertain = uncertain_partitions(warehouse, name, settings.active)
        except (StateError, WarehouseError) as error:
            return dg.SkipReason(f"{error}\nNothing was launched; the next tick looks again.")
        may = set(unposted)
        told: list[str] = []
        if required and unposted:
            may = _approved(settings, name, plan_hashes(plans))
            if waiting := set(unposted) - may:
                told.append(f"a person has to approve {listed(ranges(waiting))}")
        launched, busy, left = _launchable(context.instance, settings, may | uncertain, jobs)
        requests = []
        for each in launched:
            part = plan_hash([plan for plan in plans if (plan.entity, plan.day) in each])
            unknown = any(partition in each for partition in uncertain)
            if unknown:
                told.append(f"what became of documents of {each} is not known: it is asked")
            requests.append(
                run_of(
                    each,
                    cause="what became of documents is not known"
                    if unknown
                    else f"plan {part[:SHOWN_HASH]}",
                    priority=POSTING,
                    run_key=f"{name}|{each}|{f'{at:%Y-%m-%dT%H}' if unknown else part}",
                )
            )
        told += _told(busy, left)
        if requests:
            context.log.info("; ".join([f"launched: {listed(launched)}", *told]))
            return dg.SensorResult(run_requests=requests)
        return dg.SkipReason("; ".join(told or ["no plan waits to be posted"]))

    return look


def _launchable(
    instance: dg.DagsterInstance,
    settings: Settings,
    due: Collection[Partition],
    jobs: Collection[str],
) -> tuple[list[Range], list[str], list[Range]]:
    """The ranges to launch now, the entities that have a run under way, and what is left over."""
    running = underway(instance)
    busy = sorted({entity for entity, _ in due if running.busy(entity, jobs)})
    wanted = [each for each in ranges(due) if each.entity not in busy]
    room = running.room(settings)
    return wanted[:room], busy, wanted[room:]


def _told(busy: Collection[str], left: Collection[Range]) -> list[str]:
    told = [f"a run is under way for {listed(busy)}"] if busy else []
    return [*told, *([f"{len(left):,} ranges wait for runs that are under way"] if left else [])]


def _approved(settings: Settings, feed: str, plans: dict[Partition, str]) -> set[Partition]:
    engine = open_state(settings.state)
    try:
        return Approvals(engine, settings.company).approved(feed, plans)
    finally:
        engine.dispose()
