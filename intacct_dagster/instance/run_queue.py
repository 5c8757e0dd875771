"""An opt-in run queue, named in a comment of dagster.yaml: it tags every run with its entity."""

from collections.abc import Mapping

from dagster import DagsterRun, QueuedRunCoordinator, SubmitRunContext

from intacct_dagster.naming import ENTITY_TAG, Names, prefixes_of

_RANGE_START = "dagster/asset_partition_range_start"
_RANGE_END = "dagster/asset_partition_range_end"


class EntityRunCoordinator(QueuedRunCoordinator):
    """Tag runs of a backfill with their entity, so that the queue starts one run of an entity.

    Dagster tags such a run only with the ends of its range (1.13); runs of schedules and sensors
    have the tag already. Without this queue the runs of a backfill wait in their own process, by a
    lock of the state store.
    """

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Queues the run, tagged."""
        run = context.dagster_run
        entity = entity_of(run.tags)
        companies = prefixes_of(run)
        # A run of two companies is of two entities, also where both have the same id.
        if entity is not None and ENTITY_TAG not in run.tags and len(companies) == 1:
            names = Names(*companies)
            self._instance.add_run_tags(run.run_id, {ENTITY_TAG: names.entity_tag(entity)})
        return super().submit_run(context)


def entity_of(tags: Mapping[str, str]) -> str | None:
    """The entity that a run is about by its partitions; None if it is about several, or none."""
    one = tags.get("dagster/partition/entity")
    if one is not None:
        return one
    first, last = (tags.get(each, "").partition("|")[2] for each in (_RANGE_START, _RANGE_END))
    return first if first and first == last else None
