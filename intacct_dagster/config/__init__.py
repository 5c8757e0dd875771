"""`intacct.yaml` as typed settings: one module for each subject of the file."""

from intacct_dagster.config.auth import Auth, Entity, Xml
from intacct_dagster.config.errors import ConfigError
from intacct_dagster.config.feeds import Feed, Posting
from intacct_dagster.config.limits import Limits
from intacct_dagster.config.loading import (
    CONFIG_FILE,
    CONFIG_VARIABLE,
    load_settings,
    read_settings,
)
from intacct_dagster.config.notifications import Email, Notification
from intacct_dagster.config.objects import DIMENSIONS, ObjectSettings, Reading
from intacct_dagster.config.renamed import RenamedKeyWarning
from intacct_dagster.config.schedules import Schedules
from intacct_dagster.config.section import SettingsSection
from intacct_dagster.config.settings import Settings
from intacct_dagster.config.snapshot import Reader

__all__ = [
    "CONFIG_FILE",
    "CONFIG_VARIABLE",
    "DIMENSIONS",
    "Auth",
    "ConfigError",
    "Email",
    "Entity",
    "Feed",
    "Limits",
    "Notification",
    "ObjectSettings",
    "Posting",
    "Reader",
    "Reading",
    "RenamedKeyWarning",
    "Schedules",
    "Settings",
    "SettingsSection",
    "Xml",
    "load_settings",
    "read_settings",
]
