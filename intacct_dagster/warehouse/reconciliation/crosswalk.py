"""The crosswalk: which record in Intacct stands for which source document."""

from __future__ import annotations

from dataclasses import dataclass

from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.errors import NotMaterialized
from intacct_dagster.warehouse.reconciliation.comparison import RECONCILED
from intacct_dagster.warehouse.reconciliation.outcomes import POSTING
from intacct_dagster.warehouse.sql import identifier, literal, statement
from intacct_dagster.warehouse.tables import TableColumn, existing_columns

CROSSWALK = "crosswalk"

CROSSWALK_COLUMNS = (
    TableColumn("entity", "VARCHAR", "The document's entity"),
    TableColumn("source_id", "VARCHAR", "The document's id in the source system"),
    TableColumn("number", "VARCHAR", "Its number in Intacct"),
    TableColumn("party", "VARCHAR", "Its vendor or customer, where numbers are each party's own"),
    TableColumn("intacct_key", "VARCHAR", "The key of its record in Intacct"),
    TableColumn("how", "VARCHAR", "posted: by us; found: it was in Intacct already"),
    TableColumn("day", "DATE", "The document's date"),
    TableColumn("amount", "DECIMAL(38,10)", "The document's amount in the source"),
)


@dataclass(frozen=True, slots=True)
class Crosswalk:
    """The crosswalk of a feed as it stands: rows by how the record came to be, and the columns."""

    posted: int
    found: int
    columns: tuple[TableColumn, ...]


def refresh_crosswalk(file: Warehouse, feed: str) -> Crosswalk:
    """Make the view `crosswalk.<feed>`. Raises NotMaterialized before the feed was posted once."""
    view = identifier(CATALOG, CROSSWALK, feed)
    with file.staging() as staging, staging.transaction() as connection:
        for schema in (RECONCILED, POSTING):
            if not existing_columns(connection, CATALOG, schema, feed):
                raise NotMaterialized(
                    f"There is no {schema}.{feed} yet.\n"
                    f"Materialize reconciled/{feed} and posting/{feed} first."
                )
        connection.execute(f"USE {CATALOG}")
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(CATALOG, CROSSWALK)}")
        # What an older version reconciled has neither.
        there = {each.name for each in existing_columns(connection, CATALOG, RECONCILED, feed)}
        number = "reconciled.number" if "number" in there else "NULL::VARCHAR"
        party = "reconciled.party" if "party" in there else "NULL::VARCHAR"
        connection.execute(
            statement(__name__, "crosswalk_view", feed=identifier(feed), number=number, party=party)
        )
        about = f"Feed {feed}: a row is a source document and its record in Intacct."
        connection.execute(f"COMMENT ON VIEW {view} IS {literal(about)}")
        for column in CROSSWALK_COLUMNS:
            connection.execute(
                f"COMMENT ON COLUMN {view}.{identifier(column.name)}"
                f" IS {literal(column.comment or column.name)}"
            )
        counts = dict(
            connection.execute(f"SELECT how, count(*) FROM {view} GROUP BY how").fetchall()
        )
    return Crosswalk(counts.get("posted", 0), counts.get("found", 0), CROSSWALK_COLUMNS)
