"""The run queue of dagster.yaml: it knows of every run which entity it is about."""

from collections.abc import Mapping

from dagster import DagsterRun, QueuedRunCoordinator
from dagster._core.run_coordinator import SubmitRunContext

_ENTITY = "intacct/entity"
_RANGE_START = "dagster/asset_partition_range_start"
_RANGE_END = "dagster/asset_partition_range_end"


class EntityRunCoordinator(QueuedRunCoordinator):
    """Tags runs of a backfill with their entity, so that the queue lets one run an entity go.

    Dagster tags such a run only with the ends of its range (1.13); runs that are launched by
    themselves have the tag already.
    """

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Queues the run, tagged."""
        run = context.dagster_run
        entity = entity_of(run.tags)
        if entity is not None and _ENTITY not in run.tags:
            self._instance.add_run_tags(run.run_id, {_ENTITY: entity})
        return super().submit_run(context)


def entity_of(tags: Mapping[str, str]) -> str | None:
    """The entity that a run is about by its partitions; None if it is about several, or none."""
    one = tags.get("dagster/partition/entity")
    if one is not None:
        return one
    first, last = (tags.get(each, "").partition("|")[2] for each in (_RANGE_START, _RANGE_END))
    return first if first and first == last else None
