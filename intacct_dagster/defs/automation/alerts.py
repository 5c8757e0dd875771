"""Who is told when a run fails or a check does: one sensor over the runs that have ended."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.defs.automation.alert_channels import Notice, Notifier
from intacct_dagster.defs.partitions import days_by_entity, partitions_of
from intacct_dagster.defs.run_requests import CAUSE_TAG, Clock, clock, listed, status_of

_SECONDS = 30
#: Runs that one tick looks at, and notices that it sends: the rest at the next.
_RUNS, _NOTICES = 20, 20
#: What was told is remembered for so many checks and runs, the latest: a bound for the cursor.
_REMEMBERED = 500
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
_EVENTS = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.ASSET_CHECK_EVALUATION}


@dataclass
class _Cursor:
    """Up to which run was told (when it ended, and those of that moment), and the last text that
    was told of each subject."""

    since: float
    at_since: list[str] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None, now: datetime) -> "_Cursor":
        # The first time, what ended long ago is nobody's news.
        return cls(**json.loads(text)) if text else cls(now.timestamp())

    def text(self) -> str:
        kept = dict(list(self.told.items())[-_REMEMBERED:])
        return json.dumps({"since": self.since, "at_since": self.at_since, "told": kept})


def notices_sensor(
    settings: Settings, *, now: Clock = clock, notifier: Notifier | None = None
) -> dg.SensorDefinition:
    """Tells people of runs that failed and of checks that did: entity, days, why, what to do.

    The same text about the same thing is told once, until the check has passed in between. What
    could not be sent is told in the tick, and never fails a run.
    """
    sender = notifier if notifier is not None else Notifier(settings.notifications)
    ways = listed(dict.fromkeys(each.way for each in settings.notifications)) or "nobody"

    @dg.sensor(
        name="notices",
        minimum_interval_seconds=_SECONDS,
        default_status=status_of(settings),
        description=f"Tells of failed runs and checks: {ways}.",
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        cursor = _Cursor.read(context.cursor, now())
        records = [
            each
            for each in context.instance.get_run_records(
                dg.RunsFilter(
                    statuses=_ENDED,
                    updated_after=datetime.fromtimestamp(cursor.since, UTC)
                    - timedelta(microseconds=1),
                ),
                limit=_RUNS + len(cursor.at_since),
                order_by="update_timestamp",
                ascending=True,
            )
            if each.dagster_run.run_id not in cursor.at_since
        ]
        notices: list[Notice] = []
        for record in records:
            moment = record.update_timestamp.timestamp()
            if moment > cursor.since:
                cursor.since, cursor.at_since = moment, []
            cursor.at_since.append(record.dagster_run.run_id)
            for subject, notice in _of_run(settings, context.instance, record.dagster_run):
                if notice is None:
                    cursor.told.pop(subject, None)
                    continue
                text = hashlib.sha256(f"{notice.reason}\n{notice.what_to_do}".encode()).hexdigest()[
                    :16
                ]
                if cursor.told.pop(subject, None) != text:
                    notices.append(notice)
                cursor.told[subject] = text
        failed = sender.send(_bounded(notices)) if notices else []
        told = f"{len(records):,} runs ended, {len(notices):,} notices for {ways}"
        if failed:
            told += f"; not sent: {'; '.join(failed)}"
            context.log.error(told)
        return dg.SensorResult(skip_reason=dg.SkipReason(told), cursor=cursor.text())

    return look


def _of_run(
    settings: Settings, instance: dg.DagsterInstance, run: dg.DagsterRun
) -> Iterable[tuple[str, Notice | None]]:
    """(subject, notice) of a run and of its checks; None where there is nothing amiss."""
    entries = instance.all_logs(run.run_id, of_type=_EVENTS)
    events = [each.dagster_event for each in entries if each.dagster_event is not None]
    entity, days = _about(_partitions_of_run(run))
    link = f"{settings.dagster_url.rstrip('/')}/runs/{run.run_id}" if settings.dagster_url else None
    subject = f"run {run.job_name} {entity}"
    if run.status is dg.DagsterRunStatus.SUCCESS:
        yield subject, None
    else:
        said = [_said(each) for each in events if each.is_step_failure]
        reason, _, remedy = (said[0] if said else "It ended without saying why.").partition("\n")
        cause = run.tags.get(CAUSE_TAG)
        yield (
            subject,
            Notice(
                title=f"Run failed: {run.job_name}{f' {entity}' if entity else ''}",
                entity=entity,
                days=days,
                reason=reason + (f" ({len(said)} steps failed)" if len(said) > 1 else ""),
                what_to_do=" ".join(remedy.split()) or "Look at the run's log, and run it again.",
                severity="error",
                link=f"{link or f'run {run.run_id}'}{f' (launched for {cause})' if cause else ''}",
            ),
        )
    yield from _of_checks(events, run, link)


def _of_checks(
    events: Sequence[dg.DagsterEvent], run: dg.DagsterRun, link: str | None
) -> Iterable[tuple[str, Notice | None]]:
    evaluations = [
        each.asset_check_evaluation_data
        for each in events
        if each.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    by_check: dict[dg.AssetCheckKey, list[dg.AssetCheckEvaluation]] = {}
    for each in evaluations:
        by_check.setdefault(each.asset_check_key, []).append(each)
    for key, found in by_check.items():
        whole = next((each for each in found if each.partition is None), found[-1])
        failing = [each.partition for each in found if each.partition and not each.passed]
        entity, days = _about(failing or _partitions_of_run(run))
        name = f"{key.asset_key.to_user_string()} {key.name}"
        subject = f"check {name} {_about(_partitions_of_run(run))}"
        if whole.passed and not failing:
            yield subject, None
            continue
        reason = whole.description or "It failed without saying why."
        yield (
            subject,
            Notice(
                title=f"Check failed: {name}{f' {entity}' if entity else ''}",
                entity=entity,
                days=days,
                reason=reason,
                what_to_do="See the check's table in Dagster; its text says what mends it.",
                severity="error" if whole.severity is dg.AssetCheckSeverity.ERROR else "warn",
                link=link or f"run {run.run_id}",
            ),
        )


def _said(event: dg.DagsterEvent) -> str:
    """What a step said of why it failed: our own words, or the error's."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip().splitlines()[0] if error is not None else str(event.message)


