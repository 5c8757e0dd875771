"""Alert people when a run or a check fails: one sensor over the runs that have ended."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.defs.automation.alert_channels import Alert, AlertSender
from intacct_dagster.defs.automation.ticks import SensorSpec, TickContext, TickResult, build_sensor
from intacct_dagster.defs.partitions import days_by_entity, partitions_of
from intacct_dagster.defs.run_requests import CAUSE_TAG, Clock, clock, listed
from intacct_dagster.naming import Names

_SECONDS = 30
#: Runs that one tick looks at, and alerts that it sends. The rest waits for the next tick.
_RUNS, _ALERTS = 20, 20
#: For how many checks and runs, the latest, the last alert is remembered: a bound for the cursor.
_REMEMBERED = 500
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
_EVENTS = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.ASSET_CHECK_EVALUATION}


@dataclass
class AlertCursor:
    """What the sensor stores from tick to tick.

    Attributes:
        since: When the last run ended that was looked at, in seconds since the epoch.
        at_since: The runs that ended at that moment and were looked at.
        reported: A hash of the last alert about each subject.
    """

    since: float
    at_since: list[str] = field(default_factory=list)
    reported: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None, now: datetime) -> "AlertCursor":
        """Read what `text()` returned. Without it, runs that ended before `now` are left out."""
        return cls(**json.loads(text)) if text else cls(now.timestamp())

    def text(self) -> str:
        """Return the cursor as Dagster stores it."""
        kept = dict(list(self.reported.items())[-_REMEMBERED:])
        return json.dumps({"since": self.since, "at_since": self.at_since, "reported": kept})

    def pass_run(self, run_id: str, ended: float) -> None:
        """Note that a run was looked at."""
        if ended > self.since:
            self.since, self.at_since = ended, []
        self.at_since.append(run_id)

    def is_news(self, subject: str, alert: Alert | None) -> bool:
        """Note the state of a subject, and return whether people are to be alerted.

        None is a subject that is in order: the next alert about it is news.
        """
        before = self.reported.pop(subject, None)
        if alert is None:
            return False
        text = hashlib.sha256(f"{alert.reason}\n{alert.what_to_do}".encode()).hexdigest()[:16]
        self.reported[subject] = text
        return text != before


def alerts_sensor(
    settings: Settings, *, now: Clock = clock, sender: AlertSender | None = None
) -> dg.SensorDefinition:
    """Build the sensor that alerts people of failed runs and checks.

    The same alert about the same subject is sent once, until the subject was in order in between.
    What could not be sent is reported by the tick, and never fails a run.
    """
    channels = listed(dict.fromkeys(each.way for each in settings.notifications)) or "nobody"
    used = sender if sender is not None else AlertSender(settings.notifications)
    spec = SensorSpec(
        Names.of(settings).alerts,
        None,
        _SECONDS,
        f"Sends an alert for each failed run and check: {channels}.",
        in_maintenance=True,
    )
    return build_sensor(settings, spec, lambda tick: _alert(tick, used, channels), now)


def _alert(tick: TickContext, sender: AlertSender, channels: str) -> TickResult:
    cursor = AlertCursor.read(tick.cursor, tick.at)
    records = _ended_runs(tick.instance, cursor)
    alerts: list[Alert] = []
    for record in records:
        cursor.pass_run(record.dagster_run.run_id, record.update_timestamp.timestamp())
        if not tick.names.concerns(record.dagster_run):
            continue
        found = _of_run(tick, record.dagster_run)
        alerts += [
            alert
            for subject, alert in found
            if cursor.is_news(subject, alert) and alert is not None
        ]
    failed = sender.send(_bounded(alerts)) if alerts else []
    text = f"{len(records):,} runs ended, {len(alerts):,} alerts for {channels}"
    if failed:
        text += f"; not sent: {'; '.join(failed)}"
        tick.log.error(text)
    return TickResult(notes=[text], cursor=cursor.text())


def _ended_runs(instance: dg.DagsterInstance, cursor: AlertCursor) -> list[dg.RunRecord]:
    """Return the runs that ended since the cursor, the oldest first."""
    after = datetime.fromtimestamp(cursor.since, UTC) - timedelta(microseconds=1)
    records = instance.get_run_records(
        dg.RunsFilter(statuses=_ENDED, updated_after=after),
        limit=_RUNS + len(cursor.at_since),
        order_by="update_timestamp",
        ascending=True,
    )
    return [each for each in records if each.dagster_run.run_id not in cursor.at_since]


def _of_run(tick: TickContext, run: dg.DagsterRun) -> Iterable[tuple[str, Alert | None]]:
    """Yield (subject, alert) of a run and of its checks; None for what is in order."""
    address = tick.settings.webserver_url
    entries = tick.instance.all_logs(run.run_id, of_type=_EVENTS)
    events = [each.dagster_event for each in entries if each.dagster_event is not None]
    entity, days = _about(_partitions_of_run(run))
    link = f"{address.rstrip('/')}/runs/{run.run_id}" if address else None
    subject = f"run {run.job_name} {entity}"
    if run.status is dg.DagsterRunStatus.SUCCESS:
        yield subject, None
    else:
        messages = [_message(each) for each in events if each.is_step_failure]
        reason, _, remedy = (messages[0] if messages else "No reason is known.").partition("\n")
        cause = run.tags.get(CAUSE_TAG)
        yield (
            subject,
            Alert(
                title=f"Run failed: {run.job_name}{f' {entity}' if entity else ''}",
                entity=entity,
                days=days,
                reason=reason + (f" ({len(messages)} steps failed)" if len(messages) > 1 else ""),
                what_to_do=" ".join(remedy.split()) or "Look at the run's log, and run it again.",
                severity="error",
                link=f"{link or f'run {run.run_id}'}{f' (launched for {cause})' if cause else ''}",
            ),
        )
    yield from _of_checks(tick.names, events, run, link)


def _of_checks(
    names: Names, events: Sequence[dg.DagsterEvent], run: dg.DagsterRun, link: str | None
) -> Iterable[tuple[str, Alert | None]]:
    evaluations = [
        each.asset_check_evaluation_data
        for each in events
        if each.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    by_check: dict[dg.AssetCheckKey, list[dg.AssetCheckEvaluation]] = {}
    for each in evaluations:
        if names.owns(each.asset_check_key.asset_key):
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
        reason = whole.description or "No reason is known."
        yield (
            subject,
            Alert(
                title=f"Check failed: {name}{f' {entity}' if entity else ''}",
                entity=entity,
                days=days,
                reason=reason,
                what_to_do="See the check in Dagster: its text says what to correct.",
                severity="error" if whole.severity is dg.AssetCheckSeverity.ERROR else "warn",
                link=link or f"run {run.run_id}",
            ),
        )


def _message(event: dg.DagsterEvent) -> str:
    """Return why a step failed: the message of this package, or the error's."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip().splitlines()[0] if error is not None else str(event.message)


