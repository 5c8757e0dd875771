"""Which documents a load of lines covered: also those without lines."""

from __future__ import annotations

from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.raw.lines import rows_of
from intacct_dagster.warehouse.raw.log import ObjectLog
from intacct_dagster.warehouse.raw.raw_load import RawLoad
from intacct_dagster.warehouse.sql import identifier, literal, statement


def store_documents(
    connection: DuckDBPyConnection, log: ObjectLog, load: RawLoad, load_id: int
) -> None:
    """Record the documents of a load of lines, each with the number of its lines."""
    assert load.parents is not None  # noqa: S101 - only loads of lines get here
    # The lines of a document are read after it, so it may be older than the first answer.
    read_at = min(load.read_times, default=load.extracted_at)
    connection.execute(
        statement(
            __name__,
            "documents_covered",
            documents=log.documents,
            raw=log.raw,
            unit=identifier(log.unit),
            covered=rows_of([load.parents.file], {"key": "VARCHAR", "changed": "VARCHAR"}),
            entity=literal(load.entity),
            read_at=literal(read_at.isoformat()),
            load=str(load_id),
        )
    )
