"""What was read goes into the warehouse, and what is kept of it into the page archive."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import date

from intacct_dagster.extraction.schema import CompanySchema
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import DeleteScan, PageArchive, RawLoad, store_delete_scan
from intacct_dagster.warehouse.raw.entities import know_entities
from intacct_dagster.warehouse.raw.load import load_raw


class Loader:
    """Stores loads and delete scans, one after the other within this process.

    Between processes DuckDB's own lock sees to it. `entities` are those that are read, in their
    order; `renamed` has the present ids of those that are called otherwise now.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        schemas: CompanySchema,
        page_archive: PageArchive | None,
        entities: Sequence[str],
        renamed: Mapping[str, str],
    ) -> None:
        self._warehouse = warehouse
        self._schemas = schemas
        self._page_archive = page_archive
        self._entities = entities
        self._renamed = renamed
        self._entities_known = False
        self._lock = threading.Lock()

    def load(self, load: RawLoad) -> tuple[Mapping[date, int], float]:
        """Append a load, and keep its pages; return its rows by day and the seconds it took."""
        keeping: AbstractContextManager[None] = nullcontext()
        if self._page_archive is not None:
            keeping = self._page_archive.keeping(load, self._schemas.fields(load.object))
        self.know_entities()
        with keeping, self._lock:
            return load_raw(self._warehouse, load)

    def store(self, scan: DeleteScan) -> None:
        """Store what a delete scan found, and keep it."""
        self.know_entities()
        with self._lock:
            store_delete_scan(self._warehouse, scan)
        if self._page_archive is not None:
            self._page_archive.keep_delete_scan(scan)

    def know_entities(self) -> None:
        """Record the entities before the first thing that is stored or compared."""
        with self._lock:
            if not self._entities_known:
                know_entities(self._warehouse, self._entities, self._renamed)
                self._entities_known = True
