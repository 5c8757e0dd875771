"""The code location on a sandbox, in this process: settings, runs, and what they recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from intacct_dagster.config import Settings, load_settings
from intacct_dagster.defs import build_definitions
from intacct_dagster.defs.partitions import partition_key
from intacct_dagster.sandbox import LAST_DAY, serve, write_sales_feed
from intacct_dagster.warehouse import Warehouse

PROJECT = Path(__file__).parent.parent
FEED = "sales_invoices"
OBJECTS = ("accounts-receivable/invoice", "accounts-receivable/customer")


class CodeLocation:
    """Settings, the definitions that they make, and an instance that remembers runs."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.settings = settings
        self.instance = instance
        self.warehouse = Warehouse(settings.warehouse)

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
        job = build_definitions(self.settings).resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=list(keys),
            tags=tags,
            run_config={
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                "ops": dict(ops or {}),
            },
            raise_on_error=False,
        )

    def materialized(self, key: dg.AssetKey) -> set[str]:
        """The partitions that Dagster calls materialized."""
        return set(self.instance.get_materialized_partitions(key))

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
def code_location(folder: Path, *, days: int = 1, **changes: Any) -> Iterator[CodeLocation]:
    """A code location on a sandbox of its own, with the feed files of the last `days` days."""
    feeds = folder / "data/feeds" / FEED
    write_sales_feed(feeds, seed=1, days=days)
    with serve() as sandbox, dg.DagsterInstance.ephemeral() as instance:
        yield CodeLocation(sandbox_settings(sandbox.base_url, folder, **changes), instance)
