"""The span of change times that one pagination reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

#: The change time of a record. (A line's may be that of its document, reached through it.)
CHANGED: Final = "audit.modifiedDateTime"

# No row changed before this. A lower bound on every page keeps rows without a change time out of
# the dated pages, wherever Intacct sorts nulls.
THE_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class ChangeWindow:
    """Change times from `since` up to, and not including, `until`: aware, in whole seconds.

    With `undated` rows without a change time are in it as well. So they are without `since`, where
    it is everything before `until`.
    """

    since: datetime | None
    until: datetime
    undated: bool = False

    def __post_init__(self) -> None:
        for time in (self.since, self.until):
            if time is not None and (time.tzinfo is None or time.microsecond):
                raise ValueError(f"{time} is not an aware time in whole seconds")
        if self.since is not None and self.since >= self.until:
            raise ValueError(f"the window {self} is empty")

    def __str__(self) -> str:
        since = timestamp(self.since) if self.since else "the beginning"
        undated = " and what has no change time" if self.undated else ""
        return f"[{since}, {timestamp(self.until)}){undated}"


def timestamp(time: datetime) -> str:
    """Return a time as Intacct's filters take it: `2026-10-13T08:00:00Z`."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
