"""What the company's Sage plan allows, and how long to wait for the warehouse."""

from __future__ import annotations

from pydantic import Field

from intacct_dagster.client import Bounds
from intacct_dagster.config.section import SettingsSection

_BOUNDS = Bounds()


class Limits(SettingsSection):
    """What the company's Sage plan allows (tier 1: 6 requests at once, 100,000 a month)."""

    concurrency: int = Field(default=6, ge=1, le=64)
    """Requests in flight at once, over all processes that share the state store."""
    page_size: int = Field(default=4000, ge=2, le=4000)
    """Rows of a page, as many as Intacct gives. With one row, pages could not be joined."""
    chunk_size: int = Field(default=500, ge=1, le=500)
    """Documents of one posting request, as many as Intacct takes."""
    chunk_bytes: int = Field(default=4_000_000, ge=1)
    """Bytes of one posting request; Sage documents no limit."""
    monthly_transactions: int = Field(default=100_000, ge=1)
    """API transactions of the plan in a month. A check warns before they are used up."""
    request_seconds: float = Field(default=_BOUNDS.request_seconds, gt=0, le=1200)
    """Seconds of one request, from its first byte to the last of its answer."""
    response_bytes: int = Field(default=_BOUNDS.response_bytes, ge=1_000_000)
    """Bytes of one answer, unpacked. What is larger is an error, and not held in memory."""
    clock_skew_seconds: float = Field(default=_BOUNDS.clock_skew_seconds, ge=5, le=1200)
    """Seconds that the clock of this machine may differ from Intacct's before nothing is posted."""
    lock_timeout: float = Field(default=60, gt=0)
    """Seconds to wait for another process that holds the warehouse."""

    @property
    def bounds(self) -> Bounds:
        """The bounds of one request."""
        return Bounds(self.request_seconds, self.response_bytes, self.clock_skew_seconds)
