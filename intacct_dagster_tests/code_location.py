"""The code location on a sandbox, in this process: settings, runs, and what they recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import httpx

from intacct_dagster.config import Settings, load_settings
from intacct_dagster.defs import build_definitions
from intacct_dagster.defs.automation.assemble import build_automation
from intacct_dagster.defs.partitions import partition_key
from intacct_dagster.warehouse import Warehouse
from intacct_sandbox import LAST_DAY, serve, write_sales_feed

PROJECT = Path(__file__).parent.parent
FEED = "sales_invoices"
OBJECTS = ("accounts-receivable/invoice", "accounts-receivable/customer")


#: A moment at which all days of the sandbox company are over.
AFTER = datetime.combine(LAST_DAY + timedelta(days=2), time(12), tzinfo=UTC)
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Tick:
    """What a sensor or a schedule launched at a moment, and why it did or did not."""

    requests: Sequence[dg.RunRequest]
    told: str
    job: str | None = None

    @property
    def ranges(self) -> list[str]:
        """The partitions of each run, as "entity first..last"."""
        found = []
        for each in self.requests:
            first, entity = each.tags["dagster/asset_partition_range_start"].split("|")
            last, same = each.tags["dagster/asset_partition_range_end"].split("|")
            assert entity == same == each.tags["intacct/entity"]
            found.append(f"{entity} {first}..{last}")
        return found


class _Told(MemoryHandler):
    """Keeps what a tick logs."""

    def __init__(self) -> None:
        super().__init__(capacity=1000)


class CodeLocation:
    """Settings, the definitions that they make, and an instance that remembers runs."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.settings = settings
        self.instance = instance
        self.warehouse = Warehouse(settings.warehouse)
        self.now = AFTER
        self._cursors: dict[str, str | None] = {}
        self._job: tuple[Settings, dg.JobDefinition] | None = None

    def run(
        self,
        keys: Sequence[dg.AssetKey],
        *,
        entity: str | None = None,
        first: date = LAST_DAY,
        last: date = LAST_DAY,
        ops: Mapping[str, Any] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Materializes assets, over an entity's days or (None) without a partition."""
        tags: Mapping[str, str] = {}
        if entity is not None:
            tags = {
                "dagster/asset_partition_range_start": partition_key(entity, first),
                "dagster/asset_partition_range_end": partition_key(entity, last),
            }
        return self._everything().execute_in_process(
            instance=self.instance,
            asset_selection=list(keys),
            tags=tags,
            run_config={**_QUIET, "ops": dict(ops or {})},
            raise_on_error=False,
        )

    def _everything(self) -> dg.JobDefinition:
        """Return the job of all assets, made once for the settings, as a code server makes it."""
        if self._job is None or self._job[0] is not self.settings:
            definitions = build_definitions(self.settings)
            self._job = self.settings, definitions.resolve_implicit_global_asset_job_def()
        return self._job[1]

    def tick(
        self,
        sensor: str,
        *,
        now: datetime | None = None,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Tick:
        """Evaluates a sensor at a moment, with what it remembered the last time.

        If it pauses, the time is over at once, and `meanwhile` happens.
        """
        at = now or self.now

        def pause(seconds: float) -> None:
            nonlocal at
            at += timedelta(seconds=seconds)
            meanwhile()

        automation = build_automation(self.settings, now=lambda: at, pause=pause)
        (found,) = [each for each in automation.sensors if each.name == sensor]
        context = dg.build_sensor_context(self.instance, cursor=self._cursors.get(sensor))
        told = _Told()
        context.log.addHandler(told)
        done = found.evaluate_tick(context)
        self._cursors[sensor] = done.cursor
        said = [each.getMessage() for each in told.buffer]
        job = found.job_name if found.targets else None
        return Tick(list(done.run_requests or ()), "\n".join([*said, done.skip_message or ""]), job)

    def remember(self, sensor: str, cursor: str) -> None:
        """Has a sensor remember this from its last tick."""
        self._cursors[sensor] = cursor

    def cursor(self, sensor: str) -> str | None:
        """What a sensor remembers from its last tick."""
        return self._cursors.get(sensor)

    def schedule(self, schedule: str, at: datetime) -> Tick:
        """Evaluates a schedule at the moment that it is for."""
        automation = build_automation(self.settings)
        (found,) = [each for each in automation.schedules if each.name == schedule]
        context = dg.build_schedule_context(
            self.instance,
            scheduled_execution_time=at,
            repository_def=build_definitions(self.settings).get_repository_def(),
        )
        done = found.evaluate_tick(context)
        return Tick(list(done.run_requests or ()), done.skip_message or "", found.job_name)

    def launch(self, tick: Tick) -> list[dg.ExecuteInProcessResult]:
        """Runs what a tick launched, in this process and in its order."""
        definitions = build_definitions(self.settings)
        return [
            definitions.resolve_job_def(str(each.job_name or tick.job)).execute_in_process(
                instance=self.instance,
                asset_selection=list(each.asset_selection) if each.asset_selection else None,
                partition_key=each.partition_key,
                tags=each.tags,
                run_config=_QUIET,
                raise_on_error=False,
            )
            for each in tick.requests
        ]

    def begin(self, tick: Tick) -> None:
        """Has what a tick launched be under way."""
        for each in tick.requests:
            run = dg.DagsterRun(
                job_name=each.job_name or str(tick.job),
                run_id=str(uuid4()),
                status=dg.DagsterRunStatus.STARTED,
                tags=each.tags,
            )
            self.instance.add_run(run)

    def end(self) -> None:
        """What was under way is over."""
        for run in self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
            self.instance.delete_run(run.run_id)

    def materialized(self, key: dg.AssetKey) -> set[str]:
        """The partitions that Dagster calls materialized."""
        return set(self.instance.get_materialized_partitions(key))

    def control(self, path: str) -> Any:
        """What the control API of the sandbox answers, such as `books`."""
        root = self.settings.base_url.removesuffix("/ia/api/v1")
        return httpx.get(f"{root}/_sandbox/{path}").raise_for_status().json()

    def books(self) -> Counter[str]:
        """How often each reference number was created in the sandbox, or changed."""
        return Counter(str(each["document"]) for each in self.control("books")["changes"])

    def rows(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        """The rows of a query to the warehouse."""
        with self.warehouse.connect(read_only=True) as connection:
            return connection.execute(sql, list(params)).fetchall()


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What a person is told of a failed run."""
    assert not result.success
    told = [
        str(event.step_failure_data.user_failure_data.description)
        for event in result.all_events
        if event.is_step_failure and event.step_failure_data.user_failure_data
    ]
    assert told, "the run failed with a traceback, not with words"
    return "\n".join(told)


def sandbox_settings(base_url: str, folder: Path, **changes: Any) -> Settings:
    """The project's own settings, narrowed to OBJECTS, with everything kept under `folder`."""
    settings = load_settings(PROJECT / "intacct.yaml")
    return settings.model_copy(
        update={
            "base_url": base_url,
            "directory": folder,
            "objects": tuple(each for each in settings.objects if each.name in OBJECTS),
            "start_date": LAST_DAY,
            "end_date": LAST_DAY,
            "warehouse": folder / "data/warehouse.duckdb",
            "state": f"sqlite:///{folder}/data/state.db",
            **changes,
        }
    )


@contextmanager
def code_location(
    folder: Path, *, days: int = 1, persistent: bool = False, **changes: Any
) -> Iterator[CodeLocation]:
    """A code location on a sandbox of its own, with the feed files of the last `days` days.

    Schedules want an instance that is `persistent`: on disk.
    """
    feeds = folder / "data/feeds" / FEED
    write_sales_feed(feeds, seed=1, days=days)
    kept = dg.DagsterInstance.local_temp(str(folder)) if persistent else None
    with serve() as sandbox, kept or dg.DagsterInstance.ephemeral() as instance:
        yield CodeLocation(sandbox_settings(sandbox.base_url, folder, **changes), instance)
