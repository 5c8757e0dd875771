"""What the ops of a feed work with in one run: settings, resources, and the days of the run."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from typing import Self

import dagster as dg

from intacct_dagster.client import IntacctClient
from intacct_dagster.config import Feed, Settings
from intacct_dagster.defs.partitions import days_by_entity, partitions_of
from intacct_dagster.defs.posting.entities import counted
from intacct_dagster.defs.resources import (
    IntacctResource,
    WarehouseResource,
    intacct_in,
    warehouse_in,
)
from intacct_dagster.state import Approvals, Plans
from intacct_dagster.state.ledger import Ledger
from intacct_dagster.warehouse import Partition, Warehouse


@dataclass(frozen=True)
class FeedRun:
    """One run that plans or posts a feed.

    Attributes:
        name: The name of the feed in intacct.yaml.
        days: The days of the run's partitions, by entity.
    """

    settings: Settings
    name: str
    feed: Feed
    intacct: IntacctResource
    resource: WarehouseResource
    log: dg.DagsterLogManager
    run_id: str
    days: Mapping[str, Sequence[date]]

    @classmethod
    def of(
        cls,
        context: dg.OpExecutionContext | dg.AssetExecutionContext,
        settings: Settings,
        name: str,
        feed: Feed,
    ) -> Self:
        """Return the run of a step that requires both resources of the company."""
        return cls(
            settings,
            name,
            feed,
            intacct_in(context, settings),
            warehouse_in(context, settings),
            context.log,
            context.run.run_id,
            days_by_entity(context.partition_keys),
        )

    @property
    def warehouse(self) -> Warehouse:
        """The DuckDB warehouse."""
        return self.resource.warehouse

    @property
    def ledger(self) -> Ledger:
        """The posting ledger of the company."""
        return self.resource.ledger(self.settings.company)

    @property
    def approvals(self) -> Approvals:
        """The approvals of the company's plans."""
        return self.resource.approvals(self.settings.company)

    @property
    def plans(self) -> Plans:
        """The hashes of the company's last plans."""
        return self.resource.plans(self.settings.company)

    @property
    def partitions(self) -> set[Partition]:
        """The partitions of the run."""
        return partitions_of(self.days)

    @property
    def in_flight(self) -> int:
        """How many requests may be in flight at once."""
        return self.settings.limits.concurrency

    def client(self, entity: str) -> AbstractContextManager[IntacctClient]:
        """Return a client of the entity whose requests count towards the month's API usage."""
        return counted(
            self.settings, self.intacct, self.resource, self.run_id, entity, self.feed.object
        )
