"""Metadata of warehouse tables in the UI: columns, relation, lineage, rows as tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from intacct_dagster.client import Usage
from intacct_dagster.config import Settings
from intacct_dagster.defs.failures import as_dagster_failure
from intacct_dagster.defs.resources import WarehouseResource
from intacct_dagster.naming import Names
from intacct_dagster.warehouse import Column, TableColumn

#: The most rows of a table in metadata. The event log keeps them for ever.
SHOWN_ROWS = 100


def relation(settings: Settings, key: dg.AssetKey) -> Mapping[str, str]:
    """Return Dagster's standard metadata for the table that an asset stands for."""
    schema, table = Names.of(settings).table_of(key)
    return {
        "dagster/table_name": f"{schema}.{table}",
        "dagster/relation_identifier": f"{settings.warehouse.stem}.{schema}.{table}",
    }


def table_rows(
    settings: Settings, warehouse: WarehouseResource, keys: Iterable[dg.AssetKey]
) -> dict[dg.AssetKey, dict[str, int]]:
    """Return the number of rows of the tables of these assets, over all partitions."""
    tables = {key: Names.of(settings).table_of(key) for key in keys}
    counts = as_dagster_failure(settings, warehouse.warehouse.row_counts, tables.values())
    return {key: {"dagster/row_count": counts[table]} for key, table in tables.items()}


def column_schema(
    columns: Sequence[Column | TableColumn],
) -> dg.TableSchemaMetadataValue:
    """Return columns with types and comments, as the UI shows them."""
    return dg.MetadataValue.table_schema(
        dg.TableSchema(
            [
                dg.TableColumn(each.name, type=each.type, description=each.comment)
                for each in columns
            ]
        )
    )


def lineage(columns: Mapping[str, Sequence[tuple[dg.AssetKey, str]]]) -> dg.MetadataValue[Any]:
    """Return which columns of which assets each column is made of, as the UI shows it."""
    return dg.MetadataValue.column_lineage(
        dg.TableColumnLineage(
            {
                name: [dg.TableColumnDep(key, column) for key, column in sources]
                for name, sources in columns.items()
            }
        )
    )


def spent(usage: Usage) -> dict[str, dg.MetadataValue]:
    """Return the API usage as metadata, with the same names on every asset."""
    return {
        "pages": dg.MetadataValue.int(usage.pages),
        "requests": dg.MetadataValue.int(usage.requests),
        "retries": dg.MetadataValue.int(usage.retries),
        "seconds_waited": dg.MetadataValue.float(round(usage.seconds_waited, 3)),
        "api_transactions": dg.MetadataValue.int(usage.transactions),
    }


def table_of(
    rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]
) -> dg.TableMetadataValue:
    """Return rows as a table of the UI: at most SHOWN_ROWS, and text except for numbers.

    Args:
        columns: The UI type of each column: string, int or float.
    """
    records: list[dg.TableRecord] = []
    for row in rows:
        if len(records) == SHOWN_ROWS:
            break
        records.append(
            dg.TableRecord(
                {
                    name: (
                        row.get(name)
                        if kind in ("int", "float")
                        else ""
                        if row.get(name) is None
                        else str(row.get(name))
                    )
                    for name, kind in columns.items()
                }
            )
        )
    return dg.MetadataValue.table(
        records=records,
        schema=dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()]),
    )
