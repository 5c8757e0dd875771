"""Read a feed, reconcile it, and look at what became of its documents."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from intacct_dagster.warehouse import (
    Partition,
    Warehouse,
)
from intacct_dagster.warehouse.feeds import FeedSpec, read_feed
from intacct_dagster.warehouse.reconciliation import (
    STATUSES,
    Document,
    LedgerState,
    documents,
    reconcile,
)
from intacct_dagster.warehouse.reconciliation.comparison import PostedPayloads
from intacct_dagster_tests.warehouse.warehouse_rows import (
    DAY,
    INVOICE,
    READ_AT,
    SALES,
)

ENTITIES = ("E110", "E120")
HERE = [("E110", DAY)]


def read(warehouse: Warehouse, folder: Path, partitions: Sequence[Partition] = HERE) -> None:
    read_feed(warehouse, SALES, partitions, ENTITIES, folder, "run-1", read_at=READ_AT)


def run(
    warehouse: Warehouse,
    ledger: Sequence[LedgerState] = (),
    partitions: Sequence[Partition] = HERE,
    posted: PostedPayloads = lambda entity, source_ids: {},
) -> dict[tuple[str, int], str]:
    """Reconcile; (source id, occurrence) -> status, proven to agree with the counts."""
    result = reconcile(
        warehouse, SALES, INVOICE, partitions, ledger, "run-1", posted=posted, at=READ_AT
    )
    with warehouse.connect(read_only=True) as connection:
        found = connection.execute(
            "SELECT _entity, _day, source_id, occurrence, status FROM reconciled.sales_invoices"
        ).fetchall()
    asked = [row for row in found if (row[0], row[1]) in set(partitions)]
    assert Counter((entity, day, status) for entity, day, _, _, status in asked) == result.counts
    assert result.documents == len(asked)
    statuses = {(ref, occurrence): status for _, _, ref, occurrence, status in asked}
    assert len(statuses) == len(asked)
    assert set(statuses.values()) <= set(STATUSES)
    return statuses


def payloads(
    warehouse: Warehouse,
    spec: FeedSpec,
    partitions: Sequence[Partition],
    statuses: Sequence[str] = ("missing",),
) -> list[Document]:
    with documents(warehouse, spec, partitions, statuses) as found:
        return list(found.of())


def reported(warehouse: Warehouse, source_id: str) -> tuple[object, object, object]:
    """(reason, differences, Intacct's key) of a document."""
    with warehouse.connect(read_only=True) as connection:
        [(reason, differences, key)] = connection.execute(
            "SELECT reason, differences, intacct_key FROM reconciled.sales_invoices"
            " WHERE source_id = ?",
            [source_id],
        ).fetchall()
    return reason, None if differences is None else json.loads(differences), key
