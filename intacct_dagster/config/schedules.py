"""What runs by itself, and when."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from intacct_dagster.config import timetable
from intacct_dagster.config.section import SettingsSection, require_time_zone


class Schedules(SettingsSection):
    """What runs by itself, and when; docs/operations.md tells what each does.

    Nothing does until `running` is true, or a person switches it on in the UI. Times are of
    `time_zone`; partitions are UTC days, because Intacct's change times are UTC.
    """

    running: bool = False
    """Whether all of this is on from the moment Dagster loads it."""
    time_zone: str = "UTC"
    """Of the times here, such as `Europe/London`."""
    nightly: str = "02:00"
    """When yesterday is read, and what is missing before it, of each entity."""
    weekly_sweep: str = "sun 04:00"
    """When deletes are sought."""
    monthly_closing: str = "3 06:00"
    """When the month before is looked at: day of the month, and time."""
    maintenance: tuple[str, ...] = ()
    """Windows of the week in which nothing asks Intacct, such as `sat 20:00 - sun 02:00`. Sage
    announces its own to its customers; none is assumed."""
    catch_up_days: int = Field(default=31, ge=1, le=366)
    """Days that are made up for by themselves; what is missing before is for a backfill."""
    max_concurrent_runs: int = Field(default=20, ge=1, le=1000)
    """Runs that were launched by themselves and have not ended."""
    feed_poll_seconds: int = Field(default=30, ge=5, le=86_400)
    """Seconds between two looks at a feed's folder."""
    feed_settle_seconds: int = Field(default=5, ge=1, le=86_400)
    """Seconds that a file of a feed has the same size and change time before it is read: until
    then it may be half-written."""
    change_poll_minutes: int = Field(default=60, ge=5, le=1440)
    """Minutes between two looks at what changed in Intacct; a look costs a transaction for each
    object and entity."""
    watch: tuple[str, ...] | None = None
    """The objects that are looked at. Default: those that feeds post to."""

    @field_validator("nightly", "weekly_sweep", "monthly_closing", mode="before")
    @classmethod
    def _minutes_are_a_time(cls, value: object) -> object:
        # YAML 1.1 reads 12:30 as a number of base 60.
        return f"{value // 60:02}:{value % 60:02}" if isinstance(value, int) else value

    @field_validator("nightly")
    @classmethod
    def _is_time_of_day(cls, value: str) -> str:
        timetable.daily(value)
        return value

    @field_validator("weekly_sweep")
    @classmethod
    def _is_time_of_week(cls, value: str) -> str:
        timetable.weekly(value)
        return value

    @field_validator("monthly_closing")
    @classmethod
    def _is_time_of_month(cls, value: str) -> str:
        timetable.monthly(value)
        return value

    @field_validator("maintenance", mode="before")
    @classmethod
    def _one_is_enough(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("maintenance")
    @classmethod
    def _are_windows(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            timetable.window(each)
        return value

    @field_validator("time_zone")
    @classmethod
    def _is_time_zone(cls, value: str) -> str:
        return require_time_zone(value)

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the times."""
        return ZoneInfo(self.time_zone)

    def maintenance_at(self, at: datetime) -> str | None:
        """The window, as it was written, that the aware moment lies in; None outside of all."""
        windows = map(timetable.window, self.maintenance)
        return next((each.text for each in windows if each.holds(at, self.zone)), None)
