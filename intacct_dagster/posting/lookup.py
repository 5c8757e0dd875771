"""Which documents Intacct has by now: found by their source ids, or among what changed."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from intacct_dagster.client import LARGEST_PAGE, ChangeWindow, IntacctClient, Query, Scalar
from intacct_dagster.pages import page_bytes
from intacct_dagster.state.ledger import Item

#: A record may show later than its change time says. What shows later still, the copy's look-back
#: finds, and reconciliation tells as a duplicate.
LATE_BY = timedelta(days=1)

#: Source ids in one query for them; no limit of Intacct's is known.
IDS_IN_A_QUERY = 200

#: The (key, id) of Intacct's records that carry a source id, by source id.
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
        self, object: str, match_on: str, documents: int, known_until: datetime | None
    ) -> Callable[[Sequence[Item]], Found]:
        """Return a function that finds which source ids came into Intacct since the copy.

        It takes the cheaper of two ways: asking for the ids, or, where little changed since
        `known_until`, reading what changed, once. `documents` is about how many there are.
        """

        def ask(items: Sequence[Item]) -> Found:
            return self.find(object, match_on, [item.source_id for item in items])

        questions = -(-documents // IDS_IN_A_QUERY)
        if known_until is None or questions <= 2:
            return ask
        since = (known_until - LATE_BY).astimezone(UTC).replace(microsecond=0)
        changed = self._client.count(
            object, ({"$gte": {"audit.modifiedDateTime": f"{since:%Y-%m-%dT%H:%M:%SZ}"}},)
        )
        if not changed:
            return lambda items: Found()
        if 1 + changed // LARGEST_PAGE >= questions:
            return ask
        # Up to tomorrow by our clock: whatever Intacct's clock says, that is all there is.
        window = ChangeWindow(since, self._now().replace(microsecond=0) + timedelta(days=1))
        found = Found()
        with tempfile.TemporaryDirectory(prefix="intacct-look-") as folder:
            paginated = self._client.paginate(object, ("id", match_on), window, into=Path(folder))
            rows = {
                str(row["key"]): row
                for file in paginated.files
                for row in msgspec.json.decode(page_bytes(file), type=list[dict[str, Any]])
            }
        for row in rows.values():
            if row.get(match_on) is not None:
                _note(found, row, match_on)
        return lambda items: {
            item.source_id: found[item.source_id] for item in items if item.source_id in found
        }

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

    def find(self, object: str, match_on: str, source_ids: Sequence[str]) -> Found:
        """Return Intacct's records that carry these source ids."""

        def ask(part: Sequence[str]) -> Sequence[Mapping[str, Any]]:
            query = Query(
                object=object,
                fields=tuple(dict.fromkeys(("key", "id", match_on))),
                filters=({"$in": {match_on: list(part)}},),
                order_by=({"key": "asc"},),
                size=LARGEST_PAGE,
            )
            with self._slots:
                return self._client.query(query).rows

        parts = [
            source_ids[start : start + IDS_IN_A_QUERY]
            for start in range(0, len(source_ids), IDS_IN_A_QUERY)
        ]
        found = Found()
        with ThreadPoolExecutor(self._in_flight) as threads:
            for rows in threads.map(ask, parts):
                for row in rows:
                    _note(found, row, match_on)
        return found


def _note(found: Found, row: Mapping[str, Any], match_on: str) -> None:
    name = row.get("id")
    found.setdefault(str(row[match_on]), []).append(
        (str(row["key"]), None if name is None else str(name))
    )
