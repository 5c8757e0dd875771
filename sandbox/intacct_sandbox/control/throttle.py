"""Limits on how much one asks at a time, and the headers that tell them.

Facts (Sage's volume and concurrency page): requests at a time by tier, for an application and for
the whole company; requests that overlap by less than two seconds are tolerated; more are rejected
with 429 GW-0010. Header names: Sage's header reference, both spellings of the retry header.

A request of the sandbox takes as long as the fault plan's latency says, on the sandbox's clock: how
busy this machine is never decides whether a request is rejected.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from intacct_sandbox.errors import SandboxError, rejections
from intacct_sandbox.objects.catalogue import Json

TOLERATED = timedelta(seconds=2)
"""A request younger than this does not count against the limits."""

RETRY_AFTER = 60
"""Seconds that a throttled client is asked to wait (the documented sample)."""


@dataclass(frozen=True)
class Tier:
    """What a company bought: requests at a time, and transactions a month (over it costs a fee
    and nothing is blocked)."""

    application: int
    company: int
    transactions: int


TIERS: Mapping[str, Tier] = {
    "1": Tier(6, 8, 100_000),
    "2": Tier(8, 10, 250_000),
    "3": Tier(12, 15, 1_000_000),
    "4": Tier(15, 20, 2_500_000),
}
"""Sage's tiers that have public figures."""

FAMILIES = ("plain", "throttle", "throttle-hyphen", "minute", "hour", "tenant", "cpu")
"""The kinds of headers that a 429 or 503 may bring."""


def throttle_headers(family: str, seconds: int) -> dict[str, str]:
    """Return the headers of an answer that tells a client to come back in so many seconds.

    `minute` is the soft limit, whose family has no retry header.
    """
    wait = str(seconds)
    match family:
        case "plain":
            return {"Retry-After": wait}
        case "throttle":
            return _limit("X-IA-Throttle-Limit", "6") | {"X-IA-Throttle-Limit-RetryAfter": wait}
        case "throttle-hyphen":
            return _limit("X-IA-Throttle-Limit", "6") | {"X-IA-Throttle-Limit-Retry-After": wait}
        case "minute":
            return _limit("X-IA-Minute-Rate-Limit", "600")
        case "hour":
            return _limit("X-IA-Hour-Rate-Limit", "10000") | {
                "X-IA-Hour-Rate-Limit-Retry-After": wait
            }
        case "tenant":
            return _limit("X-IA-TENANT-Throttle-Limit", "LIMIT001-10") | {
                "X-IA-TENANT-Throttle-Limit-Retry-After": wait
            }
        case "cpu":
            return _limit("X-IA-CPU-Limit", "100000") | {
                "X-IA-CPU-Request-Cost": "120",
                "X-IA-CPU-Limit-Reset": wait,
            }
    raise SandboxError(f"There is no header family {family!r}: choose {', '.join(FAMILIES)}.")


def _limit(name: str, limit: str) -> dict[str, str]:
    return {name: limit, f"{name}-Remaining": "0"}


class Throttle:
    """Admit requests, or reject them. Times are those of the sandbox's clock."""

    def __init__(self, tier: str = "1") -> None:
        self.tier = ""
        self.per_minute = 600
        self.per_hour: int | None = None
        self.external_requests = 0
        self._under_way: list[datetime] = []
        self._minute: deque[datetime] = deque()
        self._hour: deque[datetime] = deque()
        self.choose({"tier": tier})

    def choose(self, given: Mapping[str, Json]) -> None:
        """Change limits: `tier`, `per_minute` (soft), `per_hour` (hard; None for none), and
        `external_requests`, the requests that other applications of the company have under way.

        Raises `SandboxError` and changes nothing if one of them cannot be.
        """
        for name, value in given.items():
            if name == "tier":
                fits = str(value) in TIERS or value == "none"
            elif name in ("per_minute", "per_hour", "external_requests"):
                fits = (type(value) is int and value >= 0) or (name == "per_hour" and value is None)
            else:
                raise SandboxError(f"There is no limit {name!r}.")
            if not fits:
                tiers = ", ".join((*TIERS, "none"))
                raise SandboxError(f"The limit {name} cannot be {value!r} (tiers: {tiers}).")
        for name, value in given.items():
            setattr(self, name, str(value) if name == "tier" else value)

    def shown(self) -> dict[str, Json]:
        """Return it as the control API shows it."""
        tier = TIERS.get(self.tier)
        return {
            "tier": self.tier,
            "application": tier.application if tier else None,
            "company": tier.company if tier else None,
            "transactions_a_month": tier.transactions if tier else None,
            "per_minute": self.per_minute,
            "per_hour": self.per_hour,
            "external_requests": self.external_requests,
            "under_way": len(self._under_way),
        }

    @contextmanager
    def admit(self, now: datetime) -> Iterator[dict[str, str]]:
        """Let a request in for the length of the block and give the headers of its answer.

        Raises `Rejection` (429).
        """
        for recent, span in ((self._minute, 60), (self._hour, 3600)):
            while recent and recent[0] <= now - timedelta(seconds=span):
                recent.popleft()
        old = sum(now - since >= TOLERATED for since in self._under_way)
        tier = TIERS.get(self.tier)
        if tier and (old >= tier.application or old + self.external_requests >= tier.company):
            whole = old < tier.application
            limit = tier.company if whole else tier.application
            raise rejections.throttled(_full(limit, company=whole))
        if self.per_hour is not None and len(self._hour) >= self.per_hour:
            wait = int((self._hour[0] + timedelta(hours=1) - now).total_seconds()) + 1
            headers = throttle_headers("hour", wait) | {"X-IA-Hour-Rate-Limit": str(self.per_hour)}
            raise rejections.throttled(headers)
        self._minute.append(now)
        self._hour.append(now)
        self._under_way.append(now)
        try:
            yield self._headers(old, tier)
        finally:
            self._under_way.remove(now)

    def _headers(self, old: int, tier: Tier | None) -> dict[str, str]:
        headers = {
            "X-IA-Minute-Rate-Limit": str(self.per_minute),
            "X-IA-Minute-Rate-Limit-Remaining": str(max(self.per_minute - len(self._minute), 0)),
        }
        if tier is not None:
            left = min(tier.application - old, tier.company - old - self.external_requests) - 1
            headers["X-IA-Throttle-Limit"] = str(tier.application)
            headers["X-IA-Throttle-Limit-Remaining"] = str(max(left, 0))
        if self.per_hour is not None:
            headers["X-IA-Hour-Rate-Limit"] = str(self.per_hour)
            headers["X-IA-Hour-Rate-Limit-Remaining"] = str(self.per_hour - len(self._hour))
        return headers


def _full(limit: int, *, company: bool) -> dict[str, str]:
    if company:
        headers = throttle_headers("tenant", RETRY_AFTER)
        return headers | {"X-IA-TENANT-Throttle-Limit": f"LIMIT001-{limit}"}
    return throttle_headers("throttle", RETRY_AFTER) | {"X-IA-Throttle-Limit": str(limit)}
