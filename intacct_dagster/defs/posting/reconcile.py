"""Reconciled assets: source documents against Intacct's records and the posting ledger."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import dagster as dg

from intacct_dagster.config import Feed, Settings
from intacct_dagster.defs.failures import as_dagster_failure
from intacct_dagster.defs.partitions import (
    days_by_entity,
    entity_days,
    partition_key,
    partitions_of,
    tell_partitions,
)
from intacct_dagster.defs.resources import WarehouseResource, warehouse_in
from intacct_dagster.defs.tables import relation, table_rows
from intacct_dagster.naming import Names
from intacct_dagster.state.ledger import Entry, ItemState, LastAmendment
from intacct_dagster.warehouse.raw.loads import known_until
from intacct_dagster.warehouse.reconciliation import STATUSES, LedgerState, reconcile

GROUP = "reconciled"


def reconciled_asset(settings: Settings, name: str, feed: Feed) -> dg.AssetsDefinition:
    """Build the asset that gives each source document its one status."""
    names = Names.of(settings)
    key = names.reconciled(name)
    spec = feed.spec(name)

    @dg.asset(
        key=key,
        deps=[names.feed(name), names.current(feed.object)],
        partitions_def=entity_days(settings),
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=names.group(GROUP),
        kinds={"duckdb"},
        description=(
            f"`{name}` against Intacct's `{feed.object}`, found by {feed.match_on} and compared in "
            f"{', '.join(feed.compare) or 'nothing'}: matched, different, missing, duplicate, "
            "invalid, or what the posting ledger knows."
        ),
        metadata=relation(settings, key),
        required_resource_keys={names.warehouse},
    )
    def reconciled(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        warehouse = warehouse_in(context, settings)
        days = days_by_entity(context.partition_keys)
        ledger = warehouse.ledger(settings.company)
        done = as_dagster_failure(
            settings,
            reconcile,
            warehouse.warehouse,
            spec,
            feed.object,
            partitions_of(days),
            _ledger_states(warehouse, settings, name, feed.object, days),
            context.run.run_id,
            posted=lambda entity, source_ids: ledger.posted_payloads(
                feed.object, entity, source_ids
            ),
        )
        metadata = {}
        for entity, each in days.items():
            for day in each:
                counts = {status: done.counts.get((entity, day, status), 0) for status in STATUSES}
                metadata[partition_key(entity, day)] = {
                    "dagster/partition_row_count": sum(counts.values()),
                    **counts,
                }
        tell_partitions(context, key, metadata)
        return dg.MaterializeResult(metadata=table_rows(settings, warehouse, [key])[key])

    return reconciled


def _ledger_states(
    warehouse: WarehouseResource,
    settings: Settings,
    feed: str,
    object: str,
    days: Mapping[str, Sequence[date]],
) -> list[LedgerState]:
    # All days of an entity, and other entities: a source id that moved is still the same document.
    ledger = warehouse.ledger(settings.company)
    states = [
        LedgerState(entity, source_id, state.value)
        for entity, source_id, state in ledger.sent_for(object, feed)
        if entity not in days
    ]
    for entity in days:
        changes = ledger.last_amendments(object, entity, feed)
        known = known_until(warehouse.warehouse, object, entity) if changes else None
        states += [
            _ledger_state(entry, changes.get(entry.source_id), known)
            for entry in ledger.entries(object, entity, feed=feed)
        ]
    return states


def _ledger_state(
    entry: Entry, change: LastAmendment | None, known_until: datetime | None
) -> LedgerState:
    """Return what the ledger knows of a document.

    Args:
        change: The last change of the document that was sent to Intacct.
        known_until: Until when the warehouse knows the changes in Intacct.
    """
    posted_hash, ahead = entry.payload_sha256, False
    rejected_hash = reason = None
    if change is not None:
        posted_hash = change.applied_sha256 or posted_hash
        ahead = known_until is None or change.updated_at > known_until
        if change.state is ItemState.REJECTED:
            rejected_hash = change.document_sha256
            reason = f"Intacct rejected the change: {change.reason}"
        elif change.state in (ItemState.SENDING, ItemState.UNCERTAIN):
            rejected_hash = change.document_sha256
            reason = "the change was sent and no answer is known"
    return LedgerState(
        entry.entity,
        entry.source_id,
        entry.state.value,
        posted_hash,
        entry.reason,
        ahead,
        rejected_hash,
        reason,
    )
