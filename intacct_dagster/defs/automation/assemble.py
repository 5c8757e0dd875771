"""All jobs, schedules and sensors: what runs without a person."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.defs.automation.alerts import alerts_sensor
from intacct_dagster.defs.automation.changes_sensor import changes_sensor
from intacct_dagster.defs.automation.dead_runs import dead_runs_sensor
from intacct_dagster.defs.automation.feed_sensor import feed_sensor, plan_job
from intacct_dagster.defs.automation.plan_sensors import post_job, posting_sensor, renewal_sensor
from intacct_dagster.defs.automation.schedules import (
    catch_up_sensor,
    closing_job,
    daily_look,
    delete_scan_job,
    look_job,
    monthly_closing,
    nightly,
    nightly_feed,
    read_job,
    weekly_sweep,
)
from intacct_dagster.defs.run_requests import Clock, Job, clock
from intacct_dagster.naming import Names


@dataclass(frozen=True)
class Automation:
    """The jobs, schedules and sensors of a code location."""

    jobs: Sequence[Job]
    schedules: Sequence[dg.ScheduleDefinition]
    sensors: Sequence[dg.SensorDefinition]


def build_automation(
    settings: Settings, *, now: Clock = clock, pause: Callable[[float], None] = time.sleep
) -> Automation:
    """Build what the settings describe; `schedules.running` says whether it is on from the start.

    Args:
        now: The clock; tests pass their own.
        pause: Waits for so many seconds.
    """
    jobs: list[Job] = [
        read_job(settings),
        delete_scan_job(settings),
        closing_job(settings),
        look_job(settings),
    ]
    schedules = [
        nightly(settings),
        weekly_sweep(settings),
        monthly_closing(settings),
        daily_look(settings),
    ]
    sensors = [
        catch_up_sensor(settings, now=now),
        dead_runs_sensor(Names.of(settings).dead_runs, now=now),
    ]
    if settings.notifications:
        sensors.append(alerts_sensor(settings, now=now))
    if settings.watched:
        sensors.append(changes_sensor(settings, now=now))
    for name, feed in settings.feeds.items():
        jobs += [plan_job(settings, name), post_job(settings, name)]
        if feed.files:
            sensors.append(feed_sensor(settings, name, feed, now=now, pause=pause))
        else:
            schedules.append(nightly_feed(settings, name, feed))
        sensors.append(renewal_sensor(settings, name, feed, now=now))
        sensors.append(posting_sensor(settings, name, feed, now=now))
    return Automation(jobs, schedules, sensors)
