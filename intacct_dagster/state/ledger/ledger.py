"""The posting ledger of one company: what may be sent, what was sent, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from intacct_dagster.state.ledger import (
    chunk_queries,
    identities,
    planning,
    queries,
    read_back,
    sending,
    settlement,
)
from intacct_dagster.state.ledger.context import LedgerContext
from intacct_dagster.state.locks import state_locks

#: How long one run waits for another that posts to the same object of the same entity.
PATIENCE_SECONDS = 3600.0


class Ledger(LedgerContext):
    """The ledger of one company. Every method is one transaction.

    The methods are the functions of this package's modules, with the ledger as first argument.

    Example:
        >>> ledger = Ledger(open_state("sqlite:///state.db"), "acme")
        >>> bill = Item("B-1", date(2026, 10, 13), "10.00", b'{"billNumber":"B-1"}')
        >>> with ledger.lock("accounts-payable/bill", "E110"):
        ...     (chunk,) = ledger.plan("accounts-payable/bill", "E110", "bills", [bill], run_id="1")
        ...     if ledger.start_sending(chunk.chunk_id):  # now POST chunk.body
        ...         ledger.record(chunk.chunk_id, [Accepted(0, "30")], http_status=201)
        True
        >>> ledger.posted_keys("accounts-payable/bill", "E110", "bills")
        {'B-1': '30'}
    """

    @property
    def amendments(self) -> Ledger:
        """The ledger of amendments of the documents that are posted in this one.

        It works like the ledger of creations, but its chunks are sent by PATCH, and what is posted
        may be planned again.
        """
        return Ledger(self.engine, self.company, now=self.now, for_amendments=True)

    @contextmanager
    def lock(self, object: str, entity: str) -> Iterator[None]:
        """Hold the sole right to post to `object` of `entity`; wait while another run has it.

        Inside the block, a chunk in the state `sending` was left behind by a process that died.

        Raises:
            LockTimeout: Another run held it for PATIENCE_SECONDS.
        """
        name = f"posting to {object} of {entity} ({self.company})"
        with state_locks(self.engine).exclusive(name, wait_seconds=PATIENCE_SECONDS):
            yield

    # Identity
    adopt_identities = identities.adopt_identities

    # Planning
    plan = planning.plan
    release = planning.release

    # Sending
    start_sending = sending.start_sending
    start_replay = sending.start_replay
    uncertain = sending.uncertain
    looked = sending.looked
    never_arrived = sending.never_arrived

    # Resolution of what was sent
    record = settlement.record
    split = settlement.split
    nothing_created = settlement.nothing_created
    resolve_by_read_back = settlement.resolve_by_read_back

    # Comparison with what Intacct holds
    not_read_back = read_back.not_read_back
    posted = read_back.posted
    agreed = read_back.agreed
    unread = read_back.unread

    # What is known of documents
    entries = queries.entries
    outcomes = queries.outcomes
    payloads = queries.payloads
    posted_payloads = queries.posted_payloads
    posted_keys = queries.posted_keys
    last_posted = queries.last_posted
    sent_for = queries.sent_for
    last_amendments = queries.last_amendments

    # What is known of chunks
    chunk = chunk_queries.chunk
    parts = chunk_queries.parts
    unresolved = chunk_queries.unresolved
    outcome_counts = chunk_queries.outcome_counts
    requests = chunk_queries.requests
    source_ids = chunk_queries.source_ids
    sent = chunk_queries.sent
