"""Whether the clock of this machine, and the times in the ledger, are fit to settle by."""

from __future__ import annotations

from datetime import datetime, timedelta

from intacct_dagster.client import ClockWrong, IntacctClient, IntacctError
from intacct_dagster.state.ledger import Chunk, Ledger


def require_clock(client: IntacctClient, ledger: Ledger, object: str, now: datetime) -> None:
    """Raise ClockWrong where nothing of an object can be sent by the clock of this machine.

    That is where it is too far from Intacct's, or where a request whose outcome is unknown was sent
    in the future. Raises NotReached and Throttled if Intacct cannot be asked for the time.
    """
    client.check_clock(object)
    if client.entity_id is None:
        raise ValueError("documents are posted to an entity, not to the top level")
    for chunk in ledger.unresolved(object, client.entity_id):
        if (wrong := sent_in_future(chunk, now, client.most_clock_skew)) is not None:
            raise ClockWrong(f"Nothing is sent: {wrong}", entity=client.entity_id, object=object)


def why_not_settled(client: IntacctClient, chunk: Chunk, now: datetime) -> str | None:
    """Return, in words, why a chunk cannot be settled by the clock of this machine; None if it can.

    `now` was read before this is called: what is set later changes nothing of it.
    """
    try:
        client.check_clock(chunk.object)
    except IntacctError as error:
        return str(error)
    return sent_in_future(chunk, now, client.most_clock_skew)


def sent_in_future(chunk: Chunk, now: datetime, most: timedelta) -> str | None:
    """Return, in words, that a chunk was sent later than now; None if it was not.

    How long ago it was sent is not known then, and so neither whether Intacct still knows its key
    nor whether the request may still be under way.
    """
    sent = max(filter(None, (chunk.first_sent_at, chunk.last_sent_at)), default=None)
    if sent is None or sent - now <= most:
        return None
    return (
        f"chunk {chunk.chunk_id} of {chunk.object} of {chunk.entity} was sent on "
        f"{sent:%Y-%m-%d %H:%M:%S} UTC by the ledger, and that is in the future. If the clock of "
        "this machine is wrong, set it (NTP). Otherwise that of another machine was: look in "
        "Intacct for the documents of the chunk."
    )
