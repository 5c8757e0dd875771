"""Reconciled assets: source documents against Intacct's records and the posting ledger."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime

import dagster as dg

from intacct_dagster.config import Feed, Settings
from intacct_dagster.defs.checks.reconciled import RECONCILED_CHECKS
from intacct_dagster.defs.checks.results import result_by_partition
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
from intacct_dagster.posting.identity import identity_of
from intacct_dagster.state.ledger import Entry, ItemState, LastAmendment, Ledger
from intacct_dagster.warehouse.feeds import BETWEEN
from intacct_dagster.warehouse.raw.loads import known_until
from intacct_dagster.warehouse.reconciliation import (
    STATUSES,
    LedgerState,
    ReconcileResult,
    reconcile,
)

GROUP = "reconciled"


def reconciled_asset(settings: Settings, name: str, feed: Feed) -> dg.AssetsDefinition:
    """Build the asset that gives each source document its one status."""
    names = Names.of(settings)
    key = names.reconciled(name)
    spec = feed.spec(name)
    partitions = entity_days(settings)

    @dg.asset(
        key=key,
        deps=[names.feed(name), names.current(feed.object)],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=names.group(GROUP),
        kinds={"duckdb"},
        description=(
            f"`{name}` against Intacct's `{feed.object}`, found by {feed.match_on} and compared in "
            f"{', '.join(feed.compare) or 'nothing'}: matched, different, missing, duplicate, "
            "invalid, or what the posting ledger knows."
        ),
        metadata=relation(settings, key),
        check_specs=[
            dg.AssetCheckSpec(
                check.name, asset=key, description=check.description, partitions_def=partitions
            )
            for check in RECONCILED_CHECKS
        ],
        required_resource_keys={names.warehouse},
    )
    def reconciled(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        warehouse = warehouse_in(context, settings)
        days = days_by_entity(context.partition_keys)
        ledger = warehouse.ledger(settings.company)
        if spec.party_column is not None:
            as_dagster_failure(settings, _adopt_identities, ledger, name, feed, settings.users)
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
        yield dg.MaterializeResult(metadata=table_rows(settings, warehouse, [key])[key])
        yield from _check_results(context, key, days, done)

    return reconciled


def _check_results(
    context: dg.AssetExecutionContext,
    key: dg.AssetKey,
    days: Mapping[str, Sequence[date]],
    done: ReconcileResult,
) -> Iterator[dg.AssetCheckResult]:
    """Yield the results of the checks of a reconciliation, over the partitions of the run."""
    for check in RECONCILED_CHECKS:
        flagged = [each for each in done.flagged if each.status == check.status]
        by_partition = {
            partition_key(entity, day): check.judge(
                done.counts.get((entity, day, check.status), 0),
                [each for each in flagged if (each.entity, each.day) == (entity, day)],
            )
            for entity, each_day in days.items()
            for day in each_day
        }
        number = sum(
            found for (_, _, status), found in done.counts.items() if status == check.status
        )
        together = check.judge(number, flagged)
        yield result_by_partition(context, key, check.name, together, by_partition)


def _adopt_identities(ledger: Ledger, name: str, feed: Feed, entities: Iterable[str]) -> None:
    """Have the ledger know documents by their party as well, that it knew by their number.

    Raises:
        LedgerError: The payload of one of them does not name its party.
    """
    spec = feed.spec(name)

    def identity(source_id: str, payload: bytes) -> str | None:
        found = identity_of(payload, feed.match_on, feed.party, otherwise=source_id)
        return None if found.party is None else spec.document_of(source_id, found.party)

    for entity in entities:
        ledger.adopt_identities(feed.object, entity, name, identity, unless=BETWEEN)


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
        entry.day,
        entry.amount,
        entry.intacct_key,
    )
