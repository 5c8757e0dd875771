"""Who asks the XML gateway, and the session that it asks in."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

#: A session is renewed so long before it ends.
_MARGIN = timedelta(minutes=5)


@dataclass(frozen=True)
class XmlAccess:
    """The Web Services sender who asks the gateway at `url`.

    `zone` is the time zone in which the gateway writes times: as the preferences of the Sage users
    have it.
    """

    sender_id: str
    sender_password: str = field(repr=False)
    url: str
    zone: tzinfo = UTC


def xml_access(
    base_url: str,
    sender_id: str,
    sender_password: str,
    url: str | None,
    utc_offset: str,
    time_zone: str = "",
) -> XmlAccess:
    """Return access as it is configured: `utc_offset` is like "-08:00", `time_zone` an IANA name.

    The time zone counts where both are given. Without a `url` it is that of the API root's host:
    https://api.intacct.com/ia/xml/xmlgw.phtml.
    """
    lies_at = re.sub(r"/ia/api/v1/?$", "", base_url) + "/ia/xml/xmlgw.phtml"
    fixed = datetime.strptime(utc_offset, "%z").tzinfo
    zone = ZoneInfo(time_zone) if time_zone else fixed
    return XmlAccess(sender_id, sender_password, url or lies_at, zone or UTC)


class XmlSession:
    """The XML session of one Sage user in one entity. Thread-safe; kept in memory alone."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._id = ""
        self._ends: datetime | None = None

    def id(self, open_one: Callable[[], tuple[str, timedelta]], dead: str | None) -> str:
        """Return its id, other than `dead`; `open_one` gives one and how long it lives."""
        with self._lock:
            if self._ends is None or self._now() >= self._ends or self._id == dead:
                asked_at = self._now()
                self._id, lives = open_one()
                self._ends = asked_at + max(lives - _MARGIN, lives / 2)
            return self._id