def _partitions_of_run(run: dg.DagsterRun) -> list[str]:
    """The ends of the run's range, or its partition."""
    tags: Mapping[str, str] = run.tags
    ends = (tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    return [each for each in (*ends, tags.get("dagster/partition")) if each]


def _about(keys: Sequence[str]) -> tuple[str, str]:
    """The entities and the days of partition keys, in words."""
    both = [each for each in keys if "|" in each]
    by_entity = days_by_entity(both)
    entities = sorted(by_entity.keys() | {each for each in keys if "|" not in each})
    days = sorted({each for _, each in partitions_of(by_entity)})
    if not days:
        return listed(entities), ""
    if len(days) > 2:
        return listed(entities), f"{len(days)} days, {days[0]} to {days[-1]}"
    return listed(entities), " to ".join(map(str, days))


def _bounded(notices: Sequence[Notice]) -> list[Notice]:
    """The first of them, and one that says how many more there are."""
    if len(notices) <= _NOTICES:
        return list(notices)
    rest = notices[_NOTICES:]
    return [
        *notices[:_NOTICES],
        Notice(
            title=f"{len(rest)} more runs or checks failed",
            entity=listed(dict.fromkeys(each.entity for each in rest)),
            days="",
            reason=listed(each.title for each in rest),
            what_to_do="Look at the runs in Dagster.",
            severity="error" if any(each.severity == "error" for each in rest) else "warn",
        ),
    ]
