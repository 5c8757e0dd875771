"""The company as a component, for a Dagster project that has other code locations and assets."""

from pathlib import Path

import dagster as dg

from intacct_dagster.config import load_settings
from intacct_dagster.config.key_prefix import KeyPrefix
from intacct_dagster.defs import build_definitions


class IntacctCompany(dg.Component, dg.Model, dg.Resolvable):
    """The assets, checks, schedules and sensors of one Sage Intacct company.

    `settings` is the company's intacct.yaml, beside the `defs.yaml` that names it unless its path
    is absolute. Paths in it are relative to it. `key_prefix` takes the place of the one in the
    file: keys and names begin with it, so that a code location can have several companies. Without
    one the resources are called `intacct` and `warehouse`. How runs are executed is left to the
    project. Raises ConfigError for unusable settings.
    """

    settings: str = "intacct.yaml"
    key_prefix: KeyPrefix | None = None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Everything that the settings describe. Nothing is read from the network."""
        settings = load_settings(Path(context.path) / self.settings)
        if self.key_prefix is not None:
            settings = settings.model_copy(update={"key_prefix": self.key_prefix})
        return build_definitions(settings)
