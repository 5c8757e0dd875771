"""The copy of the warehouse for analysts."""

from __future__ import annotations

from pydantic import Field

from intacct_dagster.config.section import SettingsSection


class Reader(SettingsSection):
    """The copy of the warehouse for analysts, `warehouse.reader.duckdb`, made as runs end.

    A copy takes 0.6 s for each GB (measured); no run loads meanwhile.
    """

    enabled: bool = True
    """Whether it is made."""
    seconds_between: float = Field(default=60, ge=0)
    """Seconds between two copies while other runs are under way; the last run to end makes one
    always."""
