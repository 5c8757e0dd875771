"""The code location: what Dagster loads. The settings come from intacct.yaml."""

import os

import dagster as dg

from intacct_dagster.config import load_settings
from intacct_dagster.defs import bind, build_definitions

# A run of a backfill has an event for each of its partitions. Dagster writes them to its history
# one by one unless this sets how many it writes at once: a seventh less CPU time for 365 days of
# five objects (measured).
os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")


@dg.definitions
def defs() -> dg.Definitions:
    """Everything that the settings describe. Raises ConfigError for unusable settings."""
    return dg.Definitions.merge(
        build_definitions(load_settings()),
        dg.Definitions(
            # One process a run: steps are short, and each process would pay seconds of imports.
            executor=dg.in_process_executor,
            # What Dagster hands values from step to step with, with the folder it always has: the
            # one that it provides by itself takes another folder from a launch.
            resources={"io_manager": bind(dg.FilesystemIOManager())},
        ),
    )
