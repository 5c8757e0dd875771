"""Which documents Intacct has by now: found by their numbers, or among what changed."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from intacct_dagster.client import LARGEST_PAGE, ChangeWindow, IntacctClient, Query, Scalar
from intacct_dagster.pages import page_bytes
from intacct_dagster.posting.identity import at_path, identity_of
from intacct_dagster.posting.results import PostingTarget
from intacct_dagster.state.ledger import Item

#: A record may show later than its change time says. What shows later still, the copy's look-back
#: finds, and reconciliation tells as a duplicate.
LATE_BY = timedelta(days=1)

#: Numbers in one query for them; no limit of Intacct's is known.
IDS_IN_A_QUERY = 200

#: The (key, id) of Intacct's records that are a document, by source id.
Found = dict[str, list[tuple[str, str | None]]]


class DocumentLookup:
    """Finds documents of one entity in Intacct.

    At most `in_flight` requests are under way at once, each in one of `slots`.
    """

    def __init__(
        self,
        client: IntacctClient,
        slots: threading.BoundedSemaphore,
        in_flight: int,
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._slots = slots
        self._in_flight = in_flight
        self._now = now

    def since(
        self, target: PostingTarget, documents: int, known_until: datetime | None
    ) -> Callable[[Sequence[Item]], Found]:
        """Return a function that finds which documents came into Intacct since the copy.

        It takes the cheaper of two ways: asking for their numbers, or, where little changed since
        `known_until`, reading what changed, once. `documents` is about how many there are.
        """

        def ask(items: Sequence[Item]) -> Found:
            return self.find(target, items)

        questions = -(-documents // IDS_IN_A_QUERY)
        if known_until is None or questions <= 2:
            return ask
        since = (known_until - LATE_BY).astimezone(UTC).replace(microsecond=0)
        changed = self._client.count(
            target.object, ({"$gte": {"audit.modifiedDateTime": f"{since:%Y-%m-%dT%H:%M:%SZ}"}},)
        )
        if not changed:
            return lambda items: Found()
        if 1 + changed // LARGEST_PAGE >= questions:
            return ask
        # Up to tomorrow by our clock: whatever Intacct's clock says, that is all there is.
        window = ChangeWindow(since, self._now().replace(microsecond=0) + timedelta(days=1))
        with tempfile.TemporaryDirectory(prefix="intacct-look-") as folder:
            paginated = self._client.paginate(
                target.object, _fields(target)[1:], window, into=Path(folder)
            )
            rows = {
                str(row["key"]): row
                for file in paginated.files
                for row in msgspec.json.decode(page_bytes(file), type=list[dict[str, Any]])
            }
        by_number = _by_number(rows.values(), target)
        return lambda items: _of_items(items, by_number, target)

    def moved(self, object: str, items: Sequence[Item]) -> Found:
        """Return the changes whose record is gone, or changed since the change was made.

        Made once more, they may be others.
        """
        changed = "audit.modifiedDateTime"

        def ask(part: Sequence[Item]) -> Sequence[Mapping[str, Any]]:
            keys: list[Scalar] = [item.key for item in part]
            query = Query(object, ("key", changed), ({"$in": {"key": keys}},), size=LARGEST_PAGE)
            with self._slots:
                return self._client.query(query).rows

        parts = [items[n : n + IDS_IN_A_QUERY] for n in range(0, len(items), IDS_IN_A_QUERY)]
        with ThreadPoolExecutor(self._in_flight) as threads:
            now = {
                str(row["key"]): row.get(changed)
                for rows in threads.map(ask, parts)
                for row in rows
            }
        return {
            item.source_id: [(str(item.key), None)]
            for item in items
            if item.as_of is None or now.get(str(item.key)) != item.as_of
        }

    def find(self, target: PostingTarget, items: Sequence[Item]) -> Found:
        """Return Intacct's records of these documents."""
        numbers = list(
            dict.fromkeys(
                identity_of(item.payload, target.match_on, None, otherwise=item.source_id).number
                for item in items
            )
        )

        def ask(part: Sequence[str]) -> Sequence[Mapping[str, Any]]:
            query = Query(
                object=target.object,
                fields=_fields(target),
                filters=({"$in": {target.match_on: list(part)}},),
                order_by=({"key": "asc"},),
                size=LARGEST_PAGE,
            )
            with self._slots:
                return self._client.query(query).rows

        parts = [
            numbers[start : start + IDS_IN_A_QUERY]
            for start in range(0, len(numbers), IDS_IN_A_QUERY)
        ]
        with ThreadPoolExecutor(self._in_flight) as threads:
            rows = [row for found in threads.map(ask, parts) for row in found]
        return _of_items(items, _by_number(rows, target), target)


#: (key, id, party) of records, by number.
_ByNumber = dict[str, list[tuple[str, str | None, str | None]]]


def _fields(target: PostingTarget) -> tuple[str, ...]:
    party = () if target.party is None else (target.party,)
    return tuple(dict.fromkeys(("key", "id", target.match_on, *party)))


def _by_number(rows: Iterable[Mapping[str, Any]], target: PostingTarget) -> _ByNumber:
    found: _ByNumber = {}
    for row in rows:
        number, name = at_path(row, target.match_on), row.get("id")
        party = None if target.party is None else at_path(row, target.party)
        if number is not None:
            found.setdefault(str(number), []).append(
                (
                    str(row["key"]),
                    None if name is None else str(name),
                    None if party is None else str(party),
                )
            )
    return found


def _of_items(items: Sequence[Item], by_number: _ByNumber, target: PostingTarget) -> Found:
    found = Found()
    for item in items:
        identity = identity_of(
            item.payload, target.match_on, target.party, otherwise=item.source_id
        )
        records = [
            (key, name)
            for key, name, party in by_number.get(identity.number, ())
            if None in (identity.party, party) or party == identity.party
        ]
        if records:
            found[item.source_id] = records
    return found
