"""Entity by day: one partition is what one legal entity changed (or was sold) on one UTC day."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.config.timetable import utc_day

DATE = "date"
ENTITY = "entity"


class EntityDays(dg.MultiPartitionsDefinition):
    """Partitions that keep the keys they made last.

    Dagster (1.13) makes all keys again for each partitioned asset that something without partitions
    reads or judges, in every run, and the keys of a run's range again for each partition that
    metadata is added to.
    """

    _all: tuple[str | None, Sequence[dg.MultiPartitionKey]] | None = None
    _range: tuple[dg.PartitionKeyRange, Sequence[str]] | None = None

    # Dagster has no public name for the type of `dynamic_partitions_store`.
    def get_partition_keys(
        self, current_time: datetime | None = None, dynamic_partitions_store: Any = None
    ) -> Sequence[dg.MultiPartitionKey]:
        """Return all keys, in order."""
        with dg.partition_loading_context(current_time, dynamic_partitions_store):
            last = self.get_partitions_def_for_dimension(DATE).get_last_partition_key()
            found = self._all
            if found is None or found[0] != last:
                self._all = found = last, super().get_partition_keys()
            return found[1]

    def get_partition_keys_in_range(  # type: ignore[override]  # as Dagster's own, which differs
        self, partition_key_range: dg.PartitionKeyRange, dynamic_partitions_store: Any = None
    ) -> Sequence[str]:
        """Return the keys of the rectangle between two keys, in order."""
        found = self._range
        if found is None or found[0] != partition_key_range:
            keys = super().get_partition_keys_in_range(
                partition_key_range, dynamic_partitions_store
            )
            self._range = found = partition_key_range, keys
        return found[1]


def entity_days(settings: Settings) -> dg.MultiPartitionsDefinition:
    """The partitions of everything that has an entity and a day. Days are UTC.

    The last partition is yesterday, or today with `end_offset: 1`, or `end_date` where the settings
    give one. Retired entities keep theirs.
    """
    end = settings.end_date and settings.end_date + timedelta(days=1)
    return EntityDays(
        {
            DATE: dg.DailyPartitionsDefinition(
                start_date=settings.start_date.isoformat(),
                end_date=end.isoformat() if end else None,
                timezone="UTC",
                end_offset=settings.end_offset,
            ),
            ENTITY: dg.StaticPartitionsDefinition([each.id for each in settings.entities]),
        }
    )


def tell_partitions(
    context: dg.AssetExecutionContext,
    key: dg.AssetKey,
    metadata: Mapping[dg.MultiPartitionKey, Mapping[str, Any]],
) -> None:
    """Add metadata to partitions of an asset, to each its own, before its result is yielded."""
    for partition, each in metadata.items():
        context.add_asset_metadata(each, asset_key=key, partition_key=partition)


def last_reported(context: dg.AssetExecutionContext) -> str:
    """The partition of a run whose event Dagster writes last, and so shows as that of the asset.

    Dagster (1.13) writes them in the order of a set: it is the last of that set, made alike.
    """
    partitions = context.assets_def.partitions_def
    if partitions is None:
        raise RuntimeError("the asset has no partitions")
    written = partitions.empty_subset().with_partition_key_range(
        partitions, context.partition_key_range
    )
    return str(list(written.get_partition_keys())[-1])


def last_day(settings: Settings, now: datetime) -> date:
    """The day of the last partition at an aware moment; it may lie before the first."""
    last = utc_day(now) - timedelta(days=1 - settings.end_offset)
    return last if settings.end_date is None else min(last, settings.end_date)


def partition_key(entity: str, day: date) -> dg.MultiPartitionKey:
    """The key of one entity's day, "2026-10-13|E110"."""
    return dg.MultiPartitionKey({DATE: day.isoformat(), ENTITY: entity})


def days_by_entity(partition_keys: Iterable[str]) -> Mapping[str, list[date]]:
    """The days of a run by entity, in order. A run has one partition or a rectangle of them."""
    days: dict[str, list[date]] = {}
    for key in partition_keys:
        # Dagster sorts the dimensions by name: date, then entity.
        day, entity = str(key).split("|", 1)
        days.setdefault(entity, []).append(date.fromisoformat(day))
    return {entity: sorted(days[entity]) for entity in sorted(days)}


def partitions_of(days: Mapping[str, Iterable[date]]) -> set[tuple[str, date]]:
    """The same as (entity, day) pairs, as the warehouse takes them."""
    return {(entity, day) for entity, each in days.items() for day in each}
