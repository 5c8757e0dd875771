"""The code location: what Dagster loads. The settings come from intacct.yaml."""

import dagster as dg

from intacct_dagster.config import load_settings
from intacct_dagster.defs import build_definitions


@dg.definitions
def defs() -> dg.Definitions:
    """Everything that the settings describe. Raises ConfigError for unusable settings."""
    return build_definitions(load_settings())
