"""The company: who is in it. Its books are generated in `generator/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property

COMPANY = "demo"
"""The company's id, as in `top@demo`."""

CLIENT_ID = "sandbox.app.sage.com"
"""The one registered application."""

CLIENT_SECRET = "sandbox-secret"  # noqa: S105 - of a sandbox
"""Its secret."""


SENDER_ID = "sandbox"
"""The one Web Services sender, of the XML API."""

SENDER_PASSWORD = "sandbox-sender"  # noqa: S105 - of a sandbox
"""Its password."""


@dataclass(frozen=True)
class User:
    """A Web Services user. `entities` None: every entity and the top level; a None among them is
    the top level."""

    id: str
    key: str
    name: str
    entities: frozenset[str | None] | None = None

    def may_enter(self, entity: str | None) -> bool:
        """Return whether the user may work in this entity; None is the top level."""
        return self.entities is None or entity in self.entities

    @property
    def home(self) -> str | None:
        """Where a session begins that names no entity: a user of one entity is in it."""
        if self.entities is not None and len(self.entities) == 1:
            return next(iter(self.entities))
        return None


@dataclass(frozen=True)
class LegalEntity:
    """A legal entity with its own books, in its own currency."""

    id: str
    key: str
    name: str
    currency: str
    country: str
    federal_id: str
    open_from: date
    """Nothing is posted with a date before this one."""
    places: tuple[tuple[str, str], ...]
    """Locations inside the entity: id and name."""


ENTITIES: Mapping[str, LegalEntity] = {
    one.id: one
    for one in (
        LegalEntity(
            "E110",
            "1",
            "United States",
            "USD",
            "United States",
            "94-3281177",
            date(2026, 8, 1),
            (("110-NYC", "New York"), ("110-CHI", "Chicago"), ("110-AUS", "Austin")),
        ),
        LegalEntity(
            "E120",
            "2",
            "Canada",
            "CAD",
            "Canada",
            "81334 5521 RT0001",
            date(2026, 8, 1),
            (("120-TOR", "Toronto"), ("120-VAN", "Vancouver")),
        ),
        LegalEntity(
            "E130",
            "3",
            "United Kingdom",
            "GBP",
            "United Kingdom",
            "GB 287 4410 92",
            date(2026, 10, 1),
            (("130-LON", "London"), ("130-MAN", "Manchester")),
        ),
        LegalEntity(
            "E140",
            "4",
            "Australia",
            "AUD",
            "Australia",
            "53 004 085 616",
            date(2026, 8, 1),
            (("140-SYD", "Sydney"), ("140-MEL", "Melbourne")),
        ),
    )
}
"""By id."""

USERS: Mapping[str, User] = {
    one.id: one
    for one in (
        User("top", "1", "Integration, all entities"),
        User("usa", "2", "Integration, United States", frozenset({"E110"})),
        User("can", "3", "Integration, Canada", frozenset({"E120"})),
        User("gbr", "4", "Integration, United Kingdom", frozenset({"E130"})),
        User("aus", "5", "Integration, Australia", frozenset({"E140"})),
    )
}
"""By id, which is case-sensitive (seen live)."""


@dataclass(frozen=True)
class Company:
    """Who is in a company: its entities and its Web Services users, by id."""

    entities: Mapping[str, LegalEntity]
    users: Mapping[str, User]

    @cached_property
    def entity_keys(self) -> Mapping[str, str]:
        """Entity id -> key."""
        return {one.id: one.key for one in self.entities.values()}

    @cached_property
    def by_key(self) -> Mapping[str, LegalEntity]:
        """Entities by key."""
        return {one.key: one for one in self.entities.values()}


DEMO = Company(ENTITIES, USERS)
"""Four entities, which every company of the sandbox has."""
