"""The warehouse as its users hold it: one DuckDB file, and what is done with it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from intacct_dagster.warehouse.current import CurrentView, refresh_current
from intacct_dagster.warehouse.duckdb_file import CATALOG, DuckDBFile
from intacct_dagster.warehouse.outcomes import replace_chunks
from intacct_dagster.warehouse.raw import (
    Landed,
    LoadResult,
    RawLoad,
    known_until,
    landed,
    load_raw,
)
from intacct_dagster.warehouse.sql import identifier


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

    def landed(self, object: str, entity: str, runs: Collection[str]) -> Landed:
        """What these runs loaded of an object of an entity; see `raw.landed`."""
        return landed(self, object, entity, runs)

    def row_counts(self, tables: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """How many rows these tables have, (schema, table) each; one that is not there has 0."""
        with self.connect(read_only=True) as connection:
            there = set(
                connection.execute(
                    "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ?",
                    [CATALOG],
                ).fetchall()
            )
            counts = dict.fromkeys(tables, 0)
            for schema, table in counts.keys() & there:
                name = identifier(CATALOG, schema, table)
                ((counts[schema, table],),) = connection.execute(
                    f"SELECT count(*) FROM {name}"
                ).fetchall()
        return counts

    def refresh_current(self, object: str) -> CurrentView:
        """Make `intacct.<object>` show all columns of `raw.<object>`; see `refresh_current`."""
        return refresh_current(self, object)

    def replace_chunks(
        self, feed: str, entities: Collection[str], rows: Sequence[Sequence[object]]
    ) -> None:
        """Replace a feed's requests in `posting.chunks`; see `replace_chunks`."""
        replace_chunks(self, feed, entities, rows)
