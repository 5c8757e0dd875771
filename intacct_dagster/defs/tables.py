"""How a warehouse table presents itself in the UI: columns, relation, rows as tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from intacct_dagster.client import Usage
from intacct_dagster.config import Settings
from intacct_dagster.defs.failures import plainly
from intacct_dagster.defs.resources import WarehouseResource
from intacct_dagster.warehouse import Column, TableColumn

#: More rows than this do not help a reader, and the event log keeps them for ever.
SHOWN_ROWS = 100


def relation(settings: Settings, key: dg.AssetKey) -> Mapping[str, str]:
    """The ecosystem's name for the table behind an asset whose key is (schema, table)."""
    schema, table = key.path
    return {
        "dagster/table_name": f"{schema}.{table}",
        "dagster/relation_identifier": f"{settings.warehouse.stem}.{schema}.{table}",
    }


def table_rows(
    settings: Settings, warehouse: WarehouseResource, keys: Iterable[dg.AssetKey]
) -> dict[dg.AssetKey, dict[str, int]]:
    """How many rows the tables of these assets have in all, over all their partitions."""
    tables = {key: (key.path[0], key.path[1]) for key in keys}
    counts = plainly(settings, warehouse.warehouse.row_counts, tables.values())
    return {key: {"dagster/row_count": counts[table]} for key, table in tables.items()}


def column_schema(
    columns: Sequence[Column | TableColumn],
) -> dg.TableSchemaMetadataValue:
    """Columns with their types and what they hold, as the UI shows them."""
    return dg.MetadataValue.table_schema(
        dg.TableSchema(
            [
                dg.TableColumn(each.name, type=each.type, description=each.comment)
                for each in columns
            ]
        )
    )


def lineage(columns: Mapping[str, Sequence[tuple[dg.AssetKey, str]]]) -> dg.MetadataValue[Any]:
    """Which columns of which assets each column is made of, as the UI shows it."""
    return dg.MetadataValue.column_lineage(
        dg.TableColumnLineage(
            {
                name: [dg.TableColumnDep(key, column) for key, column in sources]
                for name, sources in columns.items()
            }
        )
    )


def spent(usage: Usage) -> dict[str, dg.MetadataValue]:
    """What was asked of the API, as metadata: the same names on every asset."""
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
    """Rows as a table of the UI: `columns` maps the column to its UI type (string, int, float).

    At most SHOWN_ROWS rows; everything but numbers is shown as text.
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
