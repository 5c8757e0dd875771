"""The warehouse as its users hold it: one DuckDB file, and what is done with it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from intacct_dagster.warehouse.current import CurrentView, refresh_current
from intacct_dagster.warehouse.duckdb_file import DuckDBFile
from intacct_dagster.warehouse.outcomes import replace_chunks
from intacct_dagster.warehouse.raw import LoadResult, RawLoad, known_until, load_raw


class Warehouse(DuckDBFile):
    """The company's data in a DuckDB file that many processes share; see `DuckDBFile`.

    Schemas: `raw` (what Intacct sent, by entity and day of change), `intacct` (the latest version
    of each record), `feed` (source documents, and `feed.quarantine`), `reconciled` (source against
    Intacct), `posting` (what became of what was posted), `meta` (loads and their proofs).
    """

    def load(self, load: RawLoad) -> LoadResult:
        """Store one walk's pages in `raw`; see `load_raw`."""
        return load_raw(self, load)

    def known_until(self, object: str, entity: str) -> datetime | None:
        """Up to when changes are known here; see `raw.known_until`."""
        return known_until(self, object, entity)

    def refresh_current(self, object: str) -> CurrentView:
        """Make `intacct.<object>` show all columns of `raw.<object>`; see `refresh_current`."""
        return refresh_current(self, object)

    def replace_chunks(
        self, feed: str, entities: Collection[str], rows: Sequence[Sequence[object]]
    ) -> None:
        """Replace a feed's requests in `posting.chunks`; see `replace_chunks`."""
        replace_chunks(self, feed, entities, rows)
