"""`intacct-dagster demo`: the main job, end to end, on the sandbox company."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import httpx
from rich.console import Console

from intacct_dagster.cli.dagster_instance import open_instance
from intacct_dagster.cli.demo.sandbox_company import (
    FEED,
    SANDBOX_FOLDER,
    control_url,
    sandbox_beside,
    sandbox_settings,
    write_feed,
    write_project,
)
from intacct_dagster.cli.demo.summary import Summary, audit_books, collect, print_summary
from intacct_dagster.config import Settings
from intacct_dagster.defs import (
    analyst_keys,
    build_definitions,
)
from intacct_dagster.defs.partitions import partition_key
from intacct_dagster.naming import ENTITY_TAG, Names
from intacct_sandbox import LAST_DAY


class DemoFailed(Exception):
    """A stage did not succeed; the message is what the run reported."""


def run_demo(*, days: int, json_file: Path | None) -> bool:
    """Run the main job for the company's last `days` days. Return whether the books agree."""
    console = Console()
    if written := write_project(Path.cwd()):
        names = ", ".join(file.name for file in written)
        console.print(
            f"Wrote {names} for the sandbox company into {written[0].parent}. Data goes into its "
            "folders data and .dagster.",
            soft_wrap=True,
            highlight=False,
        )
    settings = sandbox_settings()
    first = LAST_DAY - timedelta(days=days - 1)
    settings = settings.model_copy(update={"start_date": first, "end_date": LAST_DAY})
    asked = [first + timedelta(days=number) for number in range(days)]
    write_feed(settings, days)
    with sandbox_beside(settings.directory / SANDBOX_FOLDER, port=0) as base_url:
        settings = settings.model_copy(update={"base_url": base_url})
        console.print(
            f"Company [bold]{settings.company}[/] on the sandbox at {base_url}: {first} to "
            f"{LAST_DAY}, {len(settings.entities)} entities, each with a session of its own",
            soft_wrap=True,
            highlight=False,
        )
        summary = Summary([day.isoformat() for day in asked])
        before = _requests(base_url)
        started = datetime.now(UTC)
        try:
            with open_instance() as instance:
                _run_stages(_Runner(instance, settings, asked, console), summary)
        except DemoFailed as failed:
            console.print(f"[red]{failed}[/]", soft_wrap=True, highlight=False)
            return False
        after = _requests(base_url)
        summary.requests = after["requests"] - before["requests"]
        summary.transactions = after["transactions"] - before["transactions"]
        collect(summary, settings, asked, started)
        summary.disagreements = audit_books(base_url, settings)
    print_summary(console, summary)
    if json_file is not None:
        json_file.write_text(json.dumps(summary.as_json(), indent=2) + "\n", encoding="utf-8")
    return not summary.disagreements


def _run_stages(runner: _Runner, summary: Summary) -> None:
    names = Names.of(runner.settings)
    objects = [each.name for each in runner.settings.objects]
    entities = [each.id for each in runner.settings.entities]
    stages: list[tuple[str, list[dg.AssetKey], Sequence[str | None]]] = [
        ("extract", [names.raw(name) for name in objects], entities),
        ("current", [names.current(name) for name in objects], [None]),
        ("reconcile", [names.feed(FEED), names.reconciled(FEED)], entities),
        ("plan", [names.plan(FEED)], entities),
        ("post", [names.posted(FEED)], entities),
        ("crosswalk", [names.crosswalk(FEED), *analyst_keys(runner.settings)], [None]),
    ]
    for stage, assets, each in stages:
        summary.seconds[stage] = runner.run(stage, assets, each)


class _Runner:
    """Runs assets of the code location in this process, recorded in the project's instance."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        settings: Settings,
        days: Sequence[date],
        console: Console,
    ) -> None:
        self.settings = settings
        self._instance = instance
        self._days = days
        self._console = console
        self._job = build_definitions(settings).resolve_implicit_global_asset_job_def()

    def run(
        self, stage: str, assets: Sequence[dg.AssetKey], entities: Sequence[str | None]
    ) -> float:
        """One run for each entity over all days (None: unpartitioned). Seconds it took."""
        started = time.monotonic()
        for entity in entities:
            about = f"{stage:<10} {entity or 'all entities'}"
            if self._console.is_terminal:
                with self._console.status(about):
                    seconds = self._run(assets, entity)
            else:
                seconds = self._run(assets, entity)
            self._console.print(f"{about:<24} {seconds:5.1f} s", highlight=False)
        return round(time.monotonic() - started, 2)

    def _run(self, assets: Sequence[dg.AssetKey], entity: str | None) -> float:
        started = time.monotonic()
        names = Names.of(self.settings)
        tags = names.tags
        if entity is not None:
            tags |= {
                "dagster/asset_partition_range_start": partition_key(entity, self._days[0]),
                "dagster/asset_partition_range_end": partition_key(entity, self._days[-1]),
                ENTITY_TAG: names.entity_tag(entity),
            }
        result = self._job.execute_in_process(
            instance=self._instance,
            asset_selection=list(assets),
            tags=tags,
            # What fails is reported below, in its own words and without a traceback.
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
        if not result.success:
            raise DemoFailed(_why(result))
        return time.monotonic() - started


def _why(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data and data.user_failure_data.description:
                return str(data.user_failure_data.description)
            if data.error:
                return data.error.to_string()
    return "The run failed; `intacct-dagster dev` shows it under Runs."


def _requests(base_url: str) -> dict[str, int]:
    answer = httpx.get(control_url(base_url, "requests"), timeout=10).raise_for_status().json()
    return {"requests": int(answer["total"]), "transactions": int(answer["transactions"])}
