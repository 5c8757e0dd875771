"""What all sections of `intacct.yaml` share: their base class, and types of values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from intacct_dagster.client import address_flaw
from intacct_dagster.config.errors import PlacedError

NonEmpty = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


def _printable(text: str) -> str:
    marks = sorted({each for each in text if not each.isprintable()})
    if marks:
        raise ValueError(
            f"it has {' and '.join(map(ascii, marks))}, which is not seen, and which no id in "
            "Intacct has: type it again"
        )
    return text


#: An id in Intacct: no tabs, line ends, or blanks that only look like blanks.
Id = Annotated[NonEmpty, AfterValidator(_printable)]


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


def require_unique(where: str, names: Sequence[str], key: str | None = None) -> None:
    """Raise PlacedError, with the place and the name, if a name is given more than once.

    Args:
        where: The list in the file.
        names: The names in it, in order.
        key: The key that has them, where they are not the items themselves.
    """
    for position, name in enumerate(names):
        if name in names[:position]:
            steps = (where, position) if key is None else (where, position, key)
            raise PlacedError(steps, f"{where}: {name} is given more than once")