def _partitions_of_run(run: dg.DagsterRun) -> list[str]:
    """Return the ends of the run's range, or its partition."""
    tags: Mapping[str, str] = run.tags
    ends = (tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    return [each for each in (*ends, tags.get("dagster/partition")) if each]


def _about(keys: Sequence[str]) -> tuple[str, str]:
    """Describe the entities and the days of partition keys."""
    both = [each for each in keys if "|" in each]
    by_entity = days_by_entity(both)
    entities = sorted(by_entity.keys() | {each for each in keys if "|" not in each})
    days = sorted({each for _, each in partitions_of(by_entity)})
    if not days:
        return listed(entities), ""
    if len(days) > 2:
        return listed(entities), f"{len(days)} days, {days[0]} to {days[-1]}"
    return listed(entities), " to ".join(map(str, days))


def _bounded(alerts: Sequence[Alert]) -> list[Alert]:
    """Return the first alerts, and one that says how many more there are."""
    if len(alerts) <= _ALERTS:
        return list(alerts)
    rest = alerts[_ALERTS:]
    return [
        *alerts[:_ALERTS],
        Alert(
            title=f"{len(rest)} more runs or checks failed",
            entity=listed(dict.fromkeys(each.entity for each in rest)),
            days="",
            reason=listed(each.title for each in rest),
            what_to_do="Look at the runs in Dagster.",
            severity="error" if any(each.severity == "error" for each in rest) else "warn",
        ),
    ]
