"""What the keys and names of a company begin with, where a location or an instance has several."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_PREFIX = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def require_key_prefix(value: str) -> str:
    """Return `value` if Dagster takes names that begin with it; it may be empty.

    Raises:
        ValueError: It is no word, or has two underscores together: Dagster joins the parts of a
            key with them.
    """
    if value and not _PREFIX.fullmatch(value):
        raise ValueError(
            f"'{value}' is no key prefix: give one word of lower-case letters, digits and single "
            "underscores that begins with a letter, such as acme_us"
        )
    return value


KeyPrefix = Annotated[str, AfterValidator(require_key_prefix)]
