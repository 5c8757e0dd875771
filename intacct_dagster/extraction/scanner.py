"""Delete scans of a company: read the keys, ask where the missing are, fetch what is lacking."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from intacct_dagster.client import (
    ChangeWindow,
    IntacctError,
    RequestRefused,
)
from intacct_dagster.config import ObjectSettings
from intacct_dagster.extraction.days import earliest, midnight
from intacct_dagster.extraction.delete_scan import (
    DeleteScanResult,
    confirm_missing,
    scan_keys,
)
from intacct_dagster.extraction.elsewhere import find_elsewhere
from intacct_dagster.extraction.reads import CompanyReads
from intacct_dagster.warehouse.raw import (
    DeleteScan,
)


class Scanner(CompanyReads):
    """Scans objects for deletes, and fetches what the warehouse lacks."""

    def delete_scan(self, what: ObjectSettings, entity: str) -> DeleteScanResult:
        """Read the keys that Intacct has, and note which of ours are gone and which are back.

        Raises IntacctError and WarehouseError.
        """
        client = self._intacct.entity(entity)
        began = self._now()
        since = self._scanned_since(began)
        with self._counted(client, what.name):
            schema = self._schemas.learn(client, [what])[what.name]
            if schema.by_period:
                raise RequestRefused(
                    f"{what.name} takes no delete scan: each reading of it is whole, so what "
                    "is gone is not in the current view.",
                    entity=entity,
                    object=what.name,
                    remedy="Leave it out of the selection.",
                )
            window = None
            if schema.dated:
                window = ChangeWindow(since, self._settled(began), undated=since is not None)
            if self._warehouse.path.exists():  # else scanning says that nothing was loaded
                self._loader.know_entities()
            with self._spool("sweep", what.name, entity, str(window)) as folder:
                read, found = scan_keys(
                    client,
                    self._warehouse,
                    what.name,
                    schema,
                    window,
                    into=folder / "keys",
                    page_size=self._page_size,
                    wanted_since=None if what.takes_older else midnight(self._start_date),
                )
                gone = confirm_missing(client, what.name, found.missing)
                deleted, out_of_sight = self._look_elsewhere(
                    what, entity, gone, folder / "elsewhere"
                )
                lacking = {*found.lacking, *found.went_back, *found.missing} - set(gone)
                fetched = self._fetch(client, what, schema, sorted(lacking), folder / "lacking")
            scan = DeleteScan(
                what.name,
                entity,
                deleted=tuple(key for key in gone if key in deleted),
                out_of_sight=tuple(key for key in gone if key in out_of_sight),
                found_at=earliest(read.read_at) or began,
                run_id=self._run_id,
                since=since if schema.dated else None,
                seen=read.proof.distinct_keys,
            )
            self._loader.store(scan)
        return DeleteScanResult(
            object=what.name,
            entity=entity,
            since=scan.since,
            seen=scan.seen,
            known=found.known,
            deleted=len(scan.deleted),
            out_of_sight=len(scan.out_of_sight),
            fetched=fetched,
            usage=client.usage,
        )

    def _look_elsewhere(
        self,
        what: ObjectSettings,
        entity: str,
        gone: Sequence[str],
        into: Path,
    ) -> tuple[set[str], set[str]]:
        """Return those keys gone from an entity that are deleted, and those that others see.

        What others see is read there first: else a record that moved would be nowhere until its
        new entity is read. Nothing is said of keys whose entity cannot be asked.
        """
        others, client_of = self._others(entity), self._intacct.entity
        elsewhere = find_elsewhere(
            self._warehouse, what.name, gone, others=others, client_of=client_of
        )
        deleted, out_of_sight = set(filter(elsewhere.deleted_of, gone)), set(elsewhere.read)
        for number, (other, keys) in enumerate((elsewhere.unread or {}).items(), start=1):
            client = self._intacct.entity(other)
            with suppress(IntacctError), self._counted(client, what.name):
                # its user may ask for other fields than the one who scanned
                schema = self._schemas.learn(client, [what])[what.name]
                if self._fetch(client, what, schema, keys, into / str(number)):
                    out_of_sight |= set(keys)
        return deleted, out_of_sight

    def _scanned_since(self, now: datetime) -> datetime | None:
        months = self._reading.delete_scan_months
        if months is None:
            return None
        return midnight((now - timedelta(days=31 * months)).date())
