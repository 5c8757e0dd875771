"""What a lost ledger, or one from a backup, no longer knows: found by what the warehouse knows.

Dagster is not needed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from intacct_dagster.client import KEYS_IN_A_GET, IntacctClient
from intacct_dagster.state.ledger import Ledger


def lost_postings(
    posted: Mapping[str, Mapping[str, str]],
    ledger: Ledger,
    compared: Collection[tuple[str, str, str]],
    feed: str,
    object: str,
) -> dict[str, dict[str, str]]:
    """Return the documents that a warehouse knows as posted and the ledger does not.

    Args:
        posted: What the warehouse knows: entity -> source id -> Intacct's key.
        ledger: The posting ledger.
        compared: (entity, source id, key) of those that were compared with Intacct already.
        feed: The feed.
        object: Intacct's object.

    Returns:
        Entity -> source id -> key; entities without any are left out.
    """
    lost: dict[str, dict[str, str]] = {}
    for entity, documents in posted.items():
        known = ledger.posted_keys(object, entity, feed)
        missing = {
            source_id: key
            for source_id, key in documents.items()
            if source_id not in known and (entity, source_id, key) not in compared
        }
        if missing:
            lost[entity] = missing
    return lost


def held_keys(client: IntacctClient, object: str, keys: Collection[str]) -> set[str]:
    """Return which of these keys Intacct has a record of. Raises IntacctError."""
    wanted = sorted(keys)
    found: set[str] = set()
    for start in range(0, len(wanted), KEYS_IN_A_GET):
        found |= client.get(object, wanted[start : start + KEYS_IN_A_GET]).keys()
    return found
