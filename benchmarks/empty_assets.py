"""A code location with the assets and partitions of intacct.yaml, which do nothing."""

import dagster as dg
from backfill import empty

from intacct_dagster.config import load_settings

defs = dg.Definitions([empty(load_settings())], executor=dg.in_process_executor)
