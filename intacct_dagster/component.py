"""The company as a component, for a Dagster project that has other code locations and assets."""

from pathlib import Path

import dagster as dg

from intacct_dagster.config import load_settings
from intacct_dagster.defs import build_definitions


class IntacctCompany(dg.Component, dg.Model, dg.Resolvable):
    """The assets, checks, schedules and sensors of one Sage Intacct company.

    `settings` is the company's intacct.yaml, beside the `defs.yaml` that names it unless its path
    is absolute. Paths in it are relative to it. The resources are called `intacct` and `warehouse`;
    how runs are executed is left to the project. Raises ConfigError for unusable settings.
    """

    settings: str = "intacct.yaml"

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Everything that the settings describe. Nothing is read from the network."""
        return build_definitions(load_settings(Path(context.path) / self.settings))
