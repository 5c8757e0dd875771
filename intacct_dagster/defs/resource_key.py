"""Keys of a company's resources, which notice a second company of the same names."""

import inspect
from typing import Self

import dagster as dg

from intacct_dagster.config import ConfigError, Settings


class ResourceKey(str):
    """The key of a resource, as `dg.Definitions` takes it: text that knows its company.

    The definitions of two companies meet where Dagster merges them, and there Dagster compares the
    keys of their resources first. It would report that two resources have one key. A comparison by
    `dg.Definitions.merge` of equal keys of different companies reports which companies they are,
    and what to do. All other comparisons are those of text: a process may have the definitions of
    several code locations.
    """

    company: str = ""
    prefix: str = ""

    @classmethod
    def of(cls, settings: Settings, key: str) -> Self:
        """Return `key` as that of a resource of the company that the settings describe."""
        made = cls(key)
        made.company = f"{settings.company} with the warehouse {settings.warehouse}"
        made.prefix = settings.key_prefix
        return made

    def __eq__(self, other: object) -> bool:
        """Compare as text. Raises ConfigError where two companies are merged."""
        same = str.__eq__(self, other)
        if same is True and isinstance(other, ResourceKey) and self.company != other.company:
            frame = inspect.currentframe()
            caller = frame.f_back if frame is not None else None
            if caller is not None and caller.f_code is dg.Definitions.merge.__code__:
                raise ConfigError(_two_companies(self, other))
        return same

    __hash__ = str.__hash__


def _two_companies(one: ResourceKey, other: ResourceKey) -> str:
    have = f"the same `key_prefix: {one.prefix}`" if one.prefix else "no `key_prefix`"
    return (
        f"Two companies of one code location have {have}, so their assets, jobs, sensors and "
        f"resources have the same names: {one.company}, and {other.company}. Give each a "
        "`key_prefix` of its own in its intacct.yaml, such as `key_prefix: acme`, or among the "
        "`attributes` of its component."
    )
