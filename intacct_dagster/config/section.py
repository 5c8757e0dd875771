"""What all sections of `intacct.yaml` share: their base class, and types of values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from intacct_dagster.client import address_flaw

NonEmpty = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


def _safe_address(address: str) -> str:
    flaw = address_flaw(address)
    if flaw is not None:
        raise ValueError(flaw)
    return address


#: Where secrets are sent, or a person who has just consented: https, or this machine.
Address = Annotated[str, AfterValidator(_safe_address)]


def require_time_zone(name: str) -> str:
    """Return the name of an IANA time zone. Raises ValueError for another text."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"'{name}' is not a time zone such as Europe/London") from None
    return name


class SettingsSection(BaseModel):
    """A section of the file: it knows its keys, and is not changed once it is read."""

    # The docstring of a class or of a key is what docs/configuration.md says of it.
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def require_unique(where: str, names: Sequence[str]) -> None:
    """Raise ValueError, with the place and the names, if a name is given more than once."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{where}: {', '.join(twice)} is given more than once")
